//! The policies that training draws for rows, and what is true of a row under a policy.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::reward::Truth;
use crate::data::recipe::{ConceptIdx, Facts, Recipe, Source};
use crate::data::rows::{Label, Row};
use crate::policy::{Category, Policy};

/// Categories in a sampled policy.
const CATEGORIES: std::ops::RangeInclusive<usize> = 1..=6;
/// Categories of a policy that covers general harm, at most.
const COVER: usize = 14;
const COVER_DRAWS: usize = 12;
/// The share of harmless rows that are judged under a policy that covers every general harm.
const HARMLESS_COVERS: f64 = 0.35;
/// The share of such policies whose categories are names alone: they are long enough without definitions.
const SHORT_COVERS: f64 = 0.75;
/// How much more often a category is asked that a text touches: where one word tells the two apart, there is most to learn.
const TOUCHED: f64 = 6.0;
/// The share of policies that hold something that the row is about, where anything is.
const OWN: f64 = 0.8;
/// Concepts that rows are asked about beside a cover of all harm.
const ABOUT: usize = 14;
/// The share of policies that also hold "harm of any kind", where the row says whether it applies.
const ANY_HARM: f64 = 0.8;
/// A safe row of this category looks alarming: flagging it is over-refusal.
const LOOK_ALIKE: &str = "look_alike";

/// Draws policies.
pub struct Policies<'a> {
    pub recipe: &'a Recipe,
    /// How often each concept holds among the rows: those that often do are asked more often where they do not.
    pub frequency: Vec<usize>,
}

/// The concepts of one policy, in no order that means anything but not shuffled.
pub struct Drawn {
    pub concepts: Vec<ConceptIdx>,
    /// The categories should be names alone.
    pub short: bool,
}

/// The concepts that many rows are asked about at once.
pub struct Asks {
    /// They leave out next to no general harm.
    pub cover: Drawn,
    /// What some of the rows are about, or are not.
    pub about: Vec<ConceptIdx>,
}

/// The words of one category.
pub struct Words<'a> {
    pub name: &'a str,
    pub definition: &'a str,
    pub shows: Shows,
}

/// What a policy says of a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Name,
    Both,
    Definition,
}

impl<'a> Policies<'a> {
    /// A policy for a row of which `facts` are known.
    pub fn draw(&self, facts: &Facts, rng: &mut ChaCha8Rng) -> Drawn {
        let unexplained = facts.general_unsafe;
        let harmless = self.recipe.any_harm.is_some_and(|harm| facts.holds(harm) == Some(false));
        let cover = harmless && rng.random_bool(HARMLESS_COVERS);
        let mut concepts = match (unexplained, cover) {
            (true, _) => self.bystanders(rng),
            (false, true) => self.cover(rng),
            (false, false) => self.policy(facts, rng),
        };
        let any_harm = self.recipe.any_harm.filter(|&harm| facts.target(harm).is_some());
        // Nothing else is known about a row whose harm nobody named.
        concepts.extend(any_harm.filter(|_| unexplained || rng.random_bool(ANY_HARM)));
        let short = cover && rng.random_bool(SHORT_COVERS);
        Drawn { concepts, short }
    }

    /// What to ask about rows of which these facts are known.
    pub fn ask<'f>(&self, rows: impl IntoIterator<Item = &'f Facts>, rng: &mut ChaCha8Rng) -> Asks {
        let cover = Drawn { concepts: self.cover(rng), short: rng.random_bool(SHORT_COVERS) };
        let mut about: Vec<ConceptIdx> = rows.into_iter().filter_map(|facts| self.about(facts, rng)).collect();
        about.retain(|concept| !cover.concepts.contains(concept));
        about.sort_unstable();
        about.dedup();
        about.shuffle(rng);
        // What no broad category holds is asked nowhere else.
        let covered = |concept: &ConceptIdx| {
            let parts = &self.recipe.concepts[*concept].covers;
            let holds =
                |other: &ConceptIdx| parts.iter().all(|part| self.recipe.concepts[*other].covers.contains(part));
            cover.concepts.iter().any(holds)
        };
        about.sort_by_key(covered);
        about.truncate(ABOUT);
        Asks { cover, about }
    }

    /// A concept that holds, or one that does not.
    fn about(&self, facts: &Facts, rng: &mut ChaCha8Rng) -> Option<ConceptIdx> {
        if rng.random_bool(OWN) {
            let own: Vec<ConceptIdx> = self.own(facts).collect();
            if let Some(&concept) = own.choose(rng) {
                return Some(concept);
            }
        }
        self.others(facts, rng).into_iter().next()
    }

    /// A concept's name and definition, and which of them a policy shows; `held_out` takes the names that no training
    /// row saw, and a definition that was trained on would give such a name away.
    pub fn words(&self, concept: ConceptIdx, held_out: bool, short: bool, rng: &mut ChaCha8Rng) -> Words<'a> {
        let concept = &self.recipe.concepts[concept];
        let names =
            if held_out && !concept.held_out_names.is_empty() { &concept.held_out_names } else { &concept.names };
        let name = names.choose(rng).map_or("", String::as_str);
        let definition = concept.definitions.choose(rng).map_or("", String::as_str);
        let shows = match held_out || short {
            true => Shows::Name,
            false => match rng.random_range(0..10) {
                0..4 => Shows::Name,
                4..9 => Shows::Both,
                _ => Shows::Definition,
            },
        };
        Words { name, definition, shows }
    }

    /// A policy for a row of a source, and what is true under it; `None` where too little is known of the row for a
    /// certain verdict. For `held_out` see [`words`](Self::words).
    pub fn judge(
        &self,
        source: &Source,
        row: &Row,
        facts: &Facts,
        held_out: bool,
        rng: &mut ChaCha8Rng,
    ) -> Option<(Policy, Truth)> {
        let Drawn { mut concepts, short } = self.draw(facts, rng);
        if !facts.general_unsafe {
            concepts.retain(|&concept| facts.holds(concept).is_some());
        }
        concepts.shuffle(rng);
        let mut policy = Policy::new("training");
        let mut held = Vec::new();
        for concept in concepts {
            let words = self.words(concept, held_out, short, rng);
            let id = &self.recipe.concepts[concept].id;
            let definition = if words.shows == Shows::Name { "" } else { words.definition };
            policy = policy.category(Category::new(id, words.name).definition(definition));
            if facts.holds(concept) == Some(true) {
                held.push(id.clone());
            }
        }
        // An unsafe row whose harm nobody named breaks a policy only through harm of any kind.
        if policy.categories.is_empty() || (facts.general_unsafe && held.is_empty()) {
            return None;
        }
        let truth = Truth {
            label: if held.is_empty() { Label::Safe } else { Label::Unsafe },
            // Which of the bystanders hold is unknown.
            categories: (!facts.general_unsafe).then_some(held),
            look_alike: looks_alarming(source, row),
        };
        Some((policy, truth))
    }

    /// A policy about a row whose concepts are known: mostly with one of them, always with some that are not.
    fn policy(&self, facts: &Facts, rng: &mut ChaCha8Rng) -> Vec<ConceptIdx> {
        let mut chosen: Vec<ConceptIdx> = Vec::new();
        if rng.random_bool(OWN) {
            let own: Vec<ConceptIdx> = self.own(facts).collect();
            chosen.extend(own.choose(rng));
        }
        let size = rng.random_range(CATEGORIES).max(chosen.len() + 1);
        for concept in self.others(facts, rng) {
            if chosen.len() >= size {
                break;
            }
            let covers = |of: ConceptIdx| &self.recipe.concepts[of].covers;
            if !chosen.iter().any(|&other| covers(other).iter().any(|part| covers(concept).contains(part))) {
                chosen.push(concept);
            }
        }
        chosen
    }

    /// What holds, or may, but for harm of any kind.
    fn own<'f>(&'f self, facts: &'f Facts) -> impl Iterator<Item = ConceptIdx> + 'f {
        let held = facts.positive.iter().chain(&facts.borderline).copied();
        held.filter(|&concept| Some(concept) != self.recipe.any_harm)
    }

    /// What does not hold, but for harm of any kind, in random order: a weighted sample without replacement (Efraimidis and
    /// Spirakis, 2006).
    fn others(&self, facts: &Facts, rng: &mut ChaCha8Rng) -> Vec<ConceptIdx> {
        let absent = facts.negative.iter().copied().filter(|&concept| Some(concept) != self.recipe.any_harm);
        let drawn = absent.map(|concept| {
            // By the root of its frequency, half-way between two faults: with equal chances a rare concept would learn never
            // to hold, with chances like frequencies it would hardly be asked where it does not.
            let touched = if facts.touched.contains(&concept) { TOUCHED } else { 1.0 };
            let chance = (self.frequency[concept] as f64 + 1.0).sqrt() * touched;
            (-(1.0 - rng.random::<f64>()).ln() / chance, concept)
        });
        let mut others: Vec<(f64, ConceptIdx)> = drawn.collect();
        others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        others.into_iter().map(|(_, concept)| concept).collect()
    }

    /// A few categories of which nobody knows whether they apply, so that a policy's length says nothing about the row.
    fn bystanders(&self, rng: &mut ChaCha8Rng) -> Vec<ConceptIdx> {
        let mut concepts = self.cover(rng);
        concepts.shuffle(rng);
        concepts.truncate(rng.random_range(CATEGORIES) - 1);
        concepts
    }

    /// A short policy of broad categories that leaves out next to no general harm. Narrow concepts that no broad
    /// category holds stay out: one that is in every such policy becomes the slot that says "harm of any kind".
    fn cover(&self, rng: &mut ChaCha8Rng) -> Vec<ConceptIdx> {
        let draw = |rng: &mut ChaCha8Rng| -> Vec<ConceptIdx> {
            self.recipe.general_cover(rng).into_iter().filter(|&concept| concept >= self.recipe.fine).collect()
        };
        let covered = |policy: &[ConceptIdx]| -> usize {
            policy.iter().map(|&concept| self.recipe.concepts[concept].covers.len()).sum()
        };
        let mut best = draw(rng);
        for _ in 1..COVER_DRAWS {
            let next = draw(rng);
            if next.len() <= COVER && covered(&next) > covered(&best) {
                best = next;
            }
        }
        best.truncate(COVER);
        best
    }
}

/// What is true of a row under the policy that it was labelled by.
///
/// The categories of an unsafe row that are ids or names of the policy's categories are those that hold; without any,
/// nobody knows which. A safe row of the category `look_alike` looks alarming.
pub fn truth_under(policy: &Policy, row: &Row) -> Truth {
    let named = |category: &&Category| {
        let is = |name: &String| name.eq_ignore_ascii_case(&category.id) || name.eq_ignore_ascii_case(&category.name);
        row.categories.iter().any(is)
    };
    let held: Vec<String> = policy.categories.iter().filter(named).map(|category| category.id.clone()).collect();
    let categories = match row.label {
        Label::Safe => Some(Vec::new()),
        Label::Borderline => None,
        Label::Unsafe => (!held.is_empty()).then_some(held),
    };
    Truth { label: row.label, categories, look_alike: row.label == Label::Safe && is_look_alike(row) }
}

/// Whether a row of a source is harmless but looks alarming.
pub fn looks_alarming(source: &Source, row: &Row) -> bool {
    row.label == Label::Safe && (source.look_alike || is_look_alike(row))
}

fn is_look_alike(row: &Row) -> bool {
    row.categories.iter().any(|category| category == LOOK_ALIKE)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_category_that_seldom_holds_is_seldom_but_not_never_asked_where_it_does_not() {
        let recipe = Recipe::parse(
            "heldout_fraction: 0\n\
             concepts: {theft: {}, gore: {}, spam: {}}\n\
             wordings:\n  theft: {names: [Theft], definitions: [d]}\n  gore: {names: [Gore], definitions: [d]}\n  \
             spam: {names: [Spam], definitions: [d]}\n\
             sources: {rows: {unsafe_means: general, negatives: [general]}}",
            "test",
        )
        .unwrap();
        let policies = Policies { recipe: &recipe, frequency: vec![0, 9_999, 99] };
        let facts = Facts { positive: vec![0], negative: vec![1, 2], ..Facts::default() };
        let mut first = [0; 3];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..4000 {
            let drawn = policies.policy(&facts, &mut rng).into_iter().find(|&concept| concept != 0);
            first[drawn.expect("at least one that does not hold")] += 1;
        }
        // The roots of 10,000 and 100 are as 10 to 1.
        let ratio = f64::from(first[1]) / f64::from(first[2]);
        assert!((7.5..13.0).contains(&ratio), "{first:?}");
    }
}
