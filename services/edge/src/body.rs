//! How bodies and ids in paths are read, and what is said of those that cannot be.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use latchkey_contract::problem::{BROKEN_BODY, NOT_JSON, SLOW_BODY, TOO_LARGE};
use latchkey_contract::{FieldError, KeyId};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::fields::Fields;
use crate::problem::Problem;

/// Bytes of a body that any route takes at most.
pub const MAX_BODY: usize = 64 * 1_024;
/// Bytes of a body with a password at most, refused before anything is decoded or hashed.
pub const MAX_AUTH_BODY: usize = 16 * 1_024;
/// How long a body may take to arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(5);

const NO_OBJECT: &str = "must be a JSON object that holds each field at most once";

/// A JSON body of at most `MOST` bytes.
pub struct JsonBody<T, const MOST: usize = MAX_BODY>(pub T);

impl<S, T, const MOST: usize> FromRequest<S> for JsonBody<T, MOST>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if is_compressed(request.headers()) {
            return Err(Problem::compressed());
        }
        if !is_json(request.headers()) {
            return Err(Problem::of(&NOT_JSON));
        }
        parse(&read(request, MOST).await?).map(Self)
    }
}

/// A merge patch (RFC 7396) of at most `MOST` bytes: JSON that says so, or says no more than that it is JSON.
pub struct MergePatch<T, const MOST: usize>(pub T);

impl<S, T, const MOST: usize> FromRequest<S> for MergePatch<T, MOST>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if is_compressed(request.headers()) {
            return Err(Problem::compressed());
        }
        // Other patches are JSON too, and mean something else.
        let media = essence(request.headers());
        if media != "application/json" && media != "application/merge-patch+json" {
            return Err(Problem::of(&NOT_JSON));
        }
        parse(&read(request, MOST).await?).map(Self)
    }
}

/// The members of a JSON body of at most `MOST` bytes where each may be left out: no body is one without members.
pub struct MaybeBody<const MOST: usize = MAX_BODY>(pub Fields);

impl<S: Send + Sync, const MOST: usize> FromRequest<S> for MaybeBody<MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if is_compressed(request.headers()) {
            return Err(Problem::compressed());
        }
        let (is_json, is_said) =
            (is_json(request.headers()), request.headers().contains_key(CONTENT_TYPE));
        let bytes = read(request, MOST).await?;
        if bytes.is_empty() && (is_json || !is_said) {
            return Ok(Self(Fields::default()));
        }
        if is_json { parse(&bytes).map(Self) } else { Err(Problem::of(&NOT_JSON)) }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Whoever reads a list as the fields of an object, in their order, is serde.
    if !is_object(bytes) && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        return Err(Problem::invalid(vec![FieldError::new("body", NO_OBJECT)]));
    }
    serde_json::from_slice(bytes).map_err(|error| unreadable(bytes, &error))
}

/// Of a request that has no body: DELETE gives one no meaning (RFC 9110 §9.3.5), and whoever sends one means
/// something that would not happen.
pub struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() || read(request, MAX_BODY).await?.is_empty() {
            return Ok(Self);
        }
        Err(Problem::invalid(vec![FieldError::new("body", "must be left out: this takes none")]))
    }
}

/// The bytes of a body, which has at most `most`.
pub(crate) async fn read(request: Request, most: usize) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body(), most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(Problem::about(&TOO_LARGE, &most.to_string())),
        Ok(Err(_broken)) => Err(Problem::of(&BROKEN_BODY)),
        Err(_late) => Err(Problem::of(&SLOW_BODY)),
    }
}

/// The body's bytes; `None` where there are more than `most`.
async fn collect(mut body: Body, most: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes))
}

/// Whether the body is in a coding that would have to be undone first: nothing here does that.
pub(crate) fn is_compressed(headers: &HeaderMap) -> bool {
    let plain = |value: &[u8]| value.is_empty() || value.eq_ignore_ascii_case(b"identity");
    !headers.get_all(CONTENT_ENCODING).iter().all(|value| plain(value.as_bytes().trim_ascii()))
}

/// Whether the JSON text begins like an object.
fn is_object(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !b" \t\r\n".contains(byte)) == Some(&b'{')
}

/// `application/json`, or a type in `+json` (RFC 6839), with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let essence = essence(headers);
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The type of the body, without parameters.
pub(crate) fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Says what is wrong without repeating what was sent: it may hold a password.
fn unreadable(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let message = if bytes.is_empty() {
        "is empty: a JSON object is required".to_owned()
    } else if bytes.starts_with(b"\xef\xbb\xbf") {
        "begins with a byte order mark, which JSON has none of".to_owned()
    } else if error.is_data() {
        NO_OBJECT.to_owned()
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
