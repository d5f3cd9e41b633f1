//! How much better an answer is than the others to the same task.

use serde::{Deserialize, Serialize};

/// Keeps the division by a standard deviation finite.
const EPSILON: f64 = 1e-6;

/// How a group's rewards become advantages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageKind {
    /// GRPO: `(r - mean) / (std + 1e-6)` (DeepSeekMath, arXiv 2402.03300, section 4.1).
    #[default]
    Group,
    /// Dr. GRPO: `r - mean`, so that tasks on which nearly all answers agree do not count more than others
    /// (arXiv 2503.20783, section 3.2).
    Centred,
}

/// The advantage of each answer of one group, in their order.
///
/// The standard deviation is that of a sample (divided by n - 1), as in veRL, whose runs these advantages must repeat.
/// The only answer of a group has nothing to be compared with: as in veRL its mean is taken to be 0 and its standard
/// deviation 1, so its advantage is its reward.
pub fn advantages(rewards: &[f32], kind: AdvantageKind) -> Vec<f32> {
    // In f64 the mean of equal f32 rewards is that reward: a rounding error over a standard deviation of nearly zero
    // would pass for an advantage.
    let n = rewards.len() as f64;
    let (mean, std) = match rewards.len() {
        1 => (0.0, 1.0),
        _ => {
            let mean = rewards.iter().copied().map(f64::from).sum::<f64>() / n;
            let squares: f64 = rewards.iter().map(|&r| (f64::from(r) - mean).powi(2)).sum();
            (mean, (squares / (n - 1.0)).sqrt())
        }
    };
    let scale = match kind {
        AdvantageKind::Group => std + EPSILON,
        AdvantageKind::Centred => 1.0,
    };
    rewards.iter().map(|&r| ((f64::from(r) - mean) / scale) as f32).collect()
}

/// Whether a group teaches anything: not if all its answers were rewarded alike (DAPO's dynamic sampling, arXiv
/// 2503.14476, section 3.2).
pub fn is_informative(rewards: &[f32]) -> bool {
    rewards.iter().any(|r| r != &rewards[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_rewarded_alike_have_no_advantage_whatever_the_reward() {
        for reward in [0.0, 0.1, 0.9, 1.0 / 3.0, 1e6] {
            for size in 2..=9 {
                let rewards = vec![reward; size];
                assert!(!is_informative(&rewards));
                for kind in [AdvantageKind::Group, AdvantageKind::Centred] {
                    assert_eq!(advantages(&rewards, kind), vec![0.0; size]);
                }
            }
        }
    }

    #[test]
    fn advantages_of_a_group_sum_to_zero_and_keep_the_order_of_the_rewards() {
        let rewards = [0.1, 1.0, 0.0, 1.0];
        assert!(is_informative(&rewards));
        for kind in [AdvantageKind::Group, AdvantageKind::Centred] {
            let found = advantages(&rewards, kind);
            assert!(found.iter().sum::<f32>().abs() < 1e-6);
            assert!(found[2] < found[0] && found[0] < 0.0 && 0.0 < found[1] && found[1] == found[3], "{found:?}");
        }
    }

    #[test]
    fn group_advantages_do_not_depend_on_the_rewards_scale_and_centred_ones_do() {
        let (small, large) = ([0.0, 0.25, 0.5], [0.0, 2.5, 5.0]);
        let close = |a: &[f32], b: &[f32], factor: f32| a.iter().zip(b).all(|(a, b)| (a * factor - b).abs() < 1e-4);
        let of = |rewards: &[f32], kind| advantages(rewards, kind);
        assert!(close(&of(&small, AdvantageKind::Group), &of(&large, AdvantageKind::Group), 1.0));
        assert!(close(&of(&small, AdvantageKind::Centred), &of(&large, AdvantageKind::Centred), 10.0));
    }

    #[test]
    fn a_group_of_one_keeps_its_reward_and_an_empty_group_is_empty() {
        assert!((advantages(&[0.9], AdvantageKind::Group)[0] - 0.9).abs() < 1e-5);
        assert_eq!(advantages(&[0.9], AdvantageKind::Centred), [0.9]);
        assert!(!is_informative(&[0.9]) && !is_informative(&[]));
        assert!(advantages(&[], AdvantageKind::Group).is_empty());
    }
}
