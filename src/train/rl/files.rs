//! What a run writes beside its checkpoint: whole files, and a line of metrics for each step.

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The metrics' file and what its lines say, without those of steps that come again because the run stopped behind its
/// last checkpoint.
pub fn metrics<R: DeserializeOwned>(path: &Path, steps: usize) -> Result<(File, Vec<R>)> {
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let kept: String = before.lines().take(steps).flat_map(|line| [line, "\n"]).collect();
    let report = |line| serde_json::from_str(line).map_err(|e| Error::BadInput(format!("{}: {e}", path.display())));
    let reports = kept.lines().map(report).collect::<Result<_>>()?;
    write(path, kept.as_bytes())?;
    Ok((File::options().append(true).open(path).map_err(Error::io(path))?, reports))
}

pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::BadInput(e.to_string()))
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io(path))
}
