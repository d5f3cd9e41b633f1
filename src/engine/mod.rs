//! A loaded model at work: it reads a policy and a conversation in one prefill, scores them, and writes the answer.
//!
//! Decoders and the slot model differ in how a prompt is read (`decoder.rs`, `slots.rs`); from there on both are a
//! reader whose tokens are written one answer at a time (`writer.rs`) or, in training, a group of answers at a time
//! (`group.rs`).

mod decoder;
mod draft;
#[cfg(feature = "train")]
pub(crate) mod group;
pub(crate) mod known;
pub(crate) mod reader;
mod writer;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, KnownCase, KnownStep};
use crate::grammar::Grammar;
use crate::prompt::Template;
use crate::tokenizer::Tokenizer;
use crate::verdict::{Answer, Thresholds};
use crate::{Conversation, Error, Policy, Result, Target};

use crate::mini::engine::SlotEngine;
use crate::mini::scan as mini;
use decoder::DecoderEngine;
#[cfg(feature = "train")]
pub(crate) use decoder::grammar as decoder_grammar;
use reader::Reader;
pub use writer::Writer;

/// Tokens that are read in one pass at most, as far as chunks and blocks allow. Bounds the memory of a pass; fewer would
/// cost time, since each pass decodes the weights.
pub(crate) const PASS: usize = 128;
/// What is done of a pass in one step, between two of which a session may wait or be given up: as much as so many tokens
/// take through all layers, and at least one layer. For rsafe-mini as WebAssembly that is some 40 ms on one core of a
/// server. Work is counted because in some runtimes the clock stands still while they compute.
const STEP: usize = 40;

/// A model, its tokenizer, and what its caches hold.
pub struct Engine {
    tokenizer: Tokenizer,
    kind: Kind,
}

enum Kind {
    Decoder(Box<DecoderEngine>),
    Slots(Box<SlotEngine>),
}

/// Who decides what a reasoning step of the slot model says about its category. Decoders reason in words of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Steps {
    /// The category's score, against its threshold: the text explains the decision.
    #[default]
    Scored,
    /// The model, token by token, and before it a verdict without reasoning.
    Written,
}

/// How the answer about a conversation is made.
#[derive(Debug, Clone)]
pub struct Answering {
    /// The longest reasoning, in tokens; 0 writes none.
    pub reasoning_tokens: usize,
    /// Reasoning is written where P(unsafe) is in this range, both ends included; `None`: wherever it is.
    pub uncertain: Option<[f32; 2]>,
    pub steps: Steps,
    /// The scores from which a category applies.
    pub thresholds: Thresholds,
}

impl Answering {
    /// Whether reasoning is written about a conversation of this score.
    pub(crate) fn reasons(&self, score: f32) -> bool {
        self.reasoning_tokens > 0 && self.uncertain.is_none_or(|[low, high]| (low..=high).contains(&score))
    }

    /// Whether the slot model writes anything about it.
    pub(crate) fn writes(&self, score: f32) -> bool {
        self.steps == Steps::Written || self.reasons(score)
    }
}

/// What one prefill gives.
pub struct Reading<'e> {
    /// P(unsafe) before any reasoning.
    pub score: f32,
    /// A score for each category, where the model has them.
    pub categories: Vec<(String, f32)>,
    /// The scores of categories without the words that are quoted for them, by id.
    pub effects: Vec<(String, f32)>,
    /// P(unsafe) at a verdict token without reasoning before it, where the model wrote one.
    pub answer_score: Option<f32>,
    /// What the model answered without reasoning; empty for the slot model, whose scores say it all.
    pub answer: Answer,
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub answer_tokens: usize,
    /// The share of the judged message, in [0, 1], that is in no language and no code that was undone.
    pub unreadable: f32,
    /// Where a reasoned answer begins; `None` if none is to be written.
    pub(crate) reason: Option<(Reader<'e>, Grammar)>,
}

impl Engine {
    /// Loads a bundle's tokenizer and weights.
    ///
    /// # Errors
    /// [`Error::BadModel`], [`Error::Integrity`] or [`Error::Unsupported`], naming what is wrong.
    pub async fn load(bundle: &Bundle, device: &Device) -> Result<Self> {
        let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await?)?;
        let kind = match bundle.manifest().template {
            Template::Slots => Kind::Slots(Box::new(SlotEngine::load(bundle, &tokenizer, device).await?)),
            template => Kind::Decoder(Box::new(DecoderEngine::load(bundle, template, &tokenizer, device).await?)),
        };
        Ok(Self { tokenizer, kind })
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Prepares to read a conversation under a policy, to score it, and to answer.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if it does not fit; what the conversation has wrong.
    pub fn scan(
        &self,
        policy: &Policy,
        own: bool,
        conversation: &Conversation,
        answering: Answering,
    ) -> Result<Scan<'_>> {
        let tokenizer = &self.tokenizer;
        let work = match &self.kind {
            Kind::Decoder(engine) => {
                Work::Decoder(Box::new(engine.scan(tokenizer, policy, conversation, answering)?))
            }
            Kind::Slots(engine) => {
                Work::Slots(Box::new(engine.scan(tokenizer, policy, own, conversation, answering)?))
            }
        };
        Ok(Scan { engine: self, work })
    }

    /// What the model gives where a case of a self-test is asked: the case with its values computed anew. `own` is the
    /// bundle's policy, `other` the test's; `seed` is that of [`KvCache::digest`](crate::model::KvCache::digest). Nothing of
    /// it stays in the caches.
    ///
    /// # Errors
    /// [`Error::BadModel`] for a case that the model cannot read; whatever the device has wrong.
    pub async fn known(&self, own: &Policy, other: &Policy, case: &KnownCase, seed: u32) -> Result<KnownCase> {
        match &self.kind {
            Kind::Decoder(engine) => engine.known(&self.tokenizer, other, case).await,
            Kind::Slots(engine) => engine.known(&self.tokenizer, own, other, case, seed).await,
        }
    }

    /// The places in an answer that a self-test asks about where this is on trial, without logits yet.
    ///
    /// # Errors
    /// Whatever the template has wrong.
    pub fn known_steps(&self, other: &Policy, target: Target) -> Result<Vec<KnownStep>> {
        match &self.kind {
            Kind::Decoder(engine) => engine.known_steps(&self.tokenizer, other, target),
            Kind::Slots(engine) => Ok(engine.known_steps()),
        }
    }
}

/// A conversation on its way through the model, in steps between which it may be given up.
pub struct Scan<'e> {
    engine: &'e Engine,
    work: Work<'e>,
}

enum Work<'e> {
    Decoder(Box<decoder::Scan<'e>>),
    Slots(Box<mini::Scan<'e>>),
}

impl<'e> Scan<'e> {
    /// How many tokens the model reads before it can answer, whatever its caches hold: known before it reads any.
    pub fn work(&self) -> usize {
        match &self.work {
            Work::Decoder(scan) => scan.work(),
            Work::Slots(scan) => scan.work(),
        }
    }

    /// The next step, the work of about [`STEP`] tokens, or of [`PASS`] tokens of a decoder: what was read, or the rest
    /// while there is more to read.
    ///
    /// # Errors
    /// Whatever the device has wrong.
    pub async fn step(mut self, policy: &Policy) -> Result<ControlFlow<Reading<'e>, Self>> {
        let more = match &mut self.work {
            Work::Decoder(scan) => scan.step().await?,
            Work::Slots(scan) => scan.step(policy).await?,
        };
        if more {
            return Ok(ControlFlow::Continue(self));
        }
        Ok(ControlFlow::Break(match self.work {
            Work::Decoder(scan) => scan.finish()?,
            Work::Slots(scan) => scan.finish(&self.engine.tokenizer, policy).await?,
        }))
    }
}

/// How many of a model's layers a pass over so many tokens takes in one step.
pub(crate) fn layers_of_a_step(layers: usize, tokens: usize) -> usize {
    (STEP * layers / tokens.max(1)).max(1)
}

/// Refuses a tokenizer whose ids go beyond the model's vocabulary.
pub(crate) fn fits(tokenizer: &Tokenizer, vocab_size: usize) -> Result<()> {
    if tokenizer.vocab_size() > vocab_size {
        return Err(Error::BadModel(format!(
            "the tokenizer has {} tokens but the model only {vocab_size}; is the tokenizer another model's?",
            tokenizer.vocab_size(),
        )));
    }
    Ok(())
}

/// A tensor's numbers, read without blocking: on the web nothing may wait for the GPU.
pub(crate) async fn read_numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data_async().await.map_err(|e| Error::DeviceLost(format!("reading a result: {e:?}")))?;
    Ok(data.iter::<f32>().collect())
}
