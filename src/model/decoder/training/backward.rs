//! A decoder's gradients, one layer at a time.
//!
//! A pass keeps what goes into each layer and nothing else. On the way back each layer is decoded to floats, computed
//! once more and differentiated (gradient checkpointing, Chen et al. 2016, arXiv 1604.06174), then let go: memory
//! holds the activations and the floats of one layer, and frozen weights stay encoded.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, IndexingUpdateOp, Int, Tensor, TensorData};

use super::packed::{Masks, Packed};
use crate::kernels::Matrix;
use crate::model::Decoder;

/// What a pass over a packed row left for the way back.
#[derive(Debug)]
pub struct Trace {
    /// The input of each layer, then the output of the last, `[1, tokens, hidden_size]` each.
    inputs: Vec<Tensor<3>>,
    masks: Masks,
}

impl Decoder {
    /// The states of a packed row after the last norm, `[tokens, hidden_size]`. No graph is built, whatever the device.
    pub fn read(&self, packed: &Packed) -> Tensor<2> {
        let device = self.norm.device();
        let (rotation, masks) = (self.rope.at(packed.positions(), &device), packed.masks(&device));
        let mut x = self.embed_tokens.rows(self.ids(packed));
        for layer in &self.layers {
            x = layer.forward(x, &rotation, |q, k, v| packed.attend(&masks, q, k, v));
        }
        self.norm.forward(x).squeeze_dim(0)
    }

    /// [`read`](Self::read), with what [`backward`](Self::backward) needs.
    pub fn trace(&self, packed: &Packed) -> (Tensor<2>, Trace) {
        let device = self.norm.device();
        let (rotation, masks) = (self.rope.at(packed.positions(), &device), packed.masks(&device));
        let mut inputs = vec![self.embed_tokens.rows(self.ids(packed))];
        for layer in &self.layers {
            let x = inputs[inputs.len() - 1].clone();
            inputs.push(layer.forward(x, &rotation, |q, k, v| packed.attend(&masks, q, k, v)));
        }
        let states = self.norm.forward(inputs[inputs.len() - 1].clone()).squeeze_dim(0);
        (states, Trace { inputs, masks })
    }

    /// Adds to `sums` the gradient of every trained parameter, given that of the states, `[tokens, hidden_size]`.
    pub fn backward(&self, packed: &Packed, mut trace: Trace, states: Tensor<2>, sums: &mut GradientsParams) {
        let device = self.norm.device();
        let rotation = self.rope.at(packed.positions(), &device);
        let mut gradient = states.unsqueeze();
        if let Some(x) = trace.inputs.pop() {
            gradient = pull(&self.norm.clone().train(), x, gradient, sums, |norm, x| norm.forward(x));
        }
        let masks = trace.masks;
        for (layer, x) in self.layers.iter().zip(trace.inputs).rev() {
            let layer = layer.decoded(&device).train();
            gradient = pull(&layer, x, gradient, sums, |l, x| {
                l.forward(x, &rotation, |q, k, v| packed.attend(&masks, q, k, v))
            });
        }
        if let Some(words) = trained(&self.embed_tokens) {
            let ids = self.ids(packed).squeeze_dim(0);
            let zeros: Tensor<2> = Tensor::zeros(words.shape(), &device);
            let sum = zeros.select_assign(0, ids, gradient.squeeze_dim(0), IndexingUpdateOp::Add);
            add(sums, words.id, sum);
        }
    }

    /// The logits of some tokens, or of all, at some states: `[n, hidden_size]` to `[n, tokens]`.
    pub fn logits_of(&self, states: Tensor<2>, tokens: Option<&[u32]>) -> Tensor<2> {
        let states = states.unsqueeze();
        let logits = match tokens {
            Some(tokens) => self.head().project_rows(states, tokens),
            None => self.head().project(states),
        };
        logits.squeeze_dim(0)
    }

    /// The gradient of states, `[n, hidden_size]`, given that of their [`logits_of`](Self::logits_of), `[n, tokens]`;
    /// that of a trained head is added to `sums`.
    pub fn logits_backward(
        &self,
        states: Tensor<2>,
        tokens: Option<&[u32]>,
        gradient: Tensor<2>,
        sums: &mut GradientsParams,
    ) -> Tensor<2> {
        let head = self.head();
        let index = |tokens: &[u32]| -> Tensor<1, Int> {
            let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
            Tensor::from_data(TensorData::new(ids, [tokens.len()]), &states.device())
        };
        if let Some(weight) = trained(head) {
            let rows = gradient.clone().transpose().matmul(states.clone());
            let all = match tokens {
                Some(tokens) => Tensor::zeros(weight.shape(), &states.device()).select_assign(
                    0,
                    index(tokens),
                    rows,
                    IndexingUpdateOp::Add,
                ),
                None => rows,
            };
            add(sums, weight.id, all);
        }
        match tokens {
            Some(tokens) => gradient.matmul(head.rows(index(tokens).unsqueeze()).squeeze_dim(0)),
            None => project_back(head, gradient),
        }
    }

    fn ids(&self, packed: &Packed) -> Tensor<2, Int> {
        let ids: Vec<i32> = packed.ids().iter().map(|&id| id as i32).collect();
        let shape = [1, ids.len()];
        Tensor::from_data(TensorData::new(ids, shape), &self.norm.device())
    }
}

/// The parameter of a matrix that is trained.
fn trained(matrix: &Matrix) -> Option<&Param<Tensor<2>>> {
    match matrix {
        // Training is a parameter's configured state, which a plain device only shows once it is asked to train.
        Matrix::Float(weight) if weight.clone().train().is_require_grad() => Some(weight),
        _ => None,
    }
}

/// `g · W`: what the gradient `g` of products with a matrix is for the vectors, `[n, rows]` to `[n, cols]`. An encoded
/// matrix is decoded some rows at a time.
fn project_back(matrix: &Matrix, g: Tensor<2>) -> Tensor<2> {
    /// Rows that are decoded at a time.
    const STRETCH: usize = 4096;
    let weights = match matrix {
        Matrix::Float(weight) => return g.matmul(weight.val()),
        Matrix::Quantised(matrix) => matrix.weights(),
    };
    let ([rows, cols], [n, _], device) = (weights.dims(), g.dims(), g.device());
    (0..rows).step_by(STRETCH).fold(Tensor::zeros([n, cols], &device), |sum, first| {
        let some = first..rows.min(first + STRETCH);
        let decoded = TensorData::new(weights.gather(some.clone()), [some.len(), cols]);
        sum + g.clone().slice([0..n, some]).matmul(Tensor::from_data(decoded, &device))
    })
}

/// The gradient of what went into a module, given that of what came out; those of its parameters are added to `sums`.
fn pull<M: Module>(
    module: &M,
    x: Tensor<3>,
    gradient: Tensor<3>,
    sums: &mut GradientsParams,
    forward: impl FnOnce(&M, Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let x = x.autodiff().require_grad();
    let y = forward(module, x.clone());
    let mut gradients = (y * gradient.clone().autodiff()).sum().backward();
    module.visit(&mut Collect { from: &mut gradients, into: sums });
    // A module's output always depends on its input, so there is a gradient.
    x.grad_remove(&mut gradients).unwrap_or_else(|| gradient.zeros_like())
}

/// Moves the gradients of a module's parameters into sums by parameter.
struct Collect<'a> {
    from: &'a mut Gradients,
    into: &'a mut GradientsParams,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad()
            && let Some(gradient) = param.val().grad_remove(self.from)
        {
            add(self.into, param.id, gradient);
        }
    }
}

fn add<const D: usize>(sums: &mut GradientsParams, id: ParamId, gradient: Tensor<D>) {
    let sum = match sums.remove(id) {
        Some(sum) => sum + gradient,
        None => gradient,
    };
    sums.register(id, sum);
}
