//! A run as a page: `report.html` with curves of all that `metrics.jsonl` holds.

use super::options::GrpoOptions;
use super::report::{Report, Verdicts, Watched};
use crate::report::{Chart, Markup, Page, Table, charts, html};

/// Points of a curve, at most: each is the mean of the steps around it.
const POINTS: usize = 120;

/// The page of the steps so far; `rewards` is the file of rules.
pub fn page(reports: &[Report], rewards: &str, options: &GrpoOptions) -> Page {
    let steps = reports.last().map_or(0, |report| report.step);
    Page::new("Reinforced alignment")
        .fact("steps", format!("{steps} of {}", options.steps))
        .fact("answers a step", format!("{} tasks, {} answers each", options.prompts, options.group))
        .fact("learning rate", options.learning_rate.to_string())
        .fact("seed", options.seed.to_string())
        .section("Held-out rows", held_out(reports))
        .section("Reward", charts([reward(reports), parts(reports), informative(reports)]))
        .section("Sampled answers", charts([written(reports), length(reports), entropy(reports)]))
        .section("Update", charts(update(reports, options)))
        .section("Rules of the reward", html! { pre { (rewards) } })
}

fn held_out(reports: &[Report]) -> Markup {
    let seen: Vec<(usize, &Watched)> =
        reports.iter().filter_map(|report| Some((report.step, report.watched.as_ref()?))).collect();
    let line = |of: fn(&Watched) -> Option<f64>| {
        seen.iter().filter_map(move |(step, watched)| Some((*step as f64, of(watched)?))).collect::<Vec<_>>()
    };
    let mut table = Table::new([
        "step",
        "F1, think first",
        "FPR",
        "F1, answer first",
        "FPR",
        "slots AUROC",
        "steps agree with scores",
    ]);
    for (step, watched) in &seen {
        let Watched { think_first, answer_first, .. } = watched;
        table = table.row([
            step.to_string(),
            share(think_first.f1),
            share(think_first.fpr),
            share(answer_first.f1),
            share(answer_first.fpr),
            share(watched.slots_auroc),
            share(watched.agreement),
        ]);
    }
    html! {
        p { "Rows that are never trained on, answered greedily." }
        (charts([
            Chart::new("F1", "step", "F1")
                .line("think first", line(|watched| watched.think_first.f1))
                .line("answer first", line(|watched| watched.answer_first.f1)),
            Chart::new("False alarms", "step", "FPR")
                .line("think first", line(|watched| watched.think_first.fpr))
                .line("answer first", line(|watched| watched.answer_first.fpr)),
            Chart::new("Scores", "step", "share")
                .line("AUROC of the slots", line(|watched| watched.slots_auroc))
                .line("steps that agree", line(|watched| watched.agreement)),
        ]))
        (table)
    }
}

fn reward(reports: &[Report]) -> Chart {
    Chart::new("Reward of an answer", "step", "reward")
        .line("reward", curve(reports, |report| Some(f64::from(report.reward))))
}

fn parts(reports: &[Report]) -> Chart {
    let mut names: Vec<&String> = reports.iter().flat_map(|report| report.parts.keys()).collect();
    names.sort();
    names.dedup();
    let chart = Chart::new("Parts of the reward", "step", "reward");
    names.into_iter().fold(chart, |chart, name| {
        chart.line(name, curve(reports, |report| report.parts.get(name).map(|&part| f64::from(part))))
    })
}

fn informative(reports: &[Report]) -> Chart {
    Chart::new("Groups whose answers differ in reward", "step", "share")
        .line("informative", curve(reports, |report| Some(f64::from(report.informative))))
}

fn written(reports: &[Report]) -> Chart {
    let line = |of: fn(&Verdicts) -> Option<f64>| curve(reports, move |report| of(&report.verdicts));
    Chart::new("Written verdicts", "step", "share")
        .line("F1", line(|verdicts| verdicts.f1))
        .line("recall", line(|verdicts| verdicts.recall))
        .line("FPR", line(|verdicts| verdicts.fpr))
}

fn length(reports: &[Report]) -> Chart {
    Chart::new("Length of an answer", "step", "tokens")
        .line("all", curve(reports, |report| Some(f64::from(report.length))))
        .line("chosen", curve(reports, |report| Some(f64::from(report.choices))))
}

fn entropy(reports: &[Report]) -> Chart {
    Chart::new("Entropy of a choice", "step", "nats")
        .line("entropy", curve(reports, |report| Some(f64::from(report.entropy))))
}

/// What was measured of the updates: without a reference there is no KL, with one update a step no ratio differs from 1, and
/// a line of zeros would look like a policy that never moved.
fn update(reports: &[Report], options: &GrpoOptions) -> Vec<Chart> {
    let line = |of: fn(&Report) -> f32| curve(reports, move |report| Some(f64::from(of(report))));
    let mut charts = Vec::new();
    if options.kl > 0.0 {
        charts.push(Chart::new("KL to the reference", "step", "nats").line("KL", line(|report| report.kl)));
    }
    if options.epochs > 1 {
        charts.push(Chart::new("Moved by a step", "step", "nats").line("moved", line(|report| report.approx_kl)));
        let clipped =
            Chart::new("Clipped tokens", "step", "share").line("clipped", line(|report| report.clip_fraction));
        charts.push(clipped.line("dual", line(|report| report.dual_clip_fraction)));
    }
    if options.slots_weight > 0.0 {
        let supervised = Chart::new("Supervised loss of the scores", "step", "nats");
        charts.push(supervised.line("slots", line(|report| report.slots_loss)));
    }
    charts.push(speed(reports));
    charts
}

fn speed(reports: &[Report]) -> Chart {
    Chart::new("Speed", "step", "groups a second")
        .line("groups", curve(reports, |report| Some(report.groups_per_second)))
}

/// A curve of at most [`POINTS`] points, each at the mean step of those it is the mean of.
fn curve(reports: &[Report], of: impl Fn(&Report) -> Option<f64>) -> Vec<(f64, f64)> {
    let known: Vec<(f64, f64)> = reports.iter().filter_map(|report| Some((report.step as f64, of(report)?))).collect();
    let mean = |some: &[(f64, f64)]| {
        let (x, y) = some.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (x / some.len() as f64, y / some.len() as f64)
    };
    known.chunks(known.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

fn share(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_becomes_means_and_what_is_unknown_no_point() {
        let reports: Vec<Report> =
            (1..=240).map(|step| Report { step, reward: (step % 2) as f32, ..Report::default() }).collect();
        let points = curve(&reports, |report| Some(f64::from(report.reward)));
        assert_eq!((points.len(), points[0], points[119]), (POINTS, (1.5, 0.5), (239.5, 0.5)));
        assert!(curve(&reports, |report| report.verdicts.f1).is_empty());
        assert!(curve(&[], |_| None).is_empty());
    }
}
