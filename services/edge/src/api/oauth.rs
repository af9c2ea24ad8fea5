//! `/oauth/…`: tokens as the OAuth standards have them. What is refused for its own sake is answered as RFC 6749 §5.2 has
//! it; what is not looked at (too long, too slow, too much at once) as on any route.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::{Extension, Json};
use latchkey_bus::Context;
use latchkey_contract::authority::{Changed, Receipt};
use latchkey_contract::identity::RevokeToken;
use latchkey_contract::keys::RevokeShown;
use latchkey_contract::problem::{INVALID_GRANT, INVALID_SCOPE, UNSUPPORTED_GRANT_TYPE};
use latchkey_contract::{ApiKey, CallError, Refusal, Secret};
use serde::Serialize;
use utoipa::ToSchema;

use crate::acting::Anonymous;
use crate::address::ClientAddress;
use crate::api::auth::{TokenBody, next_tokens};
use crate::body::MAX_AUTH_BODY;
use crate::form::FormBody;
use crate::problem::Problem;
use crate::state::Edge;

/// How a token is got here.
const REFRESH: &str = "refresh_token";
const RECEIPT: HeaderName = HeaderName::from_static("latchkey-receipt");

/// `POST /oauth/token` (RFC 6749 §6).
#[derive(ToSchema)]
#[schema(example = json!({"grant_type": "refresh_token", "refresh_token": "rt_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG0aBcDe"}))]
#[expect(dead_code, reason = "it is the description of a form that is read field by field")]
pub struct TokenForm {
    /// `refresh_token`.
    grant_type: String,
    /// The refresh token.
    refresh_token: String,
    /// What the access token is to be narrowed to, within what was granted at the login.
    #[schema(nullable = false)]
    scope: Option<String>,
}

/// `POST /oauth/revoke` (RFC 7009).
#[derive(ToSchema)]
#[schema(example = json!({"token": "rt_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG0aBcDe", "token_type_hint": "refresh_token"}))]
#[expect(dead_code, reason = "it is the description of a form that is read field by field")]
pub struct RevokeForm {
    /// An access token, a refresh token or an API key.
    token: String,
    /// Not needed: a token says itself what it is.
    #[schema(nullable = false)]
    token_type_hint: Option<String>,
}

/// Why a request is refused (RFC 6749 §5.2).
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"error": "invalid_grant", "error_description": "The refresh token is not accepted."}))]
pub struct OauthError {
    /// `invalid_request`, `invalid_grant`, `invalid_scope` or `unsupported_grant_type`.
    error: &'static str,
    /// The same in a sentence for a person.
    error_description: String,
}

/// Get the next tokens of a session, as OAuth has it
#[utoipa::path(post, path = "/oauth/token", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The next tokens", body = TokenBody),
        (status = 400, description = "The request is faulty, or the token is not accepted", body = OauthError)))]
pub(crate) async fn token(
    State(edge): State<Arc<Edge>>,
    Anonymous(context): Anonymous,
    Extension(client): Extension<ClientAddress>,
    FormBody(mut form): FormBody<MAX_AUTH_BODY>,
) -> Result<Json<TokenBody>, Problem> {
    edge.limits.refresh(client)?;
    if form.required("grant_type")? != REFRESH {
        return Err(Problem::about(&UNSUPPORTED_GRANT_TYPE, REFRESH).as_oauth());
    }
    let (token, scope) = (form.required("refresh_token")?, form.take("scope"));
    let next = next_tokens(&edge, &context, token, scope).await.map_err(|error| match error {
        CallError::Refused(Refusal::SessionEnded) => Problem::of(&INVALID_GRANT).as_oauth(),
        CallError::Refused(Refusal::InsufficientScope { .. } | Refusal::Invalid(_)) => {
            Problem::of(&INVALID_SCOPE).as_oauth()
        }
        other => other.into(),
    })?;
    Ok(Json(next.into()))
}

/// Revoke a token or an API key by showing it: what it opens is refused from the answer on
#[utoipa::path(post, path = "/oauth/revoke", tag = "oauth",
    request_body(content = RevokeForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Whatever it was, it opens nothing any more",
            headers(("Latchkey-Receipt" = String, description = "`revision=7, edges=2, waited=1`, where something was revoked"))),
        (status = 400, description = "The request is faulty", body = OauthError)))]
pub(crate) async fn revoke(
    State(edge): State<Arc<Edge>>,
    Anonymous(context): Anonymous,
    Extension(client): Extension<ClientAddress>,
    FormBody(mut form): FormBody<MAX_AUTH_BODY>,
) -> Result<HeaderMap, Problem> {
    edge.limits.revocation(client)?;
    let token = Secret::new(form.required("token")?);
    let receipt = end(&edge, &context, token).await?;
    let shown = receipt.and_then(|Receipt { revision, edges_confirmed, waited_ms }| {
        let text = format!("revision={}, edges={edges_confirmed}, waited={waited_ms}", revision.0);
        // Digits and commas are what a header takes.
        HeaderValue::try_from(text).ok()
    });
    Ok(shown.map(|receipt| (RECEIPT, receipt)).into_iter().collect())
}

async fn end(edge: &Edge, context: &Context, token: Secret) -> Result<Option<Receipt>, CallError> {
    let Ok(hash) = ApiKey::hash_of(token.expose()) else {
        return edge.change(context, &RevokeToken { token, reused: false }).await;
    };
    Ok(match edge.change(context, &RevokeShown { hash }).await? {
        Some(Changed::Confirmed(receipt)) => Some(receipt),
        Some(Changed::Committed { .. }) | None => None,
    })
}
