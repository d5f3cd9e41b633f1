//! How a decoder reads: the policy's segment once for each policy, forked for every request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Tensor;

use super::answering::{Answering, Readout};
use super::grammars::Grammars;
use super::known;
use super::pass::{PASS, fits, read_numbers};
use super::reader::{CausalLm, Logits, Reader};
use super::writer::Writer;
use crate::bundle::{KnownCase, KnownStep, Manifest, Weights};
use crate::conversation::{Conversation, Target};
use crate::error::{Error, Result};
use crate::grammar::{Allowed, Grammar, Think};
use crate::model::{Decoder, DecoderConfig, KvCache};
use crate::normalise::Disguise;
use crate::policy::Policy;
use crate::prompt::{self, SegmentKind, Template};
use crate::sampling::Sampling;
use crate::tokenizer::{TokenId, Tokenizer};

/// Policies whose prefix is kept, the latest used last.
const KEPT_PREFIXES: usize = 4;
/// Room for an answer without reasoning: a verdict and the ids of every category that a policy can have.
const SHORT_ANSWER: usize = 1024;

/// A decoder, the prefixes it has read, and the grammars of its answers.
pub struct DecoderEngine {
    decoder: Decoder,
    template: Template,
    system: Option<String>,
    grammars: Grammars,
    prefixes: Mutex<Vec<Prefix>>,
}

struct Prefix {
    tokens: Vec<TokenId>,
    cache: KvCache,
}

/// A prompt on its way through a decoder.
pub struct Scan<'e> {
    engine: &'e DecoderEngine,
    /// The policy's tokens, so many of them, then the conversation's.
    tokens: Vec<TokenId>,
    prefix: usize,
    answering: Answering,
    thought: Option<Grammar>,
    unreadable: f32,
    cached: usize,
    /// `None` while a step is made, and after one that failed.
    stage: Option<Stage<'e>>,
}

enum Stage<'e> {
    Ready {
        quick: Grammar,
        capacity: usize,
    },
    Reading {
        quick: Grammar,
        cache: KvCache,
    },
    /// The prompt as it was read, and the answer that is written behind it.
    Writing(Box<(Reader<'e>, Writer<'e>)>),
}

impl DecoderEngine {
    /// The weights are read once it is known that the rest makes sense.
    pub async fn load(
        manifest: &Manifest,
        tokenizer: &Tokenizer,
        weights: impl Future<Output = Result<Weights>>,
    ) -> Result<Self> {
        let mut config = DecoderConfig::from_json(&manifest.config.to_string())?;
        if let Some(generation) = &manifest.generation {
            config = config.with_generation_config(&generation.to_string())?;
        }
        fits(tokenizer, config.vocab_size)?;
        let mut weights = weights.await?;
        let decoder = Decoder::load(&config, &mut weights)?;
        weights.finish()?;
        let (template, system) = (manifest.template, manifest.system.clone());
        Ok(Self { decoder, template, system, grammars: Grammars::new(template), prefixes: Mutex::new(Vec::new()) })
    }

    pub fn template(&self) -> Template {
        self.template
    }

    /// Prepares to read the prompt behind the policy's cached prefix and to write the answer that needs no reasoning.
    pub fn scan(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        conversation: &Conversation,
        answering: Answering,
    ) -> Result<Scan<'_>> {
        conversation.validate()?;
        let limit = self.decoder.config().max_position_embeddings;
        // Before the template copies them.
        tokenizer.refuse_longer(conversation.messages.iter().map(|message| message.content.as_str()), limit)?;
        let (tokens, prefix) = self.prompt(tokenizer, policy, conversation)?;

        let grammar = |think| self.grammars.of(tokenizer, &policy.categories, conversation.target, think);
        let quick = grammar(Think::Skip)?;
        let thought = match self.template {
            Template::Rsafe if answering.reasoning_tokens > 0 => {
                Some(grammar(Think::First { max_tokens: answering.reasoning_tokens })?)
            }
            _ => None,
        };
        let room = thought.iter().map(Grammar::max_len).fold(quick.max_len().min(SHORT_ANSWER), usize::max);
        if tokens.len() >= limit {
            return Err(Error::ContextLength { needed: tokens.len(), limit });
        }
        let capacity = (tokens.len() + room).min(limit);
        let stage = Some(Stage::Ready { quick, capacity });
        let judged = &conversation.messages[conversation.target_index()?].content;
        let unreadable = Disguise::of(judged, tokenizer).unreadable;
        Ok(Scan { engine: self, tokens, prefix, answering, thought, unreadable, cached: 0, stage })
    }

    fn prefixes(&self) -> MutexGuard<'_, Vec<Prefix>> {
        // A poisoned lock holds whole prefixes still: they are only ever pushed and moved.
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cache of that capacity, which holds the policy's tokens if they were read before.
    fn begun(&self, policy: &[TokenId], capacity: usize) -> Result<KvCache> {
        let mut prefixes = self.prefixes();
        let found = prefixes.iter().position(|prefix| !policy.is_empty() && prefix.tokens == policy);
        let Some(at) = found else { return self.decoder.new_cache(capacity) };
        let prefix = prefixes.remove(at);
        let cache = prefix.cache.fork(capacity);
        prefixes.push(prefix);
        cache
    }

    /// Keeps a cache that holds the policy's tokens and no others.
    fn keep(&self, policy: &[TokenId], cache: &KvCache) -> Result<()> {
        let prefix = Prefix { tokens: policy.to_vec(), cache: cache.fork(policy.len())? };
        let mut prefixes = self.prefixes();
        prefixes.retain(|older| older.tokens != policy);
        prefixes.push(prefix);
        if prefixes.len() > KEPT_PREFIXES {
            prefixes.remove(0);
        }
        Ok(())
    }

    /// The prompt's tokens, and how many of them, at its beginning, are the policy's.
    fn prompt(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        conversation: &Conversation,
    ) -> Result<(Vec<TokenId>, usize)> {
        let segments = self.template.segments(self.system.as_deref(), policy, conversation)?;
        let encoded = prompt::encode(&segments, tokenizer)?;
        let (policy_part, rest): (Vec<_>, Vec<_>) =
            encoded.segments.iter().partition(|segment| segment.kind == SegmentKind::Policy);
        let prefix = policy_part.iter().map(|segment| segment.tokens.len()).sum();
        Ok((policy_part.iter().chain(&rest).flat_map(|segment| &segment.tokens).copied().collect(), prefix))
    }

    /// The values of a self-test's case: logits of the answer behind its prompt.
    pub async fn known(&self, tokenizer: &Tokenizer, policy: &Policy, case: &KnownCase) -> Result<KnownCase> {
        let (tokens, _) = self.prompt(tokenizer, policy, &case.conversation())?;
        let room: usize = case.answer.iter().map(|step| step.read.len()).sum();
        let mut cache = self.decoder.new_cache(tokens.len() + room)?;
        let states = self.decoder.extend(&tokens, &mut cache)?;
        let answer = known::answer(Reader::decoder(&self.decoder, cache, states), &case.answer).await?;
        Ok(KnownCase { answer, ..case.clone() })
    }

    /// Where the answer leaves its first choice, and behind one of the tokens that may be chosen.
    pub fn known_steps(&self, tokenizer: &Tokenizer, policy: &Policy, target: Target) -> Result<Vec<KnownStep>> {
        let mut answer = self.grammars.of(tokenizer, &policy.categories, target, Think::Skip)?;
        let forced = answer.forced();
        forced.iter().try_for_each(|&id| answer.consume(id).map(drop))?;
        let choices = match answer.allowed() {
            Allowed::Few(ids) => ids,
            Allowed::Mask(_) => Vec::new(),
        };
        let words: Vec<TokenId> = known::words(self.decoder.config().vocab_size).collect();
        let chosen: Vec<TokenId> = choices.first().copied().into_iter().collect();
        let next = choices.into_iter().chain(words.iter().copied()).collect();
        let step = |read, next| KnownStep { read, next, logits: Vec::new() };
        Ok(vec![step(forced, next), step(chosen, words)])
    }
}

impl<'e> Scan<'e> {
    /// How many tokens the prompt has.
    pub fn work(&self) -> usize {
        self.tokens.len()
    }

    /// Reads [`PASS`] tokens more, or writes a piece of the answer; whether there is more to do.
    pub async fn step(&mut self) -> Result<bool> {
        let over = || Error::BadInput("the conversation was not read to its end".into());
        match self.stage.take().ok_or_else(over)? {
            Stage::Ready { quick, capacity } => {
                let cache = self.engine.begun(&self.tokens[..self.prefix], capacity)?;
                self.cached = cache.len();
                self.read(quick, cache)?;
                Ok(true)
            }
            Stage::Reading { quick, cache } => {
                self.read(quick, cache)?;
                Ok(true)
            }
            Stage::Writing(mut stage) => {
                let written = stage.1.next().await;
                let more = matches!(written, Ok(Some(_)));
                if !(more || written.is_ok() && stage.1.is_sound()) {
                    // What the device got wrong once must not stay for the requests that follow.
                    self.engine.prefixes().clear();
                }
                written?;
                self.stage = Some(Stage::Writing(stage));
                Ok(more)
            }
        }
    }

    fn read(&mut self, quick: Grammar, mut cache: KvCache) -> Result<()> {
        let decoder = &self.engine.decoder;
        let start = cache.len();
        // A pause at the policy's end, so that its states can be kept.
        let until = if start < self.prefix { self.prefix } else { self.tokens.len() };
        let end = until.min(start + PASS);
        let states = decoder.extend(&self.tokens[start..end], &mut cache)?;
        if end == self.prefix {
            self.engine.keep(&self.tokens[..end], &cache)?;
        }
        self.stage = Some(if end < self.tokens.len() {
            Stage::Reading { quick, cache }
        } else {
            let reader = Reader::decoder(decoder, cache, states);
            let writer = Writer::new(reader.clone(), quick, Sampling::greedy());
            Stage::Writing(Box::new((reader, writer)))
        });
        Ok(())
    }

    /// What was read and answered, once there is no more to do.
    pub fn finish(self) -> Result<Readout<'e>> {
        let Some(Stage::Writing(stage)) = self.stage else {
            return Err(Error::BadInput("the conversation was not read to its end".into()));
        };
        let (reader, writer) = *stage;
        let score = writer.p_unsafe().unwrap_or(1.0);
        let reasons = self.answering.reasons(score);
        Ok(Readout {
            score,
            categories: Vec::new(),
            effects: Vec::new(),
            answer_score: Some(score),
            answer: writer.answer().clone(),
            prompt_tokens: self.tokens.len(),
            cached_tokens: self.cached,
            answer_tokens: writer.tokens(),
            unreadable: self.unreadable,
            reason: self.thought.filter(|_| reasons).map(|grammar| (reader, grammar)),
        })
    }
}

/// A decoder keeps nothing of its rows beside the cache.
#[derive(Clone, Copy)]
struct DecoderRows<'e>(&'e Decoder);

impl<'e> Reader<'e> {
    /// A decoder behind a cache, whose last tokens' states are `states`.
    pub fn decoder(decoder: &'e Decoder, cache: KvCache, states: Tensor<3>) -> Self {
        Self::new(DecoderRows(decoder), cache, states)
    }
}

impl<'e> CausalLm<'e> for DecoderRows<'e> {
    fn repeat(&self, _: usize) -> Box<dyn CausalLm<'e> + 'e> {
        Box::new(*self)
    }

    fn read(&mut self, rows: &[Vec<TokenId>], cache: &mut KvCache) -> Result<Tensor<3>> {
        self.0.extend(&rows.concat(), cache)
    }

    fn logits<'a>(&'a self, state: &'a Tensor<3>, wanted: &'a [(usize, Allowed)]) -> Logits<'a> {
        Box::pin(async move {
            let all = read_numbers(self.0.last_logits(state.clone())).await?;
            let width = all.len() / state.dims()[0];
            let logit = |row: usize, id: TokenId| {
                let known = (id as usize) < width;
                if known { all[row * width + id as usize] } else { f32::NAN }
            };
            let of =
                |(row, allowed): &(usize, Allowed)| allowed.ids().into_iter().map(|id| (id, logit(*row, id))).collect();
            Ok(wanted.iter().map(of).collect())
        })
    }
}

#[cfg(all(test, feature = "native"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::bundle::{Bundle, ConvertOptions, convert, save_manifest};
    use crate::policy::Category;
    use crate::verdict::Thresholds;

    #[test]
    fn what_a_device_got_wrong_is_not_kept() {
        pollster::block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let options = ConvertOptions { template: Some(Template::Rsafe), ..Default::default() };
            convert(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/qwen2-tied"), folder.path(), &options).unwrap();
            let mut manifest = Bundle::open(folder.path()).unwrap().manifest().clone();
            manifest.config["max_position_embeddings"] = 8192.into();
            save_manifest(folder.path(), &manifest).unwrap();
            let bundle = Bundle::open(folder.path()).unwrap();
            let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let device = Device::flex();
            let weights = bundle.weights(&device);
            let engine = DecoderEngine::load(bundle.manifest(), &tokenizer, weights).await.unwrap();
            let policy = Policy::new("house").category(Category::new("locks", "Lock picking"));
            let asked = async || {
                let answering = Answering {
                    reasoning_tokens: 0,
                    uncertain: None,
                    steps: Default::default(),
                    thresholds: Thresholds::default(),
                };
                let conversation = Conversation::prompt("How do I pick a lock?");
                let mut scan = engine.scan(&tokenizer, &policy, &conversation, answering).unwrap();
                while scan.step().await.unwrap() {}
                let readout = scan.finish().unwrap();
                (readout.score, readout.cached_tokens)
            };
            let (score, _) = asked().await;
            let shape = engine.decoder.config().cache_shape();
            let prefix = engine.prefixes()[0].tokens.len();
            let mut broken = engine.decoder.new_cache(prefix).unwrap();
            for layer in 0..shape.layers {
                let wrong = Tensor::full([1, shape.kv_heads, prefix, shape.head_dim], f32::NAN, &device);
                broken.write(layer, wrong.clone(), wrong);
            }
            broken.advance(prefix);
            engine.prefixes()[0].cache = broken;
            assert_eq!(asked().await, (1.0, prefix), "what is no number is not safe");
            assert_eq!(asked().await, (score, 0));
        });
    }
}
