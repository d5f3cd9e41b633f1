//! The monitor: what of a growing response is shown, when it is stopped, and what a check costs.

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use pollster::block_on;
use proptest::prelude::*;
use rsafe::bundle::{Bundle, ConvertOptions, convert};
use rsafe::policy::{AppliesTo, Case, Rule, RuleAction, Rules, Unreadable};
use rsafe::prompt::Template;
use rsafe::{
    Action, Category, Decision, Guard, LoadOptions, Message, Monitor, MonitorOptions, Pace, Policy, Reasoning,
    Released, Request, Role, Verdict,
};

use crate::golden;

const TEA: &str = "First put the kettle on, then warm the pot, and let the leaves stand for a while. ";

fn embedded() -> Guard {
    block_on(Guard::load(Bundle::embedded().unwrap(), LoadOptions::default())).unwrap()
}

/// A policy whose one category applies from this score on: 0 flags every text, 1 hardly any.
fn policy(threshold: f32, action: Action) -> Policy {
    Policy::new("house").category(Category::new("locks", "Lock picking").threshold(threshold).action(action))
}

fn harmless() -> Policy {
    policy(1.0, Action::Block)
}

/// A policy that the model has no say in: everything is allowed that does not hold a project's name.
fn by_rules() -> Policy {
    let rules = [Rule::literal("secret", "project bluebird"), Rule::regex("rest", "(?s)^.").action(RuleAction::Allow)];
    harmless().rules(Rules::compile(rules).unwrap())
}

fn asked() -> Vec<Message> {
    vec![Message::new(Role::User, "How do I make tea?")]
}

fn score_only() -> MonitorOptions {
    MonitorOptions::default().reasoning(Reasoning::Never)
}

fn monitor<'g>(guard: &'g Guard, policy: &Policy, options: MonitorOptions) -> Monitor<&'g Guard> {
    Monitor::new(guard, asked(), Some(policy.clone()), options).unwrap()
}

/// Everything that a monitor says to a response in pieces.
fn run<'p>(monitor: &mut Monitor<&Guard>, pieces: impl IntoIterator<Item = &'p str>) -> Vec<Released> {
    let mut said: Vec<Released> = pieces.into_iter().map(|piece| block_on(monitor.push(piece)).unwrap()).collect();
    said.push(block_on(monitor.finish()).unwrap());
    said
}

fn shown(said: &[Released]) -> String {
    said.iter().map(|released| released.text.as_str()).collect()
}

/// Whether two verdicts say the same, up to what a cache changes in the last digits of a score.
fn close(a: &Verdict, b: &Verdict) -> bool {
    let same = |a: f32, b: f32| (a - b).abs() < 1e-4;
    (a.decision, &a.rule) == (b.decision, &b.rule)
        && a.reasoning.is_some() == b.reasoning.is_some()
        && same(a.score, b.score)
        && a.categories.len() == b.categories.len()
        && a.categories.iter().zip(&b.categories).all(|(a, b)| a.id == b.id && same(a.score, b.score))
}

/// The pieces of a text that is cut behind these characters.
fn split<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
    let mut cuts: Vec<usize> = cuts.iter().filter_map(|&cut| Some(text.char_indices().nth(cut)?.0)).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

#[test]
fn a_harmless_response_is_shown_whole_and_judged_as_a_whole() {
    let (guard, policy) = (embedded(), harmless());
    let text = format!("{}Ünïcode, 茶 and \u{1F375}: done", TEA.repeat(5));
    let mut monitor = monitor(&guard, &policy, MonitorOptions::default());
    let said = run(&mut monitor, split(&text, &[3, 90, 91, 300]));
    assert_eq!(shown(&said), text);
    assert!(said.iter().all(|released| !released.blocked));
    let whole = Request::response("How do I make tea?", text.as_str()).policy(&policy);
    let (end, whole) = (said.last().unwrap().verdict.as_ref().unwrap(), block_on(guard.check(&whole)).unwrap());
    assert!(close(end, &whole) && end.reasoning.is_some(), "{end:?} {whole:?}");
}

#[test]
fn the_pieces_change_no_verdict_and_no_risk() {
    let (guard, policy) = (embedded(), harmless());
    let text = TEA.repeat(5);
    let outcome = |pieces: Vec<&str>| {
        let mut monitor = monitor(&guard, &policy, score_only());
        let said = run(&mut monitor, pieces);
        (said.last().unwrap().verdict.clone().unwrap(), monitor.curve().to_vec())
    };
    let (whole, curve) = outcome(vec![&text]);
    for pieces in [split(&text, &[1, 2, 159, 160, 161]), text.split_inclusive(' ').collect()] {
        let (verdict, points) = outcome(pieces);
        assert!(close(&verdict, &whole), "{verdict:?} {whole:?}");
        assert_eq!(points.len(), curve.len());
        assert!(points.iter().zip(&curve).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-4), "{points:?} {curve:?}");
    }
}

#[test]
fn the_risk_curve_has_a_point_for_each_check() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &harmless(), score_only());
    assert!(monitor.curve().is_empty());
    let text = TEA.repeat(5);
    let said = run(&mut monitor, text.split_inclusive(' '));
    let curve = monitor.curve();
    assert_eq!(curve.len(), said.iter().filter(|released| released.verdict.is_some()).count());
    assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[1].0 - pair[0].0 <= 160), "{curve:?}");
    assert!(curve.iter().all(|(_, score)| (0.0..=1.0).contains(score)));
    let last = said.last().unwrap().verdict.as_ref().unwrap();
    assert_eq!(curve.last(), Some(&(text.chars().count(), last.score)));
}

#[test]
fn the_risk_curve_counts_characters_whatever_bytes_they_have() {
    let guard = embedded();
    let known = |text: String| {
        let mut monitor = monitor(&guard, &by_rules(), score_only());
        run(&mut monitor, [text.as_str()]);
        monitor.curve().iter().map(|(chars, _)| *chars).collect::<Vec<_>>()
    };
    let plain = known(TEA.repeat(5));
    assert!(plain.len() > 2, "{plain:?}");
    assert_eq!(known(TEA.replace('e', "é").repeat(5)), plain);
}

#[test]
fn after_a_verdict_that_blocks_nothing_is_shown_or_judged() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &policy(0.0, Action::Block), MonitorOptions::default());
    assert_eq!(block_on(monitor.push("First put the kettle on. ")).unwrap(), Released::default());
    let blocked = block_on(monitor.push(&TEA.repeat(2))).unwrap();
    assert!(blocked.blocked && blocked.text.is_empty());
    assert_eq!(blocked.verdict.as_ref().unwrap().decision, Decision::Block);
    let checks = monitor.curve().len();
    assert_eq!(block_on(monitor.push(&TEA.repeat(9))).unwrap(), blocked);
    assert_eq!(block_on(monitor.finish()).unwrap(), blocked);
    assert_eq!(block_on(monitor.push("more")).unwrap(), blocked);
    assert_eq!(monitor.curve().len(), checks);
}

#[test]
fn review_is_shown_and_reported_or_stops_if_asked_to() {
    let (guard, policy) = (embedded(), policy(0.0, Action::Review));
    let text = TEA.repeat(3);
    let said = run(&mut monitor(&guard, &policy, score_only()), [text.as_str()]);
    assert_eq!(shown(&said), text);
    assert!(said.iter().all(|r| !r.blocked && r.verdict.as_ref().unwrap().decision == Decision::Review));
    let strict = score_only().release_on_review(false);
    // Where a check is due, and at the end alone.
    for (text, checks) in [(text.as_str(), 2), ("Put the kettle on.", 1)] {
        let said = run(&mut monitor(&guard, &policy, strict), [text]);
        assert_eq!(said.iter().filter(|released| released.blocked).count(), checks);
        assert!(shown(&said).is_empty(), "{}", shown(&said));
    }
}

#[test]
fn the_end_can_still_block() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &by_rules(), score_only());
    let text = format!("{}It is called Project Bluebird", TEA.repeat(4));
    let said = run(&mut monitor, [text.as_str()]);
    assert!(!said[0].blocked && said[1].blocked);
    assert!(text.starts_with(&shown(&said)) && !shown(&said).contains("Project"), "{}", shown(&said));
}

#[test]
fn the_last_checked_characters_wait_for_the_next_check() {
    let guard = embedded();
    let options = score_only().check_every(60).hold_back(30);
    let mut monitor = monitor(&guard, &by_rules(), options);
    let sentence = "There is a plan for next spring. ";
    let first = block_on(monitor.push(&format!("{sentence}It has a name that everybody in the house knows: Project ")));
    assert_eq!(first.unwrap().text, sentence);
    // The check falls into the name: before it all was harmless, and yet the name's beginning is not shown.
    let half = block_on(monitor.push("Blueb")).unwrap();
    assert!(!half.blocked && half.verdict.is_some() && half.text.is_empty());
    let whole = block_on(monitor.push(&format!("ird, and {}", TEA.repeat(2)))).unwrap();
    assert!(whole.blocked && whole.text.is_empty());
    assert_eq!(whole.verdict.unwrap().rule.as_deref(), Some("secret"));
}

#[test]
fn a_check_now_shows_what_is_whole_of_a_sentence_that_has_not_ended() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &by_rules(), score_only().hold_back(10));
    assert_eq!(block_on(monitor.push("The plan for next spring has ")).unwrap(), Released::default());
    let early = block_on(monitor.check_now()).unwrap();
    assert_eq!((early.text.as_str(), early.blocked), ("The plan for next ", false));
    assert_eq!(early.verdict.unwrap().rule.as_deref(), Some("rest"));
    // Nothing is new.
    assert_eq!(block_on(monitor.check_now()).unwrap(), Released::default());
    let _ = block_on(monitor.push("a name: Project Bluebird")).unwrap();
    let blocked = block_on(monitor.check_now()).unwrap();
    assert!(blocked.blocked && blocked.text.is_empty());
    assert_eq!(block_on(monitor.check_now()).unwrap(), blocked);
}

#[test]
fn an_adaptive_monitor_holds_back_more_where_the_risk_is_near_its_limit() {
    let guard = embedded();
    let shown = |threshold, pace| {
        let options = score_only().pace(pace);
        let mut monitor = monitor(&guard, &policy(threshold, Action::Block), options);
        // A few checks, of which each counts still.
        let released = block_on(monitor.push(&TEA.repeat(4))).unwrap();
        assert!(!released.blocked);
        (released.text.len(), monitor.curve().iter().map(|(_, score)| *score).fold(0.0, f32::max))
    };
    let (far, highest) = shown(1.0, Pace::Adaptive);
    let (near, _) = shown(highest * 1.1, Pace::Adaptive);
    assert!(near + TEA.len() < far, "{near} {far}");
    assert_eq!(shown(1.0, Pace::Steady).0, shown(highest * 1.1, Pace::Steady).0);
}

#[test]
fn the_checks_and_the_tokens_read_grow_with_the_response_and_no_faster() {
    let guard = embedded();
    let cost = |times| {
        let mut monitor = monitor(&guard, &harmless(), score_only());
        let read = TEA.repeat(times).split_inclusive(' ').fold(0, |read, piece| {
            let verdict = block_on(monitor.push(piece)).unwrap().verdict;
            read + verdict.map_or(0, |verdict| verdict.usage.prompt_tokens)
        });
        (monitor.curve().len(), read)
    };
    let (half, whole) = (cost(12), cost(24));
    assert!(half.0 >= 10 && whole.0 <= 2 * half.0 + 1, "{half:?} {whole:?}");
    assert!(whole.1 * 10 <= half.1 * 25, "{half:?} {whole:?}");
}

#[test]
fn a_rule_for_the_beginning_does_not_match_in_the_middle() {
    let guard = embedded();
    let opening = Rule::regex("opening", "^tea").action(RuleAction::Allow).case(Case::Sensitive);
    let policy = harmless().rules(Rules::compile([opening.applies_to(AppliesTo::Response)]).unwrap());
    let options = score_only().check_every(4).hold_back(0).context(0);
    let mut monitor = monitor(&guard, &policy, options);
    let said = run(&mut monitor, ["Not tea tea tea tea tea"]);
    let said = said.iter().map(|released| released.verdict.as_ref().unwrap());
    assert!(said.clone().all(|verdict| verdict.rule.is_none()) && said.count() > 1);
}

#[test]
fn a_rule_for_prompts_says_nothing_of_a_response() {
    let guard = embedded();
    for (side, blocked) in [(AppliesTo::Prompt, false), (AppliesTo::Response, true)] {
        let rules = Rules::compile([Rule::literal("kettle", "kettle").applies_to(side)]).unwrap();
        let mut monitor = monitor(&guard, &harmless().rules(rules), score_only());
        assert_eq!(block_on(monitor.push(&TEA.repeat(3))).unwrap().blocked, blocked, "{side:?}");
    }
}

#[test]
fn a_check_reads_what_is_new_in_the_light_of_what_was_asked() {
    let guard = embedded();
    let risk = |asked: &str| {
        let asked = vec![Message::new(Role::User, asked)];
        let mut monitor = Monitor::new(&guard, asked, Some(harmless()), score_only()).unwrap();
        let _ = block_on(monitor.push(&TEA.repeat(3))).unwrap();
        monitor.curve()[0].1
    };
    let (tea, locks) = (risk("How do I make tea?"), risk("How do I pick the lock of my neighbour's door?"));
    assert!((locks - tea).abs() > 1e-3, "{locks} {tea}");
}

#[test]
fn of_the_severest_verdicts_of_a_push_the_latest_is_told() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &harmless(), score_only());
    let told = block_on(monitor.push(&TEA.repeat(6))).unwrap().verdict.unwrap();
    let scores: Vec<f32> = monitor.curve().iter().map(|(_, score)| *score).collect();
    assert!(scores.len() > 1 && scores[0] != told.score && scores.last() == Some(&told.score), "{scores:?} {told:?}");

    let cipher = "qzjx vkqw zxjq wvkz jqxz kvwq ".repeat(5);
    let policy = harmless().unreadable(Unreadable { action: Action::Review, share: 0.8 });
    let mut monitor = self::monitor(&guard, &policy, score_only());
    let told = block_on(monitor.push(&format!("{cipher}{}", TEA.repeat(6)))).unwrap().verdict.unwrap();
    let after = block_on(monitor.push(&TEA.repeat(3))).unwrap().verdict.unwrap();
    assert_eq!((told.decision, after.decision), (Decision::Review, Decision::Allow));
}

#[test]
fn a_push_that_is_given_up_half_way_closes_the_monitor() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &harmless(), score_only());
    let text = TEA.repeat(3);
    {
        let push = pin!(monitor.push_pausing(&text, async || std::future::pending::<Result<(), rsafe::Error>>().await));
        assert!(push.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert!(block_on(monitor.push("more")).unwrap_err().to_string().contains("closed"));
}

#[test]
fn what_verdicts_quote_is_the_messages_answered_and_then_the_response() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &harmless(), score_only());
    let _ = block_on(monitor.push("First ")).unwrap();
    assert_eq!(monitor.texts().collect::<Vec<_>>(), ["How do I make tea?", "First "]);
}

#[test]
fn a_rule_that_allows_counts_once_nothing_that_follows_can_undo_it() {
    let guard = embedded();
    let first = |rule: Rule| {
        let rules = Rules::compile([rule.action(RuleAction::Allow)]).unwrap();
        let mut monitor = monitor(&guard, &policy(0.0, Action::Block).rules(rules), score_only());
        block_on(monitor.push(&TEA.repeat(3))).unwrap()
    };
    assert!(first(Rule::regex("so-far", "^[a-z, .]+$")).blocked);
    let allowed = first(Rule::literal("for-good", "kettle"));
    assert!(!allowed.blocked && TEA.repeat(3).starts_with(&allowed.text) && !allowed.text.is_empty());
    assert_eq!(allowed.verdict.unwrap().rule.as_deref(), Some("for-good"));
}

#[test]
fn the_guards_own_policy_holds_without_another() {
    let guard = Rc::new(embedded());
    let mut monitor = Monitor::new(Rc::clone(&guard), Vec::new(), None, score_only()).unwrap();
    assert_eq!(block_on(monitor.push("Warm the pot.")).unwrap(), Released::default());
    let end = block_on(monitor.finish()).unwrap().verdict.unwrap();
    let ids: Vec<&str> = end.categories.iter().map(|category| category.id.as_str()).collect();
    assert_eq!(ids, guard.policy().categories.iter().map(|c| c.id.as_str()).collect::<Vec<_>>());
}

#[test]
fn an_empty_response_is_judged_and_ends() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &harmless(), score_only());
    let end = run(&mut monitor, ["", ""]).pop().unwrap();
    assert!(!end.blocked && end.text.is_empty() && end.verdict.is_some());
    assert_eq!(monitor.curve().len(), 1);
    for _ in 0..2 {
        for after in [block_on(monitor.push("more")), block_on(monitor.check_now()), block_on(monitor.finish())] {
            let error = after.unwrap_err();
            assert!(error.code() == "bad_input" && error.to_string().contains("was finished"), "{error}");
        }
    }
}

#[test]
fn an_error_closes_the_monitor() {
    let folder = tempfile::tempdir().unwrap();
    let options = ConvertOptions::default().template(Template::Rsafe);
    convert(golden("qwen2-tied"), folder.path(), &options).unwrap();
    let options = LoadOptions::default().allow_untested(true);
    let guard = Guard::load(Bundle::open(folder.path()).unwrap(), options);
    let guard = block_on(guard).unwrap();
    // The model reads 512 tokens, and the policy alone has more.
    let policy = (0..60).fold(Policy::new("long"), |policy, i| {
        policy.category(Category::new(format!("c{i}"), format!("Category {i}")).definition("Anything about tea."))
    });
    let mut monitor = monitor(&guard, &policy, score_only());
    assert_eq!(block_on(monitor.push("First ")).unwrap(), Released::default());
    assert_eq!(block_on(monitor.push(&TEA.repeat(3))).unwrap_err().code(), "context_length");
    for _ in 0..2 {
        let closed = block_on(monitor.push("and then")).unwrap_err();
        assert!(closed.code() == "bad_input" && closed.to_string().contains("closed"), "{closed}");
    }
    assert_eq!(block_on(monitor.finish()).unwrap_err().code(), "bad_input");
}

#[test]
fn a_response_that_is_too_long_is_an_error_whatever_the_rules_allow() {
    let guard = embedded();
    let options = score_only().check_every(65_536);
    let mut monitor = monitor(&guard, &by_rules(), options);
    for _ in 0..4 {
        let _ = block_on(monitor.push(&"tea ".repeat(65_536 / 4))).unwrap();
    }
    assert_eq!(block_on(monitor.push("x")).unwrap_err().code(), "bad_input");
    assert_eq!(block_on(monitor.finish()).unwrap_err().code(), "bad_input");
}

#[test]
fn sizes_out_of_bounds_are_named() {
    let guard = embedded();
    let new = |options, policy| Monitor::new(&guard, asked(), policy, options).err().unwrap();
    for (options, name) in [
        (MonitorOptions::default().check_every(0), "`check_every`: expected 1 to 65536"),
        (MonitorOptions::default().hold_back(65_537), "`hold_back`: expected 0 to 65536"),
        (MonitorOptions::default().context(usize::MAX), "`context`: expected 0 to 65536"),
    ] {
        let error = new(options, None).to_string();
        assert!(error.contains(name), "{error}");
    }
    assert_eq!(new(MonitorOptions::default(), Some(Policy::new("empty"))).code(), "bad_policy");
}

#[test]
fn a_check_costs_the_same_however_long_the_response_is() {
    let guard = embedded();
    let mut monitor = monitor(&guard, &harmless(), score_only());
    let text = TEA.repeat(30);
    let mut read = Vec::new();
    for piece in text.split_inclusive(' ') {
        if let Some(verdict) = block_on(monitor.push(piece)).unwrap().verdict {
            read.push(verdict.usage);
        }
    }
    let most = |usages: &[rsafe::verdict::Usage]| usages.iter().map(|usage| usage.prompt_tokens).max().unwrap();
    let (early, late) = read.split_at(read.len() / 3);
    assert!(early.len() > 3 && most(late) <= most(early) + 16, "{} {}", most(early), most(late));
    assert!(
        read.iter().filter(|usage| usage.cached_tokens > 32).count() > read.len() / 3,
        "only what grew is read anew"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    #[test]
    fn whatever_the_pieces_what_is_shown_is_a_beginning_and_what_is_forbidden_is_not(
        words in proptest::collection::vec(prop_oneof!["[a-z]{1,9}", Just("茶\u{1F375}".to_owned())], 0..60),
        secret in proptest::option::of(0..60usize),
        cuts in proptest::collection::vec(0..500usize, 0..20),
        check_every in 1..200usize,
    ) {
        GUARD.with(|guard| {
            let mut words = words.clone();
            if let Some(at) = secret {
                words.insert(at.min(words.len()), "Project Bluebird".to_owned());
            }
            // Rules that allow all but the empty response, so that the model is not asked.
            let text = format!("{}.", words.join(" "));
            let options = score_only().check_every(check_every);
            let by_rules = by_rules();
            let run = |pieces: Vec<&str>| run(&mut monitor(guard, &by_rules, options), pieces);
            let said = run(split(&text, &cuts));
            let end = said.last().unwrap();
            prop_assert_eq!(end.blocked, secret.is_some());
            prop_assert!(text.starts_with(&shown(&said)));
            prop_assert!(secret.is_some() || shown(&said) == text);
            // The name is shorter than what is held back, so not even its beginning is shown.
            prop_assert!(!shown(&said).contains("Project"));
            let once = run(vec![&text]);
            let [end, once] = [end, once.last().unwrap()].map(|released| released.verdict.as_ref().unwrap());
            prop_assert!(close(end, once), "{end:?} {once:?}");
            Ok(())
        })?;
    }
}

thread_local! {
    /// Loaded once for all cases of a property.
    static GUARD: Guard = embedded();
}

#[test]
fn a_strict_monitor_flags_by_the_thresholds_of_its_strictness() {
    let guard = embedded();
    let threshold = |options| {
        let mut monitor = Monitor::new(&guard, asked(), None, options).unwrap();
        let said = run(&mut monitor, [TEA.repeat(5).as_str()]);
        let verdicts = said.iter().filter_map(|released| released.verdict.as_ref());
        let all: Vec<f32> = verdicts.filter_map(|verdict| Some(verdict.categories.first()?.threshold)).collect();
        assert!(all.len() >= 2 && all.iter().all(|threshold| *threshold == all[0]), "{all:?}");
        all[0]
    };
    let plain = threshold(score_only());
    assert_eq!(threshold(score_only().strictness(0.5)), plain);
    assert!(threshold(score_only().strictness(0.0)) > plain);
    let wrong = score_only().strictness(1.5);
    assert_eq!(Monitor::new(&guard, asked(), None, wrong).err().unwrap().code(), "bad_input");
}
