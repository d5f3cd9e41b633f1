//! rsafe-mini under reinforced alignment: rollouts behind one prefill, and their log-probabilities in one row.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, activation};
use pollster::block_on;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::claims::{self, Claim};
use super::group::write_group;
use super::network::{Network, Rollout};
use super::task::{Task, generator};
use crate::bundle::{Bundle, MANIFEST, Manifest, SCORES, Scores, Thresholds, Weights};
use crate::engine::Steps;
use crate::engine::reader::Reader;
use crate::error::{Error, Result};
use crate::grammar::Think;
use crate::mini::layout::{ANSWER, Frame, Layout, Marker};
use crate::mini::network::training::NamedTensor;
use crate::mini::network::{SlotConfig, SlotModel};
use crate::mini::prompt::{Plan, PlannedStep, SlotPrompt, SlotPrompts, highest};
use crate::policy::Policy;
use crate::sampling::Sampling;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::train::batch::Choices;
use crate::train::checkpoint::read_tensors;
use crate::train::files::{json, write};
use crate::train::sft;
use crate::verdict::calibration::BACKED;
use crate::verdict::{BALANCED, Calibration, Dial, Label, Operating, Scaling, Scoring};

/// The slot model with what it needs to read and to answer.
#[derive(Module, Debug)]
pub struct SlotNetwork {
    pub model: SlotModel,
    /// Who decides what an answer says of a category. With [`Steps::Scored`] rollouts draw it from the scores, as far as
    /// these lie from their thresholds: the reward then moves what decides at inference.
    #[module(skip)]
    pub steps: Steps,
    #[module(skip)]
    shared: Arc<Shared>,
}

/// What training does not change.
struct Shared {
    config: SlotConfig,
    tokenizer: Tokenizer,
    tokenizer_json: Vec<u8>,
    prompts: SlotPrompts,
    calibration: Calibration,
    thresholds: Thresholds,
    /// What the bundle brought beside its weights, if there was one.
    own: Option<Own>,
    device: Device,
}

struct Own {
    /// With the thresholds that it has there.
    policy: Policy,
    scores: Scores,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A window of the judged message, read with every category behind it and the answer about to begin.
struct Window {
    place: usize,
    layout: Layout,
    /// How far the score of each category lies above its threshold here, in logits.
    margins: Vec<f32>,
    reader: (crate::model::KvCache, Tensor<3>),
}

impl SlotNetwork {
    /// Reads a bundle's folder, or the folder that an earlier training run wrote, onto a device; the words' embeddings stay
    /// as they are. Scores count with the bundle's calibration and thresholds, without a bundle as they come, from 0.5 on.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the folder holds no slot model; [`Error::Io`] if it cannot be read.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let read = |file: &str| {
            let path = folder.join(file);
            crate::files::read(&path, crate::files::Kind::Regular, u64::MAX, Error::BadModel)
        };
        let (config, tokenizer_json, calibration, thresholds, own, weights);
        if folder.join(MANIFEST).exists() {
            let bundle = Bundle::open(folder)?;
            config = bundle.manifest().config.clone();
            tokenizer_json = block_on(bundle.tokenizer())?.to_vec();
            calibration = bundle.manifest().calibration.clone();
            let Manifest { policy, thresholds: known, .. } = bundle.manifest().clone();
            let scores = Scores { policy, calibration: calibration.clone(), thresholds: known };
            let dial = Dial::new(scores.thresholds.clone(), Operating::default());
            // A policy that is not the bundle's own; that one brings its thresholds.
            thresholds = dial.at(BALANCED, false);
            let policy = with_thresholds(block_on(bundle.policy())?, &dial.at(BALANCED, true));
            own = Some(Own { policy, scores });
            weights = block_on(bundle.weights(device))?;
        } else {
            config = serde_json::from_slice(&read("config.json")?)
                .map_err(|e| Error::BadModel(format!("{}: {e}", folder.join("config.json").display())))?;
            tokenizer_json = read("tokenizer.json")?;
            (calibration, thresholds, own) = Default::default();
            weights = Weights::from_tensors(device, read_tensors(&folder.join("model.safetensors"))?)?;
        }
        if !weights.has("slot_head.weight") {
            return Err(Error::BadModel(format!(
                "{}: expected a slot model (a bundle such as models/rsafe-mini, or what `rsafe train sft` wrote), found \
                 weights without `slot_head`; train it with `rsafe train sft` first",
                folder.display()
            )));
        }
        let config = SlotConfig::from_json(&config)?;
        let tokenizer = Tokenizer::from_bytes(&tokenizer_json)?;
        let prompts = SlotPrompts::new(&tokenizer, config.vocab_size)?;
        let device = device.clone();
        let shared = Shared { config, tokenizer, tokenizer_json, prompts, calibration, thresholds, own, device };
        Self::with_weights(Arc::new(shared), weights)
    }

    fn with_weights(shared: Arc<Shared>, mut weights: Weights) -> Result<Self> {
        let model = SlotModel::load(&shared.config, &mut weights)?.map(&mut sft::Numbered(0)).freeze_words();
        weights.finish()?;
        Ok(Self { model, steps: Steps::default(), shared })
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// The policy of the bundle that the network came from, if it did, with the thresholds that it has there.
    pub fn own_policy(&self) -> Option<&Policy> {
        self.shared.own.as_ref().map(|own| &own.policy)
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

    /// The tokens that frame a conversation.
    pub fn frame(&self) -> Frame {
        self.shared.prompts.frame
    }

    /// Words of the conversation and the policy as the model reads them.
    pub(super) fn read(&self, task: &Task) -> Result<SlotPrompt> {
        let tokenizer = &self.shared.tokenizer;
        self.shared.prompts.read(tokenizer, SlotPrompts::blocks(tokenizer, &task.policy)?, &task.conversation)
    }

    /// The conversation and the blocks, with the places of the slots.
    pub(super) fn layout(&self, prompt: &SlotPrompt, window: usize) -> (Layout, Vec<usize>) {
        let mut layout = prompt.conversation(self.shared.prompts.frame, window);
        let slots = layout.push_blocks(self.model.vocab_size(), &prompt.blocks).collect();
        (layout, slots)
    }

    fn marker(&self, marker: Marker) -> TokenId {
        marker.id(self.model.vocab_size())
    }

    /// Reads every window: the categories' scores, highest over them, and the window that holds the highest.
    fn scan(&self, task: &Task, prompt: &SlotPrompt) -> Result<(Vec<f32>, Window, usize)> {
        let device = self.model.device();
        let scoring = self.scoring(task);
        let mut scores = vec![0f32; task.policy.categories.len()];
        let mut best: Option<(f32, Window)> = None;
        let mut tokens = 0;
        for window in prompt.windows() {
            let (mut layout, slots) = self.layout(prompt, window);
            layout.push_answer(self.marker(Marker::Answer));
            tokens += layout.len();
            let mut cache = self.model.cache(1, layout.len(), &device);
            let batch = self.model.batch(&[&layout], 0, &device);
            let states = self.model.forward(&batch, Some(&mut cache));
            let logits: Vec<f32> = self.model.slot_logits(states.clone()).into_data().iter::<f32>().collect();
            let logits: Vec<f32> = slots.iter().map(|&slot| logits[slot]).collect();
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err(Error::BadModel(
                    "the scores are no numbers any more; train with a lower learning rate".into(),
                ));
            }
            let here = scoring.scores(&logits);
            let above = |(logit, at): (f32, f32)| margin(scoring.scaling, logit, at);
            let margins = scoring.backed(&logits).into_iter().zip(self.thresholds(&task.policy)).map(above).collect();
            scores.iter_mut().zip(&here).for_each(|(most, score)| *most = most.max(*score));
            let top = here.iter().copied().fold(0.0, f32::max);
            if best.as_ref().is_none_or(|(most, _)| top > *most) {
                best = Some((top, Window { place: window, layout, margins, reader: (cache, states) }));
            }
        }
        // There is a window even for an empty message.
        let (_, window) = best.ok_or_else(|| Error::BadInput(format!("{}: nothing to read", task.id)))?;
        Ok((scores, window, tokens))
    }

    /// The categories that the answer speaks about, in its order: the highest first, as at inference; or, to learn, any
    /// order, with those that hold among them.
    fn order(&self, task: &Task, scores: &[f32], learn: Option<u64>) -> Vec<usize> {
        let mut steps = highest(scores);
        let Some(seed) = learn else { return steps };
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

    /// The claims of all rollouts, one behind the other: a category's place in the policy, and whether it applies.
    fn claims(&self, task: &Task, rollouts: &[Rollout]) -> Result<Vec<(usize, bool)>> {
        let claims = rollouts.iter().flat_map(|rollout| &rollout.claims);
        let known = |claim: &Claim| match claim.category < task.policy.categories.len() {
            true => Ok((claim.category, claim.applies)),
            false => Err(Error::BadInput(format!(
                "{}: expected a claim about one of {} categories of the policy, found one about category {}; was the policy \
                 changed since its answers were mined?",
                task.id,
                task.policy.categories.len(),
                claim.category
            ))),
        };
        claims.map(known).collect()
    }

    /// How far the scores of all categories lie above their thresholds, in logits, `[categories]`, from the states
    /// `[tokens, hidden]` with slots at these places.
    fn margins(&self, task: &Task, hidden: &Tensor<2>, slots: &[usize]) -> Tensor<1> {
        let device = hidden.device();
        let Scoring { scaling, catch_all } = self.scoring(task);
        let shifts: Vec<f32> = self.thresholds(&task.policy).map(|threshold| margin(scaling, 0.0, threshold)).collect();
        let places: Vec<i32> = slots.iter().map(|&slot| slot as i32).collect();
        let states = hidden.clone().select(0, Tensor::<1, Int>::from_data(places.as_slice(), &device));
        let logits: Tensor<1> = self.model.slot_logits(states.unsqueeze()).reshape([slots.len()]);
        let logits = match catch_all {
            Some(at) => backed(logits, at),
            None => logits,
        };
        logits * scaling.scale + Tensor::<1>::from_data(shifts.as_slice(), &device)
    }

    fn scoring(&self, task: &Task) -> Scoring {
        let own = self.own_policy().is_some_and(|own| own.reads_like(&task.policy));
        self.shared.calibration.of(task.conversation.target, &task.policy, own)
    }

    fn thresholds(&self, policy: &Policy) -> impl Iterator<Item = f32> {
        policy.categories.iter().map(|category| self.shared.thresholds.of(category))
    }

    fn flags(&self, policy: &Policy, scores: &[f32]) -> Vec<bool> {
        scores.iter().zip(self.thresholds(policy)).map(|(&score, threshold)| score >= threshold).collect()
    }

    /// What a rollout speaks about, in this `order`: as drawn to learn from, as the scores say, or as the model will write.
    fn decided(&self, order: &[usize], claims: &[Claim], flags: &[bool]) -> (Vec<PlannedStep>, Option<bool>) {
        let step = |category, applies| PlannedStep { category, applies, finding: None };
        match (self.steps, claims) {
            (Steps::Written, _) => (order.iter().map(|&at| step(at, None)).collect(), None),
            (Steps::Scored, []) => {
                (order.iter().map(|&at| step(at, Some(flags[at]))).collect(), Some(flags.contains(&true)))
            }
            (Steps::Scored, claims) => {
                let steps = claims.iter().map(|claim| step(claim.category, Some(claim.applies))).collect();
                (steps, Some(claims.iter().any(|claim| claim.applies)))
            }
        }
    }
}

impl Network for SlotNetwork {
    fn rollouts(&self, task: &Task, group: usize, sampling: Sampling, seed: u64) -> Result<Vec<Rollout>> {
        let prompt = self.read(task)?;
        let (scores, window, prompt_tokens) = self.scan(task, &prompt)?;
        let flags = self.flags(&task.policy, &scores);
        let learn = sampling.temperature > 0.0;
        let order = self.order(task, &scores, learn.then_some(seed));
        let think = if task.think { Think::First { max_tokens: ANSWER } } else { Think::Skip };
        let (mut seeds, mut draws) = (generator(seed, "answers", 0), generator(seed, "claims", 0));
        let (mut rows, mut claimed) = (Vec::with_capacity(group), Vec::with_capacity(group));
        for _ in 0..group {
            let mut claims: Vec<Claim> = Vec::new();
            if learn && self.steps == Steps::Scored {
                claims.extend(order.iter().map(|&at| Claim::draw(at, window.margins[at], &sampling, &mut draws)));
            }
            let (steps, verdict) = self.decided(&order, &claims, &flags);
            let verdict = verdict.map(|flagged| if flagged { Label::Unsafe } else { Label::Safe });
            let plan = Plan { think, steps: &steps, verdict };
            let Shared { prompts, tokenizer, .. } = &*self.shared;
            rows.push((prompts.grammar(tokenizer, &task.policy, &prompt, window.place, plan)?, seeds.random()));
            claimed.push(claims);
        }
        let (cache, states) = window.reader;
        let reader = Reader::slots(&self.model, cache, window.layout, states);
        let written = block_on(write_group(&reader, rows, sampling, self.marker(Marker::Answer)))?;
        let highest = scores.iter().copied().reduce(f32::max).filter(|_| self.steps == Steps::Scored);
        Ok(written
            .into_iter()
            .zip(claimed)
            .map(|(mut written, claims)| {
                // An answer without reasoning has no place for what was claimed of categories.
                if written.answer.steps.is_empty() {
                    let named = claims.iter().filter(|claim| claim.applies);
                    written.answer.categories =
                        named.map(|it| task.policy.categories[it.category].id.clone()).collect();
                }
                Rollout {
                    tokens: written.tokens,
                    choices: written.choices,
                    answer: written.answer,
                    well_formed: written.ended,
                    p_unsafe: written.p_unsafe.or(highest),
                    scores: Some(scores.clone()),
                    // What was drawn from the scores cannot be held against them.
                    flags: claims.is_empty().then(|| flags.clone()),
                    claims,
                    window: window.place,
                    prompt_tokens,
                }
            })
            .collect())
    }

    fn log_probs(&self, task: &Task, rollouts: &[Rollout], temperature: f32) -> Result<(Tensor<1>, Tensor<1>)> {
        let device = &self.model.device();
        let vocab_size = self.model.vocab_size();
        let prompt = self.read(task)?;
        let (window, windows) = (rollouts.first().map_or(0, |rollout| rollout.window), prompt.windows());
        if !windows.contains(&window) {
            return Err(Error::BadInput(format!(
                "{}: expected an answer about one of {} windows of the message, found window {window}; was the message \
                 changed since its answers were mined?",
                task.id,
                windows.len()
            )));
        }
        let (mut layout, slots) = self.layout(&prompt, window);
        let prompt_len = layout.len();

        let mut words: Vec<TokenId> = Vec::new();
        let allowed: Vec<Vec<Vec<TokenId>>> = rollouts
            .iter()
            .map(|rollout| rollout.choices.iter().map(|choice| choice.allowed.ids()).collect())
            .collect();
        words.extend(allowed.iter().flatten().flatten().filter(|&&id| (id as usize) < vocab_size));
        words.sort_unstable();
        words.dedup();
        let mut choices = Choices::among(words);
        for (rollout, allowed) in rollouts.iter().zip(&allowed) {
            // Nothing is told from the tokens behind the last choice, itself included.
            let read = rollout.choices.last().map_or(0, |choice| choice.at);
            let answer: Vec<TokenId> =
                [self.marker(Marker::Answer)].into_iter().chain(rollout.tokens[..read].iter().copied()).collect();
            let start = layout.push_answer_beside(prompt_len, &answer);
            for (choice, allowed) in rollout.choices.iter().zip(allowed) {
                // The answer's opening comes before its first token, so the token in front of the choice is this one.
                choices.push(start + choice.at, allowed, rollout.tokens[choice.at], vocab_size);
            }
        }
        let hidden = self.model.forward(&self.model.batch(&[&layout], 0, device), None);
        let [batch, time, width] = hidden.dims();
        let hidden = hidden.reshape([batch * time, width]);
        let claims = self.claims(task, rollouts)?;
        let parts = [
            (!claims.is_empty()).then(|| claims::log_probs(self.margins(task, &hidden, &slots), &claims, temperature)),
            (!choices.is_empty()).then(|| choices.log_probs(&self.model, &hidden, temperature, device)),
        ];
        Ok(interleaved(rollouts, parts.into_iter().flatten().collect(), device))
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.model.tensors()
    }

    fn with_tensors(self, tensors: Vec<NamedTensor>) -> Result<Self> {
        let weights = Weights::from_tensors(&self.shared.device, tensors)?;
        Ok(Self { steps: self.steps, ..Self::with_weights(self.shared, weights)? })
    }

    fn export(&self, out: &Path) -> Result<()> {
        // The weights, which come last, were moved against these.
        if let Some(own) = &self.shared.own {
            fs::create_dir_all(out).map_err(Error::io(out))?;
            write(&out.join(SCORES), &json(&own.scores)?)?;
        }
        sft::export(out, &self.model, &self.shared.config, &self.shared.tokenizer_json)
    }
}

/// How far the score of a logit lies above a threshold on scores, in logits; finite for finite logits, whatever the
/// threshold.
fn margin(scaling: Scaling, logit: f32, threshold: f32) -> f32 {
    const LEAST: f32 = 1e-6;
    let threshold = threshold.clamp(LEAST, 1.0 - LEAST);
    scaling.scale * logit + scaling.bias - (threshold / (1.0 - threshold)).ln()
}

/// [`Scoring::backed`] with a gradient, for a catch-all at this place among others.
fn backed(logits: Tensor<1>, catch_all: usize) -> Tensor<1> {
    let (count, device) = (logits.dims()[0], logits.device());
    let others: Vec<i32> = (0..count).filter(|&at| at != catch_all).map(|at| at as i32).collect();
    let highest = logits.clone().select(0, Tensor::<1, Int>::from_data(others.as_slice(), &device)).max();
    let any = logits.clone().slice(catch_all..catch_all + 1);
    let backing = Tensor::cat(vec![any; count], 0).slice_assign(catch_all..catch_all + 1, highest);
    logits.clone() - activation::relu(logits - backing) * BACKED
}

/// The policy as it decides: each category with its threshold.
fn with_thresholds(mut policy: Policy, thresholds: &Thresholds) -> Policy {
    for category in &mut policy.categories {
        category.threshold = Some(thresholds.of(category));
    }
    policy
}

/// The numbers of all claims and of all choices as those of one rollout after the other, its claims first.
fn interleaved(rollouts: &[Rollout], parts: Vec<(Tensor<1>, Tensor<1>)>, device: &Device) -> (Tensor<1>, Tensor<1>) {
    let mut claim = 0;
    let mut choice = rollouts.iter().map(|rollout| rollout.claims.len()).sum::<usize>() as i32;
    let mut order: Vec<i32> = Vec::new();
    for rollout in rollouts {
        for (next, count) in [(&mut claim, rollout.claims.len()), (&mut choice, rollout.choices.len())] {
            order.extend(*next..*next + count as i32);
            *next += count as i32;
        }
    }
    let order = Tensor::<1, Int>::from_data(order.as_slice(), device);
    let (log_probs, entropies): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    (Tensor::cat(log_probs, 0).select(0, order.clone()), Tensor::cat(entropies, 0).select(0, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catch_all_and_the_others_hold_each_other_back_in_training_as_at_inference() {
        let device = Device::default().autodiff();
        let scoring = Scoring { catch_all: Some(1), ..Scoring::default() };
        // What the highest margin moves by with each logit, where it is the catch-all's and where it is not.
        for (values, highest, slopes) in [([-1.0, 3.0, 0.5], 1, [0.0, 0.5, 0.5]), ([2.0, 1.0, 0.0], 0, [0.5, 0.5, 0.0])]
        {
            let logits = Tensor::<1>::from_data(values, &device).require_grad();
            let held = backed(logits.clone(), 1);
            let found: Vec<f32> = held.clone().into_data().iter::<f32>().collect();
            assert_eq!(found, scoring.backed(&values));
            let gradients = held.slice(highest..highest + 1).sum().backward();
            let found: Vec<f32> = logits.grad(&gradients).unwrap().into_data().iter::<f32>().collect();
            assert_eq!(found, slopes);
        }
    }
}
