//! The guard: a loaded model behind a policy; `check` for a verdict, `start` for a stream of reasoning and a verdict.

mod asked;
#[doc(hidden)]
pub mod engine;
mod lint;
mod loaded;
mod notes;
mod policies;
mod self_test;
mod session;
#[cfg(feature = "native")]
mod shift;
mod tested;

use crate::bundle::{Bundle, Weights};
pub use crate::engine::Steps;
use crate::error::Result;
use crate::policy::Policy;
pub use crate::sampling::Sampling;
use crate::verdict::{Thresholds, Verdict, check_strictness};
pub use asked::{LoadOptions, MAX_WORK, Reasoning, Request};
use loaded::Loaded;
#[cfg(feature = "native")]
pub use self_test::renew_self_test;
pub use session::{Event, Session};
#[cfg(feature = "native")]
pub use shift::{NOTABLE_SHIFT, Shift, largest_shift};
pub use tested::Tested;

/// What a long call awaits between its steps: a chance for other work, or an error that ends the call.
pub trait Pause: AsyncFnMut() -> Result<()> {}

impl<F: AsyncFnMut() -> Result<()>> Pause for F {}

/// A model ready to judge. Checks share its caches but nothing that one request said reaches another's verdict.
pub struct Guard {
    loaded: Loaded,
    /// The model's name, as the manifest has it.
    model: String,
    tested: Option<Tested>,
}

impl Guard {
    /// Loads the model and runs its self-test.
    ///
    /// # Errors
    /// What the bundle's files have wrong, [`Error::BadInput`](crate::Error::BadInput) for a strictness out of bounds,
    /// [`Error::BadModel`](crate::Error::BadModel) if the bundle has no self-test that counts and
    /// [`LoadOptions::allow_untested`](field@LoadOptions::allow_untested) is not set, and
    /// [`Error::SelfTest`](crate::Error::SelfTest) if the model does not give the answers that it gave when the bundle was
    /// made.
    pub async fn load(bundle: Bundle, options: LoadOptions) -> Result<Self> {
        check_strictness(options.strictness)?;
        let test = match bundle.manifest().self_test() {
            Ok(test) => Some(test),
            Err(_) if options.allow_untested => None,
            Err(error) => return Err(error),
        };
        let device = options.device.clone();
        let mut guard = Self::untested(&bundle, bundle.weights(&device), options).await?;
        if let Some(test) = test {
            guard.tested = Some(guard.pass(test).await?);
        }
        Ok(guard)
    }

    async fn untested(
        bundle: &Bundle,
        weights: impl Future<Output = Result<Weights>>,
        options: LoadOptions,
    ) -> Result<Self> {
        let loaded = Loaded::load(bundle, weights, options).await?;
        Ok(Self { loaded, model: bundle.manifest().name.clone(), tested: None })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The policy of requests that bring none.
    pub fn policy(&self) -> &Policy {
        &self.loaded.policies.own.policy
    }

    /// Judges a conversation.
    ///
    /// # Errors
    /// What the request, the model or the device has wrong. An error is no verdict: treat it as
    /// [`Decision::Block`](crate::Decision::Block), or make one with [`Verdict::fail_closed`].
    pub async fn check(&self, request: &Request<'_>) -> Result<Verdict> {
        self.check_pausing(request, &mut async || Ok(())).await
    }

    /// [`check`](Self::check) that awaits `pause` between its steps; an error of it ends the check.
    pub(crate) async fn check_pausing(&self, request: &Request<'_>, pause: &mut impl Pause) -> Result<Verdict> {
        let mut session = self.start(request)?;
        while let Some(event) = session.next().await? {
            if let Event::Verdict(verdict) = event {
                return Ok(*verdict);
            }
            pause().await?;
        }
        // A session's last event is a verdict; should that ever fail to hold, the text is not let through.
        Ok(Verdict::fail_closed("the check ended without a verdict", self.loaded.options.on_error))
    }

    /// The thresholds by which a request is judged.
    ///
    /// # Errors
    /// [`Error::BadPolicy`](crate::Error::BadPolicy) for a policy that cannot be used.
    pub(crate) fn thresholds(&self, request: &Request<'_>) -> Result<Thresholds> {
        let prepared = self.loaded.prepared(request)?;
        Ok(self.loaded.thresholds(&prepared, request))
    }

    /// Starts a pull stream; dropping it frees its cache.
    ///
    /// # Errors
    /// [`Error::BadInput`](crate::Error::BadInput) if the conversation has nothing to judge or the strictness is out of
    /// bounds; [`Error::BadPolicy`](crate::Error::BadPolicy) for a policy made in code that could not be one read from a
    /// file, such as one without categories.
    pub fn start(&self, request: &Request<'_>) -> Result<Session<'_>> {
        Session::start(&self.loaded, request)
    }
}
