//! What a run writes beside its checkpoint: what it is made of, whole files, and a line of metrics for each step.

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// The metrics' file and what its lines say, without those of steps that come again because the run stopped behind its
/// last checkpoint: the first `steps` lines.
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

/// Writes what a run is made of to `options.json` beside what it gives; refuses to go on with a run that was made of something
/// else but for what `may_change`.
///
/// # Errors
/// [`Error::BadInput`] naming the option that differs; [`Error::Io`].
pub fn keep_options(out: &Path, options: &impl Serialize, may_change: &[&str]) -> Result<()> {
    fs::create_dir_all(out).map_err(Error::io(out))?;
    let path = out.join("options.json");
    let whole = serde_json::to_vec_pretty(options).map_err(|e| Error::BadInput(e.to_string()))?;
    if Checkpoint::of(out).exists() && path.exists() {
        let read = |bytes: &[u8]| -> Result<Map<String, Value>> {
            serde_json::from_slice(bytes).map_err(|e| Error::BadInput(format!("{}: {e}", path.display())))
        };
        let (before, now) = (read(&fs::read(&path).map_err(Error::io(&path))?)?, read(&whole)?);
        let names = before.keys().chain(now.keys()).filter(|name| !may_change.contains(&name.as_str()));
        if let Some(name) = names.into_iter().find(|name| before.get(*name) != now.get(*name)) {
            let value = |of: &Map<String, Value>| of.get(name).map_or("nothing".into(), Value::to_string);
            return Err(Error::BadInput(format!(
                "{}: holds a run whose {name} is {}, which cannot go on with {}; take another folder",
                out.display(),
                value(&before),
                value(&now)
            )));
        }
    }
    write(&path, &whole)
}
