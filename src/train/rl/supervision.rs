//! The supervised term beside the reward: category scores stay what they are good at while the answer moves.

use burn::tensor::Tensor;

use super::network::Network;
use super::recipe_tasks::RowStream;
use super::slots::SlotNetwork;
use super::task::{Tasks, generator};
use crate::Result;
use crate::eval::dataset::Label;
use crate::train::batch::{Batch, LossWeights};
use crate::train::examples::{Example, Examples, SlotTarget};

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

/// The slots' share of the supervised loss, weighted as in supervised training.
const WEIGHTS: LossWeights = LossWeights { slots: 1.0, quiet: 0.3, answer: 0.0 };

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
        let mut examples = Vec::with_capacity(self.count);
        for place in batch * self.count..(batch + 1) * self.count {
            let (_, _, sample) = self.rows.row(place)?;
            let mut example = self.examples.draw(sample, false, &mut rng);
            example.drop_answer();
            examples.push(example);
        }
        Ok(slots(network, &examples))
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
        let mut examples = Vec::with_capacity(self.count);
        for place in batch * self.count..(batch + 1) * self.count {
            let task = self.tasks.task(place)?;
            let prompt = network.read(&task)?;
            if task.truth.label == Label::Unsafe && prompt.windows().len() > 1 {
                // Nobody says which window holds what is unsafe.
                continue;
            }
            let (layout, places) = network.layout(&prompt, 0);
            let held = match (&task.truth.categories, task.truth.label) {
                (Some(held), _) => held.clone(),
                // Of a policy of one category everybody knows which it was.
                (None, Label::Unsafe) if places.len() == 1 => vec![task.policy.categories[0].id.clone()],
                (None, _) => continue,
            };
            let target = |(index, category): (usize, &crate::Category)| SlotTarget {
                index,
                target: f32::from(u8::from(held.contains(&category.id))),
                weight: 1.0,
            };
            let slots = places.into_iter().zip(&task.policy.categories).map(target).collect();
            examples.push(Example { layout, slots, quiet: Vec::new(), choices: Vec::new(), words: Vec::new() });
        }
        Ok(slots(network, &examples))
    }
}

fn slots(network: &SlotNetwork, examples: &[Example]) -> Option<Tensor<1>> {
    if examples.iter().all(|example| example.slots.is_empty() && example.quiet.is_empty()) {
        return None;
    }
    let batch = Batch::new(examples, network.model.vocab_size(), &network.model.device());
    Some(batch.loss(&network.model, WEIGHTS).0)
}
