//! `rsafe check` over files of rows: what they may be, where their answers go, how a run goes on after it was killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use assert_cmd::Command;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// Longer than any command here takes on a busy machine, and shorter than for ever.
const WAIT: Duration = Duration::from_secs(600);

const OPTIONS: [&str; 5] = ["check", "--input", "rows", "--reasoning", "never"];

fn rsafe(args: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("rsafe");
    command.args(OPTIONS).args(args).timeout(WAIT);
    command
}

/// A folder and the paths of files in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.at(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Rows of many lengths, without regard to their order.
fn rows(count: usize) -> String {
    let row = |at: usize| {
        let prompt = "How do I bake bread? ".repeat(1 + at * 7 % 5);
        format!("{{\"id\":\"r{at}\",\"prompt\":\"{prompt}{at}\"}}\n")
    };
    (0..count).map(row).collect()
}

/// The same rows as a table, in two groups.
fn table(rows: &str) -> Vec<u8> {
    let schema = "message rows { REQUIRED BYTE_ARRAY label (STRING); REQUIRED BYTE_ARRAY id (STRING); \
                  OPTIONAL BYTE_ARRAY prompt (STRING); OPTIONAL BYTE_ARRAY messages (STRING); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::ZSTD(parquet::basic::ZstdLevel::default()))
        .build();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    for group in rows.chunks(rows.len().div_ceil(2)) {
        // Every other prompt as the message that it is.
        let messages = |row: &Value| format!("[{{\"role\":\"user\",\"content\":{}}}]", row["prompt"]);
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        let all: Vec<i16> = vec![1; group.len()];
        let even: Vec<i16> = (0..group.len()).map(|at| i16::from(at % 2 == 0)).collect();
        let odd: Vec<i16> = even.iter().map(|there| 1 - there).collect();
        let ids = group.iter().map(|row| text(row["id"].as_str().unwrap())).collect();
        let prompts = group.iter().step_by(2).map(|row| text(row["prompt"].as_str().unwrap())).collect();
        let messages = group.iter().skip(1).step_by(2).map(|row| text(&messages(row))).collect();
        let columns: [(Vec<ByteArray>, Option<&[i16]>); 4] = [
            (all.iter().map(|_| text("none")).collect(), None),
            (ids, None),
            (prompts, Some(&even)),
            (messages, Some(&odd)),
        ];
        let mut writer = writer.next_row_group().unwrap();
        for (values, levels) in columns {
            let mut column = writer.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, levels, None).unwrap();
            column.close().unwrap();
        }
        writer.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

fn gzip(bytes: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn ids(answers: &str) -> Vec<String> {
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    answers.lines().map(id).collect()
}

#[test]
fn every_format_gives_the_same_answers_in_the_order_of_the_rows() {
    let (folder, rows) = (Folder::new(), rows(12));
    let half = rows.match_indices('\n').nth(5).unwrap().0 + 1;
    let plain = folder.write("rows.jsonl", &rows);
    let answers = |files: &[&str], threads: &str| {
        let out = folder.at("out.jsonl");
        let _ = std::fs::remove_file(&out);
        rsafe(&["--threads", threads, "--out", &out]).args(files).assert().stdout("").stderr("");
        std::fs::read_to_string(out).unwrap()
    };
    let one = answers(&[&plain], "1");
    assert_eq!(ids(&one), (0..12).map(|at| format!("r{at}")).collect::<Vec<_>>());
    assert!(!one.contains("usage"));
    for (name, bytes) in [
        // Members and frames behind one another, as tools that append leave them.
        ("rows.jsonl.gz", [gzip(&rows[..half]), gzip(&rows[half..])].concat()),
        (
            "rows.jsonl.zst",
            [&rows[..half], &rows[half..]].map(|part| zstd::encode_all(part.as_bytes(), 1).unwrap()).concat(),
        ),
        ("rows.parquet", table(&rows)),
    ] {
        assert_eq!(answers(&[&folder.write(name, bytes)], "2"), one, "{name}");
    }
    let (first, second) = (folder.write("a.jsonl", &rows[..half]), folder.write("b.GZ", gzip(&rows[half..])));
    assert_eq!(answers(&[&first, &second], "2"), one);
}

#[test]
fn a_run_that_is_killed_and_resumed_gives_the_bytes_of_one_run() {
    let (folder, rows) = (Folder::new(), rows(60));
    let input = folder.write("rows.jsonl.gz", gzip(&rows));
    let (whole, out) = (folder.at("whole.jsonl"), folder.at("out.jsonl"));
    let code = rsafe(&[&input, "--out", &whole]).output().unwrap().status.code();
    let expected = std::fs::read_to_string(&whole).unwrap();
    assert_eq!(expected.lines().count(), 60);

    // A first run with --resume begins the file, so that one command line serves every start.
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("rsafe"))
        .args(OPTIONS)
        .args([input.as_str(), "--threads", "2", "--out", &out, "--resume"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let written = || std::fs::read_to_string(&out).unwrap_or_default();
    while written().is_empty() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = written().lines().count();
    assert!((1..60).contains(&lines), "{lines} lines were written before the kill");

    for torn in [0, 1, 30] {
        let part = written();
        std::fs::write(&out, &part[..part.len() - torn]).unwrap();
        let run = rsafe(&[&input, "--out", &out, "--resume", "--progress"]).output().unwrap();
        assert_eq!(run.status.code(), code);
        assert!(written() == expected, "torn by {torn} bytes");
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(said.lines().last().is_some_and(|line| line.starts_with("60 rows, ")), "{said}");
        assert!(said.contains(" rows/s"), "{said}");
    }
}

#[test]
fn a_file_of_answers_is_neither_written_over_nor_mixed_with_others() {
    let folder = Folder::new();
    let input = folder.write("rows.jsonl", rows(2));
    let other = folder.write("other.jsonl", rows(2).replace("r1", "s1"));
    let short = folder.write("short.jsonl", rows(1));
    let out = folder.at("out.jsonl");
    let answers = concat!(r#"{"id":"r0","flagged":false}"#, "\n", r#"{"id":"r1","flagged":true}"#, "\n");
    std::fs::write(&out, answers).unwrap();
    let refused = |args: &[&str], said: &str| {
        let refusal = contains("error[bad_input]").and(contains(said.to_owned()));
        rsafe(args).assert().code(2).stdout("").stderr(refusal);
    };
    refused(&[&input, "--out", &out], "--resume");
    refused(&[&input, "--out", &input], "which is read");
    refused(&[&input, "--out", &input, "--resume"], "which is read");
    refused(&[&other, "--out", &out, "--resume"], "line 2: expected the id of");
    refused(&[&short, "--out", &out, "--resume"], "beyond the last row");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), answers);
    // Nothing is left to judge: the run ends as the one that wrote the answers.
    rsafe(&[&input, "--out", &out, "--resume"]).assert().code(1);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), answers);

    for text in ["no answers at all", "no answers at all\n", "{\"id\":\"r0\"}\n", "{\"id\":\"r0\",\"failure\":\"x\"}\n"]
    {
        std::fs::write(&out, text).unwrap();
        refused(&[&input, "--out", &out, "--resume"], "found something else");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), text);
    }
}

#[test]
fn two_runs_do_not_write_to_one_file() {
    let folder = Folder::new();
    let (input, out) = (folder.write("rows.jsonl", rows(1)), folder.write("out.jsonl", ""));
    let held = std::fs::File::open(&out).unwrap();
    held.lock().unwrap();
    rsafe(&[&input, "--out", &out, "--resume"]).assert().code(2).stderr(contains("another run"));
}

#[test]
fn a_bad_row_names_its_file_and_line() {
    let folder = Folder::new();
    let good = rows(2);
    let (first, last) = good.split_once('\n').unwrap();
    let input = folder.write("rows.jsonl", format!("{first}\n{{\"id\":7,\"prompt\":3}}\n{last}"));
    let (good, out) = (folder.write("good.jsonl", &good), folder.at("out.jsonl"));
    let run = rsafe(&[&good, &input]).output().unwrap();
    let answers: Vec<Value> =
        String::from_utf8(run.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((run.status.code(), answers.len()), (Some(2), 5));
    let (place, bad) = ((&answers[3]["file"], &answers[3]["line"]), &answers[3]);
    assert_eq!((place, &bad["id"]), ((&input.as_str().into(), &2.into()), &7.into()));

    let place = format!("{input}, line 2: ");
    let stopped = contains("error[bad_input]").and(contains(place.clone()));
    rsafe(&[&input, "--on-error", "stop", "--out", &out]).assert().code(2).stdout("").stderr(stopped);
    assert_eq!(ids(&std::fs::read_to_string(&out).unwrap()), ["r0"]);
    // It goes on where it stopped, and then otherwise.
    rsafe(&[&input, "--on-error", "block", "--out", &out, "--resume"]).assert().code(2);
    let answers = std::fs::read_to_string(&out).unwrap();
    let blocked: Value = serde_json::from_str(answers.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&blocked["id"], &blocked["decision"], answers.lines().count()), (&7.into(), &"block".into(), 3));
    assert!(blocked["failure"].as_str().unwrap().starts_with(&place), "{blocked}");
}

#[test]
fn what_has_no_rows_is_an_error_that_names_it() {
    let folder = Folder::new();
    let none = folder.at("none.jsonl");
    let here = folder.at("");
    for path in [&none, &here] {
        rsafe(&[path]).assert().code(2).stdout("").stderr(contains("error[io]").and(contains(path.as_str())));
    }
    let parquet = folder.write("rows.parquet", "no table");
    rsafe(&[&parquet]).assert().code(2).stdout("").stderr(contains("error[bad_input]").and(contains("rows.parquet")));
    let whole = gzip(&rows(1));
    let torn = folder.write("torn.jsonl.gz", &whole[..whole.len() - 4]);
    rsafe(&[&torn]).assert().code(2).stderr(contains("error[io]").and(contains("torn.jsonl.gz")));

    let out = folder.at("out.jsonl");
    let mut text = assert_cmd::cargo::cargo_bin_cmd!("rsafe");
    text.args(["check", "hi", "--out", &out]).assert().code(2).stderr(contains("--input rows"));
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_row_that_comes_alone_is_answered_before_the_next_one_comes() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("rsafe"))
        .args(OPTIONS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || BufReader::new(stdout).lines().try_for_each(|line| sender.send(line.unwrap())));
    for row in rows(3).lines() {
        writeln!(stdin, "{row}").unwrap();
        let answer = answers.recv_timeout(WAIT).unwrap();
        assert_eq!(ids(&answer), ids(row));
    }
    drop(stdin);
    child.wait().unwrap();
}
