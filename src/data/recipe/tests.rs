//! What a recipe promises, on small ones and on the one that rsafe-mini is trained with.

use std::fs;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::conversation::Target;

const SMALL: &str = r#"
heldout_fraction: 0.1
concepts:
  theft: {related: [fraud]}
  fraud: {}
  insults: {}
  injection: {general: false}
broader:
  crime: {covers: [theft, fraud]}
  wrong: {covers: [theft, fraud, insults]}
wordings:
  theft: {names: [Theft], definitions: [Taking what is not yours.]}
  fraud: {names: [Fraud], definitions: [Tricking people out of money.]}
  insults: {names: [Insults], definitions: [Rude words to a person.]}
  injection: {names: [Injection], definitions: [Overriding instructions.]}
  crime: {names: [Crime], definitions: [Breaking the law.]}
  wrong: {names: [Wrongdoing], definitions: [Anything bad.]}
sources:
  mixed:
    unsafe_means: general
    negatives: [general]
    others: [general, injection]
    labels: {stealing: [theft], offences: [crime]}
  attacks: {unsafe_means: [injection], negatives: [injection]}
  uneven: {weight: 2, limit: 90, unsafe_share: 0.5, skip: [vague], label_weights: {rare: 20}, unsafe_means: general, negatives: [all]}
"#;

fn small() -> Recipe {
    Recipe::parse(SMALL, "small").unwrap()
}

fn row(number: usize, label: Label, categories: &[&str]) -> Row {
    Row {
        id: format!("row-{number}"),
        source: "test".into(),
        level: Target::Prompt,
        prompt: "how to pick a lock".into(),
        messages: Vec::new(),
        response: None,
        label,
        categories: categories.iter().map(|category| category.to_string()).collect(),
        lang: "en".into(),
        split: "train".into(),
        touches: Vec::new(),
        quotes: Vec::new(),
        policy: None,
    }
}

/// The ids that hold and those that do not.
fn named(recipe: &Recipe, source: &str, row: &Row) -> (Vec<String>, Vec<String>) {
    let facts = recipe.facts(source, row).unwrap();
    let names = |indices: &[ConceptIdx]| indices.iter().map(|&index| recipe.concepts[index].id.clone()).collect();
    (names(&facts.positive), names(&facts.negative))
}

fn shipped() -> Recipe {
    Recipe::load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/rsafe-mini/recipe.yaml")).unwrap()
}

#[test]
fn a_fine_concept_implies_its_broader_ones_and_leaves_the_related_unknown() {
    let (positive, negative) = named(&small(), "mixed", &row(0, Label::Unsafe, &["stealing"]));
    assert_eq!(positive, ["theft", "crime", "wrong"]);
    assert_eq!(negative, ["insults", "injection"]);
}

#[test]
fn related_is_read_both_ways() {
    let recipe = small();
    let (theft, fraud) = (recipe.index("theft").unwrap(), recipe.index("fraud").unwrap());
    assert_eq!((&recipe.concepts[theft].related, &recipe.concepts[fraud].related), (&vec![fraud], &vec![theft]));
}

#[test]
fn a_broader_label_implies_wider_ones_and_leaves_its_parts_unknown() {
    let (positive, negative) = named(&small(), "mixed", &row(0, Label::Unsafe, &["offences"]));
    assert_eq!(positive, ["crime", "wrong"]);
    assert_eq!(negative, ["insults", "injection"]);
}

#[test]
fn an_unsafe_row_without_a_known_label_says_only_that_something_holds() {
    let facts = small().facts("mixed", &row(0, Label::Unsafe, &["other"])).unwrap();
    let recipe = small();
    assert_eq!(recipe.any_harm, recipe.index("wrong"));
    let positive = recipe.any_harm.into_iter().collect();
    assert_eq!(facts, Facts { positive, general_unsafe: true, ..Facts::default() });
    assert_eq!(facts.holds(0), None);
}

/// A recipe with a code for each concept, and readers' labels of two rows of the set `mixed`.
fn read(folder: &Path) -> Recipe {
    let coded = [("theft: {", "th"), ("fraud: {", "fr"), ("insults: {", "hs"), ("injection: {", "ij")];
    let text = coded
        .iter()
        .fold(SMALL.to_owned(), |text, (concept, code)| text.replacen(concept, &format!("{concept}code: {code}, "), 1));
    let (text, wordings) = apart(&text);
    let own = "heldout_fraction: 0.1\nown: own\n";
    let text = text.replace("heldout_fraction: 0.1\n", own).replace("sources:\n", "sources:\n  twins: {own: true}\n");
    fs::create_dir_all(folder.join("own/labels")).unwrap();
    fs::create_dir_all(folder.join("own/rows")).unwrap();
    let labels = "source\tid\tverdict\tcodes\ttouches\nmixed\trow-1\tU\tth\tfr\nmixed\trow-2\tB\ths\tth\n\
                  mixed\trow-3\tS\tij\t\nmixed\trow-4\tU\tij\t\nmixed\trow-5\tS\t\tth\n";
    fs::write(folder.join("own/labels/pack.tsv"), labels).unwrap();
    fs::write(folder.join("recipe.yaml"), text).unwrap();
    fs::write(folder.join("wordings.yaml"), wordings).unwrap();
    Recipe::load(folder.join("recipe.yaml")).unwrap()
}

/// A recipe that includes its wordings, and these.
fn apart(recipe: &str) -> (String, String) {
    let (before, after) = recipe.split_once("wordings:\n").unwrap();
    let (wordings, after) = after.split_once("sources:\n").unwrap();
    (
        format!("{before}wordings: !include wordings.yaml\nsources:\n{after}"),
        wordings.replace("\n  ", "\n").replacen("  ", "", 1),
    )
}

#[test]
fn only_what_lies_beside_a_recipe_is_included() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let (text, wordings) = apart(SMALL);
    fs::write(folder.path().join("wordings.yaml"), &wordings).unwrap();
    let load = |text: &str| {
        fs::write(inner.join("recipe.yaml"), text).unwrap();
        Recipe::load(inner.join("recipe.yaml")).map(|_| ()).map_err(|error| error.to_string())
    };
    let absent = load(&text).unwrap_err();
    assert!(absent.contains("recipe.yaml") && absent.contains("wordings.yaml"), "{absent}");
    load(&text.replace("wordings.yaml", "../wordings.yaml")).unwrap_err();
    fs::write(inner.join("wordings.yaml"), wordings).unwrap();
    load(&text).unwrap();
}

#[test]
fn a_readers_label_holds_instead_of_the_sets() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = read(folder.path());
    let ids = |list: &[ConceptIdx]| list.iter().map(|&at| recipe.concepts[at].id.as_str()).collect::<Vec<_>>();
    let facts = |number| recipe.facts("mixed", &row(number, Label::Safe, &["stealing"])).unwrap();

    let harmful = facts(1);
    assert_eq!(ids(&harmful.positive), ["theft", "crime", "wrong"]);
    assert_eq!(
        ids(&harmful.negative),
        ["fraud", "insults", "injection"],
        "what is touched does not hold, related or not"
    );
    assert_eq!(ids(&harmful.touched), ["fraud"]);

    let borderline = facts(2);
    assert_eq!((ids(&borderline.positive), ids(&borderline.borderline)), (vec![], vec!["insults", "wrong"]));
    let insults = recipe.index("insults").unwrap();
    assert_eq!((borderline.holds(insults), borderline.target(insults)), (None, Some(0.5)));

    let about = facts(3);
    assert_eq!(ids(&about.positive), ["injection"], "it holds, and harms nobody");
    assert_eq!(about.holds(recipe.any_harm.unwrap()), Some(false));
    assert_eq!(facts(4).holds(recipe.any_harm.unwrap()), None, "no harm in general, nor free of it");
    assert!(ids(&facts(5).negative).contains(&"theft") && facts(5).positive.is_empty());
    assert_eq!(ids(&facts(6).negative), ["theft", "fraud", "insults", "crime", "wrong"], "the set's own label");
}

#[test]
fn what_several_readers_say_counts_together_whatever_the_order_of_their_files() {
    let folder = tempfile::tempdir().unwrap();
    read(folder.path());
    let readers = ["U\tth,hs\t", "S\t\tfr", "U\tth\tfr", "B\tth\tfr"];
    for turn in 0..readers.len() {
        for (at, label) in readers.iter().enumerate() {
            let file = format!("own/labels/reader{}.tsv", (at + turn) % readers.len());
            let two = if at < 2 { format!("mixed\trow-8\t{label}\n") } else { String::new() };
            fs::write(folder.path().join(file), format!("head\nmixed\trow-7\t{label}\n{two}")).unwrap();
        }
        let recipe = Recipe::load(folder.path().join("recipe.yaml")).unwrap();
        let source = recipe.source("mixed").unwrap();
        let said = |number| recipe.reading(source, &row(number, Label::Safe, &[])).unwrap().clone();
        let ids = |list: &[ConceptIdx]| list.iter().map(|&at| recipe.concepts[at].id.clone()).collect::<Vec<_>>();
        // S B U U: between borderline and unsafe.
        assert_eq!(
            (said(7).label, ids(&said(7).holds), ids(&said(7).touches)),
            (Label::Borderline, vec!["theft".to_owned()], vec!["fraud".to_owned()])
        );
        assert_eq!(
            (said(8).label, ids(&said(8).holds)),
            (Label::Borderline, vec!["theft".to_owned(), "insults".to_owned()])
        );
    }
}

#[test]
fn rows_of_our_own_bring_their_labels_and_those_of_the_split_dev_are_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = read(folder.path());
    let row = |id: &str, source: &str, split: &str| {
        format!(
            r#"{{"id":"{id}","source":"{source}","level":"prompt","prompt":"a","label":"borderline","categories":["th"],"touches":["hs"],"split":"{split}"}}"#
        )
    };
    let rows = [row("t1", "twins", "train"), row("t2", "twins", "dev"), row("c1", "crisis", "train")].join("\n");
    fs::write(folder.path().join("own/rows/all.jsonl"), rows).unwrap();
    let found: Vec<Row> = recipe.rows("twins", Path::new("nowhere")).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["t1", "t2"]);
    assert_eq!(recipe.epoch("twins", &found, 1, 0).unwrap(), [0]);
    let facts = recipe.facts("twins", &found[0]).unwrap();
    assert_eq!(facts.target(recipe.index("theft").unwrap()), Some(0.5));
    assert_eq!(facts.holds(recipe.index("insults").unwrap()), Some(false));
    let unknown = Row { categories: vec!["xx".into()], ..found[0].clone() };
    let error = recipe.facts("twins", &unknown).unwrap_err().to_string();
    assert!(error.contains("t1") && error.contains("fr hs ij th") && error.contains("\"xx\""), "{error}");
}

#[test]
fn a_safe_row_is_free_of_general_harm_and_says_nothing_about_the_rest() {
    let (positive, negative) = named(&small(), "mixed", &row(0, Label::Safe, &["stealing"]));
    assert!(positive.is_empty());
    assert_eq!(negative, ["theft", "fraud", "insults", "crime", "wrong"]);
}

#[test]
fn a_single_policy_set_speaks_of_its_own_concept_only() {
    let recipe = small();
    assert_eq!(named(&recipe, "attacks", &row(0, Label::Unsafe, &[])), (vec!["injection".into()], vec![]));
    assert_eq!(named(&recipe, "attacks", &row(0, Label::Safe, &[])), (vec![], vec!["injection".into()]));
    assert!(recipe.facts("unheard_of", &row(0, Label::Safe, &[])).is_err());
}

#[test]
fn only_sources_that_speak_of_harm_in_general_say_that_there_is_some() {
    let recipe = Recipe::parse(
        &SMALL.replace("attacks: {unsafe_means: [injection]", "attacks: {unsafe_means: [theft]"),
        "small",
    )
    .unwrap();
    assert_eq!(named(&recipe, "attacks", &row(0, Label::Unsafe, &[])).0, ["theft", "crime"]);
    assert_eq!(named(&recipe, "mixed", &row(0, Label::Unsafe, &["stealing"])).0, ["theft", "crime", "wrong"]);
}

#[test]
fn a_source_may_judge_another_side_of_its_rows() {
    let answered =
        Row { level: Target::Response, response: Some("ask a locksmith".into()), ..row(0, Label::Safe, &[]) };
    for (judge, level, prompt, response) in [
        ("row", Target::Response, "how to pick a lock", Some("ask a locksmith".to_owned())),
        ("prompt", Target::Prompt, "how to pick a lock", None),
        ("text", Target::Prompt, "ask a locksmith", None),
    ] {
        let recipe = SMALL.replace("  mixed:\n", &format!("  mixed:\n    judge: {judge}\n    file: other\n"));
        let recipe = Recipe::parse(&recipe, "small").unwrap();
        let source = recipe.source("mixed").unwrap();
        let seen = source.view(answered.clone());
        assert_eq!((seen.level, seen.prompt.as_str(), seen.response), (level, prompt, response));
        assert_eq!(source.origin, Origin::Set("other".into()));
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (wrong, right, message) in [
        ("labels: {stealing: [theft]", "labels: {stealing: [thefd]", "sources.mixed.labels.stealing: \"thefd\""),
        ("covers: [theft, fraud]", "covers: [theft, scam]", "broader.crime.covers: \"scam\""),
        ("related: [fraud]", "related: [crime]", "concepts.theft.related"),
        ("names: [Fraud]", "names: [theft]", "fraud: the name \"theft\" is already one of theft"),
        ("  insults: {names: [Insults]", "  insult: {names: [Insults]", "wordings: \"insult\""),
        ("  insults: {names: [Insults], definitions: [Rude words to a person.]}\n", "", "wordings.insults: expected"),
        ("names: [Theft]", "names: []", "wordings.theft: expected"),
        ("unsafe_means: general", "unsafe_means: any", "unsafe_means: expected `general`"),
        ("weight: 2", "weight: 0", "sources.uneven.weight"),
        ("weight: 2", "wait: 2", "wait"),
        ("heldout_fraction: 0.1", "heldout_fraction: 3", "heldout_fraction"),
    ] {
        assert!(SMALL.contains(wrong));
        let error = Recipe::parse(&SMALL.replacen(wrong, right, 1), "small").unwrap_err().to_string();
        assert!(error.contains("small") && error.contains(message), "{error}");
    }
}

#[test]
fn an_epoch_keeps_its_limit_and_its_share_and_never_takes_held_out_or_skipped_rows() {
    let recipe = small();
    let rows: Vec<Row> = (0..400)
        .map(|number| match number % 10 {
            0 => row(number, Label::Safe, &[]),
            1 => row(number, Label::Unsafe, &["vague"]),
            2 => row(number, Label::Unsafe, &["rare"]),
            _ => row(number, Label::Unsafe, &["common"]),
        })
        .collect();
    let places = recipe.epoch("uneven", &rows, 1, 0).unwrap();
    let count = |test: &dyn Fn(&Row) -> bool| places.iter().filter(|&&place| test(&rows[place])).count();
    assert_eq!(places.len(), 90);
    assert_eq!(count(&|row| row.label == Label::Unsafe), 45);
    assert_eq!(count(&|row| row.is_held_out(0.1) || row.categories.contains(&"vague".into())), 0);
    assert!(
        count(&|row| row.categories.contains(&"rare".into())) > 20,
        "a seventh of the rows, but twenty times as likely"
    );
    assert_eq!(places, recipe.epoch("uneven", &rows, 1, 0).unwrap());
    assert_ne!(places, recipe.epoch("uneven", &rows, 1, 1).unwrap());
}

#[test]
fn the_shipped_recipe_names_enough_concepts_in_enough_words() {
    let recipe = shipped();
    assert!((40..=60).contains(&recipe.fine), "{}", recipe.fine);
    assert!(recipe.concepts.len() - recipe.fine >= 20);
    let files: HashSet<&str> = recipe
        .sources
        .values()
        .filter_map(|source| match &source.origin {
            Origin::Set(name) => Some(name.as_str()),
            Origin::Own(_) => None,
        })
        .collect();
    assert_eq!(files.len(), 60);
    for (index, concept) in recipe.concepts.iter().enumerate() {
        let least = if index < recipe.fine { (6, 3) } else { (4, 2) };
        assert!(concept.names.len() >= least.0 && concept.definitions.len() >= least.1, "{}", concept.id);
        assert_eq!(concept.held_out_names.len(), 2, "{}", concept.id);
        for definition in &concept.definitions {
            let words = definition.split_whitespace().count();
            assert!((5..=24).contains(&words), "{}: {definition}", concept.id);
        }
    }
}

#[test]
fn every_shipped_concept_can_be_seen_to_hold_and_to_be_absent() {
    let recipe = shipped();
    let (mut held, mut absent) = (HashSet::new(), HashSet::new());
    for source in recipe.sources.values() {
        let means = match &source.unsafe_means {
            UnsafeMeans::Concepts(concepts) => concepts.as_slice(),
            UnsafeMeans::General => &[],
        };
        for stated in source.labels.values().map(Vec::as_slice).chain([means]) {
            held.extend(recipe.close(stated, &[]).positive);
        }
        absent.extend(recipe.close(&[], &source.negatives).negative);
    }
    for (index, concept) in recipe.concepts.iter().enumerate() {
        assert!(held.contains(&index), "nothing says that {} holds", concept.id);
        assert!(absent.contains(&index) || !concept.general, "nothing says that {} is absent", concept.id);
    }
}

#[test]
fn no_fact_of_the_shipped_recipe_contradicts_another() {
    let recipe = shipped();
    for (name, source) in &recipe.sources {
        for label in source.labels.keys() {
            let facts = recipe.facts(name, &row(0, Label::Unsafe, &[label])).unwrap();
            assert!(!facts.positive.is_empty() && !facts.general_unsafe);
            assert!(facts.positive.iter().all(|held| !facts.negative.contains(held)), "{name}: {label}");
        }
    }
}

#[test]
fn a_general_cover_leaves_no_general_concept_out() {
    let recipe = shipped();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut sizes = HashSet::new();
    for _ in 0..50 {
        let policy = recipe.general_cover(&mut rng);
        let covered: HashSet<_> = policy.iter().flat_map(|&category| &recipe.concepts[category].covers).collect();
        assert!((0..recipe.fine).all(|concept| !recipe.concepts[concept].general || covered.contains(&concept)));
        assert!(policy.iter().all(|&category| recipe.concepts[category].general));
        sizes.insert(policy.len());
    }
    assert!(sizes.len() > 5, "policies differ in how coarse they are");
}

#[test]
fn a_list_with_an_anchor_can_be_part_of_another() {
    let nested = SMALL
        .replace("others: [general, injection]", "others: [&both [theft, fraud], insults]")
        .replace("negatives: [injection]", "negatives: [injection, *both]");
    let recipe = Recipe::parse(&nested, "nested").unwrap();
    let ids = |list: &[ConceptIdx]| list.iter().map(|&at| recipe.concepts[at].id.as_str()).collect::<Vec<_>>();
    assert_eq!(ids(&recipe.sources["mixed"].others), ["theft", "fraud", "insults"]);
    assert_eq!(ids(&recipe.sources["attacks"].negatives), ["theft", "fraud", "injection"]);
    let deeper = SMALL.replace("negatives: [injection]", "negatives: [[[injection]]]");
    assert!(Recipe::parse(&deeper, "deeper").unwrap_err().to_string().contains("a list of names"));
}
