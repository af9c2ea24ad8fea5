//! `/.well-known/…`: the keys that anybody may check tokens by (RFC 7517), and where what is (RFC 8414).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use latchkey_contract::problem::NO_METADATA;
use latchkey_contract::signing::PublishedKey;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::acting::Anonymous;
use crate::endpoints::{Endpoints, KEYS, REVOKE, TOKEN};
use crate::problem::Problem;
use crate::state::Edge;

/// How long anybody may keep the set of keys: a key is in it for a day before it signs.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// Pages of every origin may read what is public.
const ANY: HeaderValue = HeaderValue::from_static("*");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The keys that anybody may check tokens by (RFC 7517); none where tokens are signed with `SECRET_KEY`.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"keys": [{
    "alg": "ES256", "crv": "P-256", "kid": "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "kty": "EC", "use": "sig",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
}]}))]
pub struct JwkSetBody {
    /// Each with `kid`, `alg`, `use` and what its kind has.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Map<String, Value>>,
}

/// Where what is (RFC 8414). Only endpoints that exist are named.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "issuer": "https://id.example.com", "jwks_uri": "https://id.example.com/.well-known/jwks.json",
    "response_types_supported": [], "grant_types_supported": []
}))]
pub struct MetadataBody {
    /// `PUBLIC_URL`, which is the `iss` claim, too.
    issuer: String,
    /// Where the keys are.
    jwks_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_methods_supported: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint_auth_methods_supported: Option<[&'static str; 1]>,
    #[schema(value_type = Vec<String>)]
    response_types_supported: [&'static str; 0],
    #[schema(value_type = Vec<String>)]
    grant_types_supported: Vec<&'static str>,
}

/// The keys that anybody may check tokens by
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "meta",
    responses((status = 200, description = "The keys", body = JwkSetBody)))]
pub(crate) async fn keys(
    State(edge): State<Arc<Edge>>,
    Anonymous(context): Anonymous,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let published = edge.published.read(&context).await?;
    let keys = edge.published.present(&published).filter_map(shown).collect();
    answer(&headers, &JwkSetBody { keys })
}

/// Where what is, for clients that read OAuth metadata
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "meta",
    responses((status = 200, description = "The metadata", body = MetadataBody)))]
pub(crate) async fn metadata(
    State(edge): State<Arc<Edge>>,
    Anonymous(context): Anonymous,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let published = edge.published.read(&context).await?;
    let issuer = edge.public_url.as_deref().filter(|url| *url == published.issuer);
    let issuer = issuer.ok_or_else(|| Problem::of(&NO_METADATA))?;
    let Endpoints { token, revoke } = edge.endpoints;
    let at = |path: &str| format!("{issuer}{path}");
    answer(
        &headers,
        &MetadataBody {
            issuer: issuer.to_owned(),
            jwks_uri: at(KEYS),
            token_endpoint: token.then(|| at(TOKEN)),
            token_endpoint_auth_methods_supported: token.then_some(["none"]),
            revocation_endpoint: revoke.then(|| at(REVOKE)),
            revocation_endpoint_auth_methods_supported: revoke.then_some(["none"]),
            response_types_supported: [],
            grant_types_supported: if token { vec!["refresh_token"] } else { Vec::new() },
        },
    )
}

/// The same, for clients that look for it here; nobody is logged in elsewhere by it
#[utoipa::path(get, path = "/.well-known/openid-configuration", tag = "meta",
    responses((status = 200, description = "The metadata", body = MetadataBody)))]
pub(crate) async fn configuration(
    state: State<Arc<Edge>>,
    anonymous: Anonymous,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    metadata(state, anonymous, headers).await
}

/// A key as it is published; `None` where it is of no form that this release knows.
fn shown(key: &PublishedKey) -> Option<Map<String, Value>> {
    let mut jwk: Map<String, Value> = serde_json::from_str(&key.public).ok()?;
    jwk.insert("kid".to_owned(), json!(key.kid));
    jwk.insert("alg".to_owned(), json!(key.algorithm));
    jwk.insert("use".to_owned(), json!("sig"));
    Some(jwk)
}

/// Public JSON, or that it is what the client has already (RFC 9110 §13.1.2).
fn answer(asked: &HeaderMap, body: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_string(body).map_err(|_never| Problem::internal())?;
    let hash: [u8; 32] = Sha256::digest(&text).into();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    let tag = format!("\"{:032x}\"", u128::from_be_bytes(half));
    let is_known = asked.get_all(IF_NONE_MATCH).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .map(str::trim)
            .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    });
    let tag = HeaderValue::try_from(tag).map_err(|_never| Problem::internal())?;
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, CACHE);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    Ok(response)
}
