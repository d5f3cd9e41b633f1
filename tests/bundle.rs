//! Bundles: what is written is read back; what was changed, cut, misdescribed or made up is an error that says what.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use bytes::Bytes;
use pollster::block_on;
use proptest::prelude::*;
use rsafe::Error;
use rsafe::bundle::{
    Bundle, Checkpoint, ConvertOptions, DefaultPolicy, FileBytes, Manifest, ReadFile, Weights, convert, save_manifest,
    write_bundle,
};
use rsafe::kernels::{Encoding, Matrix};
use rsafe::prompt::Template;
use rsafe::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::golden;

const FIXTURES: [&str; 3] = ["qwen2-tied", "qwen3", "llama3-scaled-rope"];
const EMBEDDING: &str = "model.embed_tokens.weight";

fn options(dtype: Encoding) -> ConvertOptions {
    ConvertOptions::default().dtype(dtype)
}

fn values(matrix: &Matrix) -> Vec<f32> {
    matrix.to_tensor(&Device::flex()).into_data().as_slice::<f32>().unwrap().to_vec()
}

/// Every tensor by name, matrices and vectors alike.
fn everything(mut weights: Weights) -> HashMap<String, Vec<f32>> {
    let tensors: Vec<(String, Vec<usize>)> =
        weights.tensors().map(|(name, shape)| (name.into(), shape.into())).collect();
    let all = tensors
        .into_iter()
        .map(|(name, shape)| {
            let values = match shape[..] {
                [len] => weights.vector(&name, len).unwrap().into_data().as_slice::<f32>().unwrap().to_vec(),
                [rows, cols] => values(&weights.matrix(&name, [rows, cols]).unwrap()),
                _ => panic!("{name} {shape:?}"),
            };
            (name, values)
        })
        .collect();
    weights.finish().unwrap();
    all
}

fn error<T>(result: rsafe::Result<T>) -> Error {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error,
    }
}

fn assert_names(error: &Error, code: &str, parts: &[&str]) {
    assert_eq!(error.code(), code, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "`{error}` does not say `{part}`");
    }
}

/// A bundle's files as they would come from a browser.
fn in_memory(folder: &Path) -> Vec<(String, Bytes)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap().into()))
        .collect();
    files.sort();
    files
}

/// A small valid bundle of a q8 matrix and a vector.
fn small(folder: &Path) -> Manifest {
    let manifest = Manifest::new("small", "Test", serde_json::json!({"model_type": "test"}), Template::Slots);
    let tensors = [
        ("a".to_owned(), vec![4, 40], (0..160).map(|i| i as f32 / 10.0 - 8.0).collect()),
        ("b".to_owned(), vec![3], vec![1.0, 2.0, 3.0]),
    ];
    let files = vec![("tokenizer.json".to_owned(), b"{}".to_vec())];
    write_bundle(folder, manifest, files, tensors, Encoding::Q8, false).unwrap()
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// A checkpoint's folder with these weights.
fn checkpoint(weights: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(golden("qwen3").join(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    folder
}

fn load(weights: &[u8]) -> rsafe::Result<Weights> {
    Checkpoint::open(checkpoint(weights).path())?.weights(&Device::flex())
}

#[test]
fn every_fixture_converts_and_keeps_its_weights_within_the_encodings_error() {
    for fixture in FIXTURES {
        let original = everything(Checkpoint::open(golden(fixture)).unwrap().weights(&Device::flex()).unwrap());
        // The largest magnitude in these fixtures is about 0.5.
        for (dtype, tolerance) in [(Encoding::F16, 3e-4), (Encoding::Q8, 3e-3), (Encoding::Q4, 0.07)] {
            let out = tempfile::tempdir().unwrap();
            let manifest = convert(golden(fixture), out.path(), &options(dtype)).unwrap().manifest;
            let bundle = Bundle::open(out.path()).unwrap();
            assert_eq!(bundle.manifest(), &manifest);
            assert_eq!(
                &*block_on(bundle.tokenizer()).unwrap(),
                fs::read(golden(fixture).join("tokenizer.json")).unwrap()
            );
            let converted = everything(block_on(bundle.weights(&Device::flex())).unwrap());
            let from_memory = Bundle::from_files(in_memory(out.path())).unwrap();
            assert_eq!(everything(block_on(from_memory.weights(&Device::flex())).unwrap()), converted);
            assert_eq!(converted.len(), original.len());
            for (name, values) in &original {
                let exact = name.contains("norm") || name.ends_with("bias");
                for (a, b) in values.iter().zip(&converted[name]) {
                    assert!((a - b).abs() <= if exact { 0.0 } else { tolerance }, "{fixture} {dtype} {name}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn the_config_is_kept_verbatim_and_the_template_guessed() {
    let templates = [Template::Rsafe, Template::Rsafe, Template::LlamaGuard3];
    for (fixture, template) in FIXTURES.into_iter().zip(templates) {
        let out = tempfile::tempdir().unwrap();
        let manifest = convert(golden(fixture), out.path(), &options(Encoding::Q8)).unwrap().manifest;
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(golden(fixture).join("config.json")).unwrap()).unwrap();
        assert_eq!(manifest.config, config);
        assert_eq!(manifest.template, template);
        assert_eq!(manifest.name, fixture);
        assert!(manifest.generation.is_some());
    }
    let out = tempfile::tempdir().unwrap();
    let chosen = ConvertOptions::default()
        .template(Template::Qwen3guard)
        .name("mine")
        .licence("Apache-2.0")
        .policy(DefaultPolicy::Builtin("openai".into()));
    let manifest = convert(golden("qwen3"), out.path(), &chosen).unwrap().manifest;
    assert_eq!((manifest.template, manifest.name.as_str()), (Template::Qwen3guard, "mine"));
    assert_eq!(manifest.provenance.licence, "Apache-2.0");
}

#[test]
fn a_quantised_bundle_stays_encoded_in_memory() {
    let out = tempfile::tempdir().unwrap();
    convert(golden("qwen3"), out.path(), &options(Encoding::Q8)).unwrap();
    let mut weights = block_on(Bundle::open(out.path()).unwrap().weights(&Device::flex())).unwrap();
    let embedding = weights.matrix(EMBEDDING, [1024, 64]).unwrap();
    assert_eq!(embedding.bytes(), 1024 * 64 / 32 * 34);
}

#[test]
fn a_folder_with_something_in_it_is_overwritten_only_when_asked() {
    let out = tempfile::tempdir().unwrap();
    small(out.path());
    fs::write(out.path().join("notes.txt"), "mine").unwrap();
    let refused = error(convert(golden("qwen3"), out.path(), &options(Encoding::Q8)));
    assert_names(&refused, "bad_input", &["not empty"]);
    convert(golden("qwen3"), out.path(), &ConvertOptions::default().overwrite(true)).unwrap();
    block_on(Bundle::open(out.path()).unwrap().weights(&Device::flex())).unwrap();
    assert!(out.path().join("notes.txt").exists());
    let hidden = fs::read_dir(out.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "temporary files are left");
}

#[test]
fn a_failed_conversion_leaves_no_manifest() {
    let header = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    let nan = [1f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
    let from = checkpoint(&safetensors(header, &nan));
    let out = tempfile::tempdir().unwrap();
    let refused = error(convert(from.path(), out.path(), &options(Encoding::Q8)));
    assert_names(&refused, "bad_model", &["`a`", "row 0"]);
    assert!(!out.path().join("manifest.json").exists());
}

#[test]
fn large_matrices_are_split_by_rows_and_shards_stay_below_64_mb() {
    let out = tempfile::tempdir().unwrap();
    let manifest = Manifest::new("large", "Test", serde_json::json!({}), Template::Slots);
    let (rows, cols) = (70_001, 512);
    let tensor = ("e".to_owned(), vec![rows, cols], (0..rows * cols).map(|i| (i % 251) as f32).collect());
    let files = vec![("tokenizer.json".to_owned(), b"{}".to_vec())];
    let manifest = write_bundle(out.path(), manifest, files, [tensor], Encoding::F16, false).unwrap();
    assert!(manifest.shards().count() >= 2);
    assert!(manifest.files.iter().all(|file| file.size <= 64_000_000));
    let mut weights = block_on(Bundle::open(out.path()).unwrap().weights(&Device::flex())).unwrap();
    let matrix = weights.matrix("e", [rows, cols]).unwrap();
    weights.finish().unwrap();
    let last = values(&matrix).split_off((rows - 1) * cols);
    assert!(last.iter().enumerate().all(|(i, &w)| w == (((rows - 1) * cols + i) % 251) as f32));
}

#[test]
fn a_changed_or_cut_file_is_named_with_both_hashes_or_sizes() {
    let out = tempfile::tempdir().unwrap();
    let manifest = small(out.path());
    for entry in &manifest.files {
        let path = out.path().join(&entry.name);
        let whole = fs::read(&path).unwrap();
        let read = |files| Bundle::from_files(files).and_then(|b| block_on(b.file(&entry.name)));
        let check = |expected: &[&str]| {
            assert_names(&error(block_on(Bundle::open(out.path()).unwrap().file(&entry.name))), "integrity", expected);
            assert_names(&error(read(in_memory(out.path()))), "integrity", expected);
            if entry.name.ends_with("safetensors") {
                let weights = block_on(Bundle::open(out.path()).unwrap().weights(&Device::flex()));
                assert_names(&error(weights), "integrity", expected);
            }
        };
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            check(&[&entry.name, &entry.sha256]);
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        check(&[&entry.name, &entry.size.to_string()]);
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_missing_file_is_named() {
    let out = tempfile::tempdir().unwrap();
    small(out.path());
    let mut files = in_memory(out.path());
    files.retain(|(name, _)| name != "tokenizer.json");
    let missing = error(block_on(Bundle::from_files(files).unwrap().tokenizer()));
    assert_names(&missing, "bad_model", &["tokenizer.json"]);
    fs::remove_file(out.path().join("tokenizer.json")).unwrap();
    assert_names(&error(block_on(Bundle::open(out.path()).unwrap().tokenizer())), "io", &["tokenizer.json"]);
    fs::remove_file(out.path().join("manifest.json")).unwrap();
    assert_names(&error(Bundle::open(out.path())), "io", &["manifest.json"]);
}

#[test]
fn a_manifest_can_be_completed_later() {
    let out = tempfile::tempdir().unwrap();
    let mut manifest = small(out.path());
    manifest.thresholds.global = 0.25;
    save_manifest(out.path(), &manifest).unwrap();
    assert_eq!(Bundle::open(out.path()).unwrap().manifest(), &manifest);
}

#[test]
fn sharded_checkpoints_load_and_their_index_is_held_to_its_word() {
    let folder = checkpoint(b"");
    let path = |name: &str| folder.path().join(name);
    fs::remove_file(path("model.safetensors")).unwrap();
    let shard = |name: &str| {
        safetensors(&format!(r#"{{"{name}":{{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}}}"#), &[0, 0, 128, 63])
    };
    fs::write(path("one.safetensors"), shard("a")).unwrap();
    fs::write(path("two.safetensors"), shard("b")).unwrap();
    let index =
        |map: &str| fs::write(path("model.safetensors.index.json"), format!(r#"{{"weight_map":{map}}}"#)).unwrap();
    let read = || Checkpoint::open(folder.path())?.weights(&Device::flex());

    index(r#"{"a":"one.safetensors","b":"two.safetensors"}"#);
    assert_eq!(everything(read().unwrap())["b"], [0.0, 1.0]);
    index(r#"{"a":"one.safetensors","c":"two.safetensors"}"#);
    assert_names(&error(read()), "bad_model", &["`c`", "two.safetensors"]);
    index(r#"{"a":"../one.safetensors"}"#);
    assert_names(&error(read()), "bad_model", &["../one.safetensors"]);
    index(r#"{"a":"one.safetensors","b":"three.safetensors"}"#);
    assert_names(&error(read()), "io", &["three.safetensors"]);
    fs::write(path("two.safetensors"), shard("a")).unwrap();
    index(r#"{"a":"one.safetensors","b":"two.safetensors"}"#);
    assert_names(&error(read()), "bad_model", &["`a` comes twice", "one.safetensors", "two.safetensors"]);
}

#[test]
fn names_that_other_savers_give_the_tensors_of_a_decoder_are_understood() {
    let names = |names: [&str; 3]| {
        let tensor = |(at, name): (usize, &str)| {
            format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, 4 * at, 4 * at + 4)
        };
        let header = names.into_iter().enumerate().map(tensor).collect::<Vec<_>>().join(",");
        let weights = load(&safetensors(&format!("{{{header}}}"), &[0; 12])).unwrap();
        weights.tensors().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let usual = ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"];
    assert_eq!(names(usual), usual);
    assert_eq!(names(["lm_head.weight", "embed_tokens.weight", "norm.weight"]), usual);
    assert_eq!(names(usual.map(|name| format!("module.{name}")).each_ref().map(String::as_str)), usual);
    assert_eq!(names(["module.lm_head.weight", "module.embed_tokens.weight", "module.norm.weight"]), usual);
    let others = ["module.a", "b", "norm.weight"];
    assert_eq!(names(others), ["b", "module.a", "norm.weight"], "nothing is known of these");
}

#[test]
fn what_was_downloaded_in_place_of_a_file_is_told() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n";
    assert_names(&error(load(pointer)), "bad_model", &["Git LFS pointer", "git lfs pull", "model.safetensors"]);
    assert_names(&error(load(b"<!DOCTYPE html><html></html>")), "bad_model", &["web page", "model.safetensors"]);
    assert_names(
        &error(load(b"\r\n\r\n\r\n\r\n  <html lang=\"en\">")),
        "bad_model",
        &["web page", "model.safetensors"],
    );
    assert_names(&error(load(b"\r\n\r\n\r\n\r\n")), "bad_model", &["truncated", "model.safetensors"]);
    // A length of 60 is a `<`.
    let header = format!("{:60}", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#);
    assert!(load(&safetensors(&header, &[0; 4])).is_ok());

    let page = b"\n<!DOCTYPE html><html></html>";
    for (bytes, what) in [(&pointer[..], "Git LFS pointer"), (page, "web page")] {
        assert_names(&error(Tokenizer::from_bytes(bytes)), "bad_model", &[what, "tokenizer.json"]);
    }
    for file in ["config.json", "model.safetensors.index.json"] {
        for (bytes, what) in [(&pointer[..], "Git LFS pointer"), (page, "web page")] {
            let folder = tempfile::tempdir().unwrap();
            for entry in fs::read_dir(golden("qwen3")).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
            }
            fs::write(folder.path().join(file), bytes).unwrap();
            let to = folder.path().join("converted");
            let told = convert(folder.path(), &to, &ConvertOptions::default()).map(drop);
            assert_names(&error(told), "bad_model", &[what, file]);
        }
    }
    assert_names(&error(Manifest::parse(page)), "bad_model", &["web page"]);
}

#[test]
fn a_byte_order_mark_before_a_config_is_no_obstacle() {
    let folder = checkpoint(&fs::read(golden("qwen3").join("model.safetensors")).unwrap());
    let path = folder.path().join("config.json");
    let marked = [&b"\xef\xbb\xbf"[..], &fs::read(&path).unwrap()].concat();
    fs::write(&path, marked).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().config["model_type"], "qwen3");
}

#[test]
fn a_models_own_system_message_is_that_of_its_chat_template() {
    let qwen2_5 = r#"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\n" }}
    {{- "</tools><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}"#;
    let smollm2 = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n\
        You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + \
        message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}";
    let qwen3 = r#"{%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}"#;
    let llama3 = "{{- \"<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n\" }}";
    let folder = checkpoint(&fs::read(golden("qwen3").join("model.safetensors")).unwrap());
    let told = || {
        let out = tempfile::tempdir().unwrap();
        convert(folder.path(), out.path(), &options(Encoding::Q8)).unwrap().manifest.system
    };
    assert_eq!(told(), None);
    for (template, expected) in [
        (qwen2_5, Some("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")),
        (smollm2, Some("You are a helpful AI assistant named SmolLM, trained by Hugging Face")),
        (qwen3, None),
        (llama3, None),
    ] {
        let config = serde_json::json!({ "chat_template": template });
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        assert_eq!(told().as_deref(), expected);
    }
}

#[test]
fn a_head_that_is_tied_to_another_embedding_is_told() {
    let tied = golden("qwen2-tied");
    let bytes = fs::read(tied.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(tied.join(name), folder.path().join(name)).unwrap();
    }
    let embedding = file.tensor(EMBEDDING).unwrap();
    let told = |head: &[u8]| {
        let mut tensors: Vec<_> = file.iter().collect();
        let head = TensorView::new(embedding.dtype(), embedding.shape().to_vec(), head).unwrap();
        tensors.push(("lm_head.weight", head));
        safetensors::serialize_to_file(tensors, None, &folder.path().join("model.safetensors")).unwrap();
        let out = tempfile::tempdir().unwrap();
        let converted = convert(folder.path(), out.path(), &options(Encoding::Q8)).unwrap();
        assert_eq!(converted.warnings, Checkpoint::open(folder.path()).unwrap().warnings().unwrap());
        converted.warnings
    };
    assert!(told(embedding.data()).is_empty(), "a copy says nothing");
    let mut other = embedding.data().to_vec();
    other[3] ^= 1;
    let warnings = told(&other);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    for part in ["`lm_head.weight`", "`model.embed_tokens.weight`", "`tie_word_embeddings`", "embedding is taken"] {
        assert!(warning.contains(part), "{warning}");
    }
    assert!(Checkpoint::open(golden("qwen3")).unwrap().warnings().unwrap().is_empty());
}

#[test]
fn a_head_beside_a_tied_embedding_and_constant_buffers_are_passed_over() {
    let header = r#"{"lm_head.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},
        "model.layers.0.self_attn.rotary_emb.inv_freq":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},
        "embeddings.position_ids":{"dtype":"I64","shape":[1],"data_offsets":[12,20]},
        "x":{"dtype":"F32","shape":[1],"data_offsets":[20,24]}}"#;
    let folder = checkpoint(&safetensors(header, &[0; 24]));
    let names = || {
        let weights = Checkpoint::open(folder.path()).unwrap().weights(&Device::flex()).unwrap();
        weights.tensors().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["lm_head.weight", "x"]);
    fs::copy(golden("qwen2-tied").join("config.json"), folder.path().join("config.json")).unwrap();
    assert_eq!(names(), ["x"]);
}

#[test]
fn lying_headers_and_metadata_are_refused() {
    let q8 = |metadata: &str, shape: &str, bytes: usize| {
        let header =
            format!(r#"{{"__metadata__":{metadata},"a":{{"dtype":"U8","shape":{shape},"data_offsets":[0,{bytes}]}}}}"#);
        load(&safetensors(&header, &vec![0; bytes]))
    };
    assert!(q8(r#"{"a":"q8:[2,40]"}"#, "[2,68]", 136).is_ok());
    for (metadata, shape, bytes) in [
        (r#"{}"#, "[2,68]", 136),
        (r#"{"a":"q8:[2,65]"}"#, "[2,68]", 136),
        (r#"{"a":"q8:[3,64]"}"#, "[2,68]", 136),
        (r#"{"a":"q4:[2,64]"}"#, "[2,68]", 136),
        (r#"{"a":"q8:[2,18446744073709551615]"}"#, "[2,68]", 136),
        (r#"{"a":"q8:[18446744073709551615,64]"}"#, "[2,68]", 136),
        (r#"{"a":"q8:[2,64]"}"#, "[136]", 136),
        (r#"{"a":"q9:[2,64]"}"#, "[2,68]", 136),
        (r#"{"a":"q8:[2,64]","b":"q8:[2,64]"}"#, "[2,68]", 136),
        (r#"{"a":"q8:[2,64]"}"#, "[2,18446744073709551615]", 136),
    ] {
        assert_names(&error(q8(metadata, shape, bytes)), "bad_model", &["model.safetensors"]);
    }
    for (header, data) in [
        (r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#, 4),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 8),
        (r#"{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#, 4),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4),
        ("[]", 0),
        ("", 0),
    ] {
        assert_names(&error(load(&safetensors(header, &vec![0; data]))), "bad_model", &["model.safetensors"]);
    }
    for head in [&[][..], &[1, 2, 3], &[0xff; 8], &u64::MAX.to_le_bytes(), &[0, 0, 0, 1, 0, 0, 0, 0, b'{']] {
        assert_names(&error(load(head)), "bad_model", &["model.safetensors"]);
    }
}

/// Takes everything there is; only that it comes back matters.
fn take_all(mut weights: Weights) {
    let tensors: Vec<(String, Vec<usize>)> =
        weights.tensors().map(|(name, shape)| (name.into(), shape.into())).collect();
    for (name, shape) in tensors {
        match shape[..] {
            [len] => drop(weights.vector(&name, len)),
            [rows, cols] => drop(weights.matrix(&name, [rows, cols])),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..Default::default() })]

    #[test]
    fn any_bytes_as_a_manifest_give_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
    }

    #[test]
    fn a_mutated_manifest_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut json = small(folder.path()).to_json().unwrap();
        for (at, byte) in &changes {
            let at = at.index(json.len());
            json[at] = *byte;
        }
        if cut {
            json.truncate(changes[0].0.index(json.len()));
        }
        if let Ok(manifest) = Manifest::parse(&json) {
            prop_assert!(manifest.validate().is_ok());
        }
    }

    #[test]
    fn a_mutated_weight_file_never_panics(
        changes in prop::collection::vec((0usize..600, any::<u8>()), 1..6), cut in prop::option::of(0usize..800),
    ) {
        let folder = tempfile::tempdir().unwrap();
        small(folder.path());
        let mut file = fs::read(folder.path().join("model-00001.safetensors")).unwrap();
        for &(at, byte) in &changes {
            let at = at % file.len();
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut);
        }
        if let Ok(weights) = load(&file) {
            take_all(weights);
        }
    }

    #[test]
    fn a_made_up_header_never_panics(
        dtype in prop::sample::select(vec!["U8", "F16", "BF16", "F32", "I64", "F8_E4M3", "Q8"]),
        shape in prop::collection::vec(prop::sample::select(vec![0, 1, 2, 34, 68, 1 << 40, u64::MAX]), 0..4),
        start in prop::sample::select(vec![0, 1, u64::MAX]), end in prop::sample::select(vec![0, 68, 136, u64::MAX]),
        says in "(q8|q4|f32):\\[[0-9]{1,20},[0-9]{1,20}\\]", data in 0usize..200,
    ) {
        let header = serde_json::json!({
            "__metadata__": {"a": says},
            "a": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]},
        });
        if let Ok(weights) = load(&safetensors(&header.to_string(), &vec![0; data])) {
            take_all(weights);
        }
    }
}

/// Gives files out of memory, one by one, and notes which were asked for.
struct Shelf {
    files: HashMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

impl ReadFile for Shelf {
    fn read<'r>(&'r self, name: &'r str) -> FileBytes<'r> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(name.to_owned());
            self.files.get(name).cloned().ok_or_else(|| Error::BadInput(format!("`{name}` is not on the shelf")))
        })
    }
}

fn shelf(folder: &Path) -> Shelf {
    let files = in_memory(folder).into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    Shelf { files, asked: Mutex::default() }
}

#[test]
fn a_reader_gives_what_a_folder_gives_and_is_asked_for_each_shard_once() {
    let out = tempfile::tempdir().unwrap();
    convert(golden("qwen3"), out.path(), &options(Encoding::Q8)).unwrap();
    let shelf = Arc::new(shelf(out.path()));
    let manifest = &shelf.files["manifest.json"];
    let bundle = Bundle::from_reader(manifest, shelf.clone()).unwrap();
    let read = everything(block_on(bundle.weights(&Device::flex())).unwrap());
    assert_eq!(read, everything(block_on(Bundle::open(out.path()).unwrap().weights(&Device::flex())).unwrap()));
    let shards: Vec<String> = bundle.manifest().shards().map(|shard| shard.name.clone()).collect();
    assert_eq!(*shelf.asked.lock().unwrap(), shards);
}

#[test]
fn a_reader_is_believed_no_more_than_a_folder() {
    let out = tempfile::tempdir().unwrap();
    small(out.path());
    let manifest = fs::read(out.path().join("manifest.json")).unwrap();
    let mut damaged = shelf(out.path());
    damaged.files.get_mut("tokenizer.json").unwrap().push(b' ');
    let bundle = Bundle::from_reader(&manifest, Arc::new(damaged)).unwrap();
    assert_names(&error(block_on(bundle.tokenizer())), "integrity", &["tokenizer.json"]);
    let empty = Shelf { files: HashMap::new(), asked: Mutex::default() };
    let bundle = Bundle::from_reader(&manifest, Arc::new(empty)).unwrap();
    assert_names(&error(block_on(bundle.tokenizer())), "bad_input", &["tokenizer.json", "not on the shelf"]);
}

#[test]
fn a_device_that_cannot_multiply_encoded_weights_gets_the_same_numbers_as_floats() {
    let out = tempfile::tempdir().unwrap();
    convert(golden("qwen3"), out.path(), &options(Encoding::Q8)).unwrap();
    let bundle = Bundle::open(out.path()).unwrap();
    let encoded = everything(block_on(bundle.weights(&Device::flex())).unwrap());
    let mut decoded = block_on(bundle.weights(&Device::flex().autodiff())).unwrap();
    let matrix = decoded.matrix(EMBEDDING, [1024, 64]).unwrap();
    assert!(matches!(matrix, Matrix::Float(_)));
    assert_eq!(values(&matrix), encoded[EMBEDDING]);
}
