//! What the slot model is shown, and what it may answer: words of the conversation and the policy as layouts, steps as a
//! grammar. Inference and training both read here.

use std::ops::Range;
use std::sync::Arc;

use super::asked;
use crate::conversation::{Conversation, Message, Role, Target};
use crate::error::{Error, Result};
use crate::grammar::{Grammar, QuoteLength, QuoteSource, Think};
use crate::mini::answer::{Finding, SlotAnswer, SlotMarkers, SlotStep};
use crate::mini::layout::{
    BLOCK_WORDS, CONTEXT_TURNS, CONTEXT_WORDS, Frame, Kind, Layout, Marker, NAME_WORDS, NEAREST_WORDS, PASSAGE,
    PASSAGE_STEP, POLICY_WORDS, QUOTE_WORDS, STEPS, Turn, WINDOW, WINDOW_STEP,
};
use crate::normalise::Disguise;
use crate::policy::{Category, Policy};
use crate::tokenizer::{Span, TokenId, Tokenizer};
use crate::verdict::Label;

/// The longest judged message, in tokens: what is longer is refused rather than judged in part.
const MAX_JUDGED: usize = 32_768;

/// The control tokens of a vocabulary.
#[derive(Debug, Clone)]
pub struct SlotPrompts {
    pub frame: Frame,
    markers: SlotMarkers,
    vocab_size: usize,
}

/// What an answer speaks about, and what of it is decided before it is written.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub think: Think,
    /// The categories of the reasoning, in this order.
    pub steps: &'a [PlannedStep],
    /// The verdict; `None` leaves it to the model.
    pub verdict: Option<Label>,
}

/// What a step of the reasoning says of a category, by its index.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    pub category: usize,
    /// Whether it applies; `None` leaves that to the model.
    pub applies: Option<bool>,
    /// What is known of it; without, the model looks for a quote.
    pub finding: Option<Finding>,
}

/// What the block of each category of a policy says: at least one.
pub type Blocks = Arc<[Vec<TokenId>]>;

/// A conversation and a policy as tokens.
#[derive(Debug, Clone)]
pub struct SlotPrompt {
    target: Target,
    /// The index of the judged message, and its content.
    judged: usize,
    content: String,
    /// What an answer on trial answers.
    prompt: Option<String>,
    /// The tokens of the judged message as it is, then those of its other readings; all with bytes of the message.
    texts: Vec<Vec<Span>>,
    /// Which of the texts a window shows, and from which token on.
    windows: Vec<(usize, usize)>,
    /// The share of the judged message, in [0, 1], that no text makes readable.
    pub unreadable: f32,
    context: Vec<Context>,
    pub blocks: Blocks,
}

impl SlotPrompts {
    /// # Errors
    /// [`Error::BadModel`] if the tokenizer has no `[CLS]` or `[SEP]`.
    pub fn new(tokenizer: &Tokenizer, vocab_size: usize) -> Result<Self> {
        let id = |marker: Marker| marker.id(vocab_size);
        Ok(Self {
            frame: Frame { cls: tokenizer.control("[CLS]")?, sep: tokenizer.control("[SEP]")? },
            markers: SlotMarkers {
                think: id(Marker::Think),
                end_think: id(Marker::EndThink),
                safe: id(Marker::Safe),
                unsafe_: id(Marker::Unsafe),
                quote: id(Marker::Quote),
                end_quote: id(Marker::EndQuote),
                yes: id(Marker::Applies),
                no: id(Marker::DoesNotApply),
            },
            vocab_size,
        })
    }

    /// Reads a conversation, under the policy of these blocks.
    ///
    /// # Errors
    /// [`Error::ContextLength`] or [`Error::TooManyBytes`] for a judged message that is too long; what the conversation has
    /// wrong.
    pub fn read(&self, tokenizer: &Tokenizer, blocks: Blocks, conversation: &Conversation) -> Result<SlotPrompt> {
        let judged = conversation.target_index()?;
        let content = &conversation.messages[judged].content;
        tokenizer.refuse_longer(std::iter::once(content.as_str()), MAX_JUDGED)?;
        let content = content.clone();
        let mut texts = vec![tokenizer.encode(&content)?];
        if texts[0].len() > MAX_JUDGED {
            return Err(Error::ContextLength { needed: texts[0].len(), limit: MAX_JUDGED });
        }
        let disguise = Disguise::of(&content, tokenizer);
        for reading in disguise.readings {
            let spans = tokenizer.encode(&reading.text)?.into_iter();
            texts.push(spans.map(|span| Span { bytes: reading.original(span.bytes), ..span }).collect());
        }
        let windows = texts.iter().enumerate().flat_map(|(text, spans)| windows(spans.len()).map(move |at| (text, at)));
        let windows = windows.collect();
        let context = context(tokenizer, &conversation.messages[..judged])?;
        let before = conversation.messages[..judged].iter().rfind(|message| message.role == Role::User);
        Ok(SlotPrompt {
            target: conversation.target,
            judged,
            content,
            prompt: before.map(|message| message.content.clone()),
            texts,
            windows,
            unreadable: disguise.unreadable,
            context,
            blocks,
        })
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a policy without categories.
    pub fn blocks(tokenizer: &Tokenizer, policy: &Policy) -> Result<Blocks> {
        if policy.categories.is_empty() {
            return Err(Error::BadInput("expected a policy with categories, got one without".into()));
        }
        let most = BLOCK_WORDS.min(POLICY_WORDS / policy.categories.len().max(1)).max(NAME_WORDS);
        policy.categories.iter().map(|category| block(tokenizer, category, most)).collect()
    }

    /// The grammar of the answer about a window.
    pub fn grammar(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        prompt: &SlotPrompt,
        window: usize,
        plan: Plan<'_>,
    ) -> Result<Grammar> {
        let step = |step: &PlannedStep| {
            let category = &policy.categories[step.category];
            Ok(SlotStep {
                category: category.id.clone(),
                name: category.name.clone(),
                header: name(tokenizer, category)?,
                applies: step.applies,
                finding: step.finding.clone(),
            })
        };
        let steps = plan.steps.iter().map(step).collect::<Result<Vec<_>>>()?;
        SlotAnswer {
            vocab_size: self.vocab_size + Marker::COUNT,
            markers: self.markers,
            opening: prompt.opening(),
            steps: &steps,
            speaker: match prompt.target {
                Target::Prompt => "user",
                Target::Response => "agent",
            },
            source: prompt.quotable(window, 0..WINDOW),
            quote: QuoteLength { min: 1, max: QUOTE_WORDS },
            think: plan.think,
            verdict: plan.verdict,
        }
        .grammar()
    }
}

impl SlotPrompt {
    /// The windows in which the judged message is read: at least one, even for an empty message.
    pub fn windows(&self) -> Range<usize> {
        0..self.windows.len()
    }

    /// How many tokens are read to score every category, whatever caches hold: the policy once, and for each window its
    /// conversation and a slot a category, as well as for each of its passages.
    pub fn work(&self) -> usize {
        let context: usize = self.context.iter().map(|message| message.ids.len() + 1).sum();
        let passages = |len: usize| if len > PASSAGE { 1 + (len - PASSAGE).div_ceil(PASSAGE_STEP) } else { 0 };
        let read = |window| {
            let len = self.window(window).len();
            1 + context + len + (1 + passages(len)) * self.blocks.len()
        };
        self.windows().map(read).sum::<usize>() + self.blocks.iter().map(Vec::len).sum::<usize>()
    }

    /// The conversation with a window of the judged message.
    pub fn conversation(&self, frame: Frame, window: usize) -> Layout {
        let ids: Vec<TokenId> = self.window(window).iter().map(|span| span.id).collect();
        self.laid_out(frame, &ids)
    }

    /// A window without these of its tokens.
    pub fn without(&self, frame: Frame, window: usize, tokens: &Range<usize>) -> Layout {
        let spans = self.window(window).iter().enumerate();
        let ids: Vec<TokenId> = spans.filter(|(at, _)| !tokens.contains(at)).map(|(_, span)| span.id).collect();
        self.laid_out(frame, &ids)
    }

    /// The words of a window, as ranges of its tokens.
    pub fn words(&self, window: usize) -> Vec<Range<usize>> {
        words(self.window(window))
    }

    /// What is asked: by the message on trial, or by the one that it answers.
    fn opening(&self) -> String {
        match self.target {
            Target::Prompt => asked::told(&self.content, "asks", "writes"),
            Target::Response => asked::told(self.prompt.as_deref().unwrap_or_default(), "asked", "wrote"),
        }
    }

    /// These tokens of a window, to be quoted.
    pub fn quotable(&self, window: usize, tokens: Range<usize>) -> QuoteSource {
        let spans = self.window(window);
        QuoteSource::new(self.judged, &self.content, &spans[tokens.start..tokens.end.min(spans.len())])
    }

    fn laid_out(&self, frame: Frame, ids: &[TokenId]) -> Layout {
        let context: Vec<Turn> = self.context.iter().map(Context::turn).collect();
        Layout::conversation(frame, &context, Turn { kind: Kind::judged(self.target), ids })
    }

    fn window(&self, window: usize) -> &[Span] {
        let (text, start) = self.windows[window];
        let spans = &self.texts[text];
        &spans[start..spans.len().min(start + WINDOW)]
    }
}

/// The end of a message before the judged one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    pub kind: Kind,
    pub ids: Vec<TokenId>,
}

impl Context {
    pub fn turn(&self) -> Turn<'_> {
        Turn { kind: self.kind, ids: &self.ids }
    }
}

/// What a message is read in the light of: the ends of what the user and the assistant said last before it, in their
/// order. The nearest has the first claim to the room.
pub fn context(tokenizer: &Tokenizer, before: &[Message]) -> Result<Vec<Context>> {
    let said = |message: &&Message| matches!(message.role, Role::User | Role::Assistant) && !message.content.is_empty();
    let (mut context, mut most, mut left) = (Vec::new(), NEAREST_WORDS, CONTEXT_WORDS);
    for message in before.iter().rev().filter(said).take(CONTEXT_TURNS) {
        let ids = tokenizer.encode_end(&message.content, most)?;
        left -= ids.len();
        most = left;
        context.push(Context { kind: Kind::of(message.role, false), ids });
    }
    context.reverse();
    Ok(context)
}

/// The indices of the categories that an answer reasons about: those that score highest, the highest first.
pub fn highest(scores: &[f32]) -> Vec<usize> {
    let mut order = ranked(scores);
    order.truncate(STEPS);
    order
}

fn ranked(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The categories that a measured answer tells of: the [`highest`], but where all of these apply the last place is kept for
/// what speaks against, the nearest that does not.
pub fn told(scores: &[f32], applies: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut told = highest(scores);
    let nearest = ranked(scores).into_iter().find(|&at| !applies(at));
    if let (Some(nearest), true) = (nearest, told.iter().all(|&at| applies(at)))
        && let Some(last) = told.last_mut()
    {
        *last = nearest;
    }
    told
}

/// What a category's block says: its name and its definition, as far as blocks go.
fn block(tokenizer: &Tokenizer, category: &Category, most: usize) -> Result<Vec<TokenId>> {
    let mut words = name(tokenizer, category)?;
    words.extend(tokenizer.encode(&category.definition)?.iter().map(|span| span.id));
    words.truncate(most);
    if words.is_empty() {
        // Of signs that the tokenizer drops.
        words.push(tokenizer.control("[UNK]")?);
    }
    Ok(words)
}

/// The tokens of a category's name that are read.
fn name(tokenizer: &Tokenizer, category: &Category) -> Result<Vec<TokenId>> {
    let mut name: Vec<TokenId> = tokenizer.encode(&category.name)?.iter().map(|span| span.id).collect();
    name.truncate(NAME_WORDS);
    Ok(name)
}

/// Where in its block a category's definition begins, and its tokens there, with bytes of the definition.
pub fn defined(tokenizer: &Tokenizer, category: &Category, block: &[TokenId]) -> Result<(usize, Vec<Span>)> {
    let start = name(tokenizer, category)?.len().min(block.len());
    let mut spans = tokenizer.encode(&category.definition)?;
    spans.truncate(block.len() - start);
    Ok((start, spans))
}

/// The words of a text, as ranges of its tokens.
pub fn words(spans: &[Span]) -> Vec<Range<usize>> {
    let begins = |&at: &usize| at == 0 || spans[at - 1].bytes.end < spans[at].bytes.start;
    let starts: Vec<usize> = (0..spans.len()).filter(begins).collect();
    let ends = starts.iter().skip(1).copied().chain([spans.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Where the windows over `len` tokens begin: one at 0 even for none, and none that adds nothing.
fn windows(len: usize) -> impl Iterator<Item = usize> {
    let last = len.saturating_sub(WINDOW).div_ceil(WINDOW_STEP);
    (0..=last).map(|window| window * WINDOW_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_said_before_the_ends_are_read_and_the_nearest_has_the_first_claim() {
        let tokenizer = Tokenizer::from_bytes(include_bytes!("../../models/rsafe-mini/tokenizer.json")).unwrap();
        let text = format!("{}{}", "early ".repeat(80), "late ".repeat(80));
        let late = tokenizer.word("late").unwrap();
        // Neither an empty message nor one of nobody who talks takes their room.
        let said = [(Role::User, &*text), (Role::Assistant, ""), (Role::Tool, "a"), (Role::Assistant, &*text)];
        let before = said.map(|(role, content)| Message::new(role, content));
        let room = [(Kind::ContextUser, CONTEXT_WORDS - NEAREST_WORDS), (Kind::ContextAgent, NEAREST_WORDS)];
        let expected = room.map(|(kind, words)| Context { kind, ids: vec![late; words] });
        assert_eq!(context(&tokenizer, &before).unwrap(), expected);
    }

    #[test]
    fn a_category_has_a_block_of_words_however_long_its_name_or_little_it_says() {
        let tokenizer = Tokenizer::from_bytes(include_bytes!("../../models/rsafe-mini/tokenizer.json")).unwrap();
        let word = |word| tokenizer.word(word).unwrap();
        let long = Category::new("long", "late ".repeat(BLOCK_WORDS)).definition("early");
        let silent = Category::new("silent", "\u{AD}");
        let blocks = SlotPrompts::blocks(&tokenizer, &Policy::new("house").category(long).category(silent)).unwrap();
        assert_eq!(blocks[0], [vec![word("late"); NAME_WORDS], vec![word("early")]].concat(), "what it means is read");
        assert_eq!(blocks[1], [tokenizer.control("[UNK]").unwrap()]);
    }

    #[test]
    fn an_answer_reasons_about_the_categories_that_score_highest() {
        assert_eq!(highest(&[0.1, 0.5, 0.2, 0.9, 0.3]), [3, 1, 4]);
        assert_eq!(highest(&[0.2, 0.7]), [1, 0]);
    }

    #[test]
    fn a_measured_answer_tells_of_the_nearest_category_that_does_not_apply() {
        let scores = [0.6, 0.5, 0.2, 0.9, 0.3, 0.7];
        let above = |threshold: f32| told(&scores, move |at| scores[at] >= threshold);
        assert_eq!(above(0.4), [3, 5, 4], "in the place of the third that applies");
        assert_eq!(above(0.65), [3, 5, 0], "which is among the highest by itself");
        assert_eq!(above(0.1), [3, 5, 0], "but not where every category applies");
        assert_eq!(told(&[0.2, 0.7], |_| true), [1, 0]);
    }

    #[test]
    fn windows_cover_every_token_and_overlap() {
        for len in [0, 1, WINDOW, WINDOW + 1, 3 * WINDOW, 10_000] {
            let starts: Vec<usize> = windows(len).collect();
            assert_eq!(starts[0], 0);
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= WINDOW_STEP));
            let last = starts[starts.len() - 1];
            assert!(last + WINDOW >= len && (last == 0 || last + WINDOW - WINDOW_STEP < len), "{len}: {starts:?}");
        }
    }
}
