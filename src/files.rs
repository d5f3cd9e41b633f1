//! Opening files that others name or put there: of a kind that ends, and no larger than expected.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// What may be read where a file is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: what is found in a folder, where a pipe would keep its reader waiting for ever.
    Regular,
    /// A pipe, too: what somebody named, such as a shell's `<(…)` or `/dev/stdin`.
    Named,
}

impl Kind {
    fn takes(self, metadata: &Metadata) -> bool {
        metadata.is_file() || (self == Kind::Named && is_pipe(metadata))
    }
}

/// Opens a file for reading.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened or is of another kind.
pub fn open(path: &Path, kind: Kind) -> Result<File> {
    // Asked before it is opened, which would wait at a pipe and wake a device.
    look(path, kind)?;
    let file = File::open(path).map_err(Error::io(path))?;
    // The name may have come to mean something else meanwhile.
    let metadata = file.metadata().map_err(Error::io(path))?;
    match kind.takes(&metadata) {
        true => Ok(file),
        false => Err(refused(path, &metadata, kind)),
    }
}

/// What is known of a file that [`open`] would open.
///
/// # Errors
/// [`Error::Io`] if it is not there or of another kind.
pub fn look(path: &Path, kind: Kind) -> Result<Metadata> {
    let metadata = std::fs::metadata(path).map_err(Error::io(path))?;
    if kind.takes(&metadata) { Ok(metadata) } else { Err(refused(path, &metadata, kind)) }
}

/// Reads a file of at most `max` bytes; `too_large` makes the error of a larger one, of what was expected.
///
/// # Errors
/// As [`open`], and that of `too_large`.
pub(crate) fn read(path: &Path, kind: Kind, max: u64, too_large: impl FnOnce(String) -> Error) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file that is too large is seen to be.
    open(path, kind)?.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > max {
        return Err(too_large(format!("{}: expected at most {max} bytes, found more", path.display())));
    }
    Ok(bytes)
}

/// Reads a text that somebody named, such as a recipe: at most 16 MiB of UTF-8.
///
/// # Errors
/// As [`open`]; [`Error::BadInput`] if it is larger or no UTF-8.
#[cfg(feature = "eval")]
pub(crate) fn read_text(path: &Path) -> Result<String> {
    const MAX_TEXT: u64 = 16 << 20;
    let bytes = read(path, Kind::Named, MAX_TEXT, Error::BadInput)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::BadInput(format!("{}: expected UTF-8, found another byte at offset {at}", path.display()))
    })
}

fn refused(path: &Path, metadata: &Metadata, kind: Kind) -> Error {
    let expected = match kind {
        Kind::Regular => "a regular file",
        Kind::Named => "a file or a pipe",
    };
    let found = if metadata.is_dir() {
        "a folder"
    } else if is_pipe(metadata) {
        "a pipe"
    } else {
        "a device or socket"
    };
    let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("expected {expected}, found {found}"));
    Error::io(path)(error)
}

#[cfg(unix)]
fn is_pipe(metadata: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_: &Metadata) -> bool {
    false
}
