//! The first weights of rsafe-mini: a BERT trunk as published, and small random tensors for what BERT has not.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::SafeTensors;

use crate::mini::layout::{Kind, Marker};
use crate::mini::network::{NamedTensor, SlotConfig};
use crate::{Error, Result};

/// The standard deviation of a BERT's fresh weights (`initializer_range`).
const RANGE: f32 = 0.02;

/// Reads the trunk out of a BERT's `model.safetensors` and adds kinds, heads and markers, drawn from `seed`.
///
/// # Errors
/// [`Error::BadModel`] if a tensor of the trunk is missing or not f32.
pub fn warm_start(config: &SlotConfig, file: &SafeTensors<'_>, seed: u64) -> Result<Vec<NamedTensor>> {
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let trunk = name.starts_with("encoder.layer.")
            || name.starts_with("embeddings.word")
            || name.starts_with("embeddings.position_embeddings")
            || name.starts_with("embeddings.LayerNorm");
        if trunk {
            tensors.push((name, view.shape().to_vec(), f32s(&view)?));
        }
    }
    let token_types = file
        .tensor("embeddings.token_type_embeddings.weight")
        .map_err(|e| Error::BadModel(format!("model.safetensors: {e}")))?;
    // Every kind starts as BERT's first sentence, nudged so that they can part.
    let first: Vec<f32> = f32s(&token_types)?.into_iter().take(config.hidden_size).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rows = Kind::COUNT + Marker::COUNT;
    let kinds = (0..rows).flat_map(|_| first.clone()).map(|x| x + normal(&mut rng) * RANGE).collect();
    let hidden = config.hidden_size;
    tensors.push(("embeddings.kind_embeddings.weight".into(), vec![rows, hidden], kinds));
    for (name, rows) in [("slot_head", 1), ("answer_transform", hidden), ("marker_head", Marker::COUNT)] {
        let weights = (0..rows * hidden).map(|_| normal(&mut rng) * RANGE).collect();
        tensors.push((format!("{name}.weight"), vec![rows, hidden], weights));
        tensors.push((format!("{name}.bias"), vec![rows], vec![0.0; rows]));
    }
    Ok(tensors)
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
