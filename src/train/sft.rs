//! Supervised training of rsafe-mini: rows before panels of categories, and answers about some of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, write_tensors};
use super::examples::Examples;
use super::files::{self, keep_options};
use super::init::Init;
use super::lessons::{Lesson, Lessons, Parts, Watched};
use super::pupil::Pupil;
use super::samples::Samples;
use super::warm_start::slot_config;
use crate::bundle::Weights;
use crate::data::recipe::Recipe;
use crate::error::{Error, Result};
use crate::mini::network::{SlotConfig, SlotModel};
use crate::tokenizer::Tokenizer;
use crate::workers::Workers;

/// What a run is made of. Lengths are in tokens.
#[derive(Debug, Clone, Serialize)]
pub struct SftOptions {
    /// Which rows mean what: `recipe.yaml`.
    pub recipe: PathBuf,
    /// The folder of the recipe's sources, `<source>.jsonl` or `<source>.jsonl.gz`.
    pub data: PathBuf,
    /// A bundle, or a folder with `config.json`, `tokenizer.json` and `model.safetensors`: a BERT, an MPNet (whose
    /// `tokenizer.json` must be a BERT's: it has the same words), or the end of an earlier run.
    pub init: PathBuf,
    /// Where checkpoint, metrics and the trained tensors go. A run found there is resumed.
    pub out: PathBuf,
    /// How many examples to learn from.
    pub examples: usize,
    /// From how many of them, at the beginning and in whole steps of up to 1,024, the network learns to read: one slot without
    /// words tells of every concept whether it applies. The others are asked about in words, too.
    pub wordless: usize,
    /// Tokens of the texts that a core reads at a time, with their slots, padding counted.
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
    /// The chunk of the stream of lessons that comes next, and how many of its lessons were taken.
    chunk: usize,
    taken: usize,
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Report {
    pub step: usize,
    pub examples: usize,
    pub of: usize,
    /// The mean losses since the last report, as far as something was learnt: of slots, of the highest of the cover, of what slots
    /// without words tell, and of answers.
    pub slots: Option<f32>,
    pub cover: Option<f32>,
    pub told: Option<f32>,
    pub answer: Option<f32>,
    pub learning_rate: f64,
    pub tokens_per_second: f64,
    pub seconds_left: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Watched>,
}

/// What a run that goes on may change.
const MAY_CHANGE: [&str; 2] = ["out", "checkpoint_every"];
/// Steps between two lines of metrics.
const REPORT_EVERY: usize = 10;

/// Trains, calling `watch` with each report.
///
/// # Errors
/// Whatever the recipe, the rows, the first weights or the disk have wrong.
pub fn run(options: &SftOptions, mut watch: impl FnMut(&Report)) -> Result<()> {
    keep_options(&options.out, options, &MAY_CHANGE)?;
    let recipe = Recipe::load(&options.recipe)?;
    let init = Init::open(&options.init)?;
    let tokenizer = Tokenizer::from_bytes(&init.tokenizer)?;
    let config = slot_config(&init.config)?;
    let samples = Samples::load(&recipe, &options.data, options.seed, &tokenizer)?;
    let examples = Examples::new(&samples, &tokenizer, config.vocab_size)?;
    let workers = Workers::new()?;
    let stream = Lessons::new(&samples, &examples, options.seed, options.batch_tokens, options.wordless);

    let device = Device::flex().autodiff();
    let checkpoint = Checkpoint::of(&options.out);
    let optimizer = adam_w(options.weight_decay, Some(1.0));
    let concepts = recipe.concepts.len();
    let (pupil, mut optimizer, mut progress) = match checkpoint.load(optimizer.clone())? {
        Some((tensors, optimizer, progress)) => {
            let weights = Weights::from_tensors(&device, tensors)?;
            (Pupil::load(&config, weights, concepts)?, optimizer, progress)
        }
        None => {
            let weights = init.warm(&config, options.seed, &device)?;
            (Pupil::begin(&config, weights, concepts, &device)?, optimizer, Progress::default())
        }
    };
    let mut pupil = pupil.map(&mut Numbered(0)).freeze_words();

    let (mut log, _) = files::metrics::<Report>(&options.out.join("metrics.jsonl"), progress.step / REPORT_EVERY)?;
    let started = Instant::now();
    let started_at = progress.examples;
    let mut tokens = 0usize;
    let mut means = Means::default();
    while progress.examples < options.examples {
        let lessons = stream.chunk(progress.chunk)?;
        for lessons in lessons[progress.taken.min(lessons.len())..].chunks(workers.len()) {
            let rate = learning_rate(options, progress.examples);
            let (gradients, parts) = gradients(&workers, &pupil, lessons, &device);
            if !parts.iter().all(Parts::are_numbers) {
                return Err(Error::BadModel(format!(
                    "the loss is no number any more behind step {}; go on from the last checkpoint or begin anew, with a lower \
                     learning rate",
                    progress.step
                )));
            }
            pupil = optimizer.step(rate, pupil, gradients);

            progress.step += 1;
            progress.taken += lessons.len();
            for (part, lesson) in parts.iter().zip(lessons) {
                progress.examples += lesson.len();
                tokens += lesson.tokens();
                means.add(part);
            }
            let done = progress.examples >= options.examples;
            if progress.step.is_multiple_of(REPORT_EVERY) || done {
                let [slots, cover, told, answer] = means.take();
                let seconds = started.elapsed().as_secs_f64();
                let pace = seconds / (progress.examples - started_at) as f64;
                let watched = progress.step.is_multiple_of(10 * REPORT_EVERY) || done;
                let report = Report {
                    step: progress.step,
                    examples: progress.examples,
                    of: options.examples,
                    slots,
                    cover,
                    told,
                    answer,
                    learning_rate: rate,
                    tokens_per_second: tokens as f64 / seconds,
                    seconds_left: pace * options.examples.saturating_sub(progress.examples) as f64,
                    held_out: watched.then(|| stream.watch(&pupil)),
                };
                let line = serde_json::to_string(&report).map_err(|e| Error::BadInput(e.to_string()))?;
                writeln!(log, "{line}").map_err(Error::io(options.out.join("metrics.jsonl")))?;
                watch(&report);
            }
            if progress.step.is_multiple_of(options.checkpoint_every) {
                checkpoint.save(&pupil.tensors(), &optimizer, &progress)?;
            }
            if done {
                break;
            }
        }
        progress.chunk += 1;
        progress.taken = 0;
    }
    export(&options.out, &pupil.network, &config, &init.tokenizer)
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

/// Numbers parameters in their order: the optimiser's state, kept by id, must find them again when a run is resumed.
pub(super) struct Numbered(pub(super) u64);

impl ModuleMapper for Numbered {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, tensor, mapper) = param.consume();
        self.0 += 1;
        Param::from_mapped_value(ParamId::from(self.0), tensor, mapper)
    }
}

/// Means of the parts, for the log.
#[derive(Default)]
struct Means([(f32, f32); 4]);

impl Means {
    fn add(&mut self, parts: &Parts) {
        for ((sum, count), part) in self.0.iter_mut().zip(parts.0) {
            if let Some(part) = part {
                (*sum, *count) = (*sum + part, *count + 1.0);
            }
        }
    }

    /// The means since they were taken last.
    fn take(&mut self) -> [Option<f32>; 4] {
        std::mem::take(self).0.map(|(sum, count)| (count > 0.0).then(|| sum / count))
    }
}

/// The mean gradient over the lessons, and the parts of each one's loss.
fn gradients(workers: &Workers, pupil: &Pupil, lessons: &[Lesson], device: &Device) -> (GradientsParams, Vec<Parts>) {
    let share = 1.0 / lessons.len() as f32;
    // Graphs that share a parameter share a lock: each worker gets leaves of its own.
    let forks: Vec<_> = lessons.iter().map(|lesson| (Mutex::new(pupil.clone().fork(device)), lesson)).collect();
    let results = workers.map(&forks, |(pupil, lesson)| {
        let pupil = pupil.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (loss, parts) = lesson.loss(&pupil, device);
        (GradientsParams::from_grads((loss * share).backward(), &*pupil), parts)
    });
    let mut sum = GradientsAccumulator::new();
    let mut parts = Vec::new();
    for (gradients, part) in results {
        sum.accumulate(pupil, gradients);
        parts.push(part);
    }
    (sum.grads(), parts)
}

/// Linear warm-up over a twentieth of the run, then linear to zero.
fn learning_rate(options: &SftOptions, examples: usize) -> f64 {
    let done = examples as f64 / options.examples as f64;
    options.learning_rate * (done / 0.05).min((1.0 - done) / 0.95).clamp(1e-3, 1.0)
}
