//! `GET /v1/models`: the model that judges or, before an upstream, the upstream's list, as far as each model is a name and
//! nothing else.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use rsafe::Target;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::app::Shared;
use super::errors::{ErrorBody, Problem, Unreached};
use super::walk::passes;

/// OpenAI's list of models.
#[derive(Serialize, ToSchema)]
pub struct Models {
    object: &'static str,
    data: Vec<Model>,
}

#[derive(Serialize, ToSchema)]
struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
}

/// Lists the model that judges, or the models of the upstream.
#[utoipa::path(
    get, path = "/v1/models", security(("key" = [])),
    responses(
        (status = 200, description = "The models.", body = Models),
        (status = 401, description = "No key, or another.", body = ErrorBody),
        Unreached,
    ),
)]
pub async fn models(State(app): State<Shared>, headers: HeaderMap) -> Result<Json<Models>, Problem> {
    let data = match &app.upstream {
        None => vec![Model { id: app.model.clone(), object: "model", created: 0, owned_by: "rsafe".into() }],
        Some(upstream) => {
            let _place = app.relayed.try_acquire().map_err(|_| Problem::busy())?;
            let answered = upstream.ask("models", None, &headers, &app.judge(Target::Response)).await?;
            let list = answered.whole().await?;
            let list = list.get("data").and_then(Value::as_array).map(|list| list.iter().filter_map(Value::as_object));
            let without = || Problem::upstream("the upstream answered without a list of models");
            list.ok_or_else(without)?.filter_map(model).collect()
        }
    };
    Ok(Json(Models { object: "list", data }))
}

/// A model with the fields of OpenAI's; one whose name could be a text is left out, since nobody judges it here.
fn model(given: &Map<String, Value>) -> Option<Model> {
    let name = |field: &str| {
        let name = given.get(field)?.as_str()?;
        (!name.is_empty() && passes("model", name)).then(|| name.to_owned())
    };
    let created = given.get("created").and_then(Value::as_u64).unwrap_or_default();
    Some(Model { id: name("id")?, object: "model", created, owned_by: name("owned_by").unwrap_or("unknown".into()) })
}
