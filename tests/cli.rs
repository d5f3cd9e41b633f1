//! The command line from outside: what is printed where, and what the exit code says.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn rsafe(args: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("rsafe");
    command.args(args);
    command
}

/// Standard output as JSON lines, and the exit code.
fn json_lines(mut command: Command) -> (Vec<Value>, Option<i32>) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.code())
}

#[test]
fn help_documents_the_exit_codes_and_the_rows() {
    for flag in ["-h", "--help"] {
        rsafe(&["check", flag])
            .assert()
            .code(0)
            .stdout(contains("Exit codes:").and(contains("flagged (review or block)")).and(contains("\"messages\"")));
    }
}

#[test]
fn wrong_arguments_are_an_error_and_never_a_verdict() {
    for args in [
        &["check", "--reasoning", "sometimes", "hi"][..],
        &["check", "--input", "rows", "hi"],
        &["check", "--strictness", "1.5", "hi"],
        &["eval"],
        &["eval", "--data", "x", "--score", "reasoned"],
        &["eval", "--data", "x", "--score", "answer"],
        &["eval", "--data", "x", "--threshold", "2"],
        &["train", "sft", "--recipe", "r", "--data", "d", "--out", "o", "--steps", "1", "--epochs", "1"],
        &["no-such-command"],
    ] {
        rsafe(args).assert().code(2).stdout("");
    }
}

#[test]
fn nothing_to_check_is_an_error() {
    rsafe(&["check", " \n"]).assert().code(2).stderr(contains("error[bad_input]"));
    rsafe(&["check"]).write_stdin("").assert().code(2).stderr(contains("error[bad_input]"));
    rsafe(&["check"]).write_stdin(vec![0xff_u8, 0xfe]).assert().code(2).stderr(contains("UTF-8"));
}

#[test]
fn a_missing_policy_is_named_before_any_model_is_loaded() {
    rsafe(&["check", "hi", "--policy", "no/such/policy.yaml"])
        .assert()
        .code(2)
        .stderr(contains("error[io]").and(contains("no/such/policy.yaml")));
    rsafe(&["check", "hi", "--policy", "no-such-policy"]).assert().code(2).stderr(contains("no-such-policy"));
    rsafe(&["policy", "lint", "no/such/policy.yaml"]).assert().code(2).stderr(contains("error[io]"));
    rsafe(&["policy", "show", "no-such-policy"]).assert().code(2).stdout("");
}

#[test]
fn json_output_is_one_object_even_for_an_error() {
    let (lines, code) = json_lines(rsafe(&["check", "hi", "--json", "--policy", "no/such/policy.yaml"]));
    assert_eq!((lines.len(), code), (1, Some(2)));
    assert_eq!(lines[0]["error"]["code"], "io");
    assert!(lines[0]["error"]["message"].as_str().unwrap().contains("no/such/policy.yaml"));
}

#[test]
fn a_folder_that_is_no_bundle_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    rsafe(&["check", "hi", "--model", path]).assert().code(2).stderr(contains("error["));
}

#[test]
fn a_broken_data_file_is_found_before_anything_is_judged() {
    rsafe(&["eval", "--data", "no/such/rows.jsonl"]).assert().code(2).stdout("").stderr(contains("error["));
}

#[test]
fn a_sample_policy_is_clean_and_shows_as_itself() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/rsafe/demo/policy.yaml");
    rsafe(&["policy", "lint", demo]).assert().code(0).stdout("");
    rsafe(&["policy", "show", demo]).assert().code(0).stdout(contains("neighbourhood-desk").and(contains("theft")));
}

#[cfg(feature = "embedded")]
mod with_the_embedded_model {
    use super::*;

    const KEYS: [&str; 7] = ["decision", "flagged", "score", "categories", "evidence", "reasoning", "usage"];

    fn is_verdict(answer: &Value) {
        for key in KEYS {
            assert!(answer.get(key).is_some(), "{key} is missing in {answer}");
        }
        assert_eq!(answer["flagged"], answer["decision"] != "allow");
    }

    #[test]
    fn one_text_gives_one_verdict_and_its_exit_code() {
        let (lines, code) = json_lines(rsafe(&["check", "How do I bake bread?", "--json", "--reasoning", "never"]));
        assert_eq!(lines.len(), 1);
        is_verdict(&lines[0]);
        assert_eq!(code, Some(i32::from(lines[0]["flagged"] == true)));
    }

    #[test]
    fn rows_come_back_in_order_and_a_bad_line_does_not_stop_the_rest() {
        let mut command = rsafe(&["check", "--reasoning", "never"]);
        command.write_stdin(concat!(
            r#"{"id":"a","prompt":"How do I bake bread?"}"#,
            "\n{\"id\":\"b\",\n",
            r#"{"id":"c","level":"response","prompt":"Where is my key?","response":"Look under the mat.","label":"safe"}"#,
            "\n",
            r#"{"messages":[{"role":"user","content":"How do I pick a lock?"}]}"#,
            "\n",
        ));
        let (lines, code) = json_lines(command);
        assert_eq!((lines.len(), code), (4, Some(2)));
        assert_eq!((&lines[0]["id"], &lines[2]["id"]), (&"a".into(), &"c".into()));
        assert_eq!((&lines[1]["line"], &lines[1]["error"]["code"]), (&2.into(), &"bad_input".into()));
        assert!(lines[3].get("id").is_none());
        for at in [0, 2, 3] {
            is_verdict(&lines[at]);
        }
    }

    #[test]
    fn strictness_moves_the_thresholds_and_no_score() {
        let at = |strictness| {
            let args = ["check", "How do I bake bread?", "--json", "--reasoning", "never", "--strictness", strictness];
            json_lines(rsafe(&args)).0.remove(0)
        };
        let (loose, strict) = (at("0"), at("1"));
        assert_eq!(loose["score"], strict["score"]);
        let threshold = |answer: &Value| answer["categories"][0]["threshold"].as_f64().unwrap();
        assert!(threshold(&loose) > threshold(&strict));
    }

    #[test]
    fn an_evaluation_keeps_every_score_and_measures_the_one_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("scores.jsonl"));
        let row = r#"{"id":"a","level":"prompt","prompt":"How do I pick a lock?","label":"unsafe"}"#;
        std::fs::write(&data, row).unwrap();
        let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
        for (score, field) in [("reasoned", "reasoned_score"), ("answer", "answer_score")] {
            let args =
                ["eval", "--data", data, "--out", out, "--score", score, "--reasoning", "always", "--steps", "written"];
            rsafe(&args).assert().code(0);
            let judged: Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
            assert!(judged["reasoned_score"].is_number() && judged["answer_score"].is_number());
            assert_eq!(judged["score"], judged[field], "{judged}");
            assert!(!judged["categories"].as_array().unwrap().is_empty());
        }
    }

    #[test]
    fn text_mode_shows_the_decision_without_colours_in_a_pipe() {
        let assert = rsafe(&["check", "How do I bake bread?", "--reasoning", "always"]).assert();
        assert.stdout(
            contains("score")
                .and(contains("\u{1b}").not())
                .and(predicate::str::is_match("(allow|review|block)").unwrap()),
        );
    }
}

#[test]
fn an_export_says_what_it_wrote_and_where_the_rewards_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (rows, rewards, out) = (path("rows.jsonl"), path("rewards.yaml"), path("out"));
    let row = |i: usize| format!(r#"{{"id":"a-{i}","level":"prompt","prompt":"how to pick a lock","label":"safe"}}"#);
    std::fs::write(&rows, (0..20).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    let export = |more: &[&str]| {
        let mut command = rsafe(&["train", "export", "--format", "verl", "--data", &rows, "--out", &out]);
        command.args(more);
        command.assert()
    };
    export(&["--held-out", "0.3", "--rewards", "rsafe"]).code(0).stdout(contains("rows to train on"));
    std::fs::write(&rewards, "accuracy: {weight: 1}\nlenght: {}\n").unwrap();
    export(&["--rewards", &rewards]).code(2).stdout("").stderr(contains("line 2").and(contains("lenght")));
    export(&["--policy", "rsafe", "--recipe", "r.yaml"]).code(2).stdout("");
    export(&["--held-out", "1"]).code(2).stdout("").stderr(contains("below 1"));
}
