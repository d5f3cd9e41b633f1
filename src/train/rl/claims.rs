//! Claims: what the scores of categories are drawn to say. They are the first decisions of an answer, and the ones that
//! decide at inference, where a category applies from its threshold on.

use burn::tensor::{Int, Tensor, activation};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::sampling::Sampling;

/// One category of an answer as its score was drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// The category's place in the policy.
    pub category: usize,
    pub applies: bool,
    /// The natural logarithm of the probability with which it was drawn.
    pub log_prob: f32,
}

impl Claim {
    /// Draws whether a category applies whose score lies `margin` logits above its threshold: with the probability
    /// σ(margin / temperature), but never what the top-p of `sampling` leaves out.
    pub fn draw(category: usize, margin: f32, sampling: &Sampling, rng: &mut ChaCha8Rng) -> Self {
        let logit = margin / sampling.temperature;
        let sure = log_sigmoid(logit.abs()).exp() >= sampling.top_p;
        let drawn = rng.random::<f32>() < log_sigmoid(logit).exp();
        let applies = if sure { logit > 0.0 } else { drawn };
        Self { category, applies, log_prob: log_sigmoid(if applies { logit } else { -logit }) }
    }
}

/// The log-probability of each claim and the entropy of what it was drawn from, in nats, `[claims]` each. `margins` are those
/// of all `[categories]`; a claim is a category's place there and whether it applies.
pub fn log_probs(margins: Tensor<1>, claims: &[(usize, bool)], temperature: f32) -> (Tensor<1>, Tensor<1>) {
    let device = margins.device();
    let places: Vec<i32> = claims.iter().map(|&(place, _)| place as i32).collect();
    let signs: Vec<f32> = claims.iter().map(|&(_, applies)| if applies { 1.0 } else { -1.0 }).collect();
    let logits = margins.select(0, Tensor::<1, Int>::from_data(places.as_slice(), &device)) / temperature;
    let share = |logits: Tensor<1>| activation::sigmoid(logits.clone()) * activation::log_sigmoid(logits);
    let entropies = -(share(logits.clone()) + share(-logits.clone()));
    (activation::log_sigmoid(logits * Tensor::<1>::from_data(signs.as_slice(), &device)), entropies)
}

/// log σ(x), for any finite x.
fn log_sigmoid(x: f32) -> f32 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn sampling(top_p: f32) -> Sampling {
        Sampling { temperature: 0.5, top_p, ..Sampling::rsafe(0) }
    }

    #[test]
    fn a_claim_is_drawn_as_often_as_its_probability_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<Claim> = (0..4000).map(|_| Claim::draw(3, 0.5, &sampling(1.0), &mut rng)).collect();
        let expected = 1.0 / (1.0 + (-1.0f32).exp());
        let share = drawn.iter().filter(|claim| claim.applies).count() as f32 / drawn.len() as f32;
        assert!((share - expected).abs() < 0.03, "{share}");
        for claim in drawn {
            let probability = if claim.applies { expected } else { 1.0 - expected };
            assert!(claim.category == 3 && (claim.log_prob - probability.ln()).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_surer_than_top_p_is_never_drawn_the_other_way() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut applies =
            |margin| (0..500).filter(|_| Claim::draw(0, margin, &sampling(0.8), &mut rng).applies).count();
        assert_eq!([applies(2.0), applies(-2.0)], [500, 0]);
        assert!((1..500).contains(&applies(0.1)));
    }

    #[test]
    fn the_graph_says_what_the_draw_said() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let margins = [-30.0f32, -0.7, 0.0, 1.3, 30.0];
        let drawn: Vec<Claim> =
            (0..20).map(|at| Claim::draw(at % 5, margins[at % 5], &sampling(1.0), &mut rng)).collect();
        let claims: Vec<(usize, bool)> = drawn.iter().map(|claim| (claim.category, claim.applies)).collect();
        let margins = Tensor::<1>::from_data(margins.as_slice(), &Device::flex());
        let (log_probs, entropies) = log_probs(margins, &claims, 0.5);
        for (ours, claim) in log_probs.into_data().iter::<f32>().zip(&drawn) {
            assert!((ours - claim.log_prob).abs() < 1e-5, "{ours} and {}", claim.log_prob);
        }
        let entropies: Vec<f32> = entropies.into_data().iter::<f32>().collect();
        assert!((entropies[2] - 2f32.ln()).abs() < 1e-6 && entropies[0].abs() < 1e-6 && entropies[4].abs() < 1e-6);
        assert!(entropies[1] > entropies[3], "nearer to its threshold, less sure");
    }
}
