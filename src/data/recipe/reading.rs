//! Labels by reading: a verdict, the concepts that hold, and those that a text only touches.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::{ConceptIdx, Facts, ReaderLabel, Recipe};
use crate::data::rows::{Label, Row};
use crate::error::{Error, Result};
use crate::files;

impl ReaderLabel {
    /// What a row of our own says of itself.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a code that no concept of the recipe has.
    pub fn of(recipe: &Recipe, row: &Row) -> Result<Self> {
        let find = |codes: &[String]| codes.iter().map(|code| coded(recipe, code, &row.id)).collect::<Result<_>>();
        Ok(Self { label: row.label, holds: find(&row.categories)?, touches: find(&row.touches)? })
    }
}

impl Recipe {
    /// What follows from a reading. A reader names what holds, so all else does not, but for what often holds together
    /// with it, unless the text only touches that. Of a borderline text the concepts that hold are borderline, but for those
    /// that [stand](super::Concept::stands); harm of any kind goes by the verdict.
    pub(super) fn read(&self, reading: &ReaderLabel) -> Facts {
        let absent: Vec<ConceptIdx> = (0..self.fine).filter(|concept| !reading.holds.contains(concept)).collect();
        let mut facts = self.close(&reading.holds, &absent);
        facts.touched = reading.touches.iter().copied().filter(|touched| !reading.holds.contains(touched)).collect();
        facts.negative.extend(&facts.touched);
        let by_verdict = |concept: ConceptIdx| Some(concept) == self.any_harm;
        // A safe text may hold a concept (somebody seeks help): the broader ones are then no more certain than harm is.
        let full = |concept: ConceptIdx| match reading.label {
            Label::Unsafe => true,
            _ => self.concepts[concept]
                .covers
                .iter()
                .any(|&part| self.concepts[part].stands && reading.holds.contains(&part)),
        };
        let (positive, doubtful): (Vec<_>, Vec<_>) = facts.positive.into_iter().partition(|&concept| full(concept));
        facts.positive = positive;
        if reading.label == Label::Borderline {
            facts.borderline = doubtful;
        }
        for list in [&mut facts.positive, &mut facts.negative, &mut facts.borderline] {
            list.retain(|&concept| !by_verdict(concept));
        }
        // What breaks nothing but a policy of its own kind is no harm in general, nor free of it.
        let harms = reading.holds.is_empty() || reading.holds.iter().any(|&concept| self.concepts[concept].general);
        let verdict = match reading.label {
            Label::Safe => Some(&mut facts.negative),
            Label::Borderline if harms => Some(&mut facts.borderline),
            Label::Unsafe if harms => Some(&mut facts.positive),
            _ => None,
        };
        if let Some(list) = verdict {
            list.extend(self.any_harm);
        }
        facts.general_unsafe = reading.label == Label::Unsafe && reading.holds.is_empty();
        for list in [&mut facts.positive, &mut facts.negative, &mut facts.borderline] {
            list.sort_unstable();
            list.dedup();
        }
        facts
    }
}

/// What the readers' labels in a folder's `.tsv` files, whose columns are `source id verdict codes touches`, say together of
/// each row.
pub(super) fn load(recipe: &Recipe, folder: &Path) -> Result<HashMap<String, ReaderLabel>> {
    let mut readings: HashMap<String, Vec<ReaderLabel>> = HashMap::new();
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.extension().is_none_or(|extension| extension != "tsv") {
            continue;
        }
        let text = files::read_text(&path)?;
        for (number, line) in text.lines().enumerate().skip(1) {
            let place = format!("{}, line {}", path.display(), number + 1);
            let (id, reading) = parse(recipe, line, &place)?;
            readings.entry(id).or_default().push(reading);
        }
    }
    Ok(readings.into_iter().map(|(id, readings)| (id, together(readings))).collect())
}

/// What several readers say: the verdict in the middle of theirs, borderline where two there differ, and the concepts that
/// half of them name.
fn together(readings: Vec<ReaderLabel>) -> ReaderLabel {
    let mut verdicts: Vec<Label> = readings.iter().map(|reading| reading.label).collect();
    verdicts.sort_unstable();
    let (low, high) = (verdicts[(verdicts.len() - 1) / 2], verdicts[verdicts.len() / 2]);
    let half = |named: fn(&ReaderLabel) -> &Vec<ConceptIdx>| {
        let by = |concept: &ConceptIdx| readings.iter().filter(|reading| named(reading).contains(concept)).count();
        let all: BTreeSet<ConceptIdx> = readings.iter().flat_map(named).copied().collect();
        all.into_iter().filter(|concept| 2 * by(concept) >= readings.len()).collect::<Vec<_>>()
    };
    let holds = half(|reading| &reading.holds);
    let touches = half(|reading| &reading.touches).into_iter().filter(|concept| !holds.contains(concept)).collect();
    ReaderLabel { label: if low == high { low } else { Label::Borderline }, holds, touches }
}

fn parse(recipe: &Recipe, line: &str, place: &str) -> Result<(String, ReaderLabel)> {
    let bad = |what: String| Error::BadInput(format!("{place}: {what}"));
    let columns: Vec<&str> = line.split('\t').collect();
    let [_, id, verdict, holds, touches] = columns[..] else {
        return Err(bad(format!(
            "expected `source id verdict codes touches` between tabs, got {} columns",
            columns.len()
        )));
    };
    let label = match verdict {
        "S" => Label::Safe,
        "B" => Label::Borderline,
        "U" => Label::Unsafe,
        other => return Err(bad(format!("expected the verdict S, B or U, got {other:?}"))),
    };
    let find = |codes: &str| -> Result<Vec<ConceptIdx>> {
        codes.split(',').filter(|code| !code.is_empty()).map(|code| coded(recipe, code, place)).collect()
    };
    Ok((id.to_owned(), ReaderLabel { label, holds: find(holds)?, touches: find(touches)? }))
}

fn coded(recipe: &Recipe, code: &str, place: &str) -> Result<ConceptIdx> {
    let is = |known: &super::Concept| known.code.as_deref() == Some(code);
    recipe.concepts.iter().position(is).ok_or_else(|| {
        let codes: HashSet<&str> = recipe.concepts.iter().filter_map(|concept| concept.code.as_deref()).collect();
        let mut codes: Vec<&str> = codes.into_iter().collect();
        codes.sort_unstable();
        Error::BadInput(format!("{place}: expected codes among {}, got {code:?}", codes.join(" ")))
    })
}
