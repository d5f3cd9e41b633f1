//! Two runs on the same rows: what differs, and whether it is more than chance.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use indexmap::IndexMap;
use serde::Serialize;

use super::interval::{Bootstrap, Interval};
use super::{HEADLINES, Headline, Judgement, Sample};
use crate::error::{Error, Result};
use crate::files;

/// What two runs said of the rows of one set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The set's name, or `all`.
    pub name: String,
    pub rows: usize,
    pub unsafe_rows: usize,
    /// One for each of [`HEADLINES`], at each run's own decisions.
    pub differences: Vec<Difference>,
    /// Which rows one run got right and the other wrong: all rows, unsafe ones, safe ones.
    pub right: McNemar,
    pub right_unsafe: McNemar,
    pub right_safe: McNemar,
    /// The rows that the runs decided differently, in the order of the first run.
    pub changed: Vec<Changed>,
}

/// A measure in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub measure: &'static str,
    pub before: Option<f64>,
    pub after: Option<f64>,
    /// `after` − `before`.
    pub difference: Option<f64>,
    /// The difference's 95 % percentile interval, both runs measured on the same resampled rows.
    pub interval: Option<Interval>,
    /// The chance of a difference at least this large if the runs were equally good. Recall, FPR and accuracy: McNemar's
    /// mid-p test. Others: the paired bootstrap, twice the smaller share of resamples on either side of 0.
    pub p: Option<f64>,
}

/// McNemar's test (1947) on pairs of answers, with the binomial distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    /// Wrong before, right after.
    pub fixed: usize,
    /// Right before, wrong after.
    pub broken: usize,
    /// Two-sided exact p, which is too large on average.
    pub exact_p: f64,
    /// Two-sided mid-p (Fagerland, Lydersen, Laake 2013).
    pub mid_p: f64,
}

/// A row that the runs decided differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// The row's id, and behind it in brackets how it was asked, where rows are asked in several ways.
    pub id: String,
    #[serde(rename = "unsafe")]
    pub is_unsafe: bool,
    pub before: Seen,
    pub after: Seen,
}

/// What one run said of a row; `None` where it has no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seen {
    pub flagged: Option<bool>,
    pub score: Option<f32>,
}

impl McNemar {
    /// The test of `fixed` against `broken` pairs.
    pub fn of(fixed: usize, broken: usize) -> Self {
        let (fewer, pairs) = (fixed.min(broken), fixed + broken);
        // ln of the binomial coefficient and of 2⁻ⁿ, step by step: the numbers themselves do not fit.
        let mut ln_mass = -(pairs as f64) * std::f64::consts::LN_2;
        let (mut tail, mut mass) = (0.0, 0.0);
        for k in 0..=fewer {
            if k > 0 {
                ln_mass += ((pairs - k + 1) as f64 / k as f64).ln();
            }
            mass = ln_mass.exp();
            tail += mass;
        }
        Self { fixed, broken, exact_p: (2.0 * tail).min(1.0), mid_p: (2.0 * tail - mass).min(1.0) }
    }

    fn between<'a>(pairs: impl Iterator<Item = &'a Pair<'a>>) -> Self {
        let right = |judgement: &Judgement| judgement.flagged() == judgement.is_unsafe;
        let (mut fixed, mut broken) = (0, 0);
        for (before, after) in pairs {
            match (right(before), right(after)) {
                (false, true) => fixed += 1,
                (true, false) => broken += 1,
                _ => {}
            }
        }
        Self::of(fixed, broken)
    }
}

impl Changed {
    /// Whether the decision became right; not so where the run had no verdict.
    pub fn is_fixed(&self) -> bool {
        self.after.flagged == Some(self.is_unsafe)
    }
}

type Pair<'a> = (&'a Judgement, &'a Judgement);

/// The judgements of a run, as `rsafe eval --out` wrote them.
///
/// # Errors
/// [`Error::Io`]; [`Error::BadInput`] names the line that is none, or the row that comes twice.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Judgement>> {
    let path = path.as_ref();
    let reader = BufReader::new(files::open(path, files::Kind::Named)?);
    let mut ids = HashMap::new();
    let mut judgements = Vec::new();
    for (at, line) in reader.lines().enumerate() {
        let line = line.map_err(Error::io(path))?;
        if line.trim().is_empty() {
            continue;
        }
        let bad = |what: String| Error::BadInput(format!("{}, line {}: {what}", path.display(), at + 1));
        let judgement: Judgement = serde_json::from_str(&line)
            .map_err(|error| bad(format!("expected a line of `rsafe eval --out`: {error}")))?;
        let id = named(&judgement);
        if let Some(first) = ids.insert((judgement.set.clone(), id.clone()), at + 1) {
            return Err(bad(format!("the row {id:?} was on line {first} already; compare one run at a time")));
        }
        judgements.push(judgement);
    }
    if judgements.is_empty() {
        return Err(Error::BadInput(format!("{}: the file has no rows", path.display())));
    }
    Ok(judgements)
}

/// Compares two runs: each set on its own, and all rows if there is more than one set.
///
/// # Errors
/// [`Error::BadInput`] if the runs have not the same ids with the same labels; it names some that differ.
pub fn compare(before: &[Judgement], after: &[Judgement], bootstrap: Bootstrap) -> Result<Vec<Comparison>> {
    let pairs = paired(before, after)?;
    let mut sets: IndexMap<&str, Vec<Pair>> = IndexMap::new();
    for pair in &pairs {
        sets.entry(&pair.0.set).or_default().push(*pair);
    }
    let several = sets.len() > 1;
    let mut comparisons: Vec<_> = sets.iter().map(|(set, pairs)| Comparison::of(set, pairs, bootstrap)).collect();
    if several {
        comparisons.push(Comparison::of("all", &pairs, bootstrap));
    }
    Ok(comparisons)
}

/// What tells a judgement from the others of its run.
type Key<'a> = (&'a str, Option<&'a str>, &'a str);

fn key(judgement: &Judgement) -> Key<'_> {
    (&judgement.set, judgement.asked.as_deref(), &judgement.id)
}

/// A row as messages and reports call it.
fn named(judgement: &Judgement) -> String {
    let Judgement { id, asked, .. } = judgement;
    asked.as_ref().map_or_else(|| id.clone(), |asked| format!("{id} ({asked})"))
}

fn paired<'a>(before: &'a [Judgement], after: &'a [Judgement]) -> Result<Vec<Pair<'a>>> {
    let by_key = |run: &'a [Judgement]| -> HashMap<Key<'a>, &'a Judgement> {
        run.iter().map(|judgement| (key(judgement), judgement)).collect()
    };
    let (first, second) = (by_key(before), by_key(after));
    let lacking = |run: &HashMap<Key, &Judgement>, other: &[Judgement]| -> Vec<String> {
        other.iter().filter(|judgement| !run.contains_key(&key(judgement))).map(named).collect()
    };
    let (only_after, only_before) = (lacking(&first, after), lacking(&second, before));
    if !only_after.is_empty() || !only_before.is_empty() {
        return Err(Error::BadInput(format!(
            "the runs are not of the same rows: the first lacks {}; the second lacks {}; judge the same files with both",
            some_of(&only_after),
            some_of(&only_before)
        )));
    }
    let pairs: Vec<Pair> = before.iter().map(|judgement| (judgement, second[&key(judgement)])).collect();
    let relabelled = pairs.iter().filter(|(before, after)| before.is_unsafe != after.is_unsafe);
    let relabelled: Vec<String> = relabelled.map(|(before, _)| named(before)).collect();
    if !relabelled.is_empty() {
        return Err(Error::BadInput(format!(
            "the runs have other labels for {}; judge the same files with both",
            some_of(&relabelled)
        )));
    }
    Ok(pairs)
}

/// `2 rows: "a", "b"`; of many rows the first few.
fn some_of(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(|id| format!("{id:?}")).collect();
    match ids.len() {
        0 => "none".into(),
        1 => format!("1 row: {}", shown[0]),
        rows if rows <= SHOWN => format!("{rows} rows: {}", shown.join(", ")),
        rows => format!("{rows} rows: {}, …", shown.join(", ")),
    }
}

impl Comparison {
    fn of(name: &str, pairs: &[Pair], bootstrap: Bootstrap) -> Self {
        let before = Sample::of(pairs.iter().map(|pair| pair.0));
        let after = Sample::of(pairs.iter().map(|pair| pair.1));
        let right = McNemar::between(pairs.iter());
        let right_unsafe = McNemar::between(pairs.iter().filter(|pair| pair.0.is_unsafe));
        let right_safe = McNemar::between(pairs.iter().filter(|pair| !pair.0.is_unsafe));
        let mut resampled = bootstrap.values(pairs.len(), |times| minus(after.headline(times), before.headline(times)));
        let (first, second) = (before.once(), after.once());
        let change = minus(second, first);
        let differences = HEADLINES.iter().enumerate().map(|(at, &measure)| Difference {
            measure,
            before: first[at],
            after: second[at],
            difference: change[at],
            p: change[at].and_then(|_| match measure {
                "recall" => Some(right_unsafe.mid_p),
                "FPR" => Some(right_safe.mid_p),
                "accuracy" => Some(right.mid_p),
                _ => two_sided(&resampled[at]),
            }),
            interval: Interval::of_percentiles(&mut resampled[at]),
        });
        let differences = differences.collect();
        let seen = |judgement: &Judgement| Seen {
            flagged: judgement.is_judged().then(|| judgement.flagged()),
            score: judgement.is_judged().then(|| judgement.score()),
        };
        let changed = pairs.iter().filter_map(|(before, after)| {
            let changed =
                Changed { id: named(before), is_unsafe: before.is_unsafe, before: seen(before), after: seen(after) };
            (changed.before.flagged != changed.after.flagged).then_some(changed)
        });
        Self {
            name: name.to_owned(),
            rows: pairs.len(),
            unsafe_rows: pairs.iter().filter(|pair| pair.0.is_unsafe).count(),
            differences,
            right,
            right_unsafe,
            right_safe,
            changed: changed.collect(),
        }
    }
}

fn minus(a: Headline, b: Headline) -> Headline {
    std::array::from_fn(|at| Some(a[at]? - b[at]?))
}

/// Twice the smaller share of values at or beyond 0, at most 1. The observed sample counts as one more, so that few
/// resamples do not promise certainty (Davison and Hinkley 1997, 4.2).
fn two_sided(values: &[f64]) -> Option<f64> {
    let (low, high) =
        (values.iter().filter(|value| **value <= 0.0).count(), values.iter().filter(|value| **value >= 0.0).count());
    let share = (low.min(high) + 1) as f64 / (values.len() + 1) as f64;
    (!values.is_empty()).then_some((2.0 * share).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::report::tests::{failed, judged};

    fn run(judgements: impl IntoIterator<Item = Judgement>) -> Vec<Judgement> {
        let named = |(at, judgement)| Judgement { id: format!("row-{at}"), ..judgement };
        judgements.into_iter().enumerate().map(named).collect()
    }

    #[test]
    fn a_run_is_equal_to_itself() {
        let rows = run((0..40).map(|at| judged(at % 2 == 0, at as f32 / 40.0, at > 20)));
        let comparisons = compare(&rows, &rows, Bootstrap { resamples: 50, seed: 0 }).unwrap();
        assert_eq!(comparisons.len(), 1);
        assert!(comparisons[0].changed.is_empty());
        for difference in &comparisons[0].differences {
            assert_eq!((difference.difference, difference.p), (Some(0.0), Some(1.0)), "{difference:?}");
            assert_eq!(difference.interval, Some(Interval(0.0, 0.0)));
        }
    }

    #[test]
    fn a_run_that_finds_more_differs_in_the_rows_it_found() {
        let before = run((0..40).map(|at| judged(at % 2 == 0, 0.4, at == 0 || at == 1)));
        let mut after = run((0..40).map(|at| judged(at % 2 == 0, if at % 2 == 0 { 0.8 } else { 0.2 }, at % 2 == 0)));
        after.reverse();
        let comparison = &compare(&before, &after, Bootstrap { resamples: 200, seed: 0 }).unwrap()[0];
        assert_eq!((comparison.right_unsafe.fixed, comparison.right_safe.fixed, comparison.right.broken), (19, 1, 0));
        assert_eq!(comparison.changed.len(), 20);
        assert!(comparison.changed.iter().all(Changed::is_fixed));
        let auroc = comparison.differences.iter().find(|difference| difference.measure == "AUROC").unwrap();
        assert_eq!((auroc.before, auroc.after), (Some(0.5), Some(1.0)));
        assert!(auroc.p.unwrap() < 0.02, "{auroc:?}");
    }

    #[test]
    fn a_verdict_that_is_lost_is_a_change_for_the_worse() {
        let before = run([judged(false, 0.1, false), judged(true, 0.9, true)]);
        let after = run([failed(false), judged(true, 0.9, true)]);
        let comparison = &compare(&before, &after, Bootstrap { resamples: 0, seed: 0 }).unwrap()[0];
        assert_eq!((comparison.right_safe.broken, comparison.changed.len()), (1, 1));
        assert!(!comparison.changed[0].is_fixed());
        assert!(comparison.differences.iter().all(|difference| difference.interval.is_none()));
    }

    #[test]
    fn a_row_is_compared_with_itself_asked_in_the_same_way_and_from_the_same_set() {
        let asked = |set: &str, asked: Option<&str>, flagged| Judgement {
            set: set.into(),
            asked: asked.map(str::to_owned),
            ..run([judged(true, 0.5, flagged)]).remove(0)
        };
        let before = [asked("a", None, true), asked("a", Some("spacing"), false), asked("b", None, true)];
        let after = [asked("b", None, true), asked("a", Some("spacing"), true), asked("a", None, true)];
        let comparisons = compare(&before, &after, Bootstrap { resamples: 0, seed: 0 }).unwrap();
        assert_eq!(comparisons.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "b", "all"]);
        let changed: Vec<&str> = comparisons[2].changed.iter().map(|changed| changed.id.as_str()).collect();
        assert_eq!(changed, ["row-0 (spacing)"]);
    }

    #[test]
    fn rows_that_one_run_lacks_are_named_for_either_side() {
        let before = run((0..3).map(|_| judged(true, 0.9, true)));
        let mut after = before.clone();
        after[0].id = "other".into();
        let message = compare(&before, &after, Bootstrap::default()).unwrap_err().to_string();
        assert!(message.contains("the first lacks 1 row: \"other\""), "{message}");
        assert!(message.contains("the second lacks 1 row: \"row-0\""), "{message}");
        let mut after = before.clone();
        after[1].is_unsafe = false;
        let message = compare(&before, &after, Bootstrap::default()).unwrap_err().to_string();
        assert!(message.contains("other labels for 1 row: \"row-1\""), "{message}");
    }
}
