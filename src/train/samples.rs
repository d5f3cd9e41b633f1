//! The rows of a recipe as tokens, with what is known of them.

use std::path::Path;

use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::evidence::Lexicon;
use super::owned;
use super::padding::Padding;
use super::sample::Sample;
use super::topics::Topics;
use crate::data::recipe::{OwnerSource, Recipe};
use crate::data::rows::Row;
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// The recipe's rows, tokenised: by source, and those held out.
pub struct Samples<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) sources: Vec<(&'a str, Vec<Row>, Vec<Sample>)>,
    /// With the name of their source.
    pub(super) held_out: Vec<(&'a str, Row, Sample)>,
    /// By source: labelled under owners' policies, those of one owner together.
    owned: Vec<(&'a OwnerSource, Vec<Vec<Sample>>)>,
}

impl<'a> Samples<'a> {
    pub(super) fn load(recipe: &'a Recipe, data: &Path, seed: u64, tokenizer: &Tokenizer) -> Result<Self> {
        let mut sources = Vec::new();
        let mut held_out = Vec::new();
        for name in recipe.sources.keys() {
            let mut rows = Vec::new();
            let mut samples = Vec::new();
            for row in recipe.rows(name, data)? {
                let row = row?;
                let Some(sample) = Sample::of(&row, recipe.facts(name, &row)?, tokenizer)? else { continue };
                if row.is_held_out(recipe.heldout_fraction) {
                    held_out.push((name.as_str(), row, sample));
                } else {
                    rows.push(row);
                    samples.push(sample);
                }
            }
            sources.push((name.as_str(), rows, samples));
        }
        held_out.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut owned = Vec::new();
        for source in recipe.owners.values() {
            owned.push((source, owned::samples(recipe, source, data, tokenizer)?));
        }
        Ok(Self { recipe, sources, held_out, owned })
    }

    /// How often each concept holds.
    pub(super) fn frequency(&self, concepts: usize) -> Vec<usize> {
        let mut counts = vec![0; concepts];
        let rows = self.sources.iter().flat_map(|(_, _, samples)| samples);
        rows.flat_map(|sample| &sample.facts.positive).for_each(|&concept| counts[concept] += 1);
        counts
    }

    pub(super) fn lexicon(&self, vocab_size: usize, concepts: usize) -> Lexicon {
        let rows = self
            .sources
            .iter()
            .flat_map(|(_, _, samples)| samples)
            .map(|s| (s.judged.as_slice(), s.facts.positive.as_slice(), s.facts.general_unsafe));
        Lexicon::count(vocab_size, concepts, rows)
    }

    pub(super) fn topics(&self, tokenizer: &Tokenizer) -> Result<Topics<'_>> {
        Topics::among(self.sources.iter().flat_map(|(_, _, samples)| samples), tokenizer)
    }

    /// What texts are padded with.
    pub(super) fn padding(&self) -> Padding<'_> {
        Padding::among(self.sources.iter().map(|(_, _, samples)| samples.as_slice()), self.recipe.any_harm)
    }

    /// The rows of an epoch in random order, each as its source's place and its own there; never none.
    pub(super) fn epoch(&self, seed: u64, epoch: u64) -> Result<Vec<(usize, usize)>> {
        let mut order = Vec::new();
        for (source, (name, rows, _)) in self.sources.iter().enumerate() {
            order.extend(self.recipe.epoch(name, rows, seed, epoch)?.into_iter().map(|row| (source, row)));
        }
        if order.is_empty() {
            return Err(Error::BadInput("the recipe's sources hold no row to train on".into()));
        }
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ (epoch + 1)));
        Ok(order)
    }

    /// Owners with their texts in an epoch, in random order.
    pub(super) fn owners(&self, seed: u64, epoch: u64) -> Vec<&[Sample]> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.rotate_left(16) ^ (epoch + 1));
        let mut order: Vec<&[Sample]> = Vec::new();
        for (source, groups) in &self.owned {
            let wanted = (groups.len() as f64 * source.weight).round() as usize;
            let whole = wanted.checked_div(groups.len()).unwrap_or(0);
            order.extend((0..whole).flat_map(|_| groups).map(Vec::as_slice));
            order.extend(groups.sample(&mut rng, wanted - whole * groups.len()).map(Vec::as_slice));
        }
        order.shuffle(&mut rng);
        order
    }
}
