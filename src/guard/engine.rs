//! The model of a guard, a decoder or rsafe-mini: it reads a policy and a conversation, scores them, and writes the
//! answer.

use std::ops::ControlFlow;

use crate::bundle::{Bundle, KnownCase, KnownStep, Weights};
use crate::conversation::{Conversation, Target};
use crate::engine::decoder::{self, DecoderEngine};
use crate::engine::{Answering, Readout};
use crate::error::Result;
use crate::mini::engine::SlotEngine;
use crate::mini::prompt::{Blocks, SlotPrompts};
use crate::mini::scan as mini;
use crate::mini::telling::Telling;
use crate::policy::Policy;
use crate::prompt::Template;
use crate::tokenizer::Tokenizer;

/// A policy that an engine can read under.
pub struct Prepared {
    pub policy: Policy,
    /// Whether the model reads what it reads of the bundle's own policy, so that what was measured under that holds.
    pub own: bool,
    /// What rsafe-mini reads of each category. Nothing for a decoder: its template puts a policy into words together with
    /// what is on trial.
    blocks: Blocks,
}

/// A model, its tokenizer, and what its caches hold.
pub struct Engine {
    tokenizer: Tokenizer,
    kind: Kind,
}

enum Kind {
    Decoder(Box<DecoderEngine>),
    Slots(Box<SlotEngine>),
}

impl Engine {
    /// Makes a bundle's model of its tokenizer and of weights, which are its own or those that it was made of.
    ///
    /// # Errors
    /// [`BadModel`](crate::Error::BadModel), [`Integrity`](crate::Error::Integrity) or
    /// [`Unsupported`](crate::Error::Unsupported), naming what is wrong.
    pub async fn load(bundle: &Bundle, weights: impl Future<Output = Result<Weights>>) -> Result<Self> {
        let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await?)?;
        let manifest = bundle.manifest();
        let kind = match manifest.template {
            Template::Slots => Kind::Slots(Box::new(SlotEngine::load(manifest, &tokenizer, weights).await?)),
            _ => Kind::Decoder(Box::new(DecoderEngine::load(manifest, &tokenizer, weights).await?)),
        };
        Ok(Self { tokenizer, kind })
    }

    /// Whether it scores each category of a policy, as rsafe-mini does.
    #[cfg(feature = "native")]
    pub fn scores_categories(&self) -> bool {
        matches!(self.kind, Kind::Slots(_))
    }

    /// Whether it says which categories apply; if not, P(unsafe) decides for all of them.
    pub fn names_categories(&self) -> bool {
        match &self.kind {
            Kind::Decoder(engine) => engine.template().names_categories(),
            Kind::Slots(_) => true,
        }
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Checks a policy, and makes it ready to be read; `own` as in [`Prepared`].
    ///
    /// # Errors
    /// [`BadPolicy`](crate::Error::BadPolicy) for a policy that cannot be used.
    pub fn prepare(&self, policy: &Policy, own: bool) -> Result<Prepared> {
        policy.validate()?;
        let blocks = match &self.kind {
            Kind::Decoder(_) => Blocks::default(),
            Kind::Slots(_) => SlotPrompts::blocks(&self.tokenizer, policy)?,
        };
        Ok(Prepared { policy: policy.clone(), own, blocks })
    }

    /// Prepares to read a conversation under a policy that this engine made ready, to score it, and to answer.
    ///
    /// # Errors
    /// [`ContextLength`](crate::Error::ContextLength) if it does not fit; what the conversation has wrong.
    pub fn scan(&self, prepared: &Prepared, conversation: &Conversation, answering: Answering) -> Result<Scan<'_>> {
        let (tokenizer, policy) = (&self.tokenizer, &prepared.policy);
        let work = match &self.kind {
            Kind::Decoder(engine) => {
                Work::Decoder(Box::new(engine.scan(tokenizer, policy, conversation, answering)?))
            }
            Kind::Slots(engine) => {
                let prompt = engine.prompts.read(tokenizer, prepared.blocks.clone(), conversation)?;
                let scoring = engine.calibration.of(conversation.target, policy, prepared.own);
                Work::Slots(Box::new((mini::Scan::new(engine, prompt, scoring), answering)))
            }
        };
        Ok(Scan { engine: self, work })
    }

    /// What the model gives where a case of a self-test is asked: the case with its values computed anew. `own` is the
    /// bundle's policy, `other` the test's; `seed` is that of [`KvCache::digest`](crate::model::KvCache::digest). Nothing of
    /// it stays in the caches.
    ///
    /// # Errors
    /// [`BadModel`](crate::Error::BadModel) for a case that the model cannot read; whatever the device has wrong.
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
    Slots(Box<(mini::Scan<'e>, Answering)>),
    Telling(Box<Telling<'e>>),
}

impl<'e> Scan<'e> {
    /// How many tokens the model reads before it can answer, whatever its caches hold: known before it reads any.
    pub fn work(&self) -> usize {
        match &self.work {
            Work::Decoder(scan) => scan.work(),
            Work::Slots(reading) => reading.0.work(),
            Work::Telling(telling) => telling.read.prompt.work(),
        }
    }

    /// The next step, a part of a pass: what was read, or the rest while there is more to read.
    ///
    /// # Errors
    /// Whatever the device has wrong.
    pub async fn step(self, policy: &Policy) -> Result<ControlFlow<Readout<'e>, Self>> {
        let Self { engine, work } = self;
        let tokenizer = &engine.tokenizer;
        let work = match work {
            Work::Decoder(mut scan) => match scan.step().await? {
                true => Work::Decoder(scan),
                false => return Ok(ControlFlow::Break(scan.finish()?)),
            },
            Work::Slots(reading) => {
                let (scan, answering) = *reading;
                match scan.step().await? {
                    ControlFlow::Continue(scan) => Work::Slots(Box::new((scan, answering))),
                    ControlFlow::Break(read) => Work::Telling(Box::new(Telling::new(read, answering))),
                }
            }
            Work::Telling(mut telling) => match telling.step(tokenizer, policy).await? {
                true => Work::Telling(telling),
                false => return Ok(ControlFlow::Break(telling.finish(tokenizer, policy).await?)),
            },
        };
        Ok(ControlFlow::Continue(Self { engine, work }))
    }
}
