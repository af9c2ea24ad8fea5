//! A client for the public HTTP interface: one request, one [`Answer`], no retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::Answer;

/// Bound on one request: nothing may hang.
const ANSWER: Duration = Duration::from_mins(1);

/// A client for one edge, or for several in turn. A test makes its own: its connections belong to the
/// test's runtime.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    edges: Arc<[String]>,
    next: Arc<AtomicUsize>,
}

/// A request in the making.
#[derive(Debug)]
#[must_use]
pub struct Call(reqwest::RequestBuilder);

impl Api {
    /// A client for the edge at `url`.
    pub fn new(url: &str) -> Self {
        Self::over(vec![url.to_owned()])
    }

    /// A client that asks each of `edges` in turn.
    pub fn over(edges: Vec<String>) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build();
        let next = Arc::new(AtomicUsize::new(0));
        Self { client: client.expect("a client"), edges: edges.into(), next }
    }

    /// The addresses of the edges it asks.
    pub fn edges(&self) -> &[String] {
        &self.edges
    }

    /// A request of any method.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let edge = &self.edges[self.next.fetch_add(1, Ordering::Relaxed) % self.edges.len()];
        Call(self.client.request(method, format!("{edge}{path}")))
    }

    /// A GET request.
    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    /// A POST request without a body.
    pub fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    /// A DELETE request.
    pub fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }

    /// A POST request with a JSON body, sent.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path).json(body).send().await
    }
}

impl Call {
    /// Adds a header; the same name twice sends it twice.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        Self(self.0.header(name, value.as_ref()))
    }

    /// Adds a bearer token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Adds an API key.
    pub fn api_key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sets a form, as browsers write it.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let encode = |text: &str| -> String {
            let byte = |byte: u8| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            };
            text.bytes().map(byte).collect()
        };
        let pairs =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        self.body("application/x-www-form-urlencoded", body)
    }

    /// Sets a body of any kind.
    pub fn body(self, media: &str, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", media).body(body))
    }

    /// Sends it; fails where no answer comes.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("an answer")
    }

    /// Sends it.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.0.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let url = response.url().to_string();
        let body = response.bytes().await?.to_vec();
        Ok(Answer { status, headers, body, url })
    }
}
