//! Supervised training of rsafe-mini: rows before panels of categories, and answers about some of them.

use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use pollster::block_on;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::checkpoint::{Checkpoint, read_tensors, write_tensors};
use super::evidence::Lexicon;
use super::examples::{Example, Examples, Sample, Shown};
use super::files::{self, keep_options};
use super::owned;
use super::padding::Padding;
use super::panel::Panel;
use super::recipe::{Facts, OwnerSource, Recipe};
use super::topics::Topics;
use super::warm_start::warm_start;
use super::workers::Workers;
use crate::bundle::{Bundle, MANIFEST, Weights};
use crate::eval::dataset::Row;
use crate::eval::metrics;
use crate::mini::layout::{Frame, Kind};
use crate::mini::network::{SlotConfig, SlotModel};
use crate::mini::prompt::context;
use crate::tokenizer::Tokenizer;
use crate::{Conversation, Error, Result};

/// What a run is made of. Lengths are in tokens.
#[derive(Debug, Clone, Serialize)]
pub struct SftOptions {
    /// Which rows mean what: `recipe.yaml`.
    pub recipe: PathBuf,
    /// The folder of the recipe's sources, `<source>.jsonl` or `<source>.jsonl.gz`.
    pub data: PathBuf,
    /// A bundle, or a folder with `config.json`, `tokenizer.json` and `model.safetensors`: a BERT, or the end of an earlier
    /// run.
    pub init: PathBuf,
    /// Where checkpoint, metrics and the trained tensors go. A run found there is resumed.
    pub out: PathBuf,
    /// How many examples to learn from.
    pub examples: usize,
    /// Tokens in a batch, padding counted.
    pub batch_tokens: usize,
    /// The highest learning rate: reached after a twentieth of the run, then falling to zero.
    pub learning_rate: f64,
    pub weight_decay: f32,
    pub seed: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
}

/// The place in the run from which it goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    /// Optimiser steps taken.
    step: usize,
    /// Examples seen.
    examples: usize,
    /// The chunk of the example stream, and the batch in it, that come next.
    chunk: usize,
    batch: usize,
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Report {
    pub step: usize,
    pub examples: usize,
    pub of: usize,
    pub slots: f32,
    pub cover: f32,
    pub answer: f32,
    pub learning_rate: f64,
    pub tokens_per_second: f64,
    pub seconds_left: f64,
    /// AUROC of the slots on held-out rows: names seen in training, and names never seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<[Option<f64>; 2]>,
}

/// Examples are drawn, sorted by length and batched so many at a time.
const CHUNK: usize = 1024;
/// What a run that goes on may change.
const MAY_CHANGE: [&str; 2] = ["out", "checkpoint_every"];
/// Steps between two lines of metrics.
const REPORT_EVERY: usize = 10;
/// Held-out rows that the run is watched on.
const WATCHED: usize = 400;
/// The share of texts that are asked about topics too, and of those that are answered.
const TOPICS: f64 = 0.2;
const ANSWERED: f64 = 0.1;
/// What answers count beside panels.
const ANSWER: f32 = 0.4;
/// Slots of a text, about, for the room that a panel takes.
const SLOTS: usize = 28;
/// Characters of a text that are tokenised: far more than an example shows.
const MAX_CHARS: usize = 4000;

/// Trains, calling `watch` with each report.
///
/// # Errors
/// Whatever the recipe, the rows, the first weights or the disk have wrong.
pub fn run(options: &SftOptions, mut watch: impl FnMut(&Report)) -> Result<()> {
    keep_options(&options.out, options, &MAY_CHANGE)?;
    let recipe = Recipe::load(&options.recipe)?;
    let init = Init::open(&options.init)?;
    let tokenizer = Tokenizer::from_bytes(&init.tokenizer)?;
    let config = SlotConfig::from_json(&init.config)?;
    let samples = Samples::load(&recipe, &options.data, options.seed, &tokenizer)?;
    let lexicon = samples.lexicon(config.vocab_size, recipe.concepts.len());
    let frame = Frame { cls: tokenizer.control("[CLS]")?, sep: tokenizer.control("[SEP]")? };
    let frequency = samples.frequency(recipe.concepts.len());
    let examples =
        Examples::new(&recipe, &lexicon, &tokenizer, frame, config.vocab_size, frequency, samples.topics(&tokenizer)?)?;
    let padding = samples.padding();

    let device = Device::flex().autodiff();
    let checkpoint = Checkpoint::of(&options.out);
    let optimizer = adam_w(options.weight_decay, Some(1.0));
    let (mut weights, mut optimizer, mut progress) = match checkpoint.load(optimizer.clone())? {
        Some((tensors, optimizer, progress)) => (Weights::from_tensors(&device, tensors)?, optimizer, progress),
        None => (init.weights(&config, options.seed, &device)?, optimizer, Progress::default()),
    };
    let mut model = SlotModel::load(&config, &mut weights)?.map(&mut Numbered(0)).freeze_words();
    weights.finish()?;

    let workers = Workers::new()?;
    let (mut log, _) = files::metrics::<Report>(&options.out.join("metrics.jsonl"), progress.step / REPORT_EVERY)?;
    let started = Instant::now();
    let started_at = progress.examples;
    let mut tokens = 0usize;
    let mut means = Means::default();
    while progress.examples < options.examples {
        let lessons = samples.lessons(&examples, &padding, options, progress.chunk)?;
        let left = &lessons[progress.batch.min(lessons.len())..];
        for parallel in left.chunks(workers.len()) {
            let rate = learning_rate(options, progress.examples);
            let (gradients, parts) = gradients(&workers, &model, parallel, &device);
            if !parts.iter().all(Parts::are_numbers) {
                return Err(Error::BadModel(format!(
                    "the loss is no number any more behind step {}; go on from the last checkpoint or begin anew, with a lower \
                     learning rate",
                    progress.step
                )));
            }
            model = optimizer.step(rate, model, gradients);

            progress.step += 1;
            progress.batch += parallel.len();
            for (part, lesson) in parts.iter().zip(parallel) {
                progress.examples += lesson.len();
                tokens += lesson.tokens();
                means.add(part);
            }
            let done = progress.examples >= options.examples;
            if progress.step.is_multiple_of(REPORT_EVERY) || done {
                let [slots, cover, answer] = means.take();
                let seconds = started.elapsed().as_secs_f64();
                let pace = seconds / (progress.examples - started_at) as f64;
                let watched = progress.step.is_multiple_of(10 * REPORT_EVERY) || done;
                let report = Report {
                    step: progress.step,
                    examples: progress.examples,
                    of: options.examples,
                    slots,
                    cover,
                    answer,
                    learning_rate: rate,
                    tokens_per_second: tokens as f64 / seconds,
                    seconds_left: pace * options.examples.saturating_sub(progress.examples) as f64,
                    held_out: watched.then(|| samples.watch(&examples, options, &model)),
                };
                let line = serde_json::to_string(&report).map_err(|e| Error::BadInput(e.to_string()))?;
                writeln!(log, "{line}").map_err(Error::io(options.out.join("metrics.jsonl")))?;
                watch(&report);
            }
            if progress.step.is_multiple_of(options.checkpoint_every) {
                checkpoint.save(&model.tensors(), &optimizer, &progress)?;
            }
            if done {
                break;
            }
        }
        progress.chunk += 1;
        progress.batch = 0;
    }
    export(&options.out, &model, &config, &init.tokenizer)
}

/// AdamW (Loshchilov and Hutter, 2019), each tensor's gradient clipped to a norm if there is one.
pub(super) fn adam_w(weight_decay: f32, clip_norm: Option<f32>) -> ModuleOptimizer {
    AdamWConfig::new()
        .with_weight_decay(weight_decay)
        .with_epsilon(1e-8)
        .with_grad_clipping(clip_norm.map(GradientClippingConfig::Norm))
        .init()
}

/// Writes the trained model as a checkpoint that `convert` reads.
pub(super) fn export(out: &Path, model: &SlotModel, config: &SlotConfig, tokenizer: &[u8]) -> Result<()> {
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).map_err(Error::io(path))
    };
    let mut json = serde_json::to_value(config).map_err(|e| Error::BadModel(format!("config.json: {e}")))?;
    json["architectures"] = serde_json::json!(["RsafeSlots"]);
    write("config.json", json.to_string().as_bytes())?;
    write("tokenizer.json", tokenizer)?;
    // The weights come last: where they are, the rest is.
    write_tensors(&out.join("model.safetensors"), &model.tensors())
}

/// Where a run begins.
struct Init {
    folder: PathBuf,
    /// `None` for the files of a checkpoint.
    bundle: Option<Bundle>,
    config: serde_json::Value,
    tokenizer: Vec<u8>,
}

impl Init {
    fn open(folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        if folder.join(MANIFEST).exists() {
            let bundle = Bundle::open(&folder)?;
            let tokenizer = block_on(bundle.tokenizer())?.to_vec();
            return Ok(Self { config: bundle.manifest().config.clone(), tokenizer, bundle: Some(bundle), folder });
        }
        let read =
            |file: &str| crate::files::read(&folder.join(file), crate::files::Kind::Regular, u64::MAX, Error::BadModel);
        let config = serde_json::from_slice(&read("config.json")?)
            .map_err(|e| Error::BadModel(format!("{}: {e}", folder.join("config.json").display())))?;
        let tokenizer = read("tokenizer.json")?;
        Ok(Self { config, tokenizer, bundle: None, folder })
    }

    /// The weights of a bundle or of an earlier run as they are, a BERT's with what BERT has not.
    fn weights(&self, config: &SlotConfig, seed: u64, device: &Device) -> Result<Weights> {
        if let Some(bundle) = &self.bundle {
            return block_on(bundle.weights(device));
        }
        let path = self.folder.join("model.safetensors");
        let bytes = crate::files::read(&path, crate::files::Kind::Regular, u64::MAX, Error::BadModel)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::BadModel(format!("{}: {e}", path.display())))?;
        // A published BERT also holds what is no weight, such as the numbers of its positions.
        let tensors = match file.names().contains(&"slot_head.weight") {
            true => read_tensors(&path)?,
            false => warm_start(config, &file, seed)?,
        };
        Weights::from_tensors(device, tensors)
    }
}

/// Numbers parameters in their order: the optimiser's state, kept by id, must find them again when a run is resumed.
pub(super) struct Numbered(pub(super) u64);

impl ModuleMapper for Numbered {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, tensor, mapper) = param.consume();
        self.0 += 1;
        Param::from_mapped_value(ParamId::from(self.0), tensor, mapper)
    }
}

/// What one step of a core learns from.
enum Lesson {
    Panel(Panel),
    Answers(Vec<Example>),
}

impl Lesson {
    /// How many texts it has.
    fn len(&self) -> usize {
        match self {
            Lesson::Panel(panel) => panel.len(),
            Lesson::Answers(examples) => examples.len(),
        }
    }

    fn tokens(&self) -> usize {
        match self {
            Lesson::Panel(panel) => panel.tokens(),
            Lesson::Answers(examples) => examples.iter().map(|example| example.layout.len()).sum(),
        }
    }

    /// The weighted loss, and its parts.
    fn loss(&self, model: &SlotModel, device: &Device) -> (Tensor<1>, Parts) {
        match self {
            Lesson::Panel(panel) => {
                let loss = panel.loss(model, device);
                let parts = Parts([Some(number(&loss.slots)), Some(number(&loss.cover)), None]);
                (loss.total(), parts)
            }
            Lesson::Answers(examples) => {
                let loss = Batch::new(examples, model.vocab_size(), device).loss(model);
                let parts = Parts([None, None, Some(number(&loss))]);
                (loss * ANSWER, parts)
            }
        }
    }
}

/// The losses of slots, cover and answer, as far as a lesson has them.
struct Parts([Option<f32>; 3]);

impl Parts {
    fn are_numbers(&self) -> bool {
        self.0.iter().flatten().all(|part| part.is_finite())
    }
}

/// Means of the parts, for the log.
#[derive(Default)]
struct Means([(f32, f32); 3]);

impl Means {
    fn add(&mut self, parts: &Parts) {
        for ((sum, count), part) in self.0.iter_mut().zip(parts.0) {
            if let Some(part) = part {
                (*sum, *count) = (*sum + part, *count + 1.0);
            }
        }
    }

    /// The means since they were taken last.
    fn take(&mut self) -> [f32; 3] {
        std::mem::take(self).0.map(|(sum, count)| sum / count.max(1.0))
    }
}

fn number(tensor: &Tensor<1>) -> f32 {
    tensor.to_data().iter::<f32>().next().unwrap_or(f32::NAN)
}

/// The mean gradient over the lessons, and the parts of each one's loss.
fn gradients(
    workers: &Workers,
    model: &SlotModel,
    lessons: &[Lesson],
    device: &Device,
) -> (GradientsParams, Vec<Parts>) {
    let share = 1.0 / lessons.len() as f32;
    // Graphs that share a parameter share a lock: each worker gets leaves of its own.
    let forks: Vec<_> = lessons.iter().map(|lesson| (Mutex::new(model.clone().fork(device)), lesson)).collect();
    let results = workers.map(&forks, |(model, lesson)| {
        let model = model.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (loss, parts) = lesson.loss(&model, device);
        (GradientsParams::from_grads((loss * share).backward(), &*model), parts)
    });
    let mut sum = GradientsAccumulator::new();
    let mut parts = Vec::new();
    for (gradients, part) in results {
        sum.accumulate(model, gradients);
        parts.push(part);
    }
    (sum.grads(), parts)
}

/// Linear warm-up over a twentieth of the run, then linear to zero.
fn learning_rate(options: &SftOptions, examples: usize) -> f64 {
    let done = examples as f64 / options.examples as f64;
    options.learning_rate * (done / 0.05).min((1.0 - done) / 0.95).clamp(1e-3, 1.0)
}

/// The recipe's rows, tokenised: by source, and those held out.
pub struct Samples<'a> {
    recipe: &'a Recipe,
    pub(super) sources: Vec<(&'a str, Vec<Row>, Vec<Sample>)>,
    /// With the name of their source.
    pub(super) held_out: Vec<(&'a str, Row, Sample)>,
    /// By source: labelled under owners' policies, those of one owner together.
    owned: Vec<(&'a OwnerSource, Vec<Vec<Sample>>)>,
}

impl<'a> Samples<'a> {
    pub(super) fn load(recipe: &'a Recipe, data: &Path, seed: u64, tokenizer: &Tokenizer) -> Result<Self> {
        let mut sources = Vec::new();
        let mut held_out = Vec::new();
        for name in recipe.sources.keys() {
            let mut rows = Vec::new();
            let mut samples = Vec::new();
            for row in recipe.rows(name, data)? {
                let row = row?;
                let Some(sample) = sample(&row, recipe.facts(name, &row)?, tokenizer)? else { continue };
                if row.is_held_out(recipe.heldout_fraction) {
                    held_out.push((name.as_str(), row, sample));
                } else {
                    rows.push(row);
                    samples.push(sample);
                }
            }
            sources.push((name.as_str(), rows, samples));
        }
        held_out.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut owned = Vec::new();
        for source in recipe.owners.values() {
            owned.push((source, owned::samples(recipe, source, data, tokenizer)?));
        }
        Ok(Self { recipe, sources, held_out, owned })
    }

    /// How often each concept holds.
    pub(super) fn frequency(&self, concepts: usize) -> Vec<usize> {
        let mut counts = vec![0; concepts];
        let rows = self.sources.iter().flat_map(|(_, _, samples)| samples);
        rows.flat_map(|sample| &sample.facts.positive).for_each(|&concept| counts[concept] += 1);
        counts
    }

    pub(super) fn lexicon(&self, vocab_size: usize, concepts: usize) -> Lexicon {
        let rows = self
            .sources
            .iter()
            .flat_map(|(_, _, samples)| samples)
            .map(|s| (s.judged.as_slice(), s.facts.positive.as_slice(), s.facts.general_unsafe));
        Lexicon::count(vocab_size, concepts, rows)
    }

    pub(super) fn topics(&self, tokenizer: &Tokenizer) -> Result<Topics<'_>> {
        Topics::among(self.sources.iter().flat_map(|(_, _, samples)| samples), tokenizer)
    }

    /// What texts are padded with.
    fn padding(&self) -> Padding<'_> {
        Padding::among(self.sources.iter().map(|(_, _, samples)| samples.as_slice()), self.recipe.any_harm)
    }

    /// The rows of an epoch in random order, each as its source's place and its own there; never none.
    pub(super) fn epoch(&self, seed: u64, epoch: u64) -> Result<Vec<(usize, usize)>> {
        let mut order = Vec::new();
        for (source, (name, rows, _)) in self.sources.iter().enumerate() {
            order.extend(self.recipe.epoch(name, rows, seed, epoch)?.into_iter().map(|row| (source, row)));
        }
        if order.is_empty() {
            return Err(Error::BadInput("the recipe's sources hold no row to train on".into()));
        }
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ (epoch + 1)));
        Ok(order)
    }

    /// Owners with their texts in an epoch, in random order.
    fn owners(&self, seed: u64, epoch: u64) -> Vec<&[Sample]> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.rotate_left(16) ^ (epoch + 1));
        let mut order: Vec<&[Sample]> = Vec::new();
        for (source, groups) in &self.owned {
            let wanted = (groups.len() as f64 * source.weight).round() as usize;
            let whole = wanted.checked_div(groups.len()).unwrap_or(0);
            order.extend((0..whole).flat_map(|_| groups).map(Vec::as_slice));
            order.extend(groups.sample(&mut rng, wanted - whole * groups.len()).map(Vec::as_slice));
        }
        order.shuffle(&mut rng);
        order
    }

    /// What a chunk of the stream of texts teaches. The stream depends on the seed alone, so a resumed run goes on exactly
    /// where it stopped.
    fn lessons(
        &self,
        examples: &Examples,
        padding: &Padding,
        options: &SftOptions,
        chunk: usize,
    ) -> Result<Vec<Lesson>> {
        let (mut at, mut epoch) = (chunk, 0);
        let (order, chunks) = loop {
            let order = self.epoch(options.seed, epoch)?;
            let chunks = order.len().div_ceil(CHUNK);
            if at < chunks {
                break (order, chunks);
            }
            at -= chunks;
            epoch += 1;
        };
        let owners = self.owners(options.seed, epoch);
        let owners = &owners[at * owners.len() / chunks..(at + 1) * owners.len() / chunks];

        let mut rng = ChaCha8Rng::seed_from_u64(options.seed.rotate_left(32) ^ chunk as u64);
        let rows = order[at * CHUNK..].iter().take(CHUNK);
        let shown = rows.map(|&(source, row)| {
            let sample = Cow::Borrowed(&self.sources[source].2[row]);
            let sample = padding.around(&sample, &mut rng).map_or(sample, Cow::Owned);
            let sample = padding.behind(&sample, &mut rng).map_or(sample, Cow::Owned);
            examples.show(sample, &mut rng)
        });
        let rows: Vec<Shown> = shown.collect();
        let mut answers: Vec<Example> = Vec::new();
        let mut lessons = Vec::new();
        for texts in grouped(rows, room, options.batch_tokens) {
            lessons.push(examples.concepts(&texts, false, &mut rng));
            if rng.random_bool(TOPICS) {
                lessons.push(examples.topics(&texts, &mut rng));
            }
            answers.extend(answered(examples, &texts, &mut rng));
        }
        for owner in owners {
            let texts = owner.iter().map(|sample| examples.show(Cow::Borrowed(sample), &mut rng)).collect();
            for texts in grouped(texts, room, options.batch_tokens) {
                lessons.push(examples.owner(&texts, &mut rng));
                answers.extend(answered(examples, &texts, &mut rng));
            }
        }
        let answers = grouped(answers, |example| example.layout.len(), options.batch_tokens);
        let panels = lessons.into_iter().filter(|panel| !panel.is_empty()).map(Lesson::Panel);
        let mut lessons: Vec<Lesson> = panels.chain(answers.into_iter().map(Lesson::Answers)).collect();
        lessons.shuffle(&mut rng);
        Ok(lessons)
    }

    /// AUROC of the slots on held-out rows, under seen and unseen category names.
    fn watch(
        &self,
        examples: &Examples,
        options: &SftOptions,
        model: &SlotModel,
    ) -> [Option<f64>; 2] {
        let device = Device::flex();
        let model = model.valid();
        [false, true].map(|unseen| {
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            let rows = self.held_out.iter().take(WATCHED);
            let texts = rows.map(|(_, _, sample)| examples.show(Cow::Borrowed(sample), &mut rng)).collect();
            let scores: Vec<(f32, bool)> = grouped(texts, room, options.batch_tokens)
                .iter()
                .flat_map(|texts| examples.concepts(texts, unseen, &mut rng).scores(&model, &device))
                .collect();
            metrics::auroc(&scores)
        })
    }
}

/// Answers about some of the texts.
fn answered(examples: &Examples, texts: &[Shown], rng: &mut ChaCha8Rng) -> Vec<Example> {
    let some: Vec<&Shown> = texts.iter().filter(|_| rng.random_bool(ANSWERED)).collect();
    some.into_iter().filter_map(|text| examples.answer(text, rng)).collect()
}

/// What a text takes of a panel.
fn room(text: &Shown) -> usize {
    text.layout.len() + SLOTS
}

/// A row's words and facts; `None` if there are no words.
pub(super) fn sample(row: &Row, facts: Facts, tokenizer: &Tokenizer) -> Result<Option<Sample>> {
    let Conversation { messages, target } = row.conversation();
    let Some((judged, before)) = messages.split_last() else { return Ok(None) };
    let spans = tokenizer.encode(clip(&judged.content))?;
    if spans.is_empty() {
        return Ok(None);
    }
    let starts_word = |i: usize| i == 0 || spans[i - 1].bytes.end < spans[i].bytes.start;
    Ok(Some(Sample {
        judged: spans.iter().map(|span| span.id).collect(),
        word_starts: (0..spans.len()).map(starts_word).collect(),
        context: context(tokenizer, before)?,
        kind: Kind::judged(target),
        facts,
        asked: Vec::new(),
    }))
}

/// Items of like length together, `tokens` a batch at most, padding counted.
pub(super) fn grouped<T>(mut items: Vec<T>, len: impl Fn(&T) -> usize, tokens: usize) -> Vec<Vec<T>> {
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

fn clip(text: &str) -> &str {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
