//! Where rows come from: files, in the format that their name says, or standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use rsafe::files::{self, Kind};
use rsafe::{Error, Result, Target};

use super::entry::{Entries, Entry};
use super::table;
use crate::input::{self, Line, Place};

/// Rows one behind the other. Behind an error nothing comes that could be relied on.
pub struct Source {
    entries: Entries,
    /// Of the input, in bytes, if that is known.
    pub size: Option<u64>,
}

impl Source {
    /// All rows of files, which are opened when their turn comes.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is not there or of a kind that has no rows.
    pub fn files(paths: Vec<PathBuf>, target: Option<Target>) -> Result<Self> {
        let (mut before, mut size) = (0, Some(0));
        let mut opened = Vec::with_capacity(paths.len());
        for path in paths {
            let metadata = files::look(&path, Format::of(&path).kind())?;
            opened.push((path, before));
            before += metadata.len();
            size = size.filter(|_| metadata.is_file()).map(|size| size + metadata.len());
        }
        let entries = opened.into_iter().flat_map(move |(path, before)| {
            open(&path, before, target).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        });
        Ok(Self { entries: Box::new(entries), size })
    }

    pub fn stdin(reader: impl BufRead + Send + 'static, target: Option<Target>) -> Self {
        let (reader, read) = Counted::new(reader);
        let entries = Lines::new(Box::new(reader), None, Progressed { before: 0, read }, target);
        Self { entries: Box::new(entries), size: stdin_size() }
    }
}

impl Iterator for Source {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next()
    }
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

fn open(path: &Path, before: u64, target: Option<Target>) -> Result<Entries> {
    let format = Format::of(path);
    let file = files::open(path, format.kind())?;
    if format == Format::Table {
        return table::entries(file, path, before, target);
    }
    let (file, read) = Counted::new(file);
    let bytes: Box<dyn Read + Send> = match format {
        Format::Gzip => Box::new(MultiGzDecoder::new(file)),
        Format::Zstd => Box::new(zstd::Decoder::new(file).map_err(Error::io(path))?),
        Format::Lines | Format::Table => Box::new(file),
    };
    Ok(Box::new(Lines::new(bytes, Some(path), Progressed { before, read }, target)))
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

/// How far the input was read: the files before this one, and this one.
struct Progressed {
    before: u64,
    read: Arc<AtomicU64>,
}

/// Rows as JSON lines; blank ones are none.
struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    file: Option<String>,
    line: u64,
    progressed: Progressed,
    target: Option<Target>,
}

impl Lines {
    fn new(bytes: Box<dyn Read + Send>, path: Option<&Path>, progressed: Progressed, target: Option<Target>) -> Self {
        let file = path.map(|path| path.display().to_string());
        Self { reader: BufReader::new(bytes), file, line: 0, progressed, target }
    }
}

impl Iterator for Lines {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match input::next_line(&mut self.reader) {
                Ok(line) => line?,
                Err(error) => {
                    return Some(Err(Error::io(self.file.as_deref().unwrap_or("standard input"))(error)));
                }
            };
            self.line += 1;
            let (size, row) = match line {
                Line::Bytes(bytes) => (bytes.len(), input::parse_row(&bytes, self.target)),
                Line::TooLong => (0, Some(Err(input::too_long()))),
            };
            if let Some(row) = row {
                let place = Place { file: self.file.clone(), line: self.line };
                let read = self.progressed.before + self.progressed.read.load(Ordering::Relaxed);
                return Some(Ok(Entry { place, row, size, read }));
            }
        }
    }
}

/// The size of standard input in bytes, if it is a file.
#[cfg(unix)]
fn stdin_size() -> Option<u64> {
    use std::os::fd::AsFd;
    let file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

#[cfg(not(unix))]
fn stdin_size() -> Option<u64> {
    None
}
