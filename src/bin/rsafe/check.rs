//! `rsafe check`: one text, or rows, through the guard. An input that could not be judged is an error with an exit
//! code of its own, never an allowed one.

use std::io::{self, BufReader, Write};
use std::path::PathBuf;

use rsafe::{Conversation, Error, Target};

use crate::judge::{Judge, judged, outcome, shown};
use crate::library::{GuardArgs, one_of};
use crate::outcome::{Failure, Outcome};
use crate::rows::{self, RowsArgs, Source};
use crate::{input, output};

pub const EXIT_CODES: &str = "\
Exit codes:
  0  everything was judged, and allowed
  1  everything was judged, and something was flagged (review or block)
  2  an error: something was not judged, or not all of the answer could be written

Rows, in files or on standard input: JSON lines (also .gz and .zst), or the columns of a .parquet file:
  {\"id\"?, \"prompt\", \"response\"?, \"level\"?}
  {\"id\"?, \"messages\": [{\"role\", \"content\"}, …], \"level\"?}
`level` is prompt or response and says which side is judged; other keys are ignored. A column `messages` is nested
or JSON text. Answers come as JSON lines in the same order: id, decision, tier, flagged, score, categories, evidence,
reasoning, unreadable, notes, rule, usage. A row that cannot be judged gives
{\"file\"?, \"line\", \"id\"?, \"error\": {\"code\", \"message\"}} and the rest goes on (see --on-error); of a .parquet file
`line` is the row. If others decide what stands on standard input, say what it is: `--input text` or `--input rows`.

Many rows, on all cores, in a run that may be killed and started again:
  rsafe check --input rows --out answers.jsonl --resume --progress rows-*.jsonl.gz";

#[derive(clap::Args)]
pub struct CheckArgs {
    /// The text to judge, or with `--input rows` the files [default: standard input]
    #[arg(value_name = "TEXT|FILE")]
    given: Vec<String>,
    #[command(flatten)]
    guard: GuardArgs,
    /// The side that is judged [default: the row's level, else the side that spoke last]
    #[arg(long, value_parser = one_of(&[Target::Prompt, Target::Response]))]
    target: Option<Target>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Write verdicts in a shape that other tools read, instead of our own
    #[arg(long, value_enum, conflicts_with_all = ["json", "pretty", "out"])]
    format: Option<FormatArg>,
    /// What the input is; `auto` takes standard input for rows if it starts with `{`
    #[arg(long, value_enum, default_value_t = InputArg::Auto)]
    input: InputArg,
    #[command(flatten)]
    rows: RowsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputArg {
    Auto,
    Text,
    Rows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    /// The body of OpenAI's moderation endpoint, a line of JSON for each verdict
    Openai,
    /// Llama Guard's text, of one verdict: `safe`, or `unsafe` and on a second line the ids of what applies
    LlamaGuard,
}

/// How the verdict on one text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    OpenAi,
    LlamaGuard,
}

impl Form {
    fn is_json(self) -> bool {
        matches!(self, Form::Json | Form::OpenAi)
    }
}

pub fn run(args: CheckArgs) -> Result<Outcome, Failure> {
    let form = match args.format {
        Some(FormatArg::Openai) => Form::OpenAi,
        Some(FormatArg::LlamaGuard) => Form::LlamaGuard,
        None if args.json => Form::Json,
        None => Form::Text,
    };
    // Locked for the whole run: nobody else writes to it, and each line is flushed as it is complete.
    let mut out: Box<dyn Write> = match form {
        Form::Text => Box::new(anstream::stdout().lock()),
        _ => Box::new(io::stdout().lock()),
    };
    let result = judge_input(&args, form, &mut out);
    if form.is_json()
        && let Err(Failure::Library(error)) = &result
    {
        output::json_error(&mut out, None, None, error)?;
    }
    result
}

fn judge_input(args: &CheckArgs, form: Form, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let (target, given) = (args.target, args.given.as_slice());
    if args.input == InputArg::Rows && !given.is_empty() {
        let files: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
        args.rows.keep_apart(files.iter().map(PathBuf::as_path).chain(args.guard.inputs()))?;
        return judge_rows(args, form, Source::files(files, target)?, out);
    }
    let text = match given {
        [] => {
            let (is_json, reader) = input::sniff(BufReader::new(io::stdin())).map_err(Error::io("standard input"))?;
            if args.input == InputArg::Rows || (is_json && args.input == InputArg::Auto) {
                args.rows.keep_apart(args.guard.inputs())?;
                return judge_rows(args, form, Source::stdin(reader, target), out);
            }
            input::read_text(reader)?
        }
        [text] => text.clone(),
        more => {
            let found = more.len();
            let message = format!("expected one text, found {found}; quote it, or name files with `--input rows`");
            return Err(Error::BadInput(message).into());
        }
    };
    args.rows.refuse_text()?;
    let judge = args.guard.load()?;
    one(&judge, judge.guard.model(), &input::lone_text(text, target), form, out)
}

fn judge_rows(args: &CheckArgs, form: Form, source: Source, out: &mut dyn Write) -> Result<Outcome, Failure> {
    if form == Form::LlamaGuard {
        let message = "--format llama-guard expects one text, found rows: it has no place for their ids and errors";
        return Err(Error::BadInput(message.into()).into());
    }
    rows::run(&args.rows, source, &args.guard, form == Form::OpenAi, out)
}

fn one(
    judge: &impl Judge,
    model: &str,
    conversation: &Conversation,
    form: Form,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let verdict = match form {
        Form::Text => shown(judge, conversation, out)?,
        _ => judged(judge, conversation)?,
    };
    match form {
        Form::Text => output::verdict(out, &verdict)?,
        Form::Json => output::json_verdict(out, None, &verdict)?,
        Form::OpenAi => output::openai_verdict(out, None, model, &verdict)?,
        Form::LlamaGuard => writeln!(out, "{}", verdict.to_llama_guard())?,
    }
    Ok(outcome(&verdict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::Stub;

    #[test]
    fn reasoning_streams_above_the_verdict() {
        let mut out = anstream::AutoStream::never(Vec::new());
        let outcome = one(&Stub, "stub", &Conversation::prompt("how to pick a lock"), Form::Text, &mut out).unwrap();
        assert_eq!(outcome, Outcome::Flagged);
        let text = String::from_utf8(out.into_inner()).unwrap();
        assert!(text.starts_with("first second\nblock  score 0.25  tier block\n"), "{text}");
    }
}
