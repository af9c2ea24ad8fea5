//! Bodies that are forms (`application/x-www-form-urlencoded`), as OAuth has them.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use latchkey_contract::problem::{CREDENTIAL_IN_URL, INVALID_REQUEST, NOT_FORM};

use crate::body::{essence, is_compressed, read};
use crate::problem::Problem;
use crate::secret_in_query;

/// A form of at most `MOST` bytes at a route that takes no query.
pub struct FormBody<const MOST: usize>(pub Form);

/// What a form holds.
#[derive(Debug, Default)]
pub struct Form(BTreeMap<String, String>);

impl<S: Send + Sync, const MOST: usize> FromRequest<S> for FormBody<MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if let Some(query) = request.uri().query().filter(|query| !query.is_empty()) {
            return Err(if secret_in_query::is_held_by(query) {
                Problem::of(&CREDENTIAL_IN_URL)
            } else {
                invalid("this takes no query: everything goes into the body").as_oauth()
            });
        }
        if !Form::is_in(request.headers()) {
            return Err(Problem::of(&NOT_FORM));
        }
        let form = Form::read(request, MOST).await?;
        form.map(Self).map_err(Problem::as_oauth)
    }
}

impl Form {
    /// Whether a body says that it is one.
    pub(crate) fn is_in(headers: &HeaderMap) -> bool {
        essence(headers) == "application/x-www-form-urlencoded"
    }

    /// The form in a body of at most `most` bytes, or what is wrong with it.
    ///
    /// # Errors
    /// [`Problem`] where the body cannot be read at all.
    pub(crate) async fn read(
        request: Request,
        most: usize,
    ) -> Result<Result<Self, Problem>, Problem> {
        if is_compressed(request.headers()) {
            return Err(Problem::compressed());
        }
        Ok(Self::parse(&read(request, most).await?))
    }

    /// What is sent without a value counts as left out, and nothing may be there twice (RFC 6749 §3.2).
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(invalid("a parameter is there more than once"));
            }
        }
        fields.retain(|_, value| !value.is_empty());
        Ok(Self(fields))
    }

    /// Whether a parameter has a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A parameter that has a value.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A parameter that has to be there.
    ///
    /// # Errors
    /// 400 where it is not.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, Problem> {
        self.take(name).ok_or_else(|| invalid(&format!("{name} is required")).as_oauth())
    }
}

/// 400: a form that cannot be read.
fn invalid(why: &str) -> Problem {
    Problem::about(&INVALID_REQUEST, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it_and_nothing_twice() {
        let mut form = Form::parse(b"a=1&b=x%20y+z&c=&d").unwrap();
        assert_eq!(form.take("b").as_deref(), Some("x y z"));
        assert_eq!(form.required("a").unwrap(), "1");
        for missing in ["a", "c", "d", "e"] {
            assert_eq!(form.required(missing).unwrap_err().code(), "invalid-request");
        }
        for twice in ["a=1&a=1", "a=&a=2", "a&a"] {
            assert!(Form::parse(twice.as_bytes()).is_err(), "{twice}");
        }
        assert!(Form::parse(b"").is_ok());
    }
}
