//! Tasks out of a recipe: its rows as `train sft` draws them, each under a policy drawn for it or under a fixed one.

use std::sync::Mutex;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::task::{Task, Tasks, conversation, generator};
use crate::data::recipe::Facts;
use crate::data::rows::Row;
use crate::error::{Error, Result};
use crate::policy::Policy;
use crate::train::own_policy::OwnPolicy;
use crate::train::policies::Policies;
use crate::train::sample::Sample;
use crate::train::samples::Samples;

/// The share of long messages of which the end is shown.
const ENDS: f64 = 0.3;
/// Policies that are drawn for a row before it is given up: nearly all are good at once.
const DRAWS: u64 = 8;

/// The rows of a recipe in the order of a seed, epoch after epoch.
pub struct RowStream<'a> {
    samples: &'a Samples<'a>,
    seed: u64,
    /// The epoch that was asked for last: its number, the place of its first row, and its rows.
    epoch: Mutex<Option<(u64, usize, Order)>>,
}

/// Rows as their source's place and their own there.
type Order = Vec<(usize, usize)>;

impl<'a> RowStream<'a> {
    pub fn new(samples: &'a Samples<'a>, seed: u64) -> Self {
        Self { samples, seed, epoch: Mutex::new(None) }
    }

    /// The row in that place of the stream, with its source's name.
    ///
    /// # Errors
    /// [`Error::BadInput`] if there are none.
    pub fn row(&self, place: usize) -> Result<(&'a str, &'a Row, &'a Sample)> {
        let mut epoch = self.epoch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut number, mut start, mut order) = match epoch.take() {
            Some(known) if known.1 <= place => known,
            _ => (0, 0, self.samples.epoch(self.seed, 0)?),
        };
        while place >= start + order.len() {
            start += order.len();
            number += 1;
            order = self.samples.epoch(self.seed, number)?;
        }
        let (source, row) = order[place - start];
        *epoch = Some((number, start, order));
        let (name, rows, samples) = &self.samples.sources[source];
        Ok((name, &rows[row], &samples[row]))
    }
}

/// Tasks under drawn policies, and under the model's own.
pub struct RecipeTasks<'a> {
    rows: RowStream<'a>,
    samples: &'a Samples<'a>,
    policies: &'a Policies<'a>,
    /// A policy that stands in place of a drawn one, and in which share of tasks, where it decides what is known.
    own: Option<(OwnPolicy, f64)>,
    seed: u64,
    answer_first: f64,
}

impl<'a> RecipeTasks<'a> {
    /// `answer_first` is the share of tasks that are answered without reasoning, in [0, 1].
    pub fn new(samples: &'a Samples<'a>, policies: &'a Policies<'a>, seed: u64, answer_first: f64) -> Self {
        Self { rows: RowStream::new(samples, seed), samples, policies, own: None, seed, answer_first }
    }

    /// Judges the share, in [0, 1], of the tasks under this policy as it is.
    pub fn under(mut self, policy: Policy, share: f64) -> Self {
        self.own = Some((OwnPolicy::new(policy, self.policies.recipe), share));
        self
    }

    /// A task about a row, under names that training never shows if they are to be `unseen`; `None` if no policy was drawn
    /// under which the row's label is known.
    fn about(
        &self,
        (source, row, facts): (&str, &Row, &Facts),
        unseen: bool,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Task>> {
        let source_of_row = self.policies.recipe.source(source)?;
        let own = self.own.as_ref().filter(|(_, share)| !unseen && rng.random_bool(*share));
        let under_own = own.and_then(|(own, _)| Some((own.policy().clone(), own.truth(source_of_row, row, facts)?)));
        let judged = under_own.or_else(|| {
            let mut draws = (0..DRAWS).filter_map(|_| self.policies.judge(source_of_row, row, facts, unseen, rng));
            // Two concepts may have drawn one name.
            draws.find(|(policy, _)| policy.validate().is_ok())
        });
        Ok(judged.map(|(policy, truth)| Task {
            id: row.id.clone(),
            source: source.to_owned(),
            conversation: conversation(row, rng.random_bool(ENDS)),
            policy,
            truth,
            think: !rng.random_bool(self.answer_first),
        }))
    }
}

impl Tasks for RecipeTasks<'_> {
    fn task(&self, place: usize) -> Result<Task> {
        let mut rng = generator(self.seed, "task", place as u64);
        // A row that no policy suits gives its place to a row far ahead in the stream.
        for further in 0..DRAWS as usize {
            let (source, row, sample) = self.rows.row(place + further * 7919)?;
            if let Some(task) = self.about((source, row, &sample.facts), false, &mut rng)? {
                return Ok(task);
            }
        }
        Err(Error::BadInput("the recipe's rows say too little: no policy could be drawn whose verdict is known".into()))
    }

    fn watched(&self, count: usize) -> Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for (place, (source, row, sample)) in self.samples.held_out.iter().enumerate() {
            if tasks.len() >= count {
                break;
            }
            let mut rng = generator(self.seed, "watched", place as u64);
            // Every other row under names that training never shows.
            let task = self.about((source, row, &sample.facts), place % 2 == 1, &mut rng)?;
            tasks.extend(task.map(|task| Task { think: true, ..task }));
        }
        Ok(tasks)
    }
}
