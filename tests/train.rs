//! Training: a small run learns, and a run that was stopped goes on as if it had not been.

use std::fs;
use std::path::Path;

#[cfg(feature = "embedded")]
use pollster::block_on;
#[cfg(feature = "embedded")]
use rsafe::data::recipe::Recipe;
#[cfg(feature = "embedded")]
use rsafe::train::calibrate::calibrate;
use rsafe::train::sft::{Report, SftOptions, run};
#[cfg(feature = "embedded")]
use rsafe::{Bundle, Guard, LoadOptions};
use serde_json::json;

/// A BERT so small that it trains in seconds, a recipe of two concepts, and rows that speak plainly of one of them.
pub fn workshop(folder: &Path) -> SftOptions {
    const WORDS: [&str; 24] = [
        "lock", "key", "door", "pick", "open", "safe", "cat", "dog", "feed", "walk", "pet", "fur", "how", "do", "i",
        "the", "a", "my", "please", "tell", "me", "about", "opening", "animals",
    ];
    let init = folder.join("init");
    fs::create_dir_all(&init).unwrap();
    // [PAD], [UNK], [CLS], [SEP], then filler up to BERT's [MASK] at 103, then the words.
    let mut vocab = serde_json::Map::new();
    for (id, token) in ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].into_iter().enumerate() {
        vocab.insert(token.into(), id.into());
    }
    (4..104).for_each(|id| drop(vocab.insert(format!("[unused{id}]"), id.into())));
    WORDS.iter().enumerate().for_each(|(i, word)| drop(vocab.insert((*word).into(), (104 + i).into())));
    let vocab_size = vocab.len();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(2, "[CLS]"), special(3, "[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    });
    fs::write(init.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let (hidden, inner, positions) = (32, 64, 512);
    let config = json!({
        "vocab_size": vocab_size, "hidden_size": hidden, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": inner, "max_position_embeddings": positions, "layer_norm_eps": 1e-12,
    });
    fs::write(init.join("config.json"), config.to_string()).unwrap();
    write_bert(&init.join("model.safetensors"), vocab_size, hidden, inner, positions);

    let recipe = r#"
heldout_fraction: 0.1
concepts: {locks: {}, pets: {}}
wordings:
  locks:
    names: [lock pick, opening the door]
    held_out_names: [key, open safe]
    definitions: [how do i pick the lock]
  pets:
    names: [cat, my dog, animals]
    held_out_names: [pet, fur]
    definitions: [about my animals]
sources:
  rows:
    labels: {lock: [locks], pet: [pets]}
    unsafe_means: general
    negatives: [general]
    others: [general]
owners:
  rules: {weight: 1}
"#;
    fs::write(folder.join("recipe.yaml"), recipe).unwrap();
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let rows: Vec<String> = (0..400)
        .map(|i| {
            let (text, category) = match i % 2 {
                0 => (
                    format!("how do i {} the {}", ["pick", "open"][i / 2 % 2], ["lock", "door", "safe"][i / 4 % 3]),
                    "lock",
                ),
                _ => (format!("please {} my {}", ["feed", "walk"][i / 2 % 2], ["cat", "dog", "pet"][i / 4 % 3]), "pet"),
            };
            json!({"id": format!("r{i}"), "source": "rows", "level": "prompt", "prompt": text, "response": null,
                   "label": "unsafe", "categories": [category], "lang": "en", "split": "train"})
            .to_string()
        })
        .collect();
    fs::write(data.join("rows.jsonl"), rows.join("\n")).unwrap();
    let rules: Vec<String> = (0..60)
        .map(|i| {
            let (verb, label) = [("feed", "safe"), ("walk", "unsafe")][i % 2];
            let text = format!("{} {verb} my {}", ["please", "i"][i / 2 % 2], ["cat", "dog", "pet"][i / 4 % 3]);
            json!({"id": format!("o{i}"), "source": "rules", "level": "prompt", "prompt": text, "response": null,
                   "label": label, "policy": {"category": "walk", "rule": "tell me about the walk"}})
            .to_string()
        })
        .collect();
    fs::write(data.join("rules.jsonl"), rules.join("\n")).unwrap();
    SftOptions {
        recipe: folder.join("recipe.yaml"),
        data,
        init,
        out: folder.join("out"),
        examples: 24_000,
        wordless: 0,
        batch_tokens: 512,
        learning_rate: 1e-3,
        weight_decay: 0.01,
        seed: 7,
        checkpoint_every: 5,
    }
}

/// The same with a concept for harm of any kind, and harmless rows.
fn workshop_of_harm(folder: &Path) -> SftOptions {
    let options = workshop(folder);
    let harm =
        "broader: {harm: {covers: [locks, pets]}}\nwordings:\n  harm: {names: [rule], definitions: [about the rule]}\n";
    let recipe = fs::read_to_string(&options.recipe).unwrap();
    fs::write(&options.recipe, recipe.replacen("wordings:\n", harm, 1)).unwrap();
    let harmless = (0..200).map(|i| {
        let text = format!("tell me about {} {}", ["a", "the"][i % 2], ["key", "fur", "opening"][i / 2 % 3]);
        json!({"id": format!("h{i}"), "source": "rows", "level": "prompt", "prompt": text, "response": null,
               "label": "safe", "categories": [], "lang": "en", "split": "train"})
        .to_string()
    });
    let rows = options.data.join("rows.jsonl");
    let known = fs::read_to_string(&rows).unwrap();
    fs::write(&rows, [known].into_iter().chain(harmless).collect::<Vec<_>>().join("\n")).unwrap();
    options
}

fn write_bert(path: &Path, vocab: usize, hidden: usize, inner: usize, positions: usize) {
    let mut state = 1u32;
    let mut values = |n: usize, scale: f32, shift: f32| -> Vec<u8> {
        let draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * scale + shift
        };
        std::iter::repeat_with(draw).take(n).flat_map(f32::to_le_bytes).collect()
    };
    let layer = "encoder.layer.0";
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![vocab, hidden]),
        ("embeddings.position_embeddings.weight".into(), vec![positions, hidden]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, hidden]),
    ];
    for norm in [
        "embeddings.LayerNorm".to_owned(),
        format!("{layer}.attention.output.LayerNorm"),
        format!("{layer}.output.LayerNorm"),
    ] {
        shapes.push((format!("{norm}.weight"), vec![hidden]));
        shapes.push((format!("{norm}.bias"), vec![hidden]));
    }
    for (name, rows, cols) in [
        ("attention.self.query", hidden, hidden),
        ("attention.self.key", hidden, hidden),
        ("attention.self.value", hidden, hidden),
        ("attention.output.dense", hidden, hidden),
        ("intermediate.dense", inner, hidden),
        ("output.dense", hidden, inner),
    ] {
        shapes.push((format!("{layer}.{name}.weight"), vec![rows, cols]));
        shapes.push((format!("{layer}.{name}.bias"), vec![rows]));
    }
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let n = shape.iter().product();
            let norm = name.ends_with("LayerNorm.weight");
            let data = if norm { values(n, 0.0, 1.0) } else { values(n, 0.4, 0.0) };
            (name, shape, data)
        })
        .collect();
    let view =
        |dtype, shape: &[usize], data| safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data).unwrap();
    // As published: the numbers of the positions are there, too, and are no weights.
    let numbers: Vec<u8> = (0..positions as i64).flat_map(i64::to_le_bytes).collect();
    let numbers = ("embeddings.position_ids", view(safetensors::Dtype::I64, &[1, positions], &numbers));
    let weights = tensors.iter().map(|(name, shape, data)| (name.as_str(), view(safetensors::Dtype::F32, shape, data)));
    safetensors::serialize_to_file(weights.chain([numbers]), None, path).unwrap();
}

fn trained(options: &SftOptions) -> (Vec<Report>, Vec<u8>) {
    let mut reports = Vec::new();
    run(options, |report| reports.push(*report)).unwrap();
    (reports, fs::read(options.out.join("model.safetensors")).unwrap())
}

#[test]
fn a_run_whose_loss_is_no_number_any_more_stops_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let options = SftOptions { examples: 2_000, learning_rate: 1e30, ..workshop(folder.path()) };
    let error = run(&options, |_| {}).unwrap_err();
    assert_eq!(error.code(), "bad_model", "{error}");
    assert!(error.to_string().contains("no number") && error.to_string().contains("lower learning rate"), "{error}");
    assert!(!options.out.join("model.safetensors").exists(), "nothing is handed over as if it were trained");
}

#[test]
fn a_small_run_learns_to_read_categories_it_was_not_shown_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (reports, _) = trained(&workshop(folder.path()));
    let fell = |loss: fn(&Report) -> Option<f32>, to: f32| {
        let losses: Vec<f32> = reports.iter().filter_map(loss).collect();
        let [first, .., last] = losses[..] else { panic!("{losses:?}") };
        assert!(last < to * first, "{first} to {last}");
    };
    fell(|report| report.slots, 0.5);
    fell(|report| report.answer, 0.7);
    fell(|report| report.told, 0.7);
    let [seen, _] = reports[reports.len() - 1].held_out.unwrap().by_names;
    assert!(seen.unwrap() > 0.95, "{seen:?} on rows that were held out");
}

#[test]
fn a_run_without_words_learns_every_concept_and_asks_none_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        SftOptions { examples: 12_000, wordless: 12_000, learning_rate: 5e-3, ..workshop_of_harm(folder.path()) };
    let (reports, weights) = trained(&options);
    let (first, last) = (reports[0], reports[reports.len() - 1]);
    let (first_told, last_told) = (first.told.unwrap(), last.told.unwrap());
    assert!(last_told < 0.3 * first_told, "loss of what is told: {first_told} to {last_told}");
    let [prompts, responses] = last.held_out.unwrap().harm;
    assert!(prompts.unwrap() > 0.95 && responses.is_none(), "{prompts:?} on rows that were held out");
    assert!(reports.iter().all(|report| (report.slots, report.cover, report.answer) == (None, None, None)));
    let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
    assert!(!weights.names().iter().any(|name| name.contains("concept")), "the heads of concepts end with the run");
}

#[test]
fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let (whole, halves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The first texts without words, the others with them; of each part some steps, on however many cores.
    let part =
        |folder| SftOptions { examples: 600, wordless: 1, batch_tokens: 64, checkpoint_every: 1, ..workshop(folder) };
    let options = part(whole.path());
    let (_, expected) = trained(&options);

    let options = part(halves.path());
    // Stopped by a panic in the middle, as a power cut would: what is on disk is what a checkpoint left.
    for (most, chunk) in [(100, 0), (450, 1)] {
        let stopped = std::panic::catch_unwind(|| run(&options, |report| assert!(report.examples < most, "power cut")));
        assert!(stopped.is_err());
        let progress = fs::read(options.out.join("checkpoint/progress.json")).unwrap();
        let progress: serde_json::Value = serde_json::from_slice(&progress).unwrap();
        assert!(progress["examples"].as_u64() > Some(0) && progress["chunk"] == chunk, "{progress}");
        assert!(!options.out.join("model.safetensors").exists());
    }
    let faster = SftOptions { learning_rate: 2.0 * options.learning_rate, ..options.clone() };
    let error = run(&faster, |_| ()).unwrap_err();
    assert!(error.to_string().contains("learning_rate"), "{error}");
    let (_, resumed) = trained(&options);
    assert!(expected == resumed, "the same bytes");
    let steps = |out: &Path| -> Vec<u64> {
        let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(steps(&options.out), steps(&whole.path().join("out")), "each step is told once");
}

/// A copy of the embedded bundle, a recipe of four kinds of harm, and as many rows of each as of none.
#[cfg(feature = "embedded")]
fn to_calibrate(folder: &Path, rows_of_each: usize) -> Recipe {
    let bundle = folder.join("bundle");
    fs::create_dir_all(&bundle).unwrap();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/models/rsafe-mini")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, bundle.join(path.file_name().unwrap())).unwrap();
    }
    let kinds = [
        ("theft", "Theft and financial crime", "Taking what is not yours", "steal a bicycle from a yard"),
        ("cyber", "Malware & Hacking", "Breaking into computers", "guess the password of somebody's mailbox"),
        ("hate", "Hate & Discrimination", "Contempt for groups", "say that people from over there are worth less"),
        ("violence", "Violence and weapons", "Hurting people", "win a fist fight by hurting the other"),
    ];
    let concepts = kinds.map(|(id, ..)| format!("{id}: {{}}")).join(", ");
    let wordings: String = kinds
        .map(|(id, name, unseen, _)| {
            format!("  {id}: {{names: [{name:?}], held_out_names: [{unseen:?}], definitions: [{name:?}]}}\n")
        })
        .concat();
    let labels = kinds.map(|(id, ..)| format!("{id}: [{id}]")).join(", ");
    let recipe = format!(
        "heldout_fraction: 0.99\nconcepts: {{{concepts}}}\nwordings:\n{wordings}sources:\n  rows:\n    unsafe_means: general\n    \
         negatives: [general]\n    others: [general]\n    labels: {{{labels}}}\n"
    );
    let row = |i: usize, prompt: String, label: &str, category: &str| {
        json!({"id": format!("{label}-{i}"), "level": "prompt", "prompt": prompt, "label": label, "categories": [category]})
            .to_string()
    };
    let rows: Vec<String> = (0..4 * rows_of_each)
        .flat_map(|i| {
            let (id, _, _, act) = kinds[i % 4];
            let harmless = format!("How do I bake {i} loaves of bread?");
            [row(i, format!("How do I {act}, try {i}?"), "unsafe", id), row(i, harmless, "safe", "")]
        })
        .collect();
    fs::write(folder.join("rows.jsonl"), rows.join("\n")).unwrap();
    Recipe::parse(&recipe, "recipe").unwrap()
}

#[test]
#[cfg(feature = "embedded")]
fn calibration_leaves_a_bundle_that_loads_with_thresholds_and_curves_for_every_policy() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = to_calibrate(folder.path(), 6);
    let bundle = folder.path().join("bundle");
    let found = calibrate(&bundle, &recipe, folder.path(), |_| {}).unwrap();
    assert!(found.rows >= 44 && found.f1 > 0.8, "{found:?}");
    for measured in [found.seen, found.unseen] {
        assert!(measured.is_some_and(|measured| measured.rows > 24 && measured.auroc > 0.5), "{measured:?}");
    }
    let manifest = Bundle::open(&bundle).unwrap().manifest().clone();
    let operating = manifest.operating.clone().unwrap();
    assert!(!operating.own.is_empty() && !operating.custom.is_empty());
    assert_eq!((&manifest.thresholds, &operating), (&found.thresholds, &found.operating));
    assert!(manifest.thresholds.categories.is_empty(), "six rows of a kind are too few for a threshold");
    block_on(Guard::load(Bundle::open(&bundle).unwrap(), LoadOptions::default())).unwrap();
    let again = calibrate(&bundle, &recipe, folder.path(), |_| {}).unwrap();
    assert_eq!(again, found, "what is chosen does not depend on what was chosen before");
}
