//! Decoders that users bring, as networks to be tuned: their own prompt, cache, grammar and sampler write the answers,
//! and their gradients come back one layer at a time.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use pollster::block_on;
use rand::RngExt;
use serde::Serialize;

use super::choices::{self, Pick};
use super::export::export;
use super::group::write_group;
use super::network::{Network, Rollout};
use super::task::{Task, generator};
use crate::bundle::{Checkpoint, Weights};
use crate::conversation::Target;
use crate::engine::grammars::Grammars;
use crate::engine::reader::Reader;
use crate::error::{Error, Result};
use crate::grammar::{Grammar, Think};
use crate::mini::network::training::NamedTensor;
use crate::model::decoder::training::{LoraOptions, Packed};
use crate::model::{Decoder, DecoderConfig};
use crate::prompt::{self, Template};
use crate::sampling::Sampling;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::train::sft::Numbered;

/// How a decoder is tuned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecoderOptions {
    /// The prompt and the form of the answers; guessed from the checkpoint if `None`.
    pub template: Option<Template>,
    /// The longest reasoning of RSafe's template, in tokens.
    pub reasoning_tokens: usize,
    /// Adapters beside frozen weights; `None` tunes every weight.
    pub lora: Option<LoraOptions>,
    /// Tokens of a prompt with several of its answers that are differentiated together: memory grows with it.
    pub pack_tokens: usize,
}

impl Default for DecoderOptions {
    /// RSafe's 512 tokens of reasoning, adapters of rank 8, 2,048 tokens at a time.
    fn default() -> Self {
        Self { template: None, reasoning_tokens: 512, lora: Some(LoraOptions::default()), pack_tokens: 2048 }
    }
}

impl DecoderOptions {
    /// Whether nothing is asked that only a decoder can do: they are the default ones, whatever adapters begin with, or tune
    /// every weight.
    pub(super) fn untouched(&self) -> bool {
        let plain = |lora: &LoraOptions| LoraOptions { seed: lora.seed, ..LoraOptions::default() };
        *self == Self { lora: self.lora.as_ref().map(plain), ..Self::default() }
    }
}

/// A decoder being tuned.
#[derive(Module, Debug)]
pub struct DecoderNetwork {
    decoder: Decoder,
    #[module(skip)]
    setting: Arc<Setting>,
}

/// What does not change while a decoder is tuned.
struct Setting {
    /// The checkpoint that is tuned.
    folder: PathBuf,
    config: DecoderConfig,
    device: Device,
    tokenizer: Tokenizer,
    template: Template,
    system: Option<String>,
    options: DecoderOptions,
    grammars: Grammars,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("template", &self.template)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl DecoderNetwork {
    /// Whether a folder is a decoder's checkpoint, as its `config.json` says.
    pub fn reads(folder: &Path) -> bool {
        let config = std::fs::read_to_string(folder.join("config.json"));
        config.is_ok_and(|config| DecoderConfig::from_json(&config).is_ok())
    }

    /// Reads a Hugging Face folder. With adapters and on the CPU, matrices stay as they are encoded; else they become
    /// floats.
    ///
    /// # Errors
    /// What the checkpoint or the options have wrong.
    pub fn open(folder: &Path, options: &DecoderOptions, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let mut config = DecoderConfig::from_json(&checkpoint.config.to_string())?;
        if let Some(generation) = &checkpoint.generation {
            config = config.with_generation_config(&generation.to_string())?;
        }
        let template = match options.template {
            Some(template) => template,
            None => checkpoint.guess_template(&folder.to_string_lossy())?,
        };
        let tokenizer = Tokenizer::from_bytes(&checkpoint.tokenizer)?;
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(Error::BadModel(format!(
                "the tokenizer has {} tokens but the model only {}; is the tokenizer another model's?",
                tokenizer.vocab_size(),
                config.vocab_size
            )));
        }
        let grammars = Grammars::new(template);
        if template == Template::Rsafe {
            // That a vocabulary cannot write the answers is told before anything is trained.
            for think in [Think::First { max_tokens: options.reasoning_tokens }, Think::Skip] {
                grammars.of(&tokenizer, &[], Target::Prompt, think)?;
            }
        }
        let weights = checkpoint.weights(device)?;
        let options = options.clone();
        let (folder, device) = (folder.to_owned(), device.clone());
        let system = checkpoint.system_message();
        let setting = Setting { folder, config, device, tokenizer, template, system, options, grammars };
        Self::with_weights(Arc::new(setting), weights)
    }

    fn with_weights(setting: Arc<Setting>, mut weights: Weights) -> Result<Self> {
        let decoder = Decoder::load(&setting.config, &mut weights)?;
        weights.finish()?;
        let decoder = match &setting.options.lora {
            Some(lora) => decoder.with_adapters(lora)?,
            None => decoder.thawed(),
        };
        // The optimiser moves parameters of an autodiff device alone, so at rest they are such.
        Ok(Self { decoder: decoder.map(&mut Numbered(0)).train(), setting })
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.setting.tokenizer
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The adapters' options, where there are adapters.
    pub fn lora(&self) -> Option<&LoraOptions> {
        self.setting.options.lora.as_ref()
    }

    fn prompt(&self, task: &Task) -> Result<Vec<TokenId>> {
        task.conversation.validate()?;
        let Setting { template, system, tokenizer, .. } = &*self.setting;
        let segments = template.segments(system.as_deref(), &task.policy, &task.conversation)?;
        Ok(prompt::encode(&segments, tokenizer)?.tokens())
    }

    fn grammar(&self, task: &Task) -> Result<Grammar> {
        let Setting { template, tokenizer, options, grammars, .. } = &*self.setting;
        let think = match template {
            Template::Rsafe if task.think => Think::First { max_tokens: options.reasoning_tokens },
            _ => Think::Skip,
        };
        grammars.of(tokenizer, &task.policy.categories, task.conversation.target, think)
    }

    /// The decoder on the plain device: writing and reading need no graph, and graphs are made for one layer at a time.
    fn plain(&self) -> Decoder {
        self.decoder.valid()
    }

    fn vector(&self, values: Vec<f32>) -> Tensor<1> {
        let shape = [values.len()];
        Tensor::from_data(TensorData::new(values, shape), &self.setting.device)
    }

    /// Log-probability and entropy of each choice.
    fn values(&self, task: &Task, rollouts: &[Rollout], temperature: f32) -> Result<(Vec<f32>, Vec<f32>)> {
        let decoder = self.plain();
        let (mut log_probs, mut entropies) = (Vec::new(), Vec::new());
        for pack in self.packs(task, rollouts)? {
            let states = decoder.read(&pack.row);
            let (some, more) = choices::read(&decoder, &states, &pack.picks(rollouts), temperature);
            log_probs.extend(some);
            entropies.extend(more);
        }
        Ok((log_probs, entropies))
    }

    /// The rollouts of a task as rows of a prompt and some of its answers, each up to its last choice.
    fn packs(&self, task: &Task, rollouts: &[Rollout]) -> Result<Vec<Pack>> {
        let prompt = self.prompt(task)?;
        let read = |rollout: &Rollout| rollout.choices.last().map_or(0, |choice| choice.at);
        let mut packs = Vec::new();
        let mut first = 0;
        while first < rollouts.len() {
            let mut tokens = prompt.len() + read(&rollouts[first]);
            let mut end = first + 1;
            while end < rollouts.len() && tokens + read(&rollouts[end]) <= self.setting.options.pack_tokens {
                tokens += read(&rollouts[end]);
                end += 1;
            }
            let answers = rollouts[first..end].iter().map(|rollout| &rollout.tokens[..read(rollout)]);
            packs.push(Pack { row: Packed::new(&prompt, answers), rollouts: first..end });
            first = end;
        }
        Ok(packs)
    }
}

/// Some rollouts of a task in one row.
struct Pack {
    row: Packed,
    rollouts: Range<usize>,
}

impl Pack {
    fn picks<'a>(&self, rollouts: &'a [Rollout]) -> Vec<Pick<'a>> {
        let mut picks = Vec::new();
        for (answer, rollout) in rollouts[self.rollouts.clone()].iter().enumerate() {
            picks.extend(rollout.choices.iter().map(|choice| Pick {
                place: self.row.place(answer, choice.at),
                token: rollout.tokens[choice.at],
                allowed: &choice.allowed,
            }));
        }
        picks
    }
}

impl Network for DecoderNetwork {
    fn rollouts(&self, task: &Task, group: usize, sampling: Sampling, seed: u64) -> Result<Vec<Rollout>> {
        let decoder = self.plain();
        let (prompt, grammar) = (self.prompt(task)?, self.grammar(task)?);
        let (needed, limit) = (prompt.len() + grammar.max_len(), self.setting.config.max_position_embeddings);
        if needed > limit {
            return Err(Error::ContextLength { needed, limit });
        }
        let mut cache = decoder.new_cache(prompt.len())?;
        let states = decoder.extend(&prompt, &mut cache)?;
        let reader = Reader::decoder(&decoder, cache, states);
        let mut rng = generator(seed, "answers", 0);
        let answers = (0..group).map(|_| (grammar.clone(), rng.random())).collect();
        let written = block_on(write_group(&reader, answers, sampling, prompt[0]))?;
        Ok(written
            .into_iter()
            .map(|written| Rollout {
                tokens: written.tokens,
                claims: Vec::new(),
                choices: written.choices,
                // Free text names categories and quotes in its own words.
                answer: written.answer.with_claims(&task.policy, &task.conversation),
                well_formed: written.ended && !written.cut,
                p_unsafe: written.p_unsafe,
                scores: None,
                flags: None,
                window: 0,
                about: Vec::new(),
                prompt_tokens: prompt.len(),
            })
            .collect())
    }

    fn log_probs(&self, task: &Task, rollouts: &[Rollout], temperature: f32) -> Result<(Tensor<1>, Tensor<1>)> {
        let (log_probs, entropies) = self.values(task, rollouts, temperature)?;
        Ok((self.vector(log_probs), self.vector(entropies)))
    }

    fn gradients(
        &self,
        batch: &[(&Task, &[Rollout])],
        temperature: f32,
        loss: &mut dyn FnMut(Tensor<1>, Tensor<1>) -> Tensor<1>,
    ) -> Result<GradientsParams> {
        let (mut log_probs, mut entropies) = (Vec::new(), Vec::new());
        for (task, rollouts) in batch {
            let (some, more) = self.values(task, rollouts, temperature)?;
            log_probs.extend(some);
            entropies.extend(more);
        }
        // The loss depends on the network through these numbers alone: what it says of them goes back pack by pack.
        let decoder = self.plain();
        let leaf = |values| self.vector(values).autodiff().require_grad();
        let (log_probs, entropies) = (leaf(log_probs), leaf(entropies));
        let gradients = loss(log_probs.clone(), entropies.clone()).backward();
        let of = |leaf: &Tensor<1>| -> Vec<f32> {
            let gradient = leaf.grad(&gradients).unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like());
            gradient.into_data().iter::<f32>().collect()
        };
        let (of_log_probs, of_entropies) = (of(&log_probs), of(&entropies));
        let mut sums = GradientsParams::new();
        let mut done = 0;
        for (task, rollouts) in batch {
            for pack in self.packs(task, rollouts)? {
                let picks = pack.picks(rollouts);
                let some = done..done + picks.len();
                done = some.end;
                let given = [&of_log_probs[some.clone()], &of_entropies[some]];
                if given.iter().all(|gradients| gradients.iter().all(|g| *g == 0.0)) {
                    continue;
                }
                let (states, trace) = decoder.trace(&pack.row);
                let of_states = choices::backward(&decoder, &states, &picks, temperature, given, &mut sums);
                decoder.backward(&pack.row, trace, of_states, &mut sums);
            }
        }
        Ok(sums)
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        let decoder = self.plain();
        match self.lora() {
            Some(_) => {
                decoder.adapter_tensors().map(|(name, stored)| (name, stored.shape(), stored.floats())).collect()
            }
            None => {
                decoder.tensors().into_iter().map(|(name, stored)| (name, stored.shape(), stored.floats())).collect()
            }
        }
    }

    fn with_tensors(self, tensors: Vec<NamedTensor>) -> Result<Self> {
        match self.lora() {
            Some(_) => {
                let tensors = tensors.into_iter().map(|(name, shape, values)| (name, (shape, values)));
                let decoder = self.decoder.with_adapter_tensors(tensors.collect::<HashMap<_, _>>())?;
                Ok(Self { decoder: decoder.train(), setting: self.setting })
            }
            None => {
                let weights = Weights::from_tensors(&self.setting.device, tensors)?;
                Self::with_weights(self.setting, weights)
            }
        }
    }

    fn export(&self, out: &Path) -> Result<()> {
        export(&self.plain(), self.lora(), &self.setting.folder, out)
    }
}
