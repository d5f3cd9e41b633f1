//! What training learns from, in its order: texts before panels of categories, and answers about some of them.

use std::borrow::Cow;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::examples::{Example, Examples, Shown};
use super::padding::Padding;
use super::panel::Panel;
use super::pupil::Pupil;
use super::sample::Sample;
use super::samples::Samples;
use crate::error::{Error, Result};
use crate::measure::metrics;
use crate::mini::layout::Kind;

/// Rows are drawn, sorted by length and put together so many at a time.
const CHUNK: usize = 1024;
/// Lessons of like length that follow each other: a step takes as long as the longest that a core learns in it.
const ABREAST: usize = 8;
/// Held-out rows that the run is watched on: at most so many of all, of prompts, and of responses.
const WATCHED: usize = 400;
/// The share of panels whose texts are asked about topics too, and of texts that are answered.
const TOPICS: f64 = 0.2;
const ANSWERED: f64 = 0.1;
/// What answers count beside panels.
const ANSWER: f32 = 0.4;
/// Slots of a text, about, for the room that a panel takes.
const SLOTS: usize = 28;

/// What one step of a core learns from.
pub enum Lesson {
    Panel(Panel),
    Answers(Vec<Example>),
}

impl Lesson {
    /// How many texts it has.
    pub fn len(&self) -> usize {
        match self {
            Lesson::Panel(panel) => panel.len(),
            Lesson::Answers(examples) => examples.len(),
        }
    }

    pub fn tokens(&self) -> usize {
        match self {
            Lesson::Panel(panel) => panel.tokens(),
            Lesson::Answers(examples) => examples.iter().map(|example| example.layout.len()).sum(),
        }
    }

    /// The weighted loss, and its parts.
    pub fn loss(&self, pupil: &Pupil, device: &Device) -> (Tensor<1>, Parts) {
        let model = &pupil.network;
        match self {
            Lesson::Panel(panel) => {
                let loss = panel.loss(model, Some(&pupil.heads), device);
                let [slots, cover, told] = [&loss.slots, &loss.cover, &loss.told].map(|part| part.as_ref().map(number));
                let parts = Parts([slots, cover, told, None]);
                (loss.total().unwrap_or_else(|| Tensor::zeros([1], device)), parts)
            }
            Lesson::Answers(examples) => {
                let loss = Batch::new(examples, model, device).loss(model);
                let parts = Parts([None, None, None, Some(number(&loss))]);
                (loss * ANSWER, parts)
            }
        }
    }
}

/// The losses of slots, cover, what is told without words, and answer, as far as a lesson has them.
pub struct Parts(pub [Option<f32>; 4]);

impl Parts {
    pub fn are_numbers(&self) -> bool {
        self.0.iter().flatten().all(|part| part.is_finite())
    }
}

fn number(tensor: &Tensor<1>) -> f32 {
    tensor.to_data().iter::<f32>().next().unwrap_or(f32::NAN)
}

/// AUROC on held-out rows.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Watched {
    /// Of slots of categories, under names seen in training, and under names never seen.
    pub by_names: [Option<f64>; 2],
    /// Of harm of any kind as a slot without words tells it, in prompts, and in responses.
    pub harm: [Option<f64>; 2],
}

/// The stream of lessons. It depends on the seed alone, so a resumed run goes on exactly where it stopped.
pub struct Lessons<'a> {
    samples: &'a Samples<'a>,
    examples: &'a Examples<'a>,
    padding: Padding<'a>,
    seed: u64,
    batch_tokens: usize,
    /// Texts at the stream's beginning from which the network learns to read: questions in words, owners and answers begin behind
    /// them.
    wordless: usize,
}

impl<'a> Lessons<'a> {
    /// `batch_tokens` are those of the texts of one lesson with their slots at most, padding counted.
    /// Of the first `wordless` texts, in whole chunks, concepts alone are asked, without words.
    pub fn new(
        samples: &'a Samples<'a>,
        examples: &'a Examples<'a>,
        seed: u64,
        batch_tokens: usize,
        wordless: usize,
    ) -> Self {
        Self { samples, examples, padding: samples.padding(), seed, batch_tokens, wordless }
    }

    /// The lessons of a chunk of the stream.
    ///
    /// # Errors
    /// Whatever the recipe's weights have wrong; [`Error::BadInput`] if nothing is to be learnt from so many rows.
    pub fn chunk(&self, chunk: usize) -> Result<Vec<Lesson>> {
        let Self { samples, examples, padding, .. } = self;
        let (mut at, mut epoch, mut before) = (chunk, 0, chunk * CHUNK);
        let (order, chunks) = loop {
            let order = samples.epoch(self.seed, epoch)?;
            let chunks = order.len().div_ceil(CHUNK);
            if at < chunks {
                break (order, chunks);
            }
            at -= chunks;
            epoch += 1;
            before = before + order.len() - chunks * CHUNK;
        };
        let owners = samples.owners(self.seed, epoch);
        let owners = &owners[at * owners.len() / chunks..(at + 1) * owners.len() / chunks];

        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.rotate_left(32) ^ chunk as u64);
        let rows = order[at * CHUNK..].iter().take(CHUNK);
        let shown = rows.map(|&(source, row)| {
            let sample = Cow::Borrowed(&samples.sources[source].2[row]);
            let sample = padding.around(&sample, &mut rng).map_or(sample, Cow::Owned);
            let sample = padding.behind(&sample, &mut rng).map_or(sample, Cow::Owned);
            examples.show(sample, &mut rng)
        });
        let rows: Vec<Shown> = shown.collect();
        let (panels, answers) = match before < self.wordless {
            true => {
                let groups = grouped(rows, alone, self.batch_tokens);
                (groups.iter().map(|texts| examples.wordless(texts, &mut rng)).collect(), Vec::new())
            }
            false => self.asked(rows, owners, &mut rng),
        };
        let answers = grouped(answers, |example| example.layout.len(), self.batch_tokens);
        let panels = panels.into_iter().filter(Panel::teaches).map(Lesson::Panel);
        let mut lessons: Vec<Lesson> = panels.chain(answers.into_iter().map(Lesson::Answers)).collect();
        if lessons.is_empty() {
            let what = "of none of so many rows of the recipe is anything known: no concept, nor harm of any kind";
            return Err(Error::BadInput(format!("{what} ({CHUNK})")));
        }
        lessons.sort_by_key(Lesson::tokens);
        let mut groups: Vec<Vec<Lesson>> = Vec::new();
        for lesson in lessons {
            match groups.last_mut().filter(|group| group.len() < ABREAST) {
                Some(group) => group.push(lesson),
                None => groups.push(vec![lesson]),
            }
        }
        let rest = groups.pop_if(|group| group.len() < ABREAST);
        groups.shuffle(&mut rng);
        Ok(groups.into_iter().chain(rest).flatten().collect())
    }

    /// What is asked about rows and about owners' texts, and answers about some of both.
    fn asked(&self, rows: Vec<Shown>, owners: &[&[Sample]], rng: &mut ChaCha8Rng) -> (Vec<Panel>, Vec<Example>) {
        let Self { examples, padding, .. } = self;
        let (mut panels, mut answers) = (Vec::new(), Vec::new());
        for texts in grouped(rows, room, self.batch_tokens) {
            panels.push(examples.concepts(&texts, false, rng));
            if rng.random_bool(TOPICS) {
                panels.push(examples.topics(&texts, rng));
            }
            answers.extend(self.answered(&texts, rng));
        }
        for owner in owners {
            let shown = owner.iter().map(|sample| {
                let sample = padding.behind(sample, rng).map_or(Cow::Borrowed(sample), Cow::Owned);
                examples.show(sample, rng)
            });
            for texts in grouped(shown.collect(), room, self.batch_tokens) {
                panels.push(examples.owner(&texts, rng));
                answers.extend(self.answered(&texts, rng));
            }
        }
        (panels, answers)
    }

    /// Answers about some of the texts.
    fn answered(&self, texts: &[Shown], rng: &mut ChaCha8Rng) -> Vec<Example> {
        let some: Vec<&Shown> = texts.iter().filter(|_| rng.random_bool(ANSWERED)).collect();
        some.into_iter().filter_map(|text| self.examples.answer(text, rng)).collect()
    }

    /// What the network knows of held-out rows.
    pub fn watch(&self, pupil: &Pupil) -> Watched {
        let device = Device::flex();
        let Pupil { network: model, heads } = pupil.valid();
        let by_names = [false, true].map(|unseen| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            let rows = self.samples.held_out.iter().take(WATCHED);
            let texts = rows.map(|(_, _, sample)| self.examples.show(Cow::Borrowed(sample), &mut rng)).collect();
            let scores: Vec<(f32, bool)> = grouped(texts, room, self.batch_tokens)
                .iter()
                .flat_map(|texts| self.examples.concepts(texts, unseen, &mut rng).scores(&model, &device))
                .collect();
            metrics::auroc(&scores)
        });
        let harm = [Kind::JudgedUser, Kind::JudgedAgent].map(|kind| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            let rows = self.samples.held_out.iter().filter(|(_, _, sample)| sample.kind == kind).take(WATCHED);
            let texts = rows.map(|(_, _, sample)| self.examples.show(Cow::Borrowed(sample), &mut rng)).collect();
            let scores: Vec<(f32, bool)> = grouped(texts, alone, self.batch_tokens)
                .iter()
                .flat_map(|texts| self.examples.wordless(texts, &mut rng).harm(&model, &heads, &device))
                .collect();
            metrics::auroc(&scores)
        });
        Watched { by_names, harm }
    }
}

/// What a text takes of a panel without words.
fn alone(text: &Shown) -> usize {
    text.layout.len() + 1
}

/// What a text takes of a panel.
fn room(text: &Shown) -> usize {
    text.layout.len() + SLOTS
}

/// Items of like length together, `tokens` a batch at most, padding counted.
fn grouped<T>(mut items: Vec<T>, len: impl Fn(&T) -> usize, tokens: usize) -> Vec<Vec<T>> {
    items.sort_by_key(&len);
    let mut batches: Vec<Vec<T>> = Vec::new();
    for item in items {
        // Sorted: the newcomer is the longest.
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * len(&item) <= tokens => batch.push(item),
            _ => batches.push(vec![item]),
        }
    }
    batches
}
