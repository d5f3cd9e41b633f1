//! From scores and a policy to a decision: the rule, the evidence, and what happens when judging failed.

use std::ops::Range;

use super::{Answer, CategoryScore, Decision, Evidence, Label, Usage, Verdict, quotes_in};
use crate::{Action, Conversation, Policy, Role, Target};

/// What a check that could not be made counts as. Allowing is not on offer: a guard that fails must not be a way in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnError {
    #[default]
    Block,
    Review,
}

impl From<OnError> for Decision {
    fn from(on_error: OnError) -> Self {
        match on_error {
            OnError::Block => Decision::Block,
            OnError::Review => Decision::Review,
        }
    }
}

/// Scores from which something applies, in [0, 1]; a bundle brings its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// For P(unsafe), when no category applies.
    pub overall: f32,
    /// For a category whose policy sets none.
    pub category: f32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { overall: 0.5, category: 0.5 }
    }
}

/// Gathers what is known about a text and decides.
///
/// The rule: a category applies when its score reaches its threshold (the policy's, else the bundle's). If any applies,
/// the severest of their actions decides (block, then review, then allow). If none applies and P(unsafe) reaches the
/// overall threshold, the text is blocked. A score that is not a number counts as 1. Without any score and without a
/// verdict in the answer, the check has failed.
#[derive(Debug, Clone)]
pub struct VerdictBuilder<'a> {
    policy: &'a Policy,
    thresholds: Thresholds,
    on_error: OnError,
    score: Option<f32>,
    categories: Vec<(String, f32)>,
    answer: Option<(&'a Answer, &'a Conversation)>,
    usage: Usage,
}

impl<'a> VerdictBuilder<'a> {
    pub fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            thresholds: Thresholds::default(),
            on_error: OnError::default(),
            score: None,
            categories: Vec::new(),
            answer: None,
            usage: Usage::default(),
        }
    }

    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// P(unsafe), read at the verdict. Without it the answer's label stands in: safe 0, controversial 0.5, unsafe 1.
    pub fn score(mut self, p_unsafe: f32) -> Self {
        self.score = Some(probability(p_unsafe));
        self
    }

    /// A score for a category of the policy, by id; the last one given holds. Ids the policy lacks are left out.
    pub fn category(mut self, id: &str, score: f32) -> Self {
        self.categories.retain(|(known, _)| known != id);
        self.categories.push((id.to_owned(), probability(score)));
        self
    }

    /// The answer and the conversation it speaks about. A category that the answer names and nobody scored gets
    /// P(unsafe) as its score.
    pub fn answer(mut self, answer: &'a Answer, conversation: &'a Conversation) -> Self {
        self.answer = Some((answer, conversation));
        self
    }

    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    pub fn build(self) -> Verdict {
        let answer = self.answer.map(|(answer, _)| answer);
        let from_label = answer.and_then(|a| a.verdict).map(|label| match label {
            Label::Safe => 0.0,
            Label::Controversial => 0.5,
            Label::Unsafe => 1.0,
        });
        let from_categories = self.categories.iter().map(|(_, score)| *score).reduce(f32::max);
        let reasoning = answer.map(|a| a.reasoning.clone()).filter(|text| !text.is_empty());
        let Some(score) = self.score.or(from_label).or(from_categories) else {
            let failed = Verdict::fail_closed("the answer holds no verdict", self.on_error);
            return Verdict { reasoning, usage: self.usage, ..failed };
        };

        let mut decision = None;
        let mut categories = Vec::new();
        for category in &self.policy.categories {
            let scored = self.categories.iter().find(|(id, _)| *id == category.id).map(|(_, score)| *score);
            let named = answer.is_some_and(|a| a.categories.contains(&category.id)).then_some(score);
            let Some(score) = scored.or(named) else { continue };
            let threshold = category.threshold.unwrap_or(self.thresholds.category);
            let applies = score >= threshold;
            if applies {
                decision = decision.max(Some(decided_by(category.action)));
            }
            categories.push(CategoryScore {
                id: category.id.clone(),
                name: category.name.clone(),
                score,
                threshold,
                flagged: applies && category.action != Action::Allow,
            });
        }
        let overall = if score >= self.thresholds.overall { Decision::Block } else { Decision::Allow };
        let decision = decision.unwrap_or(overall);
        Verdict {
            decision,
            flagged: decision != Decision::Allow,
            score,
            categories,
            evidence: self.answer.map(|(answer, conversation)| evidence(answer, conversation)).unwrap_or_default(),
            reasoning,
            rule: None,
            failure: None,
            usage: self.usage,
        }
    }
}

impl Verdict {
    /// Starts a verdict under a policy.
    pub fn builder(policy: &Policy) -> VerdictBuilder<'_> {
        VerdictBuilder::new(policy)
    }

    /// The verdict of a check that could not be made: score 1, nothing named, the reason in `failure`.
    pub fn fail_closed(reason: impl Into<String>, on_error: OnError) -> Self {
        Self {
            decision: on_error.into(),
            flagged: true,
            score: 1.0,
            categories: Vec::new(),
            evidence: Vec::new(),
            reasoning: None,
            rule: None,
            failure: Some(reason.into()),
            usage: Usage::default(),
        }
    }
}

fn decided_by(action: Action) -> Decision {
    match action {
        Action::Block => Decision::Block,
        Action::Review => Decision::Review,
        Action::Allow => Decision::Allow,
    }
}

fn probability(score: f32) -> f32 {
    if score.is_nan() { 1.0 } else { score.clamp(0.0, 1.0) }
}

/// The quotes that the grammar copied; without any, those that the reasoning makes and the judged message holds.
fn evidence(answer: &Answer, conversation: &Conversation) -> Vec<Evidence> {
    let piece = |message: usize, bytes: Range<usize>, category| {
        let quote = conversation.messages.get(message)?.content.get(bytes.clone())?.to_owned();
        Some(Evidence { message, start: bytes.start, end: bytes.end, quote, category })
    };
    // Two steps may quote the same words, so quotes that steps hold come from the steps, each with its own category.
    let of_steps = answer.steps.iter().filter_map(|step| {
        let quote = step.quote.as_ref()?;
        piece(quote.message, quote.bytes.clone(), Some(step.category.clone()))
    });
    let loose = answer.quotes.iter().filter(|quote| !answer.steps.iter().any(|s| s.quote.as_ref() == Some(quote)));
    let copied: Vec<Evidence> =
        of_steps.chain(loose.filter_map(|quote| piece(quote.message, quote.bytes.clone(), None))).collect();
    if !copied.is_empty() {
        return copied;
    }
    let author = match conversation.target {
        Target::Prompt => Role::User,
        Target::Response => Role::Assistant,
    };
    let Some(judged) = conversation.messages.iter().rposition(|m| m.role == author) else { return Vec::new() };
    let ranges = quotes_in(&answer.reasoning, &conversation.messages[judged].content);
    ranges.into_iter().filter_map(|bytes| piece(judged, bytes, None)).collect()
}
