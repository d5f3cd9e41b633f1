//! `rsafe train`: training runs, one command a file.

mod average;
mod calibrate;
mod clock;
mod decoder;
mod dpo;
mod export;
mod grpo;
mod pairs;
mod rows;
mod sft;

use crate::outcome::{Failure, Outcome};

#[derive(clap::Subcommand)]
pub enum TrainCommand {
    /// Supervised training of the embedded model; goes on from the last checkpoint in OUT
    Sft(sft::SftArgs),
    /// Reinforced alignment: reward the model's own answers (GRPO); goes on from the last checkpoint in OUT
    Grpo(Box<grpo::GrpoArgs>),
    /// Mine pairs of a better and a worse answer out of the model's own, for `train dpo`
    Pairs(pairs::PairsArgs),
    /// Preference tuning on mined pairs (SafeDPO); goes on from the last checkpoint in OUT
    Dpo(Box<dpo::DpoArgs>),
    /// The mean of the weights of several runs that began at the same ones
    Average(average::AverageArgs),
    /// Choose a bundle's thresholds, operating points and uncertain band on rows held out of its training
    Calibrate(calibrate::CalibrateArgs),
    /// Write prompts, truths and rewards for a framework that trains beyond one machine
    Export(export::ExportArgs),
}

pub fn run(command: TrainCommand) -> Result<Outcome, Failure> {
    match command {
        TrainCommand::Sft(args) => sft::run(args),
        TrainCommand::Grpo(args) => grpo::run(*args),
        TrainCommand::Pairs(args) => pairs::run(args),
        TrainCommand::Dpo(args) => dpo::run(*args),
        TrainCommand::Average(args) => average::run(args),
        TrainCommand::Calibrate(args) => calibrate::run(args),
        TrainCommand::Export(args) => export::run(args),
    }
}
