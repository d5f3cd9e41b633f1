//! How the files of the library and of the command line name each other.

mod uses;

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use uses::{circles, uses};

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

/// The library and the command line: a file is understood with what it uses, and that without it.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (library, command_line) = (uses(&src, "lib.rs"), uses(&src.join("bin/rsafe"), "main.rs"));
    assert!(library.len() > 200 && command_line.len() > 50, "{} and {} files", library.len(), command_line.len());
    let circles = [circles(&library), circles(&command_line)].concat();
    assert!(circles.is_empty(), "move what both sides use to a file of its own:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_whatever_way_a_name_takes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, code: &str| fs::write(folder.path().join(path), code).unwrap();
    fs::create_dir(folder.path().join("high")).unwrap();
    write("lib.rs", "pub mod low; pub mod high; pub use high::*;");
    write("high/mod.rs", "pub struct High; fn use_it(_: crate::low::Low) {}");
    let found = |low: &str| {
        write("low.rs", low);
        circles(&uses(folder.path(), "lib.rs"))
    };
    for low in [
        "use crate::high::High; pub struct Low;",
        "use super::{high::High as Other}; pub struct Low;",
        "pub struct Low { high: crate::High }",
        "pub use crate::high; pub struct Low(self::high::High);",
        "mod inner { use super::super::*; fn f(_: High) {} } pub struct Low;",
        "pub struct Low; fn f() { println!(\"{:?}\", crate::high::High); }",
        "#[derive(Serialize)] pub struct Low { #[serde(with = \"crate::high::High\")] high: u8 }",
    ] {
        let circle = "high/mod.rs uses crate::low::Low of low.rs, low.rs uses";
        assert!(found(low).concat().starts_with(circle), "{low}: {:?}", found(low));
    }
    for low in [
        "pub use crate::high::High; pub struct Low;",
        "pub struct Low; #[cfg(all(test, feature = \"x\"))] mod tests { use crate::high::High; }",
        "pub struct Low; mod high { pub struct High; } use high::High; fn f(_: High) {}",
        "pub struct Low; fn f(low: Other) { low.High(crate::low::Low) }",
    ] {
        assert!(found(low).is_empty(), "{low}: {:?}", found(low));
    }
}
