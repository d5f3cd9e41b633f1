//! The body of a request as a value of a type: bounded in bytes and in time, and told with its place where it is wrong.

use std::error::Error;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::app::Shared;
use super::errors::Problem;

/// A sender that takes longer is gone, or holds the place on purpose.
const READ: Duration = Duration::from_secs(30);

pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let limit = app.settings.max_body_bytes;
        let bytes = tokio::time::timeout(READ, Limited::new(request.into_body(), limit).collect()).await;
        let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come; send it at once");
        let bytes = bytes.map_err(|_| late())?.map_err(|error| cut_off(error, limit))?.to_bytes();
        read(&bytes).map(Self)
    }
}

fn cut_off(error: Box<dyn Error + Send + Sync>, limit: usize) -> Problem {
    if error.downcast_ref::<LengthLimitError>().is_some() {
        let message = format!("the body has more than {limit} bytes; send less at once");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message);
    }
    Problem::bad_input("the body broke off; send it whole")
}

fn read<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::bad_input("the body is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(Problem::bad_input("the body is empty; it must be a JSON object"));
    }
    let broken = |error: &serde_json::Error| Problem::bad_input(format!("the body is not JSON: {error}"));
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (place, error) = (error.path().to_string(), error.into_inner());
        match error.classify() {
            Category::Data if place == "." => Problem::bad_input(error.to_string()),
            Category::Data => Problem::bad_input(error.to_string()).about(place),
            _ => broken(&error),
        }
    })?;
    json.end().map_err(|error| broken(&error))?;
    Ok(value)
}
