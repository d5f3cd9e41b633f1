//! Mining: a network answers tasks several times over, and a better and a worse answer become a pair.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::grpo::{count, reward, rollouts};
use super::network::Network;
use super::options::GrpoOptions;
use super::pairs::{Graded, Pair, pick, write};
use super::report::Report;
use super::task::Tasks;
use crate::data::rows::Label;
use crate::error::{Error, Result};
use crate::train::reward::Rewards;
use crate::verdict;
use crate::workers::Workers;

/// Tasks that are answered side by side.
const CHUNK: usize = 16;

/// What is mined.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MineOptions {
    /// The file of pairs; one that is there is replaced.
    pub out: PathBuf,
    /// Tasks that are answered; each gives one pair at most.
    pub tasks: usize,
    /// Answers to each task, at least 2.
    pub samples: usize,
    /// By how much the rewards of a pair differ at least, unless the rejected answer alone is unsafe.
    pub gap: f32,
    /// Above 0: answers must differ.
    pub temperature: f32,
    /// Below 1 a choice between two that is surer than this is never drawn the other way: a sure mistake gives no pair.
    pub top_p: f32,
    pub repetition_penalty: f32,
    pub seed: u64,
}

impl Default for MineOptions {
    fn default() -> Self {
        let GrpoOptions { temperature, repetition_penalty, seed, .. } = GrpoOptions::default();
        Self {
            out: PathBuf::new(),
            tasks: 2000,
            samples: 8,
            gap: 0.5,
            temperature,
            top_p: 1.0,
            repetition_penalty,
            seed,
        }
    }
}

/// What was found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Found {
    /// Tasks answered, and how many there will be.
    pub tasks: usize,
    pub of: usize,
    pub pairs: usize,
    /// Pairs whose rejected answer calls something unsafe safe.
    pub misses: usize,
    /// Pairs about something safe.
    pub safe: usize,
}

/// Lets the network answer tasks and writes the pairs, in the order of the tasks, calling `on_tasks` as it goes.
///
/// # Errors
/// Whatever options, tasks, network or disk have wrong.
pub fn mine<N: Network>(
    network: &N,
    tasks: &(impl Tasks + ?Sized),
    mut rewards: Rewards,
    options: &MineOptions,
    mut on_tasks: impl FnMut(&Found),
) -> Result<Found> {
    // The answers are those of GRPO's steps.
    let sampling = GrpoOptions {
        group: options.samples,
        temperature: options.temperature,
        top_p: options.top_p,
        repetition_penalty: options.repetition_penalty,
        seed: options.seed,
        prompts: CHUNK,
        ..GrpoOptions::default()
    };
    sampling.check()?;
    let file = File::create(&options.out).map_err(Error::io(&options.out))?;
    let mut file = BufWriter::new(file);
    let workers = Workers::new()?;
    let mut found = Found { of: options.tasks, ..Found::default() };
    while found.tasks < options.tasks {
        let places = found.tasks..options.tasks.min(found.tasks + sampling.prompts);
        let mut groups = rollouts(&workers, network, tasks, &sampling, places.clone())?;
        found.tasks = places.end;
        if groups.is_empty() {
            continue;
        }
        reward(&mut groups, &rewards, &sampling);
        count(&groups, &mut rewards, &mut Report::default());
        for group in groups {
            let is_unsafe = group.task.truth.label == Label::Unsafe;
            let answers: Vec<Graded> = group
                .rollouts
                .iter()
                .zip(group.rewards())
                .map(|(rollout, reward)| {
                    let miss = is_unsafe && rollout.answer.verdict == Some(verdict::Label::Safe);
                    Graded::new(rollout, reward, miss)
                })
                .collect();
            let Some([chosen, rejected]) = pick(&answers, options.gap) else { continue };
            let (chosen, rejected) = (answers[chosen].clone(), answers[rejected].clone());
            let pair = Pair { task: group.task, chosen, rejected };
            found.pairs += 1;
            found.misses += usize::from(pair.rejected.miss);
            found.safe += usize::from(!is_unsafe);
            write(&pair, &mut file, &options.out)?;
        }
        on_tasks(&found);
    }
    file.flush().map_err(Error::io(&options.out))?;
    Ok(found)
}
