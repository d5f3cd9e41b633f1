//! The answer always parses: whatever a model prefers, each grammar ends in bounds with a well-formed answer.

mod properties;
mod vocabulary;

use rsafe::Target;
use rsafe::grammar::{Allowed, Grammar, Mask, QuoteLength, QuoteSource, Think, VerdictChoice, Vocabulary, p_unsafe};
use rsafe::mini::answer::{SlotAnswer, SlotMarkers, SlotStep};
use rsafe::sampling::{Sampler, Sampling};
use rsafe::tokenizer::{Span, TokenId};
use rsafe::verdict::{Label, QuoteSpan};
use vocabulary::Toy;

/// Writes a text with the toy's own tokens and returns what was shown.
fn write(grammar: &mut Grammar, vocab: &Toy, text: &str) -> String {
    let tokens = vocab.encode_plain(text).unwrap();
    tokens.into_iter().map(|token| grammar.consume(token).unwrap()).collect()
}

fn follow(grammar: &mut Grammar) -> Vec<TokenId> {
    let forced = grammar.forced();
    for token in &forced {
        grammar.consume(*token).unwrap();
    }
    forced
}

fn slots<'a>(steps: &'a [SlotStep], text: &str, spans: &[Span], think: Think) -> SlotAnswer<'a> {
    SlotAnswer {
        vocab_size: 600,
        markers: MARKERS,
        opening: String::new(),
        steps,
        speaker: "user",
        source: QuoteSource::new(2, text, spans),
        quote: QuoteLength { min: 2, max: 4 },
        think,
        verdict: None,
    }
}

const MARKERS: SlotMarkers =
    SlotMarkers { think: 500, end_think: 501, safe: 502, unsafe_: 503, quote: 504, end_quote: 505, yes: 506, no: 507 };

fn step(category: &str, name: &str, header: TokenId) -> SlotStep {
    SlotStep {
        category: category.into(),
        name: name.into(),
        header: vec![header, header + 1],
        applies: None,
        finding: None,
    }
}

/// Words as tokens of one id each, letters' case ignored.
fn words(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut known: Vec<String> = Vec::new();
    let mut at = 0;
    for word in text.split(' ') {
        let lower = word.to_lowercase();
        let id = known.iter().position(|k| *k == lower).unwrap_or_else(|| {
            known.push(lower);
            known.len() - 1
        });
        spans.push(Span { id: id as TokenId, bytes: at..at + word.len() });
        at += word.len() + 1;
    }
    spans
}

#[test]
fn rsafe_forces_the_tags_and_reads_the_boxed_verdict() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::rsafe(&vocab, Think::First { max_tokens: 50 }, "<eos>").unwrap();
    assert_eq!(vocab.text(&follow(&mut grammar)), "<think>");
    assert_eq!(write(&mut grammar, &vocab, "\nA lock, "), "A lock,");
    assert_eq!(write(&mut grammar, &vocab, "so what?</think>"), " so what?");
    assert_eq!(vocab.text(&follow(&mut grammar)), "\n\\boxed{");
    let choice = grammar.verdict_choice().unwrap();
    assert_eq!((vocab.text(&choice.safe), vocab.text(&choice.unsafe_)), ("safe".into(), "unsafe".into()));
    grammar.consume(choice.unsafe_[0]).unwrap();
    assert_eq!(vocab.text(&follow(&mut grammar)), "}");
    assert!(grammar.is_done());
    assert_eq!(grammar.answer().verdict, Some(Label::Unsafe));
    assert_eq!(grammar.answer().reasoning, "A lock, so what?");
    assert!(grammar.allowed().is_empty());
}

#[test]
fn rsafe_answer_first_forces_empty_reasoning() {
    for (vocab, text) in [(Toy::plain(), "<think>\n</think>\n\\boxed{"), (Toy::with_tags(), "\n\n\\boxed{")] {
        let mut grammar = Grammar::rsafe(&vocab, Think::Skip, "<eos>").unwrap();
        assert_eq!(vocab.text(&follow(&mut grammar)), text);
        assert!(grammar.verdict_choice().is_some());
        assert!(grammar.answer().reasoning.is_empty());
    }
}

#[test]
fn whitespace_may_come_along_with_the_stop() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::rsafe(&vocab, Think::First { max_tokens: 50 }, "<eos>").unwrap();
    follow(&mut grammar);
    write(&mut grammar, &vocab, "ok</think");
    let close = vocab.encode_plain(">\n").unwrap();
    assert_eq!(close.len(), 1);
    grammar.consume(close[0]).unwrap();
    assert_eq!(vocab.text(&follow(&mut grammar)), "\\boxed{");
    assert_eq!(grammar.answer().reasoning, "ok");
}

#[test]
fn a_stop_that_does_not_come_is_shown_after_all() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::rsafe(&vocab, Think::First { max_tokens: 50 }, "<eos>").unwrap();
    follow(&mut grammar);
    assert_eq!(write(&mut grammar, &vocab, "a</thi"), "a");
    assert_eq!(write(&mut grammar, &vocab, "s"), "</this");
}

#[test]
fn reasoning_never_holds_markup_that_a_reader_would_take_for_the_verdict() {
    for vocab in [Toy::plain(), Toy::with_tags()] {
        let mut grammar = Grammar::rsafe(&vocab, Think::First { max_tokens: 50 }, "<eos>").unwrap();
        follow(&mut grammar);
        write(&mut grammar, &vocab, "\\boxe");
        let allowed = grammar.allowed();
        assert!(!allowed.contains(TokenId::from(b'd')));
        assert!(allowed.contains(TokenId::from(b's')));
        assert!(grammar.consume(TokenId::from(b'd')).is_err());
        assert_eq!(grammar.allowed(), allowed, "a refused token changes nothing");
        write(&mut grammar, &vocab, "s <thin");
        assert!(!grammar.allowed().contains(vocab.id("k>").unwrap()));
    }
}

#[test]
fn a_spent_budget_forces_the_stop() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::rsafe(&vocab, Think::First { max_tokens: 3 }, "<eos>").unwrap();
    follow(&mut grammar);
    write(&mut grammar, &vocab, "a<");
    assert!(!grammar.allowed().contains(0xc3), "there is no token left to complete a character");
    write(&mut grammar, &vocab, "b");
    assert_eq!(vocab.text(&follow(&mut grammar)), "</think>\n\\boxed{");
    assert_eq!(grammar.answer().reasoning, "a<b");
}

#[test]
fn characters_split_over_tokens_are_shown_whole() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::rsafe(&vocab, Think::First { max_tokens: 9 }, "<eos>").unwrap();
    follow(&mut grammar);
    let euro = "€".as_bytes();
    assert_eq!(grammar.consume(euro[0].into()).unwrap(), "");
    assert!(!grammar.allowed().contains(TokenId::from(b'a')));
    assert_eq!(grammar.consume(euro[1].into()).unwrap(), "");
    assert_eq!(grammar.consume(euro[2].into()).unwrap(), "€");
}

#[test]
fn llama_guard_names_each_category_of_the_policy_at_most_once() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::llama_guard(&vocab, &[("a", "S1"), ("b", "S10"), ("c", "S2")], "<eos>").unwrap();
    assert!(grammar.verdict_choice().is_some());
    write(&mut grammar, &vocab, "unsafe\nS1");
    assert!(grammar.answer().categories.is_empty(), "S1 may still become S10");
    write(&mut grammar, &vocab, "0");
    assert_eq!(grammar.answer().categories, ["b"]);
    write(&mut grammar, &vocab, ",S1");
    assert_eq!(grammar.answer().categories, ["b", "a"], "S10 is named already, so S1 is complete");
    write(&mut grammar, &vocab, ",");
    assert_eq!(vocab.text(&follow(&mut grammar)), "S2", "the last one left, then the end");
    assert!(grammar.is_done());
    assert_eq!(grammar.answer().categories, ["b", "a", "c"]);
}

#[test]
fn the_shorter_of_two_category_ids_can_end_the_answer() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::llama_guard(&vocab, &[("a", "S1"), ("b", "S10")], "<eos>").unwrap();
    write(&mut grammar, &vocab, "unsafe\nS1");
    grammar.consume(vocab.control("<eos>").unwrap()).unwrap();
    assert!(grammar.is_done());
    assert_eq!(grammar.answer().categories, ["a"]);
}

#[test]
fn qwen3guard_asks_for_a_category_unless_safe_and_for_refusal_in_responses() {
    let vocab = Toy::plain();
    let names = [("v", "Violent"), ("pii", "PII")];
    let mut grammar = Grammar::qwen3guard(&vocab, &names, Target::Response, "<eos>").unwrap();
    assert_eq!(vocab.text(&follow(&mut grammar)), "Safety: ");
    let fork = grammar.clone();
    write(&mut grammar, &vocab, "Controversial\nCategories: PII, Violent\nRefusal: Yes");
    follow(&mut grammar);
    let answer = grammar.answer();
    assert_eq!((answer.verdict, answer.refusal), (Some(Label::Controversial), Some(true)));
    assert_eq!(answer.categories, ["pii", "v"]);
    let mut grammar = fork;
    write(&mut grammar, &vocab, "Safe");
    assert_eq!(vocab.text(&follow(&mut grammar)), "\nCategories: None\nRefusal: ");
}

#[test]
fn categories_written_alike_are_refused() {
    let error = Grammar::llama_guard(&Toy::plain(), &[("a", "S1"), ("b", "S1")], "<eos>").unwrap_err();
    assert_eq!(error.code(), "bad_input");
    let error = Grammar::llama_guard(&Toy::plain(), &[("a", "S1")], "<|eot_id|>").unwrap_err();
    assert!(error.to_string().contains("<|eot_id|>"), "{error}");
}

#[test]
fn slots_read_as_sentences_with_names_and_quotes_in_their_own_letters() {
    let text = "How to pick a Lock and a lock again";
    let steps = [step("S1", "Weapons & Tools", 300), step("S2", "Fraud", 310)];
    let mut grammar = slots(&steps, text, &words(text), Think::First { max_tokens: 0 }).grammar().unwrap();
    assert_eq!(follow(&mut grammar), [500, 300, 301]);
    assert_eq!(grammar.consume(506).unwrap(), " applies");
    assert_eq!(follow(&mut grammar), [504]);
    let (a, lock, and) = (3, 4, 5);
    assert_eq!(grammar.consume(a).unwrap(), "a");
    assert!(!grammar.allowed().contains(505), "shorter than the shortest quote");
    assert_eq!(grammar.consume(lock).unwrap(), "", "it stands twice, in different letters");
    assert_eq!(grammar.consume(and).unwrap(), " Lock and");
    assert_eq!(grammar.consume(505).unwrap(), "\".");
    follow(&mut grammar);
    grammar.consume(507).unwrap();
    assert_eq!(follow(&mut grammar), [501]);
    assert_eq!(
        grammar.verdict_choice().unwrap(),
        VerdictChoice { safe: vec![502], unsafe_: vec![503], controversial: vec![] }
    );
    grammar.consume(503).unwrap();
    assert!(grammar.is_done());
    let answer = grammar.answer();
    assert_eq!(
        answer.reasoning,
        "Weapons & Tools: applies because the user says \"a Lock and\". Fraud: does not apply."
    );
    assert_eq!(answer.categories, ["S1"]);
    assert_eq!(answer.steps[0].quote, Some(QuoteSpan { message: 2, bytes: 12..22 }));
    assert_eq!(answer.steps[1].quote, None);
}

#[test]
fn a_quote_begins_where_it_can_be_long_enough_or_is_all_there_is() {
    let opened = |text: &str| {
        let applies = [SlotStep { applies: Some(true), ..step("S1", "Weapons & Tools", 300) }];
        let mut grammar = slots(&applies, text, &words(text), Think::First { max_tokens: 0 }).grammar().unwrap();
        follow(&mut grammar);
        grammar
    };
    assert_eq!(opened("How to pick a Lock").allowed(), Allowed::Few(vec![0, 1, 2, 3]), "two words at least");
    assert_eq!(opened("Lock").answer().steps[0].quote, Some(QuoteSpan { message: 2, bytes: 0..4 }));
}

#[test]
fn slots_answer_first_is_the_verdict_alone() {
    let grammar = slots(&[step("S1", "Fraud", 300)], "hi", &words("hi"), Think::Skip).grammar().unwrap();
    assert_eq!(grammar.allowed(), Allowed::Few(vec![502, 503]));
    assert!(grammar.verdict_choice().is_some());
    assert_eq!(grammar.max_len(), 1);
}

#[test]
fn an_empty_message_is_not_quoted() {
    let steps = [step("S1", "Fraud", 300)];
    let mut grammar = slots(&steps, "", &[], Think::First { max_tokens: 0 }).grammar().unwrap();
    follow(&mut grammar);
    grammar.consume(506).unwrap();
    assert_eq!(follow(&mut grammar), [501]);
    assert_eq!(grammar.answer().reasoning, "Fraud: applies.");
}

#[test]
fn p_unsafe_is_a_softmax_over_the_verdict_tokens_and_fails_closed() {
    let choice = VerdictChoice { safe: vec![1], unsafe_: vec![3], controversial: vec![] };
    let p = |safe, unsafe_| p_unsafe(&[90.0, safe, 90.0, unsafe_], &choice);
    assert_eq!(p(0.0, 0.0), 0.5);
    assert!((p(0.0, 1.0) - 0.731_058_6).abs() < 1e-6);
    assert_eq!(p(-3e38, 3e38), 1.0);
    assert_eq!(p(3e38, -3e38), 0.0);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(p(bad, 0.0), 1.0);
        assert_eq!(p(0.0, bad), 1.0);
    }
    assert_eq!(p_unsafe(&[0.0], &choice), 1.0, "logits that do not reach the verdict tokens");
    let three = VerdictChoice { safe: vec![0], controversial: vec![1], unsafe_: vec![2] };
    assert!((p_unsafe(&[0.0; 3], &three) - 0.5).abs() < 1e-6);
}

#[test]
fn the_mask_and_the_list_of_allowed_tokens_agree() {
    let vocab = Toy::plain();
    let mut grammar = Grammar::rsafe(&vocab, Think::First { max_tokens: 5 }, "<eos>").unwrap();
    while !grammar.is_done() {
        let mut listed = Mask::new(vocab.bytes().len());
        grammar.allowed().for_each(|id| listed.insert(id));
        assert_eq!(*grammar.compute_mask(), listed);
        let next = listed.iter().last().unwrap();
        grammar.consume(next).unwrap();
    }
}

#[test]
fn a_seed_gives_the_same_tokens_again_and_log_probabilities_of_what_was_drawn() {
    let allowed = Allowed::Few(vec![0, 1, 2, 3]);
    let logits = [1.0, 2.0, 3.0, -4.0];
    let draw = |seed| {
        let mut sampler = Sampler::new(Sampling::rsafe(seed));
        (0..32).map(|_| sampler.sample(&logits, &allowed).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    // At temperature 0.7 tokens 2 and 1 hold the first 0.8 of the mass; the draw is between them.
    let odds = (1.0f64 / 0.7).exp();
    for sampled in draw(7) {
        let p = if sampled.token == 2 { odds / (odds + 1.0) } else { 1.0 / (odds + 1.0) };
        assert!(sampled.token == 1 || sampled.token == 2);
        assert!((f64::from(sampled.log_prob) - p.ln()).abs() < 1e-5, "{sampled:?}");
    }
}

#[test]
fn top_k_draws_from_so_many_tokens_and_from_all_of_them() {
    let logits = [2.0, 2.5, 2.4, 2.3, 9.0];
    let total = 2.5f64.exp() + 2.4f64.exp();
    let sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: Some(2), repetition_penalty: 1.0, seed: 7 };
    let mut sampler = Sampler::new(sampling);
    let allowed = Allowed::Few(vec![0, 1, 2, 3]);
    let drawn: Vec<_> = (0..64).map(|_| sampler.sample(&logits, &allowed).unwrap()).collect();
    for token in [1, 2] {
        assert!(drawn.iter().any(|sampled| sampled.token == token), "{token} is one of the two likeliest");
    }
    for sampled in drawn {
        assert!(sampled.token == 1 || sampled.token == 2, "{sampled:?}");
        let p = f64::from(logits[sampled.token as usize]).exp() / total;
        assert!((f64::from(sampled.log_prob) - p.ln()).abs() < 1e-5, "{sampled:?}");
    }
}

#[test]
fn greedy_takes_the_likeliest_token_and_nan_the_lowest_allowed_id() {
    let mut sampler = Sampler::new(Sampling::greedy());
    let allowed = Allowed::Few(vec![1, 2, 3]);
    assert_eq!(sampler.sample(&[9.0, 1.0, 5.0, 5.0], &allowed).unwrap().token, 2);
    assert_eq!(sampler.sample(&[9.0, f32::NAN, 5.0, f32::INFINITY], &allowed).unwrap().token, 3);
    assert_eq!(sampler.sample(&[f32::NAN; 4], &allowed).unwrap().token, 1);
    assert_eq!(sampler.sample(&[], &allowed).unwrap().token, 1);
    assert_eq!(sampler.sample(&[0.0; 4], &Allowed::Few(vec![])), None);
    let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..Sampling::greedy() });
    sampler.observe(&[2]);
    assert_eq!(sampler.sample(&[0.0, 3.0, 5.0, 1.0], &allowed).unwrap().token, 1);
}

#[test]
fn a_step_whose_answer_is_decided_leaves_the_model_only_the_quote() {
    let text = "How to pick a Lock";
    let decided = |applies| [SlotStep { applies: Some(applies), ..step("S1", "Weapons & Tools", 300) }];
    let grammar = |steps: &[SlotStep]| {
        let mut grammar = slots(steps, text, &words(text), Think::First { max_tokens: 0 }).grammar().unwrap();
        let forced = follow(&mut grammar);
        (grammar, forced)
    };
    let (applies, forced) = grammar(&decided(true));
    assert_eq!(forced, [500, 300, 301, 506, 504]);
    assert!(applies.allowed().contains(0), "any word of the message may open the quote");
    let (absent, forced) = grammar(&decided(false));
    assert_eq!(forced, [500, 300, 301, 507, 501]);
    assert_eq!(absent.answer().reasoning, "Weapons & Tools: does not apply.");
}
