//! SafeDPO (Kim et al., 2025, arXiv 2505.20065): preference tuning in one stage, on a file of pairs and without sampling.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::loss::dpo_loss;
use super::network::{Network, Rollout};
use super::pairs::Pair;
use super::report::Watched;
use super::supervision::Supervision;
use super::task::{Task, generator};
use super::update::{self, clipped, on_cores, supervise};
use super::watch::watch;
use crate::error::{Error, Result};
use crate::train::checkpoint::Checkpoint;
use crate::train::files::{json, metrics};
use crate::train::sft::adam_w;
use crate::workers::Workers;

/// What a run is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpoOptions {
    /// The file that the pairs are read from.
    pub pairs: PathBuf,
    /// Where checkpoint, metrics and the trained tensors go. A run found there is resumed.
    pub out: PathBuf,
    /// Times that each pair is learnt from.
    pub epochs: usize,
    /// Pairs a step.
    pub batch: usize,
    /// Above 0: how dearly moving away from the first weights is paid. Large values stay near them.
    pub beta: f32,
    /// SafeDPO's Δ, at least 0, in units of `beta` times a log-probability ratio: how much further ahead the chosen answer
    /// must be of one that calls something unsafe safe. 0 leaves the order of the pairs as the only safety. It moves
    /// verdicts towards unsafe, so false alarms grow with it.
    pub safety_margin: f32,
    /// Constant.
    pub learning_rate: f64,
    pub weight_decay: f32,
    /// The gradient of all weights as one vector is clipped to this norm.
    pub clip_norm: f32,
    /// Weight of the supervised term.
    pub slots_weight: f32,
    pub seed: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Steps between two looks at rows that are never trained on.
    pub watch_every: usize,
}

impl Default for DpoOptions {
    fn default() -> Self {
        Self {
            pairs: PathBuf::new(),
            out: PathBuf::new(),
            epochs: 1,
            batch: 32,
            beta: 0.1,
            safety_margin: 0.0,
            learning_rate: 2e-5,
            weight_decay: 0.01,
            clip_norm: 1.0,
            slots_weight: 1.0,
            seed: 1,
            checkpoint_every: 25,
            watch_every: 25,
        }
    }
}

impl DpoOptions {
    /// Optimiser steps for so many pairs.
    pub fn steps(&self, pairs: usize) -> usize {
        pairs.div_ceil(self.batch.max(1)) * self.epochs
    }

    pub(super) fn check(&self) -> Result<()> {
        let at_least_one = [
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("checkpoint_every", self.checkpoint_every),
            ("watch_every", self.watch_every),
        ];
        if let Some((name, _)) = at_least_one.into_iter().find(|(_, found)| *found == 0) {
            return Err(Error::BadInput(format!("{name}: expected at least 1, found 0")));
        }
        update::check(self.learning_rate, self.weight_decay, self.clip_norm, self.slots_weight)?;
        let (beta, margin) = (self.beta, self.safety_margin);
        if !(beta.is_finite() && beta > 0.0) {
            return Err(Error::BadInput(format!("beta: expected a number above 0, found {beta}")));
        }
        if !(margin.is_finite() && margin >= 0.0) {
            return Err(Error::BadInput(format!("safety_margin: expected a number of at least 0, found {margin}")));
        }
        Ok(())
    }
}

/// One step: a line of `metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DpoReport {
    /// Steps taken, this one counted, and how many there will be.
    pub step: usize,
    pub of: usize,
    /// Mean loss of the step's pairs before its update.
    pub loss: f32,
    /// The share of pairs whose chosen answer has gained more than the rejected one since the run began; where both have
    /// gained the same it is not counted.
    pub accuracy: f32,
    /// Mean of `beta` · (log-probability - that under the first weights): of the chosen answers and of the rejected ones.
    pub chosen: f32,
    pub rejected: f32,
    /// How far the chosen are ahead, the difference of the two.
    pub margin: f32,
    /// The supervised term.
    pub slots_loss: f32,
    pub learning_rate: f64,
    pub pairs_per_second: f64,
    pub seconds_left: f64,
    /// Every so many steps, where there are rows to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
}

/// The place in the run from which it goes on: everything that is drawn depends on it and the seed alone.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Progress {
    step: usize,
}

/// A pair as it is learnt from.
struct Lesson<'p> {
    task: &'p Task,
    /// The chosen answer, the rejected one.
    answers: [Rollout; 2],
    /// Their log-probabilities under the first weights.
    reference: [f32; 2],
    /// SafeDPO's h_rejected - h_chosen.
    safety: f32,
}

/// Trains `network` on pairs, calling `on_step` with each report, and writes the trained network to `options.out`.
/// `watched` are tasks about rows that are never trained on.
///
/// # Errors
/// Whatever options, pairs, network or disk have wrong.
pub fn run<N: Network>(
    network: N,
    device: &Device,
    pairs: &[Pair],
    watched: &[Task],
    supervision: &(impl Supervision<N> + ?Sized),
    options: &DpoOptions,
    mut on_step: impl FnMut(&DpoReport),
) -> Result<N> {
    options.check()?;
    fs::create_dir_all(&options.out).map_err(Error::io(&options.out))?;

    let workers = Workers::new()?;
    let lessons = lessons(&workers, &network.valid(), pairs)?;
    let checkpoint = Checkpoint::of(&options.out);
    let optimizer = adam_w(options.weight_decay, None);
    let (mut network, mut optimizer, mut progress) = match checkpoint.load::<Progress>(optimizer.clone())? {
        Some((tensors, optimizer, progress)) => (network.with_tensors(tensors)?, optimizer, progress),
        None => (network, optimizer, Progress::default()),
    };
    let (mut log, _) = metrics::<DpoReport>(&options.out.join("metrics.jsonl"), progress.step)?;
    let (started, started_at) = (Instant::now(), progress.step);
    let steps_of_epoch = lessons.len().div_ceil(options.batch);
    let steps = options.steps(lessons.len());
    while progress.step < steps {
        let began = Instant::now();
        let batch = batch(&lessons, options, progress.step / steps_of_epoch, progress.step % steps_of_epoch);
        let (gradients, mut report) =
            gradient(&workers, &network, &batch, supervision, progress.step, options, device)?;
        let gradients = clipped(&network, gradients, options.clip_norm);
        network = optimizer.step(options.learning_rate, network, gradients);

        progress.step += 1;
        report.step = progress.step;
        report.of = steps;
        report.learning_rate = options.learning_rate;
        report.pairs_per_second = batch.len() as f64 / began.elapsed().as_secs_f64();
        let done = progress.step == steps;
        if !watched.is_empty() && (progress.step.is_multiple_of(options.watch_every) || done) {
            report.watched = Some(watch(&workers, &network.valid(), watched)?);
        }
        let pace = started.elapsed().as_secs_f64() / (progress.step - started_at) as f64;
        report.seconds_left = pace * (steps - progress.step) as f64;
        let mut line = json(&report)?;
        line.push(b'\n');
        log.write_all(&line).map_err(Error::io(options.out.join("metrics.jsonl")))?;
        on_step(&report);
        if progress.step.is_multiple_of(options.checkpoint_every) || done {
            checkpoint.save(&network.tensors(), &optimizer, &progress)?;
        }
    }
    network.export(&options.out)?;
    Ok(network)
}

/// Pairs with the log-probabilities of their answers under the network as it is: DPO's reference, computed once.
fn lessons<'p, N: Network>(workers: &Workers, network: &N, pairs: &'p [Pair]) -> Result<Vec<Lesson<'p>>> {
    let lesson = |pair: &'p Pair| {
        let answers = [pair.chosen.rollout()?, pair.rejected.rollout()?];
        let (log_probs, _) = network.log_probs(&pair.task, &answers, 1.0)?;
        let [chosen, rejected] = of_answers(log_probs, &answers);
        let reference = [number(&chosen), number(&rejected)];
        Ok(Lesson { task: &pair.task, answers, reference, safety: pair.safety() })
    };
    let pairs: Vec<&'p Pair> = pairs.iter().collect();
    workers.map(&pairs, |pair| lesson(pair)).into_iter().collect()
}

/// The pairs of one step.
fn batch<'l, 'p>(lessons: &'l [Lesson<'p>], options: &DpoOptions, epoch: usize, batch: usize) -> Vec<&'l Lesson<'p>> {
    let mut order: Vec<&Lesson> = lessons.iter().collect();
    order.shuffle(&mut generator(options.seed, "pairs", epoch as u64));
    let from = batch * options.batch;
    order[from..(from + options.batch).min(order.len())].to_vec()
}

/// The gradient of the mean loss of the pairs plus the supervised term. Every core takes each so-manieth pair.
fn gradient<N: Network>(
    workers: &Workers,
    network: &N,
    batch: &[&Lesson],
    supervision: &(impl Supervision<N> + ?Sized),
    step: usize,
    options: &DpoOptions,
    device: &Device,
) -> Result<(GradientsParams, DpoReport)> {
    let cores = workers.len();
    let (each, supervised) = (1.0 / batch.len() as f32, 1.0 / cores as f32);
    let (gradients, reports) = on_cores(workers, network, device, &(0..cores).collect::<Vec<_>>(), |network, core| {
        let mut sum = GradientsAccumulator::new();
        let mut report = DpoReport::default();
        for lesson in batch.iter().skip(*core).step_by(cores) {
            let gradients = network.gradients(&[(lesson.task, &lesson.answers)], 1.0, &mut |log_probs, _| {
                let [chosen, rejected] = of_answers(log_probs, &lesson.answers);
                let [first, second] = lesson.reference;
                let [gained, lost] = [(&chosen, first), (&rejected, second)]
                    .map(|(now, reference)| options.beta * (number(now) - reference));
                let margin = options.safety_margin * lesson.safety;
                let loss = dpo_loss(chosen, rejected, &[first], &[second], options.beta, &[margin]);
                report.loss += each * number(&loss);
                report.chosen += each * gained;
                report.rejected += each * lost;
                report.accuracy += if gained > lost { each } else { 0.0 };
                loss * each
            })?;
            sum.accumulate(network, gradients);
        }
        let batch = step * cores + core;
        report.slots_loss = supervise(network, supervision, batch, supervised, options.slots_weight, &mut sum)?;
        if !(report.loss.is_finite() && report.slots_loss.is_finite()) {
            return Err(Error::BadModel("the loss is no number any more; train with a lower learning rate".into()));
        }
        Ok((sum.grads(), report))
    })?;
    let mut report = DpoReport::default();
    for part in reports {
        report.loss += part.loss;
        report.accuracy += part.accuracy;
        report.chosen += part.chosen;
        report.rejected += part.rejected;
        report.slots_loss += part.slots_loss;
    }
    report.margin = report.chosen - report.rejected;
    Ok((gradients, report))
}

/// The log-probabilities of two answers, `[1]` each: sums over those of their decisions, `[decisions]`.
fn of_answers(decisions: Tensor<1>, answers: &[Rollout; 2]) -> [Tensor<1>; 2] {
    let [first, second] = answers.each_ref().map(|answer| answer.decisions());
    [decisions.clone().slice(0..first).sum(), decisions.slice(first..first + second).sum()]
}

fn number(tensor: &Tensor<1>) -> f32 {
    tensor.to_data().iter::<f32>().next().unwrap_or(f32::NAN)
}
