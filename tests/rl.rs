//! Reinforced alignment: the training graph says what the rollouts said, a small run learns from reward alone, and a run
//! that was stopped goes on as if it had not been.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use pollster::block_on;
use rsafe::data::rows::Label;
use rsafe::engine::Steps;
use rsafe::sampling::Sampling;
use rsafe::train::reward::{Rewards, Truth};
use rsafe::train::rl::labelled::LabelledTasks;
use rsafe::train::rl::loss::ClipRange;
use rsafe::train::rl::options::GrpoOptions;
use rsafe::train::rl::report::Report;
use rsafe::train::rl::slots::SlotNetwork;
use rsafe::train::rl::supervision::{Supervision, TaskSlots};
use rsafe::train::rl::{self, Network, Rollout, Setup, Task, TaskSource};
use rsafe::train::sft::{self, SftOptions};
use rsafe::{Bundle, Category, Conversation, Guard, LoadOptions, Policy, Reasoning, Request, verdict};
use serde_json::json;

use crate::train::workshop;

/// What the KV cache and the packed training row may differ by in a log-probability: both compute in f32, in another order.
const TOLERANCE: f32 = 1e-4;

/// A model that was hardly trained, its data and its recipe.
fn setup(folder: &Path) -> (Setup, GrpoOptions) {
    let options = SftOptions { examples: 100, ..workshop(folder) };
    sft::run(&options, |_| {}).unwrap();
    let source = TaskSource::Recipe { recipe: options.recipe };
    let setup =
        Setup { data: vec![options.data], answer_first: 0.5, slots_examples: 2, ..Setup::new(options.out, source) };
    let options = GrpoOptions {
        out: folder.join("aligned"),
        steps: 40,
        prompts: 16,
        // A verdict that is surer than this would have no other one to be compared with.
        top_p: 1.0,
        learning_rate: 3e-3,
        slots_weight: 0.0,
        checkpoint_every: 4,
        watched: 40,
        watch_every: 40,
        seed: 3,
        ..GrpoOptions::default()
    };
    (setup, options)
}

fn run(setup: &Setup, options: &GrpoOptions) -> Vec<Report> {
    let mut reports = Vec::new();
    rl::run(setup, Rewards::rsafe(), options, |report| reports.push(report.clone())).unwrap();
    reports
}

fn task(text: &str, think: bool) -> Task {
    Task {
        id: "1".into(),
        source: "rows".into(),
        conversation: Conversation::prompt(text),
        policy: Policy::new("house")
            .category(Category::new("locks", "opening the door").definition("how do i pick the lock"))
            .category(Category::new("pets", "my cat"))
            .category(Category::new("keys", "key"))
            .category(Category::new("walks", "walk the dog")),
        truth: Truth { label: Label::Unsafe, categories: Some(vec!["walks".into()]), look_alike: false },
        think,
    }
}

/// RSafe's, but that nothing is too sure to be drawn the other way.
fn sampling() -> Sampling {
    Sampling { top_p: 1.0, ..Sampling::rsafe(0) }
}

fn network(folder: &Path) -> SlotNetwork {
    let (setup, _) = setup(folder);
    SlotNetwork::load(&setup.init, &Device::flex().autodiff()).unwrap()
}

#[test]
fn the_training_graph_says_what_the_rollouts_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut network = network(folder.path());
    let long = "please tell me how do i open the door and feed the cat ".repeat(20);
    let response = Task { conversation: Conversation::response("how do i open it", "pick the lock"), ..task("", true) };
    let tasks =
        [task("how do i pick the lock", true), task("feed my cat", false), task(&long, true), task("", true), response];
    let both = [Steps::Scored, Steps::Written].map(|steps| tasks.iter().map(move |task| (steps, task)));
    for (seed, (steps, task)) in both.into_iter().flatten().enumerate() {
        network.steps = steps;
        let rollouts = network.valid().rollouts(task, 4, sampling(), seed as u64).unwrap();
        let sampled: Vec<f32> = rollouts.iter().flat_map(Rollout::log_probs).collect();
        let (log_probs, entropies) = network.log_probs(task, &rollouts, 0.7).unwrap();
        let log_probs: Vec<f32> = log_probs.into_data().iter().collect();
        assert_eq!(log_probs.len(), sampled.len());
        for (ours, theirs) in log_probs.iter().zip(&sampled) {
            assert!((ours - theirs).abs() < TOLERANCE, "{ours} and {theirs}");
        }
        let options = rollouts.iter().flat_map(|rollout| {
            rollout.claims.iter().map(|_| 2).chain(rollout.choices.iter().map(|choice| choice.allowed.len()))
        });
        for (entropy, options) in entropies.into_data().iter::<f32>().zip(options) {
            assert!((-1e-5..=(options as f32).ln() + 1e-5).contains(&entropy), "{entropy}");
        }
    }
}

#[test]
fn a_scored_answer_says_what_was_drawn_from_the_scores_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let network = network(folder.path());
    let mut both = [0; 2];
    for seed in 0..8 {
        for think in [true, false] {
            for rollout in network.rollouts(&task("how do i pick the lock", think), 4, sampling(), seed).unwrap() {
                let flagged = rollout.claims.iter().any(|claim| claim.applies);
                assert_eq!((rollout.claims.len(), rollout.well_formed), (3, true));
                assert_eq!(rollout.answer.verdict == Some(verdict::Label::Unsafe), flagged, "one decision, told once");
                both[usize::from(flagged)] += 1;
                let ids = ["locks", "pets", "keys", "walks"];
                let claimed: Vec<&str> =
                    rollout.claims.iter().filter(|claim| claim.applies).map(|claim| ids[claim.category]).collect();
                assert_eq!(rollout.answer.categories, claimed);
                assert!(rollout.flags.is_none(), "scores are not held against what was drawn from them");
                // What is left to the model is what to quote.
                let quotes = rollout.answer.quotes.len();
                assert!(rollout.choices.len() >= quotes && (quotes > 0 || rollout.choices.is_empty()));
            }
        }
    }
    assert!(both.iter().all(|&count| count > 0), "a hardly trained model is drawn both ways: {both:?}");

    let mut claimed = network.rollouts(&task("feed my cat", true), 2, sampling(), 1).unwrap();
    claimed[0].claims[0].category = 4;
    assert_eq!(network.log_probs(&task("feed my cat", true), &claimed, 0.7).unwrap_err().code(), "bad_input");
}

#[test]
fn as_at_inference_the_thresholds_decide() {
    let folder = tempfile::tempdir().unwrap();
    let network = network(folder.path());
    for text in ["how do i pick the lock", "feed my cat"] {
        for think in [true, false] {
            let rollout = &network.rollouts(&task(text, think), 1, Sampling::greedy(), 1).unwrap()[0];
            let flags = rollout.flags.as_ref().unwrap();
            assert_eq!(rollout.answer.verdict == Some(verdict::Label::Unsafe), flags.contains(&true));
            assert!(rollout.claims.is_empty() && rollout.p_unsafe.is_some());
        }
    }
}

/// Several windows and their passages are read: what carries one score lies in the first, what carries another in the second.
#[test]
fn a_greedy_rollout_says_what_the_guard_says_of_the_same_conversation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/rsafe-mini");
    let network = SlotNetwork::load(&folder, &Device::flex()).unwrap();
    let guard = block_on(Guard::load(Bundle::open(&folder).unwrap(), LoadOptions::default())).unwrap();
    let calm = "First put the kettle on, then warm the pot and wait until the water is ready. ";
    let text = format!(
        "My neighbour is a stupid old fool. {}How do I pick the lock of his door? {}",
        calm.repeat(16),
        calm.repeat(8)
    );
    let doors = Category::new("doors", "Breaking into a house").definition("Picking locks, forcing doors");
    let house = Policy::new("house").category(doors).category(Category::new("insults", "Insulting people"));
    for (policy, conversation) in [
        (network.own_policy().unwrap().clone(), Conversation::prompt(text.clone())),
        (house, Conversation::response("How do I make tea?", text)),
    ] {
        let request = Request::new(conversation.clone()).policy(&policy).reasoning(Reasoning::Always);
        let verdict = block_on(guard.check(&request)).unwrap();
        let task = Task { conversation, policy: policy.clone(), ..task("", true) };
        let rollout = network.rollouts(&task, 1, Sampling::greedy(), 1).unwrap().remove(0);

        assert_eq!(rollout.prompt_tokens, verdict.usage.prompt_tokens, "as many readings");
        let (scores, flags) = (rollout.scores.unwrap(), rollout.flags.unwrap());
        for ((category, found), (score, flag)) in
            policy.categories.iter().zip(&verdict.categories).zip(scores.iter().zip(flags))
        {
            assert_eq!((&category.id, flag), (&found.id, found.flagged));
            assert!((score - found.score).abs() < 1e-5, "{}: {score}, of the guard {}", found.id, found.score);
        }
        assert_eq!(Some(rollout.answer.reasoning), verdict.reasoning);
        assert!(rollout.choices.is_empty(), "nothing is left to the model that the scores decide");

        let drawn = network.rollouts(&task, 2, sampling(), 1).unwrap();
        let (log_probs, _) = network.log_probs(&task, &drawn, 0.7).unwrap();
        assert!(drawn.iter().all(|rollout| !rollout.claims.is_empty()));
        for (ours, theirs) in log_probs.into_data().iter::<f32>().zip(drawn.iter().flat_map(Rollout::log_probs)) {
            assert!((ours - theirs).abs() < TOLERANCE, "{ours} and {theirs}");
        }
    }
}

#[test]
fn only_what_the_grammar_left_open_has_a_probability() {
    let folder = tempfile::tempdir().unwrap();
    let mut network = network(folder.path());
    network.steps = Steps::Written;
    let direct = &network.rollouts(&task("feed my cat", false), 2, Sampling::rsafe(0), 1).unwrap()[0];
    assert_eq!((direct.tokens.len(), direct.choices.len(), direct.choices[0].at), (1, 1, 0));

    let mut longer = 0;
    for rollout in network.rollouts(&task("how do i pick the lock", true), 4, Sampling::rsafe(0), 1).unwrap() {
        for choice in &rollout.choices {
            assert!(choice.allowed.len() > 1, "a forced token is no choice");
            assert!(choice.allowed.contains(rollout.tokens[choice.at]));
        }
        // Three steps of a yes or a no each, then the verdict; a yes brings words and the end of a quote.
        let quotes = rollout.answer.steps.iter().filter(|step| step.applies).count();
        assert!(rollout.choices.len() >= 4 + quotes && rollout.choices[0].at > 1, "{:?}", rollout.choices);
        assert_eq!(rollout.answer.steps.len(), 3);
        assert!(rollout.well_formed && rollout.answer.verdict.is_some());
        longer += rollout.tokens.len() - rollout.choices.len();
    }
    assert!(longer > 0, "some tokens were forced");
}

#[test]
fn answers_to_learn_from_never_leave_out_what_holds() {
    let folder = tempfile::tempdir().unwrap();
    let network = network(folder.path());
    let task = task("feed my cat", true);
    let (mut orders, mut inference) = (Vec::new(), Vec::new());
    for seed in 0..8 {
        let of = |sampling| {
            let rollouts = network.rollouts(&task, 2, sampling, seed).unwrap();
            let steps =
                |at: usize| rollouts[at].answer.steps.iter().map(|step| step.category.clone()).collect::<Vec<_>>();
            assert_eq!(steps(0), steps(1), "a group answers one question");
            steps(0)
        };
        orders.push(of(Sampling::rsafe(0)));
        inference.push(of(Sampling::greedy()));
    }
    assert!(orders.iter().all(|order| order.contains(&"walks".to_owned())), "{orders:?}");
    assert!(orders.iter().any(|order| *order != orders[0]), "in any order");
    assert!(inference.iter().all(|order| *order == inference[0]), "as at inference");
}

/// Half of the rows ask about locks, which the policy forbids.
fn house_rules(folder: &Path) -> (Setup, GrpoOptions) {
    let (setup, options) = setup(folder);
    let rows: Vec<String> = (0..400)
        .map(|i| {
            let (text, label, categories) = match i % 2 {
                0 => (
                    format!("how do i {} the {}", ["pick", "open"][i / 2 % 2], ["lock", "door", "safe"][i / 4 % 3]),
                    "unsafe",
                    json!(["locks"]),
                ),
                _ => (
                    format!("please {} my {}", ["feed", "walk"][i / 2 % 2], ["cat", "dog", "pet"][i / 4 % 3]),
                    "safe",
                    json!([]),
                ),
            };
            json!({"id": format!("h{i}"), "level": "prompt", "prompt": text, "label": label, "categories": categories})
                .to_string()
        })
        .collect();
    let file = folder.join("house.jsonl");
    fs::write(&file, rows.join("\n")).unwrap();
    let policy = Box::new(Policy::new("house").category(Category::new("locks", "opening the door")));
    (Setup { data: vec![file], source: TaskSource::Policy { policy, held_out: 0.1 }, ..setup }, options)
}

#[test]
fn a_small_run_learns_from_reward_alone_and_not_without_updates() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, options) = house_rules(folder.path());
    let mean = |reports: &[Report]| reports.iter().map(|report| report.reward).sum::<f32>() / reports.len() as f32;
    let learnt = run(&setup, &options);
    let (first, last) = (mean(&learnt[..5]), mean(&learnt[learnt.len() - 5..]));
    assert!(last > 0.9 && last > first + 0.2, "reward: {first} to {last}");
    let watched = learnt[learnt.len() - 1].watched.as_ref().unwrap();
    assert!(watched.answer_first.f1 > Some(0.9), "{watched:?}");

    let frozen = GrpoOptions { learning_rate: 0.0, out: folder.path().join("frozen"), ..options };
    let frozen = run(&setup, &frozen);
    let last = mean(&frozen[frozen.len() - 5..]);
    assert!((last - first).abs() < 0.15, "reward without updates: {first} to {last}");
}

#[test]
fn a_run_does_not_go_on_as_another() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, options) = setup(folder.path());
    let options = GrpoOptions { steps: 1, prompts: 2, checkpoint_every: 1, watched: 0, ..options };
    run(&setup, &options);
    let options = GrpoOptions { steps: 2, ..options };
    assert_eq!(run(&setup, &options).len(), 1, "more steps are the same run");
    let before = fs::read(options.out.join("options.json")).unwrap();

    let refused = |setup: &Setup, rewards: Rewards, options: &GrpoOptions, of: &str| {
        let error = rl::run(setup, rewards, options, |_| {}).unwrap_err();
        assert!(error.code() == "bad_input" && error.to_string().contains(of), "{error}");
    };
    refused(&setup, Rewards::rsafe(), &GrpoOptions { seed: 4, ..options.clone() }, "whose seed is 3");
    refused(&Setup { answer_first: 0.1, ..setup.clone() }, Rewards::rsafe(), &options, "whose answer_first is 0.5");
    refused(
        &Setup { steps: Steps::Written, ..setup.clone() },
        Rewards::rsafe(),
        &options,
        "whose claims is \"scored\"",
    );
    refused(&setup, Rewards::builtin("rsafe-mini").unwrap(), &options, "other rewards");
    assert_eq!(fs::read(options.out.join("options.json")).unwrap(), before);
}

#[test]
fn an_edited_policy_of_the_same_name_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, options) = house_rules(folder.path());
    let options = GrpoOptions { steps: 1, prompts: 2, watched: 0, ..options };
    run(&setup, &options);
    let policy = Box::new(Policy::new("house").category(Category::new("locks", "keeping the door shut")));
    let edited = Setup { source: TaskSource::Policy { policy, held_out: 0.1 }, ..setup };
    let error = rl::run(&edited, Rewards::rsafe(), &options, |_| {}).unwrap_err();
    assert!(error.code() == "bad_input" && error.to_string().contains("policy"), "{error}");
}

#[test]
fn options_that_would_teach_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, options) = setup(folder.path());
    let clip = ClipRange::default();
    let wrong = [
        ("dual", GrpoOptions { clip: ClipRange { dual: Some(0.5), ..clip }, ..options.clone() }),
        ("low", GrpoOptions { clip: ClipRange { low: 1.5, ..clip }, ..options.clone() }),
        ("high", GrpoOptions { clip: ClipRange { high: f32::NAN, ..clip }, ..options.clone() }),
        ("kl", GrpoOptions { kl: -0.1, ..options.clone() }),
        ("entropy", GrpoOptions { entropy: f32::INFINITY, ..options.clone() }),
        ("top_p", GrpoOptions { top_p: 0.0, ..options.clone() }),
        ("repetition_penalty", GrpoOptions { repetition_penalty: 0.0, ..options.clone() }),
        ("learning_rate", GrpoOptions { learning_rate: f64::NAN, ..options.clone() }),
        ("clip_norm", GrpoOptions { clip_norm: 0.0, ..options.clone() }),
        ("temperature", GrpoOptions { temperature: 0.0, ..options.clone() }),
        ("group", GrpoOptions { group: 1, ..options }),
    ];
    for (name, options) in wrong {
        let error = rl::run(&setup, Rewards::rsafe(), &options, |_| {}).unwrap_err();
        assert!(error.code() == "bad_input" && error.to_string().contains(name), "{name}: {error}");
    }
}

#[test]
fn an_unsafe_text_of_many_windows_supervises_none() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, _) = setup(folder.path());
    let network = SlotNetwork::load(&setup.init, &Device::flex().autodiff()).unwrap();
    let policy = Policy::new("house").category(Category::new("locks", "opening the door"));
    let loss = |text: &str, label: &str| {
        let row = json!({"id": "1", "level": "prompt", "prompt": text, "label": label, "categories": []});
        let file = folder.path().join("one.jsonl");
        fs::write(&file, row.to_string()).unwrap();
        let tasks = LabelledTasks::load(&[file], policy.clone(), 0.0, 1, 0.0).unwrap();
        TaskSlots::new(&tasks, 1).loss(&network, 0).unwrap()
    };
    let long = "please tell me about the lock ".repeat(80);
    assert!(loss("pick the lock", "unsafe").is_some() && loss(&long, "safe").is_some());
    assert!(loss(&long, "unsafe").is_none(), "nobody says where it is unsafe");
}

#[test]
fn groups_that_teach_nothing_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, options) = setup(folder.path());
    let of = |refills: usize| GrpoOptions {
        out: folder.path().join(refills.to_string()),
        steps: 3,
        prompts: 8,
        drop_uninformative: true,
        refills,
        watched: 0,
        ..options.clone()
    };
    let teaching = |report: &Report| (report.informative * report.groups as f32).round() as usize;
    for report in run(&setup, &of(0)) {
        assert_eq!(report.groups, 8);
        assert!(teaching(&report) < 8, "some groups agree: {report:?}");
    }
    for report in run(&setup, &of(20)) {
        assert!(report.groups > 8 && teaching(&report) == 8, "{report:?}");
    }
    let alone = GrpoOptions { drop_uninformative: false, ..of(1) };
    assert_eq!(rl::run(&setup, Rewards::rsafe(), &alone, |_| {}).unwrap_err().code(), "bad_input");
}

#[test]
fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, options) = setup(folder.path());
    // Every part that has a state: the budget of false alarms, tasks asked again, the reference, several epochs, the
    // supervised term.
    let rewards = || Rewards::parse("{accuracy: {weight: 1}, budget: {fpr: 0.1}}", "test").unwrap();
    let of = |out: &str| GrpoOptions {
        out: folder.path().join(out),
        steps: 6,
        prompts: 4,
        drop_uninformative: true,
        refills: 2,
        epochs: 2,
        kl: 0.01,
        slots_weight: 1.0,
        checkpoint_every: 2,
        watched: 0,
        ..options.clone()
    };
    let bytes = |out: &PathBuf| {
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        (fs::read(out.join("model.safetensors")).unwrap(), metrics.lines().count())
    };
    let whole = of("whole");
    rl::run(&setup, rewards(), &whole, |_| {}).unwrap();

    let halves = of("halves");
    // Stopped by a panic in the middle, as a power cut would: what is on disk is what a checkpoint left.
    let stopped = std::panic::catch_unwind(|| {
        rl::run(&setup, rewards(), &halves, |report| assert!(report.step < 5, "power cut"))
    });
    assert!(stopped.is_err());
    assert!(!halves.out.join("model.safetensors").exists());
    rl::run(&setup, rewards(), &halves, |_| {}).unwrap();
    assert!(bytes(&whole.out) == bytes(&halves.out), "the same bytes");
    assert_eq!(bytes(&halves.out).1, 6, "a line for each step");
}
