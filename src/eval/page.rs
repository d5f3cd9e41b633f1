//! Reports of runs and of comparisons as pages. Rows appear by id, label and score, never by text.

mod charts;
mod comparison;

pub use comparison::comparison_page;

use super::interval::Interval;
use super::{Flags, Judgement, Measures, Outcome, Report};
use crate::conversation::Target;
use crate::report::{Markup, Page, Table, html};

/// How many misses and how many false alarms are listed.
const WORST: usize = 15;

/// The page of a run: `facts` say how it was made (model, policy), `sets` are reports with what they were made of.
pub fn run_page(facts: &[(&str, String)], sets: &[(Report, Vec<Judgement>)]) -> Page {
    let page = facts.iter().fold(Page::new("Evaluation"), |page, (name, value)| page.fact(*name, value));
    let reports = || sets.iter().map(|(report, _)| report);
    let page = page
        .section("Summary", summary(reports()))
        .section("Thresholds and failures", thresholds(reports()))
        .section("Recall within a false-alarm budget", budgets(reports()))
        .section("Latency", latency(reports()));
    sets.iter().fold(page, |page, (report, judgements)| page.section(&report.name, set(report, judgements)))
}

fn summary<'a>(reports: impl Iterator<Item = &'a Report>) -> Markup {
    let mut table = Table::new(["set", "rows", "unsafe", "F1", "recall", "FPR", "AUROC", "AUPRC", "ECE"]);
    let mut resamples = None;
    for report in reports {
        let (measures, intervals) = (&report.measures, report.intervals.as_ref());
        resamples = resamples.or(intervals.map(|intervals| intervals.bootstrap));
        table = table.row([
            report.name.clone(),
            report.rows.to_string(),
            report.unsafe_rows.to_string(),
            within(measures.f1, intervals.and_then(|i| i.f1)),
            within(measures.recall, intervals.and_then(|i| i.recall)),
            within(measures.fpr, intervals.and_then(|i| i.fpr)),
            within(measures.auroc, intervals.and_then(|i| i.auroc)),
            within(measures.auprc, intervals.and_then(|i| i.auprc)),
            within(measures.ece, intervals.and_then(|i| i.ece)),
        ]);
    }
    html! {
        p { "Unsafe is the positive class. A row without a verdict counts as wrong: a miss if it is unsafe, a false alarm "
            "if it is safe; it has no part in the calibration error." }
        (table)
        @if let Some(bootstrap) = resamples {
            p { small { "In brackets: 95 % percentile intervals from " (bootstrap.resamples)
                " resamples of the rows, seed " (bootstrap.seed) "." } }
        }
    }
}

fn thresholds<'a>(reports: impl Iterator<Item = &'a Report>) -> Markup {
    let header = ["set", "rows", "threshold", "F1", "precision", "recall", "FPR", "accuracy", "AUROC", "AUPRC"];
    let mut table = Table::new(header.into_iter().chain(["best F1", "at", "its precision", "its recall", "its FPR"]));
    for report in reports {
        let failed = report.failed();
        table = table.row(threshold_row(report, report.name.clone(), report.rows, &report.measures));
        if failed > 0 {
            let name = format!("{}, failures left out", report.name);
            table = table.row(threshold_row(report, name, report.rows - failed, &report.judged));
        }
    }
    html! {
        p { "The best threshold is chosen on these very rows: a bound, not a result." }
        (table)
    }
}

fn threshold_row(report: &Report, name: String, rows: usize, measures: &Measures) -> Vec<String> {
    let threshold = report.threshold.map_or_else(|| "the guard’s own".into(), |threshold| format!("{threshold:.3}"));
    let decided = [measures.f1, measures.precision, measures.recall, measures.fpr, measures.accuracy];
    let best = measures.best.as_ref();
    let chosen = [
        best.map(|best| best.f1),
        best.and_then(|best| best.threshold).map(f64::from),
        best.and_then(|best| best.precision),
        best.map(|best| best.recall),
        best.map(|best| best.fpr),
    ];
    let values = decided.into_iter().chain([measures.auroc, measures.auprc]).chain(chosen);
    [name, rows.to_string(), threshold].into_iter().chain(values.map(measure)).collect()
}

fn budgets<'a>(reports: impl Iterator<Item = &'a Report>) -> Markup {
    let rows = reports.flat_map(|report| {
        report.measures.at_fpr.iter().map(move |at| {
            let point = &at.point;
            let threshold = measure(point.threshold.map(f64::from));
            let [recall, fpr] = [point.recall, point.fpr].map(|value| measure(Some(value)));
            vec![report.name.clone(), percent(at.limit), recall, fpr, measure(point.precision), threshold]
        })
    });
    html! {
        p { "The most recall that a false-positive rate of 1, 5 and 10 % allows, and the threshold that gives it here." }
        (Table::new(["set", "FPR at most", "recall", "FPR", "precision", "threshold"]).rows(rows))
    }
}

fn latency<'a>(reports: impl Iterator<Item = &'a Report>) -> Markup {
    let rows = reports.map(|report| {
        let cells = report.latency_ms.map(|ms| [ms.p50, ms.p90, ms.p95, ms.p99].map(|ms| format!("{ms:.1}")));
        let cells = cells.unwrap_or_else(|| std::array::from_fn(|_| measure(None)));
        std::iter::once(report.name.clone()).chain(cells).collect()
    });
    html! {
        p { "Milliseconds from the request to the verdict, within which that share of the rows was judged." }
        (Table::new(["set", "50 %", "90 %", "95 %", "99 %"]).rows(rows))
    }
}

fn set(report: &Report, judgements: &[Judgement]) -> Markup {
    let (misses, alarms) = worst(judgements);
    html! {
        (charts::of(judgements))
        @if !report.failures.is_empty() {
            h3 { "Rows without a verdict" }
            (Table::new(["why", "rows"]).rows(report.failures.iter().map(|(why, rows)| vec![why.clone(), rows.to_string()])))
        }
        @if !report.row_categories.is_empty() {
            h3 { "By the data set’s categories" }
            p { "How many rows of each were flagged at all. A row of several categories counts in each." }
            (flags(&report.row_categories))
        }
        @if !report.policy_categories.is_empty() {
            h3 { "By the policy’s categories" }
            p { "How often the guard flagged each, at its own threshold." }
            (flags(&report.policy_categories))
        }
        @if !misses.is_empty() { h3 { "Worst misses" } (errors(&misses)) }
        @if !alarms.is_empty() { h3 { "Worst false alarms" } (errors(&alarms)) }
    }
}

fn flags(flags: &[Flags]) -> Table {
    let header = ["category", "unsafe rows", "flagged", "recall", "safe rows", "flagged", "FPR"];
    flags.iter().fold(Table::new(header), |table, flags| {
        table.row([
            flags.name.clone(),
            flags.unsafe_rows.to_string(),
            flags.unsafe_flagged.to_string(),
            within(flags.recall, flags.recall_interval),
            flags.safe_rows.to_string(),
            flags.safe_flagged.to_string(),
            within(flags.fpr, flags.fpr_interval),
        ])
    })
}

/// The misses with the lowest and the false alarms with the highest scores; equals by id.
fn worst(judgements: &[Judgement]) -> (Vec<&Judgement>, Vec<&Judgement>) {
    let errors = |is_unsafe: bool| {
        let wrong = |judgement: &&Judgement| {
            judgement.is_unsafe == is_unsafe && judgement.is_judged() && judgement.flagged() != is_unsafe
        };
        let mut wrong: Vec<&Judgement> = judgements.iter().filter(wrong).collect();
        wrong.sort_by(|a, b| {
            let order = a.score().total_cmp(&b.score());
            (if is_unsafe { order } else { order.reverse() }).then_with(|| a.id.cmp(&b.id))
        });
        wrong.truncate(WORST);
        wrong
    };
    (errors(true), errors(false))
}

fn errors(judgements: &[&Judgement]) -> Table {
    let header = ["row", "score", "judged", "highest category", "the data set’s categories"];
    judgements.iter().fold(Table::new(header), |table, judgement| {
        let highest = match &judgement.outcome {
            Outcome::Judged { categories, .. } => categories.iter().max_by(|a, b| a.1.total_cmp(&b.1)),
            Outcome::Failed { .. } => None,
        };
        table.row([
            judgement.id.clone(),
            measure(Some(judgement.score().into())),
            side(judgement.level).to_owned(),
            highest.map_or_else(|| "–".into(), |(id, _)| id.clone()),
            judgement.row_categories.join(", "),
        ])
    })
}

fn side(level: Target) -> &'static str {
    match level {
        Target::Prompt => "prompt",
        Target::Response => "response",
    }
}

fn measure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.3}"))
}

fn within(value: Option<f64>, interval: Option<Interval>) -> String {
    match interval {
        Some(Interval(low, high)) => format!("{} [{low:.3}, {high:.3}]", measure(value)),
        None => measure(value),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::EvalOptions;
    use crate::eval::interval::Bootstrap;
    use crate::eval::report::tests::{failed, judged};

    fn named(id: &str, judgement: Judgement) -> Judgement {
        Judgement { id: id.into(), ..judgement }
    }

    #[test]
    fn the_worst_errors_come_first_and_right_rows_not_at_all() {
        let rows = [
            named("a", judged(true, 0.3, false)),
            named("b", judged(true, 0.1, false)),
            named("c", judged(true, 0.9, true)),
            named("d", judged(false, 0.7, true)),
            named("e", judged(false, 0.8, true)),
            named("f", failed(true)),
        ];
        let ids = |rows: &[&Judgement]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
        let (misses, alarms) = worst(&rows);
        assert_eq!((ids(&misses), ids(&alarms)), (vec!["b".into(), "a".into()], vec!["e".into(), "d".into()]));
    }

    #[test]
    fn a_page_has_every_part_and_a_set_of_one_class_still_has_a_page() {
        let rows: Vec<_> =
            (0..40).map(|at| judged(at % 2 == 0, at as f32 / 40.0, at % 3 == 0)).chain([failed(true)]).collect();
        let safe: Vec<_> = rows.iter().filter(|row| !row.is_unsafe).cloned().collect();
        let options = EvalOptions { bootstrap: Bootstrap { resamples: 20, seed: 0 }, ..EvalOptions::default() };
        let set = |name: &str, rows: &[Judgement]| (Report::of(name, rows, &options), rows.to_vec());
        let page = run_page(&[("model", "embedded".into())], &[set("both", &rows), set("safe_only", &safe)]).html();
        for part in [
            "both, failures left out",
            "Precision and recall",
            "ROC",
            "Reliability",
            "Scores",
            "data set’s categories",
            "policy’s categories",
            "Worst misses",
            "Worst false alarms",
            "context_length",
            "20 resamples",
            "safe_only",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}
