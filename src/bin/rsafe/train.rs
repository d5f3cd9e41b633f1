//! `rsafe train`: training runs, described by a recipe and bounded by what is given here.

use std::path::PathBuf;

use crate::{Failure, Outcome, library};

#[derive(clap::Subcommand)]
pub enum TrainCommand {
    /// Supervised training of the embedded model; goes on from the last checkpoint in OUT
    Sft(SftArgs),
}

#[derive(clap::Args)]
pub struct SftArgs {
    /// Which sets are used, how often, and with which categories
    #[arg(long, value_name = "FILE")]
    pub recipe: PathBuf,
    /// The folder of the data sets, one JSON row a line, gzipped or not
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Weights to start from
    #[arg(long, value_name = "DIR")]
    pub init: Option<PathBuf>,
    /// Checkpoints, metrics (JSON lines) and the finished model
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Passes over the data
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub epochs: Option<f64>,
    /// Optimiser steps
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Tokens in one batch, padding included
    #[arg(long, value_name = "N")]
    pub batch_tokens: Option<usize>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Stop with a checkpoint after this time
    #[arg(long, value_name = "MINUTES")]
    pub max_minutes: Option<f64>,
}

pub fn run(command: TrainCommand) -> Result<Outcome, Failure> {
    match command {
        TrainCommand::Sft(args) => library::train_sft(&args)?,
    }
    Ok(Outcome::Clean)
}
