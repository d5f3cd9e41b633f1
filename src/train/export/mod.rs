//! Training data for frameworks beyond one machine: veRL's parquet, and our rewards in Python.

mod chat;
mod table;
mod tasks;

use std::path::{Path, PathBuf};

use serde_json::json;

pub use chat::{ChatMessage, rsafe_messages};
use table::VerlRow;
use tasks::{Judged, Split};

use super::reward::Rewards;
use crate::data::recipe::Recipe;
use crate::error::{Error, Result};
use crate::policy::Policy;

/// The Python module that gives veRL the rewards of [`reward`](super::reward).
pub const REWARD_MODULE: &str = include_str!("reward.py");

/// The commands that train on an export and bring the model back.
const README: &str = include_str!("verl.md");

/// Where the policies come from that the rows are judged under.
#[derive(Debug, Clone)]
pub enum Policies {
    /// This one, for the rows of a file or folder; a share of them in [0, 1) is held out.
    Given { policy: Box<Policy>, held_out: f64 },
    /// Drawn for each row of the recipe's data sets in a folder.
    Recipe(Box<Recipe>),
}

/// An export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// A file or a folder of rows; with a recipe the folder of its data sets.
    pub data: PathBuf,
    pub policies: Policies,
    pub rewards: Rewards,
    /// The folder that is written; files of an earlier export in it are replaced.
    pub out: PathBuf,
    /// At most so many rows to train on, and at most so many to validate on, chosen at random.
    pub rows: Option<usize>,
    pub validation_rows: Option<usize>,
    /// What a recipe's policies and the order of the rows are drawn with.
    pub seed: u64,
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    pub train: usize,
    pub validation: usize,
}

/// Writes `train.parquet`, `validation.parquet` (the held-out rows), `rewards.json`, `reward.py` and `README.md`.
///
/// # Errors
/// [`Error::Io`] and [`Error::BadInput`] for data, recipe and folder; [`Error::BadInput`] without a row to train on.
pub fn verl(options: &ExportOptions) -> Result<Exported> {
    let split = match &options.policies {
        Policies::Given { policy, held_out } => {
            options.rewards.check(policy)?;
            Split::of_policy(policy, &options.data, *held_out)?
        }
        Policies::Recipe(recipe) => Split::of_recipe(recipe, &options.data, options.seed)?,
    };
    let most = |rows: Option<usize>| rows.unwrap_or(usize::MAX);
    let split = split.sampled(most(options.rows), most(options.validation_rows), options.seed);
    if split.train.is_empty() {
        return Err(Error::BadInput(format!("{}: no row to train on; give more rows", options.data.display())));
    }
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let table = |name: &str, split: &'static str, tasks: &[Judged]| {
        let rows = tasks.iter().enumerate().map(|(index, task)| row(task, split, index));
        table::write(&out.join(name), rows)
    };
    let exported = Exported {
        train: table("train.parquet", "train", &split.train)?,
        validation: table("validation.parquet", "validation", &split.held_out)?,
    };
    let rewards = serde_json::to_string_pretty(&options.rewards).map_err(|error| Error::BadInput(error.to_string()))?;
    for (name, text) in [("rewards.json", rewards.as_str()), ("reward.py", REWARD_MODULE), ("README.md", README)] {
        write(&out.join(name), text)?;
    }
    Ok(exported)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(path))
}

/// A task as veRL reads it. Truth, policy and conversation travel as JSON: their shapes differ from row to row, which
/// columns do not.
fn row(task: &Judged, split: &'static str, index: usize) -> Result<VerlRow> {
    let failed = |error: serde_json::Error| Error::BadInput(format!("row {:?}: {error}", task.id));
    let conversation = json!({"messages": task.conversation.messages, "target": task.conversation.target});
    Ok(VerlRow {
        data_source: task.source.clone(),
        prompt: rsafe_messages(&task.policy, &task.conversation)?,
        ability: "safety",
        style: "rule",
        ground_truth: serde_json::to_string(&task.truth).map_err(failed)?,
        split,
        index: i64::try_from(index).unwrap_or(i64::MAX),
        id: task.id.clone(),
        policy: json!({"categories": task.policy.categories}).to_string(),
        conversation: conversation.to_string(),
    })
}
