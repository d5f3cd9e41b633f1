//! The page of a comparison.

use super::measure;
use crate::eval::compare::{Changed, Comparison, McNemar, Seen};
use crate::eval::interval::Interval;
use crate::report::{Chart, Markup, Page, Table, charts, html};

/// How many changed rows are listed; the JSON has them all.
const LISTED: usize = 200;

/// The page of [`compare`](crate::eval::compare::compare); `facts` say which runs are compared.
pub fn comparison_page(facts: &[(&str, String)], comparisons: &[Comparison]) -> Page {
    let page = facts.iter().fold(Page::new("Comparison of two runs"), |page, (name, value)| page.fact(*name, value));
    comparisons.iter().fold(page, |page, comparison| page.section(&comparison.name, section(comparison)))
}

fn section(comparison: &Comparison) -> Markup {
    let (fixed, broken): (Vec<_>, Vec<_>) = comparison.changed.iter().partition(|changed| changed.is_fixed());
    html! {
        p { (comparison.rows) " rows, " (comparison.unsafe_rows) " of them unsafe. B against A, each at its own decisions." }
        (differences(comparison))
        p { small { "Recall, FPR and accuracy: McNemar’s mid-p test. Others: paired bootstrap of the rows." } }
        h3 { "Rows that only one run got right" }
        (Table::new(["rows", "only B", "only A", "exact p", "mid-p"]).rows([
            mcnemar("all", &comparison.right),
            mcnemar("unsafe", &comparison.right_unsafe),
            mcnemar("safe", &comparison.right_safe),
        ]))
        @if !comparison.changed.is_empty() {
            (charts([scores(comparison)]))
        }
        @for (title, rows) in [("Right in B", fixed), ("Wrong in B", broken)] {
            @if !rows.is_empty() {
                h3 { (title) ": " (rows.len()) " changed" }
                (listed(&rows))
                @if rows.len() > LISTED { p { small { "The first " (LISTED) " of them." } } }
            }
        }
    }
}

fn differences(comparison: &Comparison) -> Table {
    let header = ["measure", "A", "B", "difference", "95 % interval", "p"];
    comparison.differences.iter().fold(Table::new(header), |table, difference| {
        table.row([
            difference.measure.to_owned(),
            measure(difference.before),
            measure(difference.after),
            difference.difference.map_or_else(|| "–".into(), |value| format!("{value:+.3}")),
            difference.interval.map_or_else(|| "–".into(), |Interval(low, high)| format!("[{low:+.3}, {high:+.3}]")),
            measure(difference.p),
        ])
    })
}

fn mcnemar(name: &str, test: &McNemar) -> Vec<String> {
    let counts = [test.fixed, test.broken].map(|rows| rows.to_string());
    let [fixed, broken] = counts;
    vec![name.to_owned(), fixed, broken, measure(Some(test.exact_p)), measure(Some(test.mid_p))]
}

fn scores(comparison: &Comparison) -> Chart {
    let of = |is_unsafe: bool| {
        comparison
            .changed
            .iter()
            .filter(move |changed| changed.is_unsafe == is_unsafe)
            .filter_map(|changed| Some((f64::from(changed.before.score?), f64::from(changed.after.score?))))
    };
    Chart::new("Scores of the changed rows", "score in A", "score in B")
        .x_range(0.0..1.0)
        .y_range(0.0..1.0)
        .points("safe", of(false))
        .points("unsafe", of(true))
        .guide([(0.0, 0.0), (1.0, 1.0)])
}

fn listed(rows: &[&Changed]) -> Table {
    let decision = |seen: &Seen| match seen.flagged {
        Some(true) => "flagged",
        Some(false) => "passed",
        None => "no verdict",
    };
    let score = |seen: &Seen| measure(seen.score.map(f64::from));
    rows.iter().take(LISTED).fold(Table::new(["row", "label", "A", "score", "B", "score"]), |table, changed| {
        table.row([
            changed.id.clone(),
            if changed.is_unsafe { "unsafe" } else { "safe" }.to_owned(),
            decision(&changed.before).to_owned(),
            score(&changed.before),
            decision(&changed.after).to_owned(),
            score(&changed.after),
        ])
    })
}
