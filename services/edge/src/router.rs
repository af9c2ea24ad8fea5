//! Every URL of the API, in one list.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use latchkey_contract::problem::{
    CONFLICT_IN_FLIGHT, CONFLICT_KEYS, CONFLICT_LEAKED, CONFLICT_NOT_REVOKED, CONFLICT_RELEASE,
    CONFLICT_RETIRING, CONFLICT_REVOKED, CREDENTIAL_IN_URL, EMAIL_TAKEN, IDEMPOTENCY_MALFORMED,
    IDEMPOTENCY_MISMATCH, INACTIVE_USER, INSUFFICIENT_SCOPE, INVALID, KEY_NOT_FOUND,
    METHOD_NOT_ALLOWED, NO_METADATA, NO_SUCH_ROUTE, NOT_ACCEPTED, NOT_FORM, PRECONDITION_FAILED,
    ProblemType, SESSION_NOT_FOUND, UNSUPPORTED_GRANT_TYPE, USERNAME_TAKEN, USERS_ONLY,
    WRONG_CREDENTIALS,
};
use latchkey_gate::Requirement;
use utoipa_axum::routes;

use crate::admission::Lane;
use crate::api::keys::{change, end, revoke_many, rotate};
use crate::api::{audit, auth, discovery, docs, health, keys, oauth, protected};
use crate::body::{MAX_AUTH_BODY, MAX_BODY};
use crate::credential::{KeyScope, Read, Write};
use crate::limits::LimitClass;
use crate::problem::Problem;
use crate::route::{Facts, Route, described};
use crate::state::Edge;

/// By token: a key is no credential.
const TOKEN: Requirement<'static> = Requirement::USER;
/// By key, in either header: a token is no credential.
const KEY: Requirement<'static> = Requirement::SERVICE;

/// The list.
#[must_use]
pub fn list() -> Vec<Route> {
    let others = [
        Route::verify(described!(protected::user), protected::USER),
        Route::verify(described!(protected::service), protected::SERVICE),
        Route::verify(described!(protected::any), protected::ANYBODY),
        Route::new(routes!(audit::list))
            .who(TOKEN)
            .problems(&[&INSUFFICIENT_SCOPE, &INVALID])
            .lane(Lane::Lists),
        Route::new(routes!(discovery::keys)),
        Route::new(routes!(discovery::metadata)).problems(&[&NO_METADATA]),
        Route::new(routes!(discovery::configuration)).problems(&[&NO_METADATA]),
        Route::new(routes!(health::root)),
        Route::new(routes!(health::live)),
        Route::new(routes!(health::ready)),
        Route::page("/docs", get(docs::swagger)),
        Route::page("/docs/{file}", get(docs::swagger_asset)),
        Route::page("/redoc", get(docs::redoc)),
        Route::page("/redoc/redoc.standalone.js", get(docs::redoc_script)),
        Route::page("/openapi.json", get(docs::openapi)),
    ];
    accounts()
        .into_iter()
        .chain(sessions())
        .chain(api_keys())
        .chain(one_key())
        .chain(own_key())
        .chain(rotations())
        .chain(others)
        .collect()
}

fn sessions() -> [Route; 5] {
    [
        Route::new(routes!(auth::refresh))
            .problems(&[&CREDENTIAL_IN_URL, &NOT_ACCEPTED])
            .limit(LimitClass::Refreshes)
            .body(MAX_AUTH_BODY),
        Route::new(routes!(auth::sessions::list)).who(TOKEN).lane(Lane::Lists),
        Route::new(routes!(auth::sessions::end))
            .who(TOKEN)
            .problems(&[&SESSION_NOT_FOUND, &INVALID]),
        Route::new(routes!(oauth::token))
            .problems(&[&CREDENTIAL_IN_URL, &NOT_FORM])
            .limit(LimitClass::Refreshes)
            .body(MAX_AUTH_BODY),
        Route::new(routes!(oauth::revoke))
            .problems(&[&CREDENTIAL_IN_URL, &NOT_FORM])
            .limit(LimitClass::Revocations)
            .body(MAX_AUTH_BODY),
    ]
}

fn accounts() -> [Route; 5] {
    [
        Route::new(routes!(auth::sign_up))
            .problems(&[&EMAIL_TAKEN, &USERNAME_TAKEN])
            .limit(LimitClass::Signups)
            .body(MAX_AUTH_BODY)
            .lane(Lane::Passwords),
        Route::new(routes!(auth::log_in))
            .problems(&[
                &INACTIVE_USER,
                &UNSUPPORTED_GRANT_TYPE,
                &WRONG_CREDENTIALS,
                &CONFLICT_RELEASE,
            ])
            .limit(LimitClass::Logins)
            .body(MAX_AUTH_BODY)
            .lane(Lane::Passwords),
        Route::new(routes!(auth::log_out)).who(TOKEN),
        Route::new(routes!(auth::log_out_all)).who(TOKEN).problems(&[&INVALID]),
        Route::new(routes!(auth::change_password))
            .who(TOKEN)
            .problems(&[&WRONG_CREDENTIALS])
            .limit(LimitClass::Passwords)
            .body(MAX_AUTH_BODY)
            .lane(Lane::Passwords),
    ]
}

/// How making a key may be refused.
const UNMADE: &[&ProblemType] = &[
    &IDEMPOTENCY_MALFORMED,
    &INSUFFICIENT_SCOPE,
    &CONFLICT_KEYS,
    &CONFLICT_IN_FLIGHT,
    &IDEMPOTENCY_MISMATCH,
];

fn api_keys() -> [Route; 5] {
    [
        Route::new(routes!(keys::create::create))
            .who(Write::REQUIREMENT)
            .problems(UNMADE)
            .limit(LimitClass::Keys)
            .body(MAX_BODY)
            .lane(Lane::NewKeys),
        Route::new(routes!(keys::create::create_scoped))
            .who(Write::REQUIREMENT)
            .problems(UNMADE)
            .limit(LimitClass::Keys)
            .body(MAX_BODY)
            .lane(Lane::NewKeys),
        Route::new(routes!(keys::create::create_many))
            .who(Write::REQUIREMENT)
            .problems(UNMADE)
            .limit(LimitClass::Keys)
            .body(keys::create::MAX_BULK_BODY)
            .lane(Lane::NewKeys),
        Route::new(routes!(keys::lookup::look_up))
            .who(Read::REQUIREMENT)
            .problems(&[&INSUFFICIENT_SCOPE, &KEY_NOT_FOUND])
            .body(keys::lookup::MAX_LOOKUP_BODY)
            .lane(Lane::Lists),
        Route::new(routes!(keys::list::list))
            .who(Read::REQUIREMENT)
            .problems(&[&INSUFFICIENT_SCOPE, &INVALID])
            .lane(Lane::Lists),
    ]
}

fn one_key() -> [Route; 6] {
    let changing = |route: Route| {
        route.who(Write::REQUIREMENT).body(MAX_AUTH_BODY).limit(LimitClass::Changes).problems(&[
            &INSUFFICIENT_SCOPE,
            &KEY_NOT_FOUND,
            &CONFLICT_REVOKED,
            &CONFLICT_LEAKED,
            &USERS_ONLY,
            &PRECONDITION_FAILED,
        ])
    };
    [
        Route::new(routes!(change::show)).who(Read::REQUIREMENT).problems(&[
            &INSUFFICIENT_SCOPE,
            &KEY_NOT_FOUND,
            &INVALID,
        ]),
        changing(Route::new(routes!(change::patch))),
        changing(Route::new(routes!(change::disable))),
        changing(Route::new(routes!(change::enable))),
        changing(Route::new(routes!(end::revoke))),
        Route::new(routes!(end::delete))
            .who(Write::REQUIREMENT)
            .limit(LimitClass::Changes)
            .problems(&[&INSUFFICIENT_SCOPE, &KEY_NOT_FOUND, &CONFLICT_NOT_REVOKED, &INVALID]),
    ]
}

/// By the key that it is about.
fn own_key() -> [Route; 3] {
    [
        Route::new(routes!(end::show_self)).who(KEY),
        Route::new(routes!(end::delete_self))
            .who(KEY)
            .limit(LimitClass::Changes)
            .problems(&[&KEY_NOT_FOUND, &INVALID]),
        Route::new(routes!(end::revoke_self))
            .who(KEY)
            .limit(LimitClass::Changes)
            .problems(&[&KEY_NOT_FOUND])
            .body(MAX_AUTH_BODY),
    ]
}

fn rotations() -> [Route; 4] {
    let rotating = |route: Route| {
        route
            .problems(&[
                &IDEMPOTENCY_MALFORMED,
                &INSUFFICIENT_SCOPE,
                &KEY_NOT_FOUND,
                &CONFLICT_RETIRING,
                &CONFLICT_LEAKED,
                &USERS_ONLY,
                &CONFLICT_KEYS,
                &CONFLICT_IN_FLIGHT,
                &PRECONDITION_FAILED,
                &IDEMPOTENCY_MISMATCH,
            ])
            .limit(LimitClass::Keys)
            .body(MAX_BODY)
            .lane(Lane::NewKeys)
    };
    [
        rotating(Route::new(routes!(rotate::rotate)).who(Write::REQUIREMENT)),
        rotating(Route::new(routes!(rotate::rotate_self)).who(rotate::RotateSelf::REQUIREMENT)),
        Route::new(routes!(rotate::rotation))
            .who(Read::REQUIREMENT)
            .problems(&[&INSUFFICIENT_SCOPE, &KEY_NOT_FOUND, &INVALID])
            .lane(Lane::Lists),
        Route::new(routes!(revoke_many::revoke_many))
            .who(Write::REQUIREMENT)
            .problems(&[&INSUFFICIENT_SCOPE])
            .limit(LimitClass::Keys)
            .body(MAX_BODY),
    ]
}

/// What anybody may know of each route, in the order of the list.
#[must_use]
pub fn facts() -> Vec<Facts> {
    list().iter().map(|route| route.facts().clone()).collect()
}

/// The router of these routes. Those that only verify are not in it.
pub(crate) fn build(routes: Vec<Route>, edge: Arc<Edge>) -> Router {
    let handlers = routes.into_iter().filter_map(Route::into_handler);
    handlers
        .fold(Router::new(), |router, (path, handler)| router.route(&path, handler))
        .fallback(async || Problem::of(&NO_SUCH_ROUTE))
        .method_not_allowed_fallback(async || Problem::of(&METHOD_NOT_ALLOWED))
        .with_state(edge)
}
