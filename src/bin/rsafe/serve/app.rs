//! What every request finds: the state that the routes share.

use std::sync::Arc;

use axum::http::StatusCode;
use rsafe::Target;
use tokio::sync::Semaphore;

use super::errors::Problem;
use super::judge::Judge;
use super::metrics::Metrics;
use super::passed::Passed;
use super::pool::Pool;
use super::settings::Settings;
use super::upstream::Upstream;

/// What every request needs of the server.
pub struct App {
    pub pool: Pool,
    pub settings: Settings,
    pub metrics: Arc<Metrics>,
    /// The model's name.
    pub model: String,
    pub upstream: Option<Upstream>,
    /// Places for chats that are relayed.
    pub relayed: Arc<Semaphore>,
    /// Texts of chats that passed.
    pub passed: Arc<Passed>,
}

impl App {
    /// Of texts that go this way.
    pub fn judge(&self, target: Target) -> Judge {
        Judge::new(self.pool.clone(), self.passed.clone(), target)
    }

    /// # Errors
    /// `not_found` where there is no upstream.
    pub fn upstream(&self) -> Result<&Upstream, Problem> {
        let none = "no upstream is set; start the server with --upstream to relay what models are asked";
        self.upstream.as_ref().ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not_found", none))
    }

    /// Whether callers of the upstream must show our key: where theirs goes up, the upstream says who may.
    pub fn locks_upstream(&self) -> bool {
        self.upstream.as_ref().is_none_or(Upstream::has_key)
    }
}

pub type Shared = Arc<App>;
