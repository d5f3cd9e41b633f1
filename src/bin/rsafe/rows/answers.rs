//! What is said of a row, and where that goes: standard output as text or JSON, or a file that a run after this one can go on with.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use rsafe::verdict::Verdict;
use rsafe::{Conversation, Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::entry::Entry;
use super::source::Source;
use super::tally::Tally;
use crate::input::{BadRow, Id, Place, Row};
use crate::judge::{self, Judge};
use crate::{Failure, Outcome, output};

/// What is said of a row.
pub struct Answer {
    pub place: Place,
    pub id: Option<Id>,
    pub said: Result<Verdict>,
}

impl Answer {
    /// What the library has wrong is said of the row; what is wrong with the output ends the run.
    pub fn of(place: Place, id: Option<Id>, said: Result<Verdict, Failure>) -> Result<Self, Failure> {
        let said = match said {
            Ok(verdict) => Ok(verdict),
            Err(Failure::Library(error)) => Err(error),
            Err(output) => return Err(output),
        };
        Ok(Self { place, id, said })
    }
}

pub enum Sink<'o> {
    Text(&'o mut dyn Write),
    Json(&'o mut dyn Write),
    /// In the shape of OpenAI's moderation endpoint, with the model's name.
    OpenAi(&'o mut dyn Write, &'o str),
    File(&'o Path, File),
}

impl<'o> Sink<'o> {
    /// A new file.
    ///
    /// # Errors
    /// [`Error::BadInput`] if it is there already, [`Error::Io`] if it cannot be made.
    pub fn create(path: &'o Path) -> Result<Self> {
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self::File(path, alone(file, path)?)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::BadInput(format!(
                "--out {}: expected no such file, found one; go on behind its last row with --resume, or name another",
                path.display()
            ))),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    /// A file that holds answers to the first rows already: these are taken from `source` and counted, a torn last line is
    /// cut. One that is not there is made.
    ///
    /// # Errors
    /// [`Error::BadInput`] if its answers are not those to these rows, [`Error::Io`], and what the source has wrong.
    pub fn resume(path: &'o Path, source: &mut Source, tally: &mut Tally) -> Result<Self> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = alone(options.map_err(Error::io(path))?, path)?;
        if !file.metadata().map_err(Error::io(path))?.is_file() {
            return Err(Error::BadInput(format!("--out {}: expected a file, found a device or pipe", path.display())));
        }
        let (mut reader, mut line, mut whole) = (BufReader::new(&file), Vec::new(), 0);
        while reader.read_until(b'\n', &mut line).map_err(Error::io(path))? > 0 {
            let wrong = |what: String| {
                Error::BadInput(format!(
                    "--out {}, line {}: {what}; resume with the rows that the file was begun with, or name another file",
                    path.display(),
                    tally.rows + 1
                ))
            };
            if line.last() != Some(&b'\n') {
                // What is cut must be of ours.
                if !line.starts_with(b"{") {
                    return Err(wrong("expected an answer to a row, found something else".into()));
                }
                break;
            }
            let written: Written = serde_json::from_slice(&line)
                .map_err(|error| wrong(format!("expected an answer to a row, found something else ({error})")))?;
            let entry =
                source.next().ok_or_else(|| wrong("expected no answer beyond the last row, found one".into()))??;
            let outcome = written.answers(&entry).map_err(wrong)?;
            tally.add(outcome, entry.read);
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole).map_err(Error::io(path))?;
        file.seek(SeekFrom::Start(whole)).map_err(Error::io(path))?;
        Ok(Self::File(path, file))
    }

    /// Judges a row, as text with what is judged and the reasoning as it is written.
    pub fn show(
        &mut self,
        judge: &impl Judge,
        id: Option<&RawValue>,
        conversation: &Conversation,
    ) -> Result<Verdict, Failure> {
        let Self::Text(out) = self else { return judge::judged(judge, conversation) };
        let judged = conversation.messages.last().map_or("", |message| &message.content);
        output::heading(out, id, judged)?;
        judge::shown(judge, conversation, out)
    }

    pub fn write(&mut self, Answer { place, id, said }: &Answer) -> Result<(), Failure> {
        let id = id.as_deref();
        match (self, said) {
            (Self::Text(out), Ok(verdict)) => {
                output::verdict(out, verdict)?;
                writeln!(out)?;
            }
            (Self::Text(_), Err(error)) => output::error(error.code(), &format!("{place}: {error}")),
            (Self::Json(out), Ok(verdict)) => output::json_verdict(out, id, verdict)?,
            (Self::OpenAi(out, model), Ok(verdict)) => output::openai_verdict(out, id, model, verdict)?,
            (Self::Json(out) | Self::OpenAi(out, _), Err(error)) => {
                output::json_error(out, Some(place), id, error)?;
            }
            (Self::File(path, file), Ok(verdict)) => {
                output::json_lasting(file, id, verdict).map_err(Error::io(*path))?;
            }
            (Self::File(path, file), Err(error)) => {
                output::json_error(file, Some(place), id, error).map_err(Error::io(*path))?;
            }
        }
        Ok(())
    }
}

/// The file, if no other run writes to it.
fn alone(file: File, path: &Path) -> Result<File> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::BadInput(format!("--out {}: another run writes to it; wait for its end", path.display())))
        }
        // Where files cannot be locked, nobody else is known of.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// What a line of the file tells of its row.
#[derive(Deserialize)]
struct Written {
    id: Option<Id>,
    line: Option<u64>,
    flagged: Option<bool>,
    failure: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

impl Written {
    /// How the row ended, if this is its answer; else what is wrong.
    fn answers(&self, entry: &Entry) -> Result<Outcome, String> {
        let (Ok(Row { id, .. }) | Err(BadRow { id, .. })) = &entry.row;
        let place = &entry.place;
        let (expected, found) = (id.as_ref().map(|id| id.get()), self.id.as_ref().map(|id| id.get()));
        if expected != found {
            let shown = |id: Option<&str>| id.map_or("none".into(), |id| output::one_line(id, 40));
            return Err(format!("expected the id of {place}, {}, found {}", shown(expected), shown(found)));
        }
        if self.line.is_some_and(|line| line != place.line) {
            return Err(format!("expected the answer to {place}, found that to another line"));
        }
        match (&self.error, &self.failure, self.flagged) {
            (Some(_), _, _) | (_, Some(_), Some(_)) => Ok(Outcome::Incomplete),
            (None, None, Some(true)) => Ok(Outcome::Flagged),
            (None, None, Some(false)) => Ok(Outcome::Clean),
            (None, _, None) => Err(format!("expected the answer to {place}, found something else")),
        }
    }
}
