//! How a run does on rows that it never trains on.

use super::network::{Network, Rollout};
use super::report::{Tally, Watched};
use super::task::Task;
use crate::error::{Error, Result};
use crate::measure::metrics;
use crate::sampling::Sampling;
use crate::workers::Workers;

/// Lets the network answer every task greedily, with reasoning and without. A task whose prompt has no room in the model's
/// context is left out.
pub fn watch<N: Network>(workers: &Workers, network: &N, tasks: &[Task]) -> Result<Watched> {
    let answers = workers.map(tasks, |task| -> Result<_> {
        let answer = |think| -> Result<Option<Rollout>> {
            let task = Task { think, ..task.clone() };
            Ok(network.rollouts(&task, 1, Sampling::greedy(), 0)?.pop())
        };
        Ok((answer(true)?, answer(false)?))
    });
    let (mut think_first, mut answer_first) = (Tally::default(), Tally::default());
    let (mut scored, mut agree, mut steps, mut rows) = (Vec::new(), 0usize, 0usize, 0usize);
    for (task, answers) in tasks.iter().zip(answers) {
        let (thought, direct) = match answers {
            Err(Error::ContextLength { .. }) => continue,
            answers => answers?,
        };
        rows += 1;
        for (tally, rollout) in [(&mut think_first, &thought), (&mut answer_first, &direct)] {
            let verdict = rollout.as_ref().and_then(|rollout| rollout.answer.verdict);
            tally.add(task.truth.label, verdict, rollout.as_ref().and_then(|rollout| rollout.p_unsafe));
        }
        let Some(thought) = thought else { continue };
        if let (Some(scores), Some(held)) = (&thought.scores, &task.truth.categories) {
            scored.extend(task.policy.categories.iter().zip(scores).map(|(c, &score)| (score, held.contains(&c.id))));
        }
        for step in &thought.answer.steps {
            let at = task.policy.categories.iter().position(|category| category.id == step.category);
            if let Some(flag) = at.and_then(|at| thought.flags.as_ref()?.get(at)) {
                steps += 1;
                agree += usize::from(*flag == step.applies);
            }
        }
    }
    Ok(Watched {
        rows,
        think_first: think_first.verdicts(),
        answer_first: answer_first.verdicts(),
        slots_auroc: metrics::auroc(&scored),
        agreement: (steps > 0).then(|| agree as f64 / steps as f64),
    })
}
