//! Calibration of a bundle on rows that were held out of its training: scalings, thresholds, operating curves, and the
//! band in which scores leave doubt.

mod adopt;
mod drawn;
mod judged;
mod scaling;
mod thresholds;

use std::path::Path;

pub use adopt::adopt;
use pollster::block_on;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bundle::{Bundle, Manifest, save_manifest};
use crate::conversation::Target;
use crate::data::recipe::{Facts, Recipe, UnsafeMeans};
use crate::data::rows::{Label, Row};
use crate::error::{Error, Result};
use crate::guard::{Guard, LoadOptions, Reasoning, Request};
use crate::measure::curve::Scored;
use crate::measure::metrics;
use crate::policy::Policy;
use crate::train::own_policy::OwnPolicy;
use crate::verdict::{self, Operating, Thresholds};
use crate::workers::Workers;
use drawn::Drawn;
use judged::{Judged, PRIOR};
use scaling::{logit, platt};

/// Held-out rows, at most, of a source that speaks of one kind of harm only.
const ROWS_OF_ONE_KIND: usize = 120;
const SEED: u64 = 1;
/// Rows that are scored side by side.
const CHUNK: usize = 64;

/// What was measured and written.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Held-out rows whose label says whether they break the bundle's own policy.
    pub rows: usize,
    /// F1 of the decisions under the bundle's own policy, where a quarter of the texts are unsafe.
    pub f1: f64,
    pub auroc: Option<f64>,
    /// Under drawn policies whose names training showed; `None` if the rows cannot tell.
    pub seen: Option<Measured>,
    /// The same rows under policies whose names it never showed.
    pub unseen: Option<Measured>,
    pub calibration: verdict::Calibration,
    pub thresholds: Thresholds,
    pub operating: Operating,
}

/// A guard under policies that are not its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    pub rows: usize,
    /// At the threshold for such policies, where a quarter of the texts break theirs.
    pub f1: f64,
    pub auroc: f64,
}

/// A row under a drawn policy.
struct Other {
    target: Target,
    unseen: bool,
    scored: Scored,
}

/// A row that was never trained on.
struct HeldOut {
    row: Row,
    facts: Facts,
    /// Whether its label says what is harmful in general.
    speaks: bool,
    /// Policies with names that training showed, and with names that it never did.
    drawn: [Option<Drawn>; 2],
}

/// Scores the rows that the recipe holds out, under the bundle's own policy and under drawn ones. From these scores come,
/// and go into the bundle's manifest:
///
/// - a scaling for prompts and one for responses, after which a score is the probability that a text is unsafe where a
///   quarter of them are; that of a category that stands for harm of any kind and the others hold each other back
///   ([`verdict::Calibration::catch_all`]);
/// - the threshold with the highest F1, or the lowest that is as good but for a hundredth; one for each category of the
///   policy, which as many safe texts reach as reach the others', unless a single one for all decides better by more than
///   that; and the band of scores that are often wrong;
/// - a threshold for policies other than the bundle's, chosen on small ones without a category that catches all;
/// - the operating curves that a strictness moves along;
/// - a self-test, where the bundle has none.
///
/// # Errors
/// What the recipe, the rows or the bundle have wrong; [`Error::BadInput`] if no rows of both labels are held out.
pub fn calibrate(folder: &Path, recipe: &Recipe, data: &Path, mut on_row: impl FnMut(usize)) -> Result<Calibration> {
    let bundle = Bundle::open(folder)?;
    let mut manifest = bundle.manifest().clone();
    let own_policy = OwnPolicy::new(block_on(bundle.policy())?, recipe);
    // Scores as the model gives them, but for a catch-all.
    let plain = verdict::Calibration { catch_all: own_policy.catch_all(recipe), ..Default::default() };
    let options = LoadOptions::default().allow_untested(true);
    let guard = block_on(Guard::load(bundle.with_calibration(plain.clone()), options))?;
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let rows: Vec<HeldOut> = held_out(recipe, data)?
        .into_iter()
        .map(|(row, facts, speaks)| {
            let drawn = [false, true].map(|unseen| drawn::draw(recipe, &facts, unseen, &mut rng));
            HeldOut { row, facts, speaks, drawn }
        })
        .collect();
    let (mut judged, mut others) = (Vec::<Judged>::new(), Vec::<Other>::new());
    for (own, under_drawn) in scored(&rows, |row| block_on(score(&guard, &own_policy, row)), &mut on_row)? {
        judged.push(own);
        others.extend(under_drawn);
    }

    let general = |judged: &[Judged], target: Option<Target>| -> Vec<Scored> {
        let rows = judged.iter().filter(|row| target.is_none_or(|target| row.target == target));
        rows.filter_map(|row| Some((row.score, row.is_unsafe?))).collect()
    };
    let calibration = verdict::Calibration {
        prompt: platt(&general(&judged, Some(Target::Prompt))),
        response: platt(&general(&judged, Some(Target::Response))),
        ..plain
    };
    let scale = |score: &mut f32, target| *score = calibration.scaling(target).probability(logit(*score));
    for row in &mut judged {
        scale(&mut row.score, row.target);
        row.categories.iter_mut().for_each(|score| scale(score, row.target));
    }
    others.iter_mut().for_each(|other| scale(&mut other.scored.0, other.target));

    let under_others: Vec<Scored> = others.iter().map(|other| other.scored).collect();
    let custom = thresholds::best_f1(&under_others, PRIOR).map(|(_, threshold)| threshold);
    let measured = |unseen: bool| {
        let rows: Vec<Scored> = others.iter().filter(|other| other.unseen == unseen).map(|it| it.scored).collect();
        let (f1, auroc) = (thresholds::f1_at(&rows, custom?, PRIOR)?, metrics::auroc(&rows)?);
        Some(Measured { rows: rows.len(), f1, auroc })
    };
    let (seen, unseen) = (measured(false), measured(true));
    manifest.calibration = calibration;
    manifest.thresholds.custom = custom;
    manifest.operating = Some(Operating { custom: thresholds::curve(&under_others), ..Operating::default() });
    let own = under_own(guard.policy(), &judged, &mut manifest)?;
    if manifest.self_test.is_none() {
        manifest.self_test = Some(block_on(guard.known_answers(guard.policy(), manifest.template))?);
    }
    save_manifest(folder, &manifest)?;
    Ok(Calibration { seen, unseen, ..own })
}

/// What `score` gives for each of the rows, in their order.
fn scored<T: Sync, R: Send>(
    rows: &[T],
    score: impl Fn(&T) -> Result<R> + Sync,
    mut on_row: impl FnMut(usize),
) -> Result<Vec<R>> {
    let workers = Workers::new()?;
    let mut scored = Vec::with_capacity(rows.len());
    for rows in rows.chunks(CHUNK) {
        for row in workers.map(rows, &score) {
            scored.push(row?);
        }
        on_row(scored.len());
    }
    Ok(scored)
}

/// Thresholds and the operating curve under a bundle's own policy, put into its manifest, where other policies' stay.
fn under_own(policy: &Policy, judged: &[Judged], manifest: &mut Manifest) -> Result<Calibration> {
    let place = |id: &String| policy.categories.iter().position(|category| category.id == *id);
    let catch_all = manifest.calibration.catch_all.as_ref().and_then(place);
    let own = thresholds::own(judged, catch_all).ok_or_else(|| {
        let what = "the held-out rows have one label only; hold out more of them, or give more rows";
        Error::BadInput(what.into())
    })?;
    let general: Vec<Scored> = judged.iter().filter_map(|row| Some((row.score, row.is_unsafe?))).collect();
    let categories = policy.categories.iter().zip(&own.categories);
    manifest.thresholds = Thresholds {
        global: own.global,
        categories: categories.map(|(category, threshold)| (category.id.clone(), *threshold)).collect(),
        custom: manifest.thresholds.custom,
        uncertain: thresholds::band(&general, own.global),
    };
    let operating = Operating { own: own.curve, ..manifest.operating.take().unwrap_or_default() };
    manifest.operating = Some(operating.clone());
    Ok(Calibration {
        rows: general.len(),
        f1: own.f1,
        auroc: metrics::auroc(&general),
        seen: None,
        unseen: None,
        calibration: manifest.calibration.clone(),
        thresholds: manifest.thresholds.clone(),
        operating,
    })
}

/// A row under the bundle's own policy, and under those drawn for it.
async fn score(guard: &Guard, own_policy: &OwnPolicy, held_out: &HeldOut) -> Result<(Judged, Vec<Other>)> {
    let HeldOut { row, facts, speaks, drawn } = held_out;
    let request = Request::new(row.conversation()).reasoning(Reasoning::Never);
    let verdict = guard.check(&request).await?;
    let applies = own_policy.applies(facts).any(|applies| applies == Some(true));
    // What a reader found safe or borderline may still be what a category is about: somebody is in crisis.
    let is_unsafe = match (row.label, applies) {
        (Label::Unsafe, _) | (Label::Borderline, true) => Some(true),
        (Label::Safe, false) => Some(false),
        (Label::Safe, true) | (Label::Borderline, false) => None,
    };
    let scores: Vec<f32> = verdict.categories.iter().map(|category| category.score).collect();
    let all = scores.len() == own_policy.policy().categories.len();
    let own = Judged {
        target: row.level,
        is_unsafe: is_unsafe.filter(|_| *speaks),
        score: verdict.score,
        categories: if all { scores } else { Vec::new() },
    };
    let mut others = Vec::new();
    for (drawn, unseen) in drawn.iter().zip([false, true]) {
        let Some(drawn) = drawn else { continue };
        let verdict = guard.check(&request.clone().policy(&drawn.policy)).await?;
        others.push(Other { target: row.level, unseen, scored: (verdict.score, drawn.is_broken) });
    }
    Ok((own, others))
}

/// The held-out rows with what is known of them, and whether their labels say what is harmful in general.
fn held_out(recipe: &Recipe, data: &Path) -> Result<Vec<(Row, Facts, bool)>> {
    let mut rows = Vec::new();
    for (name, source) in &recipe.sources {
        let speaks = source.unsafe_means == UnsafeMeans::General;
        let mut left = if speaks { usize::MAX } else { ROWS_OF_ONE_KIND };
        for row in recipe.rows(name, data)? {
            let row = row?;
            if left > 0 && row.is_held_out(recipe.heldout_fraction) {
                let facts = recipe.facts(name, &row)?;
                rows.push((row, facts, speaks));
                left -= 1;
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_of_the_embedded_policy_is_a_concept_of_the_recipe() {
        let recipe = Recipe::load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/rsafe-mini/recipe.yaml")).unwrap();
        let policy = Policy::builtin("general").unwrap();
        let found: Vec<_> = policy.categories.iter().map(|category| recipe.named(&category.name)).collect();
        assert!(found.iter().all(Option::is_some), "{found:?}");
        assert_eq!(found.last().copied().flatten(), recipe.any_harm);
    }
}
