//! A training recipe: a taxonomy of concepts, and what each data set says about them.
//!
//! `models/rsafe-mini/recipe.yaml` explains the file's fields. Which rows an epoch takes is in `sample`, the checks of the
//! file in `parse`.

mod parse;
mod reading;
mod sample;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::Deserialize;

use super::rows::{Label, Row, Rows, data_files};
use crate::error::{Error, Result};

/// A place in [`Recipe::concepts`].
pub type ConceptIdx = usize;

/// Something a policy can forbid, in several wordings.
#[derive(Debug, Clone)]
pub struct Concept {
    pub id: String,
    /// What readers' labels and rows of our own call it; broader categories have none.
    pub code: Option<String>,
    /// Names that training draws from; never empty.
    pub names: Vec<String>,
    /// Names that training must not see.
    pub held_out_names: Vec<String>,
    /// Definitions that training draws from; never empty.
    pub definitions: Vec<String>,
    /// Whether content of this kind is harmful in general, rather than under particular policies only.
    pub general: bool,
    /// It says what a text is about rather than that it harms: it holds in full where a reader found the text borderline.
    pub stands: bool,
    /// The fine concepts that fall under this one, ascending; a fine concept covers itself.
    pub covers: Vec<ConceptIdx>,
    /// Fine concepts that often hold together with this one, ascending, without itself; empty for broader categories.
    pub related: Vec<ConceptIdx>,
}

/// What an unsafe row is if none of its categories is mapped.
#[derive(Debug, Clone, PartialEq)]
pub enum UnsafeMeans {
    /// It breaks some general concept; nobody said which.
    General,
    /// These hold.
    Concepts(Vec<ConceptIdx>),
}

/// What of a row is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// The side that the row says.
    #[default]
    Row,
    /// The prompt, whatever the row says.
    Prompt,
    /// The response as a text of its own, as if a user had sent it.
    Text,
}

/// Where a source's rows are.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// `<name>.jsonl.gz` or `<name>.jsonl` in the folder of the sets.
    Set(String),
    /// Rows of our own, of one kind: they bring a reader's labels.
    Own(String),
}

/// How one data set is drawn and read.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub origin: Origin,
    pub judge: Judge,
    /// Draws of a row in an epoch, on average; > 0.
    pub weight: f64,
    /// At most so many rows an epoch.
    pub limit: Option<usize>,
    /// Share of unsafe rows among those drawn, in [0, 1]; `None` keeps the file's.
    pub unsafe_share: Option<f64>,
    /// Longest prompt and response together, in characters.
    pub max_chars: Option<usize>,
    /// Rows with one of these categories are left out.
    pub skip: HashSet<String>,
    /// The data set's category → what holds for an unsafe row that has it.
    pub labels: HashMap<String, Vec<ConceptIdx>>,
    /// The data set's category → factor on the chance to be drawn; > 0.
    pub label_weights: HashMap<String, f64>,
    /// Factor on the chance of a row that was labelled by reading; > 0.
    pub read_weight: f64,
    pub unsafe_means: UnsafeMeans,
    /// Its safe rows look alarming: flagging one is over-refusal.
    pub look_alike: bool,
    /// Fine concepts that a safe row is free of.
    pub negatives: Vec<ConceptIdx>,
    /// Fine concepts that an unsafe row is free of unless it has them or a related one.
    pub others: Vec<ConceptIdx>,
}

/// Messages that were labelled under policies of their own, and how many of them an epoch takes.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerSource {
    pub origin: Origin,
    /// Draws of a message in an epoch, on average; > 0.
    pub weight: f64,
}

/// What is known about a row. Concepts in no list are unknown and must not enter a loss.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Concepts that hold, ascending, the broader ones they imply included.
    pub positive: Vec<ConceptIdx>,
    /// Concepts known not to hold, ascending.
    pub negative: Vec<ConceptIdx>,
    /// Those among them that the text touches: it speaks of them, and they do not hold.
    pub touched: Vec<ConceptIdx>,
    /// Concepts of which reasonable owners would say either, ascending.
    pub borderline: Vec<ConceptIdx>,
    /// The row breaks at least one general concept, and nobody said which: a policy that covers every one of them is
    /// broken.
    pub general_unsafe: bool,
}

impl Facts {
    /// `Some(true)` if the concept holds, `Some(false)` if it does not, `None` if nobody said or it is borderline.
    pub fn holds(&self, concept: ConceptIdx) -> Option<bool> {
        match (self.positive.binary_search(&concept), self.negative.binary_search(&concept)) {
            (Ok(_), _) => Some(true),
            (_, Ok(_)) => Some(false),
            _ => None,
        }
    }

    /// What a slot should say: 1 where the concept holds, 0 where it does not, a half where it is borderline.
    pub fn target(&self, concept: ConceptIdx) -> Option<f32> {
        let half = || self.borderline.binary_search(&concept).ok().map(|_| 0.5);
        self.holds(concept).map(|holds| f32::from(u8::from(holds))).or_else(half)
    }
}

/// What a reader said of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderLabel {
    pub label: Label,
    /// Fine concepts that hold.
    pub holds: Vec<ConceptIdx>,
    /// Fine concepts that it only mentions, forbids or defends.
    pub touches: Vec<ConceptIdx>,
}

/// What a model is trained on. Checked as a whole when it is parsed.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Fine concepts first (`0..fine`), then the broader ones.
    pub concepts: Vec<Concept>,
    /// How many of `concepts` are fine.
    pub fine: usize,
    /// The broader category that covers every general concept: harm of any kind.
    pub any_harm: Option<ConceptIdx>,
    /// In the order of the file, by name.
    pub sources: IndexMap<String, Source>,
    /// Policies as owners wrote them, with the messages that were labelled under them.
    pub owners: IndexMap<String, OwnerSource>,
    /// The folder of our own rows and policies and of readers' labels.
    own: PathBuf,
    /// Readers' labels of rows of the sets, by the rows' ids: where there is one, it holds instead of the set's.
    readings: HashMap<String, ReaderLabel>,
    /// Share of each source that is kept for thresholds; see [`Row::is_held_out`].
    pub heldout_fraction: f64,
}

impl Recipe {
    /// The one folder that is given as the place of a recipe's sets.
    ///
    /// # Errors
    /// [`Error::BadInput`] for none or several.
    pub fn folder(data: &[PathBuf]) -> Result<&Path> {
        match data {
            [folder] => Ok(folder),
            _ => Err(Error::BadInput("with a recipe, --data is one folder: that of its sets".into())),
        }
    }

    /// The folder of our own rows and policies.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// The concept or broader category of that id.
    pub fn index(&self, id: &str) -> Option<ConceptIdx> {
        self.concepts.iter().position(|concept| concept.id == id)
    }

    /// The same for an id that must be there.
    ///
    /// # Errors
    /// [`Error::BadInput`] with the id that it most resembles.
    pub fn find(&self, id: &str) -> Result<ConceptIdx> {
        let ids = self.concepts.iter().map(|concept| &concept.id);
        self.index(id).ok_or_else(|| Error::BadInput(unknown(id, ids)))
    }

    /// The concept or broader category that has this name, in any case.
    pub fn named(&self, name: &str) -> Option<ConceptIdx> {
        let called = |names: &[String]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.concepts.iter().position(|concept| called(&concept.names) || called(&concept.held_out_names))
    }

    /// The entry of a data set.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the recipe has none.
    pub fn source(&self, name: &str) -> Result<&Source> {
        self.sources.get(name).ok_or_else(|| {
            Error::BadInput(format!("the recipe has no source {name:?}; add it under `sources` or leave its file out"))
        })
    }

    /// The rows of a source that the recipe uses: from its file in `folder`, or our own.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the recipe has no such source, the folder no such file, or the file a bad row.
    pub fn rows(&self, source: &str, folder: &Path) -> Result<impl Iterator<Item = Result<Row>>> {
        let source = self.source(source)?;
        let files = match &source.origin {
            Origin::Set(name) => vec![data_file(folder, name)?],
            Origin::Own(_) => data_files(&self.own.join("rows"))?,
        };
        let files: Vec<Rows> = files.into_iter().map(Rows::open).collect::<Result<_>>()?;
        Ok(files.into_iter().flatten().filter_map(|row| match row {
            Ok(row) if source.uses(&row) => Some(Ok(self.relabel(source, source.view(row)))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }))
    }

    /// The row with the reader's verdict in place of its set's, where there is one.
    fn relabel(&self, source: &Source, row: Row) -> Row {
        match self.reading(source, &row) {
            Some(reading) => Row { label: reading.label, ..row },
            None => row,
        }
    }

    /// What a reader said of the side of a row that the source judges.
    fn reading(&self, source: &Source, row: &Row) -> Option<&ReaderLabel> {
        self.readings.get(&row.id).filter(|_| source.judge == Judge::Row)
    }

    /// What the recipe says about a row of a source.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the recipe has no such source.
    pub fn facts(&self, source: &str, row: &Row) -> Result<Facts> {
        let source = self.source(source)?;
        if let Some(reading) = self.reading(source, row) {
            return Ok(self.read(reading));
        }
        if let Origin::Own(_) = source.origin {
            return Ok(self.read(&ReaderLabel::of(self, row)?));
        }
        let mut facts = match row.label {
            Label::Safe => self.close(&[], &source.negatives),
            // Only readers find rows borderline.
            Label::Borderline => Facts::default(),
            Label::Unsafe => {
                let mut stated: Vec<ConceptIdx> = row
                    .categories
                    .iter()
                    .filter_map(|category| source.labels.get(category))
                    .flatten()
                    .copied()
                    .collect();
                match &source.unsafe_means {
                    _ if !stated.is_empty() => self.close(&stated, &source.others),
                    UnsafeMeans::Concepts(concepts) => {
                        stated.extend(concepts);
                        self.close(&stated, &source.others)
                    }
                    UnsafeMeans::General => self.unexplained(),
                }
            }
        };
        // A set about one policy knows what breaks that policy, not what harms in general.
        if !self.speaks_of_harm(source) {
            facts.positive.retain(|&concept| Some(concept) != self.any_harm);
        }
        Ok(facts)
    }

    /// A row that breaks something, and nobody knows what.
    fn unexplained(&self) -> Facts {
        Facts { positive: self.any_harm.into_iter().collect(), general_unsafe: true, ..Facts::default() }
    }

    /// Whether a source's labels say what is harmful in general.
    fn speaks_of_harm(&self, source: &Source) -> bool {
        let free_of = |concept: ConceptIdx| source.negatives.binary_search(&concept).is_ok();
        source.unsafe_means == UnsafeMeans::General
            && (0..self.fine).all(|concept| !self.concepts[concept].general || free_of(concept))
    }

    /// Everything that follows from concepts that hold and fine concepts that do not: what holds makes the related
    /// unknown; a broader category holds with any part of it and is absent with all of its parts.
    fn close(&self, stated: &[ConceptIdx], absent: &[ConceptIdx]) -> Facts {
        let fine_held: HashSet<_> = stated.iter().copied().filter(|&concept| concept < self.fine).collect();
        let doubtful: HashSet<_> = stated
            .iter()
            .flat_map(|&concept| &self.concepts[concept].covers)
            .flat_map(|&part| self.concepts[part].related.iter().copied().chain([part]))
            .collect();
        let absent: HashSet<_> = absent.iter().copied().filter(|concept| !doubtful.contains(concept)).collect();
        let mut facts = Facts::default();
        for (index, concept) in self.concepts.iter().enumerate() {
            let implied = || {
                stated.iter().any(|&held| self.concepts[held].covers.iter().all(|part| concept.covers.contains(part)))
            };
            if concept.covers.iter().any(|part| fine_held.contains(part)) || implied() {
                facts.positive.push(index);
            } else if concept.covers.iter().all(|part| absent.contains(part)) {
                facts.negative.push(index);
            }
        }
        facts
    }

    /// A random policy that leaves no general concept out, so that every row that is unsafe in general breaks it: broader
    /// categories where they come first, fine ones for the rest, never harm of any kind as one. In random order.
    pub fn general_cover(&self, rng: &mut impl rand::Rng) -> Vec<ConceptIdx> {
        let mut broader: Vec<ConceptIdx> =
            (self.fine..self.concepts.len()).filter(|&category| Some(category) != self.any_harm).collect();
        broader.shuffle(rng);
        // How coarse the policy is differs from draw to draw: real ones have 8 to 40 categories.
        broader.truncate(rng.random_range(0..=broader.len()));
        let mut missing: HashSet<_> = (0..self.fine).filter(|&concept| self.concepts[concept].general).collect();
        let mut policy = Vec::new();
        for category in broader {
            let covers = &self.concepts[category].covers;
            if self.concepts[category].general && covers.iter().any(|part| missing.contains(part)) {
                covers.iter().for_each(|part| {
                    missing.remove(part);
                });
                policy.push(category);
            }
        }
        policy.extend(missing);
        policy.sort_unstable();
        policy.shuffle(rng);
        policy
    }
}

/// What is wrong with an id that nothing has, and the id that it most resembles.
pub(super) fn unknown<'a>(id: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known.max_by(|a, b| strsim::jaro(a, id).total_cmp(&strsim::jaro(b, id)));
    let hint = nearest.map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default();
    format!("{id:?} is neither a concept nor a broader category{hint}")
}

/// The file of a set in the folder of the sets: `<name>.jsonl.gz` or `<name>.jsonl`.
pub(crate) fn data_file(folder: &Path, name: &str) -> Result<PathBuf> {
    [".jsonl.gz", ".jsonl"]
        .map(|ending| folder.join(format!("{name}{ending}")))
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| {
            Error::BadInput(format!("{}: no {name}.jsonl or {name}.jsonl.gz, which the recipe names", folder.display()))
        })
}

#[cfg(test)]
mod tests;
