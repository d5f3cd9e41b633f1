//! From scores and a policy to a decision: the rule, the evidence, and what happens when judging failed.

use std::ops::Range;

use serde::Deserialize;

use super::{
    Answer, CategoryScore, Decision, Evidence, Label, Note, NoteCode, Thresholds, Tier, Usage, Verdict, quotes_in,
};
use crate::conversation::{Conversation, Role, Target};
use crate::policy::{Action, Category, Policy, Unreadable};

/// What a check that could not be made counts as. Allowing is not on offer: a guard that fails must not be a way in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
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

impl From<Action> for Decision {
    fn from(action: Action) -> Self {
        match action {
            Action::Block => Decision::Block,
            Action::Review => Decision::Review,
            Action::Allow => Decision::Allow,
        }
    }
}

/// Gathers what is known about a text and decides.
///
/// The rule: a category applies when its score reaches its threshold ([`Thresholds::of`]). Where categories of the policy
/// have scores, they alone decide: the severest action of those that apply (block, then review, then allow), and
/// allow where none does. Only where none has a score does P(unsafe) decide: from the global threshold on the text gets the
/// severest action that the policy has. Where more of the text is unreadable than the policy takes, it asks for what the
/// policy says, too; a text in a language that the model does not read is unreadable as a whole. A score that is not a
/// finite number counts as 1. Without any score and without a verdict in the answer, the check has failed.
#[derive(Debug, Clone)]
pub struct VerdictBuilder<'a> {
    policy: &'a [Category],
    limit: Option<Unreadable>,
    thresholds: Thresholds,
    on_error: OnError,
    unreadable: f32,
    notes: Vec<Note>,
    score: Option<f32>,
    categories: Vec<(String, f32)>,
    effects: Vec<(String, f32)>,
    answer: Option<(&'a Answer, &'a Conversation)>,
    usage: Usage,
}

impl<'a> VerdictBuilder<'a> {
    /// A verdict under a policy's categories.
    pub fn new(categories: &'a [Category]) -> Self {
        Self {
            policy: categories,
            limit: None,
            thresholds: Thresholds::default(),
            on_error: OnError::default(),
            unreadable: 0.0,
            notes: Vec::new(),
            score: None,
            categories: Vec::new(),
            effects: Vec::new(),
            answer: None,
            usage: Usage::default(),
        }
    }

    /// The bundle's thresholds; without them, the defaults.
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// The share of the judged text, in [0, 1], that nobody can read, and what the policy does about it.
    pub fn unreadable(mut self, share: f32, limit: Option<Unreadable>) -> Self {
        self.unreadable = probability(share);
        self.limit = limit;
        self
    }

    /// What else is known of the judged text.
    pub fn notes(mut self, notes: Vec<Note>) -> Self {
        self.notes = notes;
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

    /// What the score of a category, by id, would be without the words that the answer quotes for it.
    pub fn effect(mut self, id: &str, score: f32) -> Self {
        self.effects.push((id.to_owned(), probability(score)));
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
            let (unreadable, notes, usage) = (self.unreadable, self.notes, self.usage);
            return Verdict { reasoning, unreadable, notes, usage, ..failed };
        };

        let foreign = self.notes.iter().any(|note| note.code == NoteCode::Language);
        let hides = self.limit.filter(|limit| foreign || self.unreadable >= limit.share);
        let mut severest = hides.map_or(Decision::Allow, |limit| limit.action.into());
        let mut in_doubt = self.unreadable >= Tier::UNREADABLE || !self.notes.is_empty();
        let mut categories = Vec::new();
        for category in self.policy {
            let scored = self.categories.iter().find(|(id, _)| *id == category.id).map(|(_, score)| *score);
            let named = answer.is_some_and(|a| a.categories.contains(&category.id)).then_some(score);
            let Some(score) = scored.or(named) else { continue };
            let threshold = self.thresholds.of(category);
            let applies = score >= threshold;
            in_doubt |= category.action != Action::Allow && score >= self.thresholds.doubt(threshold);
            if applies {
                severest = severest.max(category.action.into());
            }
            categories.push(CategoryScore {
                id: category.id.clone(),
                name: category.name.clone(),
                score,
                threshold,
                flagged: applies && category.action != Action::Allow,
            });
        }
        // Nobody says which category it is: any of them may be.
        let action = self.policy.iter().map(|category| category.action).max_by_key(|&action| Decision::from(action));
        let of_any = action.map_or(Decision::Block, Decision::from);
        let unnamed = categories.is_empty();
        let reached = unnamed && score >= self.thresholds.global;
        let decision = if reached { severest.max(of_any) } else { severest };
        let mut notes = self.notes;
        if let Some(action) = action.filter(|&it| reached && self.policy.iter().any(|other| other.action != it)) {
            let message = "no category was named, so the severest action of the policy was asked for";
            notes.push(Note::new(NoteCode::Unnamed, action.as_str(), message));
        }
        in_doubt |= unnamed && of_any != Decision::Allow && score >= self.thresholds.doubt(self.thresholds.global);
        Verdict {
            decision,
            tier: Tier::of(decision, in_doubt),
            flagged: decision != Decision::Allow,
            score,
            reasoned_score: None,
            answer_score: None,
            categories,
            evidence: self
                .answer
                .map(|(answer, conversation)| evidence(answer, conversation, &self.effects))
                .unwrap_or_default(),
            reasoning,
            unreadable: self.unreadable,
            notes,
            rule: None,
            failure: None,
            usage: self.usage,
        }
    }
}

impl Verdict {
    /// Starts a verdict under a policy.
    pub fn builder(policy: &Policy) -> VerdictBuilder<'_> {
        VerdictBuilder::new(&policy.categories)
    }

    /// The verdict of a check that could not be made: score 1, nothing named, the reason in `failure`.
    pub fn fail_closed(reason: impl Into<String>, on_error: OnError) -> Self {
        Self { failure: Some(reason.into()), ..Self::outright(on_error.into()) }
    }

    /// The verdict of a rule of the policy, by id: score 0 where it allows, else 1. The model has no say in it.
    pub fn by_rule(rule: impl Into<String>, decision: Decision) -> Self {
        Self { rule: Some(rule.into()), ..Self::outright(decision) }
    }

    /// The verdict where there is nothing to judge: a text without a word in it harms nobody, and is clear in spite of its note.
    pub(crate) fn on_nothing() -> Self {
        let message = "there is no text to judge: an empty message, or white space alone";
        Self { notes: vec![Note::new(NoteCode::Empty, "", message)], ..Self::outright(Decision::Allow) }
    }

    fn outright(decision: Decision) -> Self {
        let flagged = decision != Decision::Allow;
        Self {
            decision,
            tier: Tier::of(decision, false),
            flagged,
            score: f32::from(u8::from(flagged)),
            reasoned_score: None,
            answer_score: None,
            categories: Vec::new(),
            evidence: Vec::new(),
            reasoning: None,
            unreadable: 0.0,
            notes: Vec::new(),
            rule: None,
            failure: None,
            usage: Usage::default(),
        }
    }
}

fn probability(score: f32) -> f32 {
    if score.is_finite() { score.clamp(0.0, 1.0) } else { 1.0 }
}

/// The quotes that the grammar copied; of reasoning in free text those that it makes and the judged message holds.
fn evidence(answer: &Answer, conversation: &Conversation, effects: &[(String, f32)]) -> Vec<Evidence> {
    let piece = |message: usize, bytes: Range<usize>, category: Option<String>| {
        let quote = conversation.messages.get(message)?.content.get(bytes.clone())?.to_owned();
        let effect = effects.iter().find(|(id, _)| category.as_ref() == Some(id)).map(|&(_, score)| score);
        Some(Evidence { message, start: bytes.start, end: bytes.end, quote, category, effect })
    };
    // Two steps may quote the same words, so quotes that steps hold come from the steps, each with its own category.
    let of_steps = answer.steps.iter().filter_map(|step| {
        let quote = step.quote.as_ref()?;
        piece(quote.message, quote.bytes.clone(), Some(step.category.clone()))
    });
    let loose = answer.quotes.iter().filter(|quote| !answer.steps.iter().any(|s| s.quote.as_ref() == Some(quote)));
    let copied: Vec<Evidence> =
        of_steps.chain(loose.filter_map(|quote| piece(quote.message, quote.bytes.clone(), None))).collect();
    if !copied.is_empty() || !answer.steps.is_empty() {
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
