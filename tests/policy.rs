//! Policies: three formats and one meaning, mistakes that say where they are, rules, built-in policies.

mod hostile;

use rsafe::policy::{AppliesTo, Case, Finding, Format, Rule, RuleAction, Rules, Severity, lint};
use rsafe::{Action, Category, Policy, Target};

const YAML: &str = r#"
name: House rules
version: 2.10
categories:
  - id: S1
    name: Locks
    definition: |
      How to open locks that are not one's own.
      Tools count too.
    examples:
      unsafe:
        - how to pick a lock
      safe:
        - who invented the lock
    action: review
    threshold: 0.7
  - {id: misc/other, name: Other}
rules:
  - id: card
    regex: 'card \d{4}'
    action: block
    applies_to: response
    case: sensitive
  - {id: hello, literal: "good morning: all", action: allow}
"#;

const JSON: &str = r#"{
  "name": "House rules", "version": "2.10",
  "categories": [
    {"id": "S1", "name": "Locks",
     "definition": "How to open locks that are not one's own.\nTools count too.",
     "examples": {"unsafe": ["how to pick a lock"], "safe": ["who invented the lock"]},
     "action": "review", "threshold": 0.7},
    {"id": "misc/other", "name": "Other"}
  ],
  "rules": [
    {"id": "card", "regex": "card \\d{4}", "action": "block", "applies_to": "response", "case": "sensitive"},
    {"id": "hello", "literal": "good morning: all", "action": "allow"}
  ]
}"#;

const MARKDOWN: &str = r#"---
version: 2.10
---
# House rules

Who reads this far is welcome.

## S1: Locks

How to open locks that
are not one's own.

Tools count too.

- action: review
- threshold: 0.7

### Unsafe
- how to pick a lock

### Safe examples
* who invented
  the lock

## misc/other: Other
<!-- to be written -->

## Rules

```yaml
- id: card
  regex: 'card \d{4}'
  applies_to: response
  case: sensitive
- {id: hello, literal: "good morning: all", action: allow}
```
"#;

fn house_rules() -> Policy {
    let rules = [
        Rule::regex("card", r"card \d{4}").applies_to(AppliesTo::Response).case(Case::Sensitive),
        Rule::literal("hello", "good morning: all").action(RuleAction::Allow),
    ];
    let locks = Category::new("S1", "Locks")
        .definition("How to open locks that are not one's own.\nTools count too.")
        .unsafe_example("how to pick a lock")
        .safe_example("who invented the lock")
        .action(Action::Review)
        .threshold(0.7);
    Policy::new("House rules")
        .version("2.10")
        .category(locks)
        .category(Category::new("misc/other", "Other"))
        .rules(Rules::compile(rules).unwrap())
}

#[test]
fn yaml_json_markdown_and_code_give_the_same_policy() {
    assert_eq!(Policy::parse(YAML, Format::Yaml).unwrap(), house_rules());
    assert_eq!(Policy::parse(JSON, Format::Json).unwrap(), house_rules());
    assert_eq!(Policy::parse(MARKDOWN, Format::Markdown).unwrap(), house_rules());
    house_rules().validate().unwrap();
}

#[test]
fn the_format_is_seen_from_the_text_or_the_file_name() {
    for (text, format) in [(YAML, Format::Yaml), (JSON, Format::Json), (MARKDOWN, Format::Markdown)] {
        assert_eq!(Format::detect(text, None), format);
        assert_eq!(text.parse::<Policy>().unwrap(), house_rules());
    }
    let commented = format!("# our policy\n---\n{YAML}");
    assert_eq!(Format::detect(&commented, None), Format::Yaml);
    assert_eq!(Policy::detect(&commented, Some("x.yml")).unwrap(), house_rules());
    assert_eq!(Format::detect("name: x", Some("dir.d/Policy.MD")), Format::Markdown);
    // JSON is nearly YAML: the ending decides which error a reader gets.
    assert_eq!(Policy::detect(JSON, Some("policy.yaml")).unwrap(), house_rules());
}

#[test]
fn line_ends_of_windows_change_nothing() {
    for (text, format) in [(YAML, Format::Yaml), (JSON, Format::Json), (MARKDOWN, Format::Markdown)] {
        let text = format!("\u{FEFF}{}", text.replace('\n', "\r\n"));
        assert_eq!(Policy::parse(&text, format).unwrap(), house_rules());
        assert_eq!(Policy::detect(&text, None).unwrap(), house_rules());
    }
}

#[test]
fn a_name_and_categories_are_enough() {
    let policy = Policy::parse("name: x\ncategories: [{id: S1, definition: Locks.}]", Format::Yaml).unwrap();
    assert_eq!(policy, Policy::new("x").category(Category::new("S1", "S1").definition("Locks.")));
    assert_eq!((policy.version.as_str(), policy.categories[0].action), ("1", Action::Block));
    let policy = Policy::parse("# x\n## S1\nLocks.\n", Format::Markdown).unwrap();
    assert_eq!(policy.categories[0], Category::new("S1", "S1").definition("Locks."));
}

/// The first error of a source: `line:column path: expected …, found … (help)`.
fn first_error(text: &str, format: Format) -> String {
    let error = Policy::parse(text, format).expect_err(text);
    let Finding { location, path, expected, found, help, .. } = error.findings[0].clone();
    let place = location.map_or("?".into(), |at| format!("{}:{}", at.line, at.column.map_or(0, |column| column)));
    format!("{place} {path}: {expected}, {found} ({})", help.unwrap_or_default())
}

#[test]
fn a_mistake_names_line_column_field_and_what_was_expected() {
    let head = "name: x\ncategories:\n";
    let cases = [
        ("  - id: S1\n    threshold: 1.5\n", "4:16 categories[0].threshold: a number from 0 to 1, 1.5 ()"),
        ("  - id: S1\n    threshold: .nan\n", "4:16 categories[0].threshold: a number from 0 to 1, \".nan\" ()"),
        (
            "  - {id: S1, threshold: '0.5'}\n",
            "3:25 categories[0].threshold: a number from 0 to 1, the text \"0.5\" (remove the quotes)",
        ),
        (
            "  - {id: S1, threshold: 50%}\n",
            "3:25 categories[0].threshold: a number from 0 to 1, \"50%\" (write 0.5 for 50 %)",
        ),
        (
            "  - {id: S1, treshold: 1}\n",
            "3:14 categories[0]: one of the fields `id`, `name`, `definition`, `examples`, `action`, `threshold`, the field \"treshold\" (did you mean `threshold`?)",
        ),
        (
            "  - {id: S1, description: x}\n",
            "3:14 categories[0]: one of the fields `id`, `name`, `definition`, `examples`, `action`, `threshold`, the field \"description\" (did you mean `definition`?)",
        ),
        (
            "  - {id: S1, action: blok}\n",
            "3:22 categories[0].action: `block` or `review` or `allow`, \"blok\" (did you mean `block`?)",
        ),
        ("  - {name: Locks}\n", "3:5 categories[0].id: a text, nothing ()"),
        ("  - {id: a b}\n", "3:10 categories[0].id: 1 to 64 of the characters A-Z a-z 0-9 _ . / -, \"a b\" ()"),
        ("  - {id: [S1]}\n", "3:10 categories[0].id: a text, a list ()"),
        (
            "  - {id: S1}\n  - {id: s1}\n",
            "4:10 categories[1].id: an id of its own, \"s1\" (`categories[0]` has it too; upper and lower case count as the same)",
        ),
        (
            "  - {id: S1, name: Old locks}\n  - {id: S2, name: old  Locks}\n",
            "4:20 categories[1].name: a name of its own, \"old  Locks\" (`categories[0]` has it too; upper and lower case count as the same, and so does white space)",
        ),
        (
            "  - {id: S1}\n  - {id: S2, name: s1}\n",
            "4:20 categories[1].name: a name of its own, \"s1\" (`categories[0]` has it too; upper and lower case count as the same, and so does white space)",
        ),
        ("  - {id: S1, id: S2}\n", "3:14 : each field once, \"id\" again (it was first given at line 3, column 6)"),
        ("  - S1\n", "3:5 categories[0]: a mapping with `id`, `name` and `definition`, \"S1\" ()"),
        ("  id: S1\n", "3:3 categories: a list, a mapping ()"),
        ("  []\n", "3:3 categories: 1 to 64 categories, 0 ()"),
        (
            "  - {id: S1, examples: [x]}\n",
            "3:24 categories[0].examples: a mapping with the lists `unsafe` and `safe`, a list ()",
        ),
        ("  - {id: S1, examples: {unsafe: x}}\n", "3:33 categories[0].examples.unsafe: a list, a single value ()"),
        ("  - {id: S1, name: \"a\\nb\"}\n", "3:20 categories[0].name: one line without tabs, \"a\\nb\" ()"),
        (
            "  - {id: S1}\nrules: [{id: r, regex: '('}]\n",
            "4:24 rules[0].regex: a regex that the `regex` crate understands, unclosed group ()",
        ),
        (
            "  - {id: S1}\nrules: [{id: r, regex: 'a*'}]\n",
            "4:24 rules[0].regex: a pattern that needs at least one character, \"a*\" (as it stands it matches every text)",
        ),
        ("  - {id: S1}\nrules: [{id: r}]\n", "4:9 rules[0]: one of `literal` and `regex`, neither ()"),
        (
            "  - {id: S1}\nrules: [{id: r, literal: a, regex: b}]\n",
            "4:9 rules[0]: one of `literal` and `regex`, both ()",
        ),
        (
            "  - {id: S1}\nrules: [{id: r, literal: a, action: review}]\n",
            "4:37 rules[0].action: `block` or `allow`, \"review\" ()",
        ),
        (
            "  - {id: S1, name: !x y}\n",
            "3:23 : YAML without tags, a tag (remove the `!…`, or quote the text if it begins with `!`)",
        ),
        (
            "  - {id: S1}\n---\nname: y\n",
            "4:1 : one YAML document, a second one (remove the `---` and what follows, or merge the two)",
        ),
    ];
    for (tail, expected) in cases {
        assert_eq!(first_error(&format!("{head}{tail}"), Format::Yaml), expected);
    }
    assert_eq!(first_error("", Format::Yaml), "1:1 : a mapping with `name` and `categories`, nothing ()");
    assert!(first_error("name: [x", Format::Yaml).contains("valid YAML"));
}

#[test]
fn json_mistakes_have_places_too() {
    let text = "{\n  \"name\": \"ünï\", \"categories\": [\n    {\"id\": \"S1\",\n     \"threshold\": 2}]}";
    assert_eq!(first_error(text, Format::Json), "4:19 categories[0].threshold: a number from 0 to 1, 2 ()");
    assert_eq!(
        first_error("{\"name\": \"ü\", \"nmae\": 1}", Format::Json),
        "1:1 categories: 1 to 64 categories, nothing (add a list of mappings with `id`, `name` and `definition`)"
    );
    let unknown = &lint("{\"name\": \"ü\", \"nmae\": 1}", Format::Json)[1];
    assert_eq!(unknown.location.unwrap().column, Some(15));
    assert_eq!(unknown.help.as_deref(), Some("did you mean `name`?"));
    assert!(first_error("{\"name\": \"x\",\n \"name\": \"y\"}", Format::Json).starts_with("2:2 : each field once"));
    assert!(first_error("{\n\"name\": x}", Format::Json).starts_with("2:9 : valid JSON, expected value"));
    assert!(first_error("{\"name\": \"\\ud800\"}", Format::Json).starts_with("1:10 : a valid JSON string"));
}

#[test]
fn markdown_mistakes_have_places_too() {
    let cases = [
        (
            "# x\n\n## S1: Locks\n- action: block\n- threshold: 7\n",
            "5:1 categories[0].threshold: a number from 0 to 1, 7 ()",
        ),
        (
            "# x\n## S1: Locks\n- treshold: 0.7\n",
            "3:1 categories[0]: a setting, `action: …` or `threshold: …`, \"treshold: 0.7\" (did you mean `threshold`?)",
        ),
        (
            "# x\n## S1: Locks\n### Unsave\n- y\n",
            "3:1 categories[0].examples: `### Unsafe` or `### Safe`, \"unsave\" (did you mean `unsafe`?)",
        ),
        (
            "# x\n## S1: Locks\n### Safe\ny\n",
            "4:1 categories[0].examples.safe: a list of examples, \"y\" (begin each example with `- `)",
        ),
        (
            "# x\n## Locks and keys\n",
            "2:1 categories[0].id: 1 to 64 of the characters A-Z a-z 0-9 _ . / -, \"Locks and keys\" ()",
        ),
        (
            "---\nname: x\nversoin: 2\n---\n## S1: Locks\n",
            "3:1 : one of the fields `name`, `version`, `categories`, `rules`, `unreadable`, the field \"versoin\" (did you mean `version`?)",
        ),
        (
            "# x\n## S1: Locks\ny\n## Rules\n\n- id: r\n  regex: '['\n",
            "7:10 rules[0].regex: a regex that the `regex` crate understands, unclosed character class ()",
        ),
        (
            "# x\n## S1: Locks\n# y\n",
            "3:1 name: one `# Title`, above all categories, another, \"y\" (categories have `##` headings)",
        ),
        (
            "# x\n",
            "1:1 categories: 1 to 64 categories, nothing (add a list of mappings with `id`, `name` and `definition`)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(first_error(text, Format::Markdown), expected);
    }
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_source() {
    let text =
        "nmae: x\ncategories:\n  - {id: S1, threshold: 3}\n  - {id: s1, acton: block}\nrules: [{id: r, regex: '['}]\n";
    let error = Policy::parse(text, Format::Yaml).unwrap_err();
    let lines: Vec<_> = error.findings.iter().map(|finding| finding.location.unwrap().line).collect();
    assert_eq!(lines, [1, 1, 3, 4, 4, 5]);
    let shown = error.to_string();
    assert!(
        shown.contains("line 3, column 25: categories[0].threshold: expected a number from 0 to 1, found 3"),
        "{shown}"
    );
}

#[test]
fn lint_warns_of_what_is_probably_a_slip() {
    let text = "name: x\ncategories:\n  - {id: S1, name: Locks, threshold: 0}\n  - {id: S2, name: Keys, definition: y, action: allow, threshold: 0.5}\n  - {id: S3, definition: z, threshold: 1}\nrules:\n  - {id: a, literal: ' y'}\n  - {id: b, literal: ' Y', action: allow}\n";
    let findings = lint(text, Format::Yaml);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{findings:?}");
    let paths: Vec<_> = findings.iter().map(|finding| finding.path.as_str()).collect();
    let expected = [
        "categories[0].definition",
        "categories[0].threshold",
        "categories[1].threshold",
        "categories[2].threshold",
        "rules[0].literal",
        "rules[1]",
        "rules[1].literal",
    ];
    assert_eq!(paths, expected);
    assert!(Policy::parse(text, Format::Yaml).is_ok());
    let idle = lint("name: x\ncategories: [{id: S1, definition: y, action: allow}]", Format::Yaml);
    assert_eq!(idle[0].help.as_deref(), Some("the policy allows every text"));
    assert_eq!(lint(JSON, Format::Json).len(), 1);
}

#[test]
fn built_in_policies_are_complete_and_without_doubt() {
    let counts = Policy::builtin_names().map(|name| Policy::builtin(name).unwrap().categories.len());
    assert_eq!(counts, [18, 14, 13, 16, 8]);
    for name in Policy::builtin_names() {
        let policy = Policy::builtin(name).unwrap();
        assert_eq!(policy.name, name);
        // `general` has names alone, and is meant to.
        let doubts = lint(&policy.to_yaml(), Format::Yaml);
        assert_eq!(doubts.len(), if name == "general" { policy.categories.len() } else { 0 });
    }
    assert_eq!(Policy::builtin("rsafe").unwrap().find("u18").unwrap().name, "National-Security Espionage");
    assert!(Policy::builtin("openai").unwrap().find("self-harm/instructions").is_some());
    assert!(Policy::builtin("open-ai").unwrap_err().to_string().contains("did you mean `openai`?"));
}

#[test]
fn a_blocking_rule_beats_an_allowing_one_and_the_first_written_wins() {
    let rules = [
        Rule::literal("greet", "good day").action(RuleAction::Allow),
        Rule::regex("lock", r"\bpick(ing)? a lock\b"),
        Rule::literal("lock-too", "a lock"),
    ];
    let rules = Rules::compile(rules).unwrap();
    let hit = rules.evaluate("Good day, Picking A Lock", Target::Prompt).unwrap().unwrap();
    assert_eq!((hit.rule.as_str(), hit.action, hit.range), ("lock", RuleAction::Block, 10..24));
    let hit = rules.evaluate("good DAY", Target::Response).unwrap().unwrap();
    assert_eq!((hit.rule.as_str(), hit.action), ("greet", RuleAction::Allow));
    assert_eq!(rules.evaluate("good night", Target::Prompt).unwrap(), None);
}

#[test]
fn rules_keep_to_their_side_and_case() {
    let rules = [
        Rule::literal("a.b", "ÄRGER (x").applies_to(AppliesTo::Prompt),
        Rule::literal("Key", "Key").case(Case::Sensitive).applies_to(AppliesTo::Response),
    ];
    let rules = Rules::compile(rules).unwrap();
    assert_eq!(rules.evaluate("so ein ärger (X!", Target::Prompt).unwrap().unwrap().range, 7..16);
    assert_eq!(rules.evaluate("so ein ärger (X!", Target::Response).unwrap(), None);
    assert_eq!(rules.evaluate("key", Target::Response).unwrap(), None);
    assert!(rules.evaluate("Key", Target::Response).unwrap().is_some());
}

#[test]
fn aliases_of_modest_size_work() {
    let text =
        "name: x\ncategories:\n  - id: S1\n    examples: &e {unsafe: [y], safe: [z]}\n  - {id: S2, examples: *e}\n";
    let policy = Policy::parse(text, Format::Yaml).unwrap();
    assert_eq!(policy.categories[1].safe_examples, ["z"]);
}

#[test]
fn a_policy_built_in_code_is_held_to_the_same_bounds() {
    let policy =
        Policy::new("x").category(Category::new("a b", "")).category(Category::new("S1", "y").threshold(f32::NAN));
    let paths: Vec<_> = policy.validate().unwrap_err().findings.into_iter().map(|finding| finding.path).collect();
    assert_eq!(paths, ["categories[0].id", "categories[0].name", "categories[1].threshold"]);
    assert_eq!(Policy::new("x").validate().unwrap_err().findings[0].path, "categories");
}

#[test]
fn the_fingerprint_follows_the_meaning_and_not_the_spelling() {
    let fingerprint = house_rules().fingerprint();
    assert_eq!(fingerprint.len(), 64);
    assert_eq!(Policy::parse(MARKDOWN, Format::Markdown).unwrap().fingerprint(), fingerprint);
    let mut other = house_rules();
    other.categories[0].threshold = Some(0.71);
    assert_ne!(other.fingerprint(), fingerprint);
    assert_ne!(house_rules().rules(Rules::default()).fingerprint(), fingerprint);
}

#[cfg(feature = "native")]
#[test]
fn a_file_is_loaded_and_its_name_is_in_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.md");
    std::fs::write(&path, MARKDOWN).unwrap();
    assert_eq!(Policy::load(&path).unwrap(), house_rules());
    std::fs::write(&path, "# x\n").unwrap();
    let error = Policy::load(&path).unwrap_err();
    assert_eq!(error.code(), "bad_policy");
    assert!(error.to_string().contains("policy.md: line 1"), "{error}");
    assert_eq!(Policy::load(folder.path().join("none.yaml")).unwrap_err().code(), "io");
}

#[test]
fn what_is_done_about_unreadable_text_is_read_in_every_format_and_written_back() {
    use rsafe::policy::Unreadable;

    let yaml = "name: a\ncategories: [{id: S1, definition: x}]\nunreadable: {action: block, share: 0.25}\n";
    let json = r#"{"name": "a", "categories": [{"id": "S1", "definition": "x"}], "unreadable": {"action": "block", "share": 0.25}}"#;
    let markdown = "---\nunreadable: {action: block, share: 0.25}\n---\n# a\n\n## S1\nx\n";
    for (text, format) in [(yaml, Format::Yaml), (json, Format::Json), (markdown, Format::Markdown)] {
        let policy = Policy::parse(text, format).unwrap();
        assert_eq!(policy.unreadable, Some(Unreadable { action: Action::Block, share: 0.25 }));
        assert_eq!(Policy::parse(&policy.to_yaml(), Format::Yaml).unwrap(), policy);
        assert_eq!(Policy::parse(&policy.to_json(), Format::Json).unwrap(), policy);
    }
    let read = |unreadable: &str| {
        Policy::parse(
            &format!("name: a\ncategories: [{{id: S1, definition: x}}]\nunreadable: {unreadable}\n"),
            Format::Yaml,
        )
    };
    assert_eq!(read("{}").unwrap().unreadable, Some(Unreadable::default()));
    for (wrong, path) in [
        ("{action: allow}", "unreadable.action"),
        ("{share: 0}", "unreadable.share"),
        ("{share: 1.5}", "unreadable.share"),
        ("{share: .nan}", "unreadable.share"),
        ("{part: 0.5}", "unreadable"),
        ("review", "unreadable"),
    ] {
        assert_eq!(read(wrong).unwrap_err().findings[0].path, path, "{wrong}");
    }
}
