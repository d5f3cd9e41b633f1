//! What the cache of a policy gains: one guard under a policy of about 1,000 tokens, asked with that policy
//! again and again (its states are there) and with a policy that is new each time (they are not).

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pollster::block_on;
use rsafe::bundle::Bundle;
use rsafe::guard::{Guard, LoadOptions, Reasoning, Request};
use rsafe::{Category, Policy};

/// Ten categories of about 100 tokens each. `edition` changes the first words, so that nothing of another
/// edition's states can be used.
fn policy(edition: usize) -> Policy {
    (1..=10).fold(Policy::new(format!("edition {edition}")), |policy, number| {
        policy.category(
            Category::new(format!("S{number}"), format!("Edition {edition}, part {number}"))
                .definition("Asking for or giving help with what the house does not want to help with. ".repeat(6)),
        )
    })
}

fn prefix_cache(c: &mut Criterion) {
    let bundle = Bundle::embedded().expect("the model is in the build");
    let guard = block_on(Guard::load(bundle, LoadOptions::default())).expect("the embedded model loads");
    let check = |policy: &Policy| {
        let request = Request::prompt("How do I pick a lock?").policy(policy).reasoning(Reasoning::Never);
        block_on(guard.check(&request)).expect("the request fits the context")
    };
    let mut group = c.benchmark_group("policy of 1,000 tokens");

    let known = policy(0);
    check(&known);
    group.bench_function("seen before", |b| b.iter(|| black_box(check(&known))));

    let mut edition = 0;
    group.bench_function("new", |b| {
        b.iter_batched(
            || {
                edition += 1;
                policy(edition)
            },
            |policy| black_box(check(&policy)),
            BatchSize::PerIteration,
        )
    });
    group.finish();
}

criterion_group!(benches, prefix_cache);
criterion_main!(benches);
