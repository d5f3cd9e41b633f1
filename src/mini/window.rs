//! One window of the judged message under a policy: the conversation as far as it is new, then a slot for each category, and
//! one more for each passage of a long window, which sees no other.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::batch::SlotBatch;
use super::engine::{Begun, ReadPassage, SlotEngine};
use super::layout::{ANSWER, Layout};
use super::network::{Pass, Seen, Unseen};
use super::policy::ReadPolicy;
use crate::engine::reader::Reader;
use crate::engine::{PASS, layers_of_a_step, read_numbers};
use crate::error::{Error, Result};
use crate::model::KvCache;

/// A window on its way through the network.
pub struct Window {
    /// Its place among the windows of the message.
    pub at: usize,
    conversation: Layout,
    /// Stretches of the conversation that slots read alone, too.
    passages: Vec<Range<usize>>,
    begun: Begun,
    /// How many tokens of the conversation and slots came from earlier checks.
    pub cached: usize,
    /// Whether later checks may go on from it.
    keeps: bool,
    stage: Stage,
}

enum Stage {
    Conversation(Option<Pass>),
    Slots(Slots),
    Read { states: Vec<Tensor<3>>, own: KvCache, known: Known },
}

/// The slots of all readings that are not known, some readings at a time.
struct Slots {
    pass: Pass,
    /// What the slots of the first pass give an answer behind them.
    own: KvCache,
    /// What the passes so far gave, `[readings, slots, hidden]` each.
    states: Vec<Tensor<3>>,
    left: VecDeque<usize>,
    known: Known,
}

/// The logits of each passage, where an earlier check gave them.
type Known = Vec<Option<Vec<f32>>>;

/// Slots of several readings that go through the network together at most, and the words of blocks that they drag along:
/// each reading has them once more, and a long policy's take much memory.
const SLOTS: usize = 192;
const WORDS: usize = 2048;

impl Window {
    /// A window of which as much is read as the engine's caches hold.
    pub fn open(engine: &SlotEngine, at: usize, conversation: Layout) -> Result<Self> {
        let begun = engine.begun(&conversation)?;
        let cached = begun.cache.len();
        let passages = conversation.passages();
        Ok(Self { at, conversation, passages, begun, cached, keeps: true, stage: Stage::Conversation(None) })
    }

    /// A window that is read from its start and leaves nothing behind.
    pub fn apart(engine: &SlotEngine, at: usize, conversation: Layout) -> Self {
        let begun = engine.unread(&conversation);
        let passages = conversation.passages();
        Self { at, conversation, passages, begun, cached: 0, keeps: false, stage: Stage::Conversation(None) }
    }

    /// Tokens of the conversation.
    pub fn conversation_len(&self) -> usize {
        self.conversation.len()
    }

    /// Those of the judged message.
    pub fn judged(&self) -> Range<usize> {
        self.conversation.judged()
    }

    /// Tokens of the conversation and slots.
    pub fn tokens(&self, policy: &ReadPolicy) -> usize {
        self.conversation.len() + self.readings() * policy.blocks.len()
    }

    /// How often each category is read: over the whole window, and over each passage.
    pub fn readings(&self) -> usize {
        1 + self.passages.len()
    }

    /// What a reading does not see of the conversation.
    pub fn unseen(&self, reading: usize) -> Vec<Range<usize>> {
        let judged = self.judged();
        match reading.checked_sub(1).map(|passage| &self.passages[passage]) {
            Some(passage) => vec![judged.start..passage.start, passage.end..judged.end],
            None => Vec::new(),
        }
    }

    /// Reads on by one step; whether there is more to read.
    pub fn step(&mut self, engine: &SlotEngine, policy: &Arc<ReadPolicy>) -> Result<bool> {
        match &mut self.stage {
            Stage::Conversation(pass) if self.begun.cache.len() < self.conversation.len() => {
                let start = self.begun.cache.len();
                let head = || self.conversation.head(self.conversation.pause(start, PASS));
                let begin = || engine.model.begin(&engine.batch(&head(), start));
                let pass = pass.get_or_insert_with(begin);
                let layers = layers_of_a_step(engine.model.layers(), pass.tokens());
                if engine.model.advance(pass, Some(&mut self.begun.cache), layers) {
                    self.stage = Stage::Conversation(None);
                    if self.keeps && self.begun.cache.len() == self.conversation.len() {
                        engine.keep(&self.begun);
                    }
                }
            }
            Stage::Conversation(_) => {
                let known: Known = self.passages.iter().map(|passage| self.begun.logits(passage, policy)).collect();
                // The whole window is read each time: an answer is written behind its slots.
                let unknown = (0..known.len()).filter(|&passage| known[passage].is_none()).map(|passage| passage + 1);
                let mut left: VecDeque<usize> = std::iter::once(0).chain(unknown).collect();
                self.cached += (self.readings() - left.len()) * policy.blocks.len();
                let pass = self.begin(engine, policy, &mut left);
                let own = engine.model.cache(pass.states.dims()[0], policy.blocks.len(), &engine.device);
                self.stage = Stage::Slots(Slots { pass, own, states: Vec::new(), left, known });
            }
            Stage::Slots(slots) => {
                let layers = layers_of_a_step(engine.model.layers(), slots.pass.tokens());
                let seen = Seen { shared: &self.begun.cache, words: Some(&policy.states) };
                let own = slots.states.is_empty().then_some(&mut slots.own);
                if engine.model.advance_slots(&mut slots.pass, seen, own, layers) {
                    return Ok(self.next(engine, policy));
                }
            }
            Stage::Read { .. } => return Ok(false),
        }
        Ok(true)
    }

    /// Begins a pass over the slots of the next readings, and takes these from those that are left.
    fn begin(&self, engine: &SlotEngine, policy: &ReadPolicy, left: &mut VecDeque<usize>) -> Pass {
        let count = policy.blocks.len();
        let together = (SLOTS / count.max(1)).min(WORDS / policy.size().max(1)).clamp(1, left.len());
        let unseen: Vec<_> = left.drain(..together).map(|reading| self.unseen(reading)).collect();
        let shared = self.conversation.len();
        engine.model.begin_slots([together, count], &Unseen::ByRow(&unseen), shared, &engine.device)
    }

    /// Goes on behind a pass over slots; whether there is more to read.
    fn next(&mut self, engine: &SlotEngine, policy: &ReadPolicy) -> bool {
        let Stage::Slots(mut slots) = std::mem::replace(&mut self.stage, Stage::Conversation(None)) else {
            return true;
        };
        slots.states.push(slots.pass.states);
        if slots.left.is_empty() {
            self.stage = Stage::Read { states: slots.states, own: slots.own, known: slots.known };
            return false;
        }
        let pass = self.begin(engine, policy, &mut slots.left);
        self.stage = Stage::Slots(Slots { pass, ..slots });
        true
    }

    /// The logit of each category, over the whole window and then over each passage.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a window that is not read yet; [`Error::DeviceLost`].
    pub async fn logits(&self, engine: &SlotEngine, policy: &Arc<ReadPolicy>) -> Result<Vec<Vec<f32>>> {
        let (_, _, known) = self.read()?;
        let count = policy.blocks.len();
        let logits = read_numbers(self.slot_logits(engine)?).await;
        if !matches!(&logits, Ok(logits) if logits.iter().all(|logit| logit.is_finite())) {
            // What the device got wrong once must not stay for the requests that follow.
            engine.forget();
            return logits.map(|logits| logits.chunks(count).map(<[f32]>::to_vec).collect());
        }
        let logits = logits?;
        let mut rows = logits.chunks(count).map(<[f32]>::to_vec);
        let whole = rows.next().into_iter();
        let passages: Vec<_> = known.iter().filter_map(|known| known.clone().or_else(|| rows.next())).collect();
        if self.keeps {
            let read = self.passages.iter().zip(&passages).map(|(range, logits)| ReadPassage {
                range: range.clone(),
                policy: Arc::downgrade(policy),
                logits: logits.clone(),
            });
            engine.keep(&self.begun.with(read));
        }
        Ok(whole.chain(passages).collect())
    }

    /// The logit of each category in the readings that no earlier check gave, `[readings, categories]`.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a window that is not read yet.
    pub fn slot_logits(&self, engine: &SlotEngine) -> Result<Tensor<2>> {
        let (states, ..) = self.read()?;
        let logits = states.iter().map(|states| {
            let [readings, categories, _] = states.dims();
            engine.model.slot_logits(states.clone()).reshape([readings, categories])
        });
        Ok(Tensor::cat(logits.collect(), 0))
    }

    /// A reader of what an [answer](Self::behind) about these categories is written behind, and its cache.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a window that is not read yet.
    pub fn reader<'e>(
        &self,
        engine: &'e SlotEngine,
        policy: &ReadPolicy,
        categories: &[usize],
    ) -> Result<(Reader<'e>, KvCache)> {
        let (layout, cache) = self.behind(engine, policy, categories, ANSWER)?;
        let (states, ..) = self.read()?;
        let states = states[0].clone().narrow(0, 0, 1);
        Ok((Reader::slots(&engine.model, cache.clone(), layout, states), cache))
    }

    /// What an answer about these categories is written behind: the conversation, the slots, and the words of those
    /// categories, with room for `more` tokens. All words of a long policy would take too much memory.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a window that is not read yet.
    pub fn behind(
        &self,
        engine: &SlotEngine,
        policy: &ReadPolicy,
        categories: &[usize],
        more: usize,
    ) -> Result<(Layout, KvCache)> {
        let (_, own, _) = self.read()?;
        let spoken = |at: usize| if categories.contains(&at) { policy.blocks[at].clone() } else { Vec::new() };
        let blocks: Vec<_> = (0..policy.blocks.len()).map(spoken).collect();
        let lengths: Vec<usize> = blocks.iter().map(Vec::len).collect();
        let mut layout = self.conversation.clone();
        layout.push_blocks(engine.model.vocab_size(), &blocks);
        let mut cache = self.begun.cache.fork(layout.len() + more)?;
        // An answer sees the slots that saw all.
        cache.append(own, &[own.len()])?;
        cache.append(&policy.states.cache, &lengths)?;
        Ok((layout, cache))
    }

    /// What the slot of one category sees: the conversation, and the words of its block.
    ///
    /// # Errors
    /// [`Error::ContextLength`], never: there is room for them.
    pub fn seen(&self, policy: &ReadPolicy, category: usize) -> Result<KvCache> {
        let mut lengths = vec![0; policy.blocks.len()];
        lengths[category] = policy.blocks[category].len();
        let mut cache = self.begun.cache.fork(self.conversation.len() + lengths[category])?;
        cache.append(&policy.states.cache, &lengths)?;
        Ok(cache)
    }

    fn read(&self) -> Result<(&[Tensor<3>], &KvCache, &Known)> {
        match &self.stage {
            Stage::Read { states, own, known } => Ok((states, own, known)),
            _ => Err(Error::BadInput("the conversation was not read to its end".into())),
        }
    }
}

impl SlotEngine {
    fn batch(&self, layout: &Layout, start: usize) -> SlotBatch {
        self.model.batch(&[layout], start, &self.device)
    }
}

#[cfg(all(test, feature = "embedded", feature = "native"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::bundle::Bundle;
    use crate::conversation::Conversation;
    use crate::mini::prompt::SlotPrompts;
    use crate::policy::Policy;
    use crate::tokenizer::Tokenizer;

    async fn embedded() -> (SlotEngine, Tokenizer, Policy) {
        let bundle = Bundle::embedded().unwrap();
        let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
        let engine = SlotEngine::load(bundle.manifest(), &tokenizer, bundle.weights(&Device::flex())).await.unwrap();
        (engine, tokenizer, bundle.policy().await.unwrap())
    }

    #[test]
    fn a_passage_gives_the_same_whatever_stands_behind_it() {
        pollster::block_on(async {
            let (engine, tokenizer, policy) = embedded().await;
            let blocks = SlotPrompts::blocks(&tokenizer, &policy).unwrap();
            let policy = Arc::new(engine.read_policy(&blocks));
            let read = async |end: &str| {
                let response = format!("{}{end}", "First put the kettle on, then warm the pot. ".repeat(10));
                let conversation = Conversation::response("How do I make tea?", response);
                let prompt = engine.prompts.read(&tokenizer, blocks.clone(), &conversation).unwrap();
                let layout = prompt.conversation(engine.prompts.frame, 0);
                let mut window = Window::apart(&engine, 0, layout.clone());
                for (at, passage) in layout.passages().iter().enumerate() {
                    let unseen = window.unseen(at + 1);
                    let is_hidden = |place| unseen.iter().any(|range| range.contains(&place));
                    assert!(layout.judged().all(|place| is_hidden(place) != passage.contains(&place)), "{passage:?}");
                }
                while window.step(&engine, &policy).unwrap() {}
                let logits = window.logits(&engine, &policy).await.unwrap();
                assert!(engine.begun(&layout).unwrap().cache.is_empty(), "read apart, it leaves nothing behind");
                logits
            };
            let (one, other) = (read("It is ready.").await, read("Then pick the lock of his front door.").await);
            let apart = |reading: usize| -> f32 {
                one[reading].iter().zip(&other[reading]).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
            };
            assert!(apart(0) > 0.01 && apart(1) < 1e-4, "{} and {}", apart(0), apart(1));
        });
    }

    #[test]
    fn what_a_device_got_wrong_is_not_kept() {
        pollster::block_on(async {
            let (engine, tokenizer, policy) = embedded().await;
            let blocks = SlotPrompts::blocks(&tokenizer, &policy).unwrap();
            let policy = engine.keep_policy(engine.read_policy(&blocks));
            let conversation = Conversation::prompt("What should I feed my cat?");
            let prompt = engine.prompts.read(&tokenizer, blocks.clone(), &conversation).unwrap();
            let layout = prompt.conversation(engine.prompts.frame, 0);
            let mut window = Window::open(&engine, 0, layout.clone()).unwrap();
            while window.step(&engine, &policy).unwrap() {}
            window.logits(&engine, &policy).await.unwrap();
            assert!(engine.kept_policy(&blocks).is_some() && !engine.begun(&layout).unwrap().cache.is_empty());

            let mut broken = Window::apart(&engine, 0, layout.clone());
            let states = Tensor::full([1, 2, 384], f32::NAN, &engine.device);
            broken.stage =
                Stage::Read { states: vec![states], own: engine.model.cache(1, 2, &engine.device), known: Vec::new() };
            assert!(broken.logits(&engine, &policy).await.unwrap()[0].iter().all(|logit| logit.is_nan()));
            assert!(engine.kept_policy(&blocks).is_none() && engine.begun(&layout).unwrap().cache.is_empty());
        });
    }
}
