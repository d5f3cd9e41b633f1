//! Which rows of a source an epoch takes.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::{Judge, Origin, Recipe, Source};
use crate::conversation::Target;
use crate::data::rows::{Label, Row};
use crate::error::Result;

impl Source {
    /// Whether the source uses the row at all, for training or for thresholds.
    pub fn uses(&self, row: &Row) -> bool {
        let chars = || row.prompt.chars().count() + row.response.as_ref().map_or(0, |text| text.chars().count());
        let kind = |kind: &String| *kind == row.source;
        !matches!(&self.origin, Origin::Own(own) if !kind(own))
            && !row.categories.iter().any(|category| self.skip.contains(category))
            && self.max_chars.is_none_or(|limit| chars() <= limit)
    }

    /// The row as the source takes it.
    pub fn view(&self, mut row: Row) -> Row {
        let response = match self.judge {
            Judge::Row => return row,
            Judge::Prompt => None,
            Judge::Text => row.response.take(),
        };
        row.prompt = response.unwrap_or(row.prompt);
        row.response = None;
        row.level = Target::Prompt;
        row
    }

    /// The factor on a row's chance to be drawn: the product over its categories, and that of rows that were `read`.
    fn chance(&self, row: &Row, read: bool) -> f64 {
        let labels: f64 = row.categories.iter().filter_map(|category| self.label_weights.get(category)).product();
        if read { labels * self.read_weight } else { labels }
    }
}

impl Recipe {
    /// The rows of a source that an epoch trains on, as places in `rows`, shuffled. Held-out rows never come; a row
    /// comes again only after all others of its label. The same arguments give the same rows on every machine.
    ///
    /// # Errors
    /// [`Error::BadInput`](crate::Error::BadInput) if the recipe has no such source.
    pub fn epoch(&self, source: &str, rows: &[Row], seed: u64, epoch: u64) -> Result<Vec<usize>> {
        let mut rng = seeded(source, seed, epoch);
        let source = self.source(source)?;
        let usable = |&place: &usize| source.uses(&rows[place]) && !rows[place].is_held_out(self.heldout_fraction);
        let (bad, good): (Vec<usize>, Vec<usize>) =
            (0..rows.len()).filter(usable).partition(|&place| rows[place].label == Label::Unsafe);
        let available = bad.len() + good.len();
        if available == 0 {
            return Ok(Vec::new());
        }
        let wanted = ((available as f64 * source.weight).round() as usize).min(source.limit.unwrap_or(usize::MAX));
        let share = match source.unsafe_share {
            Some(share) if !bad.is_empty() && !good.is_empty() => share,
            _ => bad.len() as f64 / available as f64,
        };
        let wanted_bad = (wanted as f64 * share).round() as usize;
        let chance = |place: usize| source.chance(&rows[place], self.reading(source, &rows[place]).is_some());
        let mut drawn = draw(&bad, wanted_bad, chance, &mut rng);
        drawn.extend(draw(&good, wanted - wanted_bad, chance, &mut rng));
        drawn.shuffle(&mut rng);
        Ok(drawn)
    }
}

/// A generator that differs between sources, seeds and epochs.
fn seeded(source: &str, seed: u64, epoch: u64) -> ChaCha8Rng {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(epoch.to_le_bytes())
        .chain_update(source)
        .finalize();
    ChaCha8Rng::from_seed(digest.into())
}

/// `wanted` of `places`: all of them as often as they fit, then a weighted sample without replacement, where the
/// smallest of `-ln(u) / chance` win (Efraimidis and Spirakis, 2006).
fn draw(places: &[usize], wanted: usize, chance: impl Fn(usize) -> f64, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if places.is_empty() {
        return Vec::new();
    }
    let mut drawn = places.repeat(wanted / places.len());
    let mut keyed: Vec<(f64, usize)> =
        places.iter().map(|&place| (-(1.0 - rng.random::<f64>()).ln() / chance(place), place)).collect();
    keyed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    drawn.extend(keyed.iter().take(wanted % places.len()).map(|&(_, place)| place));
    drawn
}
