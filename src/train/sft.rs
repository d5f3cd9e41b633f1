//! Supervised training of rsafe-mini: rows under sampled policies, slots and answer learnt together.

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
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::batch::{Batch, LossParts, LossWeights};
use super::checkpoint::{Checkpoint, read_tensors, write_tensors};
use super::evidence::Lexicon;
use super::examples::{Example, Examples, Sample};
use super::files::{self, keep_options};
use super::owned;
use super::padding::Padding;
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
    pub quiet: f32,
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
const WEIGHTS: LossWeights = LossWeights { slots: 1.0, quiet: 0.3, answer: 0.4 };
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
    let mut sums = (LossParts::default(), 0f32);
    while progress.examples < options.examples {
        let batches = samples.batches(&examples, &padding, options, progress.chunk)?;
        let left = &batches[progress.batch.min(batches.len())..];
        for parallel in left.chunks(workers.len()) {
            let rate = learning_rate(options, progress.examples);
            let (gradients, parts) = gradients(&workers, &model, parallel, config.vocab_size, &device);
            if !parts.iter().all(|part| part.slots.is_finite() && part.quiet.is_finite() && part.answer.is_finite()) {
                return Err(Error::BadModel(format!(
                    "the loss is no number any more behind step {}; go on from the last checkpoint or begin anew, with a lower \
                     learning rate",
                    progress.step
                )));
            }
            model = optimizer.step(rate, model, gradients);

            progress.step += 1;
            progress.batch += parallel.len();
            for (part, batch) in parts.iter().zip(parallel) {
                progress.examples += batch.len();
                tokens += batch.iter().map(|example| example.layout.len()).sum::<usize>();
                sums = (sums.0.plus(*part), sums.1 + 1.0);
            }
            let done = progress.examples >= options.examples;
            if progress.step.is_multiple_of(REPORT_EVERY) || done {
                let mean = sums.0.over(sums.1);
                let seconds = started.elapsed().as_secs_f64();
                let pace = seconds / (progress.examples - started_at) as f64;
                let watched = progress.step.is_multiple_of(10 * REPORT_EVERY) || done;
                let report = Report {
                    step: progress.step,
                    examples: progress.examples,
                    of: options.examples,
                    slots: mean.slots,
                    quiet: mean.quiet,
                    answer: mean.answer,
                    learning_rate: rate,
                    tokens_per_second: tokens as f64 / seconds,
                    seconds_left: pace * options.examples.saturating_sub(progress.examples) as f64,
                    held_out: watched.then(|| samples.watch(&examples, options, &model, &config)),
                };
                let line = serde_json::to_string(&report).map_err(|e| Error::BadInput(e.to_string()))?;
                writeln!(log, "{line}").map_err(Error::io(options.out.join("metrics.jsonl")))?;
                watch(&report);
                sums = Default::default();
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

/// The mean gradient over the batches, and the parts of each batch's loss.
fn gradients(
    workers: &Workers,
    model: &SlotModel,
    batches: &[Vec<Example>],
    vocab_size: usize,
    device: &Device,
) -> (GradientsParams, Vec<LossParts>) {
    let share = 1.0 / batches.len() as f32;
    // Graphs that share a parameter share a lock: each worker gets leaves of its own.
    let forks: Vec<_> = batches.iter().map(|batch| (Mutex::new(model.clone().fork(device)), batch)).collect();
    let results = workers.map(&forks, |(model, batch)| {
        let model = model.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (loss, parts) = Batch::new(batch, vocab_size, device).loss(&model, WEIGHTS);
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

impl LossParts {
    fn plus(self, other: Self) -> Self {
        Self { slots: self.slots + other.slots, quiet: self.quiet + other.quiet, answer: self.answer + other.answer }
    }

    fn over(self, n: f32) -> Self {
        Self { slots: self.slots / n, quiet: self.quiet / n, answer: self.answer / n }
    }
}

/// The recipe's rows, tokenised: by source, and those held out.
pub struct Samples<'a> {
    recipe: &'a Recipe,
    pub(super) sources: Vec<(&'a str, Vec<Row>, Vec<Sample>)>,
    /// With the name of their source.
    pub(super) held_out: Vec<(&'a str, Row, Sample)>,
    /// By source: labelled under owners' policies.
    owned: Vec<(&'a OwnerSource, Vec<Sample>)>,
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

    /// What an epoch learns from, in random order: the recipe's rows and owners' messages.
    fn stream(&self, seed: u64, epoch: u64) -> Result<Vec<&Sample>> {
        let rows = self.epoch(seed, epoch)?;
        let mut order: Vec<&Sample> = rows.into_iter().map(|(source, row)| &self.sources[source].2[row]).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed.rotate_left(16) ^ (epoch + 1));
        for (source, samples) in &self.owned {
            let wanted = (samples.len() as f64 * source.weight).round() as usize;
            let whole = wanted.checked_div(samples.len()).unwrap_or(0);
            order.extend((0..whole).flat_map(|_| samples));
            order.extend(samples.sample(&mut rng, wanted - whole * samples.len()));
        }
        order.shuffle(&mut rng);
        Ok(order)
    }

    /// The batches of a chunk of the example stream. The stream depends on the seed alone, so a resumed run goes on
    /// exactly where it stopped.
    fn batches(
        &self,
        examples: &Examples,
        padding: &Padding,
        options: &SftOptions,
        chunk: usize,
    ) -> Result<Vec<Vec<Example>>> {
        let mut left = chunk;
        let mut epoch = 0;
        let order = loop {
            let order = self.stream(options.seed, epoch)?;
            let chunks = order.len().div_ceil(CHUNK);
            if left < chunks {
                break order;
            }
            left -= chunks;
            epoch += 1;
        };
        let at = left * CHUNK;
        let rows = &order[at..(at + CHUNK).min(order.len())];

        let mut rng = ChaCha8Rng::seed_from_u64(options.seed.rotate_left(32) ^ chunk as u64);
        let drawn = rows.iter().map(|&sample| {
            let padded = padding.around(sample, &mut rng);
            let sample = padded.as_ref().unwrap_or(sample);
            let continued = padding.behind(sample, &mut rng);
            examples.draw(continued.as_ref().unwrap_or(sample), false, &mut rng)
        });
        let drawn = drawn.collect();
        let mut batches = batched(drawn, options.batch_tokens);
        batches.shuffle(&mut rng);
        Ok(batches)
    }

    /// AUROC of the slots on held-out rows, under seen and unseen category names.
    fn watch(
        &self,
        examples: &Examples,
        options: &SftOptions,
        model: &SlotModel,
        config: &SlotConfig,
    ) -> [Option<f64>; 2] {
        let device = Device::flex();
        let model = model.valid();
        [false, true].map(|unseen| {
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            let rows = self.held_out.iter().take(WATCHED);
            let drawn = rows.map(|(_, _, sample)| examples.draw(sample, unseen, &mut rng)).collect();
            let scores: Vec<(f32, bool)> = batched(drawn, options.batch_tokens)
                .iter()
                .flat_map(|batch| Batch::new(batch, config.vocab_size, &device).slot_scores(&model))
                .collect();
            metrics::auroc(&scores)
        })
    }
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

/// Examples of like length together, `tokens` a batch at most, padding counted.
pub(super) fn batched(mut examples: Vec<Example>, tokens: usize) -> Vec<Vec<Example>> {
    examples.sort_by_key(|example| example.layout.len());
    let mut batches: Vec<Vec<Example>> = Vec::new();
    for example in examples {
        // Sorted: the newcomer is the longest.
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * example.layout.len() <= tokens => batch.push(example),
            _ => batches.push(vec![example]),
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
