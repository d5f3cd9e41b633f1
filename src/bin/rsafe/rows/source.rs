//! Where rows come from: files, in the format that their name says, or standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use rsafe::records::{self, Record, Records};
use rsafe::{Error, Result, Target};

use super::entry::{Entries, Entry};
use crate::input::{self, BadRow, Place};

/// The columns of a table that are looked at.
const COLUMNS: [&str; 5] = ["id", "prompt", "response", "messages", "level"];

/// Rows one behind the other. Behind an error nothing comes that could be relied on.
pub struct Source {
    entries: Entries,
    /// Of the input, in bytes, if that is known.
    pub size: Option<u64>,
}

impl Source {
    /// All rows of files, which are opened when their turn comes.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is not there or of a kind that has no rows.
    pub fn files(paths: Vec<PathBuf>, target: Option<Target>) -> Result<Self> {
        let (mut before, mut size) = (0, Some(0));
        let mut opened = Vec::with_capacity(paths.len());
        for path in paths {
            let metadata = records::look(&path)?;
            opened.push((path, before));
            before += metadata.len();
            size = size.filter(|_| metadata.is_file()).map(|size| size + metadata.len());
        }
        let entries = opened.into_iter().flat_map(move |(path, before)| {
            open(&path, before, target).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        });
        Ok(Self { entries: Box::new(entries), size })
    }

    pub fn stdin(reader: impl Read + Send + 'static, target: Option<Target>) -> Self {
        let records = Records::lines(reader, "standard input", input::MAX_BYTES);
        Self { entries: entries(records, None, 0, target), size: stdin_size() }
    }
}

impl Iterator for Source {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next()
    }
}

fn open(path: &Path, before: u64, target: Option<Target>) -> Result<Entries> {
    let records = Records::open(path, &COLUMNS, input::MAX_BYTES)?;
    Ok(entries(records, Some(path.display().to_string()), before, target))
}

/// The rows of a file, or of standard input, with `before` bytes of input before it.
fn entries(records: Records, file: Option<String>, before: u64, target: Option<Target>) -> Entries {
    let read = move |Record { line, json, wrong, read }| {
        let row = match wrong {
            Some(what) => Err(BadRow { id: input::id(&json), error: Error::BadInput(what) }),
            None => input::parse_row(&json, target)?,
        };
        Some(Entry { place: Place { file: file.clone(), line }, row, size: json.len(), read: before + read })
    };
    Box::new(records.filter_map(move |record| record.map(&read).transpose()))
}

/// The size of standard input in bytes, if it is a file.
#[cfg(unix)]
fn stdin_size() -> Option<u64> {
    use std::os::fd::AsFd;
    let file = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

#[cfg(not(unix))]
fn stdin_size() -> Option<u64> {
    None
}
