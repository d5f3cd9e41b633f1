//! `rsafe eval compare`: two runs on the same rows, side by side.

use std::io::Write;
use std::path::PathBuf;

use rsafe::eval::compare::{compare, read};
use rsafe::eval::page::comparison_page;
use serde_json::json;

use super::bootstrap::BootstrapArgs;
use super::table;
use crate::outcome::{Failure, Outcome};
use crate::outputs::{self, write_file};

#[derive(clap::Args)]
#[command(after_help = "\
Both runs must be of the same rows, matched by id. Each counts at its own decisions; a row without a verdict is wrong. \
p is McNemar's mid-p for recall, FPR and accuracy, and a paired bootstrap's for the others.")]
pub struct CompareArgs {
    /// What `rsafe eval --out` wrote in the first run
    #[arg(value_name = "A.jsonl")]
    before: PathBuf,
    /// The same of the second run
    #[arg(value_name = "B.jsonl")]
    after: PathBuf,
    /// Write the comparison as JSON, with every row whose decision changed
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the comparison as a page; one file, no texts of rows
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
}

pub fn run(args: CompareArgs) -> Result<Outcome, Failure> {
    let inputs = [args.before.as_path(), &args.after];
    outputs::keep_apart(inputs, &[("--json", args.json.as_deref()), ("--html", args.html.as_deref())])?;
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let bootstrap = args.bootstrap.bootstrap();
    let comparisons = compare(&before, &after, bootstrap)?;
    write!(anstream::stdout(), "{}", table::of_comparisons(&comparisons))?;
    let [before, after] = [&args.before, &args.after].map(|path| path.display().to_string());
    if let Some(path) = &args.json {
        let summary = json!({"before": before, "after": after, "bootstrap": bootstrap, "sets": comparisons});
        write_file(path, &format!("{summary:#}\n"))?;
    }
    if let Some(path) = &args.html {
        let facts = [("A", before), ("B", after), ("resamples", bootstrap.resamples.to_string())];
        write_file(path, &comparison_page(&facts, &comparisons).html())?;
    }
    Ok(Outcome::Clean)
}
