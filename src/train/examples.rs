//! From labelled rows to what is learnt of them: what a text shows, the categories it is asked about together with others, and
//! what the network should answer about it under a policy of its own.

mod example;
mod sampled;
mod shown;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::evidence::Lexicon;
use super::panel::{CONCEPTS, Covered, HARM, Known, Panel, Reading};
use super::policies::{Asks, Drawn, Policies, Shows};
use super::sample::Sample;
use super::samples::Samples;
use super::topics::Topics;
use crate::data::recipe::{ConceptIdx, Facts, Recipe};
use crate::error::Result;
use crate::mini::layout::{BLOCK_WORDS, Frame, Kind, Layout, Marker, NAME_WORDS, STEPS, Turn, WINDOW};
use crate::mini::prompt::Context;
use crate::tokenizer::{TokenId, Tokenizer};
pub use example::{Choice, Example, Next};
use sampled::{DEFINED, Sampled, asked_of, written};
use shown::Part;
pub use shown::Shown;

/// The share of responses that are judged as they are being written: cut behind a word.
const UNFINISHED: f64 = 0.4;
/// The share of answers that reason before the verdict, where all is known.
const REASONED: f64 = 0.6;
/// What a slot counts whose answer is borderline, and one where nothing speaks for its category: there are so many of them.
const BORDERLINE: f32 = 0.5;
const ABSENT: f32 = 0.25;
const ABSENT_OF_AN_OWNER: f32 = 0.4;
/// How often "harm of any kind" is asked, mostly in other words each time, and what its slot counts next to one of another that
/// applies: it is what most rows know best.
const ANY_HARM_PHRASES: usize = 2;
const ANY_HARM_WEIGHT: f32 = 1.5;
/// How many times that where all concepts are told at once: together with some eighty others, most of which do not apply.
const ANY_HARM_TOLD: f32 = 8.0;

/// Makes examples.
pub struct Examples<'a> {
    recipe: &'a Recipe,
    lexicon: Lexicon,
    frame: Frame,
    vocab_size: usize,
    pub policies: Policies<'a>,
    topics: Topics<'a>,
    texts: HashMap<String, Vec<TokenId>>,
}

impl<'a> Examples<'a> {
    /// Tokenises all that a category of the recipe may be called. Ids below `vocab_size` are words.
    ///
    /// # Errors
    /// Whatever the tokenizer has wrong.
    pub fn new(samples: &'a Samples<'a>, tokenizer: &Tokenizer, vocab_size: usize) -> Result<Self> {
        let recipe = samples.recipe;
        let mut texts: HashMap<String, Vec<TokenId>> = HashMap::new();
        for concept in &recipe.concepts {
            for text in concept.names.iter().chain(&concept.held_out_names).chain(&concept.definitions) {
                let ids = tokenizer.encode(text)?.into_iter().map(|span| span.id).collect();
                texts.insert(text.clone(), ids);
            }
        }
        Ok(Self {
            recipe,
            lexicon: samples.lexicon(vocab_size, recipe.concepts.len()),
            frame: Frame { cls: tokenizer.control("[CLS]")?, sep: tokenizer.control("[SEP]")? },
            vocab_size,
            policies: Policies { recipe, frequency: samples.frequency(recipe.concepts.len()) },
            topics: samples.topics(tokenizer)?,
            texts,
        })
    }

    /// What is seen of a text this time.
    pub fn show<'s>(&self, sample: Cow<'s, Sample>, rng: &mut ChaCha8Rng) -> Shown<'s> {
        let window = self.window(self.seen(&sample, rng), rng);
        let judged = Turn { kind: sample.kind, ids: &sample.judged[window.clone()] };
        let context: Vec<Turn> = sample.context.iter().map(Context::turn).collect();
        Shown { layout: Layout::conversation(self.frame, &context, judged), window, sample }
    }

    /// Texts before concepts: a cover of all general harm, harm of any kind, and what some of the texts are about. `held_out`
    /// takes the names that no training row saw.
    pub fn concepts(&self, texts: &[Shown], held_out: bool, rng: &mut ChaCha8Rng) -> Panel {
        let Asks { cover, about } = self.policies.ask(texts.iter().map(|text| &text.sample.facts), rng);
        let any_harm = self.recipe.any_harm.into_iter().flat_map(|harm| std::iter::repeat_n(harm, ANY_HARM_PHRASES));
        let covering = cover.concepts.len();
        let concepts: Vec<ConceptIdx> = cover.concepts.into_iter().chain(any_harm).chain(about).collect();
        let words = |(at, &concept)| self.words_of(concept, held_out, at < covering && cover.short, rng).1;
        let blocks = concepts.iter().enumerate().map(words).collect();
        let mut panel = Panel::new(texts.iter().map(|text| text.layout.clone()).collect(), blocks);
        let parts = self.tell(&mut panel, texts, rng);
        let mut covered = Vec::new();
        for (reading, &(text, part)) in parts.iter().enumerate() {
            let facts = &texts[text].sample.facts;
            for (block, &concept) in concepts.iter().enumerate() {
                let Some((target, weight)) = self.counts(facts, part, concept) else { continue };
                panel.know(Known { reading, column: block, target, weight });
            }
            let harmless = self.recipe.any_harm.is_some_and(|harm| facts.holds(harm) == Some(false));
            let harmful = facts.general_unsafe && part != Part::Harmless;
            if harmless || harmful || part == Part::Harmless {
                covered.push(Covered { reading, harmful });
            }
        }
        panel.cover((0..covering).collect(), covered);
        panel
    }

    /// Texts of which a slot without words tells every concept.
    pub fn wordless(&self, texts: &[Shown], rng: &mut ChaCha8Rng) -> Panel {
        let mut panel = Panel::new(texts.iter().map(|text| text.layout.clone()).collect(), Vec::new());
        self.tell(&mut panel, texts, rng);
        panel
    }

    /// Adds the readings of passages and all that is known of every concept, and gives what each reading is of.
    fn tell(&self, panel: &mut Panel, texts: &[Shown], rng: &mut ChaCha8Rng) -> Vec<(usize, Part)> {
        let mut parts: Vec<(usize, Part)> = (0..texts.len()).map(|text| (text, Part::Whole)).collect();
        for (text, shown) in texts.iter().enumerate() {
            for (unseen, part) in shown.passages(rng) {
                panel.read(Reading { text, unseen });
                parts.push((text, part));
            }
        }
        for (reading, &(text, part)) in parts.iter().enumerate() {
            for concept in 0..self.recipe.concepts.len() {
                let Some((target, weight)) = self.counts(&texts[text].sample.facts, part, concept) else { continue };
                let (column, times) = match Some(concept) == self.recipe.any_harm {
                    true => (HARM, ANY_HARM_TOLD),
                    false => (CONCEPTS + concept, 1.0),
                };
                panel.tell(Known { reading, column, target, weight: weight * times });
            }
        }
        parts
    }

    /// What a part of a text says of a concept, and what that counts; `None` where nobody knows.
    fn counts(&self, facts: &Facts, part: Part, concept: ConceptIdx) -> Option<(f32, f32)> {
        let any_harm = Some(concept) == self.recipe.any_harm;
        let target = match (facts.target(concept), part) {
            (target, Part::Whole | Part::Core) => target?,
            (Some(0.0), Part::Harmless) => 0.0,
            (_, Part::Harmless) if any_harm || self.recipe.concepts[concept].general => 0.0,
            (_, Part::Harmless) => return None,
        };
        let weight = if any_harm {
            ANY_HARM_WEIGHT * if target == 0.5 { BORDERLINE } else { 1.0 }
        } else {
            weight(target, if facts.touched.contains(&concept) { 1.0 } else { ABSENT })
        };
        Some((target, weight))
    }

    /// Texts of one owner before his categories, mostly with their definitions.
    pub fn owner(&self, texts: &[Shown], rng: &mut ChaCha8Rng) -> Panel {
        let asked = texts.first().map_or(&[][..], |text| &text.sample.asked);
        let blocks = asked.iter().map(|category| written(category, rng.random_bool(DEFINED)).block).collect();
        let mut panel = Panel::new(texts.iter().map(|text| text.layout.clone()).collect(), blocks);
        for (text, shown) in texts.iter().enumerate() {
            for (block, category) in shown.sample.asked.iter().enumerate() {
                let Some(target) = category.target else { continue };
                panel.know(Known { reading: text, column: block, target, weight: weight(target, ABSENT_OF_AN_OWNER) });
            }
        }
        panel
    }

    /// Texts before topics of some of them.
    pub fn topics(&self, texts: &[Shown], rng: &mut ChaCha8Rng) -> Panel {
        let seen: Vec<_> = texts.iter().map(|text| (&*text.sample, text.window.clone())).collect();
        let topics = self.topics.ask(&seen, rng);
        let blocks = topics.iter().map(|(topic, _)| written(topic, true).block).collect();
        let mut panel = Panel::new(texts.iter().map(|text| text.layout.clone()).collect(), blocks);
        for (block, (_, speaks)) in topics.iter().enumerate() {
            for (text, speaks) in speaks.iter().enumerate() {
                let Some(speaks) = *speaks else { continue };
                let target = f32::from(u8::from(speaks));
                panel.know(Known { reading: text, column: block, target, weight: weight(target, ABSENT) });
            }
        }
        panel
    }

    /// The answer about a text, under a policy that the generator draws or under its owner's; `None` where too little is known.
    pub fn answer(&self, text: &Shown, rng: &mut ChaCha8Rng) -> Option<Example> {
        let sample = &*text.sample;
        let unexplained = sample.facts.general_unsafe;
        let owned = !sample.asked.is_empty();
        let mut policy = if owned { asked_of(&sample.asked, rng) } else { self.drawn(&sample.facts, rng) };
        policy.shuffle(rng);
        let known = !unexplained && policy.iter().all(|category| category.applies().is_some());
        if policy.is_empty() || !(known || unexplained) {
            return None;
        }
        let mut example = Example {
            layout: text.layout.clone(),
            choices: Vec::new(),
            words: sample.judged[text.window.clone()].to_vec(),
        };
        let blocks: Vec<Vec<TokenId>> = policy.iter().map(|category| category.block.clone()).collect();
        example.layout.push_blocks(self.vocab_size, &blocks);
        // Which words of a message speak for a category that somebody wrote, nobody says.
        if known && !owned && rng.random_bool(REASONED) {
            self.reason(&mut example, sample, text.window.clone(), &policy, rng);
        } else {
            let flagged = unexplained || policy.iter().any(|category| category.applies() == Some(true));
            let opening = example.layout.push_answer(Marker::Answer.id(self.vocab_size));
            example.push_verdict(opening, flagged, self.vocab_size);
        }
        Some(example)
    }

    /// A policy for a row of which `facts` are known.
    fn drawn(&self, facts: &Facts, rng: &mut ChaCha8Rng) -> Vec<Sampled> {
        let Drawn { concepts, short } = self.policies.draw(facts, rng);
        let sampled = |concept| {
            let (name, block) = self.words_of(concept, false, short, rng);
            Sampled { concept: Some(concept), target: facts.target(concept), name, block }
        };
        concepts.into_iter().map(sampled).collect()
    }

    /// A category's name and what its block says: the name, its definition, or both.
    fn words_of(
        &self,
        concept: ConceptIdx,
        held_out: bool,
        short: bool,
        rng: &mut ChaCha8Rng,
    ) -> (Vec<TokenId>, Vec<TokenId>) {
        let words = self.policies.words(concept, held_out, short, rng);
        let text = |text: &str| self.texts.get(text).cloned().unwrap_or_default();
        let mut name = text(words.name);
        name.truncate(NAME_WORDS);
        let mut block = match words.shows {
            Shows::Name | Shows::Both => name.clone(),
            Shows::Definition => Vec::new(),
        };
        if words.shows != Shows::Name {
            block.extend(text(words.definition));
        }
        block.truncate(BLOCK_WORDS);
        (name, block)
    }

    /// How many tokens of the judged text there are yet. A response may still be growing: then it is cut behind a random
    /// word, but not before the words that speak most for what is known to hold, so that it keeps its label.
    fn seen(&self, sample: &Sample, rng: &mut ChaCha8Rng) -> usize {
        let Sample { judged, word_starts, facts, .. } = sample;
        if sample.kind != Kind::JudgedAgent || !rng.random_bool(UNFINISHED) {
            return judged.len();
        }
        let said = |concept| self.lexicon.quote(judged, word_starts, concept).map_or(judged.len(), |quote| quote.end);
        let fine = facts.positive.iter().filter(|&&concept| concept < self.recipe.fine);
        let named = fine.map(|&concept| said(Some(concept))).max();
        let least = named.or((!facts.positive.is_empty()).then(|| said(None))).unwrap_or(1);
        let cut = rng.random_range(1..=judged.len()).max(least);
        (cut..judged.len()).find(|&end| word_starts[end]).unwrap_or(judged.len())
    }

    /// The stretch of a text of `len` tokens that this example sees, if it is long: mostly its beginning, sometimes its
    /// end.
    fn window(&self, len: usize, rng: &mut ChaCha8Rng) -> Range<usize> {
        match len.checked_sub(WINDOW) {
            None | Some(0) => 0..len,
            Some(rest) if rng.random_bool(0.3) => rest..len,
            Some(_) => 0..WINDOW,
        }
    }

    /// A think-first answer: a step for some categories in any order, then the verdict.
    fn reason(
        &self,
        example: &mut Example,
        sample: &Sample,
        window: Range<usize>,
        policy: &[Sampled],
        rng: &mut ChaCha8Rng,
    ) {
        let marker = |marker: Marker| marker.id(self.vocab_size);
        let mut steps: Vec<&Sampled> = policy.iter().collect();
        steps.shuffle(rng);
        // A category that applies is never left out of the reasoning.
        steps.sort_by_key(|step| step.applies() != Some(true));
        steps.truncate(STEPS);
        steps.shuffle(rng);
        let flagged = policy.iter().any(|category| category.applies() == Some(true));

        example.layout.push_answer(marker(Marker::Answer));
        let mut last = example.layout.push_answer(marker(Marker::Think));
        for step in steps {
            for &word in &step.name {
                last = example.layout.push_answer(word);
            }
            let applies = step.applies() == Some(true);
            let (right, wrong) = match applies {
                true => (Marker::Applies, Marker::DoesNotApply),
                false => (Marker::DoesNotApply, Marker::Applies),
            };
            example.choices.push(Choice { index: last, next: Next::Marker { right, wrong } });
            last = example.layout.push_answer(marker(right));
            if !applies {
                continue;
            }
            let (tokens, starts) = (&sample.judged[window.clone()], &sample.word_starts[window.clone()]);
            if let Some(quote) = self.lexicon.quote(tokens, starts, step.concept) {
                last = example.layout.push_answer(marker(Marker::Quote));
                for &word in &tokens[quote] {
                    example.choices.push(Choice { index: last, next: Next::Word(word) });
                    last = example.layout.push_answer(word);
                }
                example.choices.push(Choice { index: last, next: Next::EndQuote });
                last = example.layout.push_answer(marker(Marker::EndQuote));
            }
        }
        last = example.layout.push_answer(marker(Marker::EndThink));
        example.push_verdict(last, flagged, self.vocab_size);
    }
}

/// What a slot counts that should say this, where one whose category does not apply counts `absent`.
fn weight(target: f32, absent: f32) -> f32 {
    match target {
        0.0 => absent,
        1.0 => 1.0,
        _ => BORDERLINE,
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn an_unfinished_response_keeps_the_words_that_its_label_is_about() {
        let recipe = Recipe::parse(
            "heldout_fraction: 0\n\
             concepts: {theft: {}}\n\
             wordings: {theft: {names: [Theft], definitions: [Taking what is not yours.]}}\n\
             sources: {rows: {unsafe_means: general, negatives: [general]}}",
            "test",
        )
        .unwrap();
        let harmless: Vec<TokenId> = (0..40).collect();
        let mut harmful = harmless.clone();
        harmful[20..22].copy_from_slice(&[47, 48]);
        let rows = (0..2000).flat_map(|_| [(&harmful[..], &[0][..], false), (&harmless[..], &[][..], false)]);
        let lexicon = Lexicon::count(50, 1, rows);
        let examples = Examples {
            recipe: &recipe,
            lexicon,
            frame: Frame { cls: 0, sep: 1 },
            vocab_size: 50,
            policies: Policies { recipe: &recipe, frequency: vec![1] },
            topics: Topics::default(),
            texts: HashMap::new(),
        };
        // The second half of every pair of tokens goes on a word.
        let word_starts: Vec<bool> = (0..40).map(|at| at % 2 == 0).collect();
        let cuts = |judged: &[TokenId], kind, facts: Facts| -> Vec<usize> {
            let sample = Sample {
                judged: judged.to_vec(),
                word_starts: word_starts.clone(),
                core: None,
                context: Vec::new(),
                kind,
                facts,
                asked: vec![],
            };
            (0..200).map(|seed| examples.seen(&sample, &mut ChaCha8Rng::seed_from_u64(seed))).collect()
        };
        let positive = || Facts { positive: vec![0], ..Facts::default() };
        let unsafe_cuts = cuts(&harmful, Kind::JudgedAgent, positive());
        assert!(unsafe_cuts.iter().all(|cut| (22..=40).contains(cut)) && unsafe_cuts.iter().any(|&cut| cut < 40));
        let safe_cuts = cuts(&harmless, Kind::JudgedAgent, Facts::default());
        assert!(safe_cuts.iter().any(|&cut| cut < 20) && safe_cuts.iter().all(|cut| cut % 2 == 0));
        assert!(cuts(&harmful, Kind::JudgedUser, positive()).iter().all(|&cut| cut == 40), "prompts come whole");
    }
}
