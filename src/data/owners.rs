//! Policies as their owners wrote them, with messages and replies that were labelled for each of their categories.

use std::path::Path;

use serde::Deserialize;

use super::rows::{Label, Row};
use crate::conversation::Target;
use crate::error::{Error, Result};
use crate::files;
use crate::policy::{Format, Policy};

/// An owner's policy and what was labelled under it.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// The file's name without its ending.
    pub name: String,
    pub policy: Policy,
    /// `categories` are ids of the policy's categories; the ids are the owner's name and the place in the file.
    pub rows: Vec<Row>,
}

#[derive(Deserialize)]
struct OwnerFile {
    split: String,
    policy: serde_json::Value,
    rows: Vec<OwnerRow>,
}

#[derive(Deserialize)]
struct OwnerRow {
    level: Target,
    prompt: String,
    #[serde(default)]
    response: Option<String>,
    applies: Vec<String>,
    #[serde(default)]
    borderline: bool,
    #[serde(default)]
    quotes: Vec<String>,
}

impl Owner {
    /// Whether the owner is kept out of training, for measuring.
    pub fn is_held_out(&self) -> bool {
        self.rows.iter().any(|row| row.split == "dev")
    }

    fn read(path: &Path) -> Result<Self> {
        let bad = |what: String| Error::BadInput(format!("{}: {what}", path.display()));
        let file: OwnerFile = serde_json::from_str(&files::read_text(path)?).map_err(|error| {
            bad(format!("expected an owner's file {{\"split\", \"policy\", \"rows\": [{{\"level\", \"prompt\", \"applies\", …}}]}}: {error}"))
        })?;
        let policy = Policy::parse(&file.policy.to_string(), Format::Json).map_err(|error| bad(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut rows = Vec::with_capacity(file.rows.len());
        for (place, row) in file.rows.into_iter().enumerate() {
            let id = format!("{name}-{place:03}");
            if let Some(unknown) = row.applies.iter().find(|id| policy.categories.iter().all(|known| known.id != **id))
            {
                return Err(bad(format!("row {id}: expected ids of the policy's categories, got {unknown:?}")));
            }
            let label = match row.applies.is_empty() {
                _ if row.borderline => Label::Borderline,
                true => Label::Safe,
                false => Label::Unsafe,
            };
            rows.push(Row {
                id,
                source: name.clone(),
                level: row.level,
                prompt: row.prompt,
                messages: Vec::new(),
                response: row.response,
                label,
                categories: row.applies,
                touches: Vec::new(),
                quotes: row.quotes,
                lang: String::new(),
                split: file.split.clone(),
                policy: None,
            });
        }
        Ok(Self { name, policy, rows })
    }
}

/// The owners of a folder, by name.
///
/// # Errors
/// [`Error::Io`] for what is missing; [`Error::BadInput`] for a file that holds no such policy, or a folder without any.
pub fn owners(folder: &Path) -> Result<Vec<Owner>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths = entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    if paths.is_empty() {
        return Err(Error::BadInput(format!("{}: expected owners' .json files, found none", folder.display())));
    }
    paths.iter().map(|path| Owner::read(path)).collect()
}
