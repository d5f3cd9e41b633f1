//! rsafe-mini at work: what it has read stays, each policy whatever the conversation, and each conversation whatever the
//! policy, a growing response only where it grew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;

use super::layout::Layout;
use super::network::{SlotConfig, SlotModel};
use super::policy::ReadPolicy;
use super::prompt::SlotPrompts;
use crate::Result;
use crate::bundle::Bundle;
use crate::engine::fits;
use crate::model::KvCache;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::verdict::Calibration;

/// Conversations whose states are kept, the latest used last, and their tokens beside those of the latest: long texts take
/// much memory.
const KEPT: usize = 4;
const KEPT_TOKENS: usize = 256;
/// Positions of policies that are kept beside the latest, padding counted.
const KEPT_WORDS: usize = 2048;

/// The slot model and what it has read.
pub struct SlotEngine {
    pub(super) model: SlotModel,
    pub(super) prompts: SlotPrompts,
    pub(super) calibration: Calibration,
    pub(super) device: Device,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    conversations: Vec<(Layout, KvCache)>,
    policies: Vec<Arc<ReadPolicy>>,
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

    /// A cache with room for a conversation. It holds as much of that as whole chunks of an earlier one.
    pub(super) fn begun(&self, conversation: &Layout) -> Result<KvCache> {
        let kept = &mut self.kept().conversations;
        let shared = |(layout, _): &(Layout, KvCache)| layout.shared_prefix(conversation);
        let found = (0..kept.len()).max_by_key(|&at| shared(&kept[at])).filter(|&at| shared(&kept[at]) > 0);
        let Some(at) = found else { return Ok(self.model.cache(1, conversation.len(), &self.device)) };
        let entry = kept.remove(at);
        let mut cache = entry.1.clone();
        cache.truncate(shared(&entry));
        kept.push(entry);
        cache.fork(conversation.len())
    }

    /// Keeps a conversation that was read to its end, in the place of those that it grew from.
    pub(super) fn keep(&self, conversation: &Layout, cache: &KvCache) {
        let kept = &mut self.kept().conversations;
        kept.retain(|(older, _)| older.shared_prefix(conversation) < older.len());
        kept.push((conversation.clone(), cache.clone()));
        let tokens =
            |kept: &[(Layout, KvCache)]| kept.iter().rev().skip(1).map(|(layout, _)| layout.len()).sum::<usize>();
        while kept.len() > KEPT || tokens(kept) > KEPT_TOKENS {
            kept.remove(0);
        }
    }
}
