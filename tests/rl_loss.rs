//! The losses of preference learning against PyTorch's, on the cases of `golden/rl_loss.json` (made by
//! `golden/rl_loss.py`), and against numbers worked out by hand.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};
use rsafe::train::rl::advantage::{AdvantageKind, advantages};
use rsafe::train::rl::loss::{Aggregation, ClipRange, LossOptions, LossReport, Tokens, dpo_loss, loss};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    policy: Vec<PolicyCase>,
    preference: Vec<PreferenceCase>,
    advantages: Vec<Group>,
}

/// Logits of a few tokens, what the grammar allowed and what was chosen.
#[derive(Deserialize)]
struct Choices {
    vocabulary: usize,
    #[serde(default = "one")]
    temperature: f32,
    logits: Vec<f32>,
    allowed: Vec<bool>,
    chosen: Vec<i32>,
    sequence: Vec<usize>,
}

#[derive(Deserialize)]
struct PolicyCase {
    name: String,
    #[serde(flatten)]
    choices: Choices,
    sequences: usize,
    old_log_probs: Vec<f32>,
    advantages: Vec<f32>,
    reference_log_probs: Option<Vec<f32>>,
    options: LossOptions,
    loss: f32,
    report: LossReport,
    gradient: Vec<f32>,
}

#[derive(Deserialize)]
struct PreferenceCase {
    name: String,
    #[serde(flatten)]
    choices: Choices,
    ref_chosen: Vec<f32>,
    ref_rejected: Vec<f32>,
    beta: f32,
    safety_margin: Vec<f32>,
    loss: f32,
    gradient: Vec<f32>,
}

#[derive(Deserialize)]
struct Group {
    rewards: Vec<f32>,
    kind: AdvantageKind,
    advantages: Vec<f32>,
}

fn one() -> f32 {
    1.0
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/rl_loss.json")).unwrap()
}

impl Choices {
    /// The logits as a leaf of the graph, `[tokens, vocabulary]`.
    fn leaf(&self) -> Tensor<2> {
        let shape = [self.chosen.len(), self.vocabulary];
        let device = Device::flex().autodiff();
        Tensor::<2>::from_data(TensorData::new(self.logits.clone(), shape), &device).require_grad()
    }

    /// Log-probability and entropy of every chosen token over the allowed ones, `[tokens]` each.
    fn log_probs(&self, logits: &Tensor<2>) -> (Tensor<1>, Tensor<1>) {
        let [n, vocabulary] = logits.dims();
        let device = logits.device();
        let forbidden: Vec<bool> = self.allowed.iter().map(|allowed| !allowed).collect();
        let forbidden = Tensor::<2, Bool>::from_data(TensorData::new(forbidden, [n, vocabulary]), &device);
        let logits = (logits.clone() / self.temperature).mask_fill(forbidden, -1e9);
        let every = activation::log_softmax(logits, 1);
        let chosen = Tensor::<2, Int>::from_data(TensorData::new(self.chosen.clone(), [n, 1]), &device);
        let entropies = -(every.clone().exp() * every.clone()).sum_dim(1);
        (every.gather(1, chosen).reshape([n]), entropies.reshape([n]))
    }
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

fn close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{what}[{i}] is {a}, expected {b}");
    }
}

/// The gradient of a loss with respect to the logits.
fn gradient(loss: &Tensor<1>, logits: &Tensor<2>) -> Vec<f32> {
    values(&logits.grad(&loss.backward()).unwrap())
}

fn parts(report: &LossReport) -> [f32; 6] {
    let LossReport { policy, entropy, kl, clip_fraction, dual_clip_fraction, approx_kl } = *report;
    [policy, entropy, kl, clip_fraction, dual_clip_fraction, approx_kl]
}

#[test]
fn the_policy_loss_and_its_gradient_equal_pytorchs() {
    let cases = golden().policy;
    assert!(cases.len() > 10);
    for case in cases {
        let logits = case.choices.leaf();
        let (log_probs, entropies) = case.choices.log_probs(&logits);
        let tokens = Tokens {
            old_log_probs: case.old_log_probs,
            advantages: case.advantages,
            reference_log_probs: case.reference_log_probs,
            sequence: case.choices.sequence.clone(),
            sequences: case.sequences,
        };
        let (loss, report) = loss(log_probs, entropies, &tokens, &case.options);
        close(&format!("{}: loss", case.name), &values(&loss), &[case.loss]);
        close(&format!("{}: report", case.name), &parts(&report), &parts(&case.report));
        close(&format!("{}: gradient", case.name), &gradient(&loss, &logits), &case.gradient);
    }
}

#[test]
fn the_preference_loss_and_its_gradient_equal_pytorchs() {
    let cases = golden().preference;
    assert!(cases.len() > 3);
    for case in cases {
        let logits = case.choices.leaf();
        let (log_probs, _) = case.choices.log_probs(&logits);
        let of = |answer: usize| {
            let sequence = &case.choices.sequence;
            let start = sequence.partition_point(|&other| other < answer);
            let end = sequence.partition_point(|&other| other <= answer);
            log_probs.clone().slice(start..end).sum()
        };
        let pairs = case.ref_chosen.len();
        let (chosen, rejected) = (0..pairs).map(|pair| (of(pair), of(pairs + pair))).unzip();
        let loss = dpo_loss(
            Tensor::cat(chosen, 0),
            Tensor::cat(rejected, 0),
            &case.ref_chosen,
            &case.ref_rejected,
            case.beta,
            &case.safety_margin,
        );
        close(&format!("{}: loss", case.name), &values(&loss), &[case.loss]);
        close(&format!("{}: gradient", case.name), &gradient(&loss, &logits), &case.gradient);
    }
}

#[test]
fn advantages_equal_pytorchs() {
    let groups = golden().advantages;
    assert!(!groups.is_empty());
    for group in groups {
        close(&format!("{:?}", group.rewards), &advantages(&group.rewards, group.kind), &group.advantages);
    }
}

/// Two answers of one token each, out of two tokens; the first is chosen both times.
///
/// Logits 0, 0 give p = 1/2, and ln 3, 0 give p = 3/4. Both had p = 1/2 when sampled, so the ratios are 1 and 3/2.
/// The centred advantages of rewards 1 and 0 are 1/2 and -1/2.
///
/// Policy: -1/2 · 1 and max(1/2 · 3/2, 1/2 · 6/5) = 3/4, on average 1/8. With dρ/dz = ρ(1 - p) for the chosen token's
/// logit, its gradients are -1/2 · 1 · 1/2 / 2 = -1/8 and 1/2 · 3/2 · 1/4 / 2 = 3/32.
/// Entropy, weight 1/10: ln 2 and 0.562335145, on average 0.627741163. Its gradient p(1 - p)·ln(p / (1 - p)), negative,
/// is 0 and -0.205989801, so the loss's is +0.205989801 / 10 / 2 = 0.010299490.
/// KL, weight 1/5: the reference says 1/4 and 3/4, so d = -ln 2 and 0, exp(d) - d - 1 = 0.193147181 and 0, on average
/// 0.096573590. Its gradient (1 - exp(d))(1 - p) is 1/4 and 0, the loss's 1/4 / 5 / 2 = 1/40.
#[test]
fn the_policy_loss_of_two_tokens_is_what_a_hand_computes() {
    let choices = Choices {
        vocabulary: 2,
        temperature: 1.0,
        logits: vec![0.0, 0.0, 3f32.ln(), 0.0],
        allowed: vec![true; 4],
        chosen: vec![0, 0],
        sequence: vec![0, 1],
    };
    let logits = choices.leaf();
    let (log_probs, entropies) = choices.log_probs(&logits);
    let tokens = Tokens {
        old_log_probs: vec![0.5f32.ln(); 2],
        advantages: advantages(&[1.0, 0.0], AdvantageKind::Centred),
        reference_log_probs: Some(vec![0.25f32.ln(), 0.75f32.ln()]),
        sequence: vec![0, 1],
        sequences: 2,
    };
    let options = LossOptions { entropy: 0.1, kl: 0.2, ..LossOptions::default() };
    let (loss, report) = loss(log_probs, entropies, &tokens, &options);
    close("loss", &values(&loss), &[0.125 - 0.062_774_116 + 0.019_314_718]);
    close("report", &parts(&report), &[0.125, 0.627_741_16, 0.096_573_59, 0.0, 0.0, -0.5 * 1.5f32.ln()]);
    let second = 3.0 / 32.0 + 0.010_299_49;
    close("gradient", &gradient(&loss, &logits), &[-0.125 + 0.025, 0.125 - 0.025, second, -second]);
}

/// The gradient of the policy loss of one token with respect to its log-probability, at a ratio.
fn pull(ratio: f32, advantage: f32, clip: ClipRange) -> f32 {
    let device = Device::flex().autodiff();
    let log_prob = Tensor::<1>::from_floats([ratio.ln()], &device).require_grad();
    let tokens = Tokens {
        old_log_probs: vec![0.0],
        advantages: vec![advantage],
        reference_log_probs: None,
        sequence: vec![0],
        sequences: 1,
    };
    let options = LossOptions { clip, entropy: 0.0, kl: 0.0, aggregation: Aggregation::TokenMean };
    let (loss, _) = loss(log_prob.clone(), Tensor::zeros([1], &device), &tokens, &options);
    values(&log_prob.grad(&loss.backward()).unwrap())[0]
}

#[test]
fn a_token_that_moved_far_enough_in_the_right_direction_is_let_go_and_one_in_the_wrong_is_not() {
    let clip = ClipRange { low: 0.2, high: 0.28, dual: Some(3.0) };
    // A good answer's token is pulled up until 1 + high, and always when it fell.
    close("good", &[0.1, 1.0, 1.27, 1.29].map(|ratio| pull(ratio, 1.0, clip)), &[-0.1, -1.0, -1.27, 0.0]);
    // A bad answer's token is pushed down until 1 - low, and when it rose up to the dual clip.
    close("bad", &[0.79, 0.81, 1.0, 2.9, 3.1].map(|ratio| pull(ratio, -1.0, clip)), &[0.0, 0.81, 1.0, 2.9, 0.0]);
    close("no dual clip", &[pull(3.1, -1.0, ClipRange { dual: None, ..clip })], &[3.1]);
    assert_eq!(pull(1.0, 0.0, clip), 0.0, "no advantage, no pull");
}

#[test]
fn the_loss_stays_finite_where_probabilities_are_as_far_apart_as_they_can_be() {
    for log_prob in [-1e9, -88.0, 0.0] {
        for old in [-1e9, -88.0, 0.0] {
            let device = Device::flex().autodiff();
            let leaf = Tensor::<1>::from_floats([log_prob], &device).require_grad();
            let tokens = Tokens {
                old_log_probs: vec![old],
                advantages: vec![-1.0],
                reference_log_probs: Some(vec![old]),
                sequence: vec![0],
                sequences: 1,
            };
            let options = LossOptions { kl: 0.1, ..LossOptions::default() };
            let (loss, report) = loss(leaf.clone(), Tensor::zeros([1], &device), &tokens, &options);
            let gradient = values(&leaf.grad(&loss.backward()).unwrap())[0];
            assert!(values(&loss)[0].is_finite() && gradient.is_finite(), "{log_prob} after {old}: {report:?}");
        }
    }
}

#[test]
fn a_safety_margin_asks_a_pair_for_a_larger_lead() {
    let device = Device::flex();
    let pair = |lead: f32, margin: f32| {
        let tensor = |x: f32| Tensor::<1>::from_floats([x], &device);
        values(&dpo_loss(tensor(lead), tensor(0.0), &[0.0], &[0.0], 0.1, &[margin]))[0]
    };
    close("no lead", &[pair(0.0, 0.0)], &[2f32.ln()]);
    // A lead of 20 at beta 0.1 makes up for a margin of 2.
    close("lead against margin", &[pair(20.0, 2.0)], &[2f32.ln()]);
    assert!(pair(5.0, 1.0) > pair(5.0, 0.0));
}
