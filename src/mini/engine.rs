//! rsafe-mini at work: what it has read stays, each policy whatever the conversation, and each conversation whatever the
//! policy, a growing response only where it grew.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use burn::tensor::Device;

use super::layout::Layout;
use super::network::{SlotConfig, SlotModel};
use super::policy::{PolicyReading, ReadPolicy};
use super::prompt::{Blocks, SlotPrompts};
use crate::bundle::{Manifest, Weights};
use crate::engine::fits;
use crate::error::Result;
use crate::model::KvCache;
use crate::tokenizer::Tokenizer;
use crate::verdict::Calibration;

/// Conversations whose states are kept, the latest used last, and their tokens beside those of the latest: long texts take
/// much memory.
const KEPT: usize = 4;
const KEPT_TOKENS: usize = 256;
/// Positions of policies that are kept beside the latest, padding counted.
const KEPT_WORDS: usize = 2048;

/// The slot model and what it has read.
pub struct SlotEngine {
    pub(crate) model: SlotModel,
    pub(crate) prompts: SlotPrompts,
    pub(crate) calibration: Calibration,
    pub(crate) device: Device,
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
    /// The weights are read once it is known that the rest makes sense.
    pub async fn load(
        manifest: &Manifest,
        tokenizer: &Tokenizer,
        weights: impl Future<Output = Result<Weights>>,
    ) -> Result<Self> {
        let config = SlotConfig::from_json(&manifest.config)?;
        fits(tokenizer, config.vocab_size)?;
        let mut weights = weights.await?;
        let model = SlotModel::load(&config, &mut weights)?;
        weights.finish()?;
        Ok(Self::new(model, SlotPrompts::new(tokenizer, config.vocab_size)?, manifest.calibration.clone()))
    }

    /// A model that has read nothing yet.
    pub fn new(model: SlotModel, prompts: SlotPrompts, calibration: Calibration) -> Self {
        Self { device: model.device(), model, prompts, calibration, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A poisoned lock holds whole entries still: they are only ever pushed and moved.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops all that is kept.
    pub(super) fn forget(&self) {
        *self.kept() = Kept::default();
    }

    /// Reads a policy to its end, whatever was read before.
    pub(crate) fn read_policy(&self, blocks: &Blocks) -> ReadPolicy {
        let mut reading = PolicyReading::new(blocks.clone(), &self.model, &self.device);
        loop {
            if let Some(policy) = reading.step(&self.model, &self.device) {
                return policy;
            }
        }
    }

    /// A policy of these blocks, if it was read before.
    pub(super) fn kept_policy(&self, blocks: &Blocks) -> Option<Arc<ReadPolicy>> {
        let policies = &mut self.kept().policies;
        let at = policies.iter().position(|policy| policy.blocks == *blocks)?;
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
        let Some((shared, mut earlier)) = self.grown_from(conversation) else { return Ok(self.unread(conversation)) };
        earlier.cache.truncate(shared);
        earlier.passages.retain(|passage| passage.range.end <= shared);
        let cache = earlier.cache.fork(conversation.len())?;
        Ok(Begun { conversation: conversation.clone(), cache, passages: earlier.passages })
    }

    /// The kept conversation that shares most with one, and how many tokens. Others wait for it no longer than it takes to
    /// find: its cache is shared, not copied.
    fn grown_from(&self, conversation: &Layout) -> Option<(usize, Begun)> {
        let kept = &mut self.kept().conversations;
        let shared = kept.iter().map(|earlier| earlier.conversation.shared_prefix(conversation));
        let (at, shared) = shared.enumerate().max_by_key(|&(_, shared)| shared).filter(|&(_, shared)| shared > 0)?;
        let earlier = kept.remove(at);
        kept.push(earlier.clone());
        Some((shared, earlier))
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
}

#[cfg(all(test, feature = "embedded", feature = "native"))]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::mini::layout::{Kind, RESPONSE_CHUNK, Turn};
    use crate::mini::network::PolicyStates;
    use crate::tokenizer::TokenId;

    #[test]
    fn the_latest_is_kept_and_beside_it_as_much_as_there_is_room_for() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let engine =
                SlotEngine::load(bundle.manifest(), &tokenizer, bundle.weights(&Device::flex())).await.unwrap();
            for (at, len) in [100, 100, 100, 100, 300, 10, 10, 10, 10, 10].into_iter().enumerate() {
                let ids = vec![2000 + at as TokenId; len];
                let turn = Turn { kind: Kind::JudgedUser, ids: &ids };
                let latest = engine.unread(&Layout::conversation(engine.prompts.frame, &[], turn));
                engine.keep(&latest);
                let kept = &engine.kept().conversations;
                let tokens: Vec<usize> = kept.iter().rev().map(|begun| begun.conversation.len()).collect();
                assert_eq!(kept.last().map(|begun| &begun.conversation.ids), Some(&latest.conversation.ids));
                assert!(tokens.len() <= KEPT && tokens[1..].iter().sum::<usize>() <= KEPT_TOKENS, "{tokens:?}");
            }
            // What is used again is not what was used longest ago.
            let again = engine.kept().conversations[0].conversation.clone();
            engine.begun(&again).unwrap();
            let other = Turn { kind: Kind::JudgedUser, ids: &[3000; 10] };
            engine.keep(&engine.unread(&Layout::conversation(engine.prompts.frame, &[], other)));
            assert!(engine.kept().conversations.iter().any(|begun| begun.conversation.ids == again.ids));
            // What grew takes the place of what it grew from, and what was read again that of itself.
            for len in [RESPONSE_CHUNK, 2 * RESPONSE_CHUNK, 2 * RESPONSE_CHUNK] {
                let turn = Turn { kind: Kind::JudgedAgent, ids: &[4000; 2 * RESPONSE_CHUNK][..len] };
                engine.keep(&engine.unread(&Layout::conversation(engine.prompts.frame, &[], turn)));
                let grown = |begun: &&Begun| begun.conversation.ids.contains(&4000);
                assert_eq!(engine.kept().conversations.iter().filter(grown).count(), 1, "{len}");
            }
            for at in 0..5 {
                let (blocks, words) = (20, 40);
                let mut cache = engine.model.cache(blocks, words, &engine.device);
                cache.advance(words);
                let states = PolicyStates::new(cache, vec![words; blocks], &engine.device);
                let latest = engine.keep_policy(ReadPolicy { blocks: vec![vec![at; words]; blocks].into(), states });
                let kept = &engine.kept().policies;
                let sizes: Vec<usize> = kept.iter().rev().map(|policy| policy.size()).collect();
                assert!(kept.last().is_some_and(|last| Arc::ptr_eq(last, &latest)));
                assert!(sizes[1..].iter().sum::<usize>() <= KEPT_WORDS, "{sizes:?}");
            }
            let again = engine.kept().policies[0].clone();
            assert!(engine.kept_policy(&again.blocks).is_some());
            assert!(engine.kept().policies.last().is_some_and(|last| Arc::ptr_eq(last, &again)));
        });
    }
}
