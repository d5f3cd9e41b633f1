//! Files of rows, a JSON object each and not read further: lines, compressed or not, or the rows of a table.

mod row;
mod table;

use std::fs::Metadata;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::files::{self, Kind};
use row::too_long;
pub use row::{Record, Records};

impl Records {
    /// Opens a file in the format that its name says. Of a table only `columns` are read; rows of more than `max` bytes are
    /// wrong, and not held.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::BadInput`] for a table that holds no such rows.
    pub fn open(path: &Path, columns: &[&str], max: usize) -> Result<Self> {
        let format = Format::of(path);
        let file = files::open(path, format.kind())?;
        if format == Format::Table {
            return table::rows(file, path, columns, max);
        }
        let (file, read) = Counted::new(file);
        let bytes: Box<dyn Read + Send> = match format {
            Format::Gzip => Box::new(MultiGzDecoder::new(file)),
            Format::Zstd => Box::new(zstd::Decoder::new(file).map_err(Error::io(path))?),
            Format::Lines | Format::Table => Box::new(file),
        };
        Ok(Self::counted(bytes, &path.display().to_string(), max, read))
    }

    /// The lines of what `name` says.
    pub fn lines(reader: impl Read + Send + 'static, name: &str, max: usize) -> Self {
        let (reader, read) = Counted::new(reader);
        Self::counted(Box::new(reader), name, max, read)
    }

    fn counted(bytes: Box<dyn Read + Send>, name: &str, max: usize, read: Arc<AtomicU64>) -> Self {
        let reader = Some(BufReader::with_capacity(1 << 16, bytes));
        Self(Box::new(Lines { reader, name: name.to_owned(), max, line: 0, read }))
    }
}

/// What is known of a file that [`Records::open`] would open.
///
/// # Errors
/// [`Error::Io`] for a file that is not there or of a kind that has no rows.
pub fn look(path: &Path) -> Result<Metadata> {
    files::look(path, Format::of(path).kind())
}

const LINES: &str = ".jsonl";
const TABLE: &str = ".parquet";
const COMPRESSED: [&str; 3] = [".gz", ".zst", ".zstd"];

fn uncompressed(name: &str) -> &str {
    COMPRESSED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// Whether a file of a folder holds rows, by its name.
pub(crate) fn has_rows(name: &str) -> bool {
    uncompressed(name).ends_with(LINES) || name.ends_with(TABLE)
}

/// A file's name without the endings of its format.
pub(crate) fn stem(name: &str) -> &str {
    let name = uncompressed(name);
    name.strip_suffix(LINES).or_else(|| name.strip_suffix(TABLE)).unwrap_or(name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Lines,
    Gzip,
    Zstd,
    Table,
}

impl Format {
    fn of(path: &Path) -> Self {
        match path.extension().unwrap_or_default().to_ascii_lowercase().to_str() {
            Some("gz") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            Some("parquet") => Self::Table,
            _ => Self::Lines,
        }
    }

    fn kind(self) -> Kind {
        // A table is read from its end.
        if self == Self::Table { Kind::Regular } else { Kind::Named }
    }
}

/// Counts the bytes that are read through it.
struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    fn new(reader: R) -> (Self, Arc<AtomicU64>) {
        let read = Arc::new(AtomicU64::new(0));
        (Self { reader, read: read.clone() }, read)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

struct Lines {
    /// `None` behind an error, which a torn file would give for ever.
    reader: Option<BufReader<Box<dyn Read + Send>>>,
    name: String,
    max: usize,
    line: u64,
    read: Arc<AtomicU64>,
}

impl Iterator for Lines {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match next_line(self.reader.as_mut()?, self.max) {
                Ok(line) => line?,
                Err(error) => {
                    self.reader = None;
                    return Some(Err(Error::io(&self.name)(error)));
                }
            };
            self.line += 1;
            let (json, wrong) = match line {
                Line::Bytes(bytes) if bytes.trim_ascii().is_empty() => continue,
                Line::Bytes(bytes) => (bytes, None),
                Line::TooLong => (Vec::new(), Some(too_long(self.max))),
            };
            return Some(Ok(Record { line: self.line, json, wrong, read: self.read.load(Ordering::Relaxed) }));
        }
    }
}

/// A line without its line break.
enum Line {
    Bytes(Vec<u8>),
    /// Longer than allowed; skipped without being held.
    TooLong,
}

/// The next line; `None` at the end.
fn next_line(reader: &mut impl BufRead, max: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    if reader.by_ref().take(max as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    match line.pop() {
        Some(b'\n') => {}
        Some(_) if line.len() == max => {
            reader.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        Some(last) => line.push(last),
        None => {}
    }
    Ok(Some(Line::Bytes(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_bound_is_skipped_and_the_next_one_read() {
        let text = "four\nfives\n\n  \nsix...\nnext\nlonger";
        let records = Records::lines(text.as_bytes(), "standard input", 4);
        let read: Vec<_> = records.map(|record| record.unwrap()).map(|it| (it.line, it.json, it.wrong)).collect();
        let (whole, long) =
            (|line, text: &str| (line, text.into(), None), |line| (line, Vec::new(), Some(too_long(4))));
        assert_eq!(read, [whole(1, "four"), long(2), long(5), whole(6, "next"), long(7)]);
    }
}
