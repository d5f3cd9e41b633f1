//! `rsafe train grpo`: reinforced alignment of a trained model under drawn policies or the user's own.

use std::io::Write;
use std::path::PathBuf;

use rsafe::train::rl;
use rsafe::train::rl::advantage::AdvantageKind;
use rsafe::train::rl::loss::{Aggregation, ClipRange};
use rsafe::train::rl::options::GrpoOptions;
use rsafe::train::rl::report::{Report, Verdicts, Watched};

use super::clock::clock;
use super::decoder::DecoderArgs;
use super::rows::{RowsArgs, bar, show};
use crate::library;
use crate::library::one_of;
use crate::outcome::{Failure, Outcome};

#[derive(clap::Args)]
pub struct GrpoArgs {
    #[command(flatten)]
    rows: RowsArgs,
    /// The model to start from: a bundle's folder, the folder that an earlier training run wrote, or the folder of a
    /// Qwen2, Qwen3 or Llama from Hugging Face
    #[arg(long, value_name = "DIR")]
    init: PathBuf,
    /// Checkpoints, metrics (JSON lines) and the finished model, which `rsafe convert` reads
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What answers earn: a file of rules, or `rsafe` (0.9 accuracy, 0.1 format) or `rsafe-mini`
    #[arg(long, value_name = "REWARDS", default_value = "rsafe-mini")]
    rewards: String,
    /// Optimiser steps
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().steps)]
    steps: usize,
    /// Tasks a step
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().prompts)]
    prompts: usize,
    /// Answers to each task
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().group)]
    group: usize,
    /// Weight of the supervised loss of the category scores beside the reward; 0 for none
    #[arg(long, value_name = "WEIGHT", default_value_t = GrpoOptions::default().slots_weight)]
    slots_weight: f32,
    /// Examples of that supervised loss in each step, for each core
    #[arg(long, value_name = "N", default_value_t = 4)]
    slots_examples: usize,
    #[command(flatten)]
    method: Method,
    #[command(flatten)]
    decoder: DecoderArgs,
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().seed)]
    seed: u64,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().checkpoint_every)]
    checkpoint_every: usize,
    /// Held-out rows that the run is watched on; 0 for none
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().watched)]
    watched: usize,
    /// Steps between two looks at them
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().watch_every)]
    watch_every: usize,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Method")]
struct Method {
    #[arg(long, value_name = "T", default_value_t = GrpoOptions::default().temperature)]
    temperature: f32,
    /// Probability mass that answers are drawn from. Below 1 a yes or a no that is surer than this is never drawn the other
    /// way, so a sure mistake is never found: 1 explores them all
    #[arg(long, value_name = "P", default_value_t = GrpoOptions::default().top_p)]
    top_p: f32,
    #[arg(long, value_name = "X", default_value_t = GrpoOptions::default().repetition_penalty)]
    repetition_penalty: f32,
    /// Constant learning rate
    #[arg(long, value_name = "RATE", default_value_t = GrpoOptions::default().learning_rate)]
    lr: f64,
    #[arg(long, value_name = "RATE", default_value_t = GrpoOptions::default().weight_decay)]
    weight_decay: f32,
    /// The gradient of all weights as one vector is clipped to this norm
    #[arg(long, value_name = "NORM", default_value_t = GrpoOptions::default().clip_norm)]
    clip_norm: f32,
    /// Updates with the answers of one step
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().epochs)]
    epochs: usize,
    /// How rewards become advantages: over the group's mean and deviation, or its mean alone (Dr. GRPO)
    #[arg(long, value_name = "KIND", value_parser = one_of(&[AdvantageKind::Group, AdvantageKind::Centred]),
          default_value = "group")]
    advantage: AdvantageKind,
    /// Leave out groups whose answers all earned the same (DAPO)
    #[arg(long)]
    drop_uninformative: bool,
    /// How often, at most, a step asks further tasks in place of those left out (DAPO)
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().refills, requires = "drop_uninformative")]
    refills: usize,
    /// How far a probability ratio counts below 1
    #[arg(long, value_name = "EPS", default_value_t = ClipRange::default().low)]
    clip: f32,
    /// How far it counts above 1 (DAPO); as far as below without this
    #[arg(long, value_name = "EPS")]
    clip_high: Option<f32>,
    /// Bound of the loss where the advantage is negative; 0 for none
    #[arg(long, value_name = "C", default_value_t = 3.0)]
    dual_clip: f32,
    /// Weight of the entropy bonus
    #[arg(long, value_name = "WEIGHT", default_value_t = GrpoOptions::default().entropy)]
    entropy: f32,
    /// Weight of the KL penalty against the model that the run began with
    #[arg(long, value_name = "WEIGHT", default_value_t = GrpoOptions::default().kl)]
    kl: f32,
    /// How tokens' losses become one: the mean over all tokens, over answers, or over answers of this length in tokens
    /// (Dr. GRPO)
    #[arg(long, value_name = "token-mean|sequence-mean|LENGTH", default_value = "token-mean", value_parser = aggregation)]
    aggregation: Aggregation,
    /// Tokens whose graph is in memory at a time, for each core
    #[arg(long, value_name = "N", default_value_t = GrpoOptions::default().batch_tokens)]
    batch_tokens: usize,
}

fn aggregation(text: &str) -> Result<Aggregation, String> {
    match text {
        "token-mean" => Ok(Aggregation::TokenMean),
        "sequence-mean" => Ok(Aggregation::SequenceMean),
        _ => match text.parse() {
            Ok(length) if length > 0 => Ok(Aggregation::FixedLength(length)),
            _ => Err("expected token-mean, sequence-mean or a length in tokens".into()),
        },
    }
}

pub fn run(args: GrpoArgs) -> Result<Outcome, Failure> {
    let mut setup = args.rows.setup(args.init, args.slots_examples)?;
    args.decoder.apply(&mut setup, args.seed)?;
    let rewards = library::rewards(&args.rewards)?;
    let method = args.method;
    let options = GrpoOptions {
        out: args.out,
        steps: args.steps,
        prompts: args.prompts,
        group: args.group,
        temperature: method.temperature,
        top_p: method.top_p,
        repetition_penalty: method.repetition_penalty,
        epochs: method.epochs,
        advantage: method.advantage,
        drop_uninformative: method.drop_uninformative,
        refills: method.refills,
        clip: ClipRange {
            low: method.clip,
            high: method.clip_high.unwrap_or(method.clip),
            dual: (method.dual_clip > 0.0).then_some(method.dual_clip),
        },
        entropy: method.entropy,
        kl: method.kl,
        aggregation: method.aggregation,
        learning_rate: method.lr,
        weight_decay: method.weight_decay,
        clip_norm: method.clip_norm,
        slots_weight: args.slots_weight,
        batch_tokens: method.batch_tokens,
        seed: args.seed,
        checkpoint_every: args.checkpoint_every,
        watched: args.watched,
        watch_every: args.watch_every,
    };
    let bar = bar(options.steps)?;
    rl::run(&setup, rewards, &options, |report| {
        show(&bar, (report.step, report.of), line(report), report.watched.as_ref().map(seen));
    })?;
    bar.finish_and_clear();
    writeln!(anstream::stdout(), "{}", options.out.join("model.safetensors").display())?;
    Ok(Outcome::Clean)
}

fn line(report: &Report) -> String {
    format!(
        "reward {:.3}  {}  length {:.1}  entropy {:.3}  slots {:.3}  {:.1} groups/s  {} left",
        report.reward,
        verdicts(&report.verdicts),
        report.length,
        report.entropy,
        report.slots_loss,
        report.groups_per_second,
        clock(report.seconds_left),
    )
}

pub fn seen(watched: &Watched) -> String {
    format!(
        "think first {}  answer first {}  slots AUROC {}  steps agree {}",
        verdicts(&watched.think_first),
        verdicts(&watched.answer_first),
        share(watched.slots_auroc),
        share(watched.agreement),
    )
}

fn verdicts(verdicts: &Verdicts) -> String {
    format!("F1 {} FPR {} AUROC {}", share(verdicts.f1), share(verdicts.fpr), share(verdicts.auroc))
}

fn share(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.3}"))
}
