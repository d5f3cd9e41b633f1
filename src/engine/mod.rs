//! A loaded model at work: it reads a policy and a conversation in one prefill, scores them, and writes the answer.
//!
//! Decoders and the slot model differ in how a prompt is read (`decoder.rs`, `slots.rs`); from there on both are a
//! reader whose tokens are written one answer at a time (`writer.rs`) or, in training, a group of answers at a time
//! (`group.rs`).

mod decoder;
mod draft;
#[cfg(feature = "train")]
pub(crate) mod group;
mod known;
pub(crate) mod reader;
pub(crate) mod slot_prompt;
mod slots;
mod writer;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, KnownCase, KnownStep};
use crate::grammar::Grammar;
use crate::prompt::Template;
use crate::tokenizer::Tokenizer;
use crate::verdict::{Answer, Thresholds};
use crate::{Conversation, Error, Policy, Result, Target};

use decoder::DecoderEngine;
#[cfg(feature = "train")]
pub(crate) use decoder::grammar as decoder_grammar;
use reader::Reader;
use slots::SlotEngine;
pub use writer::Writer;

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
    /// The longest reasoning, in tokens; 0 prepares none.
    pub reasoning_tokens: usize,
    pub steps: Steps,
    /// The scores from which a category applies.
    pub thresholds: Thresholds,
}

/// What one prefill gives.
pub struct Reading<'e> {
    /// P(unsafe) before any reasoning.
    pub score: f32,
    /// A score for each category, where the model has them.
    pub categories: Vec<(String, f32)>,
    /// P(unsafe) at a verdict token without reasoning before it, where the model wrote one.
    pub answer_score: Option<f32>,
    /// What the model answered without reasoning; empty for the slot model, whose scores say it all.
    pub answer: Answer,
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub answer_tokens: usize,
    /// The share of the judged message, in [0, 1], that is in no language and no code that was undone.
    pub unreadable: f32,
    /// Where a reasoned answer begins; `None` if the template has none.
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
        match &self.kind {
            Kind::Decoder(engine) => Ok(Scan { engine: self, work: Work::Whole(engine, answering.reasoning_tokens) }),
            Kind::Slots(engine) => {
                let scan = engine.scan(&self.tokenizer, policy, own, conversation, answering)?;
                Ok(Scan { engine: self, work: Work::Windows(Box::new(scan)) })
            }
        }
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
    /// A decoder reads in one step, with so many tokens of reasoning to follow.
    Whole(&'e DecoderEngine, usize),
    Windows(Box<slots::Scan<'e>>),
}

impl<'e> Scan<'e> {
    /// The next step: what was read, or `Err(self)` while there is more to read.
    ///
    /// # Errors
    /// Whatever the conversation or the device has wrong.
    pub async fn step(self, policy: &Policy, conversation: &Conversation) -> Result<Result<Reading<'e>, Self>> {
        let tokenizer = &self.engine.tokenizer;
        match self.work {
            Work::Whole(engine, tokens) => Ok(Ok(engine.read(tokenizer, policy, conversation, tokens).await?)),
            Work::Windows(mut scan) => match scan.step().await? {
                true => Ok(Err(Self { work: Work::Windows(scan), ..self })),
                false => Ok(Ok(scan.finish(tokenizer, policy).await?)),
            },
        }
    }
}

/// Refuses a tokenizer whose ids go beyond the model's vocabulary.
fn fits(tokenizer: &Tokenizer, vocab_size: usize) -> Result<()> {
    if tokenizer.vocab_size() > vocab_size {
        return Err(Error::BadModel(format!(
            "the tokenizer has {} tokens but the model only {vocab_size}; is the tokenizer another model's?",
            tokenizer.vocab_size(),
        )));
    }
    Ok(())
}

/// A tensor's numbers, read without blocking: on the web nothing may wait for the GPU.
async fn read_numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data_async().await.map_err(|e| Error::DeviceLost(format!("reading a result: {e:?}")))?;
    Ok(data.iter::<f32>().collect())
}
