//! Preference tuning: pairs are mined out of a model's own answers, learnt from, and teach it the verdict.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use rsafe::data::rows::Label;
use rsafe::sampling::Sampling;
use rsafe::train::reward::Rewards;
use rsafe::train::rl::dpo::{DpoOptions, DpoReport};
use rsafe::train::rl::labelled::LabelledTasks;
use rsafe::train::rl::mine::MineOptions;
use rsafe::train::rl::pairs::{Graded, Pair, read};
use rsafe::train::rl::slots::SlotNetwork;
use rsafe::train::rl::{Network, Rollout, Setup, Task, TaskSource, Tasks, mine_pairs, run_dpo};
use rsafe::train::sft::{self, SftOptions};
use rsafe::{Category, Policy, verdict};
use serde_json::json;

use crate::train::workshop;

/// A model that has learnt next to nothing, and rows of which a policy of one category forbids every other.
fn setup(folder: &Path) -> Setup {
    let options = SftOptions { examples: 32, ..workshop(folder) };
    sft::run(&options, |_| {}).unwrap();
    let rows: Vec<String> = (0..120)
        .map(|i| {
            let (label, text) = match i % 2 {
                0 => (
                    "unsafe",
                    format!("how do i {} the {}", ["pick", "open"][i / 2 % 2], ["lock", "door", "safe"][i / 4 % 3]),
                ),
                _ => {
                    ("safe", format!("please {} my {}", ["feed", "walk"][i / 2 % 2], ["cat", "dog", "pet"][i / 4 % 3]))
                }
            };
            let categories = if label == "unsafe" { vec!["L"] } else { Vec::new() };
            json!({"id": format!("d{i}"), "source": "rows", "level": "prompt", "prompt": text, "response": null,
                   "label": label, "categories": categories, "lang": "en", "split": "train"})
            .to_string()
        })
        .collect();
    let data = folder.join("labelled.jsonl");
    fs::write(&data, rows.join("\n")).unwrap();
    let source = TaskSource::Policy { policy: Box::new(policy()), held_out: 0.2 };
    Setup { data: vec![data], answer_first: 0.5, slots_examples: 4, ..Setup::new(options.out, source) }
}

fn policy() -> Policy {
    Policy::new("house").category(Category::new("L", "opening the door").definition("how do i pick the lock"))
}

/// The pairs of that many tasks, and the file that holds them.
fn mined(setup: &Setup, folder: &Path, tasks: usize) -> (Vec<Pair>, PathBuf) {
    let out = folder.join("pairs.jsonl");
    let options = MineOptions { out: out.clone(), tasks, ..MineOptions::default() };
    let found = mine_pairs(setup, Rewards::rsafe(), &options, |_| {}).unwrap();
    let pairs = read(&out).unwrap();
    assert_eq!((found.tasks, found.of, found.pairs), (tasks, tasks, pairs.len()));
    assert_eq!(found.misses, pairs.iter().filter(|pair| pair.safety() == 1.0).count());
    (pairs, out)
}

fn tasks(setup: &Setup, count: usize) -> Vec<Task> {
    LabelledTasks::load(&setup.data, policy(), 0.2, 1, 0.0).unwrap().watched(count).unwrap()
}

/// The share of tasks that a trained model's verdict is right about.
fn accuracy(model: &Path, tasks: &[Task]) -> f64 {
    let network = SlotNetwork::load(model, &Device::flex()).unwrap();
    let right = |task: &&Task| {
        let verdict = network.rollouts(task, 1, Sampling::greedy(), 0).unwrap()[0].answer.verdict;
        verdict == Some(if task.truth.label == Label::Unsafe { verdict::Label::Unsafe } else { verdict::Label::Safe })
    };
    tasks.iter().filter(right).count() as f64 / tasks.len() as f64
}

fn tuned(setup: &Setup, options: &DpoOptions) -> Vec<DpoReport> {
    let mut reports = Vec::new();
    run_dpo(setup, 16, options, |report| reports.push(report.clone())).unwrap();
    reports
}

#[test]
fn mined_pairs_teach_a_model_the_verdict_that_it_did_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let (pairs, file) = mined(&setup, folder.path(), 96);
    for Pair { chosen, rejected, .. } in &pairs {
        assert!(!chosen.miss && (rejected.miss || chosen.reward - rejected.reward >= 0.5));
    }

    let out = folder.path().join("tuned");
    let options = DpoOptions {
        pairs: file,
        out: out.clone(),
        epochs: 12,
        batch: 16,
        learning_rate: 3e-3,
        watch_every: 1000,
        ..DpoOptions::default()
    };
    let reports = tuned(&setup, &options);
    let (first, last) = (&reports[0], &reports[reports.len() - 1]);
    assert_eq!((last.step, last.of), (reports.len(), reports.len()));
    // The reference is what the run begins with: at first nothing is ahead of anything.
    assert!(first.margin.abs() < 1e-4 && (first.loss - 2f32.ln()).abs() < 1e-4, "{first:?}");
    assert!(last.margin > 0.1 && last.accuracy > 0.9 && last.loss < first.loss, "{last:?}");

    let held_out = tasks(&setup, 40);
    let [before, after] = [&setup.init, &out].map(|model| accuracy(model, &held_out));
    assert!(before < 0.8 && after > 0.95, "verdicts on held-out rows: {before} before, {after} after");
    assert_eq!(last.watched.as_ref().unwrap().rows, 16);
}

#[test]
fn the_safety_margin_is_asked_of_pairs_against_a_miss_alone() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let (pairs, file) = mined(&setup, folder.path(), 48);
    let misses = pairs.iter().filter(|pair| pair.safety() == 1.0).count();
    assert!(0 < misses && misses < pairs.len(), "{misses} of {} pairs against a miss", pairs.len());
    let options = DpoOptions {
        pairs: file,
        out: folder.path().join("margin"),
        batch: pairs.len(),
        safety_margin: 2.0,
        slots_weight: 0.0,
        ..DpoOptions::default()
    };
    // Before the first update nothing is ahead: -log σ(-2) of a pair against a miss, -log σ(0) of any other.
    let expected = (misses as f32 * 2.126_928 + (pairs.len() - misses) as f32 * 2f32.ln()) / pairs.len() as f32;
    let reports = tuned(&setup, &options);
    assert_eq!(reports.len(), 1);
    assert!((reports[0].loss - expected).abs() < 1e-3, "{} instead of {expected}", reports[0].loss);
    assert_eq!(reports[0].slots_loss, 0.0);
}

#[test]
fn a_preference_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let rows = setup(folder.path());
    let (_, file) = mined(&rows, folder.path(), 48);
    // Without rows, the supervised term is drawn from the pairs' own tasks.
    let setup = Setup { source: TaskSource::Pairs { tasks_of: file.clone() }, data: Vec::new(), ..rows };
    let options = |name: &str| DpoOptions {
        pairs: file.clone(),
        out: folder.path().join(name),
        epochs: 3,
        batch: 8,
        learning_rate: 1e-3,
        checkpoint_every: 2,
        ..DpoOptions::default()
    };
    let model = |options: &DpoOptions| fs::read(options.out.join("model.safetensors")).unwrap();

    let whole = options("whole");
    let expected = tuned(&setup, &whole);
    assert!(expected.len() > 6, "{} steps", expected.len());

    let halves = options("halves");
    // Stopped by a panic in the middle, as a power cut would: what is on disk is what a checkpoint left.
    let stopped =
        std::panic::catch_unwind(|| run_dpo(&setup, 0, &halves, |report| assert!(report.step < 5, "power cut")));
    assert!(stopped.is_err());
    assert!(!halves.out.join("model.safetensors").exists());
    let rest = tuned(&setup, &halves);
    assert_eq!(rest[0].step, 5, "goes on behind the checkpoint of step 4");
    assert!(model(&whole) == model(&halves), "the same bytes");
    let lines = fs::read_to_string(halves.out.join("metrics.jsonl")).unwrap();
    let steps: Vec<usize> = lines.lines().map(|line| serde_json::from_str::<DpoReport>(line).unwrap().step).collect();
    assert_eq!(steps, (1..=expected.len()).collect::<Vec<_>>(), "every step once");
}

#[test]
fn an_answer_in_a_file_is_as_likely_as_when_it_was_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let network = SlotNetwork::load(&setup.init, &Device::flex()).unwrap();
    let sampling = Sampling { temperature: 0.7, top_p: 0.8, repetition_penalty: 1.05, ..Sampling::greedy() };
    for task in tasks(&setup, 6) {
        let sampled = network.rollouts(&task, 3, sampling, 11).unwrap();
        let read_back: Vec<_> = sampled
            .iter()
            .map(|rollout| {
                let json = serde_json::to_string(&Graded::new(rollout, 0.5, false)).unwrap();
                serde_json::from_str::<Graded>(&json).unwrap().rollout().unwrap()
            })
            .collect();
        let task: Task = serde_json::from_str(&serde_json::to_string(&task).unwrap()).unwrap();
        let (log_probs, _) = network.log_probs(&task, &read_back, 0.7).unwrap();
        let expected = sampled.iter().flat_map(Rollout::log_probs);
        let found: Vec<f32> = log_probs.into_data().iter::<f32>().collect();
        assert_eq!(found.len(), sampled.iter().map(Rollout::decisions).sum::<usize>());
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found}, when sampled {expected}");
        }
        let mut elsewhere = read_back;
        elsewhere[0].window = 9;
        assert_eq!(network.log_probs(&task, &elsewhere, 0.7).unwrap_err().code(), "bad_input");
    }
}
