//! rsafe-mini at work: what it has read stays, each policy whatever the conversation, and each conversation whatever the
//! policy, a growing response only where it grew.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use burn::tensor::Device;

use super::layout::{Layout, Marker};
use super::network::{SlotConfig, SlotModel};
use super::policy::{PolicyReading, ReadPolicy};
use super::prompt::SlotPrompts;
use super::scan::Scan;
use super::window::Window;
use crate::bundle::{Bundle, KnownCase, KnownStep};
use crate::engine::reader::Reader;
use crate::engine::{Answering, fits, known, read_numbers};
use crate::model::KvCache;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::verdict::Calibration;
use crate::{Conversation, Error, Policy, Result};

/// Conversations whose states are kept, the latest used last, and their tokens beside those of the latest: long texts take
/// much memory.
const KEPT: usize = 4;
const KEPT_TOKENS: usize = 256;
/// Positions of policies that are kept beside the latest, padding counted.
const KEPT_WORDS: usize = 2048;

/// The slot model and what it has read.
pub struct SlotEngine {
    pub(crate) model: SlotModel,
    pub(super) prompts: SlotPrompts,
    calibration: Calibration,
    pub(super) device: Device,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    conversations: Vec<Begun>,
    policies: Vec<Arc<ReadPolicy>>,
}

/// A conversation as far as it was read.
#[derive(Clone)]
pub(super) struct Begun {
    conversation: Layout,
    pub cache: KvCache,
    /// Its passages under policies, as far as they are known.
    pub passages: Vec<ReadPassage>,
}

impl Begun {
    /// What a passage gave under a policy, if that is known.
    pub fn logits(&self, passage: &Range<usize>, policy: &Arc<ReadPolicy>) -> Option<Vec<f32>> {
        let policy = Arc::downgrade(policy);
        let known = self.passages.iter().find(|known| known.range == *passage && known.policy.ptr_eq(&policy));
        known.map(|known| known.logits.clone())
    }

    /// The same with passages that were read since, in the place of what was known of them.
    pub fn with(&self, read: impl Iterator<Item = ReadPassage>) -> Self {
        let mut passages: Vec<ReadPassage> = read.collect();
        let again = |known: &&ReadPassage| passages.iter().all(|read| !read.policy.ptr_eq(&known.policy));
        let others: Vec<_> =
            self.passages.iter().filter(again).filter(|it| it.policy.strong_count() > 0).cloned().collect();
        passages.extend(others);
        Self { passages, ..self.clone() }
    }
}

/// What a passage gave under a policy: the same whatever stands behind it.
#[derive(Clone)]
pub(super) struct ReadPassage {
    pub range: Range<usize>,
    pub policy: Weak<ReadPolicy>,
    /// One for each category.
    pub logits: Vec<f32>,
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
            kept: Mutex::default(),
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
        Ok(Scan::new(self, prompt, self.calibration.of(conversation.target, policy, own), answering))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A poisoned lock holds whole entries still: they are only ever pushed and moved.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops all that is kept.
    pub(super) fn forget(&self) {
        *self.kept() = Kept::default();
    }

    /// A policy of these blocks, if it was read before.
    pub(super) fn kept_policy(&self, blocks: &[Vec<TokenId>]) -> Option<Arc<ReadPolicy>> {
        let policies = &mut self.kept().policies;
        let at = policies.iter().position(|policy| policy.blocks == blocks)?;
        let policy = policies.remove(at);
        policies.push(policy.clone());
        Some(policy)
    }

    /// Keeps a policy that was read to its end.
    pub(super) fn keep_policy(&self, policy: ReadPolicy) -> Arc<ReadPolicy> {
        let policy = Arc::new(policy);
        let policies = &mut self.kept().policies;
        let mut room = KEPT_WORDS;
        let fits = policies.iter().rev().take_while(|older| {
            let fits = older.size() <= room;
            room = room.saturating_sub(older.size());
            fits
        });
        let dropped = policies.len() - fits.count();
        policies.drain(..dropped);
        policies.push(policy.clone());
        policy
    }

    /// What is known of a conversation, its cache with room for all of it: as much as whole chunks of an earlier one, and
    /// the passages among these.
    pub(super) fn begun(&self, conversation: &Layout) -> Result<Begun> {
        let kept = &mut self.kept().conversations;
        let shared = |earlier: &Begun| earlier.conversation.shared_prefix(conversation);
        let found = (0..kept.len()).max_by_key(|&at| shared(&kept[at])).filter(|&at| shared(&kept[at]) > 0);
        let Some(at) = found else { return Ok(self.unread(conversation)) };
        let entry = kept.remove(at);
        let shared = shared(&entry);
        let mut cache = entry.cache.clone();
        cache.truncate(shared);
        let passages = entry.passages.iter().filter(|passage| passage.range.end <= shared).cloned().collect();
        kept.push(entry);
        Ok(Begun { conversation: conversation.clone(), cache: cache.fork(conversation.len())?, passages })
    }

    /// A conversation of which nothing is known.
    pub(super) fn unread(&self, conversation: &Layout) -> Begun {
        let cache = self.model.cache(1, conversation.len(), &self.device);
        Begun { conversation: conversation.clone(), cache, passages: Vec::new() }
    }

    /// Keeps a conversation that was read to its end, in the place of those that it grew from.
    pub(super) fn keep(&self, read: &Begun) {
        let kept = &mut self.kept().conversations;
        kept.retain(|older| older.conversation.shared_prefix(&read.conversation) < older.conversation.len());
        kept.push(read.clone());
        let tokens = |kept: &[Begun]| kept.iter().rev().skip(1).map(|begun| begun.conversation.len()).sum::<usize>();
        while kept.len() > KEPT || tokens(kept) > KEPT_TOKENS {
            kept.remove(0);
        }
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
        let (under_own, (reader, cache)) = self.asked(tokenizer, own, case).await?;
        let states = read_numbers(cache.digest(seed)).await?;
        let answer = known::answer(reader, &case.answer).await?;
        Ok(KnownCase { own: under_own, other: under_other, states, answer, ..case.clone() })
    }

    /// The logit of each category of `policy` for a self-test's conversation, as the network gives it, and what an answer
    /// is written behind. All is read anew, and nothing of it is kept.
    async fn asked(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        case: &KnownCase,
    ) -> Result<(Vec<f32>, (Reader<'_>, KvCache))> {
        let prompt = self.prompts.read(tokenizer, policy, &case.conversation())?;
        let conversation = prompt.conversation(self.prompts.frame, 0);
        let mut reading = PolicyReading::new(prompt.blocks, &self.model, &self.device);
        let policy = loop {
            if let Some(policy) = reading.step(&self.model, &self.device) {
                break Arc::new(policy);
            }
        };
        self.forget();
        let mut window = Window::open(self, 0, conversation)?;
        while window.step(self, &policy)? {}
        self.forget();
        Ok((
            window.logits(self, &policy).await?.swap_remove(0),
            window.reader(self, &policy, &(0..policy.blocks.len()).collect::<Vec<_>>())?,
        ))
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

#[cfg(all(test, feature = "embedded", feature = "native"))]
mod tests {
    use super::*;
    use crate::mini::layout::ANSWER;
    use crate::mini::network::SlotBatch;

    #[test]
    fn a_self_test_without_categories_is_an_error() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let engine = SlotEngine::load(&bundle, &tokenizer, &Device::flex()).await.unwrap();
            let case = KnownCase { user: "Hello".into(), ..KnownCase::default() };
            let asked = engine.asked(&tokenizer, &Policy::new("empty"), &case).await;
            assert_eq!(asked.err().map(|error| error.code()), Some("bad_input"));
        });
    }

    /// What is read apart, kept and put together must be what one pass over the whole layout gives, as training has it.
    #[test]
    fn a_policy_that_is_kept_gives_what_one_pass_over_everything_gives() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let device = Device::flex();
            let engine = SlotEngine::load(&bundle, &tokenizer, &device).await.unwrap();
            let policy = bundle.policy().await.unwrap();
            let case = KnownCase { user: "Where does she park? ".repeat(40), ..KnownCase::default() };
            let (logits, (reader, _)) = engine.asked(&tokenizer, &policy, &case).await.unwrap();

            let prompt = engine.prompts.read(&tokenizer, &policy, &case.conversation()).unwrap();
            let mut whole = prompt.conversation(engine.prompts.frame, 0);
            let slots = whole.push_blocks(engine.model.vocab_size(), &prompt.blocks);
            let opening = Marker::Answer.id(engine.model.vocab_size());
            let answer = whole.push_answer(opening);
            let mut cache = engine.model.cache(1, whole.len() + ANSWER, &device);
            let batch = SlotBatch::new(&[&whole], 0, engine.model.vocab_size(), &device);
            let states = engine.model.forward(&batch, Some(&mut cache));
            let all = read_numbers(engine.model.slot_logits(states.clone())).await.unwrap();
            for (at, (kept, slot)) in logits.iter().zip(slots).enumerate() {
                assert!((kept - all[slot]).abs() < 1e-4, "category {at}: {kept} kept, {} in one pass", all[slot]);
            }
            let expected = read_numbers(engine.model.marker_logits(states.narrow(1, answer, 1))).await.unwrap();
            let steps = [KnownStep {
                read: vec![opening],
                next: (0..Marker::COUNT).map(|at| (engine.model.vocab_size() + at) as TokenId).collect(),
                logits: Vec::new(),
            }];
            let found = known::answer(reader, &steps).await.unwrap();
            for (kept, one) in found[0].logits.iter().zip(expected) {
                assert!((kept - one).abs() < 1e-4, "answer: {kept} kept, {one} in one pass");
            }
        });
    }
}
