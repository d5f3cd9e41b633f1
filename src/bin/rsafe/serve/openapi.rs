//! The OpenAPI document, made from the types that requests are read into and answers are written from.

use axum::Json;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{chat, check, models, moderations, responses, status};

#[derive(OpenApi)]
#[openapi(
    info(title = "rsafe", description = "A safety guard: texts and conversations in, verdicts out."),
    paths(
        chat::chat,
        responses::respond,
        check::check,
        moderations::moderations,
        models::models,
        status::metrics,
        status::health,
    ),
    modifiers(&Key),
)]
struct Api;

/// The key that callers show, where the server has one.
struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("key", scheme);
    }
}

pub async fn document() -> Json<Document> {
    Json(Api::openapi())
}
