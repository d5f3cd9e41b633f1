//! Lists the files of `models/rsafe-mini` for `Bundle::embedded`, or none where the model is not there.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// In the package's folder.
const MODEL: &str = "models/rsafe-mini";

fn main() -> io::Result<()> {
    let var = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("{name} is not set")));
    let model = var("CARGO_MANIFEST_DIR")?.join(MODEL);
    println!("cargo::rerun-if-changed=build.rs");
    // Cargo takes a path that does not exist for changed, always.
    if model.is_dir() {
        println!("cargo::rerun-if-changed={MODEL}");
    }
    let files = if model.join("manifest.json").is_file() { listed(&model)? } else { Vec::new() };
    // Where the package lies is asked when it is compiled: a build cache may serve several checkouts, and outlive them.
    let entry = |name: &String| {
        let path = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?})", format!("/{MODEL}/{name}"));
        format!("    ({name:?}, include_bytes!({path}).as_slice()),\n")
    };
    let entries: String = files.iter().map(entry).collect();
    let code = format!("static EMBEDDED: &[(&str, &[u8])] = &[\n{entries}];\n");
    fs::write(var("OUT_DIR")?.join("embedded.rs"), code)
}

/// What a bundle consists of, by name; its card and what it was trained by stay out.
fn listed(model: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(model)? {
        let path = entry?.path();
        let bundled = path.extension().is_some_and(|ext| ["json", "safetensors"].iter().any(|e| ext == *e));
        if let (true, Some(name)) = (bundled && path.is_file(), path.file_name().and_then(|name| name.to_str())) {
            files.push(name.to_owned());
        }
    }
    files.sort();
    Ok(files)
}
