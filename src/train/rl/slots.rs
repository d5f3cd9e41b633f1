//! rsafe-mini under reinforced alignment: what the engine reads of a task, and the answers that are drawn behind it.

mod graph;
mod source;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use pollster::block_on;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::claims::Claim;
use super::group::write_group;
use super::network::{Network, Rollout};
use super::task::{Task, generator};
use crate::bundle::Weights;
use crate::engine::{Answering, Steps};
use crate::error::{Error, Result};
use crate::grammar::Think;
use crate::mini::engine::SlotEngine;
use crate::mini::layout::{ANSWER, Marker};
use crate::mini::network::SlotModel;
use crate::mini::network::training::NamedTensor;
use crate::mini::prompt::{Plan, PlannedStep, highest};
use crate::mini::scan::Scan;
use crate::mini::telling::Telling;
use crate::policy::Policy;
use crate::sampling::Sampling;
use crate::train::sft;
use crate::verdict::Label;
use source::Source;

/// The slot model with what it needs to read and to answer.
#[derive(Module, Debug)]
pub struct SlotNetwork {
    pub model: SlotModel,
    /// Who decides what an answer says of a category. With [`Steps::Scored`] rollouts draw it from the scores, as far as
    /// these lie from their thresholds: the reward then moves what decides at inference.
    #[module(skip)]
    pub steps: Steps,
    #[module(skip)]
    pub(super) source: Arc<Source>,
}

impl SlotNetwork {
    /// Reads a bundle's folder, or the folder that an earlier training run wrote, onto a device; the words' embeddings stay
    /// as they are. Scores count with the bundle's calibration and thresholds, without a bundle as they come, from 0.5 on.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the folder holds no slot model; [`Error::Io`] if it cannot be read.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let (source, weights) = Source::open(folder, device)?;
        Self::with_weights(Arc::new(source), weights)
    }

    fn with_weights(source: Arc<Source>, mut weights: Weights) -> Result<Self> {
        let model = SlotModel::load(&source.config, &mut weights)?.map(&mut sft::Numbered(0)).freeze_words();
        weights.finish()?;
        Ok(Self { model, steps: Steps::default(), source })
    }

    /// The policy of the bundle that the network came from, if it did, with the thresholds that it has there.
    pub fn own_policy(&self) -> Option<&Policy> {
        self.source.own_policy()
    }

    /// The network at work, as it is now.
    fn engine(&self) -> SlotEngine {
        SlotEngine::new(self.model.clone(), self.source.prompts.clone(), self.source.calibration.clone())
    }

    /// What a guard would read of the task, and find out for its answer, if it is to reason.
    async fn told<'e>(&self, engine: &'e SlotEngine, task: &Task, reasons: bool) -> Result<Telling<'e>> {
        let Source { tokenizer, thresholds, .. } = &*self.source;
        let mut scan = Scan::new(engine, self.source.read(task)?, self.source.scoring(task));
        let read = loop {
            match scan.step().await? {
                ControlFlow::Continue(rest) => scan = rest,
                ControlFlow::Break(read) => break read,
            }
        };
        if !read.highest.iter().all(|highest| highest.logit.is_finite()) {
            return Err(Error::BadModel("the scores are no numbers any more; train with a lower learning rate".into()));
        }
        let reasoning_tokens = if reasons { ANSWER } else { 0 };
        let thresholds = thresholds.clone();
        let answering = Answering { reasoning_tokens, uncertain: None, steps: self.steps, thresholds };
        let mut telling = Telling::new(read, answering);
        while telling.step(tokenizer, &task.policy).await? {}
        Ok(telling)
    }
}

/// The categories that answers to learn from speak about: those that score highest, and those that hold among them, in any
/// order.
fn order(task: &Task, scores: &[f32], seed: u64) -> Vec<usize> {
    let mut steps = highest(scores);
    let holds = |at: usize| task.truth.categories.iter().flatten().any(|id| *id == task.policy.categories[at].id);
    for held in (0..scores.len()).filter(|&at| holds(at)) {
        if steps.contains(&held) {
            continue;
        }
        if let Some(least) = steps.iter().rposition(|&at| !holds(at)) {
            steps[least] = held;
        }
    }
    steps.shuffle(&mut generator(seed, "steps", 0));
    steps
}

impl Network for SlotNetwork {
    fn rollouts(&self, task: &Task, group: usize, sampling: Sampling, seed: u64) -> Result<Vec<Rollout>> {
        let (engine, source, policy) = (self.engine(), &*self.source, &task.policy);
        let learn = sampling.temperature > 0.0;
        let Telling { read, findings, .. } = block_on(self.told(&engine, task, task.think && !learn))?;
        let scores = read.scores();
        let flags = scores.iter().zip(&policy.categories).map(|(&score, it)| score >= source.thresholds.of(it));
        let flags: Vec<bool> = flags.collect();
        let about: Vec<usize> = match self.steps {
            _ if learn => order(task, &scores, seed),
            Steps::Scored => findings.iter().map(|step| step.category).collect(),
            Steps::Written => highest(&scores),
        };
        let shifts = source.shifts(task);
        let margin = |at: usize| read.scoring.scaling.scale * read.highest[at].backed + shifts[at];
        let step = |category, applies| PlannedStep { category, applies, finding: None };
        let think = if task.think { Think::First { max_tokens: ANSWER } } else { Think::Skip };
        let (mut seeds, mut draws) = (generator(seed, "answers", 0), generator(seed, "claims", 0));
        let (mut rows, mut claimed) = (Vec::with_capacity(group), Vec::with_capacity(group));
        for _ in 0..group {
            let mut claims: Vec<Claim> = Vec::new();
            let (steps, flagged) = match self.steps {
                Steps::Written => (about.iter().map(|&at| step(at, None)).collect(), None),
                Steps::Scored if learn => {
                    claims.extend(about.iter().map(|&at| Claim::draw(at, margin(at), &sampling, &mut draws)));
                    let steps = claims.iter().map(|claim| step(claim.category, Some(claim.applies))).collect();
                    (steps, Some(claims.iter().any(|claim| claim.applies)))
                }
                Steps::Scored => (findings.clone(), Some(flags.contains(&true))),
            };
            let verdict = flagged.map(|flagged| if flagged { Label::Unsafe } else { Label::Safe });
            let plan = Plan { think, steps: &steps, verdict };
            let grammar = source.prompts.grammar(&source.tokenizer, policy, &read.prompt, read.best.window.at, plan)?;
            rows.push((grammar, seeds.random()));
            claimed.push(claims);
        }
        let opening = Marker::Answer.id(self.model.vocab_size());
        let (mut reader, _) = read.best.window.reader(&engine, &read.policy, &about)?;
        reader.extend(&[vec![opening]])?;
        let written = block_on(write_group(&reader, rows, sampling, opening))?;
        let scored = Some(read.best.score).filter(|_| self.steps == Steps::Scored);
        let rollouts = written.into_iter().zip(claimed).map(|(mut written, claims)| {
            // An answer without reasoning has no place for what was claimed of categories.
            if written.answer.steps.is_empty() {
                let named = claims.iter().filter(|claim| claim.applies);
                written.answer.categories = named.map(|it| policy.categories[it.category].id.clone()).collect();
            }
            Rollout {
                tokens: written.tokens,
                choices: written.choices,
                answer: written.answer,
                well_formed: written.ended,
                p_unsafe: written.p_unsafe.or(scored),
                scores: Some(scores.clone()),
                // What was drawn from the scores cannot be held against them.
                flags: claims.is_empty().then(|| flags.clone()),
                claims,
                window: read.best.window.at,
                about: about.clone(),
                prompt_tokens: read.prompt_tokens,
            }
        });
        Ok(rollouts.collect())
    }

    fn log_probs(&self, task: &Task, rollouts: &[Rollout], temperature: f32) -> Result<(Tensor<1>, Tensor<1>)> {
        graph::log_probs(&self.engine(), &self.source, task, rollouts, temperature)
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.model.tensors()
    }

    fn with_tensors(self, tensors: Vec<NamedTensor>) -> Result<Self> {
        let weights = Weights::from_tensors(&self.source.device, tensors)?;
        Ok(Self { steps: self.steps, ..Self::with_weights(self.source, weights)? })
    }

    fn export(&self, out: &Path) -> Result<()> {
        self.source.export(&self.model, out)
    }
}
