//! How likely a slot network's decisions are, with gradients: the engine reads the message again, and keeps nothing of it.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, activation};

use super::source::Source;
use crate::error::{Error, Result};
use crate::mini::engine::SlotEngine;
use crate::mini::layout::Marker;
use crate::mini::policy::ReadPolicy;
use crate::mini::prompt::SlotPrompt;
use crate::mini::window::Window;
use crate::tokenizer::TokenId;
use crate::train::batch::Choices;
use crate::train::rl::claims;
use crate::train::rl::network::Rollout;
use crate::train::rl::task::Task;
use crate::verdict::Scoring;
use crate::verdict::calibration::BACKED;

/// Log-probability and entropy of each decision, `[decisions]` each.
type Numbers = (Tensor<1>, Tensor<1>);

/// Those of the rollouts of a task, one after the other, the claims of each before its choices.
///
/// # Errors
/// [`Error::BadInput`] for rollouts of another message or policy.
pub fn log_probs(
    engine: &SlotEngine,
    source: &Source,
    task: &Task,
    rollouts: &[Rollout],
    temperature: f32,
) -> Result<Numbers> {
    let prompt = source.read(task)?;
    check(task, &prompt, rollouts)?;
    let policy = Arc::new(engine.read_policy(&prompt.blocks));
    let claims = rollouts.iter().flat_map(|rollout| &rollout.claims);
    let claims: Vec<(usize, bool)> = claims.map(|claim| (claim.category, claim.applies)).collect();
    let answered = rollouts.iter().find(|rollout| !rollout.choices.is_empty()).map(|rollout| rollout.window);
    let (mut logits, mut choices) = (Vec::new(), None);
    for at in prompt.windows().filter(|&at| !claims.is_empty() || answered == Some(at)) {
        let mut window = Window::apart(engine, at, prompt.conversation(engine.prompts.frame, at));
        while window.step(engine, &policy)? {}
        logits.push(window.slot_logits(engine)?);
        if answered == Some(at) {
            choices = Some(chosen(engine, &window, &policy, rollouts, temperature)?);
        }
    }
    let claimed = (!claims.is_empty()).then(|| {
        let margins = margins(Tensor::cat(logits, 0), source.scoring(task), &source.shifts(task));
        claims::log_probs(margins, &claims, temperature)
    });
    Ok(interleaved(rollouts, claimed.into_iter().chain(choices).collect(), &engine.device))
}

/// Refuses rollouts that are not of this message and policy, or not of one group.
fn check(task: &Task, prompt: &SlotPrompt, rollouts: &[Rollout]) -> Result<()> {
    let (windows, categories) = (prompt.windows(), task.policy.categories.len());
    let first = rollouts.first().map(|first| (first.window, &first.about));
    for rollout in rollouts {
        let (window, about) = (rollout.window, &rollout.about);
        let places = about.iter().copied().chain(rollout.claims.iter().map(|claim| claim.category));
        let places: Vec<usize> = places.collect();
        if first != Some((window, about)) || !windows.contains(&window) || places.iter().any(|&at| at >= categories) {
            return Err(Error::BadInput(format!(
                "{}: expected answers about one of {} windows of the message and some of {categories} categories of the \
                 policy, found one about window {window} and categories {places:?}; was the message or the policy changed \
                 since its answers were mined?",
                task.id,
                windows.len(),
            )));
        }
    }
    Ok(())
}

/// How far the score of each category lies above its threshold, in logits, `[categories]`, from the logits of all readings,
/// `[readings, categories]`: the highest over these.
fn margins(logits: Tensor<2>, Scoring { scaling, catch_all }: Scoring, shifts: &[f32]) -> Tensor<1> {
    let shifts = Tensor::<1>::from_data(shifts, &logits.device());
    let logits = match catch_all {
        Some(at) => backed(logits, at),
        None => logits,
    };
    logits.max_dim(0).squeeze_dim::<1>(0) * scaling.scale + shifts
}

/// [`Scoring::backed`] with a gradient, for a catch-all at this place among others.
fn backed(logits: Tensor<2>, catch_all: usize) -> Tensor<2> {
    let ([readings, count], device) = (logits.dims(), logits.device());
    let others: Vec<i32> = (0..count).filter(|&at| at != catch_all).map(|at| at as i32).collect();
    let highest = logits.clone().select(1, Tensor::<1, Int>::from_data(others.as_slice(), &device)).max_dim(1);
    let any = logits.clone().narrow(1, catch_all, 1);
    let backing = any.repeat_dim(1, count).slice_assign([0..readings, catch_all..catch_all + 1], highest);
    logits.clone() - activation::relu(logits - backing) * BACKED
}

/// The choices of all answers about a window, which lie side by side in one row behind it.
fn chosen(
    engine: &SlotEngine,
    window: &Window,
    policy: &ReadPolicy,
    rollouts: &[Rollout],
    temperature: f32,
) -> Result<Numbers> {
    let (model, vocab_size) = (&engine.model, engine.model.vocab_size());
    // Nothing is told from the tokens behind the last choice, itself included; the answer's opening comes before the first.
    let read = |rollout: &Rollout| rollout.choices.last().map_or(0, |choice| choice.at);
    let answer = |rollout: &Rollout| -> Vec<TokenId> {
        let opening = Marker::Answer.id(vocab_size);
        std::iter::once(opening).chain(rollout.tokens[..read(rollout)].iter().copied()).collect()
    };
    let answers: Vec<Vec<TokenId>> = rollouts.iter().map(answer).collect();
    let about = rollouts.first().map_or(&[][..], |rollout| &rollout.about);
    let room = answers.iter().map(Vec::len).sum();
    let (mut layout, mut cache) = window.behind(engine, policy, about, room)?;
    let behind = layout.len();

    let allowed = rollouts.iter().flat_map(|rollout| &rollout.choices).flat_map(|choice| choice.allowed.ids());
    let mut words: Vec<TokenId> = allowed.filter(|&id| (id as usize) < vocab_size).collect();
    words.sort_unstable();
    words.dedup();
    let mut choices = Choices::among(words);
    for (rollout, answer) in rollouts.iter().zip(&answers) {
        let start = layout.push_answer_beside(behind, answer) - behind;
        for choice in &rollout.choices {
            choices.push(start + choice.at, &choice.allowed.ids(), rollout.tokens[choice.at], vocab_size);
        }
    }
    let hidden = model.forward(&model.batch(&[&layout], behind, &engine.device), Some(&mut cache));
    Ok(choices.log_probs(model, &hidden.squeeze_dim::<2>(0), temperature, &engine.device))
}

/// The numbers of all claims and of all choices as those of one rollout after the other, its claims first.
fn interleaved(rollouts: &[Rollout], parts: Vec<Numbers>, device: &Device) -> Numbers {
    let mut claim = 0;
    let mut choice = rollouts.iter().map(|rollout| rollout.claims.len()).sum::<usize>() as i32;
    let mut order: Vec<i32> = Vec::new();
    for rollout in rollouts {
        for (next, count) in [(&mut claim, rollout.claims.len()), (&mut choice, rollout.choices.len())] {
            order.extend(*next..*next + count as i32);
            *next += count as i32;
        }
    }
    let order = Tensor::<1, Int>::from_data(order.as_slice(), device);
    let (log_probs, entropies): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    (Tensor::cat(log_probs, 0).select(0, order.clone()), Tensor::cat(entropies, 0).select(0, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catch_all_and_the_others_hold_each_other_back_in_training_as_at_inference() {
        let device = Device::default().autodiff();
        let scoring = Scoring { catch_all: Some(1), ..Scoring::default() };
        // What the highest margin moves by with each logit, where it is the catch-all's and where it is not.
        for (values, highest, slopes) in [([-1.0, 3.0, 0.5], 1, [0.0, 0.5, 0.5]), ([2.0, 1.0, 0.0], 0, [0.5, 0.5, 0.0])]
        {
            // In another reading all is lower.
            let lower = values.map(|logit: f32| logit - 0.1);
            let logits = Tensor::<2>::from_data([lower, values], &device).require_grad();
            let held = margins(logits.clone(), scoring, &[0.0; 3]);
            let found: Vec<f32> = held.clone().into_data().iter::<f32>().collect();
            assert_eq!(found, scoring.backed(&values));
            let gradients = held.slice(highest..highest + 1).sum().backward();
            let found: Vec<f32> = logits.grad(&gradients).unwrap().into_data().iter::<f32>().collect();
            assert_eq!(found, [&[0.0; 3][..], &slopes].concat());
        }
    }
}
