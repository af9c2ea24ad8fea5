//! `/` and `/health…`: what this is, and whether it works.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::state::Edge;

/// What this is.
#[derive(Serialize, ToSchema)]
pub struct RootBody {
    name: &'static str,
    description: &'static str,
    version: &'static str,
    /// Where the routes begin; the documents below list each.
    routes: [&'static str; 3],
    docs: &'static str,
    redoc: &'static str,
    openapi: &'static str,
    health: &'static str,
    ready: &'static str,
}

/// The process is there.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "healthy", "service": "latchkey"}))]
pub struct HealthBody {
    status: &'static str,
    service: &'static str,
}

/// Requests are to be sent here.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "ready", "service": "latchkey"}))]
pub struct ReadyBody {
    status: &'static str,
    service: &'static str,
    /// The services behind this one that cannot answer just now, or whose database does not: `identity`, `keys`.
    /// Left out where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    away: Vec<&'static str>,
}

/// Tell what this is and where its routes are
#[utoipa::path(get, path = "/", tag = "meta",
    responses((status = 200, description = "What this is", body = RootBody)))]
pub(crate) async fn root() -> Json<RootBody> {
    Json(RootBody {
        name: "Latchkey",
        description: "User login and API keys for services, where revoked means revoked",
        version: env!("CARGO_PKG_VERSION"),
        routes: ["/auth", "/keys", "/protected"],
        docs: "/docs",
        redoc: "/redoc",
        openapi: "/openapi.json",
        health: "/health",
        ready: "/health/ready",
    })
}

/// Tell that the process is alive
#[utoipa::path(get, path = "/health", tag = "meta",
    responses((status = 200, description = "Alive", body = HealthBody)))]
pub(crate) async fn live() -> Json<HealthBody> {
    Json(HealthBody { status: "healthy", service: "latchkey" })
}

/// Tell whether requests are to be sent here: it can answer from memory, or ask
#[utoipa::path(get, path = "/health/ready", tag = "meta",
    responses((status = 200, description = "Ready", body = ReadyBody)))]
pub(crate) async fn ready(State(edge): State<Arc<Edge>>) -> Result<Json<ReadyBody>, Problem> {
    let state = edge.readiness.state();
    if !state.is_ready {
        return Err(Problem::not_ready(&state.away));
    }
    Ok(Json(ReadyBody { status: "ready", service: "latchkey", away: state.away }))
}
