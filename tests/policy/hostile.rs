//! Sources that are too large, damaged or meant to do harm, and the promise that what is written reads back the same.

use proptest::prelude::*;
use rsafe::policy::{AppliesTo, Case, Format, Rule, RuleAction, RuleLimits, Rules, Severity, Unreadable, limits, lint};
use rsafe::{Action, Category, Policy, Target};

use super::{JSON, MARKDOWN, YAML, first_error};

#[test]
fn rules_that_would_cost_too_much_are_refused() {
    for regex in [r"\w{500}", r"(a{1000}){1000}", &"(".repeat(200), &"a".repeat(513), "(?=a)b", r"(a)\1"] {
        let error = Rules::compile([Rule::regex("r", regex)]).unwrap_err();
        assert_eq!(error.findings[0].path, "rules[0].regex");
    }
    let many = (0..=limits::MAX_RULES).map(|index| Rule::literal(format!("r{index}"), format!("x{index}")));
    assert_eq!(Rules::compile(many).unwrap_err().findings[0].path, "rules");
    // A pattern that makes a backtracking engine hang.
    let rules = Rules::compile([Rule::regex("r", "(a+)+$")]).unwrap();
    assert_eq!(rules.evaluate(&format!("{}b", "a".repeat(100_000)), Target::Prompt).unwrap(), None);
}

/// Rules whose states cross in ever new ways, so that an engine visits them all at each byte.
fn crossing(count: usize) -> Vec<Rule> {
    (0..count).map(|index| Rule::regex(format!("r{index}"), format!(r"[ab]*a[ab]{{{}}}c", 100 + index))).collect()
}

#[test]
fn rules_that_would_take_too_long_over_a_text_are_refused_before_they_are_tried() {
    let text = "ab".repeat(30_000);
    let rules = Rules::compile(crossing(127)).unwrap();
    let error = rules.evaluate(&text, Target::Prompt).unwrap_err();
    assert_eq!(error.code(), "context_length");
    assert!(error.to_string().contains("fewer or simpler regexes"), "{error}");
    // Neither are rules of the other side counted, nor is a short text refused.
    let prompts = crossing(127).into_iter().map(|rule| rule.applies_to(AppliesTo::Prompt));
    assert_eq!(Rules::compile(prompts).unwrap().evaluate(&text, Target::Response).unwrap(), None);
    assert_eq!(rules.evaluate("abba", Target::Prompt).unwrap(), None);
}

#[test]
fn literals_and_plain_regexes_are_no_burden_for_a_text_of_any_length_that_a_model_takes() {
    let literals = (0..100).map(|index| Rule::literal(format!("l{index}"), format!("the secret of day {index}")));
    let regexes = (0..20).map(|index| Rule::regex(format!("r{index}"), format!(r"\bopen (the )?door {index}\b")));
    let rules = Rules::compile(literals.chain(regexes)).unwrap();
    assert_eq!(rules.evaluate(&"A word is here. ".repeat(10_000), Target::Prompt).unwrap(), None);
}

#[test]
fn a_callers_rules_have_lower_limits_than_the_owners() {
    let literals = |count| (0..count).map(|index| Rule::literal(format!("r{index}"), format!("x{index}")));
    assert!(Rules::compile_within(literals(32), RuleLimits::CALLER).is_ok());
    let error = Rules::compile_within(literals(33), RuleLimits::CALLER).unwrap_err();
    assert_eq!(error.findings[0].path, "rules");
    assert!(error.to_string().contains("32 rules"), "{error}");
    let large = (0..30).map(|index| Rule::regex(format!("r{index}"), format!("[ab]*a[ab]{{{}}}c", 400 + index)));
    assert!(Rules::compile_within(large, RuleLimits::CALLER).unwrap_err().to_string().contains("together"));
    let one = || crossing(1);
    let text = "ab".repeat(60_000);
    assert!(Rules::compile(one()).unwrap().evaluate(&text, Target::Prompt).is_ok());
    let few = RuleLimits { work: 1_000_000, ..RuleLimits::CALLER };
    assert!(Rules::compile_within(one(), few).unwrap().evaluate(&text, Target::Prompt).is_err());
}

#[test]
fn every_bound_of_a_policy_holds_to_the_character() {
    type Sized = fn(usize) -> Policy;
    let bounds: [(usize, &str, Sized); 6] = [
        (limits::MAX_ID_CHARS, "categories[0].id", |size| of(Category::new("i".repeat(size), "y"))),
        (limits::MAX_NAME_CHARS, "categories[0].name", |size| of(Category::new("S1", "é".repeat(size)))),
        (limits::MAX_DEFINITION_CHARS, "categories[0].definition", |size| of(defined(&"é".repeat(size)))),
        (limits::MAX_EXAMPLE_CHARS, "categories[0].examples.safe[0]", |size| {
            of(defined("y").safe_example("é".repeat(size)))
        }),
        (limits::MAX_EXAMPLES, "categories[0].examples.unsafe", |size| {
            of((0..size).fold(defined("y"), |category, at| category.unsafe_example(at.to_string())))
        }),
        (limits::MAX_CATEGORIES, "categories", |size| {
            (0..size)
                .fold(Policy::new("x"), |policy, at| policy.category(Category::new(format!("S{at}"), at.to_string())))
        }),
    ];
    for (most, path, policy) in bounds {
        assert!(policy(most).validate().is_ok(), "{path}: {most}");
        assert_eq!(policy(most + 1).validate().unwrap_err().findings[0].path, path, "{most} and one more");
    }
}

#[test]
fn what_a_reader_of_a_policy_cannot_see_is_refused() {
    for hidden in ['\u{1}', '\u{202A}', '\u{202E}', '\u{2028}', '\u{2029}', '\u{2066}', '\u{2069}', '\u{FEFF}'] {
        let error = of(defined(&format!("lo{hidden}ck"))).validate().unwrap_err();
        assert_eq!(error.findings[0].path, "categories[0].definition", "{hidden:?}");
    }
}

fn of(category: Category) -> Policy {
    Policy::new("x").category(category)
}

fn defined(definition: &str) -> Category {
    Category::new("S1", "y").definition(definition)
}

#[test]
fn sources_that_would_cost_too_much_are_refused() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (this, last) in ('b'..='i').zip('a'..) {
        bomb += &format!(
            "{this}: &{this} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n"
        );
    }
    assert!(first_error(&bomb, Format::Yaml).contains("at most 20000 values"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(5_000));
    assert!(first_error(&long, Format::Yaml).contains("bytes of text"));
    assert!(first_error("a: &a [*a]\n", Format::Yaml).contains("alias"));
    for depth in [17, 200] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for format in [Format::Yaml, Format::Json] {
            assert!(first_error(&deep, format).contains("levels of nesting"), "{depth} {format:?}");
        }
    }
    Policy::parse(&"[".repeat(200_000), Format::Yaml).unwrap_err();
    Policy::parse(&"- ".repeat(100_000), Format::Yaml).unwrap_err();
    Policy::parse(&"> - ".repeat(60_000), Format::Markdown).unwrap_err();
    let big = format!("name: x\n#{}", "y".repeat(limits::MAX_FILE_BYTES));
    for format in [Format::Yaml, Format::Json, Format::Markdown] {
        assert!(first_error(&big, format).contains("at most 262144 bytes"));
    }
    let categories: String = (0..65).map(|index| format!("  - {{id: S{index}}}\n")).collect();
    assert!(
        first_error(&format!("name: x\ncategories:\n{categories}"), Format::Yaml).contains("1 to 64 categories, 65")
    );
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_their_line() {
    let error = Policy::from_bytes(b"name: x\n# \xFF\n", Some("p.yaml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad policy p.yaml: line 2: expected UTF-8 text, found the byte 0xFF (save the file as UTF-8)"
    );
}

fn check_round_trip(policy: &Policy) {
    let (yaml, json) = (policy.to_yaml(), policy.to_json());
    assert_eq!(&Policy::parse(&yaml, Format::Yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")), policy);
    assert_eq!(&Policy::parse(&json, Format::Json).unwrap_or_else(|error| panic!("{error}\n{json}")), policy);
    assert_eq!(&serde_json::from_str::<Policy>(&json).unwrap(), policy);
    assert_eq!(Policy::detect(&yaml, None).unwrap().fingerprint(), policy.fingerprint());
}

/// Text that policies may hold: visible, with the characters that YAML and Markdown give a meaning to.
fn words() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a", "Lock", "0.5", "~", "null", "yes", ": ", " #", "- ", "'", "\"", "\\", "{", "]", "*", "&", "!", "|", "%",
        "@", "`", "\n", "\t", "é", "锁", "🔒", "<think>", "\u{200B}", "\u{E000}",
    ]);
    prop::collection::vec(pieces, 1..8)
        .prop_map(|pieces| pieces.concat().trim().to_owned())
        .prop_filter("texts are not empty", |text| !text.is_empty())
}

fn line() -> impl Strategy<Value = String> {
    words().prop_map(|text| text.replace(['\n', '\t'], " "))
}

prop_compose! {
    fn category(index: usize)(
        name in line(),
        definition in prop::option::of(words()),
        unsafe_examples in prop::collection::vec(words(), 0..3),
        safe_examples in prop::collection::vec(words(), 0..3),
        action in prop::sample::select(vec![Action::Block, Action::Review, Action::Allow]),
        threshold in prop::option::of(0.0_f32..=1.0),
    ) -> Category {
        let definition = definition.unwrap_or_default();
        let name = format!("{name} {index}");
        Category { id: format!("S{index}"), name, definition, unsafe_examples, safe_examples, action, threshold }
    }
}

prop_compose! {
    fn rule(index: usize)(
        literal in words(),
        action in prop::sample::select(vec![RuleAction::Block, RuleAction::Allow]),
        applies_to in prop::sample::select(vec![AppliesTo::Prompt, AppliesTo::Response, AppliesTo::Both]),
        case in prop::sample::select(vec![Case::Sensitive, Case::Insensitive]),
    ) -> Rule {
        Rule::literal(format!("r-{index}"), format!(" {literal}\r\n")).action(action).applies_to(applies_to).case(case)
    }
}

prop_compose! {
    fn policy()(
        name in line(),
        version in line(),
        categories in (category(1), category(2)),
        rules in prop::option::of((rule(1), rule(2))),
        unreadable in prop::option::of((prop::sample::select(vec![Action::Block, Action::Review]), 0.01_f32..=1.0)),
    ) -> Policy {
        let rules: Vec<_> = rules.into_iter().flat_map(|(a, b)| [a, b]).collect();
        let rules = Rules::compile(rules).unwrap();
        let unreadable = unreadable.map(|(action, share)| Unreadable { action, share });
        Policy { name, version, categories: vec![categories.0, categories.1], rules, unreadable }
    }
}

fn parses_without_panic(text: &str) {
    for format in [Format::Yaml, Format::Json, Format::Markdown] {
        let findings = lint(text, format);
        match Policy::parse(text, format) {
            Ok(policy) => {
                policy.validate().unwrap();
                check_round_trip(&policy);
            }
            Err(error) => {
                assert!(findings.iter().any(|it| it.severity == Severity::Error) && !error.findings.is_empty())
            }
        }
    }
    let _ = Policy::detect(text, None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_is_written_reads_back_the_same(policy in policy()) {
        policy.validate().unwrap();
        check_round_trip(&policy);
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        parses_without_panic(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Policy::from_bytes(&bytes, None);
        parses_without_panic(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_markup_never_panics(text in "[-#:a\\[\\]{}&*!|>'\"%@`,\\\\? \t\r\n0.~<]{0,80}") {
        parses_without_panic(&text);
    }

    #[test]
    fn damaged_policies_never_panic(
        source in prop::sample::select(vec![YAML, JSON, MARKDOWN]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, words()), 1..6),
    ) {
        let mut chars: Vec<char> = source.chars().collect();
        for (place, cut, insert) in edits {
            let start = place.index(chars.len() + 1);
            let end = chars.len().min(start + cut);
            chars.splice(start..end, insert.chars());
        }
        parses_without_panic(&chars.into_iter().collect::<String>());
    }
}
