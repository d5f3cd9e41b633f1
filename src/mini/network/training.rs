//! What training does with rsafe-mini's network that nobody else does: it takes its tensors out by name, and keeps words from
//! moving.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{DISTANCES, Layer, LayerNorm, SlotModel};
use crate::kernels::{Linear, Matrix};
use crate::mini::batch::Distances;

/// A tensor by name: its shape and its values.
pub type NamedTensor = (String, Vec<usize>, Vec<f32>);

impl SlotModel {
    /// The network without gradients for the words' embeddings: most words are too rare in any training set to
    /// move well, and the words that no row holds must stay neighbours of those that moved.
    pub fn freeze_words(mut self) -> Self {
        self.words = self.words.no_grad();
        self
    }

    /// Every tensor by name, as `(name, shape, values)`: what [`load`](SlotModel::load) takes.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let mut out = Vec::new();
        matrix_tensor("embeddings.word_embeddings", &self.words, &mut out);
        matrix_tensor("embeddings.position_embeddings", &self.positions, &mut out);
        matrix_tensor("embeddings.kind_embeddings", &self.kinds, &mut out);
        self.norm.tensors("embeddings.LayerNorm", &mut out);
        for (index, layer) in self.layers.iter().enumerate() {
            layer.tensors(&format!("encoder.layer.{index}"), &mut out);
        }
        linear_tensors("slot_head", &self.slot_head, &mut out);
        linear_tensors("answer_transform", &self.answer_transform, &mut out);
        linear_tensors("marker_head", &self.marker_head, &mut out);
        if let Some(Distances { table, .. }) = &self.distances {
            out.push((DISTANCES.into(), vec![table.len()], table.clone()));
        }
        out
    }
}

impl LayerNorm {
    fn tensors(&self, name: &str, out: &mut Vec<NamedTensor>) {
        push_tensor(out, format!("{name}.weight"), self.weight.val());
        push_tensor(out, format!("{name}.bias"), self.bias.val());
    }
}

impl Layer {
    fn tensors(&self, name: &str, out: &mut Vec<NamedTensor>) {
        linear_tensors(&format!("{name}.attention.self.query"), &self.query, out);
        linear_tensors(&format!("{name}.attention.self.key"), &self.key, out);
        linear_tensors(&format!("{name}.attention.self.value"), &self.value, out);
        linear_tensors(&format!("{name}.attention.output.dense"), &self.output, out);
        self.attention_norm.tensors(&format!("{name}.attention.output.LayerNorm"), out);
        linear_tensors(&format!("{name}.intermediate.dense"), &self.up, out);
        linear_tensors(&format!("{name}.output.dense"), &self.down, out);
        self.output_norm.tensors(&format!("{name}.output.LayerNorm"), out);
    }
}

fn push_tensor<const D: usize>(out: &mut Vec<NamedTensor>, name: String, tensor: Tensor<D>) {
    let data = tensor.into_data();
    out.push((name, data.shape().to_vec(), data.iter::<f32>().collect()));
}

/// Only float weights are trained, so only those are ever saved.
fn matrix_tensor(name: &str, matrix: &Matrix, out: &mut Vec<NamedTensor>) {
    if let Matrix::Float(weight) = matrix {
        push_tensor(out, format!("{name}.weight"), weight.val());
    }
}

/// The weight and the bias of a layer, by its name.
pub(crate) fn linear_tensors(name: &str, linear: &Linear, out: &mut Vec<NamedTensor>) {
    matrix_tensor(name, &linear.weight, out);
    if let Some(bias) = &linear.bias {
        push_tensor(out, format!("{name}.bias"), bias.val());
    }
}
