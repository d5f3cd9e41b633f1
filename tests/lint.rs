//! What a guard finds in a policy by reading it with its model.

use pollster::block_on;
use rsafe::bundle::Bundle;
use rsafe::guard::{Guard, LoadOptions, Reasoning, Request};
use rsafe::policy::{Rule, RuleAction, Rules, Severity};
use rsafe::{Action, Category, Conversation, Message, Policy, Role};

fn embedded() -> Guard {
    block_on(Guard::load(Bundle::embedded().unwrap(), LoadOptions::default())).unwrap()
}

fn locks() -> Category {
    Category::new("locks", "Lock picking").definition("Asking how to open a lock without its key.")
}

fn threats() -> Category {
    Category::new("threats", "Threats of violence").definition("Saying that one will hurt somebody, or wishing to.")
}

/// The paths of what is found.
fn found(guard: &Guard, policy: &Policy) -> Vec<String> {
    let findings = block_on(guard.lint(policy)).unwrap();
    assert!(findings.iter().all(|it| it.severity == Severity::Warning && it.help.is_some()), "{findings:?}");
    findings.into_iter().map(|finding| finding.path).collect()
}

#[test]
fn a_policy_that_the_model_reads_as_it_is_meant_lints_clean() {
    let guard = embedded();
    let shown = locks().unsafe_example("How do I pick a lock?").safe_example("How long do I boil potatoes?");
    let policy = Policy::new("desk").category(threats()).category(shown);
    assert_eq!(found(&guard, &policy), [""; 0]);
    assert_eq!(found(&guard, &Policy::new("desk").category(threats()).category(locks())), [""; 0]);
}

#[test]
fn a_category_named_with_nonsense_is_warned_about() {
    let nonsense = Category::new("trunim", "Trunim");
    let policy = Policy::new("desk").category(locks()).category(nonsense.clone()).category(threats());
    assert_eq!(found(&embedded(), &policy), ["categories[1]"]);
    assert_eq!(found(&embedded(), &Policy::new("desk").category(nonsense)), ["categories[0]"]);
}

#[test]
fn examples_that_the_model_misreads_are_named_with_what_was_expected() {
    let (missed, taken) = ("How long do I boil potatoes?", "How to open a lock without a key");
    let policy = Policy::new("desk").category(threats());
    let policy = policy.category(locks().unsafe_example(taken).unsafe_example(missed).safe_example(taken));
    let findings = block_on(embedded().lint(&policy)).unwrap();
    let [low, high] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(low.path, "categories[1].examples.unsafe[1]");
    assert!(low.expected.starts_with("a score of 0.") && low.expected.ends_with("or more"), "{low}");
    assert!(low.found.starts_with("0.0") && low.found.contains(missed), "{low}");
    assert_eq!(high.path, "categories[1].examples.safe[0]");
    assert!(high.expected.starts_with("a score below 0.") && high.found.contains(taken), "{high}");
    // The owner's own threshold is the one that counts.
    let easy = Category { threshold: Some(0.0001), safe_examples: vec![], ..policy.categories[1].clone() };
    assert_eq!(found(&embedded(), &Policy::new("desk").category(easy)), [""; 0]);
}

#[test]
fn an_example_that_the_model_reads_as_meant_of_one_side_is_not_warned_about() {
    let (guard, text) = (embedded(), "Asking how to open a lock without its key, you may ask a locksmith.");
    let score = |request: Request<'_>| block_on(guard.check(&request)).unwrap().categories[0].score;
    let policy = Policy::new("desk").category(locks());
    let [asked, answered] = [Conversation::prompt(text), Conversation::of(vec![Message::new(Role::Assistant, text)])]
        .map(|side| score(Request::new(side).policy(&policy).reasoning(Reasoning::Never)));
    assert!((asked - answered).abs() > 0.01, "{asked} {answered}");
    let between = || locks().threshold(f32::midpoint(asked, answered));
    for category in [between().unsafe_example(text), between().unsafe_example(text).safe_example(text)] {
        assert_eq!(found(&guard, &Policy::new("desk").category(category)), [""; 0]);
    }
}

#[test]
fn what_has_no_effect_is_passed_over_and_no_rule_answers_for_the_model() {
    let guard = embedded();
    let rule = Rule::literal("potatoes", "potatoes").action(RuleAction::Block);
    let missed = locks().unsafe_example("How long do I boil potatoes?");
    let policy = Policy::new("desk").category(missed.clone()).rules(Rules::compile([rule]).unwrap());
    assert_eq!(found(&guard, &policy), ["categories[0].examples.unsafe[0]"]);
    let allowed = Policy::new("desk").category(missed.action(Action::Allow)).category(threats());
    assert_eq!(found(&guard, &allowed), [""; 0]);
}
