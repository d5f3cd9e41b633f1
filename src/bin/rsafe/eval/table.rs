//! What `rsafe eval` prints: tables of measures, `–` where the rows cannot give one.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use rsafe::eval::compare::Comparison;
use rsafe::eval::interval::Interval;
use rsafe::eval::{Measures, Report};

/// The measures of each set, and below them, if intervals were asked for, the intervals.
pub fn of(reports: &[&Report]) -> String {
    let header = ["set", "rows", "unsafe", "failed", "F1", "precision", "recall", "FPR", "AUROC", "AUPRC"];
    let mut measures = table(header.into_iter().chain(["best F1", "at", "ECE", "ms"]));
    for report in reports {
        measures.add_row(row(report, report.name.clone(), report.failed(), &report.measures));
        if report.failed() > 0 {
            measures.add_row(row(report, format!("{}, judged", report.name), 0, &report.judged));
        }
    }
    let mut intervals = table(["95 % interval", "F1", "recall", "FPR", "AUROC", "AUPRC", "ECE"]);
    for report in reports {
        if let Some(found) = &report.intervals {
            let ends = [found.f1, found.recall, found.fpr, found.auroc, found.auprc, found.ece];
            intervals.add_row(std::iter::once(report.name.clone()).chain(ends.map(|ends| interval(ends, ""))));
        }
    }
    let mut text = format!("{measures}\n");
    if !intervals.is_empty() {
        text.push_str(&format!("\n{intervals}\n"));
    }
    text
}

/// Each measure in both runs, and the rows that changed.
pub fn of_comparisons(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for comparison in comparisons {
        let mut differences = table([comparison.name.as_str(), "A", "B", "difference", "95 % interval", "p"]);
        for difference in &comparison.differences {
            differences.add_row([
                difference.measure.to_owned(),
                measure(difference.before),
                measure(difference.after),
                difference.difference.map_or_else(|| "–".into(), |value| format!("{value:+.3}")),
                interval(difference.interval, "+"),
                measure(difference.p),
            ]);
        }
        let fixed = comparison.changed.iter().filter(|changed| changed.is_fixed()).count();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{differences}\n{} rows, {} decided differently: {fixed} right in B, {} right in A\n",
            comparison.rows,
            comparison.changed.len(),
            comparison.changed.len() - fixed,
        );
    }
    text
}

fn row(report: &Report, name: String, failed: usize, measures: &Measures) -> Vec<String> {
    let (counts, best) = (measures.counts, measures.best.as_ref());
    let unsafe_rows = counts.true_positives + counts.false_negatives;
    vec![
        name,
        (unsafe_rows + counts.false_positives + counts.true_negatives).to_string(),
        unsafe_rows.to_string(),
        failed.to_string(),
        measure(measures.f1),
        measure(measures.precision),
        measure(measures.recall),
        measure(measures.fpr),
        measure(measures.auroc),
        measure(measures.auprc),
        measure(best.map(|best| best.f1)),
        measure(best.and_then(|best| best.threshold).map(f64::from)),
        measure(measures.ece),
        report.latency_ms.map_or_else(|| "–".into(), |latency| format!("{:.0}", latency.p50)),
    ]
}

fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn measure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.3}"))
}

/// The ends; those of a difference always with their sign.
fn interval(ends: Option<Interval>, sign: &str) -> String {
    match ends {
        Some(Interval(low, high)) if sign == "+" => format!("{low:+.3} … {high:+.3}"),
        Some(Interval(low, high)) => format!("{low:.3} … {high:.3}"),
        None => "–".into(),
    }
}

#[cfg(test)]
mod tests {
    use rsafe::eval::EvalOptions;

    use super::*;

    #[test]
    fn a_measure_that_is_missing_is_a_dash() {
        let text = of(&[&Report::of("only_safe", &[], &EvalOptions::default())]);
        assert!(text.contains("only_safe") && text.contains('–') && !text.contains("interval"), "{text}");
    }
}
