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

/// Longer than any command here takes on a busy machine, and shorter than for ever.
const WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A pipe into which nobody writes.
fn pipe(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
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
        &["check", "--format", "openai", "--json", "hi"],
        &["check", "--format", "llama-guard", "--input", "rows", "--out", "o", "r"],
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
    let (lines, code) = json_lines(rsafe(&["check", "hi", "--format", "openai", "--policy", "no/such/policy.yaml"]));
    assert_eq!((&lines[0]["error"]["code"], lines.len(), code), (&"io".into(), 1, Some(2)));
}

#[test]
fn llama_guard_text_says_nothing_of_what_was_not_judged() {
    let error = |command: &mut Command| command.assert().code(2).stdout("").get_output().stderr.clone();
    error(&mut rsafe(&["check", "hi", "--format", "llama-guard", "--policy", "no/such/policy.yaml"]));
    let rows = error(rsafe(&["check", "--format", "llama-guard"]).write_stdin("{\"prompt\":\"hi\"}"));
    assert!(String::from_utf8(rows).unwrap().contains("expects one text, found rows"));
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
fn what_is_no_file_is_refused_instead_of_read_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for (name, found) in [("/dev/zero", "a device"), (path, "a folder")] {
        for args in [&["policy", "lint", name][..], &["policy", "show", name], &["check", "hi", "--policy", name]] {
            rsafe(args).timeout(WAIT).assert().code(2).stdout("").stderr(contains("error[io]").and(contains(found)));
        }
    }
    rsafe(&["eval", "--data", "/dev/zero"]).timeout(WAIT).assert().code(2).stderr(contains("a device"));
}

#[test]
fn a_policy_may_come_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipe(folder.path(), "policy.yaml");
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, "name: desk\ncategories: [{id: a, name: A, definition: Taking things.}]\n")
    });
    rsafe(&["policy", "lint", path.to_str().unwrap()]).timeout(WAIT).assert().code(0);
    writer.join().unwrap().unwrap();
}

#[test]
fn a_pipe_in_a_models_folder_is_refused_instead_of_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["check", "hi", "--model", folder.path().to_str().unwrap()];
    let bundle = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/rsafe-mini"));
    let names: Vec<_> = std::fs::read_dir(bundle).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() > 2, "{names:?}");
    let manifest = std::fs::read_to_string(bundle.join("manifest.json")).unwrap();
    for name in names.iter().map(|name| name.to_str().unwrap()) {
        for other in &names {
            let copy = folder.path().join(other);
            let _ = std::fs::remove_file(&copy);
            std::os::unix::fs::symlink(bundle.join(other), copy).unwrap();
        }
        std::fs::remove_file(folder.path().join(name)).unwrap();
        pipe(folder.path(), name);
        let run = rsafe(&args).timeout(WAIT).output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        // What the manifest does not speak of is not even looked at.
        if name == "manifest.json" || manifest.contains(&format!("\"{name}\"")) {
            assert!(run.status.code() == Some(2) && said.contains("found a pipe"), "{name}: {said}");
        } else {
            assert_eq!(run.status.code(), Some(0), "{name}: {said}");
        }
    }
}

#[test]
fn no_output_is_written_over_what_is_read_or_over_another_output() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let row = r#"{"id":"a","level":"prompt","prompt":"How do I bake bread?","label":"safe"}"#;
    let (data, linked, hard, policy) = (at("rows.jsonl"), at("soft"), at("hard"), at("policy.yaml"));
    std::fs::write(&data, row).unwrap();
    std::fs::write(&policy, "name: desk").unwrap();
    std::os::unix::fs::symlink(&data, &linked).unwrap();
    std::fs::hard_link(&data, &hard).unwrap();
    let winding =
        format!("{}/./../{}/rows.jsonl", folder.path().display(), folder.path().file_name().unwrap().display());
    for option in ["--json", "--html", "--out"] {
        for output in [&data, &linked, &hard, &winding, &policy] {
            let args = ["eval", "--data", &data, "--policy", &policy, option, output];
            rsafe(&args).assert().code(2).stdout("").stderr(contains("error[bad_input]").and(contains(option)));
        }
    }
    let new = at("new");
    rsafe(&["eval", "--data", &data, "--json", &new, "--out", &new]).assert().code(2).stderr(contains("--json"));
    for option in ["--json", "--html"] {
        let args = ["eval", "compare", &data, &policy, option, &linked];
        rsafe(&args).assert().code(2).stderr(contains("error[bad_input]").and(contains(option)));
    }
    assert!(!std::path::Path::new(&new).exists());
    assert_eq!(std::fs::read_to_string(&data).unwrap(), row);
    assert_eq!(std::fs::read_to_string(&policy).unwrap(), "name: desk");
}

#[test]
fn a_closed_standard_output_is_an_error_before_anything_is_done() {
    let program = assert_cmd::cargo::cargo_bin!("rsafe");
    for arguments in ["check 'How do I bake bread?' --reasoning never", "check hi --json", "policy show rsafe"] {
        let closed = Command::new("sh").arg("-c").arg(format!("\"$0\" {arguments} >&-")).arg(program).unwrap_err();
        let output = closed.as_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("error[io]: standard output"), "{output:?}");
        let open = Command::new("sh").arg("-c").arg(format!("\"$0\" {arguments} >/dev/null")).arg(program).output();
        assert_ne!(open.unwrap().status.code(), Some(2), "{arguments}");
    }
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

    const KEYS: [&str; 8] = ["decision", "tier", "flagged", "score", "categories", "evidence", "reasoning", "usage"];
    const RULED: &str = "name: ruled\nrules:\n  - {id: sheep, literal: black sheep, action: block}\n\
                         categories:\n  - {id: wool, name: Wool, threshold: 1}\n";

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
    fn a_conversion_warns_where_fewer_bits_move_the_scores() {
        let loud = crate::guard::loud();
        let at = |name: &str| loud.path().join(name).to_str().unwrap().to_owned();
        let convert = |out: &str, options: &[&str]| {
            let (from, to) = (at("hf"), at(out));
            let args = [&["convert", &from, &to, "--template", "rsafe"], options].concat();
            let output = rsafe(&args).assert().code(0).get_output().stderr.clone();
            String::from_utf8(output).unwrap()
        };
        let told = convert("q4", &["--dtype", "q4"]);
        for part in ["warning: stored as q4", "logits away", "--dtype q8"] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(convert("q8", &[]), "");
        assert_eq!(convert("unasked", &["--dtype", "q4", "--no-compare"]), "");
    }

    #[test]
    fn an_empty_text_is_allowed_with_a_note_on_the_command_line_as_in_rows() {
        let mut piped = rsafe(&["check", "--json"]);
        piped.write_stdin(" \n");
        let mut rows = rsafe(&["check"]);
        rows.write_stdin(concat!(
            r#"{"prompt":""}"#,
            "\n",
            r#"{"messages":[{"role":"user","content":"How do I bake bread?"},{"role":"assistant","content":null}]}"#,
            "\n",
        ));
        for (command, count) in [(rsafe(&["check", "", "--json"]), 1), (piped, 1), (rows, 2)] {
            let (lines, code) = json_lines(command);
            assert_eq!((lines.len(), code), (count, Some(0)));
            for line in &lines {
                is_verdict(line);
                assert_eq!((&line["decision"], &line["score"]), (&"allow".into(), &0.0.into()));
                assert_eq!((&line["tier"], &line["notes"][0]["code"]), (&"clear".into(), &"empty".into()));
            }
        }
    }

    #[test]
    fn a_verdict_is_written_as_other_tools_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.yaml");
        std::fs::write(&policy, RULED).unwrap();
        let check = |format: &str, given: &[&str]| {
            let mut command = rsafe(&["check", "--reasoning", "never", "--policy", policy.to_str().unwrap()]);
            command.args(["--format", format]).args(given);
            command
        };
        let (allowed, blocked) = ("How do I bake bread?", "We sell black sheep.");
        check("llama-guard", &[allowed]).assert().code(0).stdout("safe\n");
        check("llama-guard", &[blocked]).assert().code(1).stdout("unsafe\n");

        let (lines, code) = json_lines(check("openai", &[allowed]));
        assert_eq!((lines.len(), code, &lines[0]["model"]), (1, Some(0), &"rsafe-mini".into()));
        let result = &lines[0]["results"][0];
        assert_eq!((&result["flagged"], &result["categories"]["wool"]), (&false.into(), &false.into()));
        assert!(lines[0]["id"].is_string() && result["category_scores"]["wool"].is_number());

        let mut rows = check("openai", &[]);
        rows.write_stdin(format!("{{\"id\":7,\"prompt\":{blocked:?}}}\nno row\n{{\"prompt\":{allowed:?}}}\n"));
        let (lines, code) = json_lines(rows);
        assert_eq!((lines.len(), code, &lines[0]["id"]), (3, Some(2), &7.into()));
        assert_eq!(lines[1]["error"]["code"], "bad_input");
        let [first, last] = [0, 2].map(|at: usize| &lines[at]["results"][0]);
        assert_eq!(
            (&first["flagged"], &first["tier"], &first["rule"]),
            (&true.into(), &"block".into(), &"sheep".into())
        );
        assert_eq!(last["flagged"], false);
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

    /// 8 MiB of a letter that is a token each, and the most memory that the program then had, in MiB.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_text_that_is_too_long_is_refused_with_little_memory() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "<".repeat(8 << 20)).unwrap();
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("rsafe"))
            .args(["check", "--json", "--input", "text"])
            .stdin(std::fs::File::open(&text).unwrap())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut most = 0;
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            most = peak.and_then(|peak| peak.trim().parse::<u64>().ok()).map_or(most, |peak| most.max(peak / 1024));
            assert!(most < 600, "{most} MiB");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["error"]["code"], "context_length", "{answer}");
    }

    #[test]
    fn a_policy_is_linted_by_a_model_where_one_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        let category = "{id: locks, name: Lock picking, definition: Asking how to open a lock without its key., \
                        examples: {unsafe: ['How long do I boil potatoes?']}}";
        std::fs::write(&file, format!("name: desk\ncategories:\n  - {category}\n")).unwrap();
        let file = file.to_str().unwrap();
        rsafe(&["policy", "lint", file]).assert().code(0).stdout("");
        let path = contains("policy.yaml: warning: categories[0].examples.unsafe[0]: expected a score of");
        rsafe(&["policy", "lint", "--model", file]).assert().code(1).stdout(path.and(contains("boil potatoes")));
        let no_bundle = format!("--model={}", folder.path().display());
        rsafe(&["policy", "lint", file, &no_bundle]).assert().code(2).stdout("").stderr(contains("error[io]"));
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
