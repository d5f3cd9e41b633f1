//! What rsafe-mini says of a message that it has read: why categories apply, found out in steps, and where a reasoned
//! answer begins, which is written about the window that scored highest.

use std::ops::ControlFlow;

use super::answer::{Finding, Why};
use super::explain::{Case, Explanation};
use super::layout::{ANSWER, Marker, STEPS};
use super::occlusion::Applies;
use super::prompt::{Plan, PlannedStep, highest, told};
use super::scan::{Best, Scanned};
use crate::engine::{Answering, Readout, Steps, Writer};
use crate::error::Result;
use crate::grammar::Think;
use crate::policy::Policy;
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;
use crate::verdict::Answer;

pub struct Telling<'e> {
    pub read: Scanned<'e>,
    answering: Answering,
    /// Where each category that a reasoned answer speaks about stands, the highest first, as far as that is known.
    pub findings: Vec<PlannedStep>,
    explaining: Option<Explanation>,
}

impl<'e> Telling<'e> {
    pub fn new(read: Scanned<'e>, answering: Answering) -> Self {
        Self { read, answering, findings: Vec::new(), explaining: None }
    }

    /// Finds out, by one step, by which words the categories apply that a reasoned answer speaks about; whether there is more
    /// to find.
    ///
    /// # Errors
    /// Whatever the device has wrong.
    pub async fn step(&mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<bool> {
        let Scanned { engine, prompt, scoring, policy: read, best, .. } = &self.read;
        if self.answering.steps == Steps::Written || !self.answering.reasons(best.score) {
            return Ok(false);
        }
        let scores = self.read.scores();
        let threshold = |category: usize| self.answering.thresholds.of(&policy.categories[category]);
        let applies = |category: usize| scores[category] >= threshold(category);
        let told = told(&scores, applies);
        let Some(&category) = told.get(self.findings.len()) else { return Ok(false) };
        let (score, threshold, here) = (scores[category], threshold(category), best.highest[category]);
        let case = Case {
            engine,
            tokenizer,
            prompt,
            policy: read,
            category: &policy.categories[category],
            window: &best.window,
            scoring: *scoring,
            // A message's words take three passes and a definition's two: at most twelve in all.
            defined: self.findings.is_empty() || told.iter().filter(|&&category| applies(category)).count() < STEPS,
            applies: Applies { category, threshold, highest: here },
        };
        let explained = match self.explaining.take() {
            // Where another window scored higher, the words of this one do not carry it.
            None if score < threshold || here.score < score => ControlFlow::Break(Why::default()),
            None => Explanation::begin(&case)?,
            Some(explanation) => explanation.step(&case).await?,
        };
        match explained {
            ControlFlow::Continue(explanation) => self.explaining = Some(explanation),
            ControlFlow::Break(why) => {
                let finding = Some(Finding { score, threshold, why });
                self.findings.push(PlannedStep { category, applies: Some(score >= threshold), finding });
            }
        }
        Ok(true)
    }

    /// What the message scored, and what is said of it as far as that was found out.
    ///
    /// # Errors
    /// Whatever the device has wrong.
    pub async fn finish(self, tokenizer: &Tokenizer, policy: &Policy) -> Result<Readout<'e>> {
        let Self { read, answering, findings, .. } = self;
        let scores = read.scores();
        let Scanned {
            engine,
            prompt,
            policy: words,
            best: Best { score, window, .. },
            prompt_tokens,
            cached_tokens,
            ..
        } = read;
        let (mut answer_score, mut reason) = (None, None);
        let left = |step: &PlannedStep| {
            let (_, left) = step.finding.as_ref()?.why.quote.as_ref()?;
            Some((policy.categories[step.category].id.clone(), *left))
        };
        let effects = findings.iter().filter_map(left).collect();
        if answering.writes(score) {
            let who = answering.steps;
            let written = |category| PlannedStep { category, applies: None, finding: None };
            let steps: Vec<_> = match who {
                Steps::Scored => findings,
                Steps::Written => highest(&scores).into_iter().map(written).collect(),
            };
            let grammar = |think| {
                let plan = Plan { think, steps: &steps, verdict: None };
                engine.prompts.grammar(tokenizer, policy, &prompt, window.at, plan)
            };
            let (mut reader, _) =
                window.reader(engine, &words, &steps.iter().map(|step| step.category).collect::<Vec<_>>())?;
            reader.extend(&[vec![Marker::Answer.id(engine.model.vocab_size())]])?;
            if who == Steps::Written {
                let mut writer = Writer::new(reader.clone(), grammar(Think::Skip)?, Sampling::greedy());
                writer.finish().await?;
                answer_score = writer.p_unsafe();
            }
            if answering.reasons(score) {
                reason = Some((reader, grammar(Think::First { max_tokens: ANSWER })?));
            }
        }
        Ok(Readout {
            score,
            categories: policy.categories.iter().map(|c| c.id.clone()).zip(scores).collect(),
            effects,
            answer_score,
            answer: Answer::default(),
            prompt_tokens,
            cached_tokens,
            answer_tokens: 0,
            unreadable: prompt.unreadable,
            reason,
        })
    }
}
