//! `If-Match` (RFC 9110 §13.1.1): the versions of an object that a change is meant for.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use latchkey_contract::problem::PRECONDITION_FAILED;

use crate::problem::Problem;

/// Versions that one request names at most; further ones count as others.
const MAX: usize = 16;

/// The versions that a request is meant for; `None`: whichever there is.
#[derive(Debug, PartialEq, Eq)]
pub struct IfMatch(Option<Vec<i64>>);

impl IfMatch {
    /// Whether versions are named.
    pub(crate) fn is_named(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a change of an object of this version is meant.
    ///
    /// # Errors
    /// 412 where it is not.
    pub(crate) fn check(&self, version: i64) -> Result<(), Problem> {
        match &self.0 {
            Some(versions) if !versions.contains(&version) => {
                Err(Problem::of(&PRECONDITION_FAILED))
            }
            _ => Ok(()),
        }
    }

    fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let texts: Vec<String> =
            values.map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        let tags: Vec<&str> =
            texts.iter().flat_map(|text| text.split(',')).map(str::trim).collect();
        if tags.is_empty() || tags.contains(&"*") {
            return Self(None);
        }
        // Tags of another form are of no version (a weak one is never the same, §8.8.3.2).
        let version = |tag: &str| tag.strip_prefix("\"v")?.strip_suffix('"')?.parse().ok();
        Self(Some(tags.into_iter().take(MAX).filter_map(version).collect()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(IF_MATCH).iter();
        Ok(Self::read(values.map(HeaderValue::as_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named_as_etags_and_anything_else_is_another_object() {
        let of = |values: &[&str]| IfMatch::read(values.iter().map(|value| value.as_bytes())).0;
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["*"]), None);
        assert_eq!(of(&["\"v7\""]), Some(vec![7]));
        assert_eq!(of(&["\"v7\", \"v8\"", "\"v9\""]), Some(vec![7, 8, 9]));
        for other in ["", "v7", "W/\"v7\"", "\"7\"", "\"vx\""] {
            assert_eq!(of(&[other]), Some(Vec::new()), "{other}");
        }
        assert!(IfMatch(None).check(1).is_ok());
        assert!(IfMatch(Some(vec![1])).check(1).is_ok());
        assert!(IfMatch(Some(Vec::new())).check(1).is_err());
    }
}
