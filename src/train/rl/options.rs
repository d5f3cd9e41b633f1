//! What a run of GRPO is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::advantage::{AdvantageKind, is_informative};
use super::loss::{Aggregation, ClipRange};
use super::update::{self, Group};
use crate::error::{Error, Result};

/// The defaults are RSafe's but for the learning rate, which is for 22 million parameters, and the
/// number of steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoOptions {
    /// Where checkpoint, metrics and the trained tensors go. A run found there is resumed.
    pub out: PathBuf,
    /// Optimiser steps, `epochs` not counted.
    pub steps: usize,
    /// Tasks a step.
    pub prompts: usize,
    /// Answers to each task.
    pub group: usize,
    pub temperature: f32,
    /// Below 1 a choice between two that is surer than this is never drawn the other way: its group then agrees, and a sure
    /// mistake is never found.
    pub top_p: f32,
    pub repetition_penalty: f32,
    /// Updates with the answers of one step; from the second on probability ratios differ from 1.
    pub epochs: usize,
    pub advantage: AdvantageKind,
    /// Whether groups whose answers were all rewarded alike are left out of the loss.
    pub drop_uninformative: bool,
    /// How often, at most, a step asks further tasks in place of those left out (DAPO's dynamic sampling, arXiv 2503.14476,
    /// section 3.2).
    pub refills: usize,
    pub clip: ClipRange,
    /// Weight of the entropy bonus.
    pub entropy: f32,
    /// Weight of the KL penalty against the network that the run began with; 0 keeps no such network.
    pub kl: f32,
    pub aggregation: Aggregation,
    /// Constant.
    pub learning_rate: f64,
    pub weight_decay: f32,
    /// The gradient of all weights as one vector is clipped to this norm.
    pub clip_norm: f32,
    /// Weight of the supervised term.
    pub slots_weight: f32,
    /// Tokens whose graph is alive at a time, for each core.
    pub batch_tokens: usize,
    pub seed: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Held-out rows that the run is watched on, and steps between two looks; 0 rows never look.
    pub watched: usize,
    pub watch_every: usize,
}

impl Default for GrpoOptions {
    fn default() -> Self {
        Self {
            out: PathBuf::new(),
            steps: 200,
            prompts: 32,
            group: 4,
            temperature: 0.7,
            top_p: 0.8,
            repetition_penalty: 1.05,
            epochs: 1,
            advantage: AdvantageKind::default(),
            drop_uninformative: false,
            refills: 0,
            clip: ClipRange::default(),
            entropy: 0.001,
            kl: 0.0,
            aggregation: Aggregation::default(),
            learning_rate: 2e-5,
            weight_decay: 0.01,
            clip_norm: 1.0,
            slots_weight: 1.0,
            batch_tokens: 1024,
            seed: 1,
            checkpoint_every: 25,
            watched: 200,
            watch_every: 25,
        }
    }
}

impl GrpoOptions {
    /// Whether a group is learnt from.
    pub(super) fn teaches(&self, group: &Group) -> bool {
        !self.drop_uninformative || is_informative(&group.rewards())
    }

    pub(super) fn check(&self) -> Result<()> {
        let at_least_one = [
            ("steps", self.steps),
            ("prompts", self.prompts),
            ("epochs", self.epochs),
            ("checkpoint_every", self.checkpoint_every),
            ("watch_every", self.watch_every),
        ];
        for (name, found) in at_least_one {
            if found == 0 {
                return Err(Error::BadInput(format!("{name}: expected at least 1, found 0")));
            }
        }
        if self.group < 2 {
            let found = self.group;
            return Err(Error::BadInput(format!("group: expected at least 2 answers to compare, found {found}")));
        }
        if self.refills > 0 && !self.drop_uninformative {
            let found = self.refills;
            return Err(Error::BadInput(format!("refills: expected 0 where no group is left out, found {found}")));
        }
        update::check(self.learning_rate, self.weight_decay, self.clip_norm, self.slots_weight)?;
        self.clip.check()?;
        let ranges = [
            ("top_p: expected a share above 0, at most 1", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0),
            ("repetition_penalty: expected a number above 0", self.repetition_penalty, self.repetition_penalty > 0.0),
            ("entropy: expected a number of at least 0", self.entropy, self.entropy >= 0.0),
            ("kl: expected a number of at least 0", self.kl, self.kl >= 0.0),
        ];
        if let Some((expected, found, _)) = ranges.into_iter().find(|(_, found, good)| !(found.is_finite() && *good)) {
            return Err(Error::BadInput(format!("{expected}, found {found}")));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(Error::BadInput(format!(
                "temperature: expected a number above 0, since answers must differ to be compared, found {}",
                self.temperature
            )));
        }
        Ok(())
    }
}
