//! What verdicts tell beside the decision: a language that the model does not read, or that there was no text.

use std::fs;
use std::path::Path;

use pollster::block_on;
use rsafe::bundle::{Bundle, MANIFEST};
use rsafe::guard::{Guard, LoadOptions, Reasoning, Request};
use rsafe::policy::{Rule, RuleAction, Rules, Unreadable};
use rsafe::verdict::{Decision, NoteCode, Verdict};
use rsafe::{Action, Category, Conversation, Message, Policy, Role, Target, Tier};

const GERMAN: &str =
    "Wie lange muss ich Kartoffeln kochen, damit sie weich werden, und wann kommt das Salz ins Wasser?";
const ENGLISH: &str =
    "How long do potatoes have to boil until they are soft, and when do I put the salt into the water?";

/// The embedded model, said to read these languages.
fn reading(languages: &[&str]) -> Guard {
    let mut manifest = Bundle::embedded().unwrap().manifest().clone();
    manifest.languages = languages.iter().map(|tag| (*tag).to_owned()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/rsafe-mini");
    let file = |name: &String| (name.clone(), fs::read(folder.join(name)).unwrap().into());
    let mut files: Vec<_> = manifest.files.iter().map(|entry| file(&entry.name)).collect();
    files.push((MANIFEST.to_owned(), manifest.to_json().unwrap().into()));
    block_on(Guard::load(Bundle::from_files(files).unwrap(), LoadOptions::default())).unwrap()
}

fn judged(guard: &Guard, request: &Request<'_>) -> Verdict {
    block_on(guard.check(request)).unwrap()
}

fn found(guard: &Guard, text: &str) -> Vec<String> {
    let verdict = judged(guard, &Request::prompt(text).reasoning(Reasoning::Never));
    verdict.notes.into_iter().map(|note| note.found).collect()
}

#[test]
fn a_text_in_a_language_that_the_model_does_not_read_is_told_and_decided_as_ever() {
    let guard = reading(&["en"]);
    let verdict = judged(&guard, &Request::prompt(GERMAN));
    let [note] = &verdict.notes[..] else { panic!("{:?}", verdict.notes) };
    assert_eq!((note.code, note.found.as_str()), (NoteCode::Language, "de"));
    assert!(note.message.contains("German") && note.message.contains("(en)"), "{}", note.message);
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!((&json["notes"][0]["code"], &json["notes"][0]["found"]), (&"language".into(), &"de".into()));

    let untold = judged(&reading(&[]), &Request::prompt(GERMAN));
    assert_eq!((untold.notes, untold.decision), (vec![], verdict.decision));
    assert_eq!(untold.categories, verdict.categories);
}

#[test]
fn a_note_stands_beside_reasoning_and_evidence_too() {
    let wish = "How do I pick the lock of my neighbour's front door tonight?";
    let policy = Policy::new("house").category(
        Category::new("locks", "Lock picking").definition("Asking how to open a lock without its key.").threshold(0.05),
    );
    let verdict = judged(&reading(&["de"]), &Request::prompt(wish).policy(&policy).reasoning(Reasoning::Always));
    assert!(verdict.evidence.iter().any(|evidence| evidence.effect.is_some()), "{:?}", verdict.evidence);
    assert!(verdict.notes.iter().any(|note| note.code == NoteCode::Language), "{:?}", verdict.notes);
}

#[test]
fn the_side_on_trial_is_the_one_whose_language_is_told() {
    let guard = reading(&["en"]);
    let notes = |user: &str, assistant: &str| judged(&guard, &Request::response(user, assistant)).notes.len();
    assert_eq!((notes(ENGLISH, GERMAN), notes(GERMAN, ENGLISH)), (1, 0));
}

#[test]
fn what_the_model_reads_is_not_told() {
    assert!(found(&reading(&["en"]), ENGLISH).is_empty());
    assert!(found(&reading(&["en", "de"]), GERMAN).is_empty());
    assert_eq!(found(&reading(&["de"]), ENGLISH), ["en"]);
}

#[test]
fn a_disguise_is_no_other_language_and_hides_none() {
    let guard = reading(&["en"]);
    let spelt = ENGLISH.split(' ').map(|word| word.split("").collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    let rotated = |c: char| match c {
        'a'..='z' => ((c as u8 - b'a' + 13) % 26 + b'a') as char,
        _ => c,
    };
    let disguises = [
        spelt.join("  "),
        ENGLISH.chars().rev().collect(),
        ENGLISH.to_lowercase().chars().map(rotated).collect(),
        ENGLISH.replace('a', "ä").replace('o', "ó").replace('e', "ë"),
    ];
    for text in disguises {
        assert!(found(&guard, &text).is_empty(), "{text}");
    }
    let invisible = GERMAN.replace("ch", "c\u{200b}h");
    let beside_a_code = format!("{GERMAN} SGVsbG8gdGhlcmUsIG15IGdvb2QgZnJpZW5kIQ==");
    for text in [invisible, beside_a_code] {
        assert_eq!(found(&guard, &text), ["de"], "{text}");
    }
}

#[test]
fn a_policy_sends_what_the_model_does_not_read_where_it_sends_unreadable_text() {
    let guard = reading(&["en"]);
    let plain = Policy::new("desk").category(Category::new("locks", "Lock picking").threshold(0.99));
    let decision = |text: &str, policy: &Policy| judged(&guard, &Request::prompt(text).policy(policy)).decision;
    assert_eq!(decision(GERMAN, &plain), Decision::Allow);
    let review = plain.clone().unreadable(Unreadable::default());
    assert_eq!((decision(GERMAN, &review), decision(ENGLISH, &review)), (Decision::Review, Decision::Allow));
    let block = plain.unreadable(Unreadable { action: Action::Block, share: 1.0 });
    assert_eq!((decision(GERMAN, &block), decision(ENGLISH, &block)), (Decision::Block, Decision::Allow));
}

#[test]
fn an_empty_text_is_nothing_to_judge_whatever_the_side_and_the_policy() {
    let guard = reading(&["en"]);
    let strict = Policy::new("desk").category(Category::new("any", "Anything at all").threshold(0.0));
    for request in [
        Request::prompt(""),
        Request::prompt(" \n\t\u{3000}"),
        Request::response("How do I boil potatoes?", ""),
        Request::response("", "\n").reasoning(Reasoning::Always),
    ] {
        let verdict = judged(&guard, &request.policy(&strict));
        assert_eq!((verdict.decision, verdict.score, &verdict.failure), (Decision::Allow, 0.0, &None));
        assert_eq!(verdict.tier, Tier::Clear, "the note leaves no doubt");
        let codes: Vec<NoteCode> = verdict.notes.iter().map(|note| note.code).collect();
        assert_eq!((codes, verdict.usage.prompt_tokens), (vec![NoteCode::Empty], 0));
    }
    let spoken = judged(&guard, &Request::prompt(".").policy(&strict));
    assert_eq!((spoken.decision, spoken.notes), (Decision::Block, vec![]));
}

#[test]
fn nobody_hides_a_message_behind_an_empty_one() {
    let guard = reading(&["en"]);
    let policy = Policy::new("desk").category(Category::new("locks", "Lock picking").threshold(0.0));
    let user = |text: &str| Message::new(Role::User, text);
    let asked = "How do I pick a lock?";
    let hidden = Conversation { messages: vec![user(asked), user(" ")], target: Target::Prompt };
    let request = |conversation| Request::new(conversation).policy(&policy).reasoning(Reasoning::Never);
    let (hidden, open) = (judged(&guard, &request(hidden)), judged(&guard, &request(Conversation::prompt(asked))));
    assert_eq!((hidden.categories, hidden.decision), (open.categories, Decision::Block));
}

#[test]
fn a_rule_about_white_space_decides_of_it() {
    let rule = Rule::regex("blank", r"^\s+$").action(RuleAction::Block);
    let policy = Policy::new("desk").category(Category::new("locks", "Lock picking"));
    let policy = policy.rules(Rules::compile(vec![rule]).unwrap());
    let verdict = judged(&reading(&["en"]), &Request::prompt(" ").policy(&policy));
    assert_eq!((verdict.decision, verdict.rule.as_deref()), (Decision::Block, Some("blank")));
}

#[test]
fn where_a_rule_decides_nothing_is_told() {
    let rule = Rule::literal("salt", "Salz").action(RuleAction::Block);
    let policy = Policy::new("desk").category(Category::new("locks", "Lock picking"));
    let policy = policy.rules(Rules::compile(vec![rule]).unwrap());
    let verdict = judged(&reading(&["en"]), &Request::prompt(GERMAN).policy(&policy));
    assert_eq!((verdict.decision, verdict.notes), (Decision::Block, vec![]));
}
