//! Decoders being tuned: answers and their probabilities, gradients, adapters, and what is written in the end. On the
//! tiny random checkpoints of `decoder.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{AdamWConfig, GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use half::bf16;
use rsafe::bundle::{ConvertOptions, Weights, convert};
use rsafe::data::rows::Label;
use rsafe::model::decoder::training::{LoraOptions, Packed, Stored, TARGETS};
use rsafe::model::{Decoder, DecoderConfig};
use rsafe::prompt::Template;
use rsafe::sampling::Sampling;
use rsafe::tokenizer::Tokenizer;
use rsafe::train::reward::{Rewards, Truth};
use rsafe::train::rl::decoder::{DecoderNetwork, DecoderOptions};
use rsafe::train::rl::dpo::DpoOptions;
use rsafe::train::rl::mine::MineOptions;
use rsafe::train::rl::options::GrpoOptions;
use rsafe::train::rl::{self, Network, Rollout, Setup, Task, TaskSource};
use rsafe::{Category, Conversation, Policy};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::golden;
use crate::train::workshop as workshop_of;

/// Each family with the template of its guards.
const GUARDS: [(&str, Template); 4] = [
    ("qwen2-tied", Template::Rsafe),
    ("qwen3", Template::Rsafe),
    ("qwen3", Template::Qwen3guard),
    ("llama3-scaled-rope", Template::LlamaGuard3),
];

/// A checkpoint's folder with room for a prompt, matrices in bf16, and the control tokens of its template.
fn checkpoint(name: &str, template: Template) -> tempfile::TempDir {
    checkpoint_in(name, template, Dtype::BF16)
}

/// As [`checkpoint`], but with matrices of that type; the values are those of bf16 whatever it is.
fn checkpoint_in(name: &str, template: Template, dtype: Dtype) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = |file: &str| fs::read_to_string(golden(name).join(file)).unwrap();
    let mut config: Value = serde_json::from_str(&text("config.json")).unwrap();
    config["max_position_embeddings"] = 2048.into();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut tokenizer = text("tokenizer.json");
    if template == Template::LlamaGuard3 {
        for (of_qwen, of_llama) in [
            ("<|endoftext|>", "<|begin_of_text|>"),
            ("<|im_start|>", "<|start_header_id|>"),
            ("<|im_end|>", "<|eot_id|>"),
            ("<think>", "<|end_header_id|>"),
        ] {
            tokenizer = tokenizer.replace(of_qwen, of_llama);
        }
    }
    fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();

    let bytes = fs::read(golden(name).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, view)| {
            let floats = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let rounded = floats.map(bf16::from_f32);
            let bytes = match dtype {
                Dtype::F32 => rounded.flat_map(|x| x.to_f32().to_le_bytes()).collect(),
                _ => rounded.flat_map(bf16::to_le_bytes).collect(),
            };
            (name.to_owned(), view.shape().to_vec(), bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    folder
}

fn options(template: Template, lora: Option<LoraOptions>) -> DecoderOptions {
    DecoderOptions { template: Some(template), reasoning_tokens: 20, lora, ..Default::default() }
}

fn network(folder: &Path, template: Template, lora: Option<LoraOptions>) -> DecoderNetwork {
    DecoderNetwork::open(folder, &options(template, lora), &Device::flex()).unwrap()
}

fn task() -> Task {
    let policy =
        "name: Test\ncategories:\n- {id: locks, name: Locks}\n- {id: pets, name: Pets}\n- {id: soup, name: Soup}\n";
    Task {
        id: "t".into(),
        source: "test".into(),
        conversation: Conversation::prompt("How do I pick a lock?"),
        policy: Policy::from_bytes(policy.as_bytes(), Some("policy.yaml")).unwrap(),
        truth: Truth { label: Label::Safe, categories: None, look_alike: false },
        think: true,
    }
}

fn sampling() -> Sampling {
    Sampling::rsafe(0)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The mean log-probability of the rollouts' tokens, each answer's by its advantage.
fn policy_loss(rollouts: &[Rollout], advantages: &[f32]) -> impl FnMut(Tensor<1>, Tensor<1>) -> Tensor<1> + use<> {
    let of_tokens: Vec<f32> =
        rollouts.iter().zip(advantages).flat_map(|(rollout, a)| rollout.choices.iter().map(move |_| *a)).collect();
    move |log_probs, entropies| {
        let advantages = Tensor::<1>::from_data(of_tokens.as_slice(), &log_probs.device());
        -(log_probs * advantages).mean() - entropies.mean() * 0.1
    }
}

/// The trained parameters and their gradients, in the order of the module.
struct Gradients<'a>(&'a mut GradientsParams, Vec<Vec<f32>>);

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.1.extend(self.0.remove::<D>(param.id).map(values));
    }
}

fn gradients(module: &impl Module, mut from: GradientsParams) -> Vec<Vec<f32>> {
    let mut found = Gradients(&mut from, Vec::new());
    module.visit(&mut found);
    let all = found.1;
    assert!(from.is_empty(), "gradients of parameters that the module has not");
    all
}

/// Every parameter that is held as floats, in the order of the module.
struct Floats(Vec<(ParamId, Vec<f32>)>);

impl ModuleVisitor for Floats {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push((param.id, values(param.val())));
    }
}

fn floats(network: &DecoderNetwork) -> Vec<(ParamId, Vec<f32>)> {
    let mut floats = Floats(Vec::new());
    network.visit(&mut floats);
    floats.0
}

/// One step of the optimiser on a task's rollouts.
fn step(network: DecoderNetwork, task: &Task, rollouts: &[Rollout], advantages: &[f32], rate: f64) -> DecoderNetwork {
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.0).init();
    let mut loss = policy_loss(rollouts, advantages);
    let gradients = network.gradients(&[(task, rollouts)], 0.7, &mut loss).unwrap();
    optimizer.step(rate, network, gradients)
}

/// Adapters that change something.
fn moved(network: DecoderNetwork) -> DecoderNetwork {
    let rollouts = network.rollouts(&task(), 2, sampling(), 5).unwrap();
    step(network, &task(), &rollouts, &[1.0, -1.0], 0.02)
}

#[test]
fn log_probabilities_of_rollouts_are_those_that_training_computes() {
    for (name, template) in GUARDS {
        let folder = checkpoint(name, template);
        let network = moved(network(folder.path(), template, Some(LoraOptions::default())));
        let rollouts = network.rollouts(&task(), 4, sampling(), 3).unwrap();
        let sampled: Vec<f32> = rollouts.iter().flat_map(|r| r.choices.iter().map(|c| c.log_prob)).collect();
        assert!(sampled.len() >= 4 && sampled.iter().all(|log_prob| *log_prob <= 0.0));
        let (recomputed, entropies) = network.log_probs(&task(), &rollouts, 0.7).unwrap();
        let (recomputed, entropies) = (values(recomputed), values(entropies));
        let off = difference(&sampled, &recomputed);
        assert!(off < 1e-3, "{name}, {template:?}: {off}");
        assert!(entropies.iter().all(|entropy| *entropy >= 0.0 && *entropy < 1024f32.ln()));

        // However few answers share a row.
        let small = DecoderOptions { pack_tokens: 1, ..options(template, None) };
        let small = DecoderNetwork::open(folder.path(), &small, &Device::flex()).unwrap();
        let whole = DecoderNetwork::open(folder.path(), &options(template, None), &Device::flex()).unwrap();
        let [(apart, _), (together, _)] = [small, whole].map(|n| n.log_probs(&task(), &rollouts, 0.7).unwrap());
        assert!(difference(&values(apart), &values(together)) < 1e-4);
    }
}

#[test]
fn answers_sampled_side_by_side_do_not_know_of_each_other() {
    for (name, template) in GUARDS {
        let folder = checkpoint(name, template);
        let network = network(folder.path(), template, Some(LoraOptions::default()));
        let together = network.rollouts(&task(), 4, sampling(), 11).unwrap();
        for group in 1..4 {
            for (fewer, rollout) in network.rollouts(&task(), group, sampling(), 11).unwrap().iter().zip(&together) {
                assert_eq!((&fewer.tokens, &fewer.answer), (&rollout.tokens, &rollout.answer), "{name}, {template:?}");
                let log_probs = |r: &Rollout| r.choices.iter().map(|c| c.log_prob).collect::<Vec<_>>();
                assert!(difference(&log_probs(fewer), &log_probs(rollout)) < 1e-4);
                assert!(rollout.answer.verdict.is_some());
            }
        }
        if template == Template::Rsafe {
            assert!(together.iter().any(|r| r.tokens != together[0].tokens), "seeds differ, so answers do");
        }
    }
}

#[test]
fn reasoning_that_was_cut_is_not_well_formed() {
    let folder = checkpoint("qwen3", Template::Rsafe);
    let network = network(folder.path(), Template::Rsafe, None);
    let rollouts = network.rollouts(&task(), 4, sampling(), 1).unwrap();
    let close = Tokenizer::from_bytes(&fs::read(folder.path().join("tokenizer.json")).unwrap()).unwrap();
    let close = close.control("</think>").unwrap();
    for rollout in &rollouts {
        let end = rollout.tokens.iter().position(|token| *token == close).unwrap();
        assert_eq!(rollout.well_formed, rollout.choices.iter().any(|choice| choice.at == end));
    }
    assert!(rollouts.iter().any(|rollout| !rollout.well_formed), "random weights hardly ever end by themselves");
}

fn decoder(name: &str, device: &Device) -> Decoder {
    let config = fs::read_to_string(golden(name).join("config.json")).unwrap();
    let bytes = fs::read(golden(name).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, view)| {
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        (name.to_owned(), view.shape().to_vec(), values)
    });
    let mut weights = Weights::from_tensors(device, tensors).unwrap();
    Decoder::load(&DecoderConfig::from_json(&config).unwrap(), &mut weights).unwrap()
}

const PROMPT: [u32; 6] = [7, 300, 21, 9, 500, 64];
const ANSWERS: [&[u32]; 3] = [&[3, 90, 14, 2], &[800], &[41, 42, 43, 44, 45, 46, 47]];

#[test]
fn a_packed_row_reads_as_each_answer_would_alone() {
    for name in ["qwen2-tied", "qwen3", "llama3-scaled-rope"] {
        let decoder = decoder(name, &Device::flex());
        let packed = Packed::new(&PROMPT, ANSWERS);
        let states = decoder.read(&packed);
        for (answer, tokens) in ANSWERS.iter().enumerate() {
            let ids: Vec<i32> = PROMPT.iter().chain(*tokens).map(|id| *id as i32).collect();
            let time = ids.len();
            let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [1, time]), &Device::flex());
            let alone = decoder.forward(ids, None);
            for at in 0..=tokens.len() {
                let state = alone.clone().slice([0..1, PROMPT.len() + at - 1..PROMPT.len() + at]);
                let place = packed.place(answer, at);
                let off = difference(&values(state), &values(states.clone().narrow(0, place, 1)));
                assert!(off < 2e-5, "{name}, answer {answer} at {at}: {off}");
            }
        }
    }
}

#[test]
fn gradients_layer_by_layer_are_those_of_one_graph() {
    for name in ["qwen2-tied", "qwen3", "llama3-scaled-rope"] {
        let answer = ANSWERS[2];
        let targets: Vec<i32> = answer.iter().map(|id| *id as i32).collect();
        let targets: Tensor<2, Int> = Tensor::from_data(TensorData::new(targets, [answer.len(), 1]), &Device::flex());

        let whole = decoder(name, &Device::flex().autodiff());
        let ids: Vec<i32> = PROMPT.iter().chain(answer).map(|id| *id as i32).collect();
        let time = ids.len();
        let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [1, time]), &whole.device());
        let states = whole.forward(ids, None).slice([0..1, PROMPT.len() - 1..time - 1]);
        let log_probs = log_softmax(whole.logits(states).squeeze_dim::<2>(0), 1);
        let loss = log_probs.gather(1, targets.clone().autodiff()).sum();
        let expected = gradients(&whole, GradientsParams::from_grads(loss.backward(), &whole));

        let parts = decoder(name, &Device::flex()).thawed();
        let packed = Packed::new(&PROMPT, [answer]);
        let (states, trace) = parts.trace(&packed);
        let places = PROMPT.len() - 1..packed.ids().len() - 1;
        let some = states.clone().slice([places.clone()]);
        let shares = log_softmax(parts.logits_of(some.clone(), None), 1).exp();
        let ones = Tensor::ones([answer.len(), 1], &Device::flex());
        let of_logits = (-shares).scatter(1, targets, ones, burn::tensor::IndexingUpdateOp::Add);
        let mut sums = GradientsParams::new();
        let of_some = parts.logits_backward(some, None, of_logits, &mut sums);
        let of_states = states.zeros_like().slice_assign([places], of_some);
        parts.backward(&packed, trace, of_states, &mut sums);
        let found = gradients(&parts, sums);

        assert_eq!(found.len(), expected.len(), "{name}");
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let scale = expected.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
            let off = difference(found, expected) / scale;
            assert!(off < 1e-3, "{name}, parameter {index}: {off}");
        }
    }
}

#[test]
fn gradients_are_the_slope_of_the_loss() {
    const STEP: f64 = 0.02;
    let (name, template) = GUARDS[0];
    let folder = checkpoint_in(name, template, Dtype::F32);
    let network = moved(network(folder.path(), template, Some(LoraOptions::default())));
    let rollouts = network.rollouts(&task(), 2, sampling(), 8).unwrap();
    let losses: [fn(Tensor<1>, Tensor<1>) -> Tensor<1>; 2] =
        [|log_probs, _| log_probs.sum(), |_, entropies| entropies.sum()];
    for (index, mut loss) in losses.into_iter().enumerate() {
        let mut found = || network.gradients(&[(&task(), &rollouts)], 0.7, &mut loss).unwrap();
        let squares = gradients(&network, found()).into_iter().flatten().map(|g| f64::from(g).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        // Along its own gradient a loss rises by the gradient's norm.
        let mut at = |distance: f64| {
            let there = SgdConfig::new().init().step(-distance / norm, network.clone(), found());
            let (log_probs, entropies) = there.log_probs(&task(), &rollouts, 0.7).unwrap();
            f64::from(values(losses[index](log_probs, entropies))[0])
        };
        let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        assert!((slope / norm - 1.0).abs() < 0.03, "loss {index}: a slope of {slope}, a norm of {norm}");
    }
}

#[test]
fn encoded_weights_give_the_gradients_of_their_floats() {
    let (name, template) = GUARDS[0];
    let folder = checkpoint(name, template);
    let encoded = network(folder.path(), template, Some(LoraOptions::default()));
    let folder = checkpoint_in(name, template, Dtype::F32);
    let floats = network(folder.path(), template, Some(LoraOptions::default()));

    let rollouts = encoded.rollouts(&task(), 2, sampling(), 2).unwrap();
    let of = |network: &DecoderNetwork| {
        let mut loss = policy_loss(&rollouts, &[1.0, -0.5]);
        gradients(network, network.gradients(&[(&task(), &rollouts)], 0.7, &mut loss).unwrap())
    };
    let (encoded, floats) = (of(&encoded), of(&floats));
    // Two matrices for each projection of both layers.
    assert_eq!((encoded.len(), floats.len()), (2 * 7 * 2, 2 * 7 * 2));
    assert!(encoded.iter().zip(&floats).all(|(a, b)| difference(a, b) < 1e-4));
}

#[test]
fn adapters_begin_as_nothing_and_are_all_that_a_step_moves() {
    let (name, template) = GUARDS[0];
    let folder = checkpoint(name, template);
    let plain = network(folder.path(), template, None);
    let adapted = network(folder.path(), template, Some(LoraOptions { rank: 3, ..Default::default() }));
    let rollouts = plain.rollouts(&task(), 2, sampling(), 4).unwrap();
    let read = |network: &DecoderNetwork| values(network.log_probs(&task(), &rollouts, 1.0).unwrap().0);
    assert!(difference(&read(&plain), &read(&adapted)) < 1e-5);

    let of_adapters: Vec<ParamId> = adapted.decoder().adapters().flat_map(|(_, a)| [a.a.id, a.b.id]).collect();
    assert_eq!(of_adapters.len(), 2 * TARGETS.len() * 2);
    let before = floats(&adapted);
    let base = |network: &DecoderNetwork| -> Vec<Vec<u8>> {
        let base = |stored| match stored {
            Stored::Matrix(matrix) | Stored::Merged(matrix, _) => Some(Stored::Matrix(matrix).bytes()),
            Stored::Vector(_) | Stored::Factor(_) => None,
        };
        network.decoder().tensors().into_iter().filter_map(|(_, stored)| base(stored)).collect()
    };
    let bytes = base(&adapted);
    let after = step(adapted, &task(), &rollouts, &[1.0, -1.0], 0.05);
    assert_eq!(bytes, base(&after), "the bytes of the base");
    // B has a gradient at once, A only where B is no longer zero.
    let after = step(after, &task(), &rollouts, &[1.0, -1.0], 0.05);
    for ((id, before), (_, after)) in before.iter().zip(floats(&after)) {
        assert_eq!(*before != after, of_adapters.contains(id));
    }
    assert!(difference(&read(&plain), &read(&after)) > 1e-2);
}

#[test]
fn a_merged_checkpoint_gives_the_logits_of_the_adapted_model() {
    for (name, template) in GUARDS {
        let folder = checkpoint(name, template);
        let out = tempfile::tempdir().unwrap();
        let targets = ["q_proj", "v_proj", "down_proj"].map(String::from).to_vec();
        let adapted = moved(network(folder.path(), template, Some(LoraOptions { targets, ..Default::default() })));
        adapted.export(out.path()).unwrap();

        let merged = network(out.path(), template, None);
        let rollouts = adapted.rollouts(&task(), 2, sampling(), 8).unwrap();
        let read = |network: &DecoderNetwork| values(network.log_probs(&task(), &rollouts, 1.0).unwrap().0);
        let off = difference(&read(&adapted), &read(&merged));
        assert!(off < 1e-4, "{name}: {off}");
        assert!(difference(&read(&network(folder.path(), template, None)), &read(&merged)) > 1e-3);

        let bytes = fs::read(out.path().join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let dtype = |projection: &str| file.tensor(&format!("model.layers.1.{projection}.weight")).unwrap().dtype();
        assert_eq!((dtype("self_attn.q_proj"), dtype("self_attn.k_proj")), (Dtype::F32, Dtype::BF16));
        let bytes = fs::read(out.path().join("adapter/adapter_model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 2 * 3 * 2);
        let b = file.tensor("base_model.model.model.layers.0.mlp.down_proj.lora_B.weight").unwrap();
        assert_eq!(b.shape(), [64, 8]);
        let config = fs::read(out.path().join("adapter/adapter_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!((&config["r"], &config["lora_alpha"]), (&8.into(), &16.0.into()));

        let bundle = tempfile::tempdir().unwrap();
        let convert_options = ConvertOptions::default().template(template);
        convert(out.path(), bundle.path(), &convert_options).unwrap();
    }
}

#[test]
fn a_step_makes_the_rewarded_answer_likelier() {
    for (name, template) in GUARDS {
        for lora in [Some(LoraOptions::default()), None] {
            let folder = checkpoint(name, template);
            let mut network = network(folder.path(), template, lora.clone());
            let rollouts = network.rollouts(&task(), 4, sampling(), 21).unwrap();
            let sum = |network: &DecoderNetwork| {
                let (log_probs, _) = network.log_probs(&task(), &rollouts, 0.7).unwrap();
                values(log_probs)[..rollouts[0].choices.len()].iter().sum::<f32>()
            };
            let before = sum(&network);
            for _ in 0..3 {
                network = step(network, &task(), &rollouts, &[1.0, 0.0, 0.0, 0.0], 2e-3);
            }
            assert!(sum(&network) > before + 0.01, "{name}, {template:?}, {lora:?}: {before} to {}", sum(&network));
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let (name, template) = GUARDS[0];
    let folder = checkpoint(name, template);
    let refused = |lora: LoraOptions| {
        DecoderNetwork::open(folder.path(), &options(template, Some(lora)), &Device::flex()).unwrap_err().code()
    };
    assert_eq!(refused(LoraOptions { rank: 0, ..Default::default() }), "bad_input");
    assert_eq!(refused(LoraOptions { alpha: f32::NAN, ..Default::default() }), "bad_input");
    assert_eq!(refused(LoraOptions { targets: vec![], ..Default::default() }), "bad_input");
    assert_eq!(refused(LoraOptions { targets: vec!["lm_head".into()], ..Default::default() }), "bad_input");
    let network = network(folder.path(), template, None);
    assert_eq!(network.export(folder.path()).unwrap_err().code(), "bad_input");
}

#[test]
fn a_run_goes_on_with_the_tensors_that_it_saved() {
    let (name, template) = GUARDS[1];
    let folder = checkpoint(name, template);
    for lora in [Some(LoraOptions::default()), None] {
        let trained = moved(network(folder.path(), template, lora.clone()));
        let rollouts = trained.rollouts(&task(), 2, sampling(), 6).unwrap();
        let resumed = network(folder.path(), template, lora).with_tensors(trained.tensors()).unwrap();
        let read = |network: &DecoderNetwork| values(network.log_probs(&task(), &rollouts, 1.0).unwrap().0);
        assert_eq!(read(&trained), read(&resumed));
        // The optimiser finds its state by the parameters' ids.
        assert_eq!(floats(&trained), floats(&resumed));
    }
    let small = LoraOptions { rank: 2, ..Default::default() };
    let tensors = network(folder.path(), template, Some(small)).tensors();
    let error = network(folder.path(), template, Some(LoraOptions::default())).with_tensors(tensors).unwrap_err();
    assert_eq!(error.code(), "bad_model");
}

#[test]
fn a_decoder_is_tuned_under_policies_drawn_from_a_recipe() {
    let folder = checkpoint("qwen2-tied", Template::Rsafe);
    let workshop = tempfile::tempdir().unwrap();
    let rows = workshop_of(workshop.path());
    let setup = Setup {
        data: vec![rows.data],
        decoder: options(Template::Rsafe, Some(LoraOptions::default())),
        ..Setup::new(folder.path().to_owned(), TaskSource::Recipe { recipe: rows.recipe })
    };
    let options = GrpoOptions {
        out: workshop.path().join("tuned"),
        steps: 1,
        prompts: 2,
        group: 2,
        watched: 2,
        ..GrpoOptions::default()
    };
    let mut reports = Vec::new();
    rl::run(&setup, Rewards::rsafe(), &options, |report| reports.push(report.clone())).unwrap();
    assert_eq!((reports.len(), reports[0].groups), (1, 2));
    assert_eq!(reports[0].watched.as_ref().unwrap().rows, 2);
    assert!(options.out.join("model.safetensors").exists());

    // Where sampling at each step is too slow: pairs of its answers are mined once, and learnt from.
    let file = workshop.path().join("pairs.jsonl");
    let mining = MineOptions { out: file.clone(), tasks: 24, temperature: 1.0, top_p: 1.0, ..MineOptions::default() };
    let setup = Setup { answer_first: 1.0, ..setup };
    let found = rl::mine_pairs(&setup, Rewards::rsafe(), &mining, |_| {}).unwrap();
    assert!(found.tasks == 24 && found.pairs > 0, "{found:?}");
    let options = DpoOptions {
        pairs: file.clone(),
        out: workshop.path().join("preferred"),
        epochs: 6,
        learning_rate: 5e-3,
        ..DpoOptions::default()
    };
    let setup = Setup { source: TaskSource::Pairs { tasks_of: file }, data: Vec::new(), ..setup };
    let mut reports = Vec::new();
    rl::run_dpo(&setup, 0, &options, |report| reports.push(report.clone())).unwrap();
    let (first, last) = (&reports[0], &reports[reports.len() - 1]);
    assert!(first.margin.abs() < 1e-4 && last.margin > 0.01, "{first:?} to {last:?}");
    assert!(options.out.join("model.safetensors").exists());
}

#[test]
fn rows_that_have_no_room_in_the_context_are_left_out() {
    let folder = checkpoint("qwen2-tied", Template::Rsafe);
    let workshop = tempfile::tempdir().unwrap();
    // Every so many rows one is longer than the 2,048 tokens that the model can read.
    let file = |name: &str, every: usize| -> PathBuf {
        let row = |i: usize| {
            let text = if i.is_multiple_of(every) { "ж7".repeat(2000) } else { "pick a lock".into() };
            let label = if i % 4 < 2 { "unsafe" } else { "safe" };
            json!({"id": format!("r{i}"), "level": "prompt", "prompt": text, "label": label}).to_string()
        };
        let path = workshop.path().join(name);
        fs::write(&path, (0..60).map(row).collect::<Vec<_>>().join("\n")).unwrap();
        path
    };
    let policy = Box::new(Policy::new("house").category(Category::new("locks", "opening the door")));
    let setup = |rows: PathBuf| Setup {
        data: vec![rows],
        decoder: options(Template::Rsafe, Some(LoraOptions::default())),
        ..Setup::new(folder.path().to_owned(), TaskSource::Policy { policy: policy.clone(), held_out: 0.2 })
    };
    let options = |out: &str| GrpoOptions {
        out: workshop.path().join(out),
        steps: 1,
        prompts: 8,
        group: 2,
        watched: 8,
        ..GrpoOptions::default()
    };
    let mut reports = Vec::new();
    let mixed = setup(file("mixed.jsonl", 2));
    rl::run(&mixed, Rewards::rsafe(), &options("mixed"), |report| reports.push(report.clone())).unwrap();
    let watched = reports[0].watched.as_ref().unwrap().rows;
    assert!((1..8).contains(&reports[0].groups) && (1..8).contains(&watched), "{:?}", reports[0]);

    let long = setup(file("long.jsonl", 1));
    let error = rl::run(&long, Rewards::rsafe(), &options("long"), |_| {}).unwrap_err();
    assert!(error.code() == "bad_input" && error.to_string().contains("room"), "{error}");
    let mining = |out: &str| MineOptions { out: workshop.path().join(out), tasks: 8, ..MineOptions::default() };
    assert_eq!(rl::mine_pairs(&long, Rewards::rsafe(), &mining("none.jsonl"), |_| {}).unwrap().pairs, 0);
}

#[test]
fn a_share_is_between_none_and_all() {
    let folder = checkpoint("qwen2-tied", Template::Rsafe);
    let workshop = tempfile::tempdir().unwrap();
    let rows = workshop_of(workshop.path());
    let whole = Setup {
        data: vec![rows.data],
        decoder: options(Template::Rsafe, None),
        ..Setup::new(folder.path().to_owned(), TaskSource::Recipe { recipe: rows.recipe })
    };
    let out = || GrpoOptions { out: workshop.path().join("out"), steps: 1, ..GrpoOptions::default() };
    for (name, setup) in [
        ("answer_first", Setup { answer_first: 1.5, ..whole.clone() }),
        ("own_policy", Setup { own_policy: -0.1, ..whole.clone() }),
        ("answer_first", Setup { answer_first: f64::NAN, ..whole }),
    ] {
        let error = rl::run(&setup, Rewards::rsafe(), &out(), |_| {}).unwrap_err();
        assert!(error.code() == "bad_input" && error.to_string().contains(name), "{error}");
    }
}
