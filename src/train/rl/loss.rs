//! The losses of preference learning as functions of log-probabilities: the clipped policy loss of GRPO with its
//! entropy bonus and KL penalty, and the pairwise loss of SafeDPO. No model lives here.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Log-ratios are kept within ± this, as in veRL: beyond it their exponential is noise, then infinity.
const MAX_LOG_RATIO: f32 = 20.0;

/// How far one update may move a token's probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClipRange {
    /// The probability ratio counts down to `1 - low`.
    pub low: f32,
    /// The probability ratio counts up to `1 + high`; DAPO's "clip higher" gives more room here than below.
    pub high: f32,
    /// Above 1: where the advantage is negative, the loss is at most `-dual * advantage` (Ye et al., 2020, arXiv
    /// 1912.09729, eq. 5). `None` lets it grow with the ratio.
    pub dual: Option<f32>,
}

impl Default for ClipRange {
    fn default() -> Self {
        Self { low: 0.2, high: 0.2, dual: Some(3.0) }
    }
}

impl ClipRange {
    /// # Errors
    /// [`Error::BadInput`] for a range that holds no ratio of 1, or a dual clip that holds back such a ratio.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str, found: f32| Err(Error::BadInput(format!("clip.{what}, found {found}")));
        if !(0.0..=1.0).contains(&self.low) {
            return bad("low: expected a number from 0 to 1", self.low);
        }
        if !(self.high.is_finite() && self.high >= 0.0) {
            return bad("high: expected a number of at least 0", self.high);
        }
        match self.dual {
            Some(dual) if !(dual.is_finite() && dual > 1.0) => bad("dual: expected a number above 1", dual),
            _ => Ok(()),
        }
    }
}

/// How the losses of single tokens become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The mean over all tokens: every token counts the same (DAPO, veRL's `token-mean`).
    #[default]
    TokenMean,
    /// The mean over sequences of the mean over a sequence's tokens: every answer counts the same (GRPO, veRL's
    /// `seq-mean-token-mean`). Sequences without a token are left out.
    SequenceMean,
    /// The sum over all tokens, over (sequences · this length): longer answers weigh more, none is divided by its own
    /// length (Dr. GRPO, arXiv 2503.20783, section 3.2).
    FixedLength(usize),
}

impl Aggregation {
    /// What each token counts, `[tokens]`.
    fn weights(self, tokens: &Tokens) -> Vec<f32> {
        let n = tokens.sequence.len();
        match self {
            Self::TokenMean => vec![1.0 / n as f32; n],
            Self::SequenceMean => {
                let mut lengths = vec![0usize; tokens.sequences];
                tokens.sequence.iter().for_each(|&sequence| lengths[sequence] += 1);
                let present = lengths.iter().filter(|&&length| length > 0).count();
                tokens.sequence.iter().map(|&sequence| 1.0 / (present * lengths[sequence]) as f32).collect()
            }
            Self::FixedLength(length) => vec![1.0 / (tokens.sequences * length) as f32; n],
        }
    }
}

/// All chosen tokens of a batch of answers, one after the other, with what is known of each, `[tokens]`.
///
/// A token that the grammar forced was not chosen: it has no place here, and so no loss.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// Log-probabilities when the answers were sampled.
    pub old_log_probs: Vec<f32>,
    /// The advantage of the answer that the token is part of.
    pub advantages: Vec<f32>,
    /// Log-probabilities under the reference that the KL penalty holds on to.
    pub reference_log_probs: Option<Vec<f32>>,
    /// The answer that the token is part of, below `sequences`.
    pub sequence: Vec<usize>,
    /// How many answers there are, those without a chosen token counted.
    pub sequences: usize,
}

/// What the loss is made of: policy - `entropy` · entropy + `kl` · KL.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossOptions {
    pub clip: ClipRange,
    /// Weight of the entropy bonus.
    pub entropy: f32,
    /// Weight of the KL penalty; it needs the reference's log-probabilities.
    pub kl: f32,
    pub aggregation: Aggregation,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self { clip: ClipRange::default(), entropy: 0.001, kl: 0.0, aggregation: Aggregation::default() }
    }
}

/// The parts of a loss, before their weights, for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LossReport {
    /// The clipped policy loss, aggregated.
    pub policy: f32,
    /// The entropy in nats, aggregated.
    pub entropy: f32,
    /// The estimated KL divergence from the reference in nats, aggregated; 0 without a reference.
    pub kl: f32,
    /// The share of tokens that the clip range held back.
    pub clip_fraction: f32,
    /// The share of tokens that the dual clip held back.
    pub dual_clip_fraction: f32,
    /// The mean of old - new log-probability: an estimate of how far the update has moved the policy. It can be
    /// negative.
    pub approx_kl: f32,
}

/// The loss of GRPO, `[1]`, and its parts.
///
/// With the ratio ρ = exp(log_prob - old_log_prob) and the advantage A of each token, the policy loss is
/// max(-A·ρ, -A·clip(ρ, 1 - low, 1 + high)) (PPO, arXiv 1707.06347, eq. 7), for negative A bounded by the dual clip.
/// The KL penalty is the k3 estimator exp(d) - d - 1 with d = reference - log_prob (Schulman, "Approximating KL
/// divergence", 2020): unbiased, never negative. All are aggregated alike.
///
/// `log_probs` and `entropies` are `[tokens]`, of the distribution over the tokens that the grammar allowed.
///
/// # Panics
/// If there is no token, or if what `tokens` holds is not as long as `log_probs`.
pub fn loss(
    log_probs: Tensor<1>,
    entropies: Tensor<1>,
    tokens: &Tokens,
    options: &LossOptions,
) -> (Tensor<1>, LossReport) {
    let [n] = log_probs.dims();
    assert!(n > 0, "a loss needs at least one chosen token");
    assert_eq!([n; 3], [tokens.old_log_probs.len(), tokens.advantages.len(), tokens.sequence.len()]);
    let device = log_probs.device();
    let constant = |values: &[f32]| Tensor::<1>::from_data(values, &device);
    let weights = constant(&options.aggregation.weights(tokens));
    let aggregate = |each: Tensor<1>| (each * weights.clone()).sum();
    let zero = || Tensor::<1>::zeros([1], &device);

    let advantages = constant(&tokens.advantages);
    let log_ratio = bounded(log_probs.clone() - constant(&tokens.old_log_probs));
    let ratio = log_ratio.clone().exp();
    let free = -(advantages.clone() * ratio.clone());
    let clipped = -(advantages.clone() * ratio.clamp(1.0 - options.clip.low, 1.0 + options.clip.high));
    let clip_fraction = clipped.clone().greater(free.clone()).float().mean();
    let mut each = free.max_pair(clipped);
    let dual_clip_fraction = match options.clip.dual {
        None => zero(),
        Some(dual) => {
            let bound = -(advantages.clone() * dual);
            let over = each.clone().greater(bound.clone()).bool_and(advantages.lower_elem(0.0));
            each = each.mask_where(over.clone(), bound);
            over.float().mean()
        }
    };
    let policy = aggregate(each);
    let entropy = aggregate(entropies);
    let kl = match &tokens.reference_log_probs {
        None => zero(),
        Some(reference) => {
            assert_eq!(n, reference.len());
            let behind = bounded(constant(reference) - log_probs);
            aggregate(behind.clone().exp() - behind - 1.0)
        }
    };

    // One reading for all numbers: on a GPU each would wait for the device.
    let parts =
        [policy.clone(), entropy.clone(), kl.clone(), clip_fraction, dual_clip_fraction, log_ratio.mean().neg()];
    let parts = Tensor::cat(parts.map(Tensor::detach).to_vec(), 0).into_data();
    let mut parts = parts.iter::<f32>();
    let mut next = || parts.next().unwrap_or(f32::NAN);
    let report = LossReport {
        policy: next(),
        entropy: next(),
        kl: next(),
        clip_fraction: next(),
        dual_clip_fraction: next(),
        approx_kl: next(),
    };
    (policy - entropy * options.entropy + kl * options.kl, report)
}

/// The mean loss of pairs of answers, `[1]`: SafeDPO (Kim et al., 2025, arXiv 2505.20065), which with margins of zero
/// is DPO (Rafailov et al., 2023, arXiv 2305.18290, eq. 7).
///
/// For each pair -log σ(β·((chosen - ref_chosen) - (rejected - ref_rejected)) - margin). All but `beta` are `[pairs]`;
/// the log-probabilities are summed over an answer's chosen tokens. `beta`, above 0, says how dearly moving away from
/// the reference is paid. A margin, at least 0, is SafeDPO's Δ·(h_rejected - h_chosen), where h is 1 for an unsafe
/// answer: a safe answer must beat an unsafe one by more than any other.
///
/// # Panics
/// If there is no pair, or if the inputs differ in length.
pub fn dpo_loss(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    ref_chosen: &[f32],
    ref_rejected: &[f32],
    beta: f32,
    safety_margin: &[f32],
) -> Tensor<1> {
    let [pairs] = chosen.dims();
    assert!(pairs > 0, "a loss needs at least one pair");
    assert_eq!([pairs; 3], [ref_chosen.len(), ref_rejected.len(), safety_margin.len()]);
    let device = chosen.device();
    let reference: Vec<f32> = ref_chosen.iter().zip(ref_rejected).map(|(chosen, rejected)| chosen - rejected).collect();
    let ahead = chosen - rejected - Tensor::<1>::from_data(reference.as_slice(), &device);
    -activation::log_sigmoid(ahead * beta - Tensor::<1>::from_data(safety_margin, &device)).mean()
}

fn bounded(log_ratio: Tensor<1>) -> Tensor<1> {
    log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
}
