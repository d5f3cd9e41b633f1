use super::*;
use crate::conversation::Target;

fn recipe() -> Recipe {
    Recipe::load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/rsafe-mini/recipe.yaml")).unwrap()
}

fn sets(recipe: &Recipe) -> AdaptiveSets {
    AdaptiveSets::load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/rsafe-mini/adaptive.yaml"), recipe).unwrap()
}

fn row(id: usize, label: Label, categories: &[&str]) -> Row {
    Row {
        id: format!("row-{id}"),
        source: String::new(),
        level: Target::Prompt,
        prompt: "How do I pick a lock?".into(),
        messages: Vec::new(),
        response: None,
        label,
        categories: categories.iter().map(|&category| category.to_owned()).collect(),
        lang: String::new(),
        split: String::new(),
        touches: Vec::new(),
        quotes: Vec::new(),
        policy: None,
    }
}

#[test]
fn an_unsafe_row_is_asked_with_its_category_and_without_and_a_safe_one_once() {
    let recipe = recipe();
    let sets = sets(&recipe);
    let labels = sets.set("openai_moderation").unwrap();
    let rows: Vec<Row> = (0..60)
        .map(|id| match id % 3 {
            0 => row(id, Label::Safe, &[]),
            1 => row(id, Label::Unsafe, &["hate", "harassment"]),
            _ => row(id, Label::Unsafe, &["self-harm"]),
        })
        .collect();
    let (cases, left_out) = cases(&recipe, labels, &rows, AdaptiveOptions::default()).unwrap();
    assert_eq!((cases.len(), left_out), (100, 0));
    for case in &cases {
        let row = &rows[case.row];
        let ids: HashSet<ConceptIdx> =
            case.policy.categories.iter().map(|category| recipe.index(&category.id).unwrap()).collect();
        assert_eq!(ids.len(), 3, "three different categories");
        case.policy.validate().unwrap();
        let own = labels.own(&row.categories);
        let held = ids.iter().filter(|id| own.contains(id)).count();
        assert_eq!(held, usize::from(case.asked == Asked::Own), "{:?}", case.asked);
        // What is left is free of everything that may hold.
        let doubtful: HashSet<ConceptIdx> = own
            .iter()
            .flat_map(|&concept| &recipe.concepts[concept].covers)
            .flat_map(|&part| recipe.concepts[part].related.iter().copied().chain([part]))
            .collect();
        for id in ids.iter().filter(|id| !own.contains(id)) {
            assert!(recipe.concepts[*id].general);
            assert!(recipe.concepts[*id].covers.iter().all(|part| !doubtful.contains(part)));
        }
    }
}

#[test]
fn names_are_those_that_training_never_shows_unless_seen_ones_are_asked_for() {
    let recipe = recipe();
    let sets = sets(&recipe);
    let rows: Vec<Row> = (0..40).map(|id| row(id, Label::Unsafe, &["violence"])).collect();
    for names in [Names::HeldOut, Names::Seen] {
        let options = AdaptiveOptions { names, categories: 5, ..Default::default() };
        for case in cases(&recipe, sets.set("openai_moderation").unwrap(), &rows, options).unwrap().0 {
            for category in &case.policy.categories {
                let concept = &recipe.concepts[recipe.index(&category.id).unwrap()];
                assert_eq!(concept.held_out_names.contains(&category.name), names == Names::HeldOut);
                assert_eq!(concept.names.contains(&category.name), names == Names::Seen);
            }
        }
    }
}

#[test]
fn the_seed_and_the_row_alone_decide_its_policies() {
    let recipe = recipe();
    let sets = sets(&recipe);
    let labels = sets.set("aegis2_test").unwrap();
    let rows: Vec<Row> = (0..20).map(|id| row(id, Label::Unsafe, &["Profanity"])).collect();
    let of = |rows: &[Row], seed| {
        let options = AdaptiveOptions { seed, ..Default::default() };
        let policies = cases(&recipe, labels, rows, options).unwrap().0;
        policies.into_iter().map(|case| case.policy).collect::<Vec<_>>()
    };
    assert_eq!(of(&rows, 1), of(&rows, 1));
    assert_ne!(of(&rows, 1), of(&rows, 2));
    assert_eq!(of(&rows, 1)[38..], of(&rows[19..], 1)[..]);
}

#[test]
fn what_nobody_can_label_is_left_out() {
    let recipe = recipe();
    let sets = sets(&recipe);
    let labels = sets.set("aegis2_test").unwrap();
    let rows = [
        row(0, Label::Unsafe, &["Other", "Profanity"]),
        row(1, Label::Unsafe, &["Needs Caution"]),
        row(2, Label::Unsafe, &[]),
        row(3, Label::Safe, &["Profanity"]),
    ];
    assert_eq!(cases(&recipe, labels, &rows, AdaptiveOptions::default()).unwrap(), (vec![], 4));
    let none = AdaptiveOptions { categories: 0, ..Default::default() };
    assert_eq!(cases(&recipe, labels, &rows, none).unwrap_err().code(), "bad_input");
}

#[test]
fn a_mistake_in_the_file_is_named() {
    let recipe = recipe();
    let complaint = |text: &str| AdaptiveSets::parse(text, "map", &recipe).unwrap_err().to_string();
    assert!(complaint("a: {labels: {x: [no_such_concept]}}").contains("no_such_concept"));
    assert!(complaint("a: {labels: {x: [harassmnt]}}").contains("did you mean \"harassment\"?"));
    assert!(complaint("a: {labels: {}, perhaps: {x: [hate]}}").contains("\"x\""));
    assert!(complaint("a: [1]").contains("expected"));
    assert!(sets(&recipe).set("hatecheck").unwrap_err().to_string().contains("aegis2_test"));
}
