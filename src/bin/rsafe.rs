#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let o = rsafe::train::sft::SftOptions { recipe: "models/rsafe-mini/recipe.yaml".into(), data: "/work/shared/data/train".into(), init: a[1].clone().into(), out: a[2].clone().into(), examples: a[3].parse().unwrap(), batch_tokens: a[4].parse().unwrap(), learning_rate: a[5].parse().unwrap(), weight_decay: 0.01, seed: 1, max_judged: a[6].parse().unwrap(), max_context: 48, checkpoint_every: 100 };
    rsafe::train::sft::run(&o, |r| println!("{}", serde_json::to_string(r).unwrap())).unwrap();
}
