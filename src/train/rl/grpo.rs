//! GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1): sample a group of answers to each task, reward them, and make those
//! above their group's mean more likely.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::advantage::{advantages, is_informative};
use super::loss::LossOptions;
use super::network::{Network, Rollout};
use super::options::GrpoOptions;
use super::page::page;
use super::report::{Report, verdicts};
use super::supervision::Supervision;
use super::task::{Task, Tasks, generator};
use super::update::{Group, UpdateOptions, clipped, gradient};
use super::watch::watch;
use crate::error::{Error, Result};
use crate::sampling::Sampling;
use crate::train::checkpoint::Checkpoint;
use crate::train::files::{json, metrics, write};
use crate::train::reward::{BudgetState, Outcome, Rewards};
use crate::train::sft::adam_w;
use crate::workers::Workers;

/// The place in the run from which it goes on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Progress {
    /// Steps taken, and tasks asked: everything that is drawn depends on them and the seed alone.
    step: usize,
    tasks: usize,
    /// What the rewards have learnt.
    rewards: BudgetState,
}

/// Trains `network` on `tasks`, calling `on_step` with each report, and writes the trained network to `options.out`.
///
/// # Errors
/// Whatever options, tasks, network or disk have wrong.
pub fn run<N: Network>(
    network: N,
    device: &Device,
    tasks: &(impl Tasks + ?Sized),
    supervision: &(impl Supervision<N> + ?Sized),
    rewards: Rewards,
    options: &GrpoOptions,
    mut on_step: impl FnMut(&Report),
) -> Result<N> {
    options.check()?;
    fs::create_dir_all(&options.out).map_err(Error::io(&options.out))?;
    let rules = serde_saphyr::to_string(&rewards).map_err(|e| Error::BadInput(format!("rewards.yaml: {e}")))?;
    let checkpoint = Checkpoint::of(&options.out);
    keep_rules(&options.out, &rules, checkpoint.exists())?;

    let reference = (options.kl > 0.0).then(|| network.valid());
    let optimizer = adam_w(options.weight_decay, None);
    let (mut network, mut optimizer, mut progress) = match checkpoint.load::<Progress>(optimizer.clone())? {
        Some((tensors, optimizer, progress)) => (network.with_tensors(tensors)?, optimizer, progress),
        None => (network, optimizer, Progress::default()),
    };
    let mut rewards = rewards.with_state(progress.rewards.clone());
    let watched = if options.watched > 0 { tasks.watched(options.watched)? } else { Vec::new() };
    let workers = Workers::new()?;
    let update = UpdateOptions {
        loss: LossOptions {
            clip: options.clip,
            entropy: options.entropy,
            kl: options.kl,
            aggregation: options.aggregation,
        },
        temperature: options.temperature,
        batch_tokens: options.batch_tokens,
        supervision: options.slots_weight,
    };
    let (mut log, mut reports) = metrics(&options.out.join("metrics.jsonl"), progress.step)?;
    let (started, started_at) = (Instant::now(), progress.step);
    while progress.step < options.steps {
        let began = Instant::now();
        let mut report = Report { of: options.steps, learning_rate: options.learning_rate, ..Report::default() };
        let mut groups: Vec<Group> = Vec::new();
        for _ in 0..=options.refills {
            let missing = options.prompts - groups.iter().filter(|group| options.teaches(group)).count();
            if missing == 0 {
                break;
            }
            let places = progress.tasks..progress.tasks + missing;
            progress.tasks = places.end;
            let mut more = rollouts(&workers, &network, tasks, options, places)?;
            reward(&mut more, &rewards, options);
            groups.extend(more);
        }
        if groups.is_empty() {
            return Err(Error::BadInput(
                "no task of a step has room in the model's context; take shorter rows, a shorter policy or more tasks"
                    .into(),
            ));
        }
        count(&groups, &mut rewards, &mut report);
        report.rollout_seconds = began.elapsed().as_secs_f64();
        let tokens: usize = groups.iter().map(Group::tokens).sum();
        let asked = groups.len();

        let began = Instant::now();
        groups.retain(|group| options.teaches(group));
        if let Some(reference) = &reference {
            let known = workers.map(&groups, |group| -> Result<Vec<f32>> {
                let (log_probs, _) = reference.log_probs(&group.task, &group.rollouts, options.temperature)?;
                Ok(log_probs.into_data().iter::<f32>().collect())
            });
            for (group, known) in groups.iter_mut().zip(known) {
                group.reference = Some(known?);
            }
        }
        for epoch in 0..options.epochs {
            let batch = progress.step * options.epochs + epoch;
            let (gradients, done) = gradient(&workers, &network, &mut groups, supervision, batch, &update, device)?;
            if epoch == 0 {
                report.mismatch = mismatch(&groups);
            }
            let gradients = clipped(&network, gradients, options.clip_norm);
            network = optimizer.step(options.learning_rate, network, gradients);
            report.policy_loss = done.loss.policy;
            report.entropy = done.loss.entropy;
            report.kl = done.loss.kl;
            report.approx_kl = done.loss.approx_kl;
            report.clip_fraction = done.loss.clip_fraction;
            report.dual_clip_fraction = done.loss.dual_clip_fraction;
            report.slots_loss = done.supervision;
        }
        report.update_seconds = began.elapsed().as_secs_f64();

        progress.step += 1;
        progress.rewards = rewards.state().clone();
        report.step = progress.step;
        let seconds = report.rollout_seconds + report.update_seconds;
        report.groups_per_second = asked as f64 / seconds;
        report.tokens_per_second = tokens as f64 / seconds;
        let done = progress.step == options.steps;
        if !watched.is_empty() && (progress.step.is_multiple_of(options.watch_every) || done) {
            report.watched = Some(watch(&workers, &network.valid(), &watched)?);
        }
        let pace = started.elapsed().as_secs_f64() / (progress.step - started_at) as f64;
        report.seconds_left = pace * (options.steps - progress.step) as f64;
        let mut line = json(&report)?;
        line.push(b'\n');
        log.write_all(&line).map_err(Error::io(options.out.join("metrics.jsonl")))?;
        on_step(&report);
        reports.push(report);
        if progress.step.is_multiple_of(options.checkpoint_every) || done {
            checkpoint.save(&network.tensors(), &optimizer, &progress)?;
            write(&options.out.join("report.html"), page(&reports, &rules, options).html().as_bytes())?;
        }
    }
    network.export(&options.out)?;
    Ok(network)
}

/// Keeps the rules beside what they teach; a run that goes on goes on with those it had.
fn keep_rules(out: &Path, rules: &str, goes_on: bool) -> Result<()> {
    let path = out.join("rewards.yaml");
    match fs::read_to_string(&path) {
        Ok(before) if goes_on && before != rules => Err(Error::BadInput(format!(
            "{}: holds a run with other rewards, which cannot go on with these; take another folder",
            out.display()
        ))),
        _ => write(&path, rules.as_bytes()),
    }
}

/// The answers to the tasks in these places of the run. A task whose prompt has no room in the model's context is left out.
pub(super) fn rollouts<N: Network>(
    workers: &Workers,
    network: &N,
    tasks: &(impl Tasks + ?Sized),
    options: &GrpoOptions,
    places: Range<usize>,
) -> Result<Vec<Group>> {
    let network = &network.valid();
    let places: Vec<usize> = places.collect();
    let sampling = Sampling {
        temperature: options.temperature,
        top_p: options.top_p,
        top_k: None,
        repetition_penalty: options.repetition_penalty,
        seed: 0,
    };
    let written = workers.map(&places, |&place| -> Result<Group> {
        let task = tasks.task(place)?;
        let seed = generator(options.seed, "rollouts", place as u64).random();
        let rollouts = network.rollouts(&task, options.group, sampling, seed)?;
        Ok(Group { task, rollouts, earned: Vec::new(), advantages: Vec::new(), old: None, reference: None })
    });
    written.into_iter().filter(|group| !matches!(group, Err(Error::ContextLength { .. }))).collect()
}

/// Rewards the answers.
pub(super) fn reward(groups: &mut [Group], rewards: &Rewards, options: &GrpoOptions) {
    for group in groups {
        let of = |rollout: &Rollout| rewards.score(&outcome(&group.task, rollout));
        group.earned = group.rollouts.iter().map(of).collect();
        group.advantages = advantages(&group.rewards(), options.advantage);
    }
}

/// Counts what the answers of a step earned, and lets the rewards learn from them.
pub(super) fn count(groups: &[Group], rewards: &mut Rewards, report: &mut Report) {
    let (mut answers, mut tokens, mut choices, mut informative) = (0usize, 0usize, 0usize, 0usize);
    for group in groups {
        for reward in &group.earned {
            report.reward += reward.total;
            for (&rule, part) in &reward.parts {
                *report.parts.entry(rule.to_owned()).or_default() += part;
            }
        }
        informative += usize::from(is_informative(&group.rewards()));
        answers += group.rollouts.len();
        tokens += group.rollouts.iter().map(|rollout| rollout.tokens.len()).sum::<usize>();
        choices += group.decisions();
    }
    let outcomes: Vec<Outcome> =
        groups.iter().flat_map(|group| group.rollouts.iter().map(|rollout| outcome(&group.task, rollout))).collect();
    rewards.observe(&outcomes);
    let mean = |sum: f32| sum / answers as f32;
    report.reward = mean(report.reward);
    report.parts.values_mut().for_each(|part| *part = mean(*part));
    report.length = mean(tokens as f32);
    report.choices = mean(choices as f32);
    report.groups = groups.len();
    report.informative = informative as f32 / groups.len() as f32;
    report.verdicts = verdicts(groups);
}

fn outcome<'a>(task: &'a Task, rollout: &'a Rollout) -> Outcome<'a> {
    Outcome {
        conversation: &task.conversation,
        policy: &task.policy,
        truth: &task.truth,
        answer: &rollout.answer,
        well_formed: rollout.well_formed,
        tokens: rollout.tokens.len(),
        scores: rollout.flags.as_deref(),
    }
}

/// How far rollouts and training graph lie apart in the log-probability of a decision, at most.
fn mismatch(groups: &[Group]) -> f32 {
    let of = |group: &Group| {
        let sampled = group.rollouts.iter().flat_map(Rollout::log_probs);
        let old = group.old.iter().flatten();
        sampled.zip(old).map(|(sampled, old)| (sampled - old).abs()).fold(0f32, f32::max)
    };
    groups.iter().map(of).fold(0f32, f32::max)
}
