//! `/` and `/health…`: what this is, and whether it works.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::{CallError, identity, keys};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Edge;
use crate::problem::Problem;

/// How long the services may take to say to the monitor that they are ready.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Tell whether requests can be answered: every service and its database answers
#[utoipa::path(get, path = "/health/ready", tag = "meta",
    responses((status = 200, description = "Ready", body = HealthBody)))]
pub(crate) async fn ready(
    State(edge): State<Arc<Edge>>,
    Extension(context): Extension<Context>,
) -> Result<Json<HealthBody>, Problem> {
    everyone(&edge.bus, &context).await?;
    Ok(Json(HealthBody { status: "ready", service: "latchkey" }))
}

/// Whether every service and its database answers, for the monitor.
pub async fn everyone_is_ready(bus: &Bus) -> bool {
    everyone(bus, &Context::new(RequestId::new("readiness"), CHECK_TIMEOUT)).await.is_ok()
}

async fn everyone(bus: &Bus, context: &Context) -> Result<(), CallError> {
    let identity = bus.call(context, &identity::Ready);
    let keys = bus.call(context, &keys::Ready);
    tokio::try_join!(identity, keys).map(drop)
}
