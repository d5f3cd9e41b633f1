//! `rsafe eval`: labelled rows through the guard, measures as a table, as JSON and as a page.

mod bootstrap;
mod compare;
mod table;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bootstrap::BootstrapArgs;
use rsafe::data::rows::{Label, Row, Rows, set_name};
use rsafe::eval::page::run_page;
use rsafe::eval::{EvalOptions, Judgement, Report, Score, evaluate};
use rsafe::{Error, Guard};
use serde_json::{Map, Value, json};

use crate::library::{GuardArgs, number, one_of, unit};
use crate::outcome::{Failure, Outcome};
use crate::outputs::{self, write_file};
use crate::probes::ProbeArgs;
use crate::progress::progress_bar;

#[derive(clap::Args)]
#[command(after_help = "\
A row is {\"id\", \"source\", \"level\", \"prompt\", \"response\", \"label\", …} on one line (also .gz and .zst), or the \
columns of a .parquet file; all cores judge. \
Rows that the guard cannot judge count as wrong: as misses if unsafe, as false alarms if safe. \
Borderline rows are left out.")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvalArgs {
    #[command(subcommand)]
    command: Option<EvalCommand>,
    /// Files of labelled rows; each is reported on its own
    #[arg(long, required_unless_present = "owners", num_args = 1.., value_name = "FILE")]
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
    #[arg(long, value_parser = one_of(&[Score::Categories, Score::Reasoned, Score::Answer]), default_value = "categories")]
    score: Score,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with intervals, curves, categories and the worst errors by id; one file, no texts of rows
    #[arg(long, value_name = "FILE", conflicts_with_all = ["evasion", "adaptive", "owners", "prefixes", "evidence"])]
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

pub fn run(args: EvalArgs) -> Result<Outcome, Failure> {
    if let Some(EvalCommand::Compare(args)) = args.command {
        return compare::run(args);
    }
    if let Some(missing) = args.guard.lacks(args.score) {
        return Err(Error::BadInput(missing.into()).into());
    }
    let inputs = args.data.iter().map(PathBuf::as_path).chain(args.guard.inputs()).chain(args.probes.inputs());
    let [json, html, out] = [&args.json, &args.html, &args.out].map(Option::as_deref);
    outputs::keep_apart(inputs, &[("--json", json), ("--html", html), ("--out", out)])?;
    // All rows first: a broken file should not be found after an hour of judging.
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut sets = Vec::with_capacity(args.data.len());
    for path in &args.data {
        let mut rows = Rows::open(path)?.take(limit).collect::<rsafe::Result<Vec<Row>>>()?;
        rows.retain(|row| row.label != Label::Borderline);
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
        score: args.score,
        bootstrap: args.bootstrap.bootstrap(),
    };
    let mut keep = |judgement: &Judgement| match &mut scores {
        Some((path, file)) => {
            let line = serde_json::to_string(judgement).map_err(|e| Error::io(&*path)(e.into()))?;
            writeln!(file, "{line}").map_err(Error::io(&*path))
        }
        None => Ok(()),
    };
    let settings = args.settings();
    let found = match args.probes.run(&sets, &loaded.guard, options, &mut keep)? {
        Some(found) => {
            writeln!(anstream::stdout(), "{}", found.table)?;
            found.json
        }
        None => {
            let judged = judge(&sets, &loaded.guard, options, &mut keep)?;
            let reports: Vec<&Report> = judged.iter().map(|(report, _)| report).collect();
            write!(anstream::stdout(), "{}", table::of(&reports))?;
            if let Some(path) = &args.html {
                let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let asked = settings.iter().filter(|(_, value)| !value.is_null());
                let facts: Vec<(&str, String)> = asked.map(|(name, value)| (*name, shown(value))).collect();
                write_file(path, &run_page(&facts, &judged).html())?;
            }
            json!({ "sets": reports })
        }
    };
    if let Some((path, mut file)) = scores {
        file.flush().map_err(Error::io(path))?;
    }
    if let Some(path) = &args.json {
        let mut summary: Map<String, Value> = settings.into_iter().map(|(name, value)| (name.into(), value)).collect();
        if let Value::Object(found) = found {
            summary.extend(found);
        }
        write_file(path, &format!("{:#}\n", Value::from(summary)))?;
    }
    Ok(Outcome::Clean)
}

impl EvalArgs {
    /// What was asked for; what a probe finds says more of its own.
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let mut settings = self.guard.settings();
        settings.extend([
            ("score", json!(self.score)),
            ("threshold", self.threshold.map_or(Value::Null, number)),
            ("limit", self.limit.into()),
        ]);
        settings
    }
}

/// Judges the rows of each set as they are.
fn judge(
    sets: &[(String, Vec<Row>)],
    guard: &Guard,
    options: EvalOptions<'_>,
    keep: &mut dyn FnMut(&Judgement) -> rsafe::Result<()>,
) -> rsafe::Result<Vec<(Report, Vec<Judgement>)>> {
    let mut judged = Vec::with_capacity(sets.len());
    for (name, rows) in sets {
        let mut judgements = Vec::with_capacity(rows.len());
        let progress = progress_bar(name, rows.len());
        let report = evaluate(guard, name, rows, options, |judgement| {
            progress.inc(1);
            judgements.push(judgement.clone());
            keep(judgement)
        })?;
        progress.finish_and_clear();
        judged.push((report, judgements));
    }
    Ok(judged)
}

fn create(path: &Path) -> rsafe::Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).map_err(Error::io(path))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_scores() {
        assert_eq!(unit("0.5"), Ok(0.5));
        for wrong in ["1.5", "NaN", "-0.1", "x"] {
            assert!(unit(wrong).is_err(), "{wrong}");
        }
    }
}
