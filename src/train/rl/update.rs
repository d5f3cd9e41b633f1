//! One optimiser step's gradient: work shared out over the cores, rewarded groups, and a supervised batch.

use std::sync::Mutex;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};

use super::loss::{Aggregation, LossOptions, LossReport, Tokens, loss};
use super::network::{Network, Rollout};
use super::supervision::Supervision;
use super::task::Task;
use crate::error::{Error, Result};
use crate::train::reward::Reward;
use crate::workers::Workers;

/// Answers to one task and what they earned.
pub struct Group {
    pub task: Task,
    pub rollouts: Vec<Rollout>,
    /// What each rollout earned.
    pub earned: Vec<Reward>,
    /// One for each rollout.
    pub advantages: Vec<f32>,
    /// Log-probabilities of all decisions, `[decisions]`: when they were sampled, as the training graph computes them; and under
    /// the reference. None before they are known.
    pub old: Option<Vec<f32>>,
    pub reference: Option<Vec<f32>>,
}

impl Group {
    /// The whole reward of each rollout.
    pub fn rewards(&self) -> Vec<f32> {
        self.earned.iter().map(|reward| reward.total).collect()
    }

    pub fn decisions(&self) -> usize {
        self.rollouts.iter().map(Rollout::decisions).sum()
    }

    /// Tokens of the prompt once and of every answer.
    pub fn tokens(&self) -> usize {
        let prompt = self.rollouts.first().map_or(0, |rollout| rollout.prompt_tokens);
        prompt + self.rollouts.iter().map(|rollout| rollout.tokens.len()).sum::<usize>()
    }
}

/// How a step is taken.
pub struct UpdateOptions {
    pub loss: LossOptions,
    pub temperature: f32,
    /// Tokens whose graph is alive at a time, for each core.
    pub batch_tokens: usize,
    /// Weight of the supervised term.
    pub supervision: f32,
}

/// What a step's gradient came from.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpdateReport {
    pub loss: LossReport,
    pub supervision: f32,
}

/// What one core does: some groups in parts, each small enough for one graph, and one supervised batch.
struct Share {
    parts: Vec<Vec<usize>>,
    batch: usize,
}

/// What came of it, beside the gradient.
#[derive(Default)]
struct Done {
    /// Weighted by its part of the whole.
    loss: LossReport,
    supervision: f32,
    /// By group: log-probabilities of its decisions before this step.
    log_probs: Vec<(usize, Vec<f32>)>,
}

/// The gradient of the mean loss over all groups plus the supervised term. Groups that do not know their old log-probabilities
/// get them: they are what the network says now, before this step.
///
/// Groups go to cores by their length and sums are taken in a fixed order, so the same groups on as many cores give the same
/// bits.
pub fn gradient<N: Network>(
    workers: &Workers,
    network: &N,
    groups: &mut [Group],
    supervision: &(impl Supervision<N> + ?Sized),
    step: usize,
    options: &UpdateOptions,
    device: &Device,
) -> Result<(GradientsParams, UpdateReport)> {
    let cores = workers.len();
    let shares: Vec<Share> = shares(groups, cores, options.batch_tokens)
        .into_iter()
        .enumerate()
        .map(|(core, parts)| Share { parts, batch: step * cores + core })
        .collect();
    let whole = Weight::of(groups.iter(), options.loss.aggregation);
    let groups_of = &*groups;
    let (gradients, results) = on_cores(workers, network, device, &shares, |network, share| {
        run(network, share, groups_of, supervision, whole, 1.0 / cores as f32, options)
    })?;

    let mut report = UpdateReport::default();
    for done in results {
        report.loss = plus(report.loss, done.loss, 1.0);
        report.supervision += done.supervision;
        for (group, log_probs) in done.log_probs {
            groups[group].old.get_or_insert(log_probs);
        }
    }
    Ok((gradients, report))
}

/// Lets every core work on a share with leaves of its own; gives the sum of the gradients, and what else came of each share.
///
/// The sum is taken in the order of the shares: the same shares give the same bits.
pub fn on_cores<N: Network, S: Sync, R: Send>(
    workers: &Workers,
    network: &N,
    device: &Device,
    shares: &[S],
    work: impl Fn(&N, &S) -> Result<(GradientsParams, R)> + Sync,
) -> Result<(GradientsParams, Vec<R>)> {
    // Graphs that share a parameter share a lock: each core gets leaves of its own.
    let forks: Vec<(Mutex<N>, &S)> =
        shares.iter().map(|share| (Mutex::new(network.clone().fork(device)), share)).collect();
    let results = workers.map(&forks, |(network, share)| {
        let network = network.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&network, share)
    });
    let mut sum = GradientsAccumulator::new();
    let mut reports = Vec::with_capacity(shares.len());
    for result in results {
        let (gradients, report) = result?;
        sum.accumulate(network, gradients);
        reports.push(report);
    }
    Ok((sum.grads(), reports))
}

/// Gradients scaled so that their norm, all of them taken as one vector, is `most` at most (Pascanu et al., 2013, arXiv
/// 1211.5063): their direction stays.
pub fn clipped<M: Module>(module: &M, mut gradients: GradientsParams, most: f32) -> GradientsParams {
    struct Norm<'g>(&'g GradientsParams, f64);
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1 += gradient.square().sum().into_data().iter::<f64>().sum::<f64>();
            }
        }
    }
    struct Scale<'g>(&'g mut GradientsParams, f32);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register::<D>(param.id, gradient * self.1);
            }
        }
    }
    let mut norm = Norm(&gradients, 0.0);
    module.visit(&mut norm);
    let norm = norm.1.sqrt() as f32;
    if norm > most {
        module.visit(&mut Scale(&mut gradients, most / norm));
    }
    gradients
}

/// Checks what every optimiser step takes.
///
/// # Errors
/// [`Error::BadInput`] naming the option, what was expected and what was found.
pub fn check(learning_rate: f64, weight_decay: f32, clip_norm: f32, slots_weight: f32) -> Result<()> {
    let at_least_0 = [
        ("learning_rate", learning_rate),
        ("weight_decay", weight_decay.into()),
        ("slots_weight", slots_weight.into()),
    ];
    if let Some((name, found)) = at_least_0.into_iter().find(|(_, found)| !(found.is_finite() && *found >= 0.0)) {
        return Err(Error::BadInput(format!("{name}: expected a number of at least 0, found {found}")));
    }
    if clip_norm.is_nan() || clip_norm <= 0.0 {
        return Err(Error::BadInput(format!("clip_norm: expected a number above 0, found {clip_norm}")));
    }
    Ok(())
}

/// Adds the gradient of `weight` times a core's `share` of the supervised term to `sum`; gives the share's value for the log.
pub fn supervise<N: Network>(
    network: &N,
    supervision: &(impl Supervision<N> + ?Sized),
    batch: usize,
    share: f32,
    weight: f32,
    sum: &mut GradientsAccumulator<N>,
) -> Result<f32> {
    if weight == 0.0 {
        return Ok(0.0);
    }
    let Some(loss) = supervision.loss(network, batch)? else { return Ok(0.0) };
    let value = loss.to_data().iter::<f32>().next().unwrap_or(f32::NAN) * share;
    sum.accumulate(network, GradientsParams::from_grads((loss * (weight * share)).backward(), network));
    Ok(value)
}

fn run<N: Network>(
    network: &N,
    share: &Share,
    groups: &[Group],
    supervision: &(impl Supervision<N> + ?Sized),
    whole: Weight,
    supervised_share: f32,
    options: &UpdateOptions,
) -> Result<(GradientsParams, Done)> {
    let mut sum = GradientsAccumulator::new();
    let mut done = Done::default();
    for part in &share.parts {
        let of_part = || part.iter().map(|&group| &groups[group]);
        let weight = Weight::of(of_part(), options.loss.aggregation).over(whole);
        let batch: Vec<(&Task, &[Rollout])> = of_part().map(|of| (&of.task, of.rollouts.as_slice())).collect();
        let gradients = network.gradients(&batch, options.temperature, &mut |log_probs, entropies| {
            let values: Vec<f32> = log_probs.to_data().iter::<f32>().collect();
            let (tokens, now) = tokens(part, groups, &values);
            let (loss, report) = loss(log_probs, entropies, &tokens, &options.loss);
            done.loss = plus(done.loss, report, weight);
            done.log_probs.extend(now);
            loss * weight
        })?;
        sum.accumulate(network, gradients);
    }
    done.supervision = supervise(network, supervision, share.batch, supervised_share, options.supervision, &mut sum)?;
    let finite = done.loss.policy.is_finite() && done.supervision.is_finite();
    if !finite {
        return Err(Error::BadModel("the loss is no number any more; train with a lower learning rate".into()));
    }
    Ok((sum.grads(), done))
}

/// What the loss is told of the decisions of a part's groups, whose log-probabilities now are `values`; and those by group.
fn tokens(part: &[usize], groups: &[Group], values: &[f32]) -> (Tokens, Vec<(usize, Vec<f32>)>) {
    let (mut tokens, mut by_group, mut done) = (Tokens::default(), Vec::new(), 0);
    for &index in part {
        let group = &groups[index];
        let now = &values[done..done + group.decisions()];
        done += now.len();
        tokens.old_log_probs.extend(group.old.as_deref().unwrap_or(now));
        if let Some(reference) = &group.reference {
            tokens.reference_log_probs.get_or_insert_default().extend(reference);
        }
        for (rollout, &advantage) in group.rollouts.iter().zip(&group.advantages) {
            tokens.advantages.extend(std::iter::repeat_n(advantage, rollout.decisions()));
            tokens.sequence.extend(std::iter::repeat_n(tokens.sequences, rollout.decisions()));
            tokens.sequences += 1;
        }
        by_group.push((index, now.to_vec()));
    }
    (tokens, by_group)
}

/// What a part of the groups counts in the mean over all of them.
#[derive(Debug, Clone, Copy)]
struct Weight(f32);

impl Weight {
    fn of<'a>(groups: impl Iterator<Item = &'a Group>, aggregation: Aggregation) -> Self {
        let count = |group: &Group| match aggregation {
            Aggregation::TokenMean => group.decisions(),
            Aggregation::SequenceMean => group.rollouts.iter().filter(|rollout| rollout.decisions() > 0).count(),
            Aggregation::FixedLength(_) => group.rollouts.len(),
        };
        Self(groups.map(count).sum::<usize>() as f32)
    }

    fn over(self, whole: Self) -> f32 {
        self.0 / whole.0
    }
}

/// Groups for each core, in parts of at most so many tokens: the longest first, each to the core that has least to do.
fn shares(groups: &[Group], cores: usize, batch_tokens: usize) -> Vec<Vec<Vec<usize>>> {
    let mut order: Vec<usize> = (0..groups.len()).filter(|&group| groups[group].decisions() > 0).collect();
    order.sort_by_key(|&group| std::cmp::Reverse(groups[group].tokens()));
    let mut shares: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); cores];
    for group in order {
        if let Some(least) = shares.iter_mut().min_by_key(|share| share.0) {
            least.0 += groups[group].tokens();
            least.1.push(group);
        }
    }
    let parts = |(_, share): (usize, Vec<usize>)| {
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for group in share {
            let tokens = groups[group].tokens();
            match parts.last_mut() {
                Some((used, part)) if *used + tokens <= batch_tokens => {
                    *used += tokens;
                    part.push(group);
                }
                _ => parts.push((tokens, vec![group])),
            }
        }
        parts.into_iter().map(|(_, part)| part).collect()
    };
    shares.into_iter().map(parts).collect()
}

fn plus(sum: LossReport, more: LossReport, weight: f32) -> LossReport {
    LossReport {
        policy: sum.policy + weight * more.policy,
        entropy: sum.entropy + weight * more.entropy,
        kl: sum.kl + weight * more.kl,
        clip_fraction: sum.clip_fraction + weight * more.clip_fraction,
        dual_clip_fraction: sum.dual_clip_fraction + weight * more.dual_clip_fraction,
        approx_kl: sum.approx_kl + weight * more.approx_kl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct Two {
        a: Param<Tensor<1>>,
        b: Param<Tensor<2>>,
    }

    #[test]
    fn gradients_are_clipped_as_one_vector() {
        let device = Device::flex().autodiff();
        let two = Two { a: Param::from_data([1.0, 1.0], &device), b: Param::from_data([[1.0], [1.0]], &device) };
        let of = |most: f32| -> Vec<f32> {
            // Gradients of 3, 0 and 0, 4: each of a norm below 4.5, both together 5.
            let loss = (two.a.val().slice(0..1) * 3.0).sum() + (two.b.val().slice(1..2) * 4.0).sum();
            let all = clipped(&two, GradientsParams::from_grads(loss.backward(), &two), most);
            let (a, b) = (all.get::<1>(two.a.id).unwrap(), all.get::<2>(two.b.id).unwrap());
            [a.into_data().try_to_vec::<f32>().unwrap(), b.into_data().try_to_vec::<f32>().unwrap()].concat()
        };
        assert_eq!(of(5.0), [3.0, 0.0, 0.0, 4.0]);
        let half = of(2.5);
        assert!(half.iter().zip([1.5, 0.0, 0.0, 2.0]).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }
}
