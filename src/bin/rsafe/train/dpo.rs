//! `rsafe train dpo`: preference tuning on mined pairs, for machines where sampling in every step is too slow.

use std::io::Write;
use std::path::PathBuf;

use rsafe::train::rl::dpo::{DpoOptions, DpoReport};
use rsafe::train::rl::{self, Setup, TaskSource};

use super::clock::clock;
use super::decoder::DecoderArgs;
use super::grpo::seen;
use super::rows::{bar, show, source};
use crate::outcome::{Failure, Outcome};

#[derive(clap::Args)]
pub struct DpoArgs {
    /// Pairs that `rsafe train pairs` wrote
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// The model to start from, which is the reference, too: the one that the pairs were mined with
    #[arg(long, value_name = "DIR")]
    init: PathBuf,
    /// Checkpoints, metrics (JSON lines) and the finished model, which `rsafe convert` reads
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Times that each pair is learnt from
    #[arg(long, value_name = "N", default_value_t = DpoOptions::default().epochs)]
    epochs: usize,
    /// Pairs a step
    #[arg(long, value_name = "N", default_value_t = DpoOptions::default().batch)]
    batch: usize,
    /// How dearly moving away from the first weights is paid, above 0; large values stay near them
    #[arg(long, value_name = "BETA", default_value_t = DpoOptions::default().beta)]
    beta: f32,
    /// SafeDPO's margin: how much further ahead an answer must be of one that calls something unsafe safe, as `beta` times a
    /// log-probability ratio; it finds more and raises more false alarms. 0 for none
    #[arg(long, value_name = "DELTA", default_value_t = DpoOptions::default().safety_margin)]
    safety_margin: f32,
    /// Constant learning rate
    #[arg(long, value_name = "RATE", default_value_t = DpoOptions::default().learning_rate)]
    lr: f64,
    #[arg(long, value_name = "RATE", default_value_t = DpoOptions::default().weight_decay)]
    weight_decay: f32,
    /// The gradient of all weights as one vector is clipped to this norm
    #[arg(long, value_name = "NORM", default_value_t = DpoOptions::default().clip_norm)]
    clip_norm: f32,
    /// Weight of the supervised loss of the category scores beside that of the pairs; 0 for none
    #[arg(long, value_name = "WEIGHT", default_value_t = DpoOptions::default().slots_weight)]
    slots_weight: f32,
    /// Examples of that supervised loss in each step, for each core
    #[arg(long, value_name = "N", default_value_t = 4)]
    slots_examples: usize,
    #[arg(long, value_name = "N", default_value_t = DpoOptions::default().seed)]
    seed: u64,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = DpoOptions::default().checkpoint_every)]
    checkpoint_every: usize,
    /// Held-out rows that the run is watched on, with --data; 0 for none
    #[arg(long, value_name = "N", default_value_t = 200)]
    watched: usize,
    /// Steps between two looks at them
    #[arg(long, value_name = "N", default_value_t = DpoOptions::default().watch_every)]
    watch_every: usize,
    #[command(flatten)]
    decoder: DecoderArgs,
    // Last: its heading would hold whatever follows.
    #[command(flatten)]
    rows: Rows,
}

/// Rows beside the pairs.
#[derive(clap::Args)]
#[command(next_help_heading = "Rows for the supervised loss and for watching [default: the pairs' own, none watched]")]
struct Rows {
    /// Labelled rows: with --recipe the folder of its sets, with --policy files or folders of rows
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Judge them under policies drawn from this training recipe
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "policy")]
    recipe: Option<PathBuf>,
    /// Judge them under this policy (a file, or a built-in one's name)
    #[arg(long, value_name = "POLICY", requires = "data")]
    policy: Option<String>,
    /// Share of rows kept out of training and watched, with --policy; a recipe says its own
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, conflicts_with = "recipe")]
    held_out: f64,
}

pub fn run(args: DpoArgs) -> Result<Outcome, Failure> {
    let source = source(args.rows.recipe, args.rows.policy, args.rows.held_out)?;
    let source = source.unwrap_or_else(|| TaskSource::Pairs { tasks_of: args.pairs.clone() });
    let mut setup =
        Setup { data: args.rows.data, slots_examples: args.slots_examples, ..Setup::new(args.init, source) };
    args.decoder.apply(&mut setup, args.seed)?;
    let options = DpoOptions {
        pairs: args.pairs,
        out: args.out,
        epochs: args.epochs,
        batch: args.batch,
        beta: args.beta,
        safety_margin: args.safety_margin,
        learning_rate: args.lr,
        weight_decay: args.weight_decay,
        clip_norm: args.clip_norm,
        slots_weight: args.slots_weight,
        seed: args.seed,
        checkpoint_every: args.checkpoint_every,
        watch_every: args.watch_every,
    };
    let bar = bar(0)?;
    rl::run_dpo(&setup, args.watched, &options, |report| {
        show(&bar, (report.step, report.of), line(report), report.watched.as_ref().map(seen));
    })?;
    bar.finish_and_clear();
    writeln!(anstream::stdout(), "{}", options.out.join("model.safetensors").display())?;
    Ok(Outcome::Clean)
}

fn line(report: &DpoReport) -> String {
    format!(
        "loss {:.3}  accuracy {:.3}  margin {:.3} (chosen {:+.3}, rejected {:+.3})  slots {:.3}  {:.1} pairs/s  {} left",
        report.loss,
        report.accuracy,
        report.margin,
        report.chosen,
        report.rejected,
        report.slots_loss,
        report.pairs_per_second,
        clock(report.seconds_left),
    )
}
