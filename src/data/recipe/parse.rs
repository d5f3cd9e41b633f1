//! The recipe file as it is written, and the checks that turn it into a [`Recipe`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

use super::{Concept, ConceptIdx, Judge, Origin, OwnerSource, Recipe, Source, UnsafeMeans, reading, unknown};
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    heldout_fraction: f64,
    /// Empty without any data of our own.
    #[serde(default)]
    own: PathBuf,
    concepts: IndexMap<String, ConceptFile>,
    #[serde(default)]
    broader: IndexMap<String, BroaderFile>,
    wordings: IndexMap<String, Wording>,
    sources: IndexMap<String, SourceFile>,
    #[serde(default)]
    owners: IndexMap<String, OwnerSourceFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerSourceFile {
    #[serde(default)]
    own: bool,
    #[serde(default = "one")]
    weight: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConceptFile {
    code: Option<String>,
    #[serde(default = "yes")]
    general: bool,
    #[serde(default)]
    stands: bool,
    #[serde(default)]
    related: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroaderFile {
    covers: Vec<String>,
}

/// What a policy may call a concept or a broader category.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wording {
    names: Vec<String>,
    #[serde(default)]
    held_out_names: Vec<String>,
    definitions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile {
    file: Option<String>,
    /// Its rows are our own, of the kind that the entry is called by.
    #[serde(default)]
    own: bool,
    #[serde(default)]
    judge: Judge,
    #[serde(default = "one")]
    weight: f64,
    limit: Option<usize>,
    unsafe_share: Option<f64>,
    max_chars: Option<usize>,
    #[serde(default)]
    skip: HashSet<String>,
    #[serde(default)]
    labels: IndexMap<String, Vec<String>>,
    #[serde(default)]
    label_weights: HashMap<String, f64>,
    #[serde(default = "one")]
    read_weight: f64,
    unsafe_means: Option<UnsafeMeansFile>,
    #[serde(default)]
    look_alike: bool,
    #[serde(default, deserialize_with = "flat")]
    negatives: Vec<String>,
    #[serde(default, deserialize_with = "flat")]
    others: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UnsafeMeansFile {
    Word(String),
    Concepts(Vec<String>),
}

/// Names, and lists of them, as one list: so that a list with an anchor can be part of others.
fn flat<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a name or a list of names")]
    enum Item {
        Name(String),
        Names(Vec<String>),
    }
    let items = Vec::<Item>::deserialize(deserializer)?;
    let names = |item| match item {
        Item::Name(name) => vec![name],
        Item::Names(names) => names,
    };
    Ok(items.into_iter().flat_map(names).collect())
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// Words that stand for many concepts in `negatives` and `others`.
const GENERAL: &str = "general";
const ALL: &str = "all";

impl Recipe {
    /// Reads and checks a recipe file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::BadInput`] if it is not a recipe, naming the place.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = crate::files::read_text(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        // `.` where the path is a bare file name: the empty path names no folder.
        let beside = serde_saphyr::options! {}
            .with_filesystem_root(Path::new(".").join(folder))
            .map_err(|error| Error::BadInput(format!("{}: {error}", path.display())))?;
        let mut recipe = Self::with(&text, &path.display().to_string(), beside)?;
        if !recipe.own.as_os_str().is_empty() {
            recipe.own = folder.join(&recipe.own);
            recipe.readings = reading::load(&recipe, &recipe.own.join("labels"))?;
        }
        Ok(recipe)
    }

    /// Parses and checks a recipe that includes no files; `origin` is what errors call it.
    ///
    /// # Errors
    /// [`Error::BadInput`] naming the place and what was expected there.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        Self::with(text, origin, serde_saphyr::options! {})
    }

    fn with(text: &str, origin: &str, options: serde_saphyr::Options) -> Result<Self> {
        let bad = |what: String| Error::BadInput(format!("{origin}: {what}"));
        let file: RecipeFile = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| bad(format!("expected a training recipe: {error}")))?;
        Self::check(file).map_err(bad)
    }

    fn check(mut file: RecipeFile) -> Result<Self, String> {
        if !(0.0..1.0).contains(&file.heldout_fraction) {
            return Err(format!("heldout_fraction: expected a share in [0, 1), got {}", file.heldout_fraction));
        }
        let ids = index_ids(&file)?;
        let fine = file.concepts.len();
        if let Some(id) = file.wordings.keys().find(|id| !ids.0.contains_key(*id)) {
            return Err(format!("wordings: {}", unknown(id, ids.0.keys())));
        }
        let mut concepts = fine_concepts(&file.concepts, &ids, &mut file.wordings)?;
        let general = expand(&[GENERAL.to_owned()], &ids, &concepts)?;
        concepts.extend(broader_concepts(file.broader, &ids, &concepts, &mut file.wordings)?);
        check_wording(&concepts)?;
        let mut sources = IndexMap::new();
        for (name, source) in file.sources {
            let source =
                check_source(&name, source, &ids, &concepts).map_err(|error| format!("sources.{name}.{error}"))?;
            sources.insert(name, source);
        }
        if sources.is_empty() {
            return Err("sources: expected at least one data set".into());
        }
        let any_harm = (fine..concepts.len()).find(|&category| concepts[category].covers == general);
        let mut owners = IndexMap::new();
        for (name, source) in file.owners {
            if !positive(source.weight) {
                return Err(format!("owners.{name}.weight: expected a number above 0, got {}", source.weight));
            }
            let origin = if source.own { Origin::Own(name.clone()) } else { Origin::Set(name.clone()) };
            owners.insert(name, OwnerSource { origin, weight: source.weight });
        }
        if file.own.as_os_str().is_empty() && sources.values().any(|source| matches!(source.origin, Origin::Own(_))) {
            return Err("own: expected the folder of the rows that `own: true` speaks of".into());
        }
        Ok(Self {
            concepts,
            fine,
            any_harm,
            sources,
            owners,
            own: file.own,
            readings: HashMap::new(),
            heldout_fraction: file.heldout_fraction,
        })
    }
}

/// Ids of concepts and broader categories, at their places in [`Recipe::concepts`].
struct Ids(IndexMap<String, ConceptIdx>);

impl Ids {
    fn find(&self, id: &str) -> Result<ConceptIdx, String> {
        self.0.get(id).copied().ok_or_else(|| unknown(id, self.0.keys()))
    }

    fn find_all(&self, ids: &[String]) -> Result<Vec<ConceptIdx>, String> {
        ids.iter().map(|id| self.find(id)).collect()
    }
}

fn index_ids(file: &RecipeFile) -> Result<Ids, String> {
    if file.concepts.is_empty() {
        return Err("concepts: expected at least one".into());
    }
    let mut ids = IndexMap::new();
    for (index, id) in file.concepts.keys().chain(file.broader.keys()).enumerate() {
        if id == GENERAL || id == ALL {
            return Err(format!("{id:?} stands for many concepts and cannot be the id of one; rename it"));
        }
        if ids.insert(id.clone(), index).is_some() {
            return Err(format!("{id:?} is both under `concepts` and under `broader`; rename one"));
        }
    }
    Ok(Ids(ids))
}

/// The names and definitions of a concept, of which there is one each at least.
fn wording(id: &str, wordings: &mut IndexMap<String, Wording>) -> Result<Wording, String> {
    wordings
        .swap_remove(id)
        .filter(|wording| !wording.names.is_empty() && !wording.definitions.is_empty())
        .ok_or_else(|| format!("wordings.{id}: expected at least one of `names` and one of `definitions`"))
}

fn fine_concepts(
    file: &IndexMap<String, ConceptFile>,
    ids: &Ids,
    wordings: &mut IndexMap<String, Wording>,
) -> Result<Vec<Concept>, String> {
    let mut related = vec![BTreeSet::new(); file.len()];
    for (index, (id, concept)) in file.iter().enumerate() {
        for other in ids.find_all(&concept.related).map_err(|error| format!("concepts.{id}.related: {error}"))? {
            if other >= file.len() || other == index {
                return Err(format!("concepts.{id}.related: expected other fine concepts only"));
            }
            related[index].insert(other);
            related[other].insert(index);
        }
    }
    file.iter()
        .zip(related)
        .enumerate()
        .map(|(index, ((id, concept), related))| {
            let Wording { names, held_out_names, definitions } = wording(id, wordings)?;
            Ok(Concept {
                id: id.clone(),
                code: concept.code.clone(),
                names,
                held_out_names,
                definitions,
                general: concept.general,
                stands: concept.stands || !concept.general,
                covers: vec![index],
                related: related.into_iter().collect(),
            })
        })
        .collect()
}

fn broader_concepts(
    file: IndexMap<String, BroaderFile>,
    ids: &Ids,
    fine: &[Concept],
    wordings: &mut IndexMap<String, Wording>,
) -> Result<Vec<Concept>, String> {
    let mut broader = Vec::with_capacity(file.len());
    for (id, concept) in file {
        let covers: BTreeSet<_> = match concept.covers.as_slice() {
            [word] if word == GENERAL => (0..fine.len()).filter(|&part| fine[part].general).collect(),
            names => {
                let found = ids.find_all(names).map_err(|error| format!("broader.{id}.covers: {error}"))?;
                found.into_iter().collect()
            }
        };
        if covers.len() < 2 || covers.iter().any(|&part| part >= fine.len()) {
            return Err(format!("broader.{id}.covers: expected two or more fine concepts, or `general`"));
        }
        let Wording { names, held_out_names, definitions } = wording(&id, wordings)?;
        broader.push(Concept {
            code: None,
            stands: false,
            general: covers.iter().all(|&part| fine[part].general),
            id,
            names,
            held_out_names,
            definitions,
            covers: covers.into_iter().collect(),
            related: Vec::new(),
        });
    }
    Ok(broader)
}

/// A name must mean one thing, and what is held out must not be shown.
fn check_wording(concepts: &[Concept]) -> Result<(), String> {
    let mut owner: HashMap<String, &str> = HashMap::new();
    for concept in concepts {
        for name in concept.names.iter().chain(&concept.held_out_names) {
            if name.trim().is_empty() {
                return Err(format!("{}: a name is empty", concept.id));
            }
            if let Some(other) = owner.insert(name.to_lowercase(), &concept.id) {
                return Err(format!("{}: the name {name:?} is already one of {other}; reword it", concept.id));
            }
        }
    }
    Ok(())
}

fn check_source(name: &str, source: SourceFile, ids: &Ids, concepts: &[Concept]) -> Result<Source, String> {
    if !positive(source.weight) {
        return Err(format!("weight: expected a number above 0, got {}", source.weight));
    }
    if !positive(source.read_weight) {
        return Err(format!("read_weight: expected a number above 0, got {}", source.read_weight));
    }
    if let Some(share) = source.unsafe_share.filter(|share| !(0.0..=1.0).contains(share)) {
        return Err(format!("unsafe_share: expected a share in [0, 1], got {share}"));
    }
    if let Some((label, weight)) = source.label_weights.iter().find(|&(_, &weight)| !positive(weight)) {
        return Err(format!("label_weights.{label}: expected a number above 0, got {weight}"));
    }
    let mut labels = HashMap::new();
    for (label, names) in &source.labels {
        labels.insert(label.clone(), ids.find_all(names).map_err(|error| format!("labels.{label}: {error}"))?);
    }
    let unsafe_means = match &source.unsafe_means {
        // A reader's labels say what holds.
        None if source.own => UnsafeMeans::General,
        None => return Err("unsafe_means: expected `general` or a list of concepts, got nothing".into()),
        Some(UnsafeMeansFile::Word(word)) if word == GENERAL => UnsafeMeans::General,
        Some(UnsafeMeansFile::Concepts(names)) if !names.is_empty() => {
            UnsafeMeans::Concepts(ids.find_all(names).map_err(|error| format!("unsafe_means: {error}"))?)
        }
        Some(UnsafeMeansFile::Word(word)) => {
            return Err(format!("unsafe_means: expected `general` or a list of concepts, got {word:?}"));
        }
        Some(UnsafeMeansFile::Concepts(_)) => {
            return Err("unsafe_means: expected `general` or a list of concepts, got an empty list".into());
        }
    };
    Ok(Source {
        origin: match source.own {
            true => Origin::Own(name.to_owned()),
            false => Origin::Set(source.file.unwrap_or_else(|| name.to_owned())),
        },
        judge: source.judge,
        weight: source.weight,
        limit: source.limit,
        unsafe_share: source.unsafe_share,
        max_chars: source.max_chars,
        skip: source.skip,
        labels,
        label_weights: source.label_weights,
        read_weight: source.read_weight,
        unsafe_means,
        look_alike: source.look_alike,
        negatives: expand(&source.negatives, ids, concepts).map_err(|error| format!("negatives: {error}"))?,
        others: expand(&source.others, ids, concepts).map_err(|error| format!("others: {error}"))?,
    })
}

/// The fine concepts that a list of names, `general` and `all` stands for, ascending.
fn expand(names: &[String], ids: &Ids, concepts: &[Concept]) -> Result<Vec<ConceptIdx>, String> {
    let mut expanded = BTreeSet::new();
    for name in names {
        if name == GENERAL || name == ALL {
            let fine = concepts.iter().enumerate().filter(|(index, concept)| concept.covers == [*index]);
            expanded.extend(fine.filter(|(_, concept)| name == ALL || concept.general).map(|(index, _)| index));
        } else {
            expanded.extend(&concepts[ids.find(name)?].covers);
        }
    }
    Ok(expanded.into_iter().collect())
}
