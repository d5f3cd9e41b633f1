//! What the caches gain, for a decoder of 15M parameters under a policy of about 1,000 tokens and for rsafe-mini.
//!
//! | group | without the cache | with it |
//! |---|---|---|
//! | decoder | the policy is new each time | the policy was seen before |
//! | rsafe-mini, policies | the conversation is new | the conversation was judged under another policy |
//! | rsafe-mini, response | the response is new | the response was judged when it was 32 tokens shorter |

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pollster::block_on;
use rsafe::bundle::{Bundle, Manifest, write_bundle};
use rsafe::guard::{Guard, LoadOptions, Reasoning, Request};
use rsafe::kernels::Encoding;
use rsafe::prompt::Template;
use rsafe::verdict::Verdict;
use rsafe::{Category, Policy};

fn check(guard: &Guard, request: Request<'_>) -> Verdict {
    block_on(guard.check(&request.reasoning(Reasoning::Never))).expect("the request fits the context")
}

/// `edition` changes the first words, so that nothing of another edition's states can be used.
fn policy(edition: usize) -> Policy {
    (1..=6).fold(Policy::new(format!("edition {edition}")), |policy, number| {
        policy.category(
            Category::new(format!("S{number}"), format!("Edition {edition}, part {number}"))
                .definition("Asking for or giving help with what the house does not want to help with. ".repeat(4)),
        )
    })
}

/// A Qwen2 of 15M parameters with made-up weights: speed does not depend on their values.
fn decoder() -> Guard {
    const LAYERS: usize = 8;
    const HIDDEN: usize = 384;
    const INNER: usize = 1536;
    const HEADS: usize = 6;
    const KV_HEADS: usize = 2;
    const VOCAB: usize = 1024;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qwen2-tied");
    let config = serde_json::json!({
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "tie_word_embeddings": true, "eos_token_id": 2
    });
    let mut state = 1u32;
    let mut made_up = |name: String, shape: Vec<usize>| {
        let values = (0..shape.iter().product()).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 * 0.08 - 0.04
        });
        let values = values.collect();
        (name, shape, values)
    };
    let kv = KV_HEADS * HIDDEN / HEADS;
    let mut tensors = vec![
        made_up("model.embed_tokens.weight".into(), vec![VOCAB, HIDDEN]),
        made_up("model.norm.weight".into(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let shapes = [
            ("input_layernorm.weight", vec![HIDDEN]),
            ("post_attention_layernorm.weight", vec![HIDDEN]),
            ("self_attn.q_proj.weight", vec![HIDDEN, HIDDEN]),
            ("self_attn.q_proj.bias", vec![HIDDEN]),
            ("self_attn.k_proj.weight", vec![kv, HIDDEN]),
            ("self_attn.k_proj.bias", vec![kv]),
            ("self_attn.v_proj.weight", vec![kv, HIDDEN]),
            ("self_attn.v_proj.bias", vec![kv]),
            ("self_attn.o_proj.weight", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj.weight", vec![INNER, HIDDEN]),
            ("mlp.up_proj.weight", vec![INNER, HIDDEN]),
            ("mlp.down_proj.weight", vec![HIDDEN, INNER]),
        ];
        tensors.extend(shapes.map(|(name, shape)| made_up(format!("model.layers.{layer}.{name}"), shape)));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokenizer = std::fs::read(fixture.join("tokenizer.json")).expect("the fixture's tokenizer");
    let manifest = Manifest::new("bench", "Qwen2ForCausalLM", config, Template::Rsafe);
    let out = folder.path().join("bundle");
    write_bundle(&out, manifest, vec![("tokenizer.json".into(), tokenizer)], tensors, Encoding::Q8, false)
        .expect("a bundle");
    let bundle = Bundle::open(out).expect("the bundle just written");
    block_on(Guard::load(bundle, LoadOptions::default())).expect("the bundle loads")
}

fn policy_prefix(c: &mut Criterion) {
    let guard = decoder();
    let mut group = c.benchmark_group("decoder, policy of about 1,000 tokens");
    group.sample_size(10);
    let known = policy(0);
    fn request(policy: &Policy) -> Request<'_> {
        Request::prompt("How do I pick a lock?").policy(policy)
    }
    let usage = check(&guard, request(&known)).usage;
    println!("prompt of {} tokens, {} of them in the cache when the policy is known", usage.prompt_tokens, {
        check(&guard, request(&known)).usage.cached_tokens
    });
    group.bench_function("seen before", |b| b.iter(|| black_box(check(&guard, request(&known)))));
    let mut edition = 0;
    let mut next = || {
        edition += 1;
        policy(edition)
    };
    group.bench_function("new", |b| {
        b.iter_batched(&mut next, |policy| black_box(check(&guard, request(&policy))), BatchSize::PerIteration)
    });
    group.finish();
}

fn conversation(c: &mut Criterion) {
    let bundle = Bundle::embedded().expect("the model is in the build");
    let guard = block_on(Guard::load(bundle, LoadOptions::default())).expect("the embedded model loads");
    let sentence = "First warm the pot, then let the leaves stand for a while, and pour. ";
    let policy = Policy::new("house").category(Category::new("tea", "Tea and coffee"));
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        format!("{number}: {}", sentence.repeat(6))
    };

    let mut group = c.benchmark_group("rsafe-mini");
    group.sample_size(20);
    group.bench_function("new conversation", |b| {
        b.iter_batched(
            &mut fresh,
            |text| black_box(check(&guard, Request::response("How do I make tea?", text).policy(&policy))),
            BatchSize::PerIteration,
        )
    });
    group.bench_function("response that has grown by 32 tokens", |b| {
        b.iter_batched(
            || {
                let text = fresh();
                let cut = text.len() - 2 * sentence.len();
                let _ = check(&guard, Request::response("How do I make tea?", &text[..cut]).policy(&policy));
                text
            },
            |text| black_box(check(&guard, Request::response("How do I make tea?", text).policy(&policy))),
            BatchSize::PerIteration,
        )
    });
    let known = fresh();
    group.bench_function("conversation judged before, another policy", |b| {
        b.iter(|| black_box(check(&guard, Request::response("How do I make tea?", known.as_str()).policy(&policy))))
    });
    group.finish();
}

criterion_group!(benches, policy_prefix, conversation);
criterion_main!(benches);
