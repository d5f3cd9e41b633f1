//! The rows of an export: conversations, each with a policy and what is true of it under that policy.

use std::path::Path;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::conversation::Conversation;
use crate::data::recipe::{Facts, Recipe};
use crate::data::rows::{Row, labelled_rows};
use crate::error::Result;
use crate::policy::Policy;
use crate::train::policies::{Policies, truth_under};
use crate::train::reward::Truth;

/// A conversation to judge.
pub struct Judged {
    /// The row's.
    pub id: String,
    /// The data set's name.
    pub source: String,
    pub conversation: Conversation,
    pub policy: Policy,
    pub truth: Truth,
}

/// What is learnt from, and what nobody learns from.
#[derive(Default)]
pub struct Split {
    pub train: Vec<Judged>,
    pub held_out: Vec<Judged>,
}

impl Split {
    /// The rows of one epoch of a recipe, each under a policy that is drawn for it as in supervised training, the
    /// held-out rows under category names that training never shows. The same arguments give the same rows on every
    /// machine.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::BadInput`] for files that are missing or hold bad rows.
    pub fn of_recipe(recipe: &Recipe, folder: &Path, seed: u64) -> Result<Self> {
        let mut sources = Vec::new();
        let mut frequency = vec![0; recipe.concepts.len()];
        for name in recipe.sources.keys() {
            let rows: Vec<Row> = recipe.rows(name, folder)?.collect::<Result<_>>()?;
            let facts: Vec<Facts> = rows.iter().map(|row| recipe.facts(name, row)).collect::<Result<_>>()?;
            facts.iter().flat_map(|facts| &facts.positive).for_each(|&concept| frequency[concept] += 1);
            sources.push((name, rows, facts));
        }
        let policies = Policies { recipe, frequency };
        let mut split = Self::default();
        for (name, rows, facts) in &sources {
            let source = recipe.source(name)?;
            let draw = |turn: usize, place: usize, held_out: bool| {
                let row = &rows[place];
                let rng = &mut seeded(seed, &format!("{name} {turn} {}", row.id));
                let (policy, truth) = policies.judge(source, row, &facts[place], held_out, rng)?;
                Some(judged(name, row, policy, truth))
            };
            let trained = recipe.epoch(name, rows, seed, 0)?.into_iter().enumerate();
            split.train.extend(trained.filter_map(|(turn, place)| draw(turn, place, false)));
            let held_out = (0..rows.len()).filter(|&place| rows[place].is_held_out(recipe.heldout_fraction));
            split.held_out.extend(held_out.filter_map(|place| draw(0, place, true)));
        }
        Ok(split)
    }

    /// Labelled rows under one policy: those of a file, or of all `.jsonl` and `.jsonl.gz` files of a
    /// folder. A share of them, chosen by their ids, is held out. What holds is [`truth_under`] the policy.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::BadInput`] for files that are missing or hold bad rows.
    pub fn of_policy(policy: &Policy, data: &Path, held_out: f64) -> Result<Self> {
        let (held, trained): (Vec<Row>, Vec<Row>) =
            labelled_rows(&[data])?.into_iter().partition(|row| row.is_held_out(held_out));
        let under = |rows: Vec<Row>| {
            rows.iter().map(|row| judged(&row.source, row, policy.clone(), truth_under(policy, row))).collect()
        };
        Ok(Self { train: under(trained), held_out: under(held) })
    }

    /// Both parts in random order, cut to so many rows.
    pub fn sampled(mut self, train: usize, held_out: usize, seed: u64) -> Self {
        for (part, rows) in [(&mut self.train, train), (&mut self.held_out, held_out)] {
            part.shuffle(&mut seeded(seed, "order"));
            part.truncate(rows);
        }
        self
    }
}

fn judged(source: &str, row: &Row, policy: Policy, truth: Truth) -> Judged {
    Judged { id: row.id.clone(), source: source.to_owned(), conversation: row.conversation(), policy, truth }
}

/// A generator that differs between seeds and purposes.
fn seeded(seed: u64, purpose: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose).finalize().into())
}
