//! Training on burn autodiff: labelled rows under sampled policies, and the loops that learn from them.

mod batch;
pub mod calibrate;
mod checkpoint;
mod evidence;
mod examples;
pub mod recipe;
pub mod sft;
mod warm_start;

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The file of a recipe's source: `<name>.jsonl.gz` or `<name>.jsonl`.
fn data_file(folder: &Path, name: &str) -> Result<PathBuf> {
    [".jsonl.gz", ".jsonl"]
        .map(|ending| folder.join(format!("{name}{ending}")))
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| {
            Error::BadInput(format!("{}: no {name}.jsonl or {name}.jsonl.gz, which the recipe names", folder.display()))
        })
}
