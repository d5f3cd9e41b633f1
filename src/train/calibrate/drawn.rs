//! Small policies drawn for a held-out row, as a user might write them: some with a category that the row breaks, none
//! with one that catches all.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::data::recipe::{ConceptIdx, Facts, Recipe};
use crate::policy::{Category, Policy};

/// Categories of a drawn policy.
const CATEGORIES: std::ops::RangeInclusive<usize> = 3..=6;
/// The share of policies that have a category which an unsafe row breaks.
const OWN: f64 = 0.5;
/// The share of categories that say more than their name, where training saw the name.
const DEFINED: f64 = 0.6;

/// A policy, and whether the row breaks it.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    pub policy: Policy,
    pub is_broken: bool,
}

/// Draws a policy of which every category is known to apply to the row or not. `unseen` takes names that training never
/// showed, without definitions, which would give them away. `None` if too little is known of the row.
pub fn draw(recipe: &Recipe, facts: &Facts, unseen: bool, rng: &mut ChaCha8Rng) -> Option<Drawn> {
    let size = rng.random_range(CATEGORIES);
    let mut concepts: Vec<ConceptIdx> = Vec::new();
    if rng.random_bool(OWN) {
        let own: Vec<ConceptIdx> = facts.positive.iter().copied().filter(|at| Some(*at) != recipe.any_harm).collect();
        concepts.extend(own.choose(rng));
    }
    let is_broken = !concepts.is_empty();
    let mut others: Vec<ConceptIdx> =
        facts.negative.iter().copied().filter(|at| Some(*at) != recipe.any_harm).collect();
    others.shuffle(rng);
    for other in others {
        let covers = |of: ConceptIdx| &recipe.concepts[of].covers;
        let apart = |of: &ConceptIdx| !covers(*of).iter().any(|part| covers(other).contains(part));
        if concepts.len() < size && concepts.iter().all(apart) {
            concepts.push(other);
        }
    }
    if concepts.len() < *CATEGORIES.start() {
        return None;
    }
    concepts.shuffle(rng);
    let mut policy = Policy::new("drawn");
    for (at, concept) in concepts.into_iter().enumerate() {
        let concept = &recipe.concepts[concept];
        let names = if unseen { &concept.held_out_names } else { &concept.names };
        let mut category = Category::new(format!("c{at}"), names.choose(rng)?);
        if !unseen && rng.random_bool(DEFINED) {
            category = category.definition(concept.definitions.choose(rng)?);
        }
        policy = policy.category(category);
    }
    Some(Drawn { policy, is_broken })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/rsafe-mini/recipe.yaml");

    #[test]
    fn a_drawn_policy_says_of_every_category_what_the_row_is() {
        let recipe = Recipe::load(RECIPE).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let positive: Vec<ConceptIdx> = ["fraud", "deception"].map(|id| recipe.index(id).unwrap()).to_vec();
        let negative: Vec<ConceptIdx> = (0..recipe.fine).filter(|at| !positive.contains(at)).collect();
        let facts = Facts { positive: positive.clone(), negative, ..Facts::default() };
        let mut broken = 0;
        for unseen in [false, true] {
            for _ in 0..100 {
                let Drawn { policy, is_broken } = draw(&recipe, &facts, unseen, &mut rng).unwrap();
                assert!(policy.validate().is_ok() && CATEGORIES.contains(&policy.categories.len()));
                let concept = |name: &str| {
                    let names = |at: &ConceptIdx| {
                        let concept = &recipe.concepts[*at];
                        if unseen { &concept.held_out_names } else { &concept.names }
                    };
                    (0..recipe.concepts.len()).find(|at| names(at).iter().any(|known| known == name)).unwrap()
                };
                let own = policy.categories.iter().filter(|c| positive.contains(&concept(&c.name))).count();
                assert_eq!(own, usize::from(is_broken));
                assert!(!unseen || policy.categories.iter().all(|category| category.definition.is_empty()));
                broken += own;
            }
        }
        assert!((60..140).contains(&broken), "{broken} of 200");
    }

    #[test]
    fn nothing_is_drawn_for_a_row_of_which_too_little_is_known() {
        let recipe = Recipe::load(RECIPE).unwrap();
        let facts = Facts { positive: vec![recipe.any_harm.unwrap()], general_unsafe: true, ..Facts::default() };
        assert_eq!(draw(&recipe, &facts, false, &mut ChaCha8Rng::seed_from_u64(1)), None);
    }
}
