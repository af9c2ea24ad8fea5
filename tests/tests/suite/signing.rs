//! Signing keys: made, used, replaced and dropped by themselves, and revoked exactly. Rows of the database are moved into the
//! past where a test waits for months.

mod ending;
mod forged;
mod kept;
mod revoked;
mod rotated;
mod rows;

use std::time::Duration;

use e2e::forge::Token;
use e2e::{Api, Service, Stack, database, poll};
use serde_json::Value;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
const HOUR: i64 = 60 * 60 * 1_000;
const DAY: i64 = 24 * HOUR;

/// A stack that signs with keys.
fn signing(algorithm: &str) -> Stack {
    Stack::with(|config| {
        config.cheap_passwords().set("JWT_ALGORITHM", algorithm);
    })
}

/// The name of the signer in a token's header.
fn kid(token: &str) -> String {
    Token::read(token).header["kid"].as_str().expect("each token names its signer").to_owned()
}

/// The names of the keys that an edge publishes.
async fn published(api: &Api) -> Vec<String> {
    let set = api.get("/.well-known/jwks.json").send().await.expect(200);
    let name = |key: &Value| key["kid"].as_str().expect("a name").to_owned();
    set["keys"].as_array().expect("keys").iter().map(name).collect()
}

/// Waits until every edge publishes what is wanted.
async fn until_published(stack: &Stack, what: &str, wanted: impl Fn(&[String]) -> bool + Sync) {
    for edge in stack.edges() {
        let api = Api::new(&edge);
        poll::until_async(what, SOON, async || wanted(&published(&api).await).then_some(())).await;
    }
}

const LATER: &str = "UPDATE signing_keys SET signs_from = signs_from - CAST($1 AS BIGINT), \
    signs_until = signs_until - CAST($1 AS BIGINT), \
    accepted_until = accepted_until - CAST($1 AS BIGINT), \
    created_at = created_at - CAST($1 AS BIGINT)";

/// So many milliseconds pass for the keys.
async fn pass(stack: &Stack, millis: i64) {
    let url = stack.database(Service::Identity);
    assert!(database::execute(&url, LATER, &millis.to_string()).await > 0);
}
