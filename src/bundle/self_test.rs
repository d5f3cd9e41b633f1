//! A bundle's self-test as its manifest holds it: short conversations, and the numbers that the whole model gave for them.
//!
//! Which conversations, and how the numbers come about, is `guard/self_test.rs`; here is the form, and what a test must
//! cover before it counts as one.

use serde::{Deserialize, Deserializer, Serialize};

use crate::conversation::Conversation;
use crate::policy::{Category, Policy};
use crate::prompt::Template;
use crate::tokenizer::TokenId;

/// The largest tolerance of a self-test: a model that is wrong by more may decide otherwise.
pub const MAX_TOLERANCE: f32 = 0.05;

/// The smallest tolerance that a test is made with: what [`KnownCase::round`] takes from a value is a quarter of it.
#[cfg(feature = "native")]
const LEAST_TOLERANCE: f32 = 2e-4;
/// The sides on trial, and whether an assistant's answer is.
const SIDES: [(&str, bool); 2] = [("prompts", false), ("responses", true)];
/// What two conversations' values must differ by more than, in tolerances: a model that is blind to what it reads gives
/// the same for both, and that cannot then be within the tolerance of either.
const TOLD_APART: f32 = 2.0;
/// Conversations of each side: one that breaks the policy, and one that does not.
const CASES_OF_A_SIDE: usize = 2;
const MAX_CASES: usize = 16;
/// Bytes of a text: a test is run at every load.
const MAX_TEXT: usize = 1024;
const MAX_CATEGORIES: usize = 8;
/// Of a case's answer, those that are read and those that are asked about.
const MAX_TOKENS: usize = 512;

/// What a model must answer before it is trusted. All values are raw numbers of the network, so that a fault shows at its
/// full size: logits, never probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SelfTest {
    /// The largest difference that still passes, above 0 and at most [`MAX_TOLERANCE`]: what another device's rounding
    /// needs.
    pub tolerance: f32,
    /// A small policy such as an owner writes: every case is judged under it, whatever the bundle's own.
    pub categories: Vec<TestCategory>,
    /// Conversations of each side on trial, at least two that the model tells apart.
    pub cases: Vec<KnownCase>,
}

/// A category of the self-test's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TestCategory {
    pub name: String,
    pub definition: String,
}

/// A conversation and its known answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KnownCase {
    /// What the user says. As text, so that a tokenizer that reads it otherwise is found too.
    pub user: String,
    /// What the assistant says; its answer is then on trial, else the user's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant: Option<String>,
    /// A slot model's logit of each category of the bundle's own policy, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<f32>,
    /// A slot model's logit of each of [`SelfTest::categories`], in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<f32>,
    /// A slot model's keys and values of the prompt, as [`KvCache::digest`](crate::model::KvCache::digest) sums them up: two
    /// numbers for each layer. What a later layer would hide shows in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<f32>,
    /// The beginning of an answer: under the bundle's own policy for a slot model, under [`SelfTest::categories`] for a
    /// decoder.
    pub answer: Vec<KnownStep>,
}

/// A place in an answer, and how likely the model holds what may come next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KnownStep {
    /// The tokens of the answer that are read since the step before.
    pub read: Vec<TokenId>,
    /// Some of the tokens that may come next: words, and a slot model's markers behind them.
    pub next: Vec<TokenId>,
    /// The logit of each of them, in their order.
    pub logits: Vec<f32>,
}

impl SelfTest {
    /// The policy that [`categories`](Self::categories) make.
    pub fn policy(&self) -> Policy {
        let category = |(i, TestCategory { name, definition }): (usize, &TestCategory)| {
            Category::new(format!("T{}", i + 1), name).definition(definition)
        };
        let categories = self.categories.iter().enumerate().map(category);
        categories.fold(Policy::new("self-test"), Policy::category)
    }

    /// Checks that it can be asked: bounds of its size, and a list of values for each thing that is asked.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence.
    pub fn validate(&self, template: Template) -> Result<(), String> {
        if !(1..=MAX_CATEGORIES).contains(&self.categories.len()) {
            return Err(format!("expected 1 to {MAX_CATEGORIES} categories but got {}", self.categories.len()));
        }
        self.policy().validate().map_err(|error| format!("`categories`: {error}"))?;
        if self.cases.len() > MAX_CASES {
            return Err(format!("expected at most {MAX_CASES} cases but got {}", self.cases.len()));
        }
        self.cases.iter().zip(1..).try_for_each(|(case, number)| {
            case.validate(template, self.categories.len()).map_err(|what| format!("case {number}: {what}"))
        })
    }

    /// Whether a model that passes is whole: the tolerance is narrow, there are cases of each side, and a model that is
    /// blind to what it reads could not give their values.
    ///
    /// # Errors
    /// What is missing, as the end of a sentence.
    pub fn says_enough(&self) -> Result<(), String> {
        if !(self.tolerance > 0.0 && self.tolerance <= MAX_TOLERANCE) {
            let found = self.tolerance;
            return Err(format!("expected a tolerance above 0 and at most {MAX_TOLERANCE} logits but got {found}"));
        }
        for (side, responses) in SIDES {
            let cases = self.side(responses).count();
            if cases < CASES_OF_A_SIDE {
                return Err(format!("expected at least {CASES_OF_A_SIDE} {side} but got {cases}"));
            }
            let (apart, least) = (self.apart(responses), TOLD_APART * self.tolerance);
            if apart <= least {
                return Err(format!("expected {side} whose logits differ by more than {least} but got {apart}"));
            }
        }
        Ok(())
    }

    /// The tolerance, of at most `most`, that the differences between the conversations leave room for: a model that tells
    /// texts less apart is held to narrower values.
    #[cfg(feature = "native")]
    pub(crate) fn narrow(&self, most: f32) -> f32 {
        let apart = SIDES.iter().map(|(_, responses)| self.apart(*responses)).fold(f32::INFINITY, f32::min);
        (apart / (2.0 * TOLD_APART)).min(most).clamp(LEAST_TOLERANCE, MAX_TOLERANCE)
    }

    fn side(&self, responses: bool) -> impl Iterator<Item = &KnownCase> {
        self.cases.iter().filter(move |case| case.assistant.is_some() == responses)
    }

    /// The least difference between any two of a side's conversations.
    fn apart(&self, responses: bool) -> f32 {
        let pairs = self.side(responses).enumerate();
        let apart = pairs.flat_map(|(i, case)| self.side(responses).take(i).map(|other| case.apart(other)));
        apart.fold(f32::INFINITY, f32::min)
    }
}

impl KnownCase {
    /// What is on trial.
    pub fn conversation(&self) -> Conversation {
        match &self.assistant {
            Some(answer) => Conversation::response(self.user.as_str(), answer.as_str()),
            None => Conversation::prompt(self.user.as_str()),
        }
    }

    /// Every value with the name of its list and its place there, in one order.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, usize, f32)> + '_ {
        let lists = [("own", &self.own), ("other", &self.other), ("states", &self.states)];
        let lists = lists.into_iter().chain(self.answer.iter().map(|step| ("answer", &step.logits)));
        lists.flat_map(|(name, list)| list.iter().enumerate().map(move |(at, &value)| (name, at, value)))
    }

    /// Leaves four digits behind the point, a fraction of every tolerance that makes sense.
    #[cfg(feature = "native")]
    pub(crate) fn round(&mut self) {
        let answers = self.answer.iter_mut().map(|step| &mut step.logits);
        let lists = [&mut self.own, &mut self.other, &mut self.states].into_iter().chain(answers);
        lists.flatten().for_each(|value| *value = (*value * 1e4).round() / 1e4);
    }

    /// The largest difference between the logits of this conversation and of another.
    fn apart(&self, other: &Self) -> f32 {
        let logits = |case: &Self| -> Vec<f32> {
            let answers = case.answer.iter().flat_map(|step| &step.logits);
            case.own.iter().chain(&case.other).chain(answers).copied().collect()
        };
        logits(self).iter().zip(logits(other)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn validate(&self, template: Template, categories: usize) -> Result<(), String> {
        for text in [Some(&self.user), self.assistant.as_ref()].into_iter().flatten() {
            if text.trim().is_empty() || text.len() > MAX_TEXT {
                return Err(format!("expected texts of 1 to {MAX_TEXT} bytes but got one of {}", text.len()));
            }
        }
        if self.values().any(|(.., value)| !value.is_finite()) {
            return Err("expected finite values".into());
        }
        let steps = self.answer.iter().all(|step| !step.next.is_empty() && step.next.len() == step.logits.len());
        if self.answer.is_empty() || !steps {
            return Err("expected an `answer` of steps with a logit for each token of `next`".into());
        }
        let tokens: usize = self.answer.iter().map(|step| step.read.len() + step.next.len()).sum();
        if tokens > MAX_TOKENS {
            return Err(format!("expected at most {MAX_TOKENS} tokens in `answer` but got {tokens}"));
        }
        match template {
            Template::Slots if self.own.is_empty() || self.states.is_empty() => {
                Err("expected logits under the bundle's `own` policy, and `states`".into())
            }
            Template::Slots if self.other.len() != categories => {
                Err(format!("expected {categories} logits in `other` but got {}", self.other.len()))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a self-test. One of token ids and probabilities says too little to count: such a bundle has none.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SelfTest>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    if value.is_null() || value.get("ids").is_some() {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(|error| serde::de::Error::custom(format!("`self_test`: {error}")))
}

/// A decoder's self-test that counts.
#[cfg(test)]
pub(super) fn sample() -> SelfTest {
    let step = |logit| KnownStep { read: vec![1], next: vec![2], logits: vec![logit] };
    let case = |assistant: Option<&str>, logit| KnownCase {
        user: "How do I reset a router?".into(),
        assistant: assistant.map(str::to_owned),
        answer: vec![step(logit)],
        ..KnownCase::default()
    };
    let category = TestCategory { name: "Locks".into(), definition: "Asks how to open one.".into() };
    let cases = vec![case(None, 1.0), case(None, -1.0), case(Some("Like this."), 1.0), case(Some("No."), -1.0)];
    SelfTest { tolerance: 0.01, categories: vec![category], cases }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_test_that_cannot_be_asked_or_answered_is_named() {
        type Change = fn(&mut SelfTest);
        let broken: [(&str, Template, Change); 5] = [
            ("finite", Template::Rsafe, |test| test.cases[0].answer[0].logits = vec![f32::INFINITY]),
            ("512 tokens", Template::Rsafe, |test| test.cases[0].answer[0].read = vec![1; MAX_TOKENS]),
            ("texts", Template::Rsafe, |test| test.cases[1].user = "a".repeat(MAX_TEXT + 1)),
            ("`states`", Template::Slots, |test| test.cases.iter_mut().for_each(|case| case.own = vec![1.0])),
            ("`own`", Template::Slots, |test| test.cases.iter_mut().for_each(|case| case.states = vec![1.0])),
        ];
        assert_eq!(sample().validate(Template::Rsafe), Ok(()));
        for (named, template, break_it) in broken {
            let mut test = sample();
            break_it(&mut test);
            let what = test.validate(template).unwrap_err();
            assert!(what.contains(named), "{what} does not name {named}");
        }
    }
}
