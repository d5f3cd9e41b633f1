//! The file that says what the categories of data sets mean in a recipe's taxonomy; `models/rsafe-mini/adaptive.yaml`
//! explains its fields.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::data::recipe::{ConceptIdx, Recipe};
use crate::error::{Error, Result};

/// What is known about the categories of data sets, by the set's name.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveSets(HashMap<String, SetLabels>);

/// What the categories of one data set mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetLabels {
    labels: HashMap<String, Vec<ConceptIdx>>,
    perhaps: HashMap<String, Vec<ConceptIdx>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFile {
    labels: HashMap<String, Vec<String>>,
    #[serde(default)]
    perhaps: HashMap<String, Vec<String>>,
}

impl AdaptiveSets {
    /// Reads a file and checks it against the recipe.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::BadInput`] for a mistake in it, naming the place.
    pub fn load(path: impl AsRef<Path>, recipe: &Recipe) -> Result<Self> {
        let path = path.as_ref();
        let text = crate::files::read_text(path)?;
        Self::parse(&text, &path.display().to_string(), recipe)
    }

    /// Parses and checks; `origin` is what errors call the text.
    ///
    /// # Errors
    /// [`Error::BadInput`] naming the place and what was expected there.
    pub fn parse(text: &str, origin: &str, recipe: &Recipe) -> Result<Self> {
        let bad = |what: String| Error::BadInput(format!("{origin}: {what}"));
        let file: HashMap<String, SetFile> = serde_saphyr::from_str(text)
            .map_err(|error| bad(format!("expected data sets with `labels` and `perhaps`: {error}")))?;
        let concepts = |set: &str, category: &str, ids: Vec<String>| -> Result<Vec<ConceptIdx>> {
            let index = |id: String| recipe.find(&id).map_err(|error| bad(format!("{set}: {category:?}: {error}")));
            ids.into_iter().map(index).collect()
        };
        let mut sets = HashMap::new();
        for (name, file) in file {
            if let Some(unknown) = file.perhaps.keys().find(|category| !file.labels.contains_key(*category)) {
                return Err(bad(format!("{name}: `perhaps` names {unknown:?}, which `labels` lacks")));
            }
            let read = |lists: HashMap<String, Vec<String>>| -> Result<HashMap<String, Vec<ConceptIdx>>> {
                let list = |(category, ids): (String, Vec<String>)| {
                    concepts(&name, &category, ids).map(|concepts| (category, concepts))
                };
                lists.into_iter().map(list).collect()
            };
            let labels = SetLabels { labels: read(file.labels)?, perhaps: read(file.perhaps)? };
            sets.insert(name, labels);
        }
        Ok(Self(sets))
    }

    /// The categories of a data set.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the file has no entry for it.
    pub fn set(&self, name: &str) -> Result<&SetLabels> {
        self.0.get(name).ok_or_else(|| {
            let mut known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            known.sort_unstable();
            Error::BadInput(format!("adaptive: no entry for the data set {name:?}; known: {}", known.join(", ")))
        })
    }
}

impl SetLabels {
    /// The concepts that hold for an unsafe row of these categories, ascending.
    pub fn own(&self, categories: &[String]) -> Vec<ConceptIdx> {
        let held: BTreeSet<_> = categories.iter().filter_map(|c| self.labels.get(c)).flatten().copied().collect();
        held.into_iter().collect()
    }

    /// The concepts that hold or may hold, ascending; `None` if nothing is known about one of the categories.
    pub fn doubtful(&self, categories: &[String]) -> Option<Vec<ConceptIdx>> {
        let mut doubtful = BTreeSet::new();
        for category in categories {
            doubtful.extend(self.labels.get(category)?);
            doubtful.extend(self.perhaps.get(category).into_iter().flatten());
        }
        Some(doubtful.into_iter().collect())
    }
}
