//! What does not grow in a stream: names of fields, and what stands beside the choices. It is judged at once, all of a place
//! again when something new comes there.

use std::collections::{BTreeSet, HashMap};

use crate::serve::errors::Problem;
use crate::serve::judge::{Judge, Stop};
use crate::serve::walk::{Piece, as_read};

/// Texts of one place, above which a stream is given up.
const MOST: usize = 64;

#[derive(Default)]
pub struct Notes {
    /// What came, by its path, and the texts of each place.
    seen: HashMap<(String, bool), String>,
    places: HashMap<String, Vec<String>>,
}

impl Notes {
    /// # Errors
    /// For a text that does not pass, and for one that changes: it would grow unseen.
    pub async fn read(&mut self, judge: &Judge, pieces: impl IntoIterator<Item = Piece>) -> Result<(), Stop> {
        let mut changed = BTreeSet::new();
        for Piece { place, path, text, named } in pieces {
            let before = self.seen.get(&(path.clone(), named));
            if before == Some(&text) {
                continue;
            }
            let texts = self.places.entry(place.clone()).or_default();
            if before.is_some() {
                return Err(Problem::upstream(format!("the upstream sent `{place}`, which changes")).into());
            }
            if texts.len() >= MOST {
                return Err(Problem::upstream(format!("the upstream sent more than {MOST} texts as `{place}`")).into());
            }
            texts.push(text.clone());
            self.seen.insert((path, named), text);
            changed.insert(place);
        }
        for place in changed {
            let texts = self.places.get(&place).into_iter().flatten().cloned();
            judge.answered(&[], as_read(texts)).await?;
        }
        Ok(())
    }
}
