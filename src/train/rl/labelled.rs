//! Tasks out of labelled rows under one policy: the user's own.

use std::path::PathBuf;

use rand::RngExt;
use rand::seq::SliceRandom;

use super::task::{Task, Tasks, conversation, generator};
use crate::data::rows::{Row, labelled_rows};
use crate::error::{Error, Result};
use crate::policy::Policy;
use crate::train::policies::truth_under;

/// Labelled rows and the policy that they were labelled by.
pub struct LabelledTasks {
    policy: Policy,
    rows: Vec<Row>,
    held_out: Vec<Row>,
    seed: u64,
    answer_first: f64,
}

impl LabelledTasks {
    /// Reads files of rows, and of folders every `.jsonl` and `.jsonl.gz`, and keeps the share `held_out` of them out of
    /// training, chosen by a hash of their ids.
    ///
    /// What holds is the truth of a row under the policy. `answer_first` is the share of tasks that are answered without reasoning.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::BadInput`] for files and rows; [`Error::BadInput`] if nothing is left to train on.
    pub fn load(data: &[PathBuf], policy: Policy, held_out: f64, seed: u64, answer_first: f64) -> Result<Self> {
        let (mut held, rows): (Vec<Row>, Vec<Row>) =
            labelled_rows(data)?.into_iter().partition(|row| row.is_held_out(held_out));
        if rows.is_empty() {
            return Err(Error::BadInput("no row to train on: give --data files or folders of labelled rows".into()));
        }
        held.shuffle(&mut generator(seed, "held out", 0));
        Ok(Self { policy, rows, held_out: held, seed, answer_first })
    }

    fn about(&self, row: &Row, think: bool, end: bool) -> Task {
        Task {
            id: row.id.clone(),
            source: row.source.clone(),
            conversation: conversation(row, end),
            policy: self.policy.clone(),
            truth: truth_under(&self.policy, row),
            think,
        }
    }
}

impl Tasks for LabelledTasks {
    fn task(&self, place: usize) -> Result<Task> {
        let (epoch, place_in_epoch) = (place / self.rows.len(), place % self.rows.len());
        let mut order: Vec<u32> = (0..self.rows.len() as u32).collect();
        order.shuffle(&mut generator(self.seed, "epoch", epoch as u64));
        let mut rng = generator(self.seed, "task", place as u64);
        let think = !rng.random_bool(self.answer_first);
        Ok(self.about(&self.rows[order[place_in_epoch] as usize], think, rng.random_bool(0.3)))
    }

    fn watched(&self, count: usize) -> Result<Vec<Task>> {
        Ok(self.held_out.iter().take(count).map(|row| self.about(row, true, false)).collect())
    }
}
