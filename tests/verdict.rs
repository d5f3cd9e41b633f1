//! From answers and scores to a decision, its evidence, and the shapes others read.

use proptest::prelude::*;
use rsafe::policy::Unreadable;
use rsafe::verdict::{
    Answer, Decision, Dial, Label, Note, NoteCode, OnError, Operating, QuoteSpan, Step, Thresholds, Usage, Verdict,
    VerdictBuilder, parse_llama_guard, parse_qwen3guard, parse_rsafe, quotes_in,
};
use rsafe::{Action, Category, Conversation, Tier};
use serde_json::json;

fn categories() -> Vec<Category> {
    vec![
        Category::new("block", "Name of block"),
        Category::new("review", "Name of review").action(Action::Review).threshold(0.3),
        Category::new("allow", "Name of allow").action(Action::Allow),
    ]
}

fn decide(score: f32, scored: &[(&str, f32)]) -> Decision {
    let categories = categories();
    let builder = VerdictBuilder::new(&categories).score(score);
    scored.iter().fold(builder, |builder, (id, score)| builder.category(id, *score)).build().decision
}

fn labelled(label: Label) -> Answer {
    Answer { verdict: Some(label), ..Answer::default() }
}

#[test]
fn the_severest_action_of_the_categories_that_apply_decides() {
    assert_eq!(decide(0.1, &[("block", 0.5), ("review", 0.9)]), Decision::Block);
    assert_eq!(decide(0.9, &[("block", 0.49), ("review", 0.3)]), Decision::Review);
    assert_eq!(decide(0.9, &[("block", 0.1), ("allow", 0.9)]), Decision::Allow);
    assert_eq!(decide(0.1, &[("block", 0.49), ("review", 0.29)]), Decision::Allow);
}

#[test]
fn unreadable_text_is_told_and_does_what_the_policy_says_from_its_share_on() {
    let categories = categories();
    let decided = |share, limit| {
        let verdict = VerdictBuilder::new(&categories).category("block", 0.1).unreadable(share, limit).build();
        assert_eq!(verdict.unreadable, share);
        assert_eq!(verdict.flagged, verdict.decision != Decision::Allow);
        verdict.decision
    };
    assert_eq!(decided(1.0, None), Decision::Allow);
    assert_eq!(decided(0.5, Some(Unreadable::default())), Decision::Review);
    assert_eq!(decided(0.49, Some(Unreadable::default())), Decision::Allow);
    assert_eq!(decided(0.2, Some(Unreadable { action: Action::Block, share: 0.2 })), Decision::Block);
}

#[test]
fn a_language_that_is_not_read_makes_the_whole_text_unreadable_for_the_policy() {
    let categories = categories();
    let note = Note::new(NoteCode::Language, "de", "in German");
    let decided = |limit| {
        let builder = VerdictBuilder::new(&categories).category("block", 0.1).unreadable(0.0, limit);
        let verdict = builder.notes(vec![note.clone()]).build();
        assert_eq!((verdict.unreadable, &verdict.notes[..]), (0.0, &[note.clone()][..]));
        verdict.decision
    };
    assert_eq!(decided(None), Decision::Allow);
    assert_eq!(decided(Some(Unreadable { action: Action::Block, share: 1.0 })), Decision::Block);
}

#[test]
fn where_categories_have_scores_they_alone_decide() {
    assert_eq!(decide(0.99, &[("block", 0.4)]), Decision::Allow);
    assert_eq!(decide(0.99, &[("review", 0.0)]), Decision::Allow);
    assert_eq!(decide(0.99, &[("unknown", 0.0)]), Decision::Block, "no category of the policy has a score");
}

#[test]
fn a_threshold_is_the_policys_then_the_bundles_for_the_id_then_global() {
    let categories = categories();
    let by_id = [("block", 0.2), ("review", 0.9)].map(|(id, score)| (id.to_owned(), score));
    let mut thresholds = Thresholds::default();
    thresholds.global = 0.6;
    thresholds.categories = by_id.into_iter().collect();
    let builder = VerdictBuilder::new(&categories).thresholds(thresholds);
    let verdict = ["block", "review", "allow"].into_iter().fold(builder, |b, id| b.category(id, 0.25)).build();
    let used: Vec<_> = verdict.categories.iter().map(|c| (c.threshold, c.flagged)).collect();
    assert_eq!(used, [(0.2, true), (0.3, false), (0.6, false)]);
}

#[test]
fn an_unsafe_text_without_category_scores_is_blocked_from_the_global_threshold() {
    assert_eq!(decide(0.5, &[]), Decision::Block);
    assert_eq!(decide(0.49, &[]), Decision::Allow);
    let mut strict = Thresholds::default();
    strict.global = 0.05;
    let verdict = VerdictBuilder::new(&[]).thresholds(strict).score(0.06).build();
    assert_eq!((verdict.decision, verdict.flagged), (Decision::Block, true));
}

#[test]
fn an_unsafe_text_of_which_nobody_says_the_category_gets_the_severest_action_of_the_policy() {
    let decision = |categories: &[Category]| VerdictBuilder::new(categories).score(0.9).build().decision;
    let [block, review, allow] = &categories()[..] else { panic!("three categories") };
    assert_eq!(decision(&[review.clone(), block.clone()]), Decision::Block);
    assert_eq!(decision(&[review.clone(), allow.clone()]), Decision::Review);
    assert_eq!(decision(std::slice::from_ref(allow)), Decision::Allow);
}

#[test]
fn where_actions_differ_and_no_category_is_named_the_verdict_says_so() {
    let categories = categories();
    let [block, review, _] = &categories[..] else { panic!("three categories") };
    let notes = |builder: VerdictBuilder| -> Vec<(NoteCode, String)> {
        builder.build().notes.into_iter().map(|note| (note.code, note.found)).collect()
    };
    let of = |categories| VerdictBuilder::new(categories).score(0.9);
    let differ = [review.clone(), block.clone()];
    assert_eq!(notes(of(&differ)), [(NoteCode::Unnamed, "block".to_owned())]);
    assert_eq!(notes(of(&differ).category(&review.id, 0.9)), [], "a category is named");
    assert_eq!(notes(of(&differ).score(0.1)), [], "no action is asked for");
    assert_eq!(notes(of(&[review.clone(), review.clone()])), [], "the actions are the same");
}

#[test]
fn a_score_that_is_not_a_finite_number_fails_closed() {
    assert_eq!(decide(f32::NAN, &[]), Decision::Block);
    assert_eq!(decide(0.0, &[("block", f32::NAN)]), Decision::Block);
    assert_eq!(decide(f32::NEG_INFINITY, &[]), Decision::Block);
}

#[test]
fn an_answer_without_a_verdict_is_a_failure_and_never_allowed() {
    let conversation = Conversation::prompt("hello");
    let answer = parse_rsafe("<think>It is fine, it is safe.</think> safe");
    for (on_error, decision) in [(OnError::Block, Decision::Block), (OnError::Review, Decision::Review)] {
        let verdict = VerdictBuilder::new(&[]).on_error(on_error).answer(&answer, &conversation).build();
        assert_eq!((verdict.decision, verdict.flagged, verdict.score), (decision, true, 1.0));
        assert!(verdict.failure.is_some());
        assert_eq!(verdict.reasoning.as_deref(), Some("It is fine, it is safe."));
    }
    let verdict = Verdict::fail_closed("time-out", OnError::default());
    assert_eq!(serde_json::to_value(&verdict).unwrap()["failure"], "time-out");
}

#[test]
fn a_failure_tells_what_is_known_of_the_text_all_the_same() {
    let notes = vec![Note::new(NoteCode::Language, "de", "in German")];
    let mut usage = Usage::default();
    usage.prompt_tokens = 7;
    let verdict = VerdictBuilder::new(&[]).unreadable(0.4, None).notes(notes.clone()).usage(usage).build();
    assert!(verdict.failure.is_some());
    assert_eq!((verdict.unreadable, verdict.notes, verdict.usage), (0.4, notes, usage));
}

#[test]
fn of_two_scores_of_a_category_the_last_holds() {
    assert_eq!(decide(0.1, &[("block", 0.9), ("block", 0.1)]), Decision::Allow);
    assert_eq!(decide(0.1, &[("block", 0.1), ("block", 0.9)]), Decision::Block);
}

#[test]
fn a_violation_does_not_look_like_a_failure() {
    let verdict = VerdictBuilder::new(&[]).score(0.9).build();
    assert_eq!(serde_json::to_value(&verdict).unwrap().get("failure"), None);
}

#[test]
fn a_rule_decides_alone() {
    let verdict = Verdict::by_rule("no-links", Decision::Review);
    assert_eq!((verdict.flagged, verdict.rule.as_deref(), verdict.score), (true, Some("no-links"), 1.0));
    assert!(!Verdict::by_rule("ours", Decision::Allow).flagged);
}

#[test]
fn a_named_category_without_a_score_takes_the_score_of_the_verdict() {
    let categories = categories();
    let conversation = Conversation::prompt("hello");
    let answer = Answer { categories: vec!["review".into(), "unknown".into()], ..labelled(Label::Unsafe) };
    let verdict = VerdictBuilder::new(&categories).score(0.8).answer(&answer, &conversation).build();
    assert_eq!(verdict.decision, Decision::Review);
    let named: Vec<_> = verdict.categories.iter().map(|c| (c.id.as_str(), c.score, c.threshold, c.flagged)).collect();
    assert_eq!(named, [("review", 0.8, 0.3, true)]);
}

#[test]
fn labels_stand_in_for_a_missing_score() {
    let conversation = Conversation::prompt("hello");
    for (label, score) in [(Label::Safe, 0.0), (Label::Controversial, 0.5), (Label::Unsafe, 1.0)] {
        assert_eq!(VerdictBuilder::new(&[]).answer(&labelled(label), &conversation).build().score, score);
    }
}

#[test]
fn evidence_is_the_quotes_of_the_steps_each_with_its_category() {
    let conversation = Conversation::response("Hi", "Use a tension wrench");
    let quote = QuoteSpan { message: 1, bytes: 4..20 };
    let step = |id: &str| Step { category: id.into(), applies: true, quote: Some(quote.clone()) };
    let outside = QuoteSpan { message: 1, bytes: 4..99 };
    let answer = Answer {
        steps: vec![step("block"), step("review")],
        quotes: vec![quote.clone(), quote.clone(), outside],
        reasoning: "It says \"Use a tension\".".into(),
        ..labelled(Label::Unsafe)
    };
    let evidence = VerdictBuilder::new(&[]).answer(&answer, &conversation).build().evidence;
    let seen: Vec<_> = evidence.iter().map(|e| (e.quote.as_str(), e.category.as_deref())).collect();
    assert_eq!(seen, [("a tension wrench", Some("block")), ("a tension wrench", Some("review"))]);
}

#[test]
fn a_quote_of_no_step_is_evidence_and_an_effect_is_that_of_its_own_category() {
    let conversation = Conversation::prompt("Use a tension wrench");
    let quote = |bytes| QuoteSpan { message: 0, bytes };
    let step = Step { category: "review".into(), applies: true, quote: Some(quote(0..5)) };
    let answer = Answer { steps: vec![step], quotes: vec![quote(0..5), quote(6..20)], ..labelled(Label::Unsafe) };
    let builder = VerdictBuilder::new(&[]).effect("block", 0.1).effect("review", 0.2);
    let evidence = builder.answer(&answer, &conversation).build().evidence;
    let seen: Vec<_> = evidence.iter().map(|e| (e.quote.as_str(), e.effect)).collect();
    assert_eq!(seen, [("Use a", Some(0.2)), ("tension wrench", None)]);
}

#[test]
fn evidence_of_free_reasoning_is_what_it_quotes_from_the_judged_message() {
    let mut conversation = Conversation::response("how to pick a lock", "With a rake, in a minute");
    let answer = Answer {
        reasoning: "The user asks \"how to pick a lock\"; the agent says \u{201c}With a rake,\u{201d} and more.".into(),
        ..labelled(Label::Unsafe)
    };
    let evidence = |conversation: &Conversation| {
        let verdict = VerdictBuilder::new(&[]).answer(&answer, conversation).build();
        verdict.evidence.into_iter().map(|e| (e.message, e.quote)).collect::<Vec<_>>()
    };
    assert_eq!(evidence(&conversation), [(1, "With a rake,".to_owned())]);
    conversation.target = rsafe::Target::Prompt;
    assert_eq!(evidence(&conversation), [(0, "how to pick a lock".to_owned())]);
}

#[test]
fn quotes_need_two_words_or_eight_characters_and_survive_stray_marks() {
    let message = "Say \"no\" to lockpicking, say yes to keys";
    let quotes = |reasoning: &str| quotes_in(reasoning, message).into_iter().map(|r| &message[r]).collect::<Vec<_>>();
    assert_eq!(quotes("It says \"no\" and \"yes to keys.\""), ["yes to keys"]);
    assert_eq!(quotes("5\" long, \"lockpicking\" and \"lockpicking\" and \"burglary tools\""), ["lockpicking"]);
    assert!(quotes("an open \"say yes").is_empty());
}

#[test]
fn rsafe_text_is_read_by_its_last_box() {
    let verdict = |text| parse_rsafe(text).verdict;
    assert_eq!(verdict("<think>a</think>\n\\boxed{safe}"), Some(Label::Safe));
    assert_eq!(verdict("\\boxed{safe} no: \\boxed{ UnSafe }."), Some(Label::Unsafe));
    assert_eq!(verdict("\\boxed{safe} \\boxed{\\text{safe}}"), None);
    assert_eq!(verdict("\\boxed{safe} \\boxed{unsafe"), None);
    assert_eq!(verdict("\\boxed{controversial}"), None);
    assert_eq!(verdict("\\boxed {safe}"), None);
    assert_eq!(verdict("unsafe"), None);
    assert_eq!(parse_rsafe("<think> because \n</think>").reasoning, "because");
}

#[test]
fn llama_guard_text_names_known_categories_once() {
    let categories = [("a", "S1"), ("b", "S10")];
    let parse = |text| parse_llama_guard(text, &categories);
    assert_eq!(parse("\n\nsafe").verdict, Some(Label::Safe));
    assert_eq!(parse("unsafe").verdict, Some(Label::Unsafe));
    assert_eq!(parse("unsafe\nS10, S1").categories, ["b", "a"]);
    for bad in ["", "Safe!", "safe\nS1", "unsafe\nS2", "unsafe\nS1,S1", "unsafe\nS1,", "unsafe\nS1\nS10", "unsafe\n"] {
        let expected = (bad == "unsafe\n").then_some(Label::Unsafe);
        assert_eq!(parse(bad).verdict, expected, "{bad:?}");
    }
}

#[test]
fn qwen3guard_text_is_read_line_by_line() {
    let categories = [("v", "Violent"), ("w", "Violent, or worse")];
    let parse = |text| parse_qwen3guard(text, &categories);
    let answer = parse("Safety: Unsafe\nCategories: Violent, or worse, Violent\nRefusal: No");
    assert_eq!((answer.verdict, answer.refusal), (Some(Label::Unsafe), Some(false)));
    assert_eq!(answer.categories, ["w", "v"]);
    assert_eq!(parse("Safety: Safe\nCategories: None").verdict, Some(Label::Safe));
    for bad in ["Safety: Fine\nCategories: None", "Safety: Safe", "Safety: Safe\nCategories: None\nRefusal: Maybe"] {
        assert_eq!(parse(bad).verdict, None, "{bad:?}");
    }
}

fn openai(verdict: &Verdict) -> serde_json::Value {
    // As text and back: a score is written with as few digits as tell it from its neighbours.
    serde_json::from_str(&serde_json::to_string(&verdict.to_openai("modr-1", "rsafe-mini")).unwrap()).unwrap()
}

#[test]
fn openai_shows_its_fields_and_ours_beside_them() {
    let categories = categories();
    let verdict = VerdictBuilder::new(&categories).score(0.7).category("block", 0.7).category("allow", 1.0).build();
    assert_eq!(
        openai(&verdict),
        json!({
            "id": "modr-1",
            "model": "rsafe-mini",
            "results": [{
                "flagged": true,
                "categories": {"block": true, "allow": false},
                "category_scores": {"block": 0.7, "allow": 1.0},
                "category_applied_input_types": {"block": ["text"], "allow": []},
                "decision": "block",
                "tier": "block",
                "score": 0.7,
                "scored_categories": [
                    {"id": "block", "name": "Name of block", "score": 0.7, "threshold": 0.5, "flagged": true},
                    {"id": "allow", "name": "Name of allow", "score": 1.0, "threshold": 0.5, "flagged": false},
                ],
                "rule": null,
            }],
        })
    );
    let failed = openai(&Verdict::fail_closed("lost", OnError::Review));
    assert_eq!((&failed["results"][0]["flagged"], &failed["results"][0]["failure"]), (&json!(true), &json!("lost")));
}

#[test]
fn llama_guard_text_names_what_applies_and_reads_back() {
    let categories = categories();
    let text = |builder: VerdictBuilder| builder.build().to_llama_guard();
    let builder = VerdictBuilder::new(&categories);
    let both = text(builder.clone().category("block", 0.7).category("review", 0.9).category("allow", 1.0));
    assert_eq!(both, "unsafe\nblock,review");
    assert_eq!(parse_llama_guard(&both, &[("block", "block"), ("review", "review")]).categories, ["block", "review"]);
    assert_eq!(text(builder.clone().category("allow", 1.0)), "safe");
    assert_eq!(text(builder.score(0.0)), "safe");
    assert_eq!(Verdict::fail_closed("lost", OnError::Block).to_llama_guard(), "unsafe");
    assert_eq!(Verdict::by_rule("no-links", Decision::Review).to_llama_guard(), "unsafe");
}

/// The tier of an allowed text whose categories have these scores; they apply from .5, .3 and .5 on.
fn tier_of(scored: &[(&str, f32)]) -> Tier {
    let categories = categories();
    let verdict = scored.iter().fold(VerdictBuilder::new(&categories), |b, (id, score)| b.category(id, *score)).build();
    assert_eq!(verdict.decision, Decision::Allow, "{scored:?}");
    verdict.tier
}

#[test]
fn an_allowed_text_asks_for_care_from_the_band_of_doubt_on_and_half_way_to_a_threshold_below_it() {
    assert_eq!(Thresholds::default().uncertain[0], 0.3);
    assert_eq!(tier_of(&[("block", 0.24), ("review", 0.14)]), Tier::Clear);
    assert_eq!(tier_of(&[("block", 0.25)]), Tier::Care, "half of .5");
    assert_eq!(tier_of(&[("review", 0.15)]), Tier::Care, "half of .3");
    assert_eq!(tier_of(&[("block", 0.1), ("allow", 1.0)]), Tier::Clear, "what is allowed has no say");
    let high = vec![Category::new("high", "High").threshold(0.9)];
    let tier = |score| VerdictBuilder::new(&high).category("high", score).build().tier;
    assert_eq!((tier(0.29), tier(0.3)), (Tier::Clear, Tier::Care), "the band begins before half of .9");
}

#[test]
fn where_no_category_has_a_score_the_overall_one_makes_the_tier() {
    let categories = categories();
    let tier = |categories, score| VerdictBuilder::new(categories).score(score).build().tier;
    let tiers = [0.24, 0.25, 0.5].map(|score| tier(&categories[..], score));
    assert_eq!(tiers, [Tier::Clear, Tier::Care, Tier::Block]);
    assert_eq!(tier(&categories[1..], 0.5), Tier::Attention);
    assert_eq!(tier(&categories[2..], 0.9), Tier::Clear, "the policy allows whatever it names");
}

#[test]
fn a_rule_makes_the_tier_alone() {
    let tier = |decision| Verdict::by_rule("rule", decision).tier;
    let tiers = [Decision::Allow, Decision::Review, Decision::Block].map(tier);
    assert_eq!(tiers, [Tier::Clear, Tier::Attention, Tier::Block]);
}

#[test]
fn what_could_not_be_judged_or_read_is_never_clear() {
    for (on_error, tier) in [(OnError::Block, Tier::Block), (OnError::Review, Tier::Attention)] {
        assert_eq!(Verdict::fail_closed("time-out", on_error).tier, tier);
        assert_eq!(VerdictBuilder::new(&[]).on_error(on_error).build().tier, tier, "no verdict in the answer");
    }
    let categories = categories();
    let builder = VerdictBuilder::new(&categories).category("block", 0.0);
    let unreadable = |share| builder.clone().unreadable(share, None).build().tier;
    assert_eq!([0.09, 0.1, 1.0, f32::NAN].map(unreadable), [Tier::Clear, Tier::Care, Tier::Care, Tier::Care]);
    assert_eq!(builder.clone().unreadable(1.0, Some(Unreadable::default())).build().tier, Tier::Attention);
    let note = Note::new(NoteCode::Language, "de", "in German");
    assert_eq!(builder.clone().notes(vec![note]).build().tier, Tier::Care);
    assert_eq!(builder.category("block", f32::NAN).build().tier, Tier::Block);
}

#[test]
fn a_tier_has_one_word_everywhere() {
    for (tier, word) in
        [(Tier::Clear, "clear"), (Tier::Care, "care"), (Tier::Attention, "attention"), (Tier::Block, "block")]
    {
        assert_eq!((serde_json::to_value(tier).unwrap(), tier.as_str()), (json!(word), word));
    }
}

/// Categories with an action and at times a threshold of their own, each with two scores, the lower one first.
fn scored_policies() -> impl Strategy<Value = Vec<(Action, Option<f32>, [f32; 2])>> {
    let action = proptest::sample::select(vec![Action::Block, Action::Review, Action::Allow]);
    let scores = (0.0f32..=1.0, 0.0f32..=1.0).prop_map(|(a, b)| [a.min(b), a.max(b)]);
    proptest::collection::vec((action, proptest::option::of(0.0f32..=1.0), scores), 0..4)
}

fn thresholds() -> impl Strategy<Value = Thresholds> {
    (0.0f32..=1.0, 0.0f32..=1.0, 0.0f32..=1.0).prop_map(|(global, a, b)| {
        let mut thresholds = Thresholds::default();
        thresholds.global = global;
        thresholds.uncertain = [a.min(b), a.max(b)];
        thresholds
    })
}

proptest! {
    #[test]
    fn a_tier_is_the_decision_and_rises_with_scores_and_strictness(
        policy in scored_policies(), thresholds in thresholds(), overall in 0.0f32..=1.0, higher in 0.0f32..=1.0,
        unreadable in 0.0f32..=1.0, strictness in (0.0f32..=1.0, 0.0f32..=1.0),
    ) {
        let categories: Vec<Category> = policy.iter().enumerate().map(|(at, (action, threshold, _))| {
            let category = Category::new(format!("c{at}"), format!("Name {at}")).action(*action);
            threshold.iter().fold(category, |category, threshold| category.threshold(*threshold))
        }).collect();
        let dial = Dial::new(thresholds, Operating::default());
        let verdict = |overall: f32, which: usize, scored: bool, strictness: f32| {
            let builder = VerdictBuilder::new(&categories).thresholds(dial.at(strictness, true));
            let builder = builder.score(overall).unreadable(unreadable, Some(Unreadable::default()));
            let scores = policy.iter().filter(|_| scored).zip(&categories);
            scores.fold(builder, |builder, ((_, _, scores), category)| builder.category(&category.id, scores[which])).build()
        };
        let (low, high) = (overall.min(higher), overall.max(higher));
        let (loose, strict) = (strictness.0.min(strictness.1), strictness.0.max(strictness.1));
        for scored in [false, true] {
            let base = verdict(low, 0, scored, loose);
            for other in [verdict(high, 1, scored, loose), verdict(low, 0, scored, strict)] {
                prop_assert!(other.tier >= base.tier, "{base:?} became {other:?}");
                prop_assert_eq!(other.tier == Tier::Block, other.decision == Decision::Block);
                prop_assert_eq!(other.tier == Tier::Attention, other.decision == Decision::Review);
                prop_assert_eq!(other.tier <= Tier::Care, !other.flagged);
                prop_assert!(other.tier > Tier::Clear || unreadable < Tier::UNREADABLE);
            }
        }
    }

    #[test]
    fn any_text_parses_without_panic_and_only_boxes_decide(text in "(\\PC|\\\\boxed\\{|\\}|safe|unsafe|\n|,|S1|\"){0,40}") {
        let answer = parse_rsafe(&text);
        let boxed = text.contains("\\boxed{");
        prop_assert!(answer.verdict.is_none() || boxed);
        parse_llama_guard(&text, &[("S1", "S1")]);
        parse_qwen3guard(&text, &[("S1", "S1"), ("", "")]);
        for range in quotes_in(&text, &text) {
            prop_assert!(text.get(range).is_some());
        }
    }
}
