//! How bodies and ids in paths are read, and what is said of those that cannot be.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use latchkey_contract::{FieldError, KeyId};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Bytes of a body that any route takes at most.
pub const MAX_BODY: usize = 64 * 1_024;
/// Bytes of a body with a password at most, refused before anything is decoded or hashed.
pub const MAX_AUTH_BODY: usize = 16 * 1_024;
/// Bytes that are still taken and thrown away of a body that is too large: a client that goes on
/// sending would not see the answer.
const MAX_DRAIN: usize = 2 * 1_024 * 1_024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A JSON body of at most `MOST` bytes.
pub struct JsonBody<T, const MOST: usize = MAX_BODY>(pub T);

impl<S, T, const MOST: usize> FromRequest<S> for JsonBody<T, MOST>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::not_json());
        }
        let bytes = read(request, MOST).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| unreadable(&bytes, &error))
    }
}

async fn read(request: Request, most: usize) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body(), most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(Problem::too_large(most)),
        Ok(Err(_broken)) => Err(Problem::bad_request("The request's body could not be read.")),
        Err(_late) => Err(Problem::slow_body()),
    }
}

/// Takes a body that was announced as too large, as far as that makes sense, and throws it away.
pub(crate) async fn discard(body: Body, announced: u64) {
    if announced <= MAX_DRAIN as u64 {
        // Whatever becomes of it, the answer is the same.
        drop(tokio::time::timeout(BODY_TIMEOUT, collect(body, 0)).await);
    }
}

/// The body's bytes; `None` where there are more than `most`.
async fn collect(mut body: Body, most: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut bytes = Vec::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen += data.len();
        if seen <= most {
            bytes.extend_from_slice(&data);
        } else if seen > most + MAX_DRAIN {
            break;
        }
    }
    Ok((seen <= most).then_some(bytes))
}

/// `application/json`, or a type in `+json` (RFC 6839), with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Says what is wrong without repeating what was sent: it may hold a password.
fn unreadable(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let message = if bytes.is_empty() {
        "is empty: a JSON object is required".to_owned()
    } else if error.is_data() {
        "must be a JSON object that holds each field at most once".to_owned()
    } else {
        format!("is not JSON (line {}, column {})", error.line(), error.column())
    };
    Problem::invalid(vec![FieldError::new("body", message)])
}

/// The id of a key in the path.
pub struct KeyPath(pub KeyId);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        text.as_ref().and_then(|Path(text)| positive(text)).map(|id| Self(KeyId(id))).ok_or_else(
            || {
                let message = "must be a positive whole number of 64 bits";
                Problem::invalid(vec![FieldError::new("key_id", message)])
            },
        )
    }
}

/// A positive 64-bit integer in decimal digits.
#[must_use]
pub fn positive(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number: &i64| digits && *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_positive_numbers() {
        assert_eq!(positive("9223372036854775807"), Some(i64::MAX));
        for bad in ["0", "-1", "+1", "", "1.0", "9223372036854775808", "0x1", " 1", "\u{661}"] {
            assert_eq!(positive(bad), None, "{bad}");
        }
    }
}
