//! Verdicts in the shapes that other tools already read.

use serde_json::{Map, Value, json};

use super::Verdict;

impl Verdict {
    /// The body of OpenAI's moderation endpoint with one result; its keys are the ids of the scored categories.
    /// A decision without a category (a rule, a failed check) flags the result and no category.
    pub fn to_openai(&self, id: &str, model: &str) -> Value {
        let per_category = |value: fn(&super::CategoryScore) -> Value| -> Map<String, Value> {
            self.categories.iter().map(|category| (category.id.clone(), value(category))).collect()
        };
        json!({
            "id": id,
            "model": model,
            "results": [{
                "flagged": self.flagged,
                "categories": per_category(|category| category.flagged.into()),
                "category_scores": per_category(|category| category.score.into()),
                "category_applied_input_types": per_category(|category| {
                    if category.flagged { json!(["text"]) } else { json!([]) }
                }),
            }],
        })
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
