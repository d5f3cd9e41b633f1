//! A decoder's tensors by the names of Hugging Face's checkpoints, for writing them: adapters merged, or by themselves.

use burn::module::Param;
use burn::tensor::Tensor;

use super::Decoder;
use super::tuning::TARGETS;
use crate::kernels::{Encoding, Linear, LowRank, Matrix};

/// A tensor that is read when it is written, so that a whole model is never held a second time.
pub enum Stored<'m> {
    Matrix(&'m Matrix),
    /// A matrix to which the adapter's change is added.
    Merged(&'m Matrix, &'m LowRank),
    Vector(&'m Param<Tensor<1>>),
    /// One of an adapter's two matrices.
    Factor(&'m Param<Tensor<2>>),
}

impl Stored<'_> {
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Stored::Matrix(matrix) | Stored::Merged(matrix, _) => matrix.dims().to_vec(),
            Stored::Vector(vector) => vector.dims().to_vec(),
            Stored::Factor(factor) => factor.dims().to_vec(),
        }
    }

    /// How [`bytes`](Self::bytes) are to be read: half precision that nothing was added to stays that, all else is f32.
    pub fn encoding(&self) -> Encoding {
        match self {
            Stored::Matrix(matrix) => {
                let encoding = matrix.encoded().map(|weights| weights.encoding());
                encoding.filter(|encoding| !encoding.is_blocks()).unwrap_or(Encoding::F32)
            }
            Stored::Merged(..) | Stored::Vector(_) | Stored::Factor(_) => Encoding::F32,
        }
    }

    /// The values, row-major and little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        let floats = |matrix: &Matrix| match matrix {
            Matrix::Float(weight) => weight.val().without_autodiff(),
            Matrix::Quantised(_) => matrix.to_tensor(&burn::tensor::Device::flex()),
        };
        match self {
            Stored::Matrix(matrix) => match matrix.encoded().filter(|_| self.encoding() != Encoding::F32) {
                Some(weights) => weights.pieces().flatten().copied().collect(),
                None => little_endian(floats(matrix)),
            },
            Stored::Merged(matrix, adapter) => {
                let change = adapter.delta().without_autodiff();
                little_endian(floats(matrix).to_device(&change.device()) + change)
            }
            Stored::Vector(vector) => little_endian(vector.val().without_autodiff()),
            Stored::Factor(factor) => little_endian(factor.val().without_autodiff()),
        }
    }
}

fn little_endian<const D: usize>(tensor: Tensor<D>) -> Vec<u8> {
    tensor.into_data().iter::<f32>().flat_map(f32::to_le_bytes).collect()
}

impl Decoder {
    /// Every tensor of the checkpoint, with the adapters merged into their matrices: what [`load`](Self::load) takes.
    pub fn tensors(&self) -> Vec<(String, Stored<'_>)> {
        let mut out = vec![("model.embed_tokens.weight".to_owned(), Stored::Matrix(&self.embed_tokens))];
        for (index, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("model.layers.{index}.{part}");
            out.push((name("input_layernorm.weight"), Stored::Vector(&layer.input_layernorm.weight)));
            out.push((name("post_attention_layernorm.weight"), Stored::Vector(&layer.post_attention_layernorm.weight)));
            let attention = &layer.self_attn;
            for (part, norm) in [("q_norm", &attention.q_norm), ("k_norm", &attention.k_norm)] {
                if let Some(norm) = norm {
                    out.push((name(&format!("self_attn.{part}.weight")), Stored::Vector(&norm.weight)));
                }
            }
            for (path, linear) in self.projections(index) {
                let Linear { weight, bias, adapter } = linear;
                let stored = match adapter {
                    Some(adapter) => Stored::Merged(weight, adapter),
                    None => Stored::Matrix(weight),
                };
                out.push((format!("{path}.weight"), stored));
                out.extend(bias.iter().map(|bias| (format!("{path}.bias"), Stored::Vector(bias))));
            }
        }
        out.push(("model.norm.weight".into(), Stored::Vector(&self.norm.weight)));
        out.extend(self.lm_head.iter().map(|head| ("lm_head.weight".to_owned(), Stored::Matrix(head))));
        out
    }

    /// The adapters, each with the path of its projection (`model.layers.0.self_attn.q_proj`).
    pub fn adapters(&self) -> impl Iterator<Item = (String, &LowRank)> {
        let all = (0..self.layers.len()).flat_map(|index| self.projections(index));
        all.filter_map(|(path, linear)| Some((path, linear.adapter.as_ref()?)))
    }

    /// A layer's projections by their paths.
    fn projections(&self, index: usize) -> impl Iterator<Item = (String, &Linear)> {
        TARGETS.into_iter().zip(self.layers[index].projections()).enumerate().map(move |(place, (name, linear))| {
            // The first four are the attention's.
            let room = if place < 4 { "self_attn" } else { "mlp" };
            (format!("model.layers.{index}.{room}.{name}"), linear)
        })
    }
}
