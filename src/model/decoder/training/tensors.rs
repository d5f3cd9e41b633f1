//! A decoder's tensors by the names of Hugging Face's checkpoints, for writing them: adapters merged, or by themselves.

use std::collections::HashMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::lora::TARGETS;
use crate::error::{Error, Result};
use crate::kernels::{Encoding, Linear, LowRank, Matrix};
use crate::model::Decoder;

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
            Stored::Matrix(Matrix::Quantised(matrix)) if !matrix.weights().encoding().is_blocks() => {
                matrix.weights().encoding()
            }
            Stored::Matrix(_) | Stored::Merged(..) | Stored::Vector(_) | Stored::Factor(_) => Encoding::F32,
        }
    }

    /// The values as they are [encoded](Self::encoding), row-major and little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Stored::Matrix(Matrix::Quantised(matrix)) if self.encoding() != Encoding::F32 => {
                matrix.weights().pieces().flatten().copied().collect()
            }
            _ => self.floats().into_iter().flat_map(f32::to_le_bytes).collect(),
        }
    }

    /// The values as floats, row-major.
    pub fn floats(&self) -> Vec<f32> {
        match self {
            Stored::Matrix(matrix) => numbers(weights(matrix)),
            Stored::Merged(matrix, adapter) => {
                let change = adapter.delta().without_autodiff();
                numbers(weights(matrix).to_device(&change.device()) + change)
            }
            Stored::Vector(vector) => numbers(vector.val()),
            Stored::Factor(factor) => numbers(factor.val()),
        }
    }
}

fn weights(matrix: &Matrix) -> Tensor<2> {
    match matrix {
        Matrix::Float(weight) => weight.val().without_autodiff(),
        // Only the CPU has encoded weights.
        Matrix::Quantised(_) => matrix.to_tensor(&Device::flex()),
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
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

    /// The adapters' matrices by the names that PEFT gives them.
    pub fn adapter_tensors(&self) -> impl Iterator<Item = (String, Stored<'_>)> {
        self.adapters().flat_map(|(path, adapter)| {
            let [a, b] = factor_names(&path);
            [(a, Stored::Factor(&adapter.a)), (b, Stored::Factor(&adapter.b))]
        })
    }

    /// The same decoder with these adapters, by the names of [`adapter_tensors`](Self::adapter_tensors).
    ///
    /// # Errors
    /// [`Error::BadModel`] if one is missing, has another shape, or is left over.
    pub fn with_adapter_tensors(mut self, mut tensors: HashMap<String, (Vec<usize>, Vec<f32>)>) -> Result<Self> {
        let device = self.device();
        let mut take = |name: &str, factor: &Param<Tensor<2>>| match tensors.remove(name) {
            Some((shape, values)) if shape == factor.dims() => {
                let value = Tensor::from_data(TensorData::new(values, shape), &device);
                Ok(factor.clone().map(|_| value))
            }
            found => Err(Error::BadModel(format!(
                "adapter `{name}`: expected the shape {:?}, found {:?}; were rank and targets others?",
                factor.dims(),
                found.map(|(shape, _)| shape)
            ))),
        };
        for index in 0..self.layers.len() {
            for (place, linear) in self.layers[index].projections_mut().into_iter().enumerate() {
                if let Some(adapter) = &mut linear.adapter {
                    let [a, b] = factor_names(&path(index, place));
                    adapter.a = take(&a, &adapter.a)?;
                    adapter.b = take(&b, &adapter.b)?;
                }
            }
        }
        match tensors.keys().next() {
            Some(name) => Err(Error::BadModel(format!("adapter `{name}` has no place; were the targets others?"))),
            None => Ok(self),
        }
    }

    /// A layer's projections by their paths.
    fn projections(&self, index: usize) -> impl Iterator<Item = (String, &Linear)> {
        self.layers[index]
            .projections()
            .into_iter()
            .enumerate()
            .map(move |(place, linear)| (path(index, place), linear))
    }
}

/// The path of a layer's projection, by its place among [`TARGETS`].
fn path(layer: usize, place: usize) -> String {
    // The first four are the attention's.
    let room = if place < 4 { "self_attn" } else { "mlp" };
    format!("model.layers.{layer}.{room}.{}", TARGETS[place])
}

fn factor_names(path: &str) -> [String; 2] {
    ["A", "B"].map(|factor| format!("base_model.model.{path}.lora_{factor}.weight"))
}
