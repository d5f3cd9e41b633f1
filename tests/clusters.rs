//! The examples for Ray and Spark, with two workers on this machine. They need a Python that has these, which no other test
//! does: `RSAFE_PYTHON` names it, or it is `python3`. Where it has not, a test says so and is passed over.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use parquet::file::reader::SerializedFileReader;
use parquet::record::RowAccessor;
use serde_json::Value;

/// Longer than a run takes on a busy machine, and shorter than for ever.
const WAIT: Duration = Duration::from_secs(600);

const OPTIONS: [&str; 2] = ["--reasoning", "never"];

/// The interpreter, if it can import these modules and the programs are there.
fn python(needs: &str, programs: &[&str]) -> Option<String> {
    let python = std::env::var("RSAFE_PYTHON").unwrap_or_else(|_| "python3".into());
    let runs = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    let imports = runs(&python, &["-c", &format!("import {needs}")]);
    if imports && programs.iter().all(|program| runs(program, &["-version"])) {
        return Some(python);
    }
    // Not a print, which is shown for tests that fail alone.
    let programs = programs.iter().map(|program| format!(" and {program}")).collect::<String>();
    let told = format!("passed over: expected a Python with {needs}{programs}; name one in RSAFE_PYTHON\n");
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    None
}

/// Decision and score by id, whoever judged.
type Verdicts = BTreeMap<String, (String, u64)>;

fn rounded(score: f64) -> u64 {
    (score * 1e5).round() as u64
}

fn written(folder: &Path) -> Verdicts {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    let rows = tables.flat_map(|path| SerializedFileReader::try_from(path.as_path()).unwrap().into_iter());
    rows.map(|row| {
        let row = row.unwrap();
        let text = |at| row.get_string(at).unwrap().clone();
        let answer: Value = serde_json::from_str(&text(3)).unwrap();
        assert_eq!(answer["decision"], text(1));
        (text(0), (text(1), rounded(row.get_double(2).unwrap())))
    })
    .collect()
}

/// Runs an example over the same rows as one `rsafe check` does.
fn same_verdicts(python: &str, example: &str) {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    let prompts = (0..9).map(|at| format!("{{\"id\":\"r{at}\",\"prompt\":\"How do I bake bread number {at}?\"}}\n"));
    std::fs::write(
        &rows,
        prompts.chain(["{\"id\":\"empty\",\"prompt\":\"\"}\n{\"id\":\"bad\"}\n".into()]).collect::<String>(),
    )
    .unwrap();
    let rsafe = assert_cmd::cargo::cargo_bin!("rsafe");
    let alone = Command::new(rsafe)
        .args(["check", "--input", "rows", "--on-error", "block"])
        .args(OPTIONS)
        .arg(&rows)
        .output()
        .unwrap();
    let alone = String::from_utf8(alone.stdout).unwrap();
    let expected: Verdicts = alone
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| answer[key].as_str().unwrap().to_owned();
            (text("id"), (text("decision"), rounded(answer["score"].as_f64().unwrap())))
        })
        .collect();
    assert_eq!((expected.len(), expected["bad"].0.as_str()), (11, "block"));

    let run = |program: &Path, out: &str| -> Output {
        assert_cmd::Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/rsafe/examples").join(example))
            .args(["--workers", "2", "--batch", "4", "--out", out, "--rsafe"])
            .arg(program)
            .args([Path::new("--rows"), &rows, Path::new("--")])
            .args(OPTIONS)
            .current_dir(folder.path())
            .env("PYSPARK_PYTHON", python)
            .env("PYSPARK_SUBMIT_ARGS", "--master local[2] pyspark-shell")
            .timeout(WAIT)
            .output()
            .unwrap()
    };
    let judged = run(rsafe, "judged");
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    assert_eq!(written(&folder.path().join("judged")), expected);
    // A program that says nothing lets nothing pass.
    let silent = run(Path::new("true"), "silent");
    assert!(!silent.status.success() && String::from_utf8_lossy(&silent.stderr).contains("rsafe gave 0 answers"));
}

#[test]
fn ray_gives_the_verdicts_that_one_machine_gives() {
    if let Some(python) = python("ray.data, pyarrow", &[]) {
        same_verdicts(&python, "ray_data.py");
    }
}

#[test]
fn spark_gives_the_verdicts_that_one_machine_gives() {
    if let Some(python) = python("pyspark, pandas, pyarrow", &["java"]) {
        same_verdicts(&python, "spark_mapinpandas.py");
    }
}
