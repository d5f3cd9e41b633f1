//! Rewards of free-text answers on the cases of `golden/rewards.json`, in Rust and in the Python that goes to veRL.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use indexmap::IndexMap;
use rsafe::train::reward::{Outcome, Rewards, Truth};
use rsafe::verdict::{Answer, Label, is_rsafe_answer, parse_rsafe};
use rsafe::{Conversation, Message, Policy, Target};
use serde::Deserialize;

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

#[derive(Deserialize)]
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
    expected: Expected,
    total: f32,
}

/// What an answer is found to say, and what it earns.
#[derive(Debug, Deserialize)]
struct Expected {
    verdict: Option<Label>,
    categories: Vec<String>,
    quotes: Vec<String>,
    well_formed: bool,
    parts: IndexMap<String, f32>,
}

impl Expected {
    fn assert_is(&self, other: &Self, case: &str) {
        let said = |e: &Self| (e.verdict, e.categories.clone(), e.quotes.clone(), e.well_formed);
        assert_eq!(said(self), said(other), "{case}");
        let near = |(rule, part): (&String, &f32)| other.parts.get(rule).is_some_and(|p| (p - part).abs() < 1e-5);
        let same = self.parts.len() == other.parts.len() && self.parts.iter().all(near);
        assert!(same, "{case}: {:?}, expected {:?}", self.parts, other.parts);
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/rewards.json")).unwrap()
}

#[test]
fn rewards_are_those_of_the_vectors() {
    let golden = golden();
    assert!(golden.cases.len() > 40);
    for case in &golden.cases {
        let (policy, truth) = (&golden.policies[&case.policy], &golden.truths[&case.truth]);
        let Judged { messages, target } = &golden.conversations[&case.conversation];
        let conversation = Conversation { messages: messages.clone(), target: *target };
        let read = |text: &str| parse_rsafe(text).with_claims(policy, &conversation);
        let judged = |text: &str, answer: &Answer, rewards: &mut Rewards| {
            let outcome = Outcome {
                conversation: &conversation,
                policy,
                truth,
                answer,
                well_formed: is_rsafe_answer(text),
                tokens: case.tokens,
                scores: None,
            };
            let reward = rewards.score(&outcome);
            rewards.observe(&[outcome]);
            reward
        };
        let mut rewards = golden.rewards[&case.rewards].clone();
        for text in &case.observed {
            judged(text, &read(text), &mut rewards);
        }
        let answer = read(&case.answer);
        let reward = judged(&case.answer, &answer, &mut rewards);
        let quote = |span: &rsafe::verdict::QuoteSpan| messages[span.message].content[span.bytes.clone()].to_owned();
        let found = Expected {
            verdict: answer.verdict,
            categories: answer.categories.clone(),
            quotes: answer.quotes.iter().map(quote).collect(),
            well_formed: is_rsafe_answer(&case.answer),
            parts: reward.parts.iter().map(|(rule, part)| ((*rule).to_owned(), *part)).collect(),
        };
        found.assert_is(&case.expected, &case.name);
        assert!((reward.total - case.total).abs() < 1e-5, "{}: {reward:?}, expected {}", case.name, case.total);
    }
}

#[test]
fn the_python_module_gives_the_same_rewards() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("reward.py", rsafe::train::export::REWARD_MODULE);
    for (name, rewards) in &golden.rewards {
        write(&format!("{name}.json"), &serde_json::to_string_pretty(rewards).unwrap());
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let output = Command::new("python3")
        .args([
            tests.join("check_rewards.py").as_os_str(),
            folder.path().as_os_str(),
            tests.join("rewards.json").as_os_str(),
        ])
        .output()
        .expect("python3 is needed to test the exported reward module; `make tools` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<Expected> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.len(), golden.cases.len());
    for (found, case) in found.iter().zip(&golden.cases) {
        found.assert_is(&case.expected, &case.name);
    }
}
