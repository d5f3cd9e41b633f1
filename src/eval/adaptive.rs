//! Whether a guard reads its policy: rows asked under policies of random categories, the expected label being what
//! those categories say.
//!
//! An unsafe row is asked twice: once with its own category among foreign ones, where it must be flagged, and once with
//! foreign ones alone, where it must not. A safe row is asked once. Category names are those that training has never
//! seen, or those it has; definitions are left empty, so that the name is all there is to read.

mod labels;
mod report;

use std::collections::HashSet;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

pub use labels::{AdaptiveSets, SetLabels};
pub use report::{AdaptiveReport, evaluate_adaptive};

use crate::data::recipe::{ConceptIdx, Recipe};
use crate::data::rows::{Label, Row};
use crate::error::{Error, Result};
use crate::policy::{Category, Policy};

/// Whose names the categories go by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// Those that training never shows.
    #[default]
    HeldOut,
    /// Those that training draws from.
    Seen,
}

/// How rows are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveOptions {
    /// Categories of a policy; at least 1.
    pub categories: usize,
    pub names: Names,
    pub seed: u64,
}

impl Default for AdaptiveOptions {
    fn default() -> Self {
        Self { categories: 3, names: Names::default(), seed: 1 }
    }
}

/// Why a row has the label that it has under its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// Unsafe: its own category is in the policy.
    Own,
    /// Safe: an unsafe row, but of none of the policy's categories.
    Foreign,
    /// Safe under any policy.
    Safe,
}

impl Asked {
    /// The name as reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Asked::Own => "own",
            Asked::Foreign => "foreign",
            Asked::Safe => "safe",
        }
    }
}

/// A row under one policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its place among the rows.
    pub row: usize,
    pub asked: Asked,
    /// Category ids are the recipe's concepts.
    pub policy: Policy,
}

/// The cases of a set, and how many of its rows are left out: those that the map knows nothing about, safe rows that the
/// set gives a category nevertheless, and rows that too few concepts are foreign to. The same arguments give the
/// same cases on every machine, and a row's cases do not depend on other rows.
///
/// # Errors
/// [`Error::BadInput`] if `options.categories` is 0 or a concept has no name of the kind that is asked for.
pub fn cases(
    recipe: &Recipe,
    labels: &SetLabels,
    rows: &[Row],
    options: AdaptiveOptions,
) -> Result<(Vec<Case>, usize)> {
    if options.categories == 0 {
        return Err(Error::BadInput("adaptive: expected a policy of at least 1 category, got 0".into()));
    }
    let (mut cases, mut left_out) = (Vec::new(), 0);
    for (place, row) in rows.iter().enumerate() {
        let before = cases.len();
        let mut rng = seeded(options.seed, &row.id);
        let mut case = |asked, concepts: Vec<ConceptIdx>, rng: &mut ChaCha8Rng| -> Result<()> {
            cases.push(Case { row: place, asked, policy: policy(recipe, concepts, options.names, rng)? });
            Ok(())
        };
        match row.label {
            Label::Safe if row.categories.is_empty() => {
                let foreign = draw(&foreign(recipe, &[]), options.categories, &mut rng);
                if let Some(foreign) = foreign {
                    case(Asked::Safe, foreign, &mut rng)?;
                }
            }
            Label::Safe | Label::Borderline => {}
            Label::Unsafe => {
                let pool = labels.doubtful(&row.categories).map(|doubtful| foreign(recipe, &doubtful));
                let own = labels.own(&row.categories);
                if let (Some(pool), Some(&own)) = (pool, own.choose(&mut rng))
                    && let Some(mut others) = draw(&pool, options.categories, &mut rng)
                {
                    case(Asked::Foreign, others.clone(), &mut rng)?;
                    others[0] = own;
                    case(Asked::Own, others, &mut rng)?;
                }
            }
        }
        left_out += usize::from(cases.len() == before);
    }
    Ok((cases, left_out))
}

/// Concepts that a row of which `held` may hold is free of: those that neither overlap with them nor are related to a
/// part of them. Only general ones: of the others nobody says that a row is free.
fn foreign(recipe: &Recipe, held: &[ConceptIdx]) -> Vec<ConceptIdx> {
    let parts = held.iter().flat_map(|&concept| &recipe.concepts[concept].covers);
    let doubtful: HashSet<ConceptIdx> =
        parts.flat_map(|&part| recipe.concepts[part].related.iter().copied().chain([part])).collect();
    let general = |&concept: &ConceptIdx| recipe.concepts[concept].general && Some(concept) != recipe.any_harm;
    let free = |&concept: &ConceptIdx| !recipe.concepts[concept].covers.iter().any(|part| doubtful.contains(part));
    (0..recipe.concepts.len()).filter(general).filter(free).collect()
}

/// So many of `pool`, in random order; `None` if it has fewer.
fn draw(pool: &[ConceptIdx], count: usize, rng: &mut ChaCha8Rng) -> Option<Vec<ConceptIdx>> {
    (pool.len() >= count).then(|| pool.sample(rng, count).copied().collect())
}

/// A policy of these concepts in random order, each under one of its names.
fn policy(recipe: &Recipe, mut concepts: Vec<ConceptIdx>, names: Names, rng: &mut ChaCha8Rng) -> Result<Policy> {
    concepts.shuffle(rng);
    let mut policy = Policy::new("adaptive");
    for concept in concepts {
        let concept = &recipe.concepts[concept];
        let names = match names {
            Names::HeldOut => &concept.held_out_names,
            Names::Seen => &concept.names,
        };
        if names.is_empty() {
            return Err(Error::BadInput(format!(
                "recipe: `{}` has no held_out_names; give it at least one",
                concept.id
            )));
        }
        policy = policy.category(Category::new(&concept.id, &names[rng.random_range(0..names.len())]));
    }
    Ok(policy)
}

fn seeded(seed: u64, id: &str) -> ChaCha8Rng {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update("adaptive").chain_update(id);
    ChaCha8Rng::from_seed(digest.finalize().into())
}

#[cfg(test)]
mod tests;
