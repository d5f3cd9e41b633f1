//! What is known of a run while it goes on: one line of `metrics.jsonl` for each step.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::update::Group;
use crate::data::rows::Label;
use crate::measure::curve::Scored;
use crate::measure::metrics::{self, Counts};
use crate::verdict;

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Steps taken, this one counted, and how many there will be.
    pub step: usize,
    pub of: usize,
    /// Mean reward of an answer, and what each rule gave to it.
    pub reward: f32,
    pub parts: IndexMap<String, f32>,
    /// Verdicts of the sampled answers against the truth.
    pub verdicts: Verdicts,
    /// Groups of answers that were asked for.
    #[serde(default)]
    pub groups: usize,
    /// The share of groups whose answers were not all rewarded alike: only those teach.
    pub informative: f32,
    /// Mean length of an answer in tokens, forced ones included, and how many decisions it took: claims and choices.
    pub length: f32,
    pub choices: f32,
    /// Parts of the loss; see [`LossReport`](super::loss::LossReport). Of several epochs, the last.
    pub policy_loss: f32,
    pub entropy: f32,
    pub kl: f32,
    pub approx_kl: f32,
    pub clip_fraction: f32,
    pub dual_clip_fraction: f32,
    /// The supervised term.
    pub slots_loss: f32,
    /// How far the log-probabilities of the rollouts and those that the training graph computes lie apart, at most.
    pub mismatch: f32,
    pub learning_rate: f64,
    /// Seconds that the rollouts and the update took.
    pub rollout_seconds: f64,
    pub update_seconds: f64,
    pub groups_per_second: f64,
    /// Tokens of prompts and answers in the rollouts.
    pub tokens_per_second: f64,
    pub seconds_left: f64,
    /// Every so many steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
}

/// Rows that are never trained on, judged greedily.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    pub rows: usize,
    /// With reasoning before the verdict, and without.
    pub think_first: Verdicts,
    pub answer_first: Verdicts,
    /// AUROC of the categories' scores where it is known whether the category holds.
    pub slots_auroc: Option<f64>,
    /// The share of written steps that say what their category's score says.
    pub agreement: Option<f64>,
}

/// Written verdicts against the truth; "unsafe" is the positive class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    pub f1: Option<f64>,
    pub recall: Option<f64>,
    pub fpr: Option<f64>,
    /// Of P(unsafe) at the verdict.
    pub auroc: Option<f64>,
}

/// Verdicts being counted.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Counts,
    scored: Vec<Scored>,
}

impl Tally {
    /// An answer without a verdict counts as not flagged.
    pub fn add(&mut self, truth: Label, written: Option<verdict::Label>, p_unsafe: Option<f32>) {
        let is_unsafe = truth == Label::Unsafe;
        self.counts.add(is_unsafe, written == Some(verdict::Label::Unsafe));
        self.scored.extend(p_unsafe.map(|p| (p, is_unsafe)));
    }

    pub fn verdicts(&self) -> Verdicts {
        Verdicts {
            f1: self.counts.f1(),
            recall: self.counts.recall(),
            fpr: self.counts.fpr(),
            auroc: metrics::auroc(&self.scored),
        }
    }
}

/// Verdicts of the groups' answers.
pub(super) fn verdicts(groups: &[Group]) -> Verdicts {
    let mut tally = Tally::default();
    for group in groups {
        for rollout in &group.rollouts {
            tally.add(group.task.truth.label, rollout.answer.verdict, rollout.p_unsafe);
        }
    }
    tally.verdicts()
}
