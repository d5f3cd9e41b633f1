//! Intervals, paired tests and operating points against scikit-learn, scipy and statsmodels, on the values of
//! `golden/eval_stats.json` (made by `golden/eval_stats.py`).

use rsafe::Target;
use rsafe::eval::compare::McNemar;
use rsafe::eval::interval::{Bootstrap, Interval};
use rsafe::eval::{EvalOptions, HEADLINES, Judgement, Outcome, Report, Sample};
use rsafe::measure::curve::Curve;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    samples: Vec<Measured>,
    bootstrap: Bootstrapped,
    wilson: Vec<(usize, usize, f64, f64)>,
    mcnemar: Vec<(usize, usize, f64, f64)>,
}

#[derive(Deserialize)]
struct Measured {
    labels: Vec<u8>,
    scores: Vec<f32>,
    /// How often each row was drawn, for each resample.
    draws: Vec<Vec<u32>>,
    /// F1, recall, FPR, accuracy, AUROC and AUPRC of each resample.
    values: Vec<[f64; 6]>,
    intervals: [[f64; 2]; 6],
    recall_at_fpr: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Bootstrapped {
    labels: Vec<u8>,
    scores: Vec<f32>,
    intervals: Intervals,
}

#[derive(Deserialize)]
struct Intervals {
    f1: [f64; 2],
    auroc: [f64; 2],
    auprc: [f64; 2],
    accuracy: [f64; 2],
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/eval_stats.json")).unwrap()
}

fn judgements(labels: &[u8], scores: &[f32]) -> Vec<Judgement> {
    let judged = |(at, (&label, &score)): (usize, (&u8, &f32))| Judgement {
        set: "golden".into(),
        id: format!("row-{at}"),
        asked: None,
        source: "golden".into(),
        level: Target::Prompt,
        is_unsafe: label == 1,
        row_categories: Vec::new(),
        outcome: Outcome::Judged {
            score,
            flagged: score >= 0.5,
            categories: Vec::new(),
            flagged_categories: Vec::new(),
            reasoned_score: None,
            answer_score: None,
            verdict_ms: 1.0,
        },
    };
    labels.iter().zip(scores).enumerate().map(judged).collect()
}

fn close(what: &str, ours: f64, theirs: f64, by: f64) {
    assert!((ours - theirs).abs() < by, "{what} is {ours}, the reference says {theirs}");
}

#[test]
fn measures_of_resampled_rows_and_their_percentiles_equal_the_references() {
    for case in golden().samples {
        let rows = judgements(&case.labels, &case.scores);
        let sample = Sample::of(&rows);
        let ours: Vec<_> = case.draws.iter().map(|draw| sample.headline(draw)).collect();
        for (at, name) in HEADLINES.iter().enumerate().take(6) {
            for (ours, theirs) in ours.iter().zip(&case.values) {
                close(name, ours[at].unwrap(), theirs[at], 1e-9);
            }
            let mut values: Vec<f64> = ours.iter().filter_map(|values| values[at]).collect();
            let Interval(low, high) = Interval::of_percentiles(&mut values).unwrap();
            close(name, low, case.intervals[at][0], 1e-9);
            close(name, high, case.intervals[at][1], 1e-9);
        }
    }
}

#[test]
fn intervals_are_close_to_those_that_scipy_finds_with_draws_of_its_own() {
    let case = golden().bootstrap;
    let rows = judgements(&case.labels, &case.scores);
    let bootstrap = Bootstrap { resamples: 2000, seed: 0 };
    let options = EvalOptions { bootstrap, ..EvalOptions::default() };
    let ours = Report::of("golden", &rows, &options).intervals.unwrap();
    let pairs = [
        ("F1", ours.f1, case.intervals.f1),
        ("AUROC", ours.auroc, case.intervals.auroc),
        ("AUPRC", ours.auprc, case.intervals.auprc),
        ("accuracy", ours.accuracy, case.intervals.accuracy),
    ];
    for (name, ours, [low, high]) in pairs {
        let ours = ours.unwrap();
        close(name, ours.0, low, 0.1 * (high - low));
        close(name, ours.1, high, 0.1 * (high - low));
    }
}

#[test]
fn shares_have_wilsons_interval() {
    for (part, whole, low, high) in golden().wilson {
        let ours = Interval::of_share(part, whole).unwrap();
        close("low", ours.0, low, 1e-9);
        close("high", ours.1, high, 1e-9);
    }
}

#[test]
fn changed_answers_are_tested_as_statsmodels_does() {
    for (fixed, broken, exact, mid) in golden().mcnemar {
        let ours = McNemar::of(fixed, broken);
        close(&format!("exact p of {fixed} and {broken}"), ours.exact_p, exact, 1e-9);
        close(&format!("mid-p of {fixed} and {broken}"), ours.mid_p, mid, 1e-9);
    }
}

#[test]
fn recall_within_a_budget_is_the_most_that_the_roc_curve_allows() {
    for case in golden().samples {
        let rows: Vec<_> = case.scores.iter().zip(&case.labels).map(|(&score, &label)| (score, label == 1)).collect();
        let curve = Curve::of(&rows);
        for (limit, recall) in case.recall_at_fpr {
            let point = curve.at_fpr(limit).unwrap();
            close(&format!("recall at {limit}"), point.recall, recall, 1e-9);
            assert!(point.fpr <= limit);
            let flagged = |is_unsafe| {
                let reached = |score: f32| point.threshold.is_some_and(|threshold| score >= threshold);
                rows.iter().filter(|row| row.1 == is_unsafe && reached(row.0)).count() as f64
                    / rows.iter().filter(|row| row.1 == is_unsafe).count() as f64
            };
            assert_eq!((flagged(true), flagged(false)), (point.recall, point.fpr), "its threshold gives the point");
        }
    }
}
