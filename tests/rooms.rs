//! How the library's own files name each other.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The library's files; the command line is a crate of its own, a user of this one.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let inside = entries.filter(|path| !path.ends_with("src/bin"));
    let found = inside.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// What stands at the crate's root is there for its users: inside, it would hide which room knows which.
#[test]
fn inner_code_imports_from_the_room_that_owns_a_name() {
    let through_the_root = Regex::new(r"\bcrate::(\{\s*)?[A-Z][A-Za-z]*").unwrap();
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 200, "{} files", sources.len());
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.join("\n");
        let found: Vec<&str> = through_the_root.find_iter(&code).map(|found| found.as_str()).collect();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}
