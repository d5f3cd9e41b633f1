//! `rsafe train`: training runs, described by a recipe and bounded by what is given here.

use std::io::Write;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use rsafe::train::calibrate::calibrate;
use rsafe::train::recipe::Recipe;
use rsafe::train::sft::{self, Report, SftOptions};

use crate::export::{self, ExportArgs};
use crate::{Failure, Outcome};

#[derive(clap::Subcommand)]
pub enum TrainCommand {
    /// Supervised training of the embedded model; goes on from the last checkpoint in OUT
    Sft(SftArgs),
    /// Choose a bundle's threshold and uncertain band on rows held out of its training
    Calibrate(CalibrateArgs),
    /// Write prompts, truths and rewards for a framework that trains beyond one machine
    Export(ExportArgs),
}

#[derive(clap::Args)]
pub struct SftArgs {
    /// Which sets are used, how often, and with which categories
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// The folder of the data sets, one JSON row a line, gzipped or not
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Weights to start from: a BERT's folder (config.json, tokenizer.json, model.safetensors) or an earlier OUT
    #[arg(long, value_name = "DIR")]
    init: PathBuf,
    /// Checkpoints, metrics (JSON lines) and the finished model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Examples to learn from; the learning rate falls to zero at the last
    #[arg(long, value_name = "N", default_value_t = 24_000)]
    examples: usize,
    /// Tokens in one batch, padding included; each core has a batch of its own
    #[arg(long, value_name = "N", default_value_t = 2048)]
    batch_tokens: usize,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-4)]
    lr: f64,
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    weight_decay: f32,
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Optimiser steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 100)]
    checkpoint_every: usize,
}

#[derive(clap::Args)]
pub struct CalibrateArgs {
    /// The bundle's folder; its manifest is rewritten
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The recipe that the model was trained with
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// The folder of the data sets
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub fn run(command: TrainCommand) -> Result<Outcome, Failure> {
    match command {
        TrainCommand::Sft(args) => train(args),
        TrainCommand::Calibrate(args) => choose(args),
        TrainCommand::Export(args) => export::run(args),
    }
}

fn train(args: SftArgs) -> Result<Outcome, Failure> {
    let options = SftOptions {
        recipe: args.recipe,
        data: args.data,
        init: args.init,
        out: args.out,
        examples: args.examples,
        batch_tokens: args.batch_tokens,
        learning_rate: args.lr,
        weight_decay: args.weight_decay,
        seed: args.seed,
        checkpoint_every: args.checkpoint_every,
    };
    sft::run(&options, |report| {
        // A closed terminal is no reason to stop a run of hours: the metrics are in a file.
        let _ = writeln!(anstream::stderr(), "{}", line(report));
    })?;
    writeln!(anstream::stdout(), "{}", options.out.join("model.safetensors").display())?;
    Ok(Outcome::Clean)
}

fn line(report: &Report) -> String {
    let left = report.seconds_left as u64;
    let mut line = format!(
        "step {:>5}  examples {:>6}/{}  loss: slots {:.3} quiet {:.3} answer {:.3}  {:>5.0} tokens/s  {}:{:02}:{:02} left",
        report.step,
        report.examples,
        report.of,
        report.slots,
        report.quiet,
        report.answer,
        report.tokens_per_second,
        left / 3600,
        left / 60 % 60,
        left % 60
    );
    if let Some([Some(seen), Some(unseen)]) = report.held_out {
        line += &format!("  held out: AUROC {seen:.3}, unseen names {unseen:.3}");
    }
    line
}

fn choose(args: CalibrateArgs) -> Result<Outcome, Failure> {
    let recipe = Recipe::load(&args.recipe)?;
    let progress = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    let found = block_on(calibrate(&args.bundle, &recipe, &args.data, |rows| {
        progress.set_message(format!("{rows} held-out rows"));
        progress.tick();
    }))?;
    progress.finish_and_clear();
    let [low, high] = found.thresholds.uncertain;
    writeln!(
        anstream::stdout(),
        "{} held-out rows: threshold {:.3} (F1 {:.3}), uncertain from {low:.3} to {high:.3}, AUROC {:.3}",
        found.rows,
        found.thresholds.global,
        found.f1,
        found.auroc.unwrap_or(f64::NAN)
    )?;
    Ok(Outcome::Clean)
}
