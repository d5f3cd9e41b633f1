//! What a run writes beside its checkpoint: its options, and a line of metrics for each step.

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;

use crate::{Error, Result};

/// The metrics' file, without the lines of steps that come again because the run stopped behind its last checkpoint.
pub fn metrics(path: &Path, steps: usize) -> Result<File> {
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let kept: String = before.lines().take(steps).flat_map(|line| [line, "\n"]).collect();
    write(path, kept.as_bytes())?;
    File::options().append(true).open(path).map_err(Error::io(path))
}

pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::BadInput(e.to_string()))
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io(path))
}
