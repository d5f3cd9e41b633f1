//! `rsafe check`: one text, or rows on standard input, through the guard. An input that could not be judged
//! is an error with an exit code of its own, never an allowed one.

use std::io::{self, BufRead, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use rsafe::guard::{Event, Request};
use rsafe::verdict::Verdict;
use rsafe::{Conversation, Error, Target};

use crate::input::{self, BadRow, Line, Row};
use crate::library::{GuardArgs, Loaded, one_of};
use crate::{Failure, Outcome, output};

pub const EXIT_CODES: &str = "\
Exit codes:
  0  everything was judged, and allowed
  1  everything was judged, and something was flagged (review or block)
  2  an error: something was not judged, or not all of the answer could be written

Rows (JSON lines) on standard input:
  {\"id\"?, \"prompt\", \"response\"?, \"level\"?}
  {\"id\"?, \"messages\": [{\"role\", \"content\"}, …], \"level\"?}
`level` is prompt or response and says which side is judged; other keys are ignored. Answers come as JSON
lines in the same order: id, decision, flagged, score, categories, evidence, reasoning, unreadable, notes,
rule, usage. A row that cannot be judged gives {\"line\", \"id\"?, \"error\": {\"code\", \"message\"}} and the rest goes on.
If others decide what stands on standard input, say what it is: `--input text` or `--input rows`.";

#[derive(clap::Args)]
pub struct CheckArgs {
    /// The text to judge [default: standard input]
    text: Option<String>,
    #[command(flatten)]
    guard: GuardArgs,
    /// The side that is judged [default: the row's level, else the side that spoke last]
    #[arg(long, value_parser = one_of(&[Target::Prompt, Target::Response]))]
    target: Option<Target>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// What standard input holds; `auto` takes it for rows if it starts with `{`
    #[arg(long, value_enum, default_value_t = InputArg::Auto, conflicts_with = "text")]
    input: InputArg,
    /// Show rows as text, with their reasoning as it is written
    #[arg(long, conflicts_with = "json")]
    pretty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputArg {
    Auto,
    Text,
    Rows,
}

/// How verdicts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Takes each piece of reasoning as it is written.
type OnReasoning<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;

/// The guard as the loops below see it.
trait Judge {
    fn judge(&self, conversation: Conversation, on_reasoning: OnReasoning) -> Result<Verdict, Failure>;
}

impl Judge for Loaded {
    fn judge(&self, conversation: Conversation, on_reasoning: OnReasoning) -> Result<Verdict, Failure> {
        let mut request = Request::new(conversation).reasoning(self.reasoning);
        request.policy = self.policy.as_ref();
        let mut session = self.guard.start(&request)?;
        while let Some(event) = block_on(session.next())? {
            match event {
                Event::Reasoning(piece) => on_reasoning(&piece)?,
                Event::Verdict(verdict) => return Ok(*verdict),
                _ => {}
            }
        }
        Err(Error::BadModel("the answer ended without a verdict".into()).into())
    }
}

pub fn run(args: CheckArgs) -> Result<Outcome, Failure> {
    let target = args.target;
    let form = if args.json { Form::Json } else { Form::Text };
    // Locked for the whole run: nobody else writes to it, and each line is flushed as it is complete.
    let mut out: Box<dyn Write> = match form {
        Form::Json => Box::new(io::stdout().lock()),
        Form::Text => Box::new(anstream::stdout().lock()),
    };
    let result = match args.text {
        Some(text) => (|| {
            if text.trim().is_empty() {
                return Err(Error::BadInput("nothing to check: the text is empty".into()).into());
            }
            one(&args.guard.load()?, input::lone_text(text, target), form, &mut out)
        })(),
        None => (|| {
            let (is_json, reader) = input::sniff(io::stdin().lock()).map_err(Error::io("standard input"))?;
            let rows = match args.input {
                InputArg::Auto => is_json,
                InputArg::Text => false,
                InputArg::Rows => true,
            };
            if rows {
                let form = if args.pretty { Form::Text } else { Form::Json };
                // Only where the lines themselves do not already show how far it is.
                let quiet = args.pretty || !io::stderr().is_terminal();
                let progress = if quiet { ProgressBar::hidden() } else { progress_bar(stdin_size()) };
                many(&args.guard.load()?, reader, target, form, &mut out, &progress)
            } else {
                let text = input::read_text(reader)?;
                one(&args.guard.load()?, input::lone_text(text, target), form, &mut out)
            }
        })(),
    };
    if let (Form::Json, Err(Failure::Library(error))) = (form, &result) {
        output::json_error(&mut out, None, None, error)?;
    }
    result
}

fn one(judge: &impl Judge, conversation: Conversation, form: Form, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let verdict = shown(judge, conversation, form, out)?;
    match form {
        Form::Text => output::verdict(out, &verdict)?,
        Form::Json => output::json_verdict(out, None, &verdict)?,
    }
    Ok(outcome(&verdict))
}

fn many(
    judge: &impl Judge,
    mut reader: impl BufRead,
    target: Option<Target>,
    form: Form,
    out: &mut dyn Write,
    progress: &ProgressBar,
) -> Result<Outcome, Failure> {
    let (mut line_number, mut rows, mut flagged, mut failed) = (0_u64, 0_u64, 0_u64, 0_u64);
    while let Some(line) = input::next_line(&mut reader).map_err(Error::io("standard input"))? {
        line_number += 1;
        let (bytes, row) = match line {
            Line::Bytes(bytes) => (bytes.len() as u64 + 1, input::parse_row(&bytes, target)),
            Line::TooLong => {
                let error = Error::BadInput(format!("the line is longer than {} bytes", input::MAX_BYTES));
                (input::MAX_BYTES as u64, Some(Err(BadRow { id: None, error })))
            }
        };
        let Some(row) = row else { continue };
        rows += 1;
        let answer = match row {
            Ok(Row { id, conversation }) => {
                if form == Form::Text {
                    let judged = conversation.messages.last().map_or("", |message| &message.content);
                    output::heading(out, id.as_deref(), judged)?;
                }
                match shown(judge, conversation, form, out) {
                    Ok(verdict) => Ok((id, verdict)),
                    Err(Failure::Library(error)) => Err(BadRow { id, error }),
                    Err(other) => return Err(other),
                }
            }
            Err(bad) => Err(bad),
        };
        progress.suspend(|| -> io::Result<()> {
            match (&answer, form) {
                (Ok((id, verdict)), Form::Json) => output::json_verdict(out, id.as_deref(), verdict),
                (Ok((_, verdict)), Form::Text) => {
                    output::verdict(out, verdict)?;
                    writeln!(out)
                }
                (Err(bad), Form::Json) => output::json_error(out, Some(line_number), bad.id.as_deref(), &bad.error),
                (Err(bad), Form::Text) => {
                    output::error(bad.error.code(), &format!("line {line_number}: {}", bad.error));
                    Ok(())
                }
            }
        })?;
        match answer.as_ref().map_or(Outcome::Incomplete, |(_, verdict)| outcome(verdict)) {
            Outcome::Clean => {}
            Outcome::Flagged => flagged += 1,
            Outcome::Incomplete => failed += 1,
        }
        progress.inc(bytes);
        progress.set_message(format!("{rows} rows, {flagged} flagged, {failed} errors"));
    }
    progress.finish_and_clear();
    if rows == 0 {
        return Err(Error::BadInput("nothing to check: standard input has no rows".into()).into());
    }
    Ok(match (failed, flagged) {
        (0, 0) => Outcome::Clean,
        (0, _) => Outcome::Flagged,
        _ => Outcome::Incomplete,
    })
}

/// 0, 1 or 2 of one verdict: one that stands in for a failure blocks, but nothing was judged.
fn outcome(verdict: &Verdict) -> Outcome {
    match (&verdict.failure, verdict.flagged) {
        (Some(_), _) => Outcome::Incomplete,
        (None, true) => Outcome::Flagged,
        (None, false) => Outcome::Clean,
    }
}

/// Judges, and in text form shows the reasoning while it is written.
fn shown(judge: &impl Judge, conversation: Conversation, form: Form, out: &mut dyn Write) -> Result<Verdict, Failure> {
    let mut line_open = false;
    let result = judge.judge(conversation, &mut |piece| match form {
        Form::Json => Ok(()),
        Form::Text => {
            line_open = !piece.ends_with('\n');
            output::reasoning(out, piece)
        }
    });
    if line_open {
        writeln!(out)?;
    }
    let verdict = result?;
    // A number that is none would pass every threshold.
    if !(0.0..=1.0).contains(&verdict.score) {
        let score = verdict.score;
        return Err(Error::BadModel(format!("the score is {score}, not a probability; the model is broken")).into());
    }
    Ok(verdict)
}

fn progress_bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:30} {percent:>3}%  {msg}  {eta} left"),
        None => (ProgressBar::no_length(), "{spinner} {msg}  {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The size of standard input in bytes, if it is a file.
#[cfg(unix)]
fn stdin_size() -> Option<u64> {
    use std::os::fd::AsFd;
    let file = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

#[cfg(not(unix))]
fn stdin_size() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use rsafe::verdict::Decision;
    use serde_json::Value;

    use super::*;
    use crate::output::tests::sample;

    /// Flags what holds "lock", fails on "fail", and reasons in two pieces.
    struct Stub;

    impl Judge for Stub {
        fn judge(&self, conversation: Conversation, on_reasoning: OnReasoning) -> Result<Verdict, Failure> {
            let text = &conversation.messages[0].content;
            if text.contains("fail") {
                return Err(Error::ContextLength { needed: 9, limit: 8 }.into());
            }
            on_reasoning("first ")?;
            on_reasoning("second")?;
            let mut verdict = sample(if text.contains("lock") { Decision::Block } else { Decision::Allow });
            if text.contains("broken") {
                verdict.score = f32::NAN;
            }
            Ok(verdict)
        }
    }

    fn rows(input: &str) -> (Result<Outcome, Failure>, Vec<Value>) {
        let mut out = Vec::new();
        let outcome = many(&Stub, input.as_bytes(), None, Form::Json, &mut out, &ProgressBar::hidden());
        let lines = String::from_utf8(out).unwrap();
        (outcome, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn rows_come_back_in_order_with_bad_lines_in_their_place() {
        let (outcome, answers) = rows(concat!(
            r#"{"id":"a","prompt":"how to bake bread"}"#,
            "\n\nnot json\n",
            r#"{"id":"b","prompt":"fail here"}"#,
            "\n",
            r#"{"id":3,"prompt":"how to pick a lock"}"#,
        ));
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
    fn ids_come_back_as_they_were_written() {
        for id in ["18446744073709551616", "-0.10", "1e400", "[1, 123456789012345678901234567890]", r#""\u00e9""#] {
            for row in [format!(r#"{{"id":{id},"prompt":"bread"}}"#), format!(r#"{{"id": {id} ,"prompt":3}}"#)] {
                let mut out = Vec::new();
                let _ = many(&Stub, row.as_bytes(), None, Form::Json, &mut out, &ProgressBar::hidden());
                let answer = String::from_utf8(out).unwrap();
                assert!(answer.contains(&format!(r#""id":{id},"#)), "{answer}");
            }
        }
    }

    #[test]
    fn only_an_input_that_was_judged_and_allowed_ends_clean() {
        assert_eq!(rows("{\"prompt\":\"bread\"}\n").0.unwrap(), Outcome::Clean);
        assert_eq!(rows("{\"prompt\":\"a lock\"}\n{\"prompt\":\"bread\"}").0.unwrap(), Outcome::Flagged);
        assert_eq!(rows("{\"prompt\":\"a broken model\"}").0.unwrap(), Outcome::Incomplete);
        assert!(rows("\n\n").0.is_err());
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
        for form in [Form::Json, Form::Text] {
            let outcome = many(&Stub, input.as_bytes(), None, form, &mut Gone, &ProgressBar::hidden());
            assert!(matches!(outcome, Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe));
        }
    }

    #[test]
    fn reasoning_streams_above_the_verdict() {
        let mut out = anstream::AutoStream::never(Vec::new());
        let outcome = one(&Stub, Conversation::prompt("how to pick a lock"), Form::Text, &mut out).unwrap();
        assert_eq!(outcome, Outcome::Flagged);
        let text = String::from_utf8(out.into_inner()).unwrap();
        assert!(text.starts_with("first second\nblock  score 0.25\n"), "{text}");
    }
}
