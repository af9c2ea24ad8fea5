//! `/auth/sessions…`: the sessions of a user, and the end of each.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use latchkey_contract::identity::{EndSession, ListSessions, SessionObject};
use latchkey_contract::problem::SESSION_NOT_FOUND;
use latchkey_contract::{FieldError, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::EndedBody;
use crate::api::json::rfc3339;
use crate::body::NoBody;
use crate::credential::Oneself;
use crate::problem::Problem;
use crate::state::Edge;

/// Pages of one list at most: the newest thousand or so are shown.
const MAX_PAGES: usize = 16;
/// Digits of what a session is called.
const HANDLE: usize = 16;

/// A session.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"id": "8f3a90c2d1e45b67", "created_at": "2025-12-05T23:00:00Z",
    "last_seen_at": "2025-12-06T08:30:00Z", "expires_at": "2026-03-05T23:00:00Z",
    "idle_expires_at": "2026-01-05T08:30:00Z", "device": "laptop", "user_agent": "curl/8.9.1",
    "ip": "203.0.113.7", "methods": ["pwd"], "current": true, "kind": "api"}))]
pub struct SessionBody {
    /// What it is called: it opens nothing.
    id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: String,
    /// When it was used last, as far as is known.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: String,
    /// When it ends, whatever is done.
    #[schema(value_type = String, format = DateTime)]
    expires_at: String,
    /// When it ends if it is not refreshed.
    #[schema(value_type = String, format = DateTime)]
    idle_expires_at: String,
    /// What the login called it.
    device: Option<String>,
    /// What the client said of itself that logged in.
    user_agent: Option<String>,
    /// From which address that was, as far as `AUDIT_IP` has it written down.
    ip: Option<String>,
    /// How its user showed who they are (RFC 8176).
    methods: Vec<String>,
    /// Whether it is the one that asks.
    current: bool,
    /// What it is for: `api`, or `console`.
    kind: String,
}

/// Which sessions a logout ends.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct KeepQuery {
    /// `true`: the session that asks goes on.
    #[param(value_type = Option<bool>, example = true)]
    keep_current: Option<String>,
}

impl KeepQuery {
    pub(super) fn read(query: Result<Query<Self>, QueryRejection>) -> Result<bool, Problem> {
        let wrong = |field, message| Problem::invalid(vec![FieldError::new(field, message)]);
        let Query(query) = query
            .map_err(|_other| wrong("query", "may hold `keep_current` once, and nothing else"))?;
        match query.keep_current.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong("keep_current", "must be true or false")),
        }
    }
}

/// The sessions that have not ended, the newest first
#[utoipa::path(get, path = "/auth/sessions", tag = "auth",
    responses((status = 200, description = "The sessions, the newest first", body = Vec<SessionBody>)))]
pub(crate) async fn list(
    State(edge): State<Arc<Edge>>,
    Oneself { user, context }: Oneself,
) -> Result<Json<Vec<SessionBody>>, Problem> {
    let mut all = Vec::new();
    let mut before = None;
    for _ in 0..MAX_PAGES {
        let page = edge.bus.call(&context, &ListSessions { user: user.id, before }).await?;
        all.extend(page.sessions.into_iter().map(|session| SessionBody::of(session, user.session)));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    Ok(Json(all))
}

/// End a session: its tokens are refused from the answer on
#[utoipa::path(delete, path = "/auth/sessions/{session_id}", tag = "auth",
    params(("session_id" = String, Path, description = "What the list calls the session")),
    responses((status = 200, description = "The session has ended, now or before", body = EndedBody)))]
pub(crate) async fn end(
    State(edge): State<Arc<Edge>>,
    Oneself { user, context }: Oneself,
    SessionPath(handle): SessionPath,
    _empty: NoBody,
) -> Result<Json<EndedBody>, Problem> {
    let receipt = edge.change(&context, &EndSession { user: user.id, handle }).await?;
    let receipt = receipt.ok_or_else(|| Problem::of(&SESSION_NOT_FOUND))?;
    Ok(Json(EndedBody { message: "Session ended successfully", receipt: Some(receipt.into()) }))
}

/// What the path calls a session; a text that cannot be the name of one is nobody's.
pub struct SessionPath(String);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        let is_handle = |text: &String| {
            text.len() == HANDLE && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        let handle = text.map(|Path(text)| text).filter(is_handle);
        handle.map(Self).ok_or_else(|| Problem::of(&SESSION_NOT_FOUND))
    }
}

impl SessionBody {
    fn of(session: SessionObject, current: SessionId) -> Self {
        Self {
            id: session.handle,
            created_at: rfc3339(session.created_at),
            last_seen_at: rfc3339(session.last_seen_at),
            expires_at: rfc3339(session.expires_at),
            idle_expires_at: rfc3339(session.idle_expires_at),
            device: session.device,
            user_agent: session.user_agent,
            ip: session.ip,
            methods: session.methods,
            current: session.id == current,
            kind: session.kind,
        }
    }
}
