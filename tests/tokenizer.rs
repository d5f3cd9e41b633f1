//! Promises of the tokenizer: parity with the reference, byte offsets, and that text never becomes a control token.

use std::io::Read;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use rsafe::Error;
use rsafe::tokenizer::{StreamDecoder, Tokenizer};
use serde::Deserialize;

pub const TINY: &[u8] = include_bytes!("golden/tokenizers/tiny.json");

#[derive(Deserialize)]
struct Vector {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

pub fn qwen2() -> Tokenizer {
    Tokenizer::from_bytes(&gunzip(include_bytes!("golden/tokenizers/qwen2.json.gz"))).unwrap()
}

fn gpt2() -> Tokenizer {
    Tokenizer::from_bytes(&gunzip(include_bytes!("golden/tokenizers/gpt2.json.gz"))).unwrap()
}

fn tiny() -> Tokenizer {
    Tokenizer::from_bytes(TINY).unwrap()
}

/// The file of a BERT-like tokenizer with a handful of words.
fn bert_file() -> serde_json::Value {
    let words = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "how", "to", "pick", "a", "lock", "cafe", "##s", "漢", "字", ".",
        ",", "[", "]", "un", "##k",
    ];
    let vocab: serde_json::Map<_, _> = words.iter().enumerate().map(|(id, word)| ((*word).into(), id.into())).collect();
    let added: Vec<_> = (0..5)
        .map(|id| serde_json::json!({"id": id, "content": words[id], "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}))
        .collect();
    serde_json::json!({
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

fn bert() -> Tokenizer {
    Tokenizer::from_bytes(bert_file().to_string().as_bytes()).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text).unwrap().into_iter().map(|span| span.id).collect()
}

fn quotes<'t>(tokenizer: &Tokenizer, text: &'t str) -> Vec<&'t str> {
    tokenizer.encode(text).unwrap().into_iter().map(|span| &text[span.bytes]).collect()
}

fn parity(tokenizer: &Tokenizer, vectors: &[u8]) {
    let vectors = String::from_utf8(gunzip(vectors)).unwrap();
    let mut count = 0;
    for line in vectors.lines() {
        let vector: Vector = serde_json::from_str(line).unwrap();
        count += 1;
        let controls = vector.ids.iter().filter(|id| tokenizer.is_control(**id)).count();
        if controls > 0 {
            // The reference reads control tokens out of the text; here they stay text.
            assert_eq!(tokenizer.decode(&ids(tokenizer, &vector.text)).unwrap(), vector.text);
            continue;
        }
        assert_eq!(ids(tokenizer, &vector.text), vector.ids, "{:?}", vector.text);
        assert_eq!(tokenizer.decode(&vector.ids).unwrap(), vector.decoded);
    }
    assert_eq!(count, 220);
}

#[test]
fn qwen2_text_encodes_and_decodes_as_in_the_reference() {
    parity(&qwen2(), include_bytes!("golden/tokenizers/qwen2.parity.jsonl.gz"));
}

#[test]
fn gpt2_text_encodes_and_decodes_as_in_the_reference() {
    parity(&gpt2(), include_bytes!("golden/tokenizers/gpt2.parity.jsonl.gz"));
}

#[test]
fn special_tokens_inside_the_vocabulary_stay_out_of_reach_of_text() {
    for ignore_merges in [false, true] {
        let mut file: serde_json::Value = serde_json::from_slice(TINY).unwrap();
        file["model"]["ignore_merges"] = ignore_merges.into();
        let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
        assert_eq!(tokenizer.control_ids(), [0, 1, 2, 3, 4]);
        for name in ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"] {
            let control = tokenizer.control(name).unwrap();
            assert_eq!(tokenizer.token_bytes(control), b"");
            let ids = ids(&tokenizer, name);
            assert!(ids.iter().all(|id| !tokenizer.is_control(*id)), "{name}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), name);
        }
    }
}

#[test]
fn merges_cannot_lead_to_an_added_token() {
    let mut file: serde_json::Value = serde_json::from_slice(TINY).unwrap();
    let (id, word) = (file["model"]["vocab"]["the"].clone(), "the");
    let id = if id.is_null() { file["model"]["vocab"]["he"].clone() } else { id };
    let word = if file["model"]["vocab"]["the"].is_null() { "he" } else { word };
    file["added_tokens"].as_array_mut().unwrap().push(serde_json::json!({"id": id, "content": word, "special": false}));
    let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
    let ids = ids(&tokenizer, "the theme");
    assert!(ids.iter().all(|id| !tokenizer.is_control(*id)));
    assert_eq!(tokenizer.decode(&ids).unwrap(), "the theme");
}

#[test]
fn the_name_of_an_added_token_is_out_of_reach_under_another_id_of_the_vocabulary_too() {
    for (mut file, word) in [(serde_json::from_slice(TINY).unwrap(), "he"), (bert_file(), "lock")] {
        let file: &mut serde_json::Value = &mut file;
        let shadowed = file["model"]["vocab"][word].as_u64().unwrap() as u32;
        let added = file["model"]["vocab"].as_object().unwrap().len() as u32 + 10;
        let token = serde_json::json!({"id": added, "content": word, "special": true});
        file["added_tokens"].as_array_mut().unwrap().push(token);
        let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
        assert_eq!(tokenizer.control(word).unwrap(), added);
        assert!(tokenizer.is_control(shadowed) && tokenizer.is_control(added), "{word}");
        assert_eq!(tokenizer.token_bytes(shadowed), b"", "nor does it spell anything");
        let ids = ids(&tokenizer, &format!("{word} and {word}s"));
        assert!(!ids.contains(&shadowed) && !ids.contains(&added), "{word}: {ids:?}");
    }
}

#[test]
fn a_token_that_splits_a_character_has_the_whole_character() {
    let text = "a🙂b";
    let tokenizer = tiny();
    assert!(tokenizer.encode(text).unwrap().len() > 3);
    assert!(quotes(&tokenizer, text).iter().all(|quote| "a🙂b".contains(quote) && !quote.is_empty()));
}

#[test]
fn wordpiece_spans_are_ranges_of_the_original() {
    let tokenizer = bert();
    let text = "How to PICK\u{200b} a  Lock, Cafés. 漢字 [UNK] [CLS]";
    let quotes = quotes(&tokenizer, text);
    assert_eq!(quotes[..8], ["How", "to", "PICK", "a", "Lock", ",", "Café", "s"]);
    assert_eq!(quotes[8..14], [".", "漢", "字", "[", "UN", "K"]);
    let ids = ids(&tokenizer, text);
    assert!(ids.iter().all(|id| !tokenizer.is_control(*id)));
    assert_eq!(tokenizer.decode(&ids[..7]).unwrap(), "how to pick a lock, cafe");
}

#[test]
fn wordpiece_reads_a_known_word_beside_a_foreign_character() {
    let tokenizer = bert();
    assert_eq!(quotes(&tokenizer, "🙂lock🙂 pickж"), ["🙂", "lock", "🙂", "pick", "ж"]);
    let long = "a".repeat(100_000);
    assert!(tokenizer.encode(&long).unwrap().len() >= 1000);
}

#[test]
fn a_file_does_not_say_how_long_the_longest_word_is() {
    let ids = |most: usize| {
        let file = include_bytes!("../models/rsafe-mini/tokenizer.json");
        let mut file: serde_json::Value = serde_json::from_slice(file).unwrap();
        file["model"]["max_input_chars_per_word"] = most.into();
        ids(&Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap(), &"pick".repeat(100))
    };
    assert_eq!(ids(1 << 20), ids(200));
}

#[test]
fn streaming_gives_the_same_text_as_decoding_at_once() {
    let tokenizer = tiny();
    let text = "Ünïcode, 漢字 and 🙂 included.";
    let ids = ids(&tokenizer, text);
    let mut stream = StreamDecoder::new();
    let mut parts: Vec<String> = ids.iter().map(|id| stream.push(&tokenizer, *id).unwrap()).collect();
    parts.push(stream.flush());
    assert!(parts.iter().all(|part| !part.contains('\u{FFFD}')));
    assert_eq!(parts.concat(), text);
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert_eq!(tokenizer.decode(&ids[1..2]).unwrap(), "\u{FFFD}");
}

#[test]
fn an_id_beyond_the_vocabulary_is_an_error() {
    let error = tiny().decode(&[1024]).unwrap_err();
    assert_eq!(error.code(), "bad_model");
}

#[test]
fn a_hostile_file_is_an_error_that_names_the_trouble() {
    let tiny: serde_json::Value = serde_json::from_slice(TINY).unwrap();
    let with = |path: &str, value: serde_json::Value| {
        let mut file = tiny.clone();
        *file.pointer_mut(path).unwrap() = value;
        Tokenizer::from_bytes(file.to_string().as_bytes()).err().unwrap_or_else(|| panic!("{path} was accepted"))
    };
    for (path, value, names) in [
        ("/model/vocab", serde_json::json!([["a", 0.5]]), "byte-level BPE"),
        ("/model/vocab", serde_json::json!({}), "model.vocab lacks"),
        ("/model/vocab/!", serde_json::json!(4_000_000_000u32), "4000000000"),
        ("/model/type", serde_json::json!("Unigram"), "Unigram"),
        ("/model/continuing_subword_prefix", serde_json::json!("####"), "prefix"),
        ("/model/merges/0", serde_json::json!(["nowhere", "found"]), "merges[0]"),
        ("/model/merges/0", serde_json::json!("nospace"), "merges[0]"),
        ("/pre_tokenizer", serde_json::json!(null), "ByteLevel"),
        (
            "/pre_tokenizer",
            serde_json::json!({"type": "Split", "pattern": {"String": "x"}, "behavior": "Removed", "invert": false}),
            "removes",
        ),
        (
            "/pre_tokenizer",
            serde_json::json!({"type": "Sequence", "pretokenizers": [
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
                {"type": "Punctuation", "behavior": "Removed"},
            ]}),
            "removes",
        ),
        (
            "/normalizer",
            serde_json::json!({"type": "Replace", "pattern": {"String": "bad"}, "content": "good"}),
            "Replace",
        ),
    ] {
        let error = with(path, value);
        assert_eq!(error.code(), "bad_model");
        assert!(error.to_string().contains(names), "{path}: {error}");
    }
    for junk in [&b""[..], b"{", b"[]", b"\xFF\xFE", b"{\"model\":{}}"] {
        assert_eq!(Tokenizer::from_bytes(junk).err().unwrap().code(), "bad_model");
    }
}

#[test]
fn texts_that_are_too_long_only_together_are_refused() {
    let (tokenizer, text) = (bert(), "lock ".repeat(5_000));
    let refused = |count: usize| tokenizer.refuse_longer(vec![text.as_str(); count].into_iter(), 8_000).err();
    assert_eq!(refused(1).map(|error| error.code()), None);
    assert_eq!(refused(2).map(|error| error.code()), Some("context_length"));
    let blank = " ".repeat(400);
    let refused = |count: usize| tokenizer.refuse_longer(vec![blank.as_str(); count].into_iter(), 10).err();
    assert!(refused(1).is_none() && matches!(refused(2), Some(Error::TooManyBytes { bytes: 800, limit: 640 })));
}

#[test]
fn the_end_of_a_text_has_as_many_tokens_as_are_asked_for_whatever_follows_them() {
    let (tokenizer, lock) = (bert(), bert().word("lock").unwrap());
    let text = |blanks: usize| format!("{}{}", "lock ".repeat(100), " ".repeat(blanks));
    for blanks in [0, 10_000, 100_000] {
        assert_eq!(tokenizer.encode_end(&text(blanks), 60).unwrap(), [lock; 60], "{blanks} blanks behind");
    }
    assert_eq!(tokenizer.encode_end(&text(0), 200).unwrap().len(), 100);
}

#[test]
fn text_that_a_vocabulary_cannot_spell_is_an_error_and_not_left_out() {
    let mut file: serde_json::Value = serde_json::from_slice(TINY).unwrap();
    // The sign that stands for byte 0x01.
    file["model"]["vocab"].as_object_mut().unwrap().remove("\u{101}").unwrap();
    let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
    assert!(tokenizer.encode("lock").is_ok());
    let error = tokenizer.encode("lo\u{1}ck").unwrap_err();
    assert!(error.code() == "bad_model" && error.to_string().contains("0x01"), "{error}");
}

#[test]
fn a_megabyte_of_text_is_read_to_its_end() {
    let tokenizers = [tiny(), bert()];
    for unit in ["a", " ", "\n", "<", "🙂", "how to pick a lock. ", "<|im_start|>", "e\u{301}"] {
        let text = unit.repeat((1 << 20) / unit.len());
        for tokenizer in &tokenizers {
            let spans = tokenizer.encode(&text).unwrap();
            if !unit.trim().is_empty() {
                assert!(spans.last().unwrap().bytes.end + 4 > text.len(), "{unit:?}");
            }
        }
    }
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<|im_start|>".to_owned()),
        Just("<|im_end|>".into()),
        Just("<think>".into()),
        Just("</think>".into()),
        Just("[CLS]".into()),
        Just("[UNK]".into()),
        Just("\u{200b}".into()),
        Just("\u{202e}".into()),
        Just("\u{FFFD}".into()),
        Just("lock".into()),
        "\\PC{0,6}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn user_text_never_becomes_a_special_token(text in hostile()) {
        for tokenizer in [tiny(), bert()] {
            let spans = tokenizer.encode(&text).unwrap();
            let mut start = 0;
            for span in &spans {
                prop_assert!(!tokenizer.is_control(span.id));
                prop_assert!(text.get(span.bytes.clone()).is_some(), "{:?} of {:?}", span, text);
                prop_assert!(span.bytes.start >= start, "spans go forward");
                start = span.bytes.start;
            }
        }
        let tokenizer = tiny();
        prop_assert_eq!(tokenizer.decode(&ids(&tokenizer, &text)).unwrap(), text);
    }

    #[test]
    fn any_bytes_as_a_file_give_a_tokenizer_or_an_error(at in 0..TINY.len(), byte in any::<u8>()) {
        let mut file = TINY.to_vec();
        file[at] = byte;
        if let Ok(tokenizer) = Tokenizer::from_bytes(&file) {
            let _ = tokenizer.encode("how to pick a lock");
        }
    }
}
