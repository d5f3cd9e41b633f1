//! A fixed policy next to drawn ones: the bundle's own, which judges whoever brings none.

use super::policies::looks_alarming;
use super::reward::Truth;
use crate::data::recipe::{ConceptIdx, Facts, Recipe, Source};
use crate::data::rows::{Label, Row};
use crate::policy::Policy;

/// A policy, and what its categories are to a recipe.
pub struct OwnPolicy {
    policy: Policy,
    /// For each category the concept that the recipe gives its name to.
    concepts: Vec<Option<ConceptIdx>>,
}

impl OwnPolicy {
    pub fn new(policy: Policy, recipe: &Recipe) -> Self {
        let concepts = policy.categories.iter().map(|category| recipe.named(&category.name)).collect();
        Self { policy, concepts }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The id of the category that stands for harm of any kind, if the policy has one.
    pub fn catch_all(&self, recipe: &Recipe) -> Option<String> {
        let known = recipe.any_harm.and_then(|harm| self.concepts.iter().position(|concept| *concept == Some(harm)))?;
        Some(self.policy.categories[known].id.clone())
    }

    /// For each category whether it applies to a row of which `facts` are known; `None` where nobody knows.
    pub fn applies<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = Option<bool>> + 'a {
        self.concepts.iter().map(|concept| concept.and_then(|concept| facts.holds(concept)))
    }

    /// What is true of a row of a source; `None` where too little is known for a certain verdict.
    pub fn truth(&self, source: &Source, row: &Row, facts: &Facts) -> Option<Truth> {
        let applies: Vec<Option<bool>> = self.applies(facts).collect();
        let known = applies.iter().all(Option::is_some);
        let label = match applies.contains(&Some(true)) {
            true => Label::Unsafe,
            false if known => Label::Safe,
            false => return None,
        };
        let held = self.policy.categories.iter().zip(applies).filter(|(_, applies)| *applies == Some(true));
        Some(Truth {
            label,
            categories: known.then(|| held.map(|(category, _)| category.id.clone()).collect()),
            look_alike: looks_alarming(source, row),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Category;

    #[test]
    fn a_row_breaks_the_policy_that_names_what_is_known_of_it() {
        let recipe = Recipe::parse(
            "heldout_fraction: 0\n\
             concepts: {theft: {related: [fraud]}, fraud: {}, gore: {}}\n\
             broader: {any: {covers: [general]}}\n\
             wordings:\n  theft: {names: [Theft], definitions: [d]}\n  fraud: {names: [Fraud], definitions: [d]}\n  \
             gore: {names: [Gore], definitions: [d]}\n  any: {names: [Harm], definitions: [d]}\n\
             sources: {rows: {unsafe_means: general, negatives: [general], others: [general], look_alike: true, labels: {t: [theft]}}}",
            "test",
        )
        .unwrap();
        let policy = ["Theft", "gore", "Fraud", "Harm"].into_iter().enumerate();
        let policy = policy
            .fold(Policy::new("own"), |policy, (at, name)| policy.category(Category::new(format!("c{at}"), name)));
        let truth = |names: &[usize], label: &str, categories: &str| {
            let mut policy = policy.clone();
            policy.categories = names.iter().map(|&at| policy.categories[at].clone()).collect();
            let row =
                format!(r#"{{"id":"1","level":"prompt","prompt":"p","label":"{label}","categories":[{categories}]}}"#);
            let row: Row = serde_json::from_str(&row).unwrap();
            let facts = recipe.facts("rows", &row).unwrap();
            OwnPolicy::new(policy, &recipe).truth(&recipe.sources["rows"], &row, &facts)
        };
        let held = |ids: &[&str]| Some(ids.iter().map(ToString::to_string).collect::<Vec<_>>());

        let safe = truth(&[0, 1, 2, 3], "safe", "").unwrap();
        assert_eq!((safe.label, safe.categories, safe.look_alike), (Label::Safe, held(&[]), true));
        let named = truth(&[0, 1, 3], "unsafe", r#""t""#).unwrap();
        assert_eq!((named.label, named.categories, named.look_alike), (Label::Unsafe, held(&["c0", "c3"]), false));
        let related = truth(&[0, 2], "unsafe", r#""t""#).unwrap();
        assert_eq!((related.label, related.categories), (Label::Unsafe, None), "theft may be fraud, too");
        let unexplained = truth(&[0, 1, 3], "unsafe", "").unwrap();
        assert_eq!((unexplained.label, unexplained.categories), (Label::Unsafe, None));
        assert_eq!(truth(&[0, 1], "unsafe", ""), None, "what harms is not said");
        assert_eq!(truth(&[1], "unsafe", r#""t""#).unwrap().label, Label::Safe);
    }
}
