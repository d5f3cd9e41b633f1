//! Rows through the guard, as many as there are: read ahead, judged on all cores, written in their order.

mod answers;
mod entry;
mod progress;
mod source;
mod tally;
mod window;

use std::io::Write;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rsafe::verdict::{OnError, Verdict};
use rsafe::workers::Workers;
use rsafe::{Error, Result};

use crate::input::{BadRow, Row};
use crate::judge::{self, Judge};
use crate::library::GuardArgs;
use crate::outputs::keep_apart;
use crate::{Failure, Outcome, output};
use answers::{Answer, Sink};
use entry::Entry;
use progress::Progress;
pub use source::Source;
use tally::Tally;
use window::Window;

/// How long a batch of rows should take: where many cores idle at its end, and what a killed run judges again.
const BATCH: Duration = Duration::from_secs(2);
/// Rows of the largest batch.
const MOST: usize = 2048;

#[derive(clap::Args)]
pub struct RowsArgs {
    /// Show rows as text, one by one, with their reasoning as it is written
    #[arg(long, conflicts_with_all = ["json", "out", "threads"])]
    pretty: bool,
    /// Write the answers to rows here, without `usage`: the same rows give the same bytes
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on behind the last whole line of --out, if it is there: same rows, same options
    #[arg(long, requires = "out")]
    resume: bool,
    /// Rows that are judged at the same time [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What becomes of a row that cannot be judged; either way the exit code is 2
    #[arg(long, value_enum, default_value_t = OnErrorArg::Report)]
    on_error: OnErrorArg,
    /// Say on standard error how far it is, also where that is no terminal
    #[arg(long)]
    progress: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnErrorArg {
    /// An `error` stands in its place, and the rest goes on
    Report,
    /// A verdict that blocks stands in its place, with the `failure`
    Block,
    /// The run ends before it
    Stop,
}

impl RowsArgs {
    /// Refuses to write over what is read.
    pub fn keep_apart<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        keep_apart(inputs, &[("--out", self.out.as_deref())])
    }

    /// Refuses a text where a file for answers to rows is named.
    pub fn refuse_text(&self) -> Result<()> {
        match &self.out {
            None => Ok(()),
            Some(_) => Err(Error::BadInput("--out expects rows, found a text; say `--input rows`".into())),
        }
    }
}

pub fn run(
    args: &RowsArgs,
    mut source: Source,
    guard: &GuardArgs,
    openai: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let mut tally = Tally::default();
    let file = match &args.out {
        Some(path) if args.resume => Some(Sink::resume(path, &mut source, &mut tally)?),
        Some(path) => Some(Sink::create(path)?),
        None => None,
    };
    let judge = guard.load()?;
    let sink = match file {
        Some(file) => file,
        None if args.pretty => Sink::Text(out),
        None if openai => Sink::OpenAi(out, judge.guard.model()),
        None => Sink::Json(out),
    };
    // On a terminal rows as text show by themselves how far it is.
    let progress = Progress::new(source.size, tally, args.progress, !args.pretty);
    let run = Run { sink, on_error: args.on_error, tally, progress };
    if args.pretty {
        return run.one_by_one(&judge, source);
    }
    run.side_by_side(&judge, source, &args.threads.map_or_else(Workers::new, Workers::of)?)
}

/// A run over rows.
struct Run<'o> {
    sink: Sink<'o>,
    on_error: OnErrorArg,
    tally: Tally,
    progress: Progress,
}

impl Run<'_> {
    /// Judges batches on all workers; answers are written when their batch is judged.
    fn side_by_side(mut self, judge: &impl Judge, source: Source, workers: &Workers) -> Result<Outcome, Failure> {
        let mut window = Window::over(source);
        let mut most = workers.len();
        loop {
            let batch = window.take(most)?;
            if batch.is_empty() {
                return self.end();
            }
            let started = Instant::now();
            let verdicts = judge_batch(judge, &batch, workers);
            most = if started.elapsed() < BATCH { (most * 2).min(MOST) } else { (most / 2).max(workers.len()) };
            for (Entry { place, row, read, .. }, verdict) in batch.into_iter().zip(verdicts) {
                let (id, said) = match (row, verdict) {
                    (Ok(Row { id, .. }), Some(verdict)) => (id, verdict),
                    (Ok(Row { id, .. }), None) => (id, Err(Error::BadInput("the row was not judged".into()).into())),
                    (Err(BadRow { id, error }), _) => (id, Err(error.into())),
                };
                if self.settle(Answer::of(place, id, said)?, read)?.is_break() {
                    return self.end();
                }
            }
        }
    }

    /// Judges a row at a time, its reasoning shown as it is written.
    fn one_by_one(mut self, judge: &impl Judge, source: Source) -> Result<Outcome, Failure> {
        for entry in source {
            let Entry { place, row, read, .. } = entry?;
            let (id, said) = match row {
                Ok(Row { id, conversation }) => {
                    let verdict = self.sink.show(judge, id.as_deref(), &conversation);
                    (id, verdict)
                }
                Err(BadRow { id, error }) => (id, Err(error.into())),
            };
            if self.settle(Answer::of(place, id, said)?, read)?.is_break() {
                break;
            }
        }
        self.end()
    }

    /// Writes an answer, or breaks where a row that could not be judged ends the run.
    fn settle(&mut self, mut answer: Answer, read: u64) -> Result<ControlFlow<()>, Failure> {
        if let Err(error) = &answer.said {
            let what = format!("{}: {error}", answer.place);
            match self.on_error {
                OnErrorArg::Report => {}
                OnErrorArg::Block => answer.said = Ok(Verdict::fail_closed(what, OnError::Block)),
                OnErrorArg::Stop => {
                    self.progress.hidden(|| output::error(error.code(), &what));
                    self.tally.add(Outcome::Incomplete, read);
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        self.progress.hidden(|| self.sink.write(&answer))?;
        self.tally.add(answer.said.as_ref().map_or(Outcome::Incomplete, judge::outcome), read);
        self.progress.show(&self.tally);
        Ok(ControlFlow::Continue(()))
    }

    fn end(self) -> Result<Outcome, Failure> {
        self.progress.end(&self.tally);
        if self.tally.rows == 0 {
            return Err(Error::BadInput("nothing to check: the input has no rows".into()).into());
        }
        Ok(self.tally.outcome())
    }
}

/// The verdicts on the rows that could be read, in their places.
fn judge_batch(judge: &impl Judge, batch: &[Entry], workers: &Workers) -> Vec<Option<Result<Verdict, Failure>>> {
    let mut order: Vec<usize> = (0..batch.len()).filter(|&at| batch[at].row.is_ok()).collect();
    // The longest first, so that what is left at the end, where cores run out of rows, is short.
    order.sort_by_key(|&at| std::cmp::Reverse(batch[at].size));
    let judged =
        workers.map(&order, |&at| batch[at].row.as_ref().ok().map(|row| judge::judged(judge, &row.conversation)));
    let mut verdicts: Vec<_> = batch.iter().map(|_| None).collect();
    for (at, verdict) in order.into_iter().zip(judged) {
        verdicts[at] = verdict;
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::Value;

    use super::*;
    use crate::judge::tests::Stub;

    fn run_over(input: &str, on_error: OnErrorArg, sink: Sink, pretty: bool) -> Result<Outcome, Failure> {
        let source = Source::stdin(io::Cursor::new(input.to_owned()), None);
        let tally = Tally::default();
        let run = Run { sink, on_error, tally, progress: Progress::new(None, tally, false, false) };
        match pretty {
            true => run.one_by_one(&Stub, source),
            false => run.side_by_side(&Stub, source, &Workers::of(NonZeroUsize::new(2).unwrap()).unwrap()),
        }
    }

    fn answers(input: &str, on_error: OnErrorArg) -> (Result<Outcome, Failure>, Vec<Value>) {
        let mut out = Vec::new();
        let outcome = run_over(input, on_error, Sink::Json(&mut out), false);
        let lines = String::from_utf8(out).unwrap();
        (outcome, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    const MIXED: &str = concat!(
        r#"{"id":"a","prompt":"how to bake bread"}"#,
        "\n\nnot json\n",
        r#"{"id":"b","prompt":"fail here"}"#,
        "\n",
        r#"{"id":3,"prompt":"how to pick a lock, at length"}"#,
    );

    #[test]
    fn rows_come_back_in_order_with_bad_lines_in_their_place() {
        let (outcome, answers) = answers(MIXED, OnErrorArg::Report);
        assert_eq!(outcome.unwrap(), Outcome::Incomplete);
        assert_eq!(answers[0]["id"], "a");
        assert_eq!(answers[0]["decision"], "allow");
        assert_eq!((&answers[1]["line"], &answers[1]["error"]["code"]), (&3.into(), &"bad_input".into()));
        assert_eq!((&answers[2]["line"], &answers[2]["id"]), (&4.into(), &"b".into()));
        assert_eq!(answers[2]["error"]["code"], "context_length");
        assert_eq!((&answers[3]["id"], &answers[3]["flagged"]), (&3.into(), &true.into()));
        assert_eq!(answers.len(), 4);
    }

    #[test]
    fn a_row_that_cannot_be_judged_blocks_or_ends_the_run_where_that_is_asked_for() {
        let (outcome, blocked) = answers(MIXED, OnErrorArg::Block);
        assert_eq!(outcome.unwrap(), Outcome::Incomplete);
        let decisions: Vec<_> = blocked.iter().map(|answer| answer["decision"].as_str().unwrap()).collect();
        assert_eq!(decisions, ["allow", "block", "block", "block"]);
        assert!(blocked[1]["failure"].as_str().unwrap().starts_with("line 3: "));
        assert_eq!(blocked[2]["id"], "b");
        assert!(blocked[3].get("failure").is_none());

        let (outcome, before) = answers(MIXED, OnErrorArg::Stop);
        assert_eq!((outcome.unwrap(), before.len()), (Outcome::Incomplete, 1));
    }

    #[test]
    fn ids_come_back_as_they_were_written() {
        for id in ["18446744073709551616", "-0.10", "1e400", "[1, 123456789012345678901234567890]", r#""\u00e9""#] {
            for row in [format!(r#"{{"id":{id},"prompt":"bread"}}"#), format!(r#"{{"id": {id} ,"prompt":3}}"#)] {
                let mut out = Vec::new();
                let _ = run_over(&row, OnErrorArg::Report, Sink::Json(&mut out), false);
                let answer = String::from_utf8(out).unwrap();
                assert!(answer.contains(&format!(r#""id":{id},"#)), "{answer}");
            }
        }
    }

    #[test]
    fn only_an_input_that_was_judged_and_allowed_ends_clean() {
        let outcome = |input| answers(input, OnErrorArg::Report).0;
        assert_eq!(outcome("{\"prompt\":\"bread\"}\n").unwrap(), Outcome::Clean);
        assert_eq!(outcome("{\"prompt\":\"a lock\"}\n{\"prompt\":\"bread\"}").unwrap(), Outcome::Flagged);
        assert_eq!(outcome("{\"prompt\":\"a broken model\"}").unwrap(), Outcome::Incomplete);
        assert!(outcome("\n\n").is_err());
    }

    #[test]
    fn a_reader_that_leaves_ends_the_run() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let input = "{\"prompt\":\"bread\"}\n".repeat(3);
        let mut gone = [Gone, Gone];
        let [json, text] = &mut gone;
        for (sink, pretty) in [(Sink::Json(json), false), (Sink::Text(text), true)] {
            let outcome = run_over(&input, OnErrorArg::Report, sink, pretty);
            assert!(matches!(outcome, Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe));
        }
    }

    #[test]
    fn an_input_that_breaks_off_is_an_error_behind_the_rows_before_it() {
        struct Torn(bool);
        impl io::Read for Torn {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let row = b"{\"prompt\":\"bread\"}\n";
                buffer[..row.len()].copy_from_slice(row);
                Ok(row.len())
            }
        }
        let mut out = Vec::new();
        let tally = Tally::default();
        let progress = Progress::new(None, tally, false, false);
        let run = Run { sink: Sink::Json(&mut out), on_error: OnErrorArg::Report, tally, progress };
        let source = Source::stdin(io::BufReader::new(Torn(false)), None);
        let outcome = run.side_by_side(&Stub, source, &Workers::of(NonZeroUsize::MIN).unwrap());
        assert!(matches!(outcome, Err(Failure::Library(Error::Io { .. }))));
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}
