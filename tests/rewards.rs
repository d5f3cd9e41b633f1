//! Rewards of free-text answers on the cases of `golden/rewards.json`, in Rust and in the Python that goes to veRL.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use indexmap::IndexMap;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rsafe::data::rows;
use rsafe::train::export::REWARD_MODULE;
use rsafe::train::reward::{Outcome, Reward, Rewards, Truth};
use rsafe::verdict::{Answer, Label, is_rsafe_answer, parse_rsafe};
use rsafe::{Conversation, Message, Policy, Target};
use serde::{Deserialize, Serialize};

const GOLDEN: &str = include_str!("golden/rewards.json");

#[derive(Deserialize)]
struct Golden {
    policies: HashMap<String, Policy>,
    conversations: HashMap<String, Judged>,
    truths: HashMap<String, Truth>,
    rewards: HashMap<String, Rewards>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Judged {
    messages: Vec<Message>,
    target: Target,
}

#[derive(Serialize, Deserialize)]
struct Case {
    name: String,
    rewards: String,
    policy: String,
    conversation: String,
    truth: String,
    answer: String,
    tokens: usize,
    /// Answers that the budget saw before, each as a batch of its own.
    #[serde(default)]
    observed: Vec<String>,
    #[serde(flatten)]
    expected: Found,
    total: f32,
}

/// What an answer is found to say, and what it earns.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Found {
    verdict: Option<Label>,
    categories: Vec<String>,
    quotes: Vec<String>,
    /// How many quotes nobody wrote.
    #[serde(default)]
    invented: usize,
    well_formed: bool,
    parts: IndexMap<String, f32>,
}

impl Found {
    fn assert_says(&self, other: &Self, case: &Case) {
        let said = |e: &Self| (e.verdict, e.categories.clone(), e.quotes.clone(), e.invented, e.well_formed);
        assert_eq!(said(self), said(other), "{}: {:?}", case.name, case.answer);
    }
}

fn near(a: f32, b: f32) -> bool {
    (a - b).abs() < 1e-5
}

impl Golden {
    fn read() -> Self {
        serde_json::from_str(GOLDEN).unwrap()
    }

    /// What Rust finds.
    fn judge(&self, case: &Case) -> (Found, f32) {
        let (policy, truth) = (&self.policies[&case.policy], &self.truths[&case.truth]);
        let Judged { messages, target } = &self.conversations[&case.conversation];
        let conversation = Conversation { messages: messages.clone(), target: *target };
        let mut rewards = self.rewards[&case.rewards].clone();
        let mut judge = |text: &str| -> (Answer, Reward) {
            let answer = parse_rsafe(text).with_claims(policy, &conversation);
            let outcome = Outcome {
                conversation: &conversation,
                policy,
                truth,
                answer: &answer,
                well_formed: is_rsafe_answer(text),
                tokens: case.tokens,
                scores: None,
            };
            let reward = rewards.score(&outcome);
            rewards.observe(&[outcome]);
            (answer, reward)
        };
        for text in &case.observed {
            judge(text);
        }
        let (answer, reward) = judge(&case.answer);
        let quotes = answer.quotes.iter().map(|span| messages[span.message].content[span.bytes.clone()].to_owned());
        let found = Found {
            verdict: answer.verdict,
            categories: answer.categories.clone(),
            quotes: quotes.collect(),
            invented: answer.invented_quotes,
            well_formed: is_rsafe_answer(&case.answer),
            parts: reward.parts.iter().map(|(rule, part)| ((*rule).to_owned(), *part)).collect(),
        };
        (found, reward.total)
    }

    /// Has the exported Python judge cases and compares with what is expected of them.
    fn assert_python_agrees(&self, cases: &[Case]) {
        let folder = tempfile::tempdir().unwrap();
        let mut golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        golden["cases"] = serde_json::to_value(cases).unwrap();
        let file = folder.path().join("cases.json");
        fs::write(&file, golden.to_string()).unwrap();
        for (name, rewards) in &self.rewards {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("reward.py"), REWARD_MODULE).unwrap();
            fs::write(folder.join("rewards.json"), serde_json::to_string_pretty(rewards).unwrap()).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check_rewards.py");
        let output = Command::new("python3")
            .args([script.as_os_str(), folder.path().as_os_str(), file.as_os_str()])
            .output()
            .expect("python3 is needed to test the exported reward module; `make tools` installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Vec<Found> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found.len(), cases.len());
        for (found, case) in found.iter().zip(cases) {
            found.assert_says(&case.expected, case);
            // veRL wants the same keys for every answer: a rule that has nothing to say gives 0.
            let mut parts = found.parts.clone();
            assert!(near(parts.shift_remove("score").unwrap(), case.total), "{}: {:?}", case.name, found.parts);
            let right = match self.truths[&case.truth].label {
                rows::Label::Safe => Some(Label::Safe),
                rows::Label::Unsafe => Some(Label::Unsafe),
                rows::Label::Borderline => None,
            };
            assert_eq!(parts.shift_remove("acc"), Some(f32::from(case.expected.verdict == right)), "{}", case.name);
            let rules = serde_json::to_value(&self.rewards[&case.rewards]).unwrap();
            assert_eq!(parts.len(), rules.as_object().unwrap().len());
            let same = |(rule, part): (&String, &f32)| {
                near(*part, case.expected.parts.get(rule).copied().unwrap_or_default()) && rules.get(rule).is_some()
            };
            assert!(parts.iter().all(same), "{}: {parts:?}", case.name);
        }
    }
}

#[test]
fn rewards_are_those_of_the_vectors() {
    let golden = Golden::read();
    assert!(golden.cases.len() > 50);
    for case in &golden.cases {
        let (found, total) = golden.judge(case);
        found.assert_says(&case.expected, case);
        let same = |(rule, part): (&String, &f32)| case.expected.parts.get(rule).is_some_and(|p| near(*p, *part));
        let parts = &found.parts;
        assert!(parts.len() == case.expected.parts.len() && parts.iter().all(same), "{}: {parts:?}", case.name);
        assert!(near(total, case.total), "{}: {total}, expected {}", case.name, case.total);
    }
}

#[test]
fn the_python_module_gives_the_rewards_of_the_vectors() {
    let golden = Golden::read();
    golden.assert_python_agrees(&golden.cases);
}

#[test]
fn the_python_module_reads_answers_of_odd_pieces_as_rust_does() {
    const PIECES: [&str; 71] = [
        "<think>",
        "</think>",
        "\\boxed{",
        "}",
        "{",
        "unsafe",
        "Safe",
        "\\boxed{unsafe}",
        "\\boxed{safe}",
        " ",
        " ",
        " ",
        "\n",
        ". ",
        "; ",
        ", ",
        ".",
        "U1",
        "u2",
        "U3",
        "opening locks",
        "OPENING",
        "locks",
        "Non-violent Crime & Fraud",
        "crime",
        "and",
        "fraud",
        "not ",
        "isn\u{2019}t ",
        "don't ",
        "no",
        " but ",
        "yet",
        "\"",
        "\u{201c}",
        "\u{201d}",
        "pick my neighbour's lock",
        "while he is away?",
        "he is",
        "\"my neighbour's lock,\"",
        "\u{201c}he is\u{201d}",
        "\"do I pick\"",
        "\u{201c}How do I\u{2026}\u{201d}",
        "\u{130}",
        "ß",
        "Σ",
        "\u{1c}",
        "\u{a0}",
        "\u{3000}",
        "é",
        "🔑",
        "\u{2019}",
        "_",
        "\u{85}",
        "5\" ",
        "\"break the door\" ",
        "\"break the door.\"",
        " \u{201c}out of town\u{201d}",
        "\" a back door \"",
        "\"OPENING locks\"",
        "\"non-violent crime and\"",
        "\"without its key!\"",
        "\"without any key\"",
        "कि ती क्या",
        "\"कि ती\"",
        "\"की दो\"",
        "Ⓐ ⓑ",
        "\"Ⓐ ⓑ\"",
        " \"ⓑ Ⓒ\" ",
        "\"½ ² ¾\"",
        "\"_ _ _\"",
    ];
    let golden = Golden::read();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut cases = Vec::new();
    for number in 0..600 {
        let mut pieces: Vec<&str> =
            (0..rng.random_range(2..24)).filter_map(|_| PIECES.choose(&mut rng)).copied().collect();
        let mut either = |options: [&'static str; 2]| options[usize::from(rng.random_bool(0.5))];
        // Most answers have RSafe's form, or nothing beyond it would be looked at.
        if number % 4 > 0 {
            pieces.insert(0, "<think>");
            pieces.extend(["</think>", either(["\\boxed{unsafe}", "\\boxed{safe}"])]);
        }
        let mut case = Case {
            name: format!("odd pieces {number}"),
            rewards: "all".into(),
            policy: "house".into(),
            conversation: either(["lock", "scripts"]).into(),
            truth: either(["locks", "harmless"]).into(),
            answer: pieces.concat(),
            tokens: number,
            observed: Vec::new(),
            expected: Found::default(),
            total: 0.0,
        };
        (case.expected, case.total) = golden.judge(&case);
        cases.push(case);
    }
    let count = |holds: &dyn Fn(&Found) -> bool| cases.iter().filter(|case| holds(&case.expected)).count();
    let named = count(&|found| !found.categories.is_empty());
    let quoting = count(&|found| !found.quotes.is_empty());
    let inventing = count(&|found| found.invented > 0);
    let both = count(&|found| (0.01..0.09).contains(&found.parts["evidence"]));
    assert!(
        named > 50 && quoting > 50 && inventing > 50,
        "{named} name a category, {quoting} quote, {inventing} invent"
    );
    assert!(both > 10, "{both} earn a part of the weight");
    golden.assert_python_agrees(&cases);
}
