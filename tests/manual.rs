//! The manuals' samples as a newcomer pastes them: policies are read, commands are run by a shell, and no fenced block is
//! without somebody who checks it. Rust samples are doctests of the library, TypeScript is `www/test/samples.test.ts`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use rsafe::Policy;
use rsafe::policy::{Format, lint};

const MANUALS: [&str; 7] = [
    "README.md",
    POLICIES,
    "models/TRAINING.md",
    "models/rsafe-mini/MODEL_CARD.md",
    "www/README.md",
    "www/edge/README.md",
    "www/mini/README.md",
];
/// The manual of policies.
const POLICIES: &str = "src/policy/README.md";
/// Documents without samples to run.
const OTHERS: [&str; 5] = [
    "CHANGELOG.md",
    "models/data/README.md",
    "src/train/export/verl.md",
    "tests/golden/tokenizers/README.md",
    "www/examples/README.md",
];

/// A code block of a manual.
struct Block {
    manual: &'static str,
    /// 1-based, of the fence.
    line: usize,
    /// Empty where none is given.
    language: String,
    text: String,
}

impl Block {
    fn place(&self) -> String {
        format!("{}:{}", self.manual, self.line)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for manual in MANUALS {
        let markdown = fs::read_to_string(root().join(manual)).unwrap();
        let mut block: Option<Block> = None;
        for (event, range) in Parser::new(&markdown).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    let line = markdown[..range.start].matches('\n').count() + 1;
                    block = Some(Block { manual, line, language, text: String::new() });
                }
                Event::Text(text) => block.iter_mut().for_each(|block| block.text.push_str(&text)),
                Event::End(TagEnd::CodeBlock) => blocks.extend(block.take()),
                _ => {}
            }
        }
    }
    blocks
}

fn blocks_in(language: &str) -> impl Iterator<Item = Block> {
    blocks().into_iter().filter(move |block| block.language == language)
}

#[test]
fn every_sample_has_somebody_who_checks_it() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let typescript = fs::read_to_string(root().join("www/test/samples.test.ts")).unwrap();
    for block in blocks() {
        let checked = match block.language.as_str() {
            "rust" => library.contains(&format!("include_str!(\"../{}\")", block.manual)),
            "ts" => typescript.contains(&format!("'{}'", block.manual)),
            "yaml" | "markdown" | "toml" | "sh" => true,
            // What is printed, and pictures: nothing to paste.
            "text" => true,
            _ => false,
        };
        assert!(checked, "{}: nobody checks a block of `{}`", block.place(), block.language);
    }
}

#[test]
fn policies_are_clean_and_a_manual_says_the_same_in_yaml_and_in_markdown() {
    let mut policies: Vec<(Block, Policy)> = Vec::new();
    for (language, format) in [("yaml", Format::Yaml), ("markdown", Format::Markdown)] {
        for block in blocks_in(language) {
            let findings: Vec<_> = lint(&block.text, format).iter().map(ToString::to_string).collect();
            assert!(findings.is_empty(), "{}: {findings:?}", block.place());
            let policy = Policy::parse(&block.text, format).unwrap();
            policies.push((block, policy));
        }
    }
    for (block, policy) in &policies {
        let (_, first) = policies.iter().find(|(other, _)| other.manual == block.manual).unwrap();
        assert_eq!(policy, first, "{}", block.place());
    }
    let shown = policies.iter().filter(|(block, _)| block.manual == POLICIES);
    let languages: Vec<&str> = shown.map(|(block, _)| block.language.as_str()).collect();
    assert_eq!(languages, ["yaml", "markdown"], "{POLICIES} shows a policy in both forms");
}

#[test]
fn documents_are_short_enough_to_be_read() {
    for document in MANUALS.into_iter().chain(OTHERS) {
        let limit = if document == "README.md" { 16_000 } else { 12_000 };
        let bytes = fs::metadata(root().join(document)).unwrap().len();
        assert!(bytes <= limit, "{document} has {bytes} bytes, more than {limit}");
    }
}

#[test]
fn a_manifest_with_the_library_resolves() {
    for block in blocks_in("toml") {
        let app = tempfile::tempdir().unwrap();
        let here = root().to_str().unwrap().replace('\\', "/");
        let manifest = block.text.replace("../rsafe", &here);
        assert_ne!(manifest, block.text, "{}: the manifest names the library's folder", block.place());
        let package = "[package]\nname = \"app\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
        fs::write(app.path().join("Cargo.toml"), format!("{package}\n{manifest}")).unwrap();
        fs::copy(root().join("Cargo.lock"), app.path().join("Cargo.lock")).unwrap();
        fs::create_dir(app.path().join("src")).unwrap();
        fs::write(app.path().join("src/main.rs"), "fn main() {}\n").unwrap();
        let metadata = Command::new(env!("CARGO"))
            .args(["metadata", "--offline", "--format-version", "1"])
            .current_dir(app.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&metadata.stderr);
        assert!(metadata.status.success(), "{}: {said}", block.place());
    }
}

/// The programs of others that manuals call. They are not run; what they are called with is looked at.
const STAND_INS: [&str; 12] =
    ["cargo", "cp", "curl", "du", "jq", "make", "node", "npm", "npx", "pip", "python3", "zcat"];

/// What a shell called: the program and its arguments; for ours also how it ended.
struct Call {
    words: Vec<String>,
    code: Option<i32>,
    stderr: String,
}

/// A folder with what the repository has where the manuals' commands look for it, and programs on a path of its own.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        copy(&root().join("models/rsafe-mini"), &desk.path("models/rsafe-mini"));
        copy(&root().join("src/bin/rsafe/demo"), &desk.path("src/bin/rsafe/demo"));
        fs::create_dir(desk.path("bin")).unwrap();
        // One write for each call, since both ends of a pipe log; `\037` ends a word.
        for name in STAND_INS {
            desk.program(name, &format!("printf '%s\\037' {name} \"$@\" '' '' > \"$CALLS/$$\"\n"));
        }
        let ours = env!("CARGO_BIN_EXE_rsafe");
        desk.program(
            "rsafe",
            // A server does not end: it is run when the shell is done, see `Server`.
            &format!(
                "code=0\n\
                 [ \"$1\" = serve ] || '{ours}' \"$@\" 2> \"$CALLS/$$.stderr\" || code=$?\n\
                 printf '%s\\037' rsafe \"$@\" '' $code > \"$CALLS/$$\"\n"
            ),
        );
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Lets a shell run a script, which must know every program, and tells what it called.
    fn run(&self, script: &str, place: &str) -> Vec<Call> {
        let calls = self.path("calls");
        fs::create_dir(&calls).unwrap();
        let shell = Command::new("bash")
            .args(["--norc", "-e", "-o", "pipefail", "-c", &format!("PATH=\"$PROGRAMS\"\n{script}")])
            .current_dir(self.0.path())
            .env("PROGRAMS", self.path("bin"))
            .env("CALLS", &calls)
            .output()
            .expect("bash runs");
        let said = String::from_utf8_lossy(&shell.stderr);
        assert!(shell.status.success(), "{place}: {said}");
        let mut found = Vec::new();
        for entry in fs::read_dir(&calls).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some() {
                continue;
            }
            let log = fs::read_to_string(&path).unwrap();
            let mut words: Vec<String> = log.split('\u{1f}').map(str::to_owned).collect();
            // Behind the arguments: an empty word, the exit code, and what the last separator leaves.
            let end = words.split_off(words.len() - 3);
            let stderr = fs::read_to_string(path.with_extension("stderr")).unwrap_or_default();
            found.push(Call { words, code: end[1].parse().ok(), stderr });
        }
        fs::remove_dir_all(&calls).unwrap();
        found
    }
}

/// A server as a manual starts it, but on a free port. It ends with its block.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsafe"));
        command.args(arguments).args(["--listen", "127.0.0.1:0"]).env_remove("RSAFE_API_KEY");
        let mut child = command.current_dir(root()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("rsafe listens on ").expect("the address").to_owned();
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn commands_run_as_pasted_or_miss_no_more_than_a_file_of_yours() {
    let desk = Desk::new();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut ours = 0;
    for block in blocks_in("sh") {
        let place = block.place();
        let calls = desk.run(&block.text, &place);
        assert!(!calls.is_empty(), "{place}: a block of commands calls nothing");
        let server = calls.iter().find(|call| call.words[..2] == ["rsafe", "serve"]);
        let server = server.filter(|_| cfg!(feature = "serve")).map(|call| Server::start(&call.words[1..]));
        for Call { words, code, stderr } in calls {
            let (program, rest) = words.split_first().unwrap();
            let shown = words.join(" ");
            match program.as_str() {
                "rsafe" => {
                    ours += 1;
                    // An argument that is not understood shows the usage; a failure of ours has a code.
                    assert!(!stderr.contains("Usage:"), "{place}: `{shown}`: {stderr}");
                    let bundled = rest[0] == "check" && !rest.contains(&"--model".to_owned());
                    let done = matches!(code, Some(0 | 1));
                    assert!(
                        done || (!bundled && stderr.contains("error[")),
                        "{place}: `{shown}` gave {code:?}: {stderr}"
                    );
                }
                "make" => assert!(makefile.contains(&format!("\n{}:", rest[0])), "{place}: no target `{}`", rest[0]),
                "node" => assert!(root().join(&rest[0]).is_file(), "{place}: no file {}", rest[0]),
                "curl" => {
                    let body = rest.iter().skip_while(|word| *word != "-d").nth(1).expect("a body");
                    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{place}: `{body}` is no JSON");
                    if let Some(server) = &server {
                        let path = rest[0].strip_prefix("http://127.0.0.1:8787").expect("the server's default address");
                        let verdict = ureq::post(format!("{}{path}", server.address)).send(body).unwrap();
                        assert_eq!(verdict.status(), 200, "{place}: `{shown}`");
                    }
                }
                _ => {}
            }
        }
    }
    assert!(ours >= 10, "the manuals show the command line, but only {ours} of its commands were found");
}
