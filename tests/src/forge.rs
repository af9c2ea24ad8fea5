//! Forged tokens: signed with any secret, under any header, with any claims. Forged keys: of any prefix.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey_contract::{ApiKey, KeyEnvironment, KeyPrefix};
use latchkey_runtime::Entropy;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

/// A token taken apart.
#[derive(Debug, Clone)]
pub struct Token {
    /// The header.
    pub header: Value,
    /// The claims.
    pub claims: Value,
}

/// A key of the default prefix that no service has made.
pub fn key() -> ApiKey {
    key_of("sk", None)
}

/// The same with another prefix and environment.
pub fn key_of(prefix: &str, infix: Option<&str>) -> ApiKey {
    let prefix = KeyPrefix::parse(prefix).expect("a prefix");
    let infix = infix.map(|name| KeyEnvironment::parse(name).expect("an environment"));
    ApiKey::generate(&prefix, infix.as_ref(), |bytes| Entropy::System.fill(bytes))
}

impl Token {
    /// Takes a token apart without checking it.
    pub fn read(token: &str) -> Self {
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part));
        let mut next = || {
            let bytes = parts.next().expect("three parts").expect("base64url");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        Self { header: next(), claims: next() }
    }

    /// The same token with one claim changed.
    #[must_use]
    pub fn with(mut self, claim: &str, value: Value) -> Self {
        self.claims[claim] = value;
        self
    }

    /// The same token with one claim taken away.
    #[must_use]
    pub fn without(mut self, claim: &str) -> Self {
        self.claims.as_object_mut().expect("an object").remove(claim);
        self
    }

    /// The same token with one header member changed.
    #[must_use]
    pub fn header(mut self, member: &str, value: Value) -> Self {
        self.header[member] = value;
        self
    }

    /// Signed with HMAC-SHA-256, whatever the header says.
    pub fn sign(&self, secret: &str) -> String {
        sign(&self.header.to_string(), &self.claims.to_string(), secret)
    }

    /// Signed with HMAC-SHA-512, with a header that says so.
    pub fn sign_512(&self, secret: &str) -> String {
        let header = json!({"alg": "HS512", "typ": "JWT"}).to_string();
        let input = input(&header, &self.claims.to_string());
        let mac = hmac::<Sha512>(secret.as_bytes(), input.as_bytes(), 128);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Not signed at all.
    pub fn unsigned(&self) -> String {
        format!("{}.", input(&self.header.to_string(), &self.claims.to_string()))
    }
}

/// Signs raw texts, which need not be JSON.
pub fn sign(header: &str, claims: &str, secret: &str) -> String {
    let input = input(header, claims);
    let mac = hmac::<Sha256>(secret.as_bytes(), input.as_bytes(), 64);
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac))
}

fn input(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// HMAC as RFC 2104 has it.
fn hmac<D: Digest>(secret: &[u8], message: &[u8], block: usize) -> Vec<u8> {
    let mut key = if secret.len() > block { D::digest(secret).to_vec() } else { secret.to_vec() };
    key.resize(block, 0);
    let pad = |byte: u8| key.iter().map(|part| part ^ byte).collect::<Vec<u8>>();
    let inner = D::new().chain_update(pad(0x36)).chain_update(message).finalize();
    D::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}
