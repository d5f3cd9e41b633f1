//! What `models/data` promises of the project's own rows, labels and policies: every file parses, no split shares a text
//! with another, and no row is an evaluation's.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rsafe::Policy;
use rsafe::policy::Format;
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    source: String,
    level: Level,
    prompt: String,
    response: Option<String>,
    /// Earlier turns, the oldest first.
    #[serde(default)]
    messages: Vec<Turn>,
    label: Label,
    categories: Vec<String>,
    touches: Vec<String>,
    lang: String,
    split: Split,
    #[serde(flatten)]
    reader: Reader,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerFile {
    owner: String,
    split: Split,
    policy: serde_json::Value,
    rows: Vec<OwnerRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerRow {
    level: Level,
    prompt: String,
    response: Option<String>,
    /// Ids of the policy's categories.
    applies: Vec<String>,
    #[serde(default)]
    borderline: bool,
    #[serde(flatten)]
    reader: Reader,
}

/// What a reader said of a row: the runs of words that make the text what its label says, and why.
#[derive(Deserialize)]
struct Reader {
    #[serde(default)]
    quotes: Vec<String>,
    reasoning: Option<String>,
}

impl Reader {
    fn fits(&self, judged: &str, is_safe: bool, name: &str) {
        let tells = |quote: &String| judged.contains(quote) && (1..=12).contains(&quote.split_whitespace().count());
        assert!(self.quotes.len() <= 3 && self.quotes.iter().all(tells), "{name}: its quotes");
        assert!(self.quotes.is_empty() || !is_safe, "{name}: quotes of a safe row");
        let words = self.reasoning.as_ref().map(|reasoning| reasoning.split_whitespace().count());
        assert!(words.is_none_or(|words| (25..=80).contains(&words)), "{name}: {words:?} words of reasoning");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: Role,
    content: String,
}

#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Level {
    Prompt,
    Response,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Label {
    Safe,
    Borderline,
    Unsafe,
}

#[derive(Deserialize, PartialEq, Eq, Hash, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
enum Split {
    Train,
    Dev,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/data").join(name)
}

fn files(name: &str, ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    assert!(!paths.is_empty(), "models/data/{name} holds no .{ending} file");
    paths
}

fn concepts() -> HashSet<String> {
    let table = fs::read_to_string(folder("concepts.tsv")).unwrap();
    table.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn rows() -> Vec<Row> {
    let parse = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let row = |(at, line)| serde_json::from_str(line).unwrap_or_else(|e| panic!("{path:?}, line {}: {e}", at + 1));
        text.lines().enumerate().map(row).collect::<Vec<Row>>()
    };
    files("rows", "jsonl").into_iter().flat_map(parse).collect()
}

fn owners() -> Vec<(PathBuf, OwnerFile)> {
    let parse = |path: PathBuf| {
        let file =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        (path, file)
    };
    files("policies", "json").into_iter().map(parse).collect()
}

/// A text as copies are told by: its words in lower case.
fn words(text: &str) -> String {
    let lower = text.to_lowercase();
    let split = lower.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation());
    split.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The judged text, after what it answers.
fn judged(level: Level, prompt: &str, response: Option<&str>) -> String {
    match (level, response) {
        (Level::Response, Some(response)) => words(&format!("{prompt} {response}")),
        _ => words(prompt),
    }
}

#[test]
fn every_label_names_its_row_once_and_known_concepts() {
    let concepts = concepts();
    let mut readers: HashMap<String, usize> = HashMap::new();
    for path in &files("labels", "tsv") {
        let text = fs::read_to_string(path).unwrap();
        for line in text.lines().skip(1) {
            let [_, id, verdict, codes, touches] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{path:?}: expected 5 fields in `{line}`")
            };
            assert!(["S", "B", "U"].contains(&verdict), "{path:?}: {line}");
            let named = codes.split(',').chain(touches.split(',')).filter(|code| !code.is_empty());
            named.for_each(|code| assert!(concepts.contains(code), "{path:?}: no concept `{code}`"));
            *readers.entry(id.to_owned()).or_default() += 1;
        }
    }
    // Eight readers read 80 rows in common, eight more 25 of these, and twenty-one 22; two read 120 of the two last packs.
    let by = |count: usize| readers.values().filter(|&&readers| readers == count).count();
    assert_eq!((by(21), by(16), by(8), by(2), by(1)), (22, 3, 55, 120, readers.len() - 200));
}

#[test]
fn every_row_is_whole() {
    let concepts = concepts();
    let mut ids = HashSet::new();
    let mut splits = HashSet::new();
    for row in rows() {
        let id = &row.id;
        splits.insert(row.split);
        assert!(ids.insert(id.clone()), "{id} stands twice");
        assert!(id.starts_with(&row.source) && !row.lang.is_empty(), "{id}: source or language");
        assert!(!row.prompt.trim().is_empty() && row.prompt.len() < 8_000, "{id}: its prompt's length");
        assert_eq!(row.response.is_some(), row.level == Level::Response, "{id}: a response where one is judged");
        assert!(row.messages.iter().all(|turn| !turn.content.trim().is_empty()), "{id}: an empty turn");
        let turns = row.messages.iter().map(|turn| &turn.role);
        assert!(turns.clone().next().is_none_or(|role| matches!(role, Role::User)), "{id}: who begins");
        let codes = row.categories.iter().chain(&row.touches);
        codes.for_each(|code| assert!(concepts.contains(code), "{id}: no concept `{code}`"));
        match row.label {
            Label::Safe => assert!(row.categories.is_empty(), "{id}: a safe row with a concept that holds"),
            Label::Unsafe => assert!(!row.categories.is_empty(), "{id}: an unsafe row without a concept"),
            Label::Borderline => {}
        }
        row.reader.fits(row.response.as_deref().unwrap_or(&row.prompt), row.label == Label::Safe, id);
    }
    assert_eq!(splits.len(), 2, "some rows train, some measure");
}

#[test]
fn every_policy_is_one_and_its_rows_name_its_categories() {
    for (path, file) in owners() {
        assert!(!file.owner.is_empty());
        let policy = Policy::parse(&file.policy.to_string(), Format::Json).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        for row in &file.rows {
            assert_eq!(row.response.is_some(), row.level == Level::Response, "{path:?}: `{}`", row.prompt);
            let known = |id: &String| policy.categories.iter().any(|category| category.id == *id);
            assert!(row.applies.iter().all(known), "{path:?}: {:?} of `{}`", row.applies, row.prompt);
            let judged = row.response.as_deref().unwrap_or(&row.prompt);
            row.reader.fits(judged, row.applies.is_empty(), &row.prompt);
        }
        let clear = file.rows.iter().filter(|row| !row.borderline);
        let applying = clear.clone().filter(|row| !row.applies.is_empty()).count();
        assert!((1..clear.count()).contains(&applying), "{path:?}: rows that break the policy, and rows that do not");
    }
}

#[test]
fn no_text_stands_twice_or_in_two_splits() {
    let mut seen: HashMap<String, String> = HashMap::new();
    let own = rows().into_iter().map(|row| {
        let turns: String = row.messages.iter().map(|turn| turn.content.as_str()).collect();
        (row.id, turns + &judged(row.level, &row.prompt, row.response.as_deref()))
    });
    for (id, text) in own {
        if let Some(other) = seen.insert(text, id.clone()) {
            panic!("{id} has the text of {other}");
        }
    }
    let mut splits: HashMap<String, (Split, PathBuf)> = HashMap::new();
    for (path, file) in owners() {
        for row in &file.rows {
            let text = judged(row.level, &row.prompt, row.response.as_deref());
            let (split, other) = splits.entry(text).or_insert((file.split, path.clone()));
            assert_eq!(*split, file.split, "{path:?} shares `{}` with {other:?}", row.prompt);
        }
    }
}

/// `evaluation.sha256` holds the first 48 bits of the SHA-256 of each text of the evaluation sets, which are not here.
#[test]
fn no_row_is_an_evaluations() {
    let known = fs::read_to_string(folder("evaluation.sha256")).unwrap();
    let known: HashSet<&str> = known.lines().collect();
    let is_known = |text: &str| {
        let head: String =
            Sha256::digest(words(text).as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        known.contains(head.as_str())
    };
    assert!(is_known("I hate women!"), "a text of HateCheck is known whatever its case and punctuation");
    for row in rows() {
        assert!(!is_known(&row.prompt), "{} is an evaluation prompt", row.id);
    }
    for (path, file) in owners() {
        for row in &file.rows {
            assert!(!is_known(&row.prompt), "{path:?}: `{}` is an evaluation prompt", row.prompt);
        }
    }
}
