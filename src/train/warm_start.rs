//! The first weights of a slot network: the trunk of a BERT or an MPNet as published, and small random tensors for what these
//! have not, but for a slot, which begins as `[CLS]`.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::SafeTensors;

use crate::error::{Error, Result};
use crate::mini::batch::MARKER_WORD;
use crate::mini::layout::{CONVERSATION, Kind, Marker};
use crate::mini::network::SlotConfig;
use crate::mini::network::training::NamedTensor;
use crate::tokenizer::TokenId;

/// The standard deviation of a BERT's fresh weights (`initializer_range`).
const RANGE: f32 = 0.02;

/// The names of a trunk's tensors here and in an MPNet, as far as they differ.
const MPNET: [(&str, &str); 5] = [
    ("attention.attn.q", "attention.self.query"),
    ("attention.attn.k", "attention.self.key"),
    ("attention.attn.v", "attention.self.value"),
    ("attention.attn.o", "attention.output.dense"),
    ("attention.LayerNorm", "attention.output.LayerNorm"),
];
/// MPNet's vocabulary is BERT's behind four words of its own and before a mask; three more of these it has in place of BERT's.
const MPNET_WORDS: usize = 4;
const MPNET_SPECIAL: [(usize, usize); 3] = [(0, 1), (101, 0), (102, 2)];
/// Its positions are counted from here on.
const MPNET_POSITIONS: usize = 2;

/// The config of a slot network with the trunk that `config.json` is of: BERT's own fields; of an MPNet those that are left when
/// its vocabulary is BERT's.
pub fn slot_config(config: &serde_json::Value) -> Result<SlotConfig> {
    let mut config = config.clone();
    if config["model_type"] == "mpnet" {
        let less = |field: &str, by: usize| config[field].as_u64().map(|n| n.saturating_sub(by as u64));
        let (words, positions) =
            (less("vocab_size", MPNET_WORDS + 1), less("max_position_embeddings", MPNET_POSITIONS));
        config["vocab_size"] = words.into();
        config["max_position_embeddings"] = positions.into();
    }
    SlotConfig::from_json(&config)
}

/// Reads the trunk out of a `model.safetensors` and adds kinds, heads and markers, drawn from `seed`. `cls` is the word that opens
/// each text.
///
/// # Errors
/// [`Error::BadModel`] if a tensor of the trunk is missing or not f32.
pub fn warm_start(config: &SlotConfig, file: &SafeTensors<'_>, cls: TokenId, seed: u64) -> Result<Vec<NamedTensor>> {
    let hidden = config.hidden_size;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let trunk = name.starts_with("encoder.")
            || name.starts_with("embeddings.word")
            || name.starts_with("embeddings.position_embeddings")
            || name.starts_with("embeddings.LayerNorm");
        if trunk {
            tensors.push((name, view.shape().to_vec(), f32s(&view)?));
        }
    }
    // Every kind starts as BERT's first sentence, nudged so that they can part.
    let first = match config.relative_attention_num_buckets {
        Some(_) => {
            tensors.iter_mut().for_each(|tensor| from_mpnet(config, tensor));
            vec![0.0; hidden]
        }
        None => {
            let token_types = file
                .tensor("embeddings.token_type_embeddings.weight")
                .map_err(|e| Error::BadModel(format!("model.safetensors: {e}")))?;
            f32s(&token_types)?.into_iter().take(hidden).collect()
        }
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rows = Kind::COUNT + Marker::COUNT;
    let mut kinds: Vec<f32> = (0..rows).flat_map(|_| first.clone()).map(|x| x + normal(&mut rng) * RANGE).collect();
    let slot = &mut kinds[(Kind::COUNT + Marker::Slot as usize) * hidden..][..hidden];
    begin_as(cls, slot, &tensors, hidden)?;
    tensors.push(("embeddings.kind_embeddings.weight".into(), vec![rows, hidden], kinds));
    for (name, rows) in [("slot_head", 1), ("answer_transform", hidden), ("marker_head", Marker::COUNT)] {
        let weights = (0..rows * hidden).map(|_| normal(&mut rng) * RANGE).collect();
        tensors.push((format!("{name}.weight"), vec![rows, hidden], weights));
        tensors.push((format!("{name}.bias"), vec![rows], vec![0.0; rows]));
    }
    Ok(tensors)
}

/// A slot begins as `[CLS]` at a text's beginning, whose state stands for the whole text: what tells them apart goes into its kind.
fn begin_as(cls: TokenId, slot: &mut [f32], tensors: &[NamedTensor], hidden: usize) -> Result<()> {
    for (part, cls, marker) in [("word", cls as usize, MARKER_WORD as usize), ("position", 0, CONVERSATION)] {
        let name = format!("embeddings.{part}_embeddings.weight");
        let rows = tensors.iter().find(|(found, ..)| *found == name).map_or(&[][..], |(_, _, values)| values);
        let row = |at: usize| rows.get(at * hidden..(at + 1) * hidden);
        let (Some(cls), Some(marker)) = (row(cls), row(marker)) else {
            return Err(Error::BadModel(format!("model.safetensors: {name}: missing, or of fewer rows than a BERT's")));
        };
        slot.iter_mut().zip(cls.iter().zip(marker)).for_each(|(slot, (cls, marker))| *slot += cls - marker);
    }
    Ok(())
}

/// An MPNet's tensor as a BERT with its vocabulary has it.
fn from_mpnet(config: &SlotConfig, (name, shape, values): &mut NamedTensor) {
    let width = config.hidden_size;
    if let Some((theirs, ours)) = MPNET.iter().find(|(theirs, _)| name.contains(theirs)) {
        *name = name.replace(theirs, ours);
    } else if name.starts_with("embeddings.word") {
        let place = |word: usize| match MPNET_SPECIAL.iter().find(|(ours, _)| *ours == word) {
            Some(&(_, theirs)) => theirs,
            None if word == MARKER_WORD as usize => config.vocab_size + MPNET_WORDS,
            None => word + MPNET_WORDS,
        };
        let row = |word: usize| values.get(place(word) * width..(place(word) + 1) * width).unwrap_or_default();
        let words: Vec<f32> = (0..config.vocab_size).flat_map(row).copied().collect();
        (*shape, *values) = (vec![words.len() / width, width], words);
    } else if name.starts_with("embeddings.position") {
        let positions = values.split_off((MPNET_POSITIONS * width).min(values.len()));
        (*shape, *values) = (vec![positions.len() / width, width], positions);
    } else if name.starts_with("encoder.relative_attention_bias") {
        *shape = vec![values.len()];
    }
}

fn f32s(view: &safetensors::tensor::TensorView<'_>) -> Result<Vec<f32>> {
    if view.dtype() != safetensors::Dtype::F32 {
        return Err(Error::BadModel(format!("model.safetensors: expected F32 tensors, found {:?}", view.dtype())));
    }
    Ok(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f32, f32) = (1.0 - rng.random::<f32>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::bundle::Weights;
    use crate::mini::layout::{Frame, Layout, Turn};
    use crate::mini::network::SlotModel;

    /// What Hugging Face's transformers give for a tiny MPNet (`tests/golden/make_mpnet.py`).
    #[test]
    fn a_slot_network_reads_as_the_mpnet_that_it_begins_as() {
        let file = |name: &str| std::fs::read(format!("tests/golden/mpnet/{name}")).unwrap();
        let json = |name: &str| serde_json::from_slice::<serde_json::Value>(&file(name)).unwrap();
        let (config, golden) = (slot_config(&json("config.json")).unwrap(), json("golden.json"));
        let weights = file("model.safetensors");
        let mut tensors = warm_start(&config, &SafeTensors::deserialize(&weights).unwrap(), 101, 1).unwrap();
        let kinds = tensors.iter_mut().find(|(name, ..)| name == "embeddings.kind_embeddings.weight");
        kinds.unwrap().2.fill(0.0);
        let device = Device::flex();
        let mut weights = Weights::from_tensors(&device, tensors).unwrap();
        let model = SlotModel::load(&config, &mut weights).unwrap();
        weights.finish().unwrap();

        let ids: Vec<TokenId> = serde_json::from_value(golden["ids"].clone()).unwrap();
        let turn = Turn { kind: Kind::JudgedUser, ids: &ids[1..] };
        let layout = Layout::conversation(Frame { cls: ids[0], sep: 102 }, &[], turn);
        let states = model.forward(&model.batch(&[&layout], 0, &device), None).into_data();
        let states: Vec<f32> = states.iter::<f32>().collect();
        for (at, expected) in golden["states"].as_object().unwrap() {
            let expected: Vec<f32> = serde_json::from_value(expected.clone()).unwrap();
            let found = &states[at.parse::<usize>().unwrap() * expected.len()..];
            assert!(
                found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3),
                "{at}: {found:?}, not {expected:?}"
            );
        }
    }

    #[test]
    fn a_slot_begins_as_the_word_that_opens_a_text() {
        let file = |name: &str| std::fs::read(format!("tests/golden/mpnet/{name}")).unwrap();
        let config = slot_config(&serde_json::from_slice(&file("config.json")).unwrap()).unwrap();
        let weights = file("model.safetensors");
        let tensors = warm_start(&config, &SafeTensors::deserialize(&weights).unwrap(), 101, 1).unwrap();
        let width = config.hidden_size;
        let row = |part: &str, at: usize| {
            let name = format!("embeddings.{part}_embeddings.weight");
            &tensors.iter().find(|(found, ..)| *found == name).unwrap().2[at * width..(at + 1) * width]
        };
        let opens = |kind: usize| {
            let marker = row("word", MARKER_WORD as usize).iter().zip(row("position", CONVERSATION));
            let marker = marker.zip(row("kind", kind)).map(|((word, position), kind)| word + position + kind);
            let cls = row("word", 101).iter().zip(row("position", 0)).map(|(word, position)| word + position);
            marker.zip(cls).all(|(marker, cls)| (marker - cls).abs() < 6.0 * RANGE)
        };
        assert!(opens(Kind::COUNT + Marker::Slot as usize));
        assert!(!opens(Kind::COUNT + Marker::Answer as usize) && !opens(Kind::Category as usize));
    }
}
