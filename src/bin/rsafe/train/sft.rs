//! `rsafe train sft`: supervised training of the embedded model.

use std::io::Write;
use std::path::PathBuf;

use rsafe::train::sft::{self, Report, SftOptions};

use super::clock::clock;
use crate::outcome::{Failure, Outcome};

#[derive(clap::Args)]
pub struct SftArgs {
    /// Which sets are used, how often, and with which categories
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// The folder of the data sets, one JSON row a line, gzipped or not
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Weights to start from: a bundle, an earlier OUT, or the folder of a BERT or an MPNet (config.json, a BERT's tokenizer.json,
    /// model.safetensors)
    #[arg(long, value_name = "DIR")]
    init: PathBuf,
    /// Checkpoints, metrics (JSON lines) and the finished model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Examples to learn from; the learning rate falls to zero at the last
    #[arg(long, value_name = "N", default_value_t = 24_000)]
    examples: usize,
    /// From how many of them, the first, in whole steps of up to 1,024, only what a slot without words tells is learnt
    #[arg(long, value_name = "N", default_value_t = 0)]
    wordless: usize,
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

pub fn run(args: SftArgs) -> Result<Outcome, Failure> {
    let options = SftOptions {
        recipe: args.recipe,
        data: args.data,
        init: args.init,
        out: args.out,
        examples: args.examples,
        wordless: args.wordless,
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
    let [slots, cover, told, answer] = [report.slots, report.cover, report.told, report.answer].map(number);
    let mut line = format!(
        "step {:>5}  examples {:>6}/{}  loss: slots {slots} cover {cover} told {told} answer {answer}  {:>5.0} tokens/s  {} left",
        report.step,
        report.examples,
        report.of,
        report.tokens_per_second,
        clock(report.seconds_left),
    );
    if let Some(watched) = report.held_out {
        let [seen, unseen] = watched.by_names.map(number);
        let [prompts, responses] = watched.harm.map(number);
        line += &format!(
            "  held out, AUROC: {seen}, unseen names {unseen}, harm in prompts {prompts}, in responses {responses}"
        );
    }
    line
}

fn number(value: Option<impl Into<f64>>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{:.3}", value.into()))
}
