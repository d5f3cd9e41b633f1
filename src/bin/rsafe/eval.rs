//! `rsafe eval`: labelled rows through the guard, measures as a table and as JSON.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use rsafe::Error;
use rsafe::eval::dataset::{Row, Rows};
use rsafe::eval::{EvalOptions, Judgement, Report, evaluate};
use serde::Serialize;
use serde_json::json;

use crate::library::GuardArgs;
use crate::probes::{Found, ProbeArgs};
use crate::{Failure, Outcome};

#[derive(clap::Args)]
#[command(after_help = "\
A row is {\"id\", \"source\", \"level\", \"prompt\", \"response\", \"label\", …} on one line, gzipped or not. \
Rows that the guard cannot judge count as wrong: as misses if unsafe, as false alarms if safe.")]
pub struct EvalArgs {
    /// Files of labelled rows; each is reported on its own
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    guard: GuardArgs,
    /// Only the first N rows of each file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Count a row as flagged from this score on [default: the guard's own decision]
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    threshold: Option<f32>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write each row's id, label and score as JSON lines; no texts
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    probes: ProbeArgs,
}

fn threshold(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(score) if (0.0..=1.0).contains(&score) => Ok(score),
        _ => Err("expected a score in [0, 1]".into()),
    }
}

pub fn run(args: EvalArgs) -> Result<Outcome, Failure> {
    // All rows first: a broken file should not be found after an hour of judging.
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut sets = Vec::with_capacity(args.data.len());
    for path in &args.data {
        let rows = Rows::open(path)?.take(limit).collect::<rsafe::Result<Vec<Row>>>()?;
        if rows.is_empty() {
            return Err(Error::BadInput(format!("{}: the file has no rows", path.display())).into());
        }
        sets.push((set_name(path), rows));
    }
    let mut scores = args.out.as_deref().map(|path| create(path).map(|file| (path, file))).transpose()?;

    let loaded = args.guard.load()?;
    let options =
        EvalOptions { policy: loaded.policy.as_ref(), reasoning: loaded.reasoning, threshold: args.threshold };
    let mut keep = |judgement: &Judgement, asked: Option<&str>| match &mut scores {
        Some((path, file)) => {
            let line = serde_json::to_string(&Line { judgement, asked }).map_err(|e| Error::io(&*path)(e.into()))?;
            writeln!(file, "{line}").map_err(Error::io(&*path))
        }
        None => Ok(()),
    };
    let found = match args.probes.run(&sets, &loaded.guard, options, &mut keep)? {
        Some(found) => found,
        None => {
            let mut reports = Vec::with_capacity(sets.len());
            for (name, rows) in &sets {
                let progress = progress_bar(name, rows.len());
                let report = block_on(evaluate(&loaded.guard, name, rows, options, |judgement| {
                    progress.inc(1);
                    keep(judgement, None)
                }))?;
                progress.finish_and_clear();
                reports.push(report);
            }
            Found { table: table(&reports), json: json!({"sets": reports}) }
        }
    };
    if let Some((path, mut file)) = scores {
        file.flush().map_err(Error::io(path))?;
    }
    writeln!(anstream::stdout(), "{}", found.table)?;
    if let Some(path) = &args.json {
        let (model, policy) = args.guard.names();
        let mut summary = json!({
            "model": model,
            "policy": policy,
            "reasoning": args.guard.reasoning_name(),
            "limit": args.limit,
        });
        if let (Some(summary), serde_json::Value::Object(found)) = (summary.as_object_mut(), found.json) {
            summary.extend(found);
        }
        let mut file = create(path)?;
        writeln!(file, "{summary:#}").and_then(|()| file.flush()).map_err(Error::io(path))?;
    }
    Ok(Outcome::Clean)
}

/// What the file of scores says of a row.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    judgement: &'a Judgement,
    /// What was done to the row, if anything: how it was rewritten, how much of it was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a str>,
}

fn create(path: &Path) -> rsafe::Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).map_err(Error::io(path))?))
}

/// `dev/toxicchat_test.jsonl.gz` is called `toxicchat_test`.
fn set_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".jsonl").unwrap_or(name).to_owned()
}

/// Visible on a terminal alone; indicatif sees to that.
pub fn progress_bar(name: &str, rows: usize) -> ProgressBar {
    let bar = ProgressBar::new(rows as u64);
    match ProgressStyle::with_template("{prefix}  {bar:30} {pos}/{len}  {per_sec}  {eta} left") {
        Ok(style) => bar.with_style(style).with_prefix(name.to_owned()),
        Err(_) => bar,
    }
}

/// The measures side by side; `–` where a file cannot give one.
fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(vec![
        "set",
        "rows",
        "unsafe",
        "failed",
        "F1",
        "precision",
        "recall",
        "FPR",
        "AUROC",
        "AUPRC",
        "best F1",
        "at",
        "ECE",
        "ms",
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let measure = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.3}"));
    for report in reports {
        table.add_row([
            report.name.clone(),
            report.rows.to_string(),
            report.unsafe_rows.to_string(),
            report.failed().to_string(),
            measure(report.f1),
            measure(report.precision),
            measure(report.recall),
            measure(report.fpr),
            measure(report.auroc),
            measure(report.auprc),
            measure(report.best_f1),
            measure(report.best_threshold.map(f64::from)),
            measure(report.ece),
            report.median_ms.map_or("–".into(), |ms| format!("{ms:.0}")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_called_by_their_files() {
        assert_eq!(set_name(Path::new("dev/toxicchat_test.jsonl.gz")), "toxicchat_test");
        assert_eq!(set_name(Path::new("rows.jsonl")), "rows");
    }

    #[test]
    fn a_measure_that_is_missing_is_a_dash() {
        let text = table(&[Report::of("only_safe", &[], None)]).to_string();
        assert!(text.contains("only_safe") && text.contains('–'), "{text}");
    }

    #[test]
    fn thresholds_are_scores() {
        assert_eq!(threshold("0.5"), Ok(0.5));
        for wrong in ["1.5", "NaN", "-0.1", "x"] {
            assert!(threshold(wrong).is_err(), "{wrong}");
        }
    }
}
