//! The policy, read once: the words of its blocks go through the network alone and serve every message that is judged
//! under it.

use burn::tensor::Device;

use super::layout::Layout;
use super::network::{Pass, PolicyStates, SlotModel};
use super::prompt::Blocks;
use crate::engine::{PASS, layers_of_a_step};
use crate::model::KvCache;

/// What the blocks say, and the states of their words.
pub struct ReadPolicy {
    pub blocks: Blocks,
    pub states: PolicyStates,
}

impl ReadPolicy {
    /// Positions in memory: each block takes as many as the longest.
    pub fn size(&self) -> usize {
        self.states.cache.batch() * self.states.cache.capacity()
    }
}

/// A policy on its way through the network: some blocks at a time, side by side, and those in steps.
pub struct PolicyReading {
    blocks: Blocks,
    longest: usize,
    /// How many of them are read, and their states: written in place, since a long policy's are large.
    done: usize,
    read: KvCache,
    pass: Option<(Pass, KvCache)>,
}

impl PolicyReading {
    /// Each block has a word.
    pub fn new(blocks: Blocks, model: &SlotModel, device: &Device) -> Self {
        let longest = blocks.iter().map(Vec::len).max().unwrap_or(0);
        let read = model.cache(blocks.len(), longest, device);
        Self { blocks, longest, done: 0, read, pass: None }
    }

    /// Reads on by one step; the policy, once all of it is read.
    pub fn step(&mut self, model: &SlotModel, device: &Device) -> Option<ReadPolicy> {
        let (mut pass, mut cache) = self.pass.take().unwrap_or_else(|| self.begin(model, device));
        let layers = layers_of_a_step(model.layers(), pass.tokens());
        if !model.advance(&mut pass, Some(&mut cache), layers) {
            self.pass = Some((pass, cache));
            return None;
        }
        self.read.put_rows(self.done, &cache);
        self.done += cache.batch();
        if self.done < self.blocks.len() {
            return None;
        }
        let states = PolicyStates::new(self.read.clone(), self.blocks.iter().map(Vec::len), device);
        Some(ReadPolicy { blocks: self.blocks.clone(), states })
    }

    /// A pass over the next blocks: [`PASS`] tokens, padding counted, or one block that alone has more.
    fn begin(&self, model: &SlotModel, device: &Device) -> (Pass, KvCache) {
        let group = self.blocks[self.done..].iter().take((PASS / self.longest).max(1));
        let layouts: Vec<Layout> = group.map(|block| Layout::words(block)).collect();
        let batch = model.batch(&layouts.iter().collect::<Vec<_>>(), 0, device);
        (model.begin(&batch), model.cache(layouts.len(), self.longest, device))
    }
}
