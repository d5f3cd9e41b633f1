//! Labelled rows: JSON objects in lines or the rows of a table, read as a stream.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::conversation::{Conversation, Message, Role, Target};
use crate::error::{Error, Result};
use crate::files;
use crate::records::{self, Record, Records};

/// What the judges of a data set said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    Safe,
    /// Reasonable owners would differ: it trains, and no figure counts it.
    Borderline,
    Unsafe,
}

/// One labelled conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Unique in all data sets; decides who is held out.
    pub id: String,
    /// The data set the row comes from; where a file does not say, its [name](set_name).
    #[serde(default)]
    pub source: String,
    /// The side that is judged.
    pub level: Target,
    pub prompt: String,
    /// Earlier turns, before the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Present wherever `level` is [`Target::Response`].
    #[serde(default)]
    pub response: Option<String>,
    pub label: Label,
    /// The data set's own names for what the row is; they mean different things in different sets.
    #[serde(default)]
    pub categories: Vec<String>,
    /// What it only mentions, forbids or defends; a data set that says so means the same names as in `categories`.
    #[serde(default)]
    pub touches: Vec<String>,
    #[serde(default)]
    pub lang: String,
    #[serde(default)]
    pub split: String,
    /// What a reader quoted of the judged text: the runs of words that make it what its label says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotes: Vec<String>,
    /// The category of an owner's policy that it was labelled under, where a set has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<OwnerRule>,
}

/// One rule of somebody's policy, as a data set gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRule {
    /// The name of its category.
    pub category: String,
    pub rule: String,
}

impl Row {
    /// The conversation a guard is asked about. A prompt-level row shows no response.
    pub fn conversation(&self) -> Conversation {
        let mut messages = self.messages.clone();
        messages.push(Message::new(Role::User, &self.prompt));
        let response = self.response.as_ref().filter(|_| self.level == Target::Response);
        messages.extend(response.map(|response| Message::new(Role::Assistant, response)));
        Conversation::of(messages)
    }

    /// Whether the row belongs to the share of rows, in `[0, 1]`, that is kept out of training.
    ///
    /// Those of the split `dev` do. Of the others it depends on the id alone, so it is the same on every machine and in
    /// every order of reading, and a larger fraction holds out every row that a smaller one does.
    pub fn is_held_out(&self, fraction: f64) -> bool {
        if self.split == "dev" {
            return true;
        }
        let digest = Sha256::digest(self.id.as_bytes());
        let head = digest.iter().take(8).fold(0u64, |head, &byte| head << 8 | u64::from(byte));
        (head as f64) < fraction * 2f64.powi(64)
    }
}

/// All rows of files, and of the `.jsonl` (also `.gz`, `.zst`) and `.parquet` files of folders, by name; without borderline
/// ones, of which no verdict is right or wrong.
///
/// # Errors
/// [`Error::Io`] for what is missing; [`Error::BadInput`] for a folder without such files, and for bad rows.
pub fn labelled_rows<P: AsRef<Path>>(data: &[P]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for path in data {
        for file in data_files(path.as_ref())? {
            for row in Rows::open(file)? {
                rows.push(row?);
            }
            rows.retain(|row: &Row| row.label != Label::Borderline);
        }
    }
    Ok(rows)
}

pub(crate) fn data_files(data: &Path) -> Result<Vec<PathBuf>> {
    if !data.is_dir() {
        return Ok(vec![data.to_owned()]);
    }
    let entries = std::fs::read_dir(data).map_err(Error::io(data))?;
    let paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(Error::io(data))?;
    let is_data = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        records::has_rows(&name)
    };
    let mut found: Vec<PathBuf> = paths.into_iter().filter(is_data).collect();
    // A pipe among them would keep the run waiting for ever.
    found.iter().try_for_each(|path| files::open(path, files::Kind::Regular).map(drop))?;
    found.sort();
    if found.is_empty() {
        return Err(Error::BadInput(format!(
            "{}: expected .jsonl, .jsonl.gz, .jsonl.zst or .parquet files with labelled rows, found none",
            data.display()
        )));
    }
    Ok(found)
}

/// What the rows of a file are called together: `dev/toxicchat_test.jsonl.gz` holds `toxicchat_test`.
pub fn set_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    records::stem(&name).to_owned()
}

/// Bytes of a row; no conversation that can be judged is longer.
const MAX_ROW: usize = 16 << 20;

/// The columns of a table that are looked at.
const COLUMNS: [&str; 13] = [
    "id",
    "source",
    "level",
    "prompt",
    "messages",
    "response",
    "label",
    "categories",
    "touches",
    "lang",
    "split",
    "quotes",
    "policy",
];

/// The rows of one file, in order. A bad line is an error in its place; the lines after it still come.
pub struct Rows {
    path: PathBuf,
    records: Records,
}

impl Rows {
    /// Opens a file of JSON lines, compressed where its name ends in `.gz` or `.zst`, or a `.parquet` file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::BadInput`] for a table that holds no such rows.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Ok(Self { path: path.to_owned(), records: Records::open(path, &COLUMNS, MAX_ROW)? })
    }

    fn parse(&self, record: Record) -> Result<Row> {
        let bad = |what: String| Error::BadInput(format!("{}, line {}: {what}", self.path.display(), record.line));
        if let Some(what) = record.wrong {
            return Err(bad(what));
        }
        let mut row: Row = serde_json::from_slice(&record.json).map_err(|error| {
            bad(format!(
                "expected a row {{\"id\", \"level\": \"prompt\"|\"response\", \"prompt\", \"label\": \"safe\"|\"borderline\"|\"unsafe\", …}}: {error}"
            ))
        })?;
        if row.source.is_empty() {
            row.source = set_name(&self.path);
        }
        if row.level == Target::Response && row.response.is_none() {
            return Err(bad(format!(
                "row {:?} judges a response but has none; give `response` or `level` \"prompt\"",
                row.id
            )));
        }
        Ok(row)
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        Some(record.and_then(|record| self.parse(record)))
    }
}
