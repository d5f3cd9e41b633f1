//! What is known to come in place of a file that was to be downloaded.

/// What a file that begins like this is, and what to do; `None` if it may be the file itself, broken.
pub(crate) fn mistaken(beginning: &[u8]) -> Option<&'static str> {
    let beginning = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
    if beginning.starts_with(b"version https:") {
        Some("it is a Git LFS pointer; get the file itself with `git lfs pull` in its repository")
    } else if beginning.starts_with(b"<") {
        Some("it is a web page; download the file itself, not the page that shows it")
    } else {
        None
    }
}

/// Why bytes are no JSON: what they are, or else what the parser says.
pub(crate) fn no_json(bytes: &[u8], error: &serde_json::Error) -> String {
    mistaken(bytes).map_or_else(|| error.to_string(), str::to_owned)
}
