//! How the slot model reads: the conversation once, whatever the policy, and a growing response only where it grew.
//!
//! A judged message that is longer than a window is read in overlapping windows, and so are its other readings where it
//! is disguised; a category's score is the highest over them, and the answer is written about the window that scored
//! highest.

use std::collections::VecDeque;
use std::sync::Mutex;

use burn::tensor::{Device, Tensor};

use super::reader::Reader;
use super::slot_prompt::{Plan, SlotPrompt, SlotPrompts, highest};
use super::writer::Writer;
use super::{Answering, Reading, Steps, fits, known, read_numbers};
use crate::bundle::{Bundle, KnownCase, KnownStep};
use crate::grammar::Think;
use crate::model::KvCache;
use crate::model::slots::{SlotBatch, SlotConfig, SlotModel};
use crate::prompt::slots::{ANSWER, Layout, Marker};
use crate::sampling::Sampling;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::verdict::{Answer, Calibration, Scoring};
use crate::{Conversation, Error, Policy, Result};

/// Conversations whose states are kept, the latest used last.
const KEPT: usize = 4;

/// The slot model and the conversations it has read.
pub struct SlotEngine {
    model: SlotModel,
    prompts: SlotPrompts,
    calibration: Calibration,
    device: Device,
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    layout: Layout,
    cache: KvCache,
}

/// A judged message on its way through the model, window by window.
pub struct Scan<'e> {
    engine: &'e SlotEngine,
    prompt: SlotPrompt,
    scoring: Scoring,
    answering: Answering,
    /// The windows that were not read yet.
    left: VecDeque<usize>,
    scores: Vec<f32>,
    /// The highest score, and which window has it.
    best: Option<(f32, usize, Window)>,
    prompt_tokens: usize,
    cached_tokens: usize,
}

/// One window of the judged message, read under a policy.
struct Window {
    layout: Layout,
    cache: KvCache,
    states: Tensor<3>,
    scores: Vec<f32>,
    cached: usize,
}

impl SlotEngine {
    pub async fn load(bundle: &Bundle, tokenizer: &Tokenizer, device: &Device) -> Result<Self> {
        let config = SlotConfig::from_json(&bundle.manifest().config)?;
        fits(tokenizer, config.vocab_size)?;
        let mut weights = bundle.weights(device).await?;
        let model = SlotModel::load(&config, &mut weights)?;
        weights.finish()?;
        Ok(Self {
            prompts: SlotPrompts::new(tokenizer, config.vocab_size)?,
            model,
            calibration: bundle.manifest().calibration.clone(),
            device: device.clone(),
            kept: Mutex::new(Vec::new()),
        })
    }

    /// Prepares to score every category of the policy, the bundle's `own` or another, and the answer about those that score
    /// highest.
    pub fn scan(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        own: bool,
        conversation: &Conversation,
        answering: Answering,
    ) -> Result<Scan<'_>> {
        let prompt = self.prompts.read(tokenizer, policy, conversation)?;
        Ok(Scan {
            engine: self,
            scoring: self.calibration.of(conversation.target, policy, own),
            left: prompt.windows().collect(),
            scores: vec![0.0; policy.categories.len()],
            best: None,
            prompt_tokens: 0,
            cached_tokens: 0,
            prompt,
            answering,
        })
    }

    /// Reads a window's conversation, as far as no cache holds it, then the blocks.
    async fn window(&self, conversation: Layout, blocks: &[Vec<TokenId>], scoring: Scoring) -> Result<Window> {
        let room = blocks.iter().map(|block| block.len() + 1).sum::<usize>() + ANSWER;
        let (kept, cached) = self.conversation(&conversation)?;
        let mut cache = kept.fork(conversation.len() + room)?;
        let mut layout = conversation;
        let start = layout.len();
        let slots: Vec<usize> = blocks.iter().map(|b| layout.push_block(self.model.vocab_size(), b) - start).collect();
        let batch = SlotBatch::new(&[&layout], start, self.model.vocab_size(), &self.device);
        let states = self.model.forward(&batch, Some(&mut cache));
        let logits = read_numbers(self.model.slot_logits(states.clone())).await;
        if !matches!(&logits, Ok(logits) if logits.iter().all(|logit| logit.is_finite())) {
            // What the device got wrong once must not stay for the requests that follow.
            self.forget();
        }
        let logits = logits?;
        let logits: Vec<f32> = slots.iter().map(|&slot| logits.get(slot).copied().unwrap_or(f32::NAN)).collect();
        Ok(Window { scores: scoring.scores(&logits), layout, cache, states, cached })
    }

    /// A cache that holds the conversation alone, and how many of its tokens were there already: those of whole
    /// chunks that an earlier conversation began with.
    fn conversation(&self, layout: &Layout) -> Result<(KvCache, usize)> {
        // A poisoned lock holds whole conversations still: they are only ever pushed and moved.
        let lock = || self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut kept = lock();
        let shared = |entry: &Kept| entry.layout.shared_prefix(layout);
        let found = (0..kept.len()).max_by_key(|&at| shared(&kept[at])).filter(|&at| shared(&kept[at]) > 0);
        let (mut cache, cached) = match found {
            Some(at) => {
                let cached = shared(&kept[at]);
                // A conversation that has only grown takes the place of what it grew from; its last chunk may have
                // been filled up since.
                let grown = cached == kept[at].layout.shared_prefix(&kept[at].layout);
                let entry = kept.remove(at);
                let mut cache = entry.cache.clone();
                if !grown {
                    kept.push(entry);
                }
                cache.truncate(cached);
                (cache.fork(layout.len())?, cached)
            }
            None => (self.model.cache(layout.len(), &self.device), 0),
        };
        drop(kept);
        if cached < layout.len() {
            let batch = SlotBatch::new(&[layout], cached, self.model.vocab_size(), &self.device);
            self.model.forward(&batch, Some(&mut cache));
        }
        let mut kept = lock();
        kept.push(Kept { layout: layout.clone(), cache: cache.clone() });
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok((cache, cached))
    }

    /// The values of a self-test's case: the logit of every category of both policies, a digest of the states under the
    /// bundle's own, and logits of the answer behind it.
    pub async fn known(
        &self,
        tokenizer: &Tokenizer,
        own: &Policy,
        other: &Policy,
        case: &KnownCase,
        seed: u32,
    ) -> Result<KnownCase> {
        let ids = self.model.vocab_size() + Marker::COUNT;
        if case.answer.iter().flat_map(|step| &step.read).any(|&id| id as usize >= ids) {
            return Err(Error::BadModel(format!("self-test: expected an answer of ids below {ids}")));
        }
        let (under_other, _) = self.slot_logits(tokenizer, other, case).await?;
        let (under_own, window) = self.slot_logits(tokenizer, own, case).await?;
        let states = read_numbers(window.cache.digest(seed)).await?;
        let reader = Reader::slots(&self.model, window.cache, window.layout, window.states);
        let answer = known::answer(reader, &case.answer).await?;
        self.forget();
        Ok(KnownCase { own: under_own, other: under_other, states, answer, ..case.clone() })
    }

    /// The logit of each category of `policy` for a self-test's conversation, as the network gives it.
    async fn slot_logits(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        case: &KnownCase,
    ) -> Result<(Vec<f32>, Window)> {
        let prompt = self.prompts.read(tokenizer, policy, &case.conversation())?;
        let layout = prompt.conversation(self.prompts.frame, 0);
        let window = self.window(layout, &prompt.blocks, Scoring::default()).await?;
        let logits = read_numbers(self.model.slot_logits(window.states.clone())).await?;
        let slot = Marker::Slot.id(self.model.vocab_size());
        let blocks = window.layout.ids[window.layout.conversation_len()..].iter().zip(logits);
        Ok((blocks.filter(|(id, _)| **id == slot).map(|(_, logit)| logit).collect(), window))
    }

    /// Where an answer opens, and where it has thought, said something of a category, and quoted: every marker is read
    /// there, or asked about.
    pub fn known_steps(&self) -> Vec<KnownStep> {
        let vocab_size = self.model.vocab_size();
        let markers = (0..Marker::COUNT).map(|marker| (vocab_size + marker) as TokenId);
        let next: Vec<TokenId> = markers.chain(known::words(vocab_size)).collect();
        let step = |read| KnownStep { read, next: next.clone(), logits: Vec::new() };
        let mut said = vec![Marker::Think.id(vocab_size)];
        let words = known::words(vocab_size);
        let markers = [Marker::Applies, Marker::DoesNotApply, Marker::Quote, Marker::EndQuote, Marker::EndThink];
        said.extend(markers.iter().zip(words).flat_map(|(marker, word)| [word, marker.id(vocab_size)]));
        vec![step(vec![Marker::Answer.id(vocab_size)]), step(said)]
    }

    /// Lets go of every conversation that was read.
    fn forget(&self) {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }
}

impl<'e> Scan<'e> {
    /// Reads the next window; whether there is another one.
    pub async fn step(&mut self) -> Result<bool> {
        let Some(at) = self.left.pop_front() else { return Ok(false) };
        let layout = self.prompt.conversation(self.engine.prompts.frame, at);
        let window = self.engine.window(layout, &self.prompt.blocks, self.scoring).await?;
        self.prompt_tokens += window.layout.len();
        self.cached_tokens += window.cached;
        self.scores.iter_mut().zip(&window.scores).for_each(|(most, score)| *most = most.max(*score));
        let top = window.scores.iter().copied().fold(0.0, f32::max);
        if self.best.as_ref().is_none_or(|(most, ..)| top > *most) {
            self.best = Some((top, at, window));
        }
        Ok(!self.left.is_empty())
    }

    /// What the windows gave, once all are read.
    pub async fn finish(mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<Reading<'e>> {
        // There is a window even for an empty message.
        let Some((score, read, window)) = self.best.take().filter(|_| self.left.is_empty()) else {
            return Err(Error::BadInput("the conversation was not read to its end".into()));
        };
        let engine = self.engine;
        let (mut answer_score, mut reason) = (None, None);
        let Answering { reasoning_tokens, steps, thresholds } = &self.answering;
        let written = *steps == Steps::Written;
        if written || *reasoning_tokens > 0 {
            let says = |at: usize| match steps {
                Steps::Scored => Some(self.scores[at] >= thresholds.of(&policy.categories[at])),
                Steps::Written => None,
            };
            let steps: Vec<_> = highest(&self.scores).into_iter().map(|at| (at, says(at))).collect();
            let grammar = |think| {
                let plan = Plan { think, steps: &steps, verdict: None };
                engine.prompts.grammar(tokenizer, policy, &self.prompt, read, plan)
            };
            let mut reader = Reader::slots(&engine.model, window.cache, window.layout, window.states);
            reader.extend(&[vec![Marker::Answer.id(engine.model.vocab_size())]])?;
            if written {
                let mut writer = Writer::new(reader.clone(), grammar(Think::Skip)?, Sampling::greedy());
                writer.finish().await?;
                answer_score = writer.p_unsafe();
            }
            if *reasoning_tokens > 0 {
                reason = Some((reader, grammar(Think::First { max_tokens: ANSWER })?));
            }
        }
        Ok(Reading {
            score,
            categories: policy.categories.iter().map(|c| c.id.clone()).zip(self.scores).collect(),
            answer_score,
            answer: Answer::default(),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            answer_tokens: 0,
            unreadable: self.prompt.unreadable,
            reason,
        })
    }
}
