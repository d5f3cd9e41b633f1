//! Training from the command line: the steps of a model card, one after the other, on a model of a few thousand weights.

use std::fs;
use std::path::Path;

use pollster::block_on;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rsafe::Bundle;
use rsafe::bundle::save_manifest;
use rsafe::data::rows::Label;
use rsafe::train::rl::pairs;
use serde_json::json;

use crate::train::workshop;

/// Runs a command in a folder; its words are separated by spaces.
fn rsafe(folder: &Path, command: &str) -> assert_cmd::assert::Assert {
    let mut rsafe = assert_cmd::cargo::cargo_bin_cmd!("rsafe");
    rsafe.current_dir(folder).args(command.split_whitespace()).assert()
}

/// A recipe that calls its harm what the bundle's policy calls it, with rows of both labels.
fn recipe(folder: &Path) {
    let recipe = r#"
heldout_fraction: 0.2
concepts: {theft: {}, cyber: {}}
broader: {any: {covers: [general]}}
wordings:
  theft: {names: [Theft and financial crime], held_out_names: [lock pick], definitions: [how do i pick the lock]}
  cyber: {names: [Malware & Hacking], held_out_names: [open safe], definitions: [opening the door]}
  any: {names: [Harmful or unsafe content], held_out_names: [key], definitions: [the door]}
sources:
  rows: {unsafe_means: general, negatives: [general], others: [general], labels: {theft: [theft], cyber: [cyber]}}
"#;
    fs::write(folder.join("recipe.yaml"), recipe).unwrap();
    let row = |i: usize| {
        let thing = ["lock", "door", "safe"][i % 3];
        let (text, label, categories) = match i % 4 {
            0 => (format!("how do i pick the {thing}"), "unsafe", vec!["theft"]),
            1 => (format!("how do i open the {thing}"), "unsafe", vec!["cyber"]),
            _ => (format!("please feed my {}", ["cat", "dog", "pet"][i % 3]), "safe", vec![]),
        };
        json!({"id": format!("r{i}"), "level": "prompt", "prompt": text, "label": label, "categories": categories})
    };
    let rows: Vec<String> = (0..240).map(|i| row(i).to_string()).collect();
    fs::write(folder.join("data/rows.jsonl"), rows.join("\n")).unwrap();
}

#[test]
fn the_steps_of_a_model_card_lead_from_rows_to_an_aligned_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    workshop(folder);
    recipe(folder);
    let data = "--recipe recipe.yaml --data data";
    for (from, to, seed) in [("init", "a", 1), ("a", "b", 2), ("a", "c", 3)] {
        rsafe(folder, &format!("train sft {data} --init {from} --out {to} --examples 256 --lr 1e-3 --seed {seed}"))
            .success();
    }
    rsafe(folder, "train average b c --weights 3,1 --out mean").success().stdout(contains("model.safetensors"));
    rsafe(folder, "train average b --out alone").code(2);
    rsafe(folder, "convert mean bundle --template slots").success();
    rsafe(folder, &format!("train calibrate bundle {data}")).success();
    // Two concepts are too few to draw policies of, so there is no threshold for them yet.
    let mut manifest = Bundle::open(folder.join("bundle")).unwrap().manifest().clone();
    manifest.thresholds.custom = Some(0.2);
    save_manifest(folder.join("bundle"), &manifest).unwrap();
    let thresholds = manifest.thresholds;

    // What is unsafe is asked under the bundle's own policy as it decides.
    rsafe(
        folder,
        &format!(
            "train pairs {data} --init bundle --out pairs.jsonl --own-policy 1 --tasks 80 --temperature 1 --top-p 1"
        ),
    )
    .success();
    let mut mined = pairs::read(&folder.join("pairs.jsonl")).unwrap();
    mined.retain(|pair| pair.task.truth.label == Label::Unsafe);
    assert!(!mined.is_empty());
    for pair in mined {
        assert_eq!(pair.task.policy.name, "general");
        for category in &pair.task.policy.categories {
            assert_eq!(category.threshold, Some(thresholds.of(category)));
        }
    }

    // Rows labelled by a policy make it the bundle's own, with thresholds and a curve measured under it.
    rsafe(folder, "convert mean mine --template slots").success();
    let policy = "name: mine\ncategories:\n  - {id: theft, name: Theft}\n  - {id: cyber, name: Hacking}\n";
    fs::write(folder.join("mine.yaml"), policy).unwrap();
    let calibrate = "train calibrate mine --policy mine.yaml --data data/rows.jsonl --held-out";
    rsafe(folder, &format!("{calibrate} 0")).code(2).stderr(contains("held_out: expected a share above 0"));
    rsafe(folder, &format!("{calibrate} 0.00001")).code(2).stderr(contains("one label only"));
    rsafe(folder, &format!("{calibrate} 1")).success().stdout(contains("240 held-out rows: threshold"));
    let mine = Bundle::open(folder.join("mine")).unwrap();
    assert_eq!(block_on(mine.policy()).unwrap().name, "mine");
    assert_eq!(mine.manifest().thresholds.categories.keys().collect::<Vec<_>>(), ["theft", "cyber"]);
    assert!(!mine.manifest().operating.as_ref().unwrap().own.is_empty());
    // Twice is as good as once, and the guard judges by it.
    let once = mine.manifest().clone();
    rsafe(folder, &format!("{calibrate} 1")).success();
    assert_eq!(*Bundle::open(folder.join("mine")).unwrap().manifest(), once);
    rsafe(folder, "check --model mine --json cat").stdout(contains("\"theft\"").and(contains("\"cyber\"")));

    rsafe(folder, "train pairs --policy general --data data --init bundle --out pairs.jsonl --temperature 1 --top-p 1")
        .success();
    let mined = pairs::read(&folder.join("pairs.jsonl")).unwrap();
    let category = &mined.first().expect("a pair").task.policy.categories[0];
    assert_eq!(category.threshold, Some(thresholds.of(category)), "the bundle's own policy, given by name");

    let grpo = "train grpo --init bundle --out aligned --steps 2 --prompts 4 --watched 0";
    rsafe(folder, &format!("{grpo} {data} --own-policy 1.5")).code(2).stderr(contains("own_policy: expected a share"));
    rsafe(folder, &format!("{grpo} {data} --lora-rank 4")).code(2).stderr(contains("leave out what is for decoders"));
    rsafe(folder, &format!("{grpo} --policy general --data data --held-out 2"))
        .code(2)
        .stderr(contains("held_out: expected a share"));
    rsafe(folder, &format!("{grpo} {data}")).success();
    // What was trained against the bundle's scores and thresholds decides by them.
    rsafe(folder, "convert aligned again --template slots").success();
    assert_eq!(Bundle::open(folder.join("again")).unwrap().manifest().thresholds, thresholds);
    rsafe(folder, "convert aligned other --template slots --policy openai").success();
    let other = Bundle::open(folder.join("other")).unwrap().manifest().thresholds.clone();
    assert_eq!(other.global, 0.2, "a policy that was not the bundle's own in training");
    rsafe(folder, "train average mean aligned --out half").success();
    rsafe(folder, "convert half bundle --template slots --overwrite").success();
    rsafe(folder, &format!("train calibrate bundle {data}")).success();
    let loaded = rsafe(folder, "check --model bundle --reasoning always door");
    assert!(matches!(loaded.stdout(contains("score")).get_output().status.code(), Some(0 | 1)));
}
