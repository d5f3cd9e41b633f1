//! The supervised term beside the reward: category scores stay what they are good at while the answer moves.

use std::borrow::Cow;

use burn::tensor::Tensor;

use super::network::Network;
use super::recipe_tasks::RowStream;
use super::slots::SlotNetwork;
use super::task::{Tasks, generator};
use crate::data::rows::Label;
use crate::error::Result;
use crate::train::examples::Examples;
use crate::train::panel::{Known, Panel};

/// A supervised loss that is added to that of the rewards.
pub trait Supervision<N: Network>: Sync {
    /// The loss of the batch with that number, and its value for the log; the same number is always the same batch.
    ///
    /// # Errors
    /// Whatever the rows have wrong.
    fn loss(&self, network: &N, batch: usize) -> Result<Option<Tensor<1>>>;
}

/// No supervised term.
impl<N: Network> Supervision<N> for () {
    fn loss(&self, _: &N, _: usize) -> Result<Option<Tensor<1>>> {
        Ok(None)
    }
}

/// Slots of examples drawn as in supervised training, from rows of their own.
pub struct RecipeSlots<'a> {
    rows: RowStream<'a>,
    examples: &'a Examples<'a>,
    seed: u64,
    count: usize,
}

impl<'a> RecipeSlots<'a> {
    /// `count` examples a batch.
    pub fn new(rows: RowStream<'a>, examples: &'a Examples<'a>, seed: u64, count: usize) -> Self {
        Self { rows, examples, seed, count }
    }
}

impl Supervision<SlotNetwork> for RecipeSlots<'_> {
    fn loss(&self, network: &SlotNetwork, batch: usize) -> Result<Option<Tensor<1>>> {
        let mut rng = generator(self.seed, "slots", batch as u64);
        let mut texts = Vec::with_capacity(self.count);
        for place in batch * self.count..(batch + 1) * self.count {
            let (_, _, sample) = self.rows.row(place)?;
            texts.push(self.examples.show(Cow::Borrowed(sample), &mut rng));
        }
        Ok(loss(network, &self.examples.concepts(&texts, false, &mut rng)))
    }
}

/// Slots of the tasks themselves, where their truth is known.
pub struct TaskSlots<'a, T> {
    tasks: &'a T,
    count: usize,
}

impl<'a, T: Tasks> TaskSlots<'a, T> {
    /// `count` tasks a batch.
    pub fn new(tasks: &'a T, count: usize) -> Self {
        Self { tasks, count }
    }
}

impl<T: Tasks> Supervision<SlotNetwork> for TaskSlots<'_, T> {
    fn loss(&self, network: &SlotNetwork, batch: usize) -> Result<Option<Tensor<1>>> {
        let (mut texts, mut blocks, mut knowns) = (Vec::new(), Vec::new(), Vec::new());
        for place in batch * self.count..(batch + 1) * self.count {
            let task = self.tasks.task(place)?;
            let prompt = network.source.read(&task)?;
            if task.truth.label == Label::Unsafe && prompt.windows().len() > 1 {
                // Nobody says which window holds what is unsafe.
                continue;
            }
            let categories = &task.policy.categories;
            let held = match (&task.truth.categories, task.truth.label) {
                (Some(held), _) => held.clone(),
                // Of a policy of one category everybody knows which it was.
                (None, Label::Unsafe) if categories.len() == 1 => vec![categories[0].id.clone()],
                (None, _) => continue,
            };
            for (category, words) in categories.iter().zip(prompt.blocks.iter()) {
                let block = blocks.iter().position(|known| known == words).unwrap_or(blocks.len());
                if block == blocks.len() {
                    blocks.push(words.clone());
                }
                let target = f32::from(u8::from(held.contains(&category.id)));
                knowns.push(Known { reading: texts.len(), column: block, target, weight: 1.0 });
            }
            texts.push(prompt.conversation(network.source.prompts.frame, 0));
        }
        let mut panel = Panel::new(texts, blocks);
        knowns.into_iter().for_each(|known| panel.know(known));
        Ok(loss(network, &panel))
    }
}

fn loss(network: &SlotNetwork, panel: &Panel) -> Option<Tensor<1>> {
    if panel.teaches() { panel.loss(&network.model, None, &network.model.device()).total() } else { None }
}
