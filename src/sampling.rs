//! From logits to the next token, on the CPU: greedy, or drawn with temperature, top-k, top-p and repetition penalty.

use std::cmp::Ordering;
use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::grammar::Allowed;
use crate::tokenizer::TokenId;

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// The least probability mass that stays in the draw, in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// The most tokens that stay in the draw.
    pub top_k: Option<usize>,
    /// Divides positive logits of tokens already seen, multiplies negative ones; 1 does nothing.
    pub repetition_penalty: f32,
    pub seed: u64,
}

impl Sampling {
    /// The likeliest token each time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: None, repetition_penalty: 1.0, seed: 0 }
    }

    /// What RSafe trains and evaluates with: temperature 0.7, top-p 0.8, repetition penalty 1.05.
    pub fn rsafe(seed: u64) -> Self {
        Self { temperature: 0.7, top_p: 0.8, top_k: None, repetition_penalty: 1.05, seed }
    }
}

/// A token and the natural logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    pub token: TokenId,
    /// Under the distribution it was drawn from (penalty, temperature, top-k and top-p applied). For a greedy token:
    /// under the softmax of the allowed tokens after the penalty.
    pub log_prob: f32,
}

/// Draws tokens; the same seed and logits give the same tokens on every platform.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    seen: HashSet<TokenId>,
    rng: ChaCha8Rng,
}

impl Sampler {
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, seen: HashSet::new(), rng: ChaCha8Rng::seed_from_u64(sampling.seed) }
    }

    /// Counts tokens as seen for the repetition penalty: the prompt's, forced ones, and those sampled.
    pub fn observe(&mut self, tokens: &[TokenId]) {
        self.seen.extend(tokens);
    }

    /// One of the allowed tokens, given a logit for each id of the vocabulary; `None` only when none is allowed.
    ///
    /// A missing logit and NaN count as negative infinity. When no allowed token has a better one, the lowest id is
    /// taken: the answer goes on, whatever the model computed.
    pub fn sample(&mut self, logits: &[f32], allowed: &Allowed) -> Option<Sampled> {
        let mut candidates = Vec::with_capacity(allowed.len());
        allowed.for_each(|id| candidates.push((id, logits.get(id as usize).copied().unwrap_or(f32::NAN))));
        self.pick(candidates)
    }

    /// [`sample`](Self::sample) over tokens that come with their logits, for callers that computed a few rows only.
    pub fn pick(&mut self, candidates: impl IntoIterator<Item = (TokenId, f32)>) -> Option<Sampled> {
        let mut logits: Vec<(TokenId, f64)> =
            candidates.into_iter().map(|(id, logit)| (id, self.penalised(id, logit))).collect();
        // Between equals the lowest id wins, in whatever order the candidates came.
        let better = |a: &(TokenId, f64), b: &(TokenId, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let best = logits.iter().copied().min_by(better)?;
        if best.1 == f64::NEG_INFINITY {
            return Some(Sampled { token: best.0, log_prob: -(logits.len() as f32).ln() });
        }
        let greedy = self.sampling.temperature.is_nan() || self.sampling.temperature <= 0.0;
        let temperature = if greedy { 1.0 } else { f64::from(self.sampling.temperature) };
        for (_, logit) in &mut logits {
            *logit = ((*logit - best.1) / temperature).exp();
        }
        let mass = |weights: &[(TokenId, f64)]| weights.iter().map(|(_, weight)| weight).sum::<f64>();
        if greedy {
            return Some(Sampled { token: best.0, log_prob: -mass(&logits).ln() as f32 });
        }
        let kept = self.truncate(logits, better);
        let total = mass(&kept);
        // 53 random bits: a number in [0, 1) that every platform rounds alike.
        let mut draw = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        let drawn = kept.iter().find(|(_, weight)| {
            draw -= weight;
            draw < 0.0
        });
        let (token, weight) = *drawn.or(kept.first())?;
        Some(Sampled { token, log_prob: (weight / total).ln() as f32 })
    }

    fn penalised(&self, id: TokenId, logit: f32) -> f64 {
        // Infinity would turn the softmax into NaN; the largest finite number wins as surely.
        let logit = if logit.is_nan() { f64::NEG_INFINITY } else { f64::from(logit).min(f64::from(f32::MAX)) };
        let penalty = f64::from(self.sampling.repetition_penalty.max(f32::MIN_POSITIVE));
        match self.seen.contains(&id) {
            true if logit > 0.0 => logit / penalty,
            true => logit * penalty,
            false => logit,
        }
    }

    /// Keeps the weights that top-k and top-p leave, the heaviest first.
    fn truncate(
        &self,
        mut weights: Vec<(TokenId, f64)>,
        better: impl Fn(&(TokenId, f64), &(TokenId, f64)) -> Ordering,
    ) -> Vec<(TokenId, f64)> {
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let top_p = f64::from(self.sampling.top_p).clamp(0.0, 1.0);
        if top_p < 1.0 && self.sampling.top_k.is_none() {
            // Even all together, weights below this cannot reach into the top-p set: no need to sort a whole vocabulary.
            let floor = total * (1.0 - top_p) / weights.len() as f64;
            weights.retain(|(_, weight)| *weight >= floor);
        } else {
            weights.retain(|(_, weight)| *weight > 0.0);
        }
        weights.sort_by(better);
        if let Some(k) = self.sampling.top_k {
            weights.truncate(k.max(1));
        }
        // As usual top-p counts what top-k has left.
        let total = if self.sampling.top_k.is_some() { weights.iter().map(|(_, w)| w).sum() } else { total };
        let mut mass = 0.0;
        let enough = weights.iter().position(|(_, weight)| {
            mass += weight;
            mass >= top_p * total
        });
        if let Some(last) = enough {
            weights.truncate(last + 1);
        }
        weights
    }
}
