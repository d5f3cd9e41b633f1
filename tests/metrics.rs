//! Measures against scikit-learn's, on the rows of `golden/metrics.json` (made by `golden/make_metrics.py`).

use rsafe::measure::metrics::{Counts, auprc, auroc, best_f1, ece};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    labels: Vec<u8>,
    scores: Vec<f32>,
    threshold: f32,
    counts: [usize; 4],
    precision: f64,
    recall: f64,
    f1: f64,
    fpr: f64,
    accuracy: f64,
    auroc: f64,
    auprc: f64,
    best_f1: f64,
    best_threshold: f32,
    ece: f64,
}

impl Case {
    fn close(&self, what: &str, ours: Option<f64>, theirs: f64) {
        let ours = ours.unwrap_or_else(|| panic!("{}: no {what}", self.name));
        assert!((ours - theirs).abs() < 1e-9, "{}: {what} is {ours}, scikit-learn says {theirs}", self.name);
    }
}

#[test]
fn measures_equal_scikit_learns() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    assert!(!cases.is_empty());
    for case in &cases {
        let rows: Vec<_> = case.scores.iter().zip(&case.labels).map(|(&score, &label)| (score, label == 1)).collect();
        let mut counts = Counts::default();
        for &(score, is_unsafe) in &rows {
            counts.add(is_unsafe, score >= case.threshold);
        }
        let Counts { true_positives, false_positives, true_negatives, false_negatives } = counts;
        assert_eq!([true_positives, false_positives, true_negatives, false_negatives], case.counts, "{}", case.name);
        case.close("precision", counts.precision(), case.precision);
        case.close("recall", counts.recall(), case.recall);
        case.close("F1", counts.f1(), case.f1);
        case.close("FPR", counts.fpr(), case.fpr);
        case.close("accuracy", counts.accuracy(), case.accuracy);
        case.close("AUROC", auroc(&rows), case.auroc);
        case.close("AUPRC", auprc(&rows), case.auprc);
        let (highest, threshold) = best_f1(&rows).unwrap();
        case.close("best F1", Some(highest), case.best_f1);
        assert_eq!(threshold, case.best_threshold, "{}", case.name);
        case.close("ECE", ece(&rows), case.ece);
    }
}
