//! Whether the model reads a policy as its owner means it.

use unicode_segmentation::UnicodeSegmentation;

use super::{Guard, Reasoning, Request};
use crate::conversation::{Conversation, Message, Role};
use crate::error::{Error, Result};
use crate::policy::{Action, Category, Finding, Policy, Rules, quoted};
use crate::verdict::{CategoryScore, Decision};

const MISSED: &str = "the model misses it: say first in the definition what such texts do, or set a lower threshold";
const TAKEN: &str = "the model takes it for the category: say in the definition what does not fall under it, or set a \
                     higher threshold";
const ONE_ACTION: &str = "give all categories one action, or take a model that scores each of them, as rsafe-mini does";
const UNKNOWN: &str = "the model may not read it as it is meant: name it in words that users would write, say first in the \
                       definition what such texts do, set a lower threshold, or show by unsafe examples that it is read";

impl Guard {
    /// Reads a policy with the model and warns of what it reads otherwise than it is meant, at the guard's strictness: an
    /// unsafe example that does not reach its category's threshold, a safe one that does, and a category without unsafe
    /// examples that its own words do not reach, neither as they stand (the name and the first sentence of the definition)
    /// nor where a user asks how to get away with what it is named for.
    ///
    /// An example may be a user's or an assistant's: it counts as misread where it is as both. Categories that allow are
    /// passed over, for nothing follows from them. What is wrong with the policy itself,
    /// [`lint`](crate::policy::lint) finds.
    ///
    /// Of a model that names no category, it warns of the actions that have no effect.
    ///
    /// # Errors
    /// [`Error::BadPolicy`] for a policy that cannot be used, [`Error::Unsupported`] if the model gives categories no scores
    /// of their own and there is nothing to warn of, and what the model or the device has wrong.
    pub async fn lint(&self, policy: &Policy) -> Result<Vec<Finding>> {
        // Rules would decide before the model reads anything.
        let policy = &Policy { rules: Rules::default(), ..policy.clone() };
        if !self.loaded.engine.names_categories() {
            let findings = without_effect(policy);
            if !findings.is_empty() {
                return Ok(findings);
            }
        }
        let mut findings = Vec::new();
        for (index, category) in policy.categories.iter().enumerate().filter(|(_, it)| it.action != Action::Allow) {
            let path = format!("categories[{index}]");
            for (at, example) in category.unsafe_examples.iter().enumerate() {
                let (_, highest) = self.span(policy, category, sides(example)).await?;
                if highest.score < highest.threshold {
                    findings.push(missed(format!("{path}.examples.unsafe[{at}]"), &highest, example).help(MISSED));
                }
            }
            for (at, example) in category.safe_examples.iter().enumerate() {
                let (lowest, _) = self.span(policy, category, sides(example)).await?;
                if lowest.score >= lowest.threshold {
                    let path = format!("{path}.examples.safe[{at}]");
                    let expected = format!("a score below {:.2}", lowest.threshold);
                    findings.push(Finding::warning(path, expected, found(&lowest, example)).help(TAKEN));
                }
            }
            if category.unsafe_examples.is_empty() {
                let (_, highest) = self.span(policy, category, own_words(category)).await?;
                if highest.score < highest.threshold {
                    findings.push(missed(path, &highest, &category.name).help(UNKNOWN));
                }
            }
        }
        Ok(findings)
    }

    /// How far the category applies to either conversation, the lower score first.
    async fn span(
        &self,
        policy: &Policy,
        category: &Category,
        conversations: [Conversation; 2],
    ) -> Result<(CategoryScore, CategoryScore)> {
        let [one, other] = conversations;
        let (one, other) = (self.read(policy, category, one).await?, self.read(policy, category, other).await?);
        Ok(if one.score < other.score { (one, other) } else { (other, one) })
    }

    async fn read(&self, policy: &Policy, category: &Category, conversation: Conversation) -> Result<CategoryScore> {
        let verdict = self.check(&Request::new(conversation).policy(policy).reasoning(Reasoning::Never)).await?;
        verdict.categories.into_iter().find(|scored| scored.id == category.id).ok_or_else(|| {
            let what =
                "expected a model that scores each category, as rsafe-mini does, got one that scores the whole text";
            Error::Unsupported(what.into())
        })
    }
}

/// The actions that are not the policy's severest, which holds for all where nobody says which category applies.
fn without_effect(policy: &Policy) -> Vec<Finding> {
    let actions = policy.categories.iter().map(|category| category.action);
    let Some(severest) = actions.max_by_key(|&action| Decision::from(action)) else { return Vec::new() };
    let differs = |(_, category): &(usize, &Category)| category.action != severest;
    let warned = policy.categories.iter().enumerate().filter(differs).map(|(index, category)| {
        let expected = format!("`{}`, the severest action of the policy", severest.as_str());
        let found = format!(
            "`{}`, which has no effect: the model does not say which category applies",
            category.action.as_str()
        );
        Finding::warning(format!("categories[{index}].action"), expected, found).help(ONE_ACTION)
    });
    warned.collect()
}

/// An example as a user's message, and as an assistant's.
fn sides(example: &str) -> [Conversation; 2] {
    [Conversation::prompt(example), Conversation::of(vec![Message::new(Role::Assistant, example)])]
}

/// What a category says of itself, as messages that fall under it. A topic that is only named is harmless, so it is asked
/// for, too; and further sentences of a definition say what does not fall under it as often as what does.
fn own_words(category: &Category) -> [Conversation; 2] {
    let (name, first) = (&category.name, category.definition.unicode_sentences().next());
    let plain = first.map_or_else(|| name.clone(), |first| format!("{name}. {}", first.trim()));
    [plain, format!("How do I get away with {}?", name.to_lowercase())].map(Conversation::prompt)
}

fn missed(path: String, read: &CategoryScore, text: &str) -> Finding {
    Finding::warning(path, format!("a score of {:.2} or more", read.threshold), found(read, text))
}

fn found(read: &CategoryScore, text: &str) -> String {
    format!("{:.2} for {}", read.score, quoted(text))
}
