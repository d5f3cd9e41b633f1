//! How the slot model reads: the conversation once, whatever the policy, and a growing response only where it grew.
//!
//! A judged message that is longer than a window is read in overlapping windows, and so are its other readings where it
//! is disguised; a category's score is the highest over them, and the answer is written about the window that scored
//! highest.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor};

use super::reader::Reader;
use super::slot_prompt::{Plan, SlotPrompt, SlotPrompts, highest};
use super::writer::Writer;
use super::{Answering, PASS, Reading, STEP, Steps, fits, known, read_numbers};
use crate::bundle::{Bundle, KnownCase, KnownStep};
use crate::grammar::Think;
use crate::model::KvCache;
use crate::model::slots::{Pass, SlotBatch, SlotConfig, SlotModel};
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

/// A judged message on its way through the model, window by window and in each step by step.
pub struct Scan<'e> {
    engine: &'e SlotEngine,
    prompt: SlotPrompt,
    scoring: Scoring,
    answering: Answering,
    /// The windows that were not begun yet.
    left: VecDeque<usize>,
    /// The one that is being read.
    window: Option<Window>,
    scores: Vec<f32>,
    /// The highest score, and which window has it.
    best: Option<(f32, usize)>,
    /// That window with all blocks, where an answer is written about it.
    whole: Option<Whole>,
    prompt_tokens: usize,
    cached_tokens: usize,
}

/// One window of the judged message under a policy.
///
/// Blocks do not see each other: each group of them is read behind the conversation alone and then dropped, so that
/// neither time nor memory grows faster than their number.
struct Window {
    at: usize,
    conversation: Layout,
    /// The conversation as far as it was read, with room for one group of blocks.
    cache: KvCache,
    cached: usize,
    reading: Option<InPass>,
    /// How many blocks were read, the logits of their tokens, `[1, tokens, 1]` for each group, and where among those
    /// tokens each category's score stands.
    read: usize,
    logits: Vec<Tensor<3>>,
    slots: Vec<usize>,
    tokens: usize,
    /// Whether an answer is to see all blocks, and those that it will see.
    keeps: bool,
    whole: Option<Whole>,
}

/// What is on its way through the layers: the conversation up to here, or all of it and a group of blocks.
struct InPass {
    layout: Layout,
    /// Where among the pass's tokens the blocks begin; empty for tokens of the conversation.
    slots: Vec<usize>,
    pass: Pass,
}

/// A conversation with all the blocks that were read behind it.
struct Whole {
    layout: Layout,
    cache: KvCache,
    /// Of the last group's tokens.
    states: Tensor<3>,
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
            window: None,
            scores: vec![0.0; policy.categories.len()],
            best: None,
            whole: None,
            prompt_tokens: 0,
            cached_tokens: 0,
            prompt,
            answering,
        })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        // A poisoned lock holds whole conversations still: they are only ever pushed and moved.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cache with `room` behind the conversation. It holds as much of that as whole chunks of an earlier one.
    fn begun(&self, conversation: &Layout, room: usize) -> Result<KvCache> {
        let capacity = conversation.len() + room;
        let mut kept = self.kept();
        let shared = |entry: &Kept| entry.layout.shared_prefix(conversation);
        let found = (0..kept.len()).max_by_key(|&at| shared(&kept[at])).filter(|&at| shared(&kept[at]) > 0);
        let Some(at) = found else { return Ok(self.model.cache(capacity, &self.device)) };
        let entry = kept.remove(at);
        let mut cache = entry.cache.clone();
        cache.truncate(shared(&entry));
        kept.push(entry);
        cache.fork(capacity)
    }

    /// Keeps a conversation that was read to its end, in the place of those that it grew from.
    fn keep(&self, conversation: &Layout, cache: &KvCache) -> Result<()> {
        let entry = Kept { layout: conversation.clone(), cache: cache.fork(conversation.len())? };
        let mut kept = self.kept();
        kept.retain(|older| older.layout.shared_prefix(conversation) < older.layout.len());
        kept.push(entry);
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok(())
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
        let (under_other, _) = self.asked(tokenizer, other, case).await?;
        let (under_own, whole) = self.asked(tokenizer, own, case).await?;
        self.kept().clear();
        let states = read_numbers(whole.cache.digest(seed)).await?;
        let reader = Reader::slots(&self.model, whole.cache, whole.layout, whole.states);
        let answer = known::answer(reader, &case.answer).await?;
        Ok(KnownCase { own: under_own, other: under_other, states, answer, ..case.clone() })
    }

    /// The logit of each category of `policy` for a self-test's conversation, as the network gives it, and what an answer
    /// would be written about.
    async fn asked(&self, tokenizer: &Tokenizer, policy: &Policy, case: &KnownCase) -> Result<(Vec<f32>, Whole)> {
        let prompt = self.prompts.read(tokenizer, policy, &case.conversation())?;
        let conversation = prompt.conversation(self.prompts.frame, 0);
        let mut window = Window::open(self, 0, conversation, &prompt.blocks, true)?;
        while window.step(self, &prompt.blocks)? {}
        let logits = window.logits(self).await?;
        let whole =
            window.whole.ok_or_else(|| Error::BadModel("self-test: expected a policy with categories".into()))?;
        Ok((logits, whole))
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
}

impl Window {
    /// A window of which as much is read as the engine's caches hold.
    fn open(
        engine: &SlotEngine,
        at: usize,
        conversation: Layout,
        blocks: &[Vec<TokenId>],
        keeps: bool,
    ) -> Result<Self> {
        let longest = blocks.iter().map(|block| block.len() + 1).max().unwrap_or(0);
        let cache = engine.begun(&conversation, longest.max(PASS))?;
        let cached = cache.len();
        let (read, tokens) = (0, 0);
        let (logits, slots) = (Vec::new(), Vec::new());
        Ok(Self { at, conversation, cache, cached, reading: None, read, logits, slots, tokens, keeps, whole: None })
    }

    /// Reads on by the work of [`STEP`] tokens; whether there is more to read.
    fn step(&mut self, engine: &SlotEngine, blocks: &[Vec<TokenId>]) -> Result<bool> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.begin(engine, blocks),
        };
        let tokens = reading.layout.len() - self.cache.len();
        let layers = (STEP * engine.model.layers() / tokens.max(1)).max(1);
        if engine.model.advance(&mut reading.pass, Some(&mut self.cache), layers) {
            self.end(engine, blocks, reading)?;
        } else {
            self.reading = Some(reading);
        }
        Ok(self.reading.is_some() || self.read < blocks.len())
    }

    /// A pass over chunks of the conversation or, behind all of it, over blocks: [`PASS`] tokens, or a chunk or block
    /// that alone has more.
    fn begin(&self, engine: &SlotEngine, blocks: &[Vec<TokenId>]) -> InPass {
        let (start, vocab_size) = (self.cache.len(), engine.model.vocab_size());
        let mut slots = Vec::new();
        let layout = if start < self.conversation.len() {
            self.conversation.head(self.conversation.pause(start, PASS))
        } else {
            let mut group = self.conversation.clone();
            for block in &blocks[self.read..] {
                if !slots.is_empty() && group.len() - start + block.len() + 1 > PASS {
                    break;
                }
                slots.push(group.push_block(vocab_size, block) - start);
            }
            group
        };
        let batch = SlotBatch::new(&[&layout], start, vocab_size, &engine.device);
        InPass { layout, slots, pass: engine.model.begin(&batch) }
    }

    /// Takes what a pass gave.
    fn end(&mut self, engine: &SlotEngine, blocks: &[Vec<TokenId>], reading: InPass) -> Result<()> {
        let (start, states) = (self.conversation.len(), reading.pass.states);
        if reading.slots.is_empty() {
            if self.cache.len() == start {
                engine.keep(&self.conversation, &self.cache)?;
            }
            return Ok(());
        }
        self.logits.push(engine.model.slot_logits(states.clone()));
        self.slots.extend(reading.slots.iter().map(|slot| self.tokens + slot));
        self.tokens += self.cache.len() - start;
        let group = self.read..self.read + reading.slots.len();
        self.read = group.end;
        if self.keeps {
            let mut whole = match self.whole.take() {
                Some(whole) => Whole { states, ..whole },
                None => {
                    let room = blocks.iter().map(|block| block.len() + 1).sum::<usize>() + ANSWER;
                    let mut cache = self.cache.clone();
                    cache.truncate(start);
                    Whole { layout: self.conversation.clone(), cache: cache.fork(start + room)?, states }
                }
            };
            whole.cache.append(&self.cache, start)?;
            blocks[group].iter().for_each(|block| {
                whole.layout.push_block(engine.model.vocab_size(), block);
            });
            self.whole = Some(whole);
        }
        self.cache.truncate(start);
        Ok(())
    }

    /// The logit of each category, once all blocks are read.
    async fn logits(&mut self, engine: &SlotEngine) -> Result<Vec<f32>> {
        if self.logits.is_empty() {
            return Ok(Vec::new());
        }
        let logits = read_numbers(Tensor::cat(std::mem::take(&mut self.logits), 1)).await;
        if !matches!(&logits, Ok(logits) if logits.iter().all(|logit| logit.is_finite())) {
            // What the device got wrong once must not stay for the requests that follow.
            engine.kept().clear();
        }
        let logits = logits?;
        Ok(self.slots.iter().map(|&slot| logits.get(slot).copied().unwrap_or(f32::NAN)).collect())
    }
}

impl<'e> Scan<'e> {
    /// How many tokens are read to score every category, of which caches may spare some.
    pub fn work(&self) -> usize {
        self.prompt.work()
    }

    /// Reads on by the work of [`STEP`] tokens; whether there is more to read.
    pub async fn step(&mut self) -> Result<bool> {
        let mut window = match self.window.take() {
            Some(window) => window,
            None => match self.next()? {
                Some(window) => window,
                None => return Ok(false),
            },
        };
        if window.step(self.engine, &self.prompt.blocks)? {
            self.window = Some(window);
            return Ok(true);
        }
        let scores = self.scoring.scores(&window.logits(self.engine).await?);
        self.close(window, &scores);
        Ok(self.pending().is_some())
    }

    /// The window that comes next, and whether its blocks are kept for an answer. Where there are several, only one is
    /// answered about: it is read again when it is known, since all of them would take too much memory.
    fn pending(&self) -> Option<(usize, bool)> {
        if let Some(&at) = self.left.front() {
            return Some((at, self.prompt.windows().len() == 1 && self.answering.may_write()));
        }
        let (score, at) = self.best?;
        (self.whole.is_none() && self.answering.writes(score)).then_some((at, true))
    }

    fn next(&mut self) -> Result<Option<Window>> {
        let Some((at, keeps)) = self.pending() else { return Ok(None) };
        self.left.pop_front();
        let conversation = self.prompt.conversation(self.engine.prompts.frame, at);
        Window::open(self.engine, at, conversation, &self.prompt.blocks, keeps).map(Some)
    }

    fn close(&mut self, window: Window, scores: &[f32]) {
        self.whole = window.whole;
        if self.whole.is_some() && self.best.is_some() {
            // It was read before.
            return;
        }
        self.prompt_tokens += window.conversation.len() + window.tokens;
        self.cached_tokens += window.cached;
        self.scores.iter_mut().zip(scores).for_each(|(most, score)| *most = most.max(*score));
        let top = scores.iter().copied().fold(0.0, f32::max);
        if self.best.is_none_or(|(most, _)| top > most) {
            self.best = Some((top, window.at));
        }
    }

    /// What the windows gave, once all are read.
    pub async fn finish(mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<Reading<'e>> {
        // There is a window even for an empty message.
        let Some((score, read)) = self.best.filter(|_| self.pending().is_none() && self.window.is_none()) else {
            return Err(Error::BadInput("the conversation was not read to its end".into()));
        };
        let engine = self.engine;
        let (mut answer_score, mut reason) = (None, None);
        if let Some(whole) = self.whole.take().filter(|_| self.answering.writes(score)) {
            let Answering { steps: who, thresholds, .. } = &self.answering;
            let says = |at: usize| match who {
                Steps::Scored => Some(self.scores[at] >= thresholds.of(&policy.categories[at])),
                Steps::Written => None,
            };
            let steps: Vec<_> = highest(&self.scores).into_iter().map(|at| (at, says(at))).collect();
            let grammar = |think| {
                let plan = Plan { think, steps: &steps, verdict: None };
                engine.prompts.grammar(tokenizer, policy, &self.prompt, read, plan)
            };
            let mut reader = Reader::slots(&engine.model, whole.cache, whole.layout, whole.states);
            reader.extend(&[vec![Marker::Answer.id(engine.model.vocab_size())]])?;
            if *who == Steps::Written {
                let mut writer = Writer::new(reader.clone(), grammar(Think::Skip)?, Sampling::greedy());
                writer.finish().await?;
                answer_score = writer.p_unsafe();
            }
            if self.answering.reasons(score) {
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
