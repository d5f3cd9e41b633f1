//! `rsafe train pairs`: a better and a worse answer to each task, out of the model's own.

use std::io::Write;
use std::path::{Path, PathBuf};

use rsafe::train::rl;
use rsafe::train::rl::mine::MineOptions;

use super::decoder::DecoderArgs;
use super::rows::{RowsArgs, bar};
use crate::outcome::{Failure, Outcome};
use crate::{library, outputs};

#[derive(clap::Args)]
pub struct PairsArgs {
    #[command(flatten)]
    rows: RowsArgs,
    /// The model that answers: a bundle's folder, or the folder that an earlier training run wrote
    #[arg(long, value_name = "DIR")]
    init: PathBuf,
    /// The file of pairs that is written, one as JSON a line: it holds conversations of the rows as they are
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What answers earn: a file of rules, or `rsafe` (0.9 accuracy, 0.1 format) or `rsafe-mini`
    #[arg(long, value_name = "REWARDS", default_value = "rsafe-mini")]
    rewards: String,
    /// Tasks that are answered; each gives one pair at most
    #[arg(long, value_name = "N", default_value_t = MineOptions::default().tasks)]
    tasks: usize,
    /// Answers to each task
    #[arg(long, value_name = "N", default_value_t = MineOptions::default().samples)]
    samples: usize,
    /// By how much the rewards of a pair's answers differ at least; an answer that calls something unsafe safe is worse than
    /// any other whatever it earned
    #[arg(long, value_name = "REWARD", default_value_t = MineOptions::default().gap)]
    gap: f32,
    #[arg(long, value_name = "T", default_value_t = MineOptions::default().temperature)]
    temperature: f32,
    /// Probability mass that answers are drawn from; below 1 a choice that is surer than this is never drawn the other way, so
    /// that a sure mistake gives no pair
    #[arg(long, value_name = "P", default_value_t = MineOptions::default().top_p)]
    top_p: f32,
    #[arg(long, value_name = "X", default_value_t = MineOptions::default().repetition_penalty)]
    repetition_penalty: f32,
    #[arg(long, value_name = "N", default_value_t = MineOptions::default().seed)]
    seed: u64,
    #[command(flatten)]
    decoder: DecoderArgs,
}

pub fn run(args: PairsArgs) -> Result<Outcome, Failure> {
    let inputs = args.rows.inputs().chain([args.init.as_path(), Path::new(&args.rewards)]);
    outputs::keep_apart(inputs, &[("--out", Some(&args.out))])?;
    // Mining trains nothing, so there is no supervised term.
    let mut setup = args.rows.setup(args.init, 0)?;
    args.decoder.apply(&mut setup, args.seed)?;
    let options = MineOptions {
        out: args.out,
        tasks: args.tasks,
        samples: args.samples,
        gap: args.gap,
        temperature: args.temperature,
        top_p: args.top_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
    };
    let bar = bar(options.tasks)?;
    let found = rl::mine_pairs(&setup, library::rewards(&args.rewards)?, &options, |found| {
        bar.set_position(found.tasks as u64);
        bar.set_message(format!("{} pairs, {} against a miss", found.pairs, found.misses));
    })?;
    bar.finish_and_clear();
    writeln!(
        anstream::stdout(),
        "{}: {} pairs out of {} tasks, {} against a miss, {} about something safe",
        options.out.display(),
        found.pairs,
        found.tasks,
        found.misses,
        found.safe
    )?;
    Ok(Outcome::Clean)
}
