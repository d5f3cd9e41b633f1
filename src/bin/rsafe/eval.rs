//! `rsafe eval`: labelled rows through the guard, measures as a table, as JSON and as a page.

mod compare;
mod table;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use rsafe::Error;
use rsafe::eval::dataset::{Row, Rows};
use rsafe::eval::interval::Bootstrap;
use rsafe::eval::page::run_page;
use rsafe::eval::{EvalOptions, Judgement, Report, evaluate};
use serde_json::json;

use crate::library::GuardArgs;
use crate::{Failure, Outcome};

#[derive(clap::Args)]
#[command(after_help = "\
A row is {\"id\", \"source\", \"level\", \"prompt\", \"response\", \"label\", …} on one line, gzipped or not. \
Rows that the guard cannot judge count as wrong: as misses if unsafe, as false alarms if safe.")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvalArgs {
    #[command(subcommand)]
    command: Option<EvalCommand>,
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
    /// Write a page with intervals, curves, categories and the worst errors by id; one file, no texts of rows
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write each row's id, label, categories and scores as JSON lines; no texts
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
}

#[derive(clap::Subcommand)]
enum EvalCommand {
    /// Compare two runs on the same rows, from what `rsafe eval --out` wrote.
    Compare(compare::CompareArgs),
}

/// How intervals are made.
#[derive(clap::Args)]
struct BootstrapArgs {
    /// Resamples of the rows for the 95 % intervals, always the same ones; 0: no intervals
    #[arg(long = "bootstrap", value_name = "N", default_value_t = Bootstrap::default().resamples)]
    resamples: usize,
}

impl BootstrapArgs {
    fn bootstrap(&self) -> Bootstrap {
        Bootstrap { resamples: self.resamples, ..Bootstrap::default() }
    }
}

fn threshold(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(score) if (0.0..=1.0).contains(&score) => Ok(score),
        _ => Err("expected a score in [0, 1]".into()),
    }
}

pub fn run(args: EvalArgs) -> Result<Outcome, Failure> {
    if let Some(EvalCommand::Compare(args)) = args.command {
        return compare::run(args);
    }
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
    let mut judged: Vec<(Report, Vec<Judgement>)> = Vec::with_capacity(sets.len());
    for (name, rows) in &sets {
        let mut judgements = Vec::with_capacity(rows.len());
        let progress = progress_bar(name, rows.len());
        let report = block_on(evaluate(&loaded.guard, name, rows, options, |judgement| {
            progress.inc(1);
            judgements.push(judgement.clone());
            match &mut scores {
                Some((path, file)) => {
                    let line = serde_json::to_string(judgement).map_err(|error| Error::io(&*path)(error.into()))?;
                    writeln!(file, "{line}").map_err(Error::io(&*path))
                }
                None => Ok(()),
            }
        }))?;
        progress.finish_and_clear();
        judged.push((report.with_intervals(&judgements, args.bootstrap.bootstrap()), judgements));
    }
    if let Some((path, mut file)) = scores {
        file.flush().map_err(Error::io(path))?;
    }
    let reports: Vec<&Report> = judged.iter().map(|(report, _)| report).collect();
    write!(anstream::stdout(), "{}", table::of(&reports))?;
    let (model, policy) = args.guard.names();
    if let Some(path) = &args.html {
        let facts =
            [("model", model.clone()), ("policy", policy.clone()), ("reasoning", args.guard.reasoning_name().into())];
        write_file(path, &run_page(&facts, &judged).html())?;
    }
    if let Some(path) = &args.json {
        let summary = json!({
            "model": model,
            "policy": policy,
            "reasoning": args.guard.reasoning_name(),
            "limit": args.limit,
            "sets": reports,
        });
        write_file(path, &format!("{summary:#}\n"))?;
    }
    Ok(Outcome::Clean)
}

fn write_file(path: &Path, text: &str) -> rsafe::Result<()> {
    std::fs::write(path, text).map_err(Error::io(path))
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
fn progress_bar(name: &str, rows: usize) -> ProgressBar {
    let bar = ProgressBar::new(rows as u64);
    match ProgressStyle::with_template("{prefix}  {bar:30} {pos}/{len}  {per_sec}  {eta} left") {
        Ok(style) => bar.with_style(style).with_prefix(name.to_owned()),
        Err(_) => bar,
    }
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
    fn thresholds_are_scores() {
        assert_eq!(threshold("0.5"), Ok(0.5));
        for wrong in ["1.5", "NaN", "-0.1", "x"] {
            assert!(threshold(wrong).is_err(), "{wrong}");
        }
    }
}
