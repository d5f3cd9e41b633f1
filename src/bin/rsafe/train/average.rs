//! `rsafe train average`: the mean of the weights of several runs.

use std::io::Write;
use std::path::PathBuf;

use rsafe::train::average::average;

use crate::outcome::{Failure, Outcome};

#[derive(clap::Args)]
pub struct AverageArgs {
    /// Folders that training runs of rsafe-mini wrote, all begun at the same weights
    #[arg(value_name = "DIR", required = true, num_args = 2..)]
    runs: Vec<PathBuf>,
    /// What each run counts, separated by commas [default: all the same]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    weights: Vec<f64>,
    /// Where the mean goes, as a run's folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: AverageArgs) -> Result<Outcome, Failure> {
    let weights = if args.weights.is_empty() { vec![1.0; args.runs.len()] } else { args.weights };
    average(&args.runs, &weights, &args.out)?;
    writeln!(anstream::stdout(), "{}", args.out.join("model.safetensors").display())?;
    Ok(Outcome::Clean)
}
