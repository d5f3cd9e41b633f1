//! From a labelled row to a training example: a policy is sampled, the row is judged under it, and what the network
//! should answer is laid out.

use std::collections::HashMap;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::evidence::Lexicon;
pub use super::policies::Drawn;
use super::policies::{Policies, Shows};
use super::recipe::{ConceptIdx, Facts, Recipe};
use crate::Result;
use crate::prompt::slots::{BLOCK_WORDS, CONTEXT_WORDS, Frame, Kind, Layout, Marker, NAME_WORDS, STEPS, Turn, WINDOW};
use crate::tokenizer::{TokenId, Tokenizer};

/// What the slot of "harm of any kind" counts, next to a slot of another: it is what most rows know best.
const ANY_HARM_WEIGHT: f32 = 3.0;

/// A tokenised row with what is known of it.
pub struct Sample {
    pub judged: Vec<TokenId>,
    /// Whether each judged token begins a word.
    pub word_starts: Vec<bool>,
    pub context: Option<Vec<TokenId>>,
    pub kind: Kind,
    pub facts: Facts,
}

/// What a category's slot should say.
#[derive(Debug, Clone, Copy)]
pub struct SlotTarget {
    /// Index of the slot's marker in the layout.
    pub index: usize,
    pub applies: bool,
    /// What it counts in the mean loss.
    pub weight: f32,
}

/// A place in the answer where the grammar leaves a choice.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// Index of the token whose hidden state predicts the next.
    pub index: usize,
    pub next: Next,
}

/// What comes next, and so what it is chosen from.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    /// One marker against another.
    Marker {
        right: Marker,
        wrong: Marker,
    },
    /// A word of the judged message, or the end of the quote.
    Word(TokenId),
    EndQuote,
}

/// A row under one policy.
pub struct Example {
    pub layout: Layout,
    pub slots: Vec<SlotTarget>,
    /// The slots of a policy that covers every general harm, where the row has none: even the highest should stay low.
    pub quiet: Vec<usize>,
    pub choices: Vec<Choice>,
    /// Words that a quote may hold.
    pub words: Vec<TokenId>,
}

/// Makes examples.
pub struct Examples<'a> {
    pub recipe: &'a Recipe,
    pub lexicon: &'a Lexicon,
    pub frame: Frame,
    pub vocab_size: usize,
    pub policies: Policies<'a>,
    texts: HashMap<String, Vec<TokenId>>,
}

/// One category of a sampled policy.
struct Sampled {
    concept: usize,
    /// Whether it applies; `None` if nobody knows.
    applies: Option<bool>,
    name: Vec<TokenId>,
    block: Vec<TokenId>,
}

impl<'a> Examples<'a> {
    /// Tokenises all that a category of the recipe may be called.
    pub fn new(
        recipe: &'a Recipe,
        lexicon: &'a Lexicon,
        tokenizer: &Tokenizer,
        frame: Frame,
        vocab_size: usize,
        frequency: Vec<usize>,
    ) -> Result<Self> {
        let mut texts: HashMap<String, Vec<TokenId>> = HashMap::new();
        for concept in &recipe.concepts {
            for text in concept.names.iter().chain(&concept.held_out_names).chain(&concept.definitions) {
                let ids = tokenizer.encode(text)?.into_iter().map(|span| span.id).collect();
                texts.insert(text.clone(), ids);
            }
        }
        Ok(Self { recipe, lexicon, frame, vocab_size, policies: Policies { recipe, frequency }, texts })
    }

    /// One example of a row, under a policy that the generator draws. `held_out` takes the names no training row saw.
    pub fn draw(&self, sample: &Sample, held_out: bool, rng: &mut ChaCha8Rng) -> Example {
        let facts = &sample.facts;
        let unexplained = facts.general_unsafe;
        let Drawn { concepts, cover, short } = self.categories(facts, rng);
        let mut policy: Vec<Sampled> = concepts
            .into_iter()
            .map(|concept| {
                let (name, block) = self.words_of(concept, held_out, short, rng);
                Sampled { concept, applies: facts.holds(concept), name, block }
            })
            .collect();
        policy.shuffle(rng);

        let window = self.window(sample, rng);
        let judged = Turn { kind: sample.kind, ids: &sample.judged[window.clone()] };
        let context: Vec<Turn> = sample
            .context
            .iter()
            .map(|ids| Turn { kind: Kind::ContextUser, ids: &ids[ids.len().saturating_sub(CONTEXT_WORDS)..] })
            .collect();
        let mut example = Example {
            layout: Layout::conversation(self.frame, &context, judged),
            slots: Vec::new(),
            quiet: Vec::new(),
            choices: Vec::new(),
            words: judged.ids.to_vec(),
        };
        for category in &policy {
            let index = example.layout.push_block(self.vocab_size, &category.block);
            let any_harm = Some(category.concept) == self.recipe.any_harm;
            if let Some(applies) = category.applies {
                let weight = if any_harm { ANY_HARM_WEIGHT } else { 1.0 };
                example.slots.push(SlotTarget { index, applies, weight });
            }
            if cover {
                example.quiet.push(index);
            }
        }
        let known = !unexplained && policy.iter().all(|category| category.applies.is_some());
        if known && rng.random_bool(0.6) {
            self.reason(&mut example, sample, window, &policy, rng);
        } else if known || unexplained {
            let flagged = unexplained || policy.iter().any(|category| category.applies == Some(true));
            let opening = example.layout.push_answer(Marker::Answer.id(self.vocab_size));
            example.push_verdict(opening, flagged, self.vocab_size);
        }
        example
    }

    /// The categories of a policy for a row.
    pub fn categories(&self, facts: &Facts, rng: &mut ChaCha8Rng) -> Drawn {
        self.policies.draw(facts, rng)
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

    /// The stretch of a long text that this example sees: mostly its beginning, sometimes its end.
    fn window(&self, sample: &Sample, rng: &mut ChaCha8Rng) -> std::ops::Range<usize> {
        let len = sample.judged.len();
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
        window: std::ops::Range<usize>,
        policy: &[Sampled],
        rng: &mut ChaCha8Rng,
    ) {
        let marker = |marker: Marker| marker.id(self.vocab_size);
        let mut steps: Vec<&Sampled> = policy.iter().collect();
        steps.shuffle(rng);
        // A category that applies is never left out of the reasoning.
        steps.sort_by_key(|step| step.applies != Some(true));
        steps.truncate(STEPS);
        steps.shuffle(rng);
        let flagged = policy.iter().any(|category| category.applies == Some(true));

        example.layout.push_answer(marker(Marker::Answer));
        let mut last = example.layout.push_answer(marker(Marker::Think));
        for step in steps {
            for &word in &step.name {
                last = example.layout.push_answer(word);
            }
            let applies = step.applies == Some(true);
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
            if let Some(quote) = self.lexicon.quote(tokens, starts, Some(step.concept)) {
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

impl Example {
    /// Leaves the slots alone.
    pub fn drop_answer(&mut self) {
        self.layout.drop_answer();
        self.choices.clear();
        self.words.clear();
    }

    fn push_verdict(&mut self, index: usize, flagged: bool, vocab_size: usize) {
        let (right, wrong) = match flagged {
            true => (Marker::Unsafe, Marker::Safe),
            false => (Marker::Safe, Marker::Unsafe),
        };
        self.choices.push(Choice { index, next: Next::Marker { right, wrong } });
        self.layout.push_answer(right.id(vocab_size));
    }
}
