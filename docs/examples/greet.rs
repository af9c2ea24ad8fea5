// Routes that only a good credential reaches. The tests run this code, and the crate's page shows it.
use axum::routing::{get, post};
use axum::{Extension, Router};
use latchkey_client::{Principal, PrincipalKind, RequireCredential, Verifier};

pub fn app(verifier: Verifier) -> Router {
    let require = RequireCredential::new(verifier);
    Router::new()
        .route("/greet", get(greet).route_layer(require.clone()))
        .route("/profile", get(greet).route_layer(require.clone().users_only()))
        .route("/deploy", post(greet).route_layer(require.clone().services_only()))
        // Whoever holds the one scope or the other.
        .route("/orders", get(greet).route_layer(require.scope("orders:read").or_scope("admin")))
}

async fn greet(Extension(principal): Extension<Principal>) -> String {
    match principal.kind {
        PrincipalKind::User => format!("Hello {}!", principal.username.unwrap_or_default()),
        PrincipalKind::Service => format!("Hello service {}!", principal.name.unwrap_or_default()),
    }
}
