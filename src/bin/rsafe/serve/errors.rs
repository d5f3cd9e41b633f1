//! What a caller is told when a request is not answered, in OpenAI's shape. No error says that a text may pass.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::outcome::Failure;

/// An error with its status. `code` is stable; the message says what to do.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// The field of the request that it is about.
    param: Option<String>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// The body of an error.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    error: Told,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct Told {
    message: String,
    r#type: &'static str,
    /// The field of the request that it is about.
    param: Option<String>,
    /// Stable.
    code: &'static str,
}

/// The errors of routes that judge, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub enum Refused {
    /// The caller can mend it: `bad_input`, `bad_policy`, `context_length`.
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// No key, or another: `unauthorized`.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// `policy_not_allowed`.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// The body did not come: `timeout`.
    #[response(status = 408)]
    RequestTimeout(ErrorBody),
    /// `too_large`.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The queue is full: `busy`, with `Retry-After`.
    #[response(status = 429)]
    Busy(ErrorBody),
    /// A bug: `internal`.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// The text could not be judged here and now: the guard's code, with `Retry-After`.
    #[response(status = 503)]
    Unavailable(ErrorBody),
    /// The check took too long, or the upstream was silent: `timeout`.
    #[response(status = 504)]
    Timeout(ErrorBody),
}

/// The errors of routes that ask the upstream, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub enum Unreached {
    /// No upstream is set: `not_found`. Or the upstream's own refusal, as are others from 400 to 499: `upstream`.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The upstream failed, or said what cannot be judged: `upstream`.
    #[response(status = 502)]
    BadGateway(ErrorBody),
}

const SOON: HeaderValue = HeaderValue::from_static("1");

impl ErrorBody {
    pub fn of(problem: Problem) -> Self {
        Self { error: problem.told() }
    }
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, header: None }
    }

    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_input", message)
    }

    pub fn upstream(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream", message)
    }

    /// Of an answer that cannot be judged: the caller cannot mend it.
    pub fn of_answer(self) -> Self {
        match self.status {
            StatusCode::BAD_REQUEST => Self { status: StatusCode::SERVICE_UNAVAILABLE, ..self },
            _ => self,
        }
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    pub fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn busy() -> Self {
        let message = "all places are taken; try again in a moment";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message).with(header::RETRY_AFTER, SOON)
    }

    /// A check that took too long.
    pub fn late(limit: Duration) -> Self {
        let message = format!("the check took more than {} ms; send less at once", limit.as_millis());
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    /// That nobody waits for the answer any more. It is counted, and told to nobody.
    pub fn left() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "aborted", "the caller left")
    }

    /// What is wrong with the server stays unsaid: it may hold anything.
    pub fn internal() -> Self {
        let message = "the server failed; the text was not judged";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub fn unauthorized() -> Self {
        let message = "send the key as `Authorization: Bearer …`";
        let scheme = HeaderValue::from_static("Bearer");
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message).with(header::WWW_AUTHENTICATE, scheme)
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn told(self) -> Told {
        let r#type = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        Told { message: self.message, r#type, param: self.param, code: self.code }
    }
}

impl Problem {
    pub fn of(failure: Failure) -> Self {
        match failure {
            Failure::Library(error) => error.into(),
            Failure::Output(_) => Self::internal(),
        }
    }
}

impl From<rsafe::Error> for Problem {
    /// The caller can mend some; all others say that the text could not be judged here and now.
    fn from(error: rsafe::Error) -> Self {
        match error.code() {
            code @ ("bad_input" | "bad_policy" | "context_length") => {
                Self::new(StatusCode::BAD_REQUEST, code, error.to_string())
            }
            code => Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string()).with(header::RETRY_AFTER, SOON),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let (status, header) = (self.status, self.header.take());
        let mut response = (status, Json(ErrorBody::of(self))).into_response();
        if let Some(header) = header {
            response.headers_mut().insert(header.0, header.1);
        }
        response
    }
}
