//! Files that a command writes, and how they are held against those that it reads.

use std::path::{Path, PathBuf};

use rsafe::{Error, Result};
use same_file::is_same_file;

/// Writes a whole file.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(path))
}

/// What a command writes: the option that names it, and the file if there is one.
pub type Output<'a> = (&'a str, Option<&'a Path>);

/// Refuses to begin where a file would be written over one that is read, or over another that is written: by what they
/// are, not by what they are called. Of a folder that is read, all files in it count.
///
/// # Errors
/// [`Error::BadInput`] that names the option and both files.
pub fn keep_apart<'a>(inputs: impl IntoIterator<Item = &'a Path>, outputs: &[Output<'_>]) -> Result<()> {
    let read: Vec<PathBuf> = inputs.into_iter().flat_map(files).collect();
    let outputs: Vec<(&str, &Path)> = outputs.iter().filter_map(|(option, path)| Some((*option, (*path)?))).collect();
    for (at, (option, path)) in outputs.iter().enumerate() {
        let refused = |what: String| {
            Err(Error::BadInput(format!("{option} {}: expected a file of its own, found {what}", path.display())))
        };
        if let Some(input) = read.iter().find(|input| is_one(path, input)) {
            return refused(format!("{}, which is read", input.display()));
        }
        if let Some((other, _)) = outputs[..at].iter().find(|(_, other)| is_one(path, other)) {
            return refused(format!("what {other} writes"));
        }
    }
    Ok(())
}

fn files(path: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![path.to_owned()],
    }
}

/// Whether writing to one changes the other. A device or a pipe takes what comes and changes nothing.
fn is_one(a: &Path, b: &Path) -> bool {
    match std::fs::metadata(a) {
        Ok(metadata) => metadata.is_file() && is_same_file(a, b).unwrap_or(false),
        // Where neither is there yet, their folders and names tell.
        Err(_) => a.file_name() == b.file_name() && !b.exists() && is_same_file(folder(a), folder(b)).unwrap_or(false),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
