//! The answers of RSafe, Llama Guard and Qwen3Guard-Gen. Each ends with the end-of-sequence token named by its caller.

use super::free::Stop;
use super::vocabulary::{control, spell};
use super::{Builder, ChoiceOption, Effect, Grammar, NodeId, Vocabulary};
use crate::conversation::Target;
use crate::error::Result;
use crate::tokenizer::TokenId;
use crate::verdict::Label;

/// Whether an answer reasons before its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Think {
    /// Reasoning of at most so many tokens, then the verdict.
    First { max_tokens: usize },
    /// The verdict at once, after empty reasoning.
    Skip,
}

/// Strings that reasoning never holds: a reader of the text must find one thought and one box.
const MARKUP: [&str; 3] = ["<think>", "</think>", "\\boxed"];

impl Grammar {
    /// RSafe: `<think>`, reasoning, `</think>`, a newline, `\boxed{safe}` or `\boxed{unsafe}`.
    ///
    /// `<think>` and `</think>` are control tokens where the vocabulary has them, else text. The grammar depends on the
    /// vocabulary alone: build it once and clone it for each request, so that its masks are computed once.
    ///
    /// # Errors
    /// [`Error::BadModel`](crate::Error::BadModel) when the vocabulary lacks `eos` or cannot spell the answer.
    pub fn rsafe(vocab: &dyn Vocabulary, think: Think, eos: &str) -> Result<Self> {
        let mut b = Builder::new(vocab.bytes().len());
        let done = ending(&mut b, vocab, eos)?;
        let verdict = b.choice(vec![
            option(spell(vocab, "\\boxed{safe}")?, Effect::Verdict(Label::Safe), done),
            option(spell(vocab, "\\boxed{unsafe}")?, Effect::Verdict(Label::Unsafe), done),
        ])?;
        let tags = vocab.control("<think>").zip(vocab.control("</think>"));
        let start = match (think, tags) {
            (Think::Skip, None) => b.literal(spell(vocab, "<think>\n</think>\n")?, "", verdict),
            (Think::Skip, Some((open, close))) => {
                let newline = spell(vocab, "\n")?;
                b.literal([&[open], &newline[..], &[close], &newline[..]].concat(), "", verdict)
            }
            (Think::First { max_tokens }, tags) => {
                let (open, stop, forbidden) = match tags {
                    Some((open, close)) => (vec![open], Stop::Control(close), &MARKUP[..]),
                    None => {
                        let stop = Stop::Text { text: "</think>".into(), tokens: spell(vocab, "</think>\n")? };
                        (spell(vocab, "<think>")?, stop, &["<think>", "\\boxed"][..])
                    }
                };
                let newline = b.literal(spell(vocab, "\n")?, "", verdict);
                let thought = b.free(vocab, stop, forbidden, max_tokens, [newline, verdict])?;
                b.literal(open, "", thought)
            }
        };
        Ok(b.build(start))
    }

    /// Llama Guard: `safe`, or `unsafe` and a line of categories separated by commas, each at most once.
    ///
    /// `categories` pairs each id with the way the answer writes it (`("S1", "S1")`); without any, `unsafe` stands
    /// alone. The prompt ends with the newlines that come before the answer.
    ///
    /// # Errors
    /// As [`rsafe`](Self::rsafe), and [`Error::BadInput`](crate::Error::BadInput) for categories written alike.
    pub fn llama_guard(vocab: &dyn Vocabulary, categories: &[(&str, &str)], eos: &str) -> Result<Self> {
        let mut b = Builder::new(vocab.bytes().len());
        let done = ending(&mut b, vocab, eos)?;
        let unsafe_ = if categories.is_empty() {
            done
        } else {
            let tail = (vec![control(vocab, eos)?], b.end());
            list(&mut b, vocab, categories, ["unsafe", "\n", ","], tail)?
        };
        let start = b.choice(vec![
            option(spell(vocab, "safe")?, Effect::Verdict(Label::Safe), done),
            option(spell(vocab, "unsafe")?, Effect::Verdict(Label::Unsafe), unsafe_),
        ])?;
        Ok(b.build(start))
    }

    /// Qwen3Guard-Gen: a line each for safety, categories and, for responses, refusal. A safe text has no category, any
    /// other at least one where there are some.
    ///
    /// `categories` pairs each id with the name that the answer writes. Errors as [`llama_guard`](Self::llama_guard).
    pub fn qwen3guard(vocab: &dyn Vocabulary, categories: &[(&str, &str)], target: Target, eos: &str) -> Result<Self> {
        let mut b = Builder::new(vocab.bytes().len());
        let done = ending(&mut b, vocab, eos)?;
        // What follows the categories: its first tokens, and the node after them.
        let tail: (Vec<TokenId>, NodeId) = match target {
            Target::Prompt => (vec![control(vocab, eos)?], b.end()),
            Target::Response => {
                let refusal = b.choice(vec![
                    option(spell(vocab, " Yes")?, Effect::Refusal(true), done),
                    option(spell(vocab, " No")?, Effect::Refusal(false), done),
                ])?;
                (spell(vocab, "\nRefusal:")?, refusal)
            }
        };
        let after_none = b.literal(tail.0.clone(), "", tail.1);
        let none = b.literal(spell(vocab, "\nCategories: None")?, "", after_none);
        let named = if categories.is_empty() {
            none
        } else {
            let list = list(&mut b, vocab, categories, ["Categories:", " ", ", "], tail)?;
            b.literal(spell(vocab, "\nCategories:")?, "", list)
        };
        let safety = b.choice(vec![
            option(spell(vocab, " Safe")?, Effect::Verdict(Label::Safe), none),
            option(spell(vocab, " Unsafe")?, Effect::Verdict(Label::Unsafe), named),
            option(spell(vocab, " Controversial")?, Effect::Verdict(Label::Controversial), named),
        ])?;
        let start = b.literal(spell(vocab, "Safety:")?, "", safety);
        Ok(b.build(start))
    }
}

/// At least one of `categories`, each at most once, in any order: `first` before the first, `between` before the
/// others, then the tokens of `tail` lead on. `before` is the text that the list follows.
fn list(
    b: &mut Builder,
    vocab: &dyn Vocabulary,
    categories: &[(&str, &str)],
    [before, first, between]: [&str; 3],
    tail: (Vec<TokenId>, NodeId),
) -> Result<NodeId> {
    let more = b.reserve();
    let mut firsts = Vec::new();
    let mut options = Vec::new();
    for (id, name) in categories {
        let effect = Effect::Category((*id).to_owned());
        firsts.push(option(spell_after(vocab, before, &format!("{first}{name}"))?, effect.clone(), more));
        options.push(option(spell(vocab, &format!("{between}{name}"))?, effect, more));
    }
    let start = b.choice(firsts)?;
    options.push(option(tail.0, Effect::Nothing, tail.1));
    b.fill(more, options)?;
    Ok(start)
}

/// The tokens of `text` where it follows `before`, if the tokenizer parts them there; else those of `text` alone.
fn spell_after(vocab: &dyn Vocabulary, before: &str, text: &str) -> Result<Vec<TokenId>> {
    let whole = spell(vocab, &format!("{before}{text}"))?;
    let head = spell(vocab, before)?;
    match whole.strip_prefix(&head[..]) {
        Some(tokens) if !tokens.is_empty() => Ok(tokens.to_vec()),
        _ => spell(vocab, text),
    }
}

fn ending(b: &mut Builder, vocab: &dyn Vocabulary, eos: &str) -> Result<NodeId> {
    let end = b.end();
    Ok(b.literal(vec![control(vocab, eos)?], "", end))
}

fn option(tokens: Vec<TokenId>, effect: Effect, next: NodeId) -> ChoiceOption {
    ChoiceOption { tokens, display: String::new(), effect, next }
}
