//! Forged tokens where keys sign: each is refused, and the same token untouched is accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::Api;
use e2e::forge::Token;
use serde_json::{Value, json};

use super::{published, signing};

async fn refused(api: &Api, what: &str, token: &str) {
    let answer = api.as_user(token).await;
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
}

/// The token with another header, and the signature that it had.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').expect("three parts");
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test]
async fn nothing_that_is_said_in_a_token_makes_another_signer_of_it() {
    let stack = signing("ES256");
    let api = stack.api();
    let user = api.user().await;
    let (token, good) = (Token::read(&user.token), &user.token);
    assert_eq!(token.header["typ"], "at+jwt");
    assert_eq!(token.claims["client_id"], "latchkey");
    api.as_user(good).await.expect(200);
    let set = api.get("/.well-known/jwks.json").send().await.expect(200);
    let jwk = &set["keys"][0];
    let member = |name: &str| jwk[name].as_str().expect("a member").to_owned();
    let public = [member("x"), member("y"), member("kid"), jwk.to_string(), set.to_string()];
    for alg in ["HS256", "ES256", "none", "RS256", "EdDSA", "ES384", "PS256"] {
        let forged = token.clone().header("alg", json!(alg));
        for secret in &public {
            refused(&api, alg, &forged.sign(secret)).await;
        }
        refused(&api, alg, &forged.unsigned()).await;
        if alg != "ES256" {
            refused(&api, alg, &with_header(good, &forged.header)).await;
        }
    }
    for (name, value) in [
        ("kid", json!("no-such-key")),
        ("kid", json!("A".repeat(43))),
        ("kid", json!("k".repeat(3_000))),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!(null)),
        ("jku", json!("http://127.0.0.1:9/jwks.json")),
        ("jwk", jwk.clone()),
        ("x5u", json!("http://127.0.0.1:9/")),
        ("crit", json!(["b64"])),
        ("typ", json!("JWT")),
    ] {
        let forged = token.clone().header(name, value);
        refused(&api, name, &with_header(good, &forged.header)).await;
        refused(&api, name, &forged.sign(&public[0])).await;
    }
    assert_eq!(published(&api).await, [member("kid")]);
}

#[tokio::test]
async fn a_token_with_one_bit_changed_is_refused() {
    let stack = signing("EdDSA");
    let api = stack.api();
    let user = api.user().await;
    api.as_user(&user.token).await.expect(200);
    for at in 0..user.token.len() {
        let mut bytes = user.token.clone().into_bytes();
        // One bit of each character by turns; every bit of each is tried where tokens are read.
        bytes[at] ^= 1 << (at % 6);
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if text.chars().all(|letter| letter.is_ascii_graphic()) {
            refused(&api, &at.to_string(), &text).await;
        }
    }
    api.as_user(&user.token).await.expect(200);
}
