//! Decoders that users bring, as networks to be tuned: their own prompt, cache, grammar and sampler write the answers,
//! and their gradients come back one layer at a time.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::choices::{self, Pick};
use super::network::{Choice, Network, Rollout, Task};
use crate::bundle::Checkpoint;
use crate::engine::decoder_grammar;
use crate::grammar::{Allowed, Grammar, Think};
use crate::model::decoder::{LoraOptions, Packed};
use crate::model::{Decoder, DecoderConfig};
use crate::prompt::{self, Template};
use crate::sampling::{Sampler, Sampling};
use crate::tokenizer::{TokenId, Tokenizer};
use crate::{Error, Result, Target};

/// How a decoder is tuned.
#[derive(Debug, Clone)]
pub struct DecoderOptions {
    /// The prompt and the form of the answers; guessed from the checkpoint if `None`.
    pub template: Option<Template>,
    /// The longest reasoning of RSafe's template, in tokens; 0 answers at once.
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

/// A decoder being tuned. On a plain device: graphs are made for one layer at a time.
#[derive(Module, Debug)]
pub struct DecoderNetwork {
    decoder: Decoder,
    #[module(skip)]
    setting: Arc<Setting>,
}

/// What does not change while a decoder is tuned.
struct Setting {
    tokenizer: Tokenizer,
    template: Template,
    reasoning_tokens: usize,
    pack_tokens: usize,
    lora: Option<LoraOptions>,
    /// RSafe's grammar depends on the vocabulary alone; its masks are computed once.
    rsafe: Option<Grammar>,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({:?}, {} tokens of reasoning)", self.template, self.reasoning_tokens)
    }
}

impl DecoderNetwork {
    /// Reads a Hugging Face folder. Weights stay as they are encoded where adapters are trained and the device is the
    /// CPU; else they become floats.
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
        let mut weights = checkpoint.weights(device)?;
        let decoder = Decoder::load(&config, &mut weights)?;
        weights.finish()?;
        Self::new(decoder, Tokenizer::from_bytes(&checkpoint.tokenizer)?, template, options)
    }

    /// A network of parts that are in memory.
    ///
    /// # Errors
    /// [`Error::BadInput`] for options that make no sense, [`Error::BadModel`] if tokenizer, template and model do not
    /// belong together.
    pub fn new(decoder: Decoder, tokenizer: Tokenizer, template: Template, options: &DecoderOptions) -> Result<Self> {
        let vocab_size = decoder.config().vocab_size;
        if tokenizer.vocab_size() > vocab_size {
            return Err(Error::BadModel(format!(
                "the tokenizer has {} tokens but the model only {vocab_size}; is the tokenizer another model's?",
                tokenizer.vocab_size(),
            )));
        }
        let decoder = match &options.lora {
            Some(lora) => decoder.with_adapters(lora)?,
            None => decoder.thawed(),
        };
        let think = match options.reasoning_tokens {
            0 => Think::Skip,
            max_tokens => Think::First { max_tokens },
        };
        let rsafe = match template {
            Template::Rsafe => Some(decoder_grammar(template, &tokenizer, &[], Target::Prompt, think)?),
            _ => None,
        };
        let setting = Setting {
            tokenizer,
            template,
            reasoning_tokens: options.reasoning_tokens,
            pack_tokens: options.pack_tokens,
            lora: options.lora.clone(),
            rsafe,
        };
        Ok(Self { decoder, setting: Arc::new(setting) })
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The adapters' options, where there are adapters.
    pub fn lora(&self) -> Option<&LoraOptions> {
        self.setting.lora.as_ref()
    }

    fn prompt(&self, task: &Task) -> Result<Vec<TokenId>> {
        task.conversation.validate()?;
        let segments = self.setting.template.segments(&task.policy, &task.conversation)?;
        Ok(prompt::encode(&segments, &self.setting.tokenizer)?.tokens())
    }

    /// The network without what an optimiser's step leaves of autodiff: writing and reading need none.
    fn plain(&self) -> Decoder {
        self.decoder.valid()
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
            while end < rollouts.len() && tokens + read(&rollouts[end]) <= self.setting.pack_tokens {
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

/// An answer being written.
struct Row {
    grammar: Grammar,
    sampler: Sampler,
    tokens: Vec<TokenId>,
    choices: Vec<Choice>,
}

impl Row {
    fn take(&mut self, token: TokenId) -> Result<()> {
        self.grammar.consume(token)?;
        self.sampler.observe(&[token]);
        self.tokens.push(token);
        Ok(())
    }
}

impl Network for DecoderNetwork {
    fn rollouts(&self, task: &Task, group: usize, sampling: Sampling, seed: u64) -> Result<Vec<Rollout>> {
        let decoder = self.plain();
        let prompt = self.prompt(task)?;
        let grammar = match &self.setting.rsafe {
            Some(grammar) => grammar.clone(),
            None => {
                let (template, tokenizer) = (self.setting.template, &self.setting.tokenizer);
                decoder_grammar(template, tokenizer, &task.policy.categories, task.conversation.target, Think::Skip)?
            }
        };
        let (needed, limit) = (prompt.len() + grammar.max_len(), decoder.config().max_position_embeddings);
        if needed > limit {
            return Err(Error::ContextLength { needed, limit });
        }
        // The prompt is read once, then continued by each row.
        let mut cache = decoder.new_cache(prompt.len())?;
        let states = decoder.extend(&prompt, &mut cache)?;
        let mut states = states.slice([0..1, prompt.len() - 1..prompt.len()]).repeat_dim(0, group);
        let mut cache = cache.repeat(group, needed)?;
        let row = |index: usize| Row {
            grammar: grammar.clone(),
            sampler: Sampler::new(Sampling { seed: seed.wrapping_add(index as u64), ..sampling }),
            tokens: Vec::new(),
            choices: Vec::new(),
        };
        let mut rows: Vec<Row> = (0..group).map(row).collect();
        loop {
            choose(&decoder, &states, &mut rows, sampling.temperature)?;
            if rows.iter().all(|row| row.grammar.is_done()) {
                break;
            }
            // All rows grow by one token at a time; what a finished row reads is not looked at.
            let ids: Vec<TokenId> = rows.iter().map(|row| row.tokens[row.tokens.len() - 1]).collect();
            states = decoder.extend(&ids, &mut cache)?;
        }
        let rollout = |row: Row| Rollout {
            answer: row.grammar.answer().clone(),
            well_formed: !row.grammar.was_cut(),
            tokens: row.tokens,
            choices: row.choices,
            scores: None,
        };
        Ok(rows.into_iter().map(rollout).collect())
    }

    fn log_probs(&self, task: &Task, rollouts: &[Rollout], temperature: f32) -> Result<(Vec<f32>, Vec<f32>)> {
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

    fn gradients(
        &self,
        batch: &[(&Task, &[Rollout])],
        temperature: f32,
        loss: &mut dyn FnMut(Tensor<1>, Tensor<1>) -> Tensor<1>,
    ) -> Result<GradientsParams> {
        let (mut log_probs, mut entropies) = (Vec::new(), Vec::new());
        for (task, rollouts) in batch {
            let (some, more) = self.log_probs(task, rollouts, temperature)?;
            log_probs.extend(some);
            entropies.extend(more);
        }
        // The loss depends on the network through these numbers alone: what it says of them goes back pack by pack.
        let decoder = self.plain();
        let device = decoder.device();
        let leaf = |values: Vec<f32>| {
            let shape = [values.len()];
            Tensor::<1>::from_data(TensorData::new(values, shape), &device).autodiff().require_grad()
        };
        let (log_probs, entropies) = (leaf(log_probs), leaf(entropies));
        let mut sums = GradientsParams::new();
        let gradients = loss(log_probs.clone(), entropies.clone()).backward();
        let of = |leaf: &Tensor<1>| -> Vec<f32> {
            let gradient = leaf.grad(&gradients).unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like());
            gradient.into_data().iter::<f32>().collect()
        };
        let (of_log_probs, of_entropies) = (of(&log_probs), of(&entropies));
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
}

/// Gives each open row its next token: the one that the grammar forces, or one drawn by its sampler.
/// `states` is `[rows, 1, hidden_size]`.
fn choose(decoder: &Decoder, states: &Tensor<3>, rows: &mut [Row], temperature: f32) -> Result<()> {
    let mut open: Vec<(usize, Allowed)> = Vec::new();
    for (index, row) in rows.iter_mut().enumerate().filter(|(_, row)| !row.grammar.is_done()) {
        match row.grammar.allowed() {
            Allowed::Few(ids) if ids.len() == 1 => row.take(ids[0])?,
            allowed => open.push((index, allowed)),
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    let indices: Vec<i32> = open.iter().map(|(index, _)| *index as i32).collect();
    let indices: Tensor<1, Int> = Tensor::from_data(TensorData::new(indices, [open.len()]), &states.device());
    let logits = decoder.logits_of(states.clone().squeeze_dim::<2>(1).select(0, indices), None);
    let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
    for ((index, allowed), logits) in open.into_iter().zip(logits.chunks_exact(decoder.config().vocab_size)) {
        let row = &mut rows[index];
        // The grammar never allows nothing before its end, so there is always a token to pick.
        let Some(sampled) = row.sampler.sample(logits, &allowed) else {
            return Err(Error::BadModel("the answer's grammar allows no token that the model has".into()));
        };
        let log_prob = log_prob(logits, &allowed, sampled.token, temperature);
        row.choices.push(Choice { at: row.tokens.len(), allowed, log_prob });
        row.take(sampled.token)?;
    }
    Ok(())
}

/// The log-probability of a token under softmax(logits / temperature) over what is allowed.
fn log_prob(logits: &[f32], allowed: &Allowed, token: TokenId, temperature: f32) -> f32 {
    // Greedy answers have the probabilities of temperature 1.
    let temperature = if temperature > 0.0 { f64::from(temperature) } else { 1.0 };
    let logit =
        |id: TokenId| logits.get(id as usize).map_or(f64::NEG_INFINITY, |logit| f64::from(*logit) / temperature);
    let mut most = f64::NEG_INFINITY;
    allowed.for_each(|id| most = most.max(logit(id)));
    let mut sum = 0.0;
    allowed.for_each(|id| sum += (logit(id) - most).exp());
    (logit(token) - most - sum.ln()) as f32
}
