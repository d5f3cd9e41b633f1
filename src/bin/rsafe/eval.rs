//! `rsafe eval`: labelled rows through the guard, measures as a table, as JSON and as a page.

mod compare;
mod table;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use rsafe::eval::dataset::{Row, Rows};
use rsafe::eval::interval::Bootstrap;
use rsafe::eval::page::run_page;
use rsafe::eval::{EvalOptions, Judgement, Report, Score, evaluate};
use rsafe::{Error, Guard};
use serde::Serialize;
use serde_json::{Value, json};

use crate::library::{GuardArgs, unit};
use crate::probes::ProbeArgs;
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
    #[arg(long, value_name = "SCORE", value_parser = unit)]
    threshold: Option<f32>,
    /// The score that is measured: the one that decides (`categories`), P(unsafe) behind the reasoning (`reasoned`, with
    /// `--reasoning always`), or of a verdict without reasoning (`answer`, with `--steps written`)
    #[arg(long, value_enum, default_value_t = ScoreArg::Categories)]
    score: ScoreArg,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with intervals, curves, categories and the worst errors by id; one file, no texts of rows
    #[arg(long, value_name = "FILE", conflicts_with_all = ["evasion", "adaptive", "prefixes"])]
    html: Option<PathBuf>,
    /// Write each row's id, label, categories and scores as JSON lines; no texts
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    #[command(flatten)]
    probes: ProbeArgs,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ScoreArg {
    Categories,
    Reasoned,
    Answer,
}

impl From<ScoreArg> for Score {
    fn from(arg: ScoreArg) -> Self {
        match arg {
            ScoreArg::Categories => Score::Categories,
            ScoreArg::Reasoned => Score::Reasoned,
            ScoreArg::Answer => Score::Answer,
        }
    }
}

pub fn run(args: EvalArgs) -> Result<Outcome, Failure> {
    if let Some(EvalCommand::Compare(args)) = args.command {
        return compare::run(args);
    }
    if let Some(missing) = args.guard.lacks(args.score.into()) {
        return Err(Error::BadInput(missing.into()).into());
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
    let options = EvalOptions {
        policy: loaded.policy.as_ref(),
        reasoning: loaded.reasoning,
        threshold: args.threshold,
        score: args.score.into(),
    };
    let mut keep = |judgement: &Judgement, asked: Option<&str>| match &mut scores {
        Some((path, file)) => {
            let line = serde_json::to_string(&Line { judgement, asked }).map_err(|e| Error::io(&*path)(e.into()))?;
            writeln!(file, "{line}").map_err(Error::io(&*path))
        }
        None => Ok(()),
    };
    let found = match args.probes.run(&sets, &loaded.guard, options, &mut keep)? {
        Some(found) => {
            writeln!(anstream::stdout(), "{}", found.table)?;
            found.json
        }
        None => {
            let judged = judge(&sets, &loaded.guard, options, args.bootstrap.bootstrap(), &mut keep)?;
            let reports: Vec<&Report> = judged.iter().map(|(report, _)| report).collect();
            write!(anstream::stdout(), "{}", table::of(&reports))?;
            if let Some(path) = &args.html {
                let (model, policy) = args.guard.names();
                let facts = [("model", model), ("policy", policy), ("reasoning", args.guard.reasoning_name().into())];
                write_file(path, &run_page(&facts, &judged).html())?;
            }
            json!({ "sets": reports })
        }
    };
    if let Some((path, mut file)) = scores {
        file.flush().map_err(Error::io(path))?;
    }
    if let Some(path) = &args.json {
        let (model, policy) = args.guard.names();
        let mut summary = json!({
            "model": model,
            "policy": policy,
            "reasoning": args.guard.reasoning_name(),
            "strictness": args.guard.strictness(),
            "limit": args.limit,
        });
        if let (Some(summary), Value::Object(found)) = (summary.as_object_mut(), found) {
            summary.extend(found);
        }
        write_file(path, &format!("{summary:#}\n"))?;
    }
    Ok(Outcome::Clean)
}

/// Judges the rows of each set as they are.
fn judge(
    sets: &[(String, Vec<Row>)],
    guard: &Guard,
    options: EvalOptions<'_>,
    bootstrap: Bootstrap,
    keep: &mut dyn FnMut(&Judgement, Option<&str>) -> rsafe::Result<()>,
) -> rsafe::Result<Vec<(Report, Vec<Judgement>)>> {
    let mut judged = Vec::with_capacity(sets.len());
    for (name, rows) in sets {
        let mut judgements = Vec::with_capacity(rows.len());
        let progress = progress_bar(name, rows.len());
        let report = block_on(evaluate(guard, name, rows, options, |judgement| {
            progress.inc(1);
            judgements.push(judgement.clone());
            keep(judgement, None)
        }))?;
        progress.finish_and_clear();
        judged.push((report.with_intervals(&judgements, bootstrap), judgements));
    }
    Ok(judged)
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
pub fn progress_bar(name: &str, rows: usize) -> ProgressBar {
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
        assert_eq!(unit("0.5"), Ok(0.5));
        for wrong in ["1.5", "NaN", "-0.1", "x"] {
            assert!(unit(wrong).is_err(), "{wrong}");
        }
    }
}
