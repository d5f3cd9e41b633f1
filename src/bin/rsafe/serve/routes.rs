//! The routes, who may use them, and what is answered where there is none.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::app::Shared;
use super::chat::chat;
use super::check::check;
use super::errors::Problem;
use super::models::models;
use super::moderations::moderations;
use super::openapi;
use super::responses::respond;
use super::settings::{Key, digest};
use super::status::{health, metrics};

pub fn router(app: Shared) -> Router {
    let locked = Router::new()
        .route("/v1/check", post(check))
        .route("/v1/moderations", post(moderations))
        .route("/metrics", get(metrics))
        .route_layer(from_fn_with_state(app.clone(), authorised));
    let relayed = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/responses", post(respond))
        .route("/v1/models", get(models));
    let relayed = match app.locks_upstream() {
        true => relayed.route_layer(from_fn_with_state(app.clone(), authorised)),
        false => relayed,
    };
    let open = Router::new().route("/healthz", get(health)).route("/openapi.json", get(openapi::document));
    let routes = locked.merge(relayed).merge(open).fallback(not_found).method_not_allowed_fallback(wrong_method);
    let counted = routes.layer(from_fn_with_state(app.clone(), counted));
    let shared = match &app.settings.allow_origin {
        Some(origin) => counted.layer(shared_with(AllowOrigin::exact(origin.clone()))),
        None => counted,
    };
    shared.with_state(app)
}

/// What pages of another origin may do.
fn shared_with(origin: AllowOrigin) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::RETRY_AFTER])
        .max_age(std::time::Duration::from_secs(600))
}

/// Lets through who shows a key, where there is one.
async fn authorised(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if app.settings.keys.is_empty() || shows_key(request.headers(), &app.settings.keys) {
        return next.run(request).await;
    }
    Problem::unauthorized().into_response()
}

/// Compares digests, all bytes of all of them, so that the time taken tells nothing about a key.
fn shows_key(headers: &HeaderMap, keys: &[Key]) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((scheme, key)) = given.split_once(' ') else { return false };
    let shown = digest(key.trim());
    let differs = |key: &Key| key.iter().zip(shown).fold(0, |all, (left, right)| all | (left ^ right));
    scheme.eq_ignore_ascii_case("bearer") && keys.iter().map(differs).fold(false, |any, bits| any | (bits == 0))
}

/// Counts requests by the route that they took.
async fn counted(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    app.metrics.answered(route, response.status().as_u16(), begun.elapsed());
    // What is said of a text is for the one who asked.
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

async fn not_found(uri: Uri) -> Problem {
    let message = format!("there is nothing at {}; GET /openapi.json has the routes", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let message = format!("{} does not take {method}; the header `Allow` says what it takes", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
