//! How the slot model reads: the conversation once, whatever the policy, and a growing response only where it grew.
//!
//! A judged message that is longer than a window is read in overlapping windows, and so are its other readings where it
//! is disguised ([`readings`]); a category's score is the highest over them, and the answer is written about the window
//! that scored highest.

use std::collections::VecDeque;
use std::sync::Mutex;

use burn::tensor::{Device, Tensor};

use super::reader::Reader;
use super::{Reading, fits, read_numbers};
use crate::bundle::Bundle;
use crate::grammar::{Grammar, QuoteLength, QuoteSource, SlotAnswer, SlotMarkers, SlotStep, Think};
use crate::model::KvCache;
use crate::model::slots::{SlotBatch, SlotConfig, SlotModel};
use crate::normalise::readings;
use crate::prompt::slots::{
    ANSWER, BLOCK_WORDS, CONTEXT_WORDS, Frame, Kind, Layout, Marker, NAME_WORDS, QUOTE_WORDS, STEPS, Turn, WINDOW,
    WINDOW_STEP,
};
use crate::tokenizer::{Span, TokenId, Tokenizer};
use crate::verdict::{Answer, Calibration, Scaling, Thresholds};
use crate::{Category, Conversation, Error, Policy, Result, Role, Target};

/// Conversations whose states are kept, the latest used last.
const KEPT: usize = 4;
/// The longest judged message, in tokens: what is longer is refused rather than judged in part.
const MAX_JUDGED: usize = 32_768;

/// The slot model and the conversations it has read.
pub struct SlotEngine {
    model: SlotModel,
    frame: Frame,
    markers: SlotMarkers,
    calibration: Calibration,
    thresholds: Thresholds,
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
    kind: Kind,
    scaling: Scaling,
    context: Option<Vec<TokenId>>,
    blocks: Vec<Vec<TokenId>>,
    /// The tokens of the judged message as it is, then those of its other readings; all with bytes of the message.
    texts: Vec<Vec<Span>>,
    judged: usize,
    reasoning_tokens: usize,
    /// The windows that were not read yet: which text, and where in it they begin.
    left: VecDeque<(usize, usize)>,
    scores: Vec<f32>,
    /// The window that scored highest, its score, and where it begins.
    best: Option<(f32, (usize, usize), Window)>,
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
        let id = |marker: Marker| marker.id(config.vocab_size);
        Ok(Self {
            model,
            frame: Frame { cls: tokenizer.control("[CLS]")?, sep: tokenizer.control("[SEP]")? },
            markers: SlotMarkers {
                think: id(Marker::Think),
                end_think: id(Marker::EndThink),
                safe: id(Marker::Safe),
                unsafe_: id(Marker::Unsafe),
                quote: id(Marker::Quote),
                end_quote: id(Marker::EndQuote),
                yes: id(Marker::Applies),
                no: id(Marker::DoesNotApply),
            },
            calibration: bundle.manifest().calibration,
            thresholds: bundle.manifest().thresholds.clone(),
            device: device.clone(),
            kept: Mutex::new(Vec::new()),
        })
    }

    /// Prepares to score every category of the policy, and the answer about those that score highest.
    pub fn scan(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        conversation: &Conversation,
        reasoning_tokens: usize,
    ) -> Result<Scan<'_>> {
        let judged = conversation.target_index()?;
        let message = &conversation.messages[judged].content;
        let mut texts = vec![tokenizer.encode(message)?];
        if texts[0].len() > MAX_JUDGED {
            return Err(Error::ContextLength { needed: texts[0].len(), limit: MAX_JUDGED });
        }
        for reading in readings(message) {
            let spans = tokenizer.encode(&reading.text)?.into_iter();
            texts.push(spans.map(|span| Span { bytes: reading.original(span.bytes), ..span }).collect());
        }
        let left = texts.iter().enumerate().flat_map(|(text, spans)| windows(spans.len()).map(move |at| (text, at)));
        let context = match conversation.target {
            // What the user asked last is what an answer is read in the light of.
            Target::Response => conversation.messages[..judged].iter().rev().find(|m| m.role == Role::User),
            Target::Prompt => None,
        };
        let context = context.map(|message| tokenizer.encode(&message.content)).transpose()?.map(|spans| {
            let ids: Vec<TokenId> = spans.iter().map(|span| span.id).collect();
            ids[ids.len().saturating_sub(CONTEXT_WORDS)..].to_vec()
        });
        Ok(Scan {
            engine: self,
            kind: Kind::judged(conversation.target),
            scaling: self.calibration.of(conversation.target),
            context,
            blocks: policy.categories.iter().map(|c| block(tokenizer, c)).collect::<Result<Vec<_>>>()?,
            left: left.collect(),
            scores: vec![0.0; policy.categories.len()],
            best: None,
            prompt_tokens: 0,
            cached_tokens: 0,
            texts,
            judged,
            reasoning_tokens,
        })
    }

    /// Reads a window's conversation, as far as no cache holds it, then the blocks.
    async fn window(&self, conversation: Layout, blocks: &[Vec<TokenId>], scaling: Scaling) -> Result<Window> {
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
            self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        }
        let logits = logits?;
        // A score that is no number says that the model is broken, which must not look safe.
        let score = |index: &usize| {
            let logit = logits.get(*index).copied().filter(|logit| logit.is_finite());
            logit.map_or(1.0, |logit| scaling.probability(logit))
        };
        Ok(Window { scores: slots.iter().map(score).collect(), layout, cache, states, cached })
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

    /// The grammar of the reasoned answer: a step for each of the categories that score highest.
    fn grammar(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        conversation: &Conversation,
        judged: usize,
        spans: &[Span],
        scores: &[f32],
    ) -> Result<Grammar> {
        let mut order: Vec<usize> = (0..policy.categories.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let steps = order.into_iter().take(STEPS).map(|index| {
            let category = &policy.categories[index];
            let mut header: Vec<TokenId> = tokenizer.encode(&category.name)?.iter().map(|span| span.id).collect();
            header.truncate(NAME_WORDS);
            // Scores decide; the answer says so and quotes.
            let applies = Some(scores[index] >= self.thresholds.of(category));
            Ok(SlotStep { category: category.id.clone(), name: category.name.clone(), header, applies })
        });
        let steps = steps.collect::<Result<Vec<_>>>()?;
        Grammar::slots(&SlotAnswer {
            vocab_size: self.model.vocab_size() + Marker::COUNT,
            markers: self.markers,
            steps: &steps,
            speaker: match conversation.target {
                Target::Prompt => "user",
                Target::Response => "agent",
            },
            source: QuoteSource::new(judged, &conversation.messages[judged].content, spans),
            quote: QuoteLength { min: 1, max: QUOTE_WORDS },
            think: Think::First { max_tokens: ANSWER },
        })
    }

    /// The score of each category of `policy`, before calibration, for a user's message of these tokens.
    pub async fn known_values(&self, tokenizer: &Tokenizer, policy: &Policy, ids: &[TokenId]) -> Result<Vec<f32>> {
        if ids.len() > WINDOW || ids.iter().any(|&id| id as usize >= self.model.vocab_size()) {
            return Err(Error::BadModel(format!("self-test: expected at most {WINDOW} ids of the vocabulary")));
        }
        let blocks = policy.categories.iter().map(|c| block(tokenizer, c)).collect::<Result<Vec<_>>>()?;
        let layout = Layout::conversation(self.frame, &[], Turn { kind: Kind::JudgedUser, ids });
        Ok(self.window(layout, &blocks, Scaling::default()).await?.scores)
    }
}

impl<'e> Scan<'e> {
    /// Reads the next window; whether there is another one.
    pub async fn step(&mut self) -> Result<bool> {
        let Some((text, start)) = self.left.pop_front() else { return Ok(false) };
        let ids: Vec<TokenId> = self.texts[text][start..].iter().take(WINDOW).map(|span| span.id).collect();
        let turn = self.context.as_ref().map(|ids| Turn { kind: Kind::of(Role::User, false), ids });
        let layout = Layout::conversation(self.engine.frame, turn.as_slice(), Turn { kind: self.kind, ids: &ids });
        let window = self.engine.window(layout, &self.blocks, self.scaling).await?;
        self.prompt_tokens += window.layout.len();
        self.cached_tokens += window.cached;
        self.scores.iter_mut().zip(&window.scores).for_each(|(most, score)| *most = most.max(*score));
        let top = window.scores.iter().copied().fold(0.0, f32::max);
        if self.best.as_ref().is_none_or(|(most, ..)| top > *most) {
            self.best = Some((top, (text, start), window));
        }
        Ok(!self.left.is_empty())
    }

    /// What the windows gave, once all are read.
    pub fn finish(self, tokenizer: &Tokenizer, policy: &Policy, conversation: &Conversation) -> Result<Reading<'e>> {
        // There is a window even for an empty message.
        let Some((score, (text, start), window)) = self.best.filter(|_| self.left.is_empty()) else {
            return Err(Error::BadInput("the conversation was not read to its end".into()));
        };
        let engine = self.engine;
        let reason = match self.reasoning_tokens {
            0 => None,
            _ => {
                let spans: Vec<Span> = self.texts[text][start..].iter().take(WINDOW).cloned().collect();
                let grammar = engine.grammar(tokenizer, policy, conversation, self.judged, &spans, &self.scores)?;
                let mut reader = Reader::slots(&engine.model, window.cache, window.layout, window.states);
                reader.extend(&[Marker::Answer.id(engine.model.vocab_size())])?;
                Some((reader, grammar))
            }
        };
        Ok(Reading {
            score,
            categories: policy.categories.iter().map(|c| c.id.clone()).zip(self.scores).collect(),
            answer: Answer::default(),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            answer_tokens: 0,
            reason,
        })
    }
}

/// What a category's block says: its name and its definition, as far as blocks go.
fn block(tokenizer: &Tokenizer, category: &Category) -> Result<Vec<TokenId>> {
    let mut words: Vec<TokenId> = tokenizer.encode(&category.name)?.iter().map(|span| span.id).collect();
    words.truncate(NAME_WORDS);
    words.extend(tokenizer.encode(&category.definition)?.iter().map(|span| span.id));
    words.truncate(BLOCK_WORDS);
    Ok(words)
}

/// Where the windows over `len` tokens begin: one at 0 even for none, and none that adds nothing.
fn windows(len: usize) -> impl Iterator<Item = usize> {
    let last = len.saturating_sub(WINDOW).div_ceil(WINDOW_STEP);
    (0..=last).map(|window| window * WINDOW_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_token_and_overlap() {
        for len in [0, 1, WINDOW, WINDOW + 1, 3 * WINDOW, 10_000] {
            let starts: Vec<usize> = windows(len).collect();
            assert_eq!(starts[0], 0);
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= WINDOW_STEP));
            let last = starts[starts.len() - 1];
            assert!(last + WINDOW >= len && (last == 0 || last + WINDOW - WINDOW_STEP < len), "{len}: {starts:?}");
        }
    }
}
