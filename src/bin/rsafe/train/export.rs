//! `rsafe train export`: prompts, truths and rewards for a framework that trains beyond one machine.

use std::io::Write;
use std::path::PathBuf;

use rsafe::data::recipe::Recipe;
use rsafe::train::export::{self, ExportOptions, Policies};

use crate::outcome::{Failure, Outcome};
use crate::{library, output};

#[derive(clap::Args)]
pub struct ExportArgs {
    /// Who reads it
    #[arg(long, value_enum)]
    format: Format,
    /// Labelled rows, one JSON object a line, gzipped or not: a file or a folder; with --recipe the folder of its data sets
    #[arg(long, value_name = "FILE|DIR")]
    data: PathBuf,
    /// Judge every row under this policy: a file or the name of a built-in one
    #[arg(long, value_name = "FILE|NAME", default_value = "rsafe", conflicts_with = "recipe")]
    policy: String,
    /// Judge each row under a policy that the recipe draws for it
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// What an answer earns: a file or a built-in set, `rsafe` or `rsafe-mini`
    #[arg(long, value_name = "FILE|NAME", default_value = "rsafe-mini")]
    rewards: String,
    /// The folder that is written
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// At most so many rows to train on [default: all]
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// At most so many held-out rows to validate on [default: all]
    #[arg(long, value_name = "N")]
    validation_rows: Option<usize>,
    /// Share of the rows that is held out, in [0, 1); a recipe says its own
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share, conflicts_with = "recipe")]
    held_out: f64,
    /// What a recipe's policies and the order of the rows are drawn with
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// veRL: parquet in its row schema, and a reward module for `custom_reward_function`
    Verl,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..1.0).contains(&share) { Ok(share) } else { Err("expected a share of at least 0 and below 1".into()) }
}

pub fn run(args: ExportArgs) -> Result<Outcome, Failure> {
    let policies = match args.recipe {
        Some(recipe) => Policies::Recipe(Box::new(Recipe::load(recipe)?)),
        None => Policies::Given { policy: Box::new(library::policy(&args.policy)?), held_out: args.held_out },
    };
    let options = ExportOptions {
        data: args.data,
        policies,
        rewards: library::rewards(&args.rewards)?,
        out: args.out,
        rows: args.rows,
        validation_rows: args.validation_rows,
        seed: args.seed,
    };
    let exported = match args.format {
        Format::Verl => export::verl(&options)?,
    };
    let line = format!(
        "{}: {} rows to train on, {} to validate on",
        options.out.display(),
        exported.train,
        exported.validation
    );
    writeln!(anstream::stdout(), "{}", output::printable(&line))?;
    Ok(Outcome::Clean)
}
