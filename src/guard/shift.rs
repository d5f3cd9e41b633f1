//! How far the answers of a bundle have moved from those of the checkpoint that it was made of: what fewer bits cost.

use std::path::Path;

use super::self_test::unanswered;
use super::{Guard, LoadOptions, Reasoning, Request};
use crate::bundle::{Bundle, Checkpoint};
use crate::error::Result;

/// From this [shift](Shift::logits) on a bundle decides texts otherwise than its checkpoint: at a score of .5 it is .12.
pub const NOTABLE_SHIFT: f32 = 0.5;
/// Scores nearer to 0 or 1 than this are as good as there, however many logits lie between them.
const SURE: f32 = 1e-3;

/// A score before and after conversion.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shift {
    /// What was judged: one of the self-test's texts.
    pub text: String,
    /// The category whose score it is, where the model scores categories; else it is P(unsafe).
    pub category: Option<String>,
    /// In [0, 1], with the weights as the checkpoint has them.
    pub checkpoint: f32,
    /// In [0, 1], with the weights as the bundle stores them.
    pub bundle: f32,
}

impl Shift {
    /// How far apart the two are, in logits.
    pub fn logits(&self) -> f32 {
        let logit = |score: f32| {
            let score = score.clamp(SURE, 1.0 - SURE);
            (score / (1.0 - score)).ln()
        };
        (logit(self.bundle) - logit(self.checkpoint)).abs()
    }
}

/// The score of the self-test's conversations under its policy that conversion moved furthest. Both models are loaded, one
/// after the other: that takes as much memory as the checkpoint's files.
///
/// # Errors
/// What checkpoint or bundle have wrong.
pub async fn largest_shift(checkpoint: &Checkpoint, bundle: impl AsRef<Path>) -> Result<Option<Shift>> {
    let bundle = Bundle::open(bundle)?;
    let device = LoadOptions::default().device;
    let after = scores(Guard::untested(&bundle, bundle.weights(&device), LoadOptions::default()).await?).await?;
    let weights = async { checkpoint.weights(&device) };
    let before = scores(Guard::untested(&bundle, weights, LoadOptions::default()).await?).await?;
    let shifts = before.into_iter().zip(after).map(|(before, after)| Shift { bundle: after.bundle, ..before });
    Ok(shifts.max_by(|a, b| a.logits().total_cmp(&b.logits())))
}

/// Every score that a model gives to the self-test's conversations, as if nothing had moved it.
async fn scores(guard: Guard) -> Result<Vec<Shift>> {
    let test = unanswered();
    let policy = test.policy();
    let mut scores = Vec::new();
    for case in &test.cases {
        let request = Request::new(case.conversation()).policy(&policy).reasoning(Reasoning::Never);
        let verdict = guard.check(&request).await?;
        let text = case.assistant.as_ref().unwrap_or(&case.user);
        let shift = |category: Option<&str>, score| Shift {
            text: text.clone(),
            category: category.map(str::to_owned),
            checkpoint: score,
            bundle: score,
        };
        // A decoder names categories where it finds any, with the score of the whole.
        if guard.loaded.engine.scores_categories() {
            scores.extend(verdict.categories.iter().map(|category| shift(Some(&category.name), category.score)));
        } else {
            scores.push(shift(None, verdict.score));
        }
    }
    Ok(scores)
}
