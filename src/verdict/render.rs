//! Verdicts in the shapes that other tools already read.

use indexmap::IndexMap;
use serde::Serialize;

use super::{CategoryScore, Decision, Tier, Verdict};

/// What kinds of input a flagged category was found in.
const TEXT: &[&str] = &["text"];

impl Verdict {
    /// The body of OpenAI's moderation endpoint with one result; its keys are the ids of the scored categories.
    /// A decision without a category (a rule, a failed check) flags the result and no category. Beside OpenAI's fields
    /// stand ours, as at the edge: `decision`, `tier`, `score`, `scored_categories`, `rule` and, if there is one, `failure`.
    pub fn to_openai<'v>(&'v self, id: impl Serialize + 'v, model: &'v str) -> impl Serialize + 'v {
        Moderation { id, model, results: [Moderated::of(self)] }
    }

    /// Llama Guard's text: `safe`, or `unsafe` and on a second line the flagged categories' ids, if there are any.
    pub fn to_llama_guard(&self) -> String {
        if !self.flagged {
            return "safe".to_owned();
        }
        let ids: Vec<&str> = self.categories.iter().filter(|c| c.flagged).map(|c| c.id.as_str()).collect();
        if ids.is_empty() { "unsafe".to_owned() } else { format!("unsafe\n{}", ids.join(",")) }
    }
}

#[derive(Serialize)]
struct Moderation<'v, I> {
    id: I,
    model: &'v str,
    results: [Moderated<'v>; 1],
}

/// One result of a moderation. Its keys are the ids of the scored categories; a rule's or a failure's decision flags none.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema), schema(as = ModerationResult))]
pub struct Moderated<'v> {
    flagged: bool,
    #[cfg_attr(feature = "serve", schema(value_type = HashMap<String, bool>))]
    categories: IndexMap<&'v str, bool>,
    #[cfg_attr(feature = "serve", schema(value_type = HashMap<String, f32>))]
    category_scores: IndexMap<&'v str, f32>,
    #[cfg_attr(feature = "serve", schema(value_type = HashMap<String, Vec<String>>))]
    category_applied_input_types: IndexMap<&'v str, &'static [&'static str]>,
    decision: Decision,
    tier: Tier,
    score: f32,
    scored_categories: &'v [CategoryScore],
    rule: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'v str>,
}

impl<'v> Moderated<'v> {
    pub fn of(verdict: &'v Verdict) -> Self {
        fn per<T>(verdict: &Verdict, value: fn(&CategoryScore) -> T) -> IndexMap<&str, T> {
            verdict.categories.iter().map(|category| (category.id.as_str(), value(category))).collect()
        }
        Self {
            flagged: verdict.flagged,
            categories: per(verdict, |category| category.flagged),
            category_scores: per(verdict, |category| category.score),
            category_applied_input_types: per(verdict, |category| if category.flagged { TEXT } else { &[] }),
            decision: verdict.decision,
            tier: verdict.tier,
            score: verdict.score,
            scored_categories: &verdict.categories,
            rule: verdict.rule.as_deref(),
            failure: verdict.failure.as_deref(),
        }
    }
}
