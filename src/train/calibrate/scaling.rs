//! Platt scaling: from logits to probabilities that a text is unsafe where a quarter of the texts are.

use super::judged::PRIOR;
use crate::measure::curve::Scored;
use crate::verdict::Scaling;

/// The logit of a score, finite.
pub fn logit(score: f32) -> f32 {
    const LEAST: f32 = 1e-6;
    let score = score.clamp(LEAST, 1.0 - LEAST);
    (score / (1.0 - score)).ln()
}

/// The scaling that makes scores the likeliest, where [`PRIOR`] of the texts are unsafe: logistic regression by
/// Newton's method. Too few rows of a label leave scores as they are.
pub fn platt(scored: &[Scored]) -> Scaling {
    const ENOUGH: usize = 20;
    const STEPS: usize = 50;
    const HALVINGS: i32 = 30;
    let positives = scored.iter().filter(|row| row.1).count();
    let negatives = scored.len() - positives;
    if positives.min(negatives) < ENOUGH {
        return Scaling::default();
    }
    let weights = [(1.0 - PRIOR) / negatives as f64, PRIOR / positives as f64];
    // The weighted log loss, with a little pull towards `scale` = 1.
    const PULL: f64 = 1e-4;
    let loss = |[scale, bias]: [f64; 2]| {
        let of = |&(score, is_unsafe): &Scored| {
            let z = scale * f64::from(logit(score)) + bias;
            weights[usize::from(is_unsafe)] * softplus(if is_unsafe { -z } else { z })
        };
        scored.iter().map(of).sum::<f64>() + PULL / 2.0 * (scale - 1.0).powi(2)
    };
    let [mut scale, mut bias] = [1.0f64, 0.0];
    for _ in 0..STEPS {
        // Its gradient and Hessian.
        let (mut g, mut h) = ([PULL * (scale - 1.0), 0.0], [PULL, 0.0, PULL]);
        for &(score, is_unsafe) in scored {
            let z = f64::from(logit(score));
            let p = 1.0 / (1.0 + (-(scale * z + bias)).exp());
            let weight = weights[usize::from(is_unsafe)];
            let (off, curve) = (weight * (p - f64::from(u8::from(is_unsafe))), weight * p * (1.0 - p));
            g = [g[0] + off * z, g[1] + off];
            h = [h[0] + curve * z * z, h[1] + curve * z, h[2] + curve];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        // A whole step may lead past the lowest point, and from there ever further away: sure scores bend the loss little.
        let tries = (0..HALVINGS).map(|halved| {
            let share = 0.5f64.powi(halved);
            [scale - share * step[0], bias - share * step[1]]
        });
        let now = loss([scale, bias]);
        let Some(next) = tries.into_iter().find(|&next| loss(next) < now) else { break };
        [scale, bias] = next;
    }
    match scale.is_finite() && bias.is_finite() && scale > 0.0 {
        true => Scaling { scale: scale as f32, bias: bias as f32 },
        false => Scaling::default(),
    }
}

/// ln(1 + eˣ), for any finite x.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_far_too_sure_are_scaled_too() {
        // ±12 logits, right in three of four cases: from there a whole step of Newton's method leads nowhere.
        let sure = |z: f32, is_unsafe, count| std::iter::repeat_n((1.0 / (1.0 + (-z).exp()), is_unsafe), count);
        let scored: Vec<Scored> = sure(12.0, true, 75)
            .chain(sure(12.0, false, 25))
            .chain(sure(-12.0, true, 25))
            .chain(sure(-12.0, false, 75))
            .collect();
        let scaling = platt(&scored);
        let odds = 3.0f32;
        for (z, share) in [(12.0, 0.25 * odds / (0.25 * odds + 0.75)), (-12.0, 0.25 / (0.25 + 0.75 * odds))] {
            assert!((scaling.probability(z) - share).abs() < 0.01, "{scaling:?} at {z}");
        }
    }

    #[test]
    fn scores_become_the_shares_of_unsafe_texts_where_a_quarter_are() {
        // Too sure of itself and off by one: the truth is σ((z - 1) / 2) among as many unsafe texts as safe ones.
        let mut scored = Vec::new();
        for step in -40..=40 {
            let z = step as f32 / 10.0;
            let unsafe_rows = (200.0 / (1.0 + (-(z - 1.0) / 2.0).exp())) as usize;
            let score = 1.0 / (1.0 + (-z).exp());
            scored.extend(std::iter::repeat_n((score, true), unsafe_rows));
            scored.extend(std::iter::repeat_n((score, false), 200 - unsafe_rows));
        }
        let positives = scored.iter().filter(|row| row.1).count() as f32;
        let odds = positives / (scored.len() as f32 - positives);
        let Scaling { scale, bias } = platt(&scored);
        assert!((scale - 0.5).abs() < 0.02, "{scale}");
        assert!((bias - (-0.5 - odds.ln() + (0.25f32 / 0.75).ln())).abs() < 0.05, "{bias}");
        assert_eq!(platt(&scored[..10]), Scaling::default());
    }
}
