//! `GET /healthz` and `GET /metrics`: how the server is, for those who watch it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::Shared;
use super::errors::{ErrorBody, Problem};

#[derive(Serialize, ToSchema)]
struct Health {
    /// `ready`: the model is loaded before the server listens.
    status: &'static str,
}

/// Says that the server is there.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "Ready.", body = Health)))]
pub async fn health() -> impl IntoResponse {
    Json(Health { status: "ready" })
}

/// What the server counts, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", security(("key" = [])),
    responses((status = 200, description = "Metrics.", body = String, content_type = "text/plain"), (status = 401, description = "No key, or another.", body = ErrorBody)),
)]
pub async fn metrics(State(app): State<Shared>) -> Result<([(HeaderName, String); 1], Vec<u8>), Problem> {
    let (kind, text) = app.metrics.text(app.pool.depth()).map_err(|_| Problem::internal())?;
    Ok(([(header::CONTENT_TYPE, kind)], text))
}
