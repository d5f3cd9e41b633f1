//! What a slot network comes from and training does not change: its tokenizer, and how a guard would decide by its scores.

use std::fmt;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use pollster::block_on;

use crate::bundle::{Manifest, SCORES, Scores, Thresholds, Weights};
use crate::error::{Error, Result};
use crate::mini::network::{SlotConfig, SlotModel};
use crate::mini::prompt::{SlotPrompt, SlotPrompts};
use crate::policy::Policy;
use crate::tokenizer::Tokenizer;
use crate::train::files::{json, write};
use crate::train::init::Init;
use crate::train::rl::task::Task;
use crate::train::sft;
use crate::verdict::{BALANCED, Calibration, Dial, Operating, Scoring};

/// What training does not change.
pub struct Source {
    init: Init,
    pub config: SlotConfig,
    pub tokenizer: Tokenizer,
    pub prompts: SlotPrompts,
    pub calibration: Calibration,
    pub thresholds: Thresholds,
    own: Option<Policy>,
    pub device: Device,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Source {
    /// Reads a bundle's folder, or the folder that an earlier training run wrote, with its weights.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the folder holds no slot model; [`Error::Io`] if it cannot be read.
    pub fn open(folder: &Path, device: &Device) -> Result<(Self, Weights)> {
        let init = Init::open(folder)?;
        let weights = init.weights(device)?;
        if !weights.has("slot_head.weight") {
            return Err(Error::BadModel(format!(
                "{}: expected a slot model (a bundle such as models/rsafe-mini, or what `rsafe train sft` wrote), found \
                 weights without `slot_head`; train it with `rsafe train sft` first",
                folder.display()
            )));
        }
        let (mut calibration, mut thresholds, mut own) = (Calibration::default(), Thresholds::default(), None);
        if let Some(bundle) = &init.bundle {
            let dial = Dial::new(bundle.manifest().thresholds.clone(), Operating::default());
            own = Some(with_thresholds(block_on(bundle.policy())?, &dial.at(BALANCED, true)));
            // Of a policy that is not the bundle's own; that one brings its thresholds.
            thresholds = dial.at(BALANCED, false);
            calibration = bundle.manifest().calibration.clone();
        }
        let config = SlotConfig::from_json(&init.config)?;
        let tokenizer = Tokenizer::from_bytes(&init.tokenizer)?;
        let prompts = SlotPrompts::new(&tokenizer, config.vocab_size)?;
        let device = device.clone();
        Ok((Self { init, config, tokenizer, prompts, calibration, thresholds, own, device }, weights))
    }

    /// The policy of the bundle, if it was one, with the thresholds that it has there.
    pub fn own_policy(&self) -> Option<&Policy> {
        self.own.as_ref()
    }

    /// The policy as a guard decides under it: with the bundle's own thresholds if it is the bundle's own.
    pub fn as_decided(&self, mut policy: Policy) -> Policy {
        if let Some(own) = self.own_policy().filter(|own| own.reads_like(&policy)) {
            for (category, known) in policy.categories.iter_mut().zip(&own.categories) {
                category.threshold = category.threshold.or(known.threshold);
            }
        }
        policy
    }

    /// Words of a task's conversation and policy as the model reads them.
    ///
    /// # Errors
    /// What the task has wrong.
    pub fn read(&self, task: &Task) -> Result<SlotPrompt> {
        let blocks = SlotPrompts::blocks(&self.tokenizer, &task.policy)?;
        self.prompts.read(&self.tokenizer, blocks, &task.conversation)
    }

    /// How the logits of a task's categories become scores.
    pub fn scoring(&self, task: &Task) -> Scoring {
        let own = self.own_policy().is_some_and(|own| own.reads_like(&task.policy));
        self.calibration.of(task.conversation.target, &task.policy, own)
    }

    /// How far a logit of 0, as others back it, lies above the threshold of each category, in logits; finite, whatever the
    /// threshold.
    pub fn shifts(&self, task: &Task) -> Vec<f32> {
        const LEAST: f32 = 1e-6;
        let Scoring { scaling, .. } = self.scoring(task);
        let shift = |threshold: f32| {
            let threshold = threshold.clamp(LEAST, 1.0 - LEAST);
            scaling.bias - (threshold / (1.0 - threshold)).ln()
        };
        task.policy.categories.iter().map(|category| shift(self.thresholds.of(category))).collect()
    }

    /// Writes the network with what its weights, which come last, were moved against.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn export(&self, model: &SlotModel, out: &Path) -> Result<()> {
        if let Some(bundle) = &self.init.bundle {
            let Manifest { policy, calibration, thresholds, .. } = bundle.manifest().clone();
            fs::create_dir_all(out).map_err(Error::io(out))?;
            write(&out.join(SCORES), &json(&Scores { policy, calibration, thresholds })?)?;
        }
        sft::export(out, model, &self.config, &self.init.tokenizer)
    }
}

/// The policy as it decides: each category with its threshold.
fn with_thresholds(mut policy: Policy, thresholds: &Thresholds) -> Policy {
    for category in &mut policy.categories {
        category.threshold = Some(thresholds.of(category));
    }
    policy
}
