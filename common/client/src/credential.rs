//! Takes the credentials out of a request's headers, as Latchkey's own edge does.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName};
use latchkey_contract::Secret;
use latchkey_contract::identity::MAX_TOKEN;

/// The header of an API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A header with a credential was sent more than once: which of them counts is not for us to guess.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Twice;

/// The credentials that a request presents: an access token first, then an API key. One that cannot be
/// read, or is longer than any, is an empty one, which nobody accepts.
pub(crate) fn presented(headers: &HeaderMap) -> Result<Vec<Secret>, Twice> {
    let token = single(headers, &AUTHORIZATION)?.map(bearer);
    let key = single(headers, &API_KEY)?;
    let usable = |text: &str| if text.len() <= MAX_TOKEN { text.to_owned() } else { String::new() };
    Ok(token.into_iter().chain(key).map(|text| Secret::new(usable(text))).collect())
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Twice> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Twice);
    }
    Ok(first.map(|value| value.to_str().unwrap_or_default()))
}

/// The token behind `Bearer ` in any case (RFC 9110 §11.1); empty for another scheme.
fn bearer(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(headers: &[(&'static str, &[u8])]) -> Result<Vec<String>, Twice> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Ok(presented(&map)?.iter().map(|secret| secret.expose().to_owned()).collect())
    }

    #[test]
    fn credentials_are_read_once_and_the_token_comes_first() {
        assert_eq!(read(&[]), Ok(vec![]));
        assert_eq!(read(&[("authorization", b"bEARER  a.b.c ")]), Ok(vec!["a.b.c".into()]));
        assert_eq!(
            read(&[("x-api-key", b"k"), ("authorization", b"Bearer t")]).unwrap(),
            ["t", "k"]
        );
        for unusable in [&b"Basic dTpw"[..], b"a.b.c", b"Bearer", b"", b"Bearer \xff"] {
            assert_eq!(read(&[("authorization", unusable)]).unwrap(), [""], "{unusable:?}");
        }
        for name in ["authorization", "x-api-key"] {
            assert_eq!(read(&[(name, b"Bearer t"), (name, b"Bearer t")]), Err(Twice));
        }
    }
}
