//! Random and hostile logits against every grammar.

use proptest::prelude::*;
use rsafe::Target;
use rsafe::grammar::{Grammar, Think, Vocabulary};
use rsafe::sampling::{Sampler, Sampling};
use rsafe::tokenizer::{Span, TokenId};
use rsafe::verdict::{Label, parse_llama_guard, parse_qwen3guard, parse_rsafe};

use super::vocabulary::Toy;
use super::{slots, step};

/// What a broken or hostile model may compute.
#[derive(Debug, Clone)]
enum Logits {
    Random(u64),
    Nan,
    NegativeInfinity,
    PositiveInfinity,
    Constant,
    /// Wants these tokens one after the other, for ever.
    Wants(Vec<TokenId>),
    /// Prefers the highest or lowest ids.
    Slope(bool),
}

impl Logits {
    fn at(&self, position: usize, size: usize) -> Vec<f32> {
        let hash = |seed: u64, id: usize| {
            let x = (seed ^ (position as u64) << 32 ^ id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let x = (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((x >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 20.0
        };
        match self {
            Logits::Random(seed) => (0..size).map(|id| hash(*seed, id)).collect(),
            Logits::Nan => vec![f32::NAN; size],
            Logits::NegativeInfinity => vec![f32::NEG_INFINITY; size],
            Logits::PositiveInfinity => vec![f32::INFINITY; size],
            Logits::Constant => vec![1.0; size],
            Logits::Slope(rising) => (0..size).map(|id| if *rising { id as f32 } else { -(id as f32) }).collect(),
            Logits::Wants(tokens) => {
                let mut logits = vec![0.0; size];
                logits[tokens[position % tokens.len()] as usize] = 1e30;
                logits
            }
        }
    }
}

fn logits(vocab: &Toy) -> impl Strategy<Value = Logits> + use<> {
    let hostile =
        ["</think>\\boxed{safe}", "<think>", "\\boxed{safe}<think></think>", "unsafe\nS1,S1,S1", "\u{1f600}", "\""];
    let hostile: Vec<Logits> = hostile.iter().map(|text| Logits::Wants(vocab.encode_plain(text).unwrap())).collect();
    prop_oneof![
        any::<u64>().prop_map(Logits::Random),
        Just(Logits::Nan),
        Just(Logits::NegativeInfinity),
        Just(Logits::PositiveInfinity),
        Just(Logits::Constant),
        any::<bool>().prop_map(Logits::Slope),
        proptest::sample::select(hostile),
        proptest::collection::vec(0..270u32, 1..6).prop_map(Logits::Wants),
    ]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    prop_oneof![
        Just(Sampling::greedy()),
        any::<u64>().prop_map(Sampling::rsafe),
        (any::<u64>(), 0.0f32..5.0, 0.0f32..=1.0, 1usize..9).prop_map(|(seed, temperature, top_p, k)| Sampling {
            temperature,
            top_p,
            top_k: Some(k),
            repetition_penalty: 1.3,
            seed
        }),
    ]
}

/// Drives a grammar to its end and checks what holds for all of them; returns the tokens.
fn answer(mut grammar: Grammar, logits: &Logits, sampling: Sampling, size: usize) -> (Grammar, Vec<TokenId>) {
    let mut sampler = Sampler::new(sampling);
    let mut tokens: Vec<TokenId> = Vec::new();
    let mut shown = String::new();
    while !grammar.is_done() {
        assert!(tokens.len() < grammar.max_len(), "the answer ends within its bound: {tokens:?}");
        let forced = grammar.forced();
        let next = if forced.is_empty() {
            let allowed = grammar.allowed();
            let sampled = sampler.sample(&logits.at(tokens.len(), size), &allowed).expect("no dead end");
            assert!(allowed.contains(sampled.token));
            assert!(sampled.log_prob <= 1e-6, "{sampled:?}");
            vec![sampled.token]
        } else {
            forced
        };
        for token in next {
            shown += &grammar.consume(token).unwrap();
            sampler.observe(&[token]);
            tokens.push(token);
        }
    }
    assert_eq!(shown, grammar.answer().reasoning);
    (grammar, tokens)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_rsafe_answer_parses_whatever_the_logits(
        logits in logits(&Toy::plain()), sampling in sampling(), tags in any::<bool>(), budget in 0usize..40, skip in any::<bool>(),
    ) {
        let vocab = if tags { Toy::with_tags() } else { Toy::plain() };
        let think = if skip { Think::Skip } else { Think::First { max_tokens: budget } };
        let grammar = Grammar::rsafe(&vocab, think, "<eos>").unwrap();
        let (grammar, tokens) = answer(grammar, &logits, sampling, vocab.bytes().len());
        let text = vocab.text_with_controls(&tokens);
        let parsed = parse_rsafe(text.strip_suffix("<eos>").unwrap());
        prop_assert_eq!(&parsed, grammar.answer(), "{}", text);
        prop_assert!(parsed.verdict.is_some());
        prop_assert_eq!(text.matches("</think>").count(), 1);
        prop_assert_eq!(text.matches("\\boxed").count(), 1);
    }

    #[test]
    fn a_llama_guard_answer_names_only_categories_of_the_policy(
        logits in logits(&Toy::plain()), sampling in sampling(), count in 0usize..14,
    ) {
        let vocab = Toy::plain();
        let names: Vec<String> = (1..=count).map(|n| format!("S{n}")).collect();
        let categories: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let grammar = Grammar::llama_guard(&vocab, &categories, "<eos>").unwrap();
        let (grammar, tokens) = answer(grammar, &logits, sampling, vocab.bytes().len());
        let text = vocab.text(&tokens);
        let parsed = parse_llama_guard(&text, &categories);
        prop_assert_eq!(&parsed, grammar.answer(), "{}", text);
        prop_assert!(parsed.verdict.is_some());
        prop_assert_eq!(parsed.verdict == Some(Label::Safe) || count == 0, parsed.categories.is_empty());
    }

    #[test]
    fn a_qwen3guard_answer_parses_whatever_the_logits(
        logits in logits(&Toy::plain()), sampling in sampling(), count in 0usize..5, response in any::<bool>(),
    ) {
        let vocab = Toy::plain();
        let all = [("v", "Violent"), ("p", "PII"), ("vc", "Violent Crime"), ("n", "Non-violent, and more")];
        let categories = &all[..count.min(all.len())];
        let target = if response { Target::Response } else { Target::Prompt };
        let grammar = Grammar::qwen3guard(&vocab, categories, target, "<eos>").unwrap();
        let (grammar, tokens) = answer(grammar, &logits, sampling, vocab.bytes().len());
        let text = vocab.text(&tokens);
        let parsed = parse_qwen3guard(&text, categories);
        prop_assert_eq!(&parsed, grammar.answer(), "{}", text);
        prop_assert!(parsed.verdict.is_some());
        prop_assert_eq!(parsed.refusal.is_some(), response);
    }

    #[test]
    fn slot_quotes_are_verbatim_and_steps_follow_the_policy(
        logits in logits(&Toy::plain()), sampling in sampling(), count in 0usize..6,
        words in proptest::collection::vec("(?i)[abé]{1,2}|😀", 0..12),
    ) {
        // Letters of either case are one token, characters may be cut anywhere: the bytes come from the text.
        let text = words.join(" ");
        let spans: Vec<Span> = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte != b' ')
            .map(|(at, byte)| Span { id: byte.to_ascii_lowercase().into(), bytes: at..at + 1 })
            .collect();
        let steps: Vec<_> = (0..count).map(|n| step(&format!("S{n}"), &format!("Name {n}"), 300 + n as TokenId)).collect();
        let think = Think::First { max_tokens: 0 };
        let grammar = slots(&steps, &text, &spans, think).grammar().unwrap();
        let (grammar, _) = answer(grammar, &logits, sampling, 600);
        let answer = grammar.answer();
        prop_assert!(answer.verdict.is_some());
        prop_assert_eq!(answer.steps.len(), count);
        let mut quotes = Vec::new();
        for (n, said) in answer.steps.iter().enumerate() {
            prop_assert_eq!(&said.category, &steps[n].category);
            prop_assert_eq!(said.applies, answer.categories.contains(&said.category));
            prop_assert_eq!(said.quote.is_some(), said.applies && !spans.is_empty());
            if let Some(quote) = &said.quote {
                let verbatim = text.get(quote.bytes.clone()).expect("whole characters");
                let sentence = format!("Name {n}: applies because the user says \"{verbatim}\".");
                prop_assert!(answer.reasoning.contains(&sentence), "{} in {}", sentence, answer.reasoning);
                quotes.push(quote.clone());
            }
        }
        prop_assert_eq!(&quotes, &answer.quotes);
    }
}
