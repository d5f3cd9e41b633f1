//! The decoder against Hugging Face transformers, on tiny random checkpoints (`golden/make_fixtures.py`).

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use half::{bf16, f16};
use rsafe::bundle::Weights;
use rsafe::model::{Decoder, DecoderConfig, KvCache};
use rsafe::{Error, Result};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::golden;

const CHECKPOINTS: [&str; 3] = ["qwen2-tied", "qwen3", "llama3-scaled-rope"];
/// The golden logits are rounded to 1e-5 and reach about 3.
const TOLERANCE: f32 = 1e-3;
/// Between two ways of reading the same tokens here: only the order of f32 additions differs.
const SAME: f32 = 2e-5;

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn text(checkpoint: &str, file: &str) -> String {
    std::fs::read_to_string(golden(checkpoint).join(file)).unwrap()
}

fn config(checkpoint: &str) -> DecoderConfig {
    DecoderConfig::from_json(&text(checkpoint, "config.json")).unwrap()
}

fn tensors(checkpoint: &str) -> Tensors {
    let bytes = std::fs::read(golden(checkpoint).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32);
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            (name.to_owned(), view.shape().to_vec(), values)
        })
        .collect()
}

fn load(config: &DecoderConfig, tensors: Tensors, device: &Device) -> Result<Decoder> {
    let mut weights = Weights::from_tensors(device, tensors)?;
    let decoder = Decoder::load(config, &mut weights)?;
    weights.finish()?;
    Ok(decoder)
}

fn decoder(checkpoint: &str) -> Decoder {
    load(&config(checkpoint), tensors(checkpoint), &Device::flex()).unwrap()
}

struct Golden(Value);

impl Golden {
    fn of(checkpoint: &str) -> Self {
        Self(serde_json::from_str(&text(checkpoint, "golden.json")).unwrap())
    }

    fn ids(&self, field: &str) -> Vec<u32> {
        self.0[field].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    }

    fn long_ids() -> Vec<u32> {
        (0..200).map(|i| i % 1000 + 5).collect()
    }
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

/// The last position's logits after reading `ids` behind `cache`.
fn next(decoder: &Decoder, ids: &[u32], cache: &mut KvCache) -> Vec<f32> {
    values(decoder.last_logits(decoder.extend(ids, cache).unwrap()))
}

fn batch(rows: &[Vec<u32>]) -> Tensor<2, Int> {
    let flat: Vec<i32> = rows.iter().flatten().map(|id| *id as i32).collect();
    Tensor::from_data(TensorData::new(flat, [rows.len(), rows[0].len()]), &Device::flex())
}

#[test]
fn logits_are_those_of_transformers() {
    for checkpoint in CHECKPOINTS {
        let (decoder, golden) = (decoder(checkpoint), Golden::of(checkpoint));
        let ids = golden.ids("ids");
        let cached = decoder.extend(&ids, &mut decoder.new_cache(64).unwrap()).unwrap();
        let whole = decoder.forward(batch(&[ids]), None);
        for states in [cached, whole] {
            let logits = values(decoder.logits(states));
            let vocabulary = decoder.config().vocab_size;
            for (position, expected) in golden.0["logits"].as_object().unwrap() {
                let start = position.parse::<usize>().unwrap() * vocabulary;
                let off = difference(&logits[start..start + vocabulary], &floats(expected));
                assert!(off < TOLERANCE, "{checkpoint} at {position}: {off}");
            }
        }
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for checkpoint in CHECKPOINTS {
        let (decoder, golden) = (decoder(checkpoint), Golden::of(checkpoint));
        let mut cache = decoder.new_cache(128).unwrap();
        let mut logits = next(&decoder, &golden.ids("ids"), &mut cache);
        let mut answer = Vec::new();
        for _ in 0..24 {
            answer.push(argmax(&logits));
            logits = next(&decoder, &answer[answer.len() - 1..], &mut cache);
        }
        assert_eq!(answer, golden.ids("greedy"), "{checkpoint}");
    }
}

#[test]
fn a_long_prompt_ends_in_the_logits_of_transformers() {
    for checkpoint in CHECKPOINTS {
        let (decoder, golden) = (decoder(checkpoint), Golden::of(checkpoint));
        let logits = next(&decoder, &Golden::long_ids(), &mut decoder.new_cache(200).unwrap());
        let off = difference(&logits, &floats(&golden.0["long_last_logits"]));
        assert!(off < TOLERANCE, "{checkpoint}: {off}");
    }
}

#[test]
fn a_prefill_may_be_split_anywhere() {
    for checkpoint in CHECKPOINTS {
        let (decoder, ids) = (decoder(checkpoint), Golden::of(checkpoint).ids("ids"));
        let mut cache = decoder.new_cache(ids.len()).unwrap();
        let whole = next(&decoder, &ids, &mut cache);
        for split in 1..ids.len() {
            cache.truncate(0);
            next(&decoder, &ids[..split], &mut cache);
            let off = difference(&next(&decoder, &ids[split..], &mut cache), &whole);
            assert!(off < SAME, "{checkpoint} at {split}: {off}");
        }
    }
}

#[test]
fn a_prompt_longer_than_a_chunk_reads_the_same_as_at_once() {
    let decoder = decoder("llama3-scaled-rope");
    let ids: Vec<u32> = (0..500).map(|i| (i * 7 + 3) % 1024).collect();
    let states = decoder.extend(&ids, &mut decoder.new_cache(512).unwrap()).unwrap();
    assert_eq!(states.dims(), [1, 500, 64]);
    let off = difference(&values(states), &values(decoder.forward(batch(&[ids]), None)));
    assert!(off < SAME, "{off}");
}

#[test]
fn forks_of_a_prefix_answer_as_if_it_were_read_again() {
    for checkpoint in CHECKPOINTS {
        let (decoder, ids) = (decoder(checkpoint), Golden::of(checkpoint).ids("ids"));
        let (prefix, rest) = ids.split_at(30);
        let mut policy = decoder.new_cache(30).unwrap();
        next(&decoder, prefix, &mut policy);

        let mut fresh = decoder.new_cache(64).unwrap();
        next(&decoder, prefix, &mut fresh);
        let expected = next(&decoder, rest, &mut fresh);

        let mut other = policy.fork(64).unwrap();
        next(&decoder, &[9, 8, 7], &mut other);
        let mut fork = policy.fork(64).unwrap();
        let mut shared = fork.clone();
        assert_eq!(next(&decoder, rest, &mut fork), expected, "{checkpoint}");
        next(&decoder, &[9, 8, 7], &mut shared);
        assert_eq!((policy.len(), fork.len(), shared.len()), (30, 59, 33));
    }
}

#[test]
fn a_then_b_then_a_gives_the_bytes_of_a_again() {
    for checkpoint in CHECKPOINTS {
        let (decoder, ids) = (decoder(checkpoint), Golden::of(checkpoint).ids("ids"));
        let mut cache = decoder.new_cache(256).unwrap();
        next(&decoder, &ids[..20], &mut cache);
        let a = next(&decoder, &ids[20..], &mut cache);
        cache.truncate(20);
        let b = next(&decoder, &Golden::long_ids(), &mut cache);
        cache.truncate(20);
        let again = next(&decoder, &ids[20..], &mut cache);
        assert_ne!(a, b);
        let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a), bits(&again), "{checkpoint}");
    }
}

#[test]
fn padding_at_either_end_changes_nothing() {
    let decoder = decoder("qwen3");
    let (long, short): (Vec<u32>, Vec<u32>) = ((10..22).collect(), (40..47).collect());
    let alone = values(decoder.forward(batch(std::slice::from_ref(&short)), None));
    for (left, right) in [(0, 5), (5, 0)] {
        let padded = [vec![0; left], short.clone(), vec![0; right]].concat();
        let row: Vec<bool> = (0..12).map(|i| i < left || i >= 12 - right).collect();
        let padding = [vec![false; 12], row].concat();
        let padding = Tensor::<2, Bool>::from_data(TensorData::new(padding, [2, 12]), &Device::flex());
        let states = decoder.forward(batch(&[long.clone(), padded]), Some(padding));
        let off = difference(&values(states.slice([1..2, left..left + 7, 0..64])), &alone);
        assert!(off < SAME, "{left} left, {right} right: {off}");
    }
}

#[test]
fn the_old_form_of_the_config_gives_the_same_logits() {
    for checkpoint in CHECKPOINTS {
        let mut old: Value = serde_json::from_str(&text(checkpoint, "config.json")).unwrap();
        let fields = old.as_object_mut().unwrap();
        let mut rope = fields.remove("rope_parameters").unwrap();
        fields.insert("rope_theta".into(), rope.as_object_mut().unwrap().remove("rope_theta").unwrap());
        fields.insert("rope_scaling".into(), if rope["rope_type"] == "default" { Value::Null } else { rope });
        let old = DecoderConfig::from_json(&old.to_string()).unwrap();
        assert_eq!(old, config(checkpoint), "{checkpoint}");

        let ids = Golden::of(checkpoint).ids("ids");
        let logits = |decoder: &Decoder| next(decoder, &ids, &mut decoder.new_cache(64).unwrap());
        let from_old = load(&old, tensors(checkpoint), &Device::flex()).unwrap();
        assert_eq!(logits(&from_old), logits(&decoder(checkpoint)), "{checkpoint}");
    }
}

#[test]
fn weights_rounded_to_half_precision_give_nearby_logits() {
    let logits = |decoder: &Decoder| next(decoder, &Golden::long_ids(), &mut decoder.new_cache(200).unwrap());
    let exact = logits(&decoder("qwen3"));
    // f16 keeps 11 bits of a weight, bf16 keeps 8; the bounds are three times the differences found.
    type Rounding = fn(f32) -> f32;
    let rounded: [(Rounding, f32); 2] =
        [(|x| f16::from_f32(x).to_f32(), 0.008), (|x| bf16::from_f32(x).to_f32(), 0.07)];
    for (round, tolerance) in rounded {
        let mut tensors = tensors("qwen3");
        tensors.iter_mut().flat_map(|(_, _, values)| values).for_each(|x| *x = round(*x));
        let off = difference(&logits(&load(&config("qwen3"), tensors, &Device::flex()).unwrap()), &exact);
        assert!(off > 0.0 && off < tolerance, "{off}");
    }
}

#[test]
fn a_wrong_checkpoint_is_an_error_that_names_the_tensor() {
    let refused = |checkpoint: &str, change: &dyn Fn(&mut Tensors), parts: &[&str]| {
        let mut tensors = tensors(checkpoint);
        change(&mut tensors);
        let error = load(&config(checkpoint), tensors, &Device::flex()).unwrap_err();
        assert!(matches!(error, Error::BadModel(_)), "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{error}: no {part:?}");
        }
    };
    for name in ["model.layers.1.self_attn.q_norm.weight", "lm_head.weight", "model.embed_tokens.weight"] {
        refused("qwen3", &|tensors| tensors.retain(|tensor| tensor.0 != name), &[name]);
    }
    let bias = "model.layers.0.self_attn.k_proj.bias";
    refused("qwen2-tied", &|tensors| tensors.retain(|tensor| tensor.0 != bias), &[bias]);
    let extra = "model.layers.2.mlp.up_proj.weight";
    refused("qwen3", &|tensors| tensors.push((extra.into(), vec![1], vec![0.0])), &[extra]);
    let q = "model.layers.0.self_attn.q_proj.weight";
    refused(
        "qwen3",
        &|tensors| tensors.iter_mut().filter(|tensor| tensor.0 == q).for_each(|tensor| tensor.1 = vec![64, 128]),
        &[q, "[128, 64]", "[64, 128]"],
    );
}

#[test]
fn what_other_savers_add_to_a_checkpoint_is_no_obstacle() {
    let mut with_more = tensors("llama3-scaled-rope");
    with_more.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![8], vec![1.0; 8]));
    with_more.push(("lm_head.weight".into(), vec![1024, 64], vec![0.5; 1024 * 64]));
    let with_more = load(&config("llama3-scaled-rope"), with_more, &Device::flex()).unwrap();
    let logits = |decoder: &Decoder| next(decoder, &[5, 6, 7], &mut decoder.new_cache(8).unwrap());
    assert_eq!(logits(&with_more), logits(&decoder("llama3-scaled-rope")));
}

#[test]
fn what_cannot_be_read_is_an_error_and_leaves_the_cache_alone() {
    let decoder = decoder("qwen3");
    let mut cache = decoder.new_cache(4).unwrap();
    decoder.extend(&[1, 2], &mut cache).unwrap();
    let code = |ids: &[u32], cache: &mut KvCache| decoder.extend(ids, cache).unwrap_err().code();
    assert_eq!(code(&[], &mut cache), "bad_input");
    assert_eq!(code(&[1024], &mut cache), "bad_input");
    assert_eq!(code(&[1, 2, 3], &mut cache), "context_length");
    assert_eq!(cache.len(), 2);
    decoder.extend(&[3, 4], &mut cache).unwrap();
    assert_eq!(decoder.new_cache(513).unwrap_err().code(), "context_length");

    let mut other = KvCache::new(config("qwen2-tied").cache_shape(), 4, &Device::flex());
    assert_eq!(code(&[1], &mut other), "bad_input");
}

#[cfg(feature = "train")]
#[test]
fn every_parameter_gets_a_gradient() {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::Gradients;

    struct Missing<'a>(&'a Gradients, usize, usize);
    impl ModuleVisitor for Missing<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1 += 1;
            let moved = param.val().grad(self.0).is_some_and(|grad| values(grad.abs().sum())[0] > 0.0);
            self.2 += usize::from(!moved);
        }
    }
    for checkpoint in CHECKPOINTS {
        let device = Device::flex().autodiff();
        let tensors = tensors(checkpoint);
        let count = tensors.len();
        let decoder = load(&config(checkpoint), tensors, &device).unwrap();
        let ids: Tensor<2, Int> = Tensor::from_data([[5, 6, 7, 8, 9]], &device);
        let loss = decoder.logits(decoder.forward(ids, None)).square().mean();
        let gradients = loss.backward();
        let mut missing = Missing(&gradients, 0, 0);
        decoder.visit(&mut missing);
        // Without rope a key's bias would shift all scores alike and get none.
        assert_eq!((missing.1, missing.2), (count, 0), "{checkpoint}");
    }
}
