//! How a decoder reads: the policy's segment once for each policy, forked for every request.

use std::sync::Mutex;

use burn::tensor::Device;

use super::reader::Reader;
use super::writer::Writer;
use super::{Reading, fits, known};
use crate::bundle::{Bundle, KnownCase, KnownStep};
use crate::grammar::{Allowed, Grammar, Think};
use crate::model::{Decoder, DecoderConfig, KvCache};
use crate::normalise::Disguise;
use crate::prompt::{self, EncodedSegment, SegmentKind, Template};
use crate::sampling::Sampling;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::{Category, Conversation, Error, Policy, Result, Target};

/// Policies whose prefix is kept, the latest used last.
const KEPT_PREFIXES: usize = 4;
/// Room for an answer without reasoning: a verdict and the ids of every category that a policy can have.
const SHORT_ANSWER: usize = 1024;

/// A decoder and the prefixes it has read.
pub struct DecoderEngine {
    decoder: Decoder,
    template: Template,
    prefixes: Mutex<Vec<Prefix>>,
}

struct Prefix {
    tokens: Vec<TokenId>,
    cache: KvCache,
}

impl DecoderEngine {
    pub async fn load(bundle: &Bundle, template: Template, tokenizer: &Tokenizer, device: &Device) -> Result<Self> {
        let manifest = bundle.manifest();
        let mut config = DecoderConfig::from_json(&manifest.config.to_string())?;
        if let Some(generation) = &manifest.generation {
            config = config.with_generation_config(&generation.to_string())?;
        }
        fits(tokenizer, config.vocab_size)?;
        let mut weights = bundle.weights(device).await?;
        let decoder = Decoder::load(&config, &mut weights)?;
        weights.finish()?;
        Ok(Self { decoder, template, prefixes: Mutex::new(Vec::new()) })
    }

    /// Prefills the prompt behind the policy's cached prefix and writes the answer that needs no reasoning.
    pub async fn read(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        conversation: &Conversation,
        reasoning_tokens: usize,
    ) -> Result<Reading<'_>> {
        conversation.validate()?;
        let (prefix, rest) = self.prompt(tokenizer, policy, conversation)?;
        let prompt_tokens = prefix.len() + rest.len();

        let grammar = |think| grammar(self.template, tokenizer, &policy.categories, conversation.target, think);
        let quick = grammar(Think::Skip)?;
        let thought = match self.template {
            Template::Rsafe if reasoning_tokens > 0 => {
                let think = Think::First { max_tokens: reasoning_tokens };
                Some(grammar(think)?)
            }
            _ => None,
        };
        let room = thought.iter().map(Grammar::max_len).fold(quick.max_len().min(SHORT_ANSWER), usize::max);
        let limit = self.decoder.config().max_position_embeddings;
        let capacity = (prompt_tokens + room).min(limit);
        if prompt_tokens >= limit {
            return Err(Error::ContextLength { needed: prompt_tokens, limit });
        }
        let (cache, cached_tokens) = self.prefix(&prefix, capacity)?;
        let reader = Reader::decoder(&self.decoder, cache, &rest)?;
        let mut writer = Writer::new(reader.clone(), quick, Sampling::greedy());
        let finished = writer.finish().await;
        let score = writer.p_unsafe().unwrap_or(1.0);
        if finished.is_err() || !score.is_finite() {
            // What the device got wrong once must not stay for the requests that follow.
            self.forget();
        }
        finished?;
        Ok(Reading {
            score,
            categories: Vec::new(),
            answer_score: Some(score),
            answer: writer.answer().clone(),
            prompt_tokens,
            cached_tokens,
            answer_tokens: writer.tokens(),
            unreadable: Disguise::of(&conversation.messages[conversation.target_index()?].content, tokenizer)
                .unreadable,
            reason: thought.map(|grammar| (reader, grammar)),
        })
    }

    /// The tokens of the policy, and those of what follows it.
    fn prompt(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        conversation: &Conversation,
    ) -> Result<(Vec<TokenId>, Vec<TokenId>)> {
        let encoded = prompt::encode(&self.template.segments(policy, conversation)?, tokenizer)?;
        let (policy_part, rest): (Vec<_>, Vec<_>) =
            encoded.segments.into_iter().partition(|segment| segment.kind == SegmentKind::Policy);
        let tokens = |segments: Vec<EncodedSegment>| segments.into_iter().flat_map(|segment| segment.tokens).collect();
        Ok((tokens(policy_part), tokens(rest)))
    }

    /// A fork of the cache behind the policy's tokens, and how many of them it held before.
    fn prefix(&self, tokens: &[TokenId], capacity: usize) -> Result<(KvCache, usize)> {
        if tokens.is_empty() {
            return Ok((self.decoder.new_cache(capacity)?, 0));
        }
        // A poisoned lock holds whole prefixes still: they are only ever pushed and moved.
        let lock = || self.prefixes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut prefixes = lock();
        if let Some(at) = prefixes.iter().position(|prefix| prefix.tokens == tokens) {
            let prefix = prefixes.remove(at);
            let cache = prefix.cache.fork(capacity)?;
            prefixes.push(prefix);
            return Ok((cache, tokens.len()));
        }
        drop(prefixes);
        let mut cache = self.decoder.new_cache(tokens.len())?;
        self.decoder.extend(tokens, &mut cache)?;
        let fork = cache.fork(capacity)?;
        let mut prefixes = lock();
        prefixes.push(Prefix { tokens: tokens.to_vec(), cache });
        if prefixes.len() > KEPT_PREFIXES {
            prefixes.remove(0);
        }
        Ok((fork, 0))
    }

    /// The values of a self-test's case: logits of the answer behind its prompt.
    pub async fn known(&self, tokenizer: &Tokenizer, policy: &Policy, case: &KnownCase) -> Result<KnownCase> {
        let (prefix, rest) = self.prompt(tokenizer, policy, &case.conversation())?;
        let room: usize = case.answer.iter().map(|step| step.read.len()).sum();
        let (cache, _) = self.prefix(&prefix, prefix.len() + rest.len() + room)?;
        let answer = known::answer(Reader::decoder(&self.decoder, cache, &rest)?, &case.answer).await?;
        self.forget();
        Ok(KnownCase { answer, ..case.clone() })
    }

    /// Where the answer leaves its first choice, and behind one of the tokens that may be chosen.
    pub fn known_steps(&self, tokenizer: &Tokenizer, policy: &Policy, target: Target) -> Result<Vec<KnownStep>> {
        let answer = grammar(self.template, tokenizer, &policy.categories, target, Think::Skip)?;
        let forced = answer.forced();
        let mut chosen = answer;
        forced.iter().try_for_each(|&id| chosen.consume(id).map(drop))?;
        let choices = match chosen.allowed() {
            Allowed::Few(ids) => ids,
            Allowed::Mask(_) => Vec::new(),
        };
        let words: Vec<TokenId> = known::words(self.decoder.config().vocab_size).collect();
        let second =
            KnownStep { read: choices.first().copied().into_iter().collect(), next: words.clone(), logits: Vec::new() };
        let next = choices.into_iter().chain(words).collect();
        Ok(vec![KnownStep { read: forced, next, logits: Vec::new() }, second])
    }

    /// Lets go of every policy that was read.
    fn forget(&self) {
        self.prefixes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }
}

/// The grammar of a template's answers about these categories.
pub(crate) fn grammar(
    template: Template,
    tokenizer: &Tokenizer,
    categories: &[Category],
    target: Target,
    think: Think,
) -> Result<Grammar> {
    let named: Vec<(&str, &str)> = categories.iter().map(|c| (c.id.as_str(), c.name.as_str())).collect();
    match template {
        Template::Rsafe => Grammar::rsafe(tokenizer, think, "<|im_end|>"),
        Template::Qwen3guard => Grammar::qwen3guard(tokenizer, &named, target, "<|im_end|>"),
        Template::LlamaGuard3 => {
            let ids: Vec<(&str, &str)> = named.iter().map(|(id, _)| (*id, *id)).collect();
            Grammar::llama_guard(tokenizer, &ids, "<|eot_id|>")
        }
        Template::Slots => Err(Error::BadModel("the template `slots` is not a decoder's".into())),
    }
}
