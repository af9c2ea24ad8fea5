//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a request that may come again from its client, and gets
//! the first answer then. The key service keeps that; here the header is read, and what was asked for is told apart.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use latchkey_contract::keys::IssuedKey;
use latchkey_contract::problem::IDEMPOTENCY_MALFORMED;
use latchkey_contract::{Idempotency, IdempotencyKey, IdempotentRoute, KeyId, RequestDigest};
use serde_json::Value;
use utoipa::IntoParams;

use crate::body::{self, MAX_BODY};
use crate::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request that may come again, with its body, which has at most `MOST` bytes.
pub struct Repeatable<B, const MOST: usize = MAX_BODY> {
    /// The body.
    pub(crate) body: B,
    /// What the client calls the request, if it does.
    pub(crate) named: Option<Named>,
}

/// What a client calls a request.
pub(crate) struct Named {
    key: IdempotencyKey,
    body: Vec<u8>,
}

/// What a client may say of a request that makes a secret.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is the description of a header")]
pub struct IdempotencyHeader {
    /// Names this request, best by a random UUID: sent again under the same name within 24 hours, it does nothing more and
    /// gets the first answer, the secret included.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        min_length = 16,
        max_length = 255,
        pattern = "^[!-~]{16,255}$",
        example = "8e03978e-40d5-43dd-bc93-6894a57f9324"
    )]
    idempotency_key: String,
}

/// Says in the answer's headers that it was given before.
pub(crate) struct Replayed(bool);

impl<S, B, const MOST: usize> FromRequest<S> for Repeatable<B, MOST>
where
    S: Send + Sync,
    B: FromRequest<S, Rejection = Problem>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Some(key) = header(request.headers())? else {
            let body = B::from_request(request, state).await?;
            return Ok(Self { body, named: None });
        };
        let (parts, body) = request.into_parts();
        let bytes = body::read(Request::new(body), MOST).await?;
        let named = Some(Named { key, body: canonical(&bytes) });
        let body = B::from_request(Request::from_parts(parts, Body::from(bytes)), state).await?;
        Ok(Self { body, named })
    }
}

impl Named {
    /// What the key service is told. `about`: the key that the path names, which is a part of what is asked for.
    pub(crate) fn of(self, route: IdempotentRoute, about: Option<KeyId>) -> Idempotency {
        let about = about.map(|key| key.0.to_be_bytes());
        let about = about.as_ref().map_or(&[][..], |about| about);
        let request = RequestDigest::of(&[about, &self.body]);
        Idempotency { key: self.key, route, request }
    }
}

impl Replayed {
    /// Whether these keys were made for an earlier request.
    pub(crate) fn of(issued: &[IssuedKey]) -> Self {
        Self(issued.iter().any(|issued| issued.is_replayed))
    }
}

impl IntoResponseParts for Replayed {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if self.0 {
            parts.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(parts)
    }
}

fn header(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let key = text.and_then(|text| IdempotencyKey::parse(text).ok());
    key.map(Some).ok_or_else(|| Problem::of(&IDEMPOTENCY_MALFORMED))
}

/// The same JSON has the same bytes, however it is spaced and in whichever order its members stand. No body is an object
/// without members; what is no JSON is refused by whoever reads it.
fn canonical(bytes: &[u8]) -> Vec<u8> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let value = serde_json::from_slice::<Value>(bytes);
    value.ok().and_then(|value| serde_json::to_vec(&value).ok()).unwrap_or_else(|| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<IdempotencyKey>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY, HeaderValue::from_bytes(value).unwrap());
        }
        header(&headers)
    }

    #[test]
    fn a_key_is_there_once_and_is_visible_ascii() {
        assert!(read(&[]).unwrap().is_none());
        let key = read(&[b"8e03978e-40d5-43dd-bc93-6894a57f9324"]).unwrap().unwrap();
        assert_eq!(key.expose(), "8e03978e-40d5-43dd-bc93-6894a57f9324");
        for bad in [
            &[&b""[..]][..],
            &[b"0123456789abcde"],
            &[&[b'x'; 256]],
            &[b"0123456789 abcdef"],
            &[b"0123456789abcde\xe9"],
            &[b"0123456789abcdef", b"0123456789abcdef"],
        ] {
            assert_eq!(read(bad).unwrap_err().code(), "bad-request");
        }
    }

    #[test]
    fn the_same_json_is_the_same_request() {
        let of = |text: &str, about: Option<KeyId>| {
            let key = IdempotencyKey::parse("0123456789abcdef").unwrap();
            let named = Named { key, body: canonical(text.as_bytes()) };
            named.of(IdempotentRoute::Rotate, about).request
        };
        let one = of(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#, None);
        assert_eq!(one, of(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#, None));
        assert_eq!(of("", None), of("{ }", None));
        for other in ["{}", "", r#"{"a": 2, "b": {"c": [1, 2], "d": null}}"#, "no JSON"] {
            assert_ne!(one, of(other, None), "{other}");
        }
        assert_ne!(of("", None), of("", Some(KeyId(1))));
        assert_ne!(of("", Some(KeyId(1))), of("", Some(KeyId(2))));
    }
}
