//! What all checks of a guard share: the model with its caches, the policies made ready, and how it was asked to answer.

use std::sync::Arc;

use super::asked::{LoadOptions, Request};
use super::engine::{Engine, Prepared};
use super::policies::Policies;
use crate::bundle::{Bundle, Weights};
use crate::error::Result;
use crate::verdict::{Dial, Thresholds};

/// A model behind the policies of a bundle and of the last requests.
pub struct Loaded {
    pub engine: Engine,
    pub policies: Policies,
    /// That the model reads, as the manifest has them.
    pub languages: Vec<String>,
    pub dial: Dial,
    pub options: LoadOptions,
}

impl Loaded {
    /// # Errors
    /// What the bundle's files have wrong.
    pub async fn load(
        bundle: &Bundle,
        weights: impl Future<Output = Result<Weights>>,
        options: LoadOptions,
    ) -> Result<Self> {
        let engine = Engine::load(bundle, weights).await?;
        let policies = Policies::new(&bundle.policy().await?, &engine)?;
        let manifest = bundle.manifest();
        let dial = Dial::new(manifest.thresholds.clone(), manifest.operating.clone().unwrap_or_default());
        Ok(Self { engine, policies, languages: manifest.languages.clone(), dial, options })
    }

    /// A request's policy made ready.
    ///
    /// # Errors
    /// [`Error::BadPolicy`](crate::Error::BadPolicy) for a policy that cannot be used.
    pub fn prepared(&self, request: &Request<'_>) -> Result<Arc<Prepared>> {
        self.policies.of(request.policy, &self.engine)
    }

    /// The thresholds by which a request is judged.
    pub fn thresholds(&self, prepared: &Prepared, request: &Request<'_>) -> Thresholds {
        self.dial.at(request.strictness.unwrap_or(self.options.strictness), prepared.own)
    }
}
