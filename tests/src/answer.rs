//! An answer read to its end, and the checks that every answer of one kind has to pass.

use reqwest::header::HeaderMap;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A whole HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The address that gave it, after redirects.
    pub url: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; the empty string where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header in ASCII"))
    }

    /// Fails unless the status is `status`; gives the body as JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Fails unless this is a problem document of `status` whose detail contains `part`.
    #[track_caller]
    pub fn problem(&self, status: u16, part: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let media = self.header("content-type");
        assert!(media.starts_with("application/problem+json"), "{media}: {}", self.text());
        let body = self.json();
        for member in ["type", "title", "detail", "request_id"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
        }
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(part), "no {part:?} in {body}");
        assert!(body.get("errors").is_none() || status == 422, "errors on 422 alone: {body}");
        self.shows_nothing_internal();
        body
    }

    /// Fails unless this is a 422 that names each of `fields`, and only those.
    #[track_caller]
    pub fn invalid(&self, fields: &[&str]) {
        let body = self.problem(422, "");
        let errors = body["errors"].as_array().expect("a list of errors");
        for error in errors {
            let field = error["field"].as_str().expect("the field's name");
            assert!(fields.contains(&field), "{field} is not among {fields:?}: {body}");
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
        for field in fields {
            assert!(errors.iter().any(|error| error["field"] == *field), "no {field} in {body}");
            assert!(body["detail"].as_str().unwrap().contains(field), "{field}: {body}");
        }
    }

    /// Fails unless this is the refusal of a credential.
    #[track_caller]
    pub fn unauthenticated(&self) {
        self.problem(401, "authentication");
        let challenge = self.header("www-authenticate");
        let known = ["Bearer", "ApiKey"].iter().any(|scheme| challenge.contains(scheme));
        assert!(known, "{:?}", self.headers);
    }

    /// Fails if the body shows how the server is made.
    #[track_caller]
    pub fn shows_nothing_internal(&self) {
        let text = self.text();
        let internal =
            ["panicked", "src/", ".rs:", "SELECT", "INSERT", "sqlx", "SQLITE", "serde", "RUST_"];
        for word in internal {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

/// Fails unless `body` is an object with exactly these members.
#[track_caller]
pub fn exactly(body: &Value, members: &[&str]) {
    let mut found: Vec<&str> =
        body.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut wanted = members.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{body}");
}

/// A time in RFC 3339 and UTC, with the `Z`.
#[track_caller]
pub fn time(value: &Value) -> OffsetDateTime {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    assert!(text.ends_with('Z'), "not in UTC: {text}");
    OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A positive integer.
#[track_caller]
pub fn id(value: &Value) -> i64 {
    value.as_i64().filter(|id| *id > 0).unwrap_or_else(|| panic!("no id: {value}"))
}
