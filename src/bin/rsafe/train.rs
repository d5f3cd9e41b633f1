//! `rsafe train`: training runs, described by a recipe and bounded by what is given here.

use std::io::Write;
use std::path::PathBuf;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use rsafe::train::calibrate::{Calibration, Measured, calibrate};
use rsafe::train::recipe::Recipe;
use rsafe::train::sft::{self, Report, SftOptions};
use rsafe::verdict::OperatingCurve;

use crate::{Failure, Outcome};

#[derive(clap::Subcommand)]
pub enum TrainCommand {
    /// Supervised training of the embedded model; goes on from the last checkpoint in OUT
    Sft(SftArgs),
    /// Choose a bundle's thresholds, operating points and uncertain band on rows held out of its training
    Calibrate(CalibrateArgs),
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
    write!(anstream::stdout(), "{}", summary(&found))?;
    Ok(Outcome::Clean)
}

/// What was chosen, and what it does to the rows that were held out.
fn summary(found: &Calibration) -> String {
    let thresholds = &found.thresholds;
    let [low, high] = thresholds.uncertain;
    let measure = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let mut text = format!(
        "{} held-out rows: threshold {:.3} (F1 {:.3}), uncertain from {low:.3} to {high:.3}, AUROC {}\n",
        found.rows,
        thresholds.global,
        found.f1,
        measure(found.auroc)
    );
    for (names, measured) in [("seen in training", found.seen), ("never seen", found.unseen)] {
        if let (Some(custom), Some(Measured { rows, f1, auroc })) = (thresholds.custom, measured) {
            text += &format!(
                "{rows} rows under drawn policies, names {names}: threshold {custom:.3} (F1 {f1:.3}), AUROC {auroc:.3}\n"
            );
        }
    }
    text += "F1 where a quarter of the texts break the policy.\n\nOperating points\n";
    let mut points = Table::new();
    points.load_style(presets::ASCII_MARKDOWN);
    points.set_header(["FPR up to", "threshold", "recall", "drawn policies: threshold", "recall"]);
    for fpr in [0.01, 0.05, 0.1] {
        let at = |curve: &OperatingCurve| match curve.at_fpr(fpr) {
            Some(point) => [format!("{:.3}", point.threshold), format!("{:.3}", point.recall)],
            None => ["–".to_owned(), "–".to_owned()],
        };
        let (own, custom) = (at(&found.operating.own), at(&found.operating.custom));
        points.add_row([format!("{:.0} %", fpr * 100.0)].into_iter().chain(own).chain(custom));
    }
    text += &format!("{points}\n");
    if !thresholds.categories.is_empty() {
        let mut categories = Table::new();
        categories.load_style(presets::ASCII_MARKDOWN);
        categories.set_header(["category", "threshold"]);
        for (id, threshold) in &thresholds.categories {
            categories.add_row([id.clone(), format!("{threshold:.3}")]);
        }
        text += &format!("\nThresholds of categories, the others have {:.3}\n{categories}\n", thresholds.global);
    }
    text
}
