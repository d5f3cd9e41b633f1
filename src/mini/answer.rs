//! rsafe-mini's answer: what is asked, for each category of the policy whether it applies, with a quote, then the verdict.
//!
//! The model writes markers that are one token each; people read sentences made from the policy's own names and the
//! message's own letters.

use crate::error::Result;
use crate::grammar::{Builder, ChoiceOption, Effect, Grammar, NodeId, QuoteLength, QuoteSource, Think};
use crate::tokenizer::TokenId;
use crate::verdict::Label;

/// The control tokens of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotMarkers {
    pub think: TokenId,
    pub end_think: TokenId,
    pub safe: TokenId,
    pub unsafe_: TokenId,
    pub quote: TokenId,
    pub end_quote: TokenId,
    /// The category applies.
    pub yes: TokenId,
    /// The category does not apply.
    pub no: TokenId,
}

/// One category's step.
#[derive(Debug, Clone)]
pub struct SlotStep {
    /// The category's id.
    pub category: String,
    /// Its name, as people read it.
    pub name: String,
    /// The tokens that the model reads before it says yes or no: the name, as it was trained to see it.
    pub header: Vec<TokenId>,
    /// What the step says, where that is decided; `None` leaves it to the model.
    pub applies: Option<bool>,
    /// What was measured of it, to be told; without, the model looks for a quote.
    pub finding: Option<Finding>,
}

/// What is known of a category before the answer.
#[derive(Debug, Clone)]
pub struct Finding {
    /// In [0, 1], and the score from which it applies.
    pub score: f32,
    pub threshold: f32,
    pub why: Why,
}

/// What carries the score of a category that applies, as far as few words do.
#[derive(Debug, Clone, Default)]
pub struct Why {
    /// Words of the message, and what the score is without them.
    pub quote: Option<(QuoteSource, f32)>,
    /// Words of the category's definition.
    pub definition: Option<String>,
}

/// All that the grammar of one answer depends on.
#[derive(Debug, Clone)]
pub struct SlotAnswer<'a> {
    pub vocab_size: usize,
    pub markers: SlotMarkers,
    /// What the reasoning begins with: what is asked. Shown, not read by the model.
    pub opening: String,
    /// The categories to reason about, in this order.
    pub steps: &'a [SlotStep],
    /// Who is quoted: `user` or `agent`.
    pub speaker: &'a str,
    /// The judged message.
    pub source: QuoteSource,
    pub quote: QuoteLength,
    /// [`Think::First`] reasons over all steps, whatever its number of tokens: each step is bounded by itself.
    pub think: Think,
    /// The verdict, where that is decided; `None` leaves it to the model.
    pub verdict: Option<Label>,
}

impl SlotAnswer<'_> {
    /// `think`, for each step its header and then `no` or `yes quote … end_quote`, `end_think`, then `safe` or
    /// `unsafe`; with [`Think::Skip`] only the last. An empty message has nothing to quote: there `yes` stands alone.
    ///
    /// # Errors
    /// [`Error::BadInput`](crate::Error::BadInput) when two markers that are told apart are the same token.
    pub fn grammar(&self) -> Result<Grammar> {
        let Self { markers, source, .. } = self;
        let mut b = Builder::new(self.vocab_size);
        let end = b.end();
        let verdicts = [(markers.safe, Label::Safe), (markers.unsafe_, Label::Unsafe)];
        let open = verdicts.into_iter().filter(|&(_, label)| self.verdict.is_none_or(|decided| decided == label));
        let verdict = b.choice(open.map(|(token, label)| option(token, "", Effect::Verdict(label), end)).collect())?;
        if self.think == Think::Skip {
            return Ok(b.build(verdict));
        }
        let mut next = b.literal(vec![markers.end_think], "", verdict);
        for step in self.steps.iter().rev() {
            let says_of = |applies: bool| step.finding.as_ref().map(|finding| finding.sentence(applies));
            let applies = match &step.finding {
                None if source.is_empty() => b.literal(Vec::new(), ".", next),
                None => {
                    let stop = b.literal(Vec::new(), "\".", next);
                    let quote = b.quote(source.clone(), self.quote, markers.end_quote, stop);
                    b.literal(vec![markers.quote], format!(" because the {} says \"", self.speaker), quote)
                }
                Some(Finding { why: Why { quote: None, .. }, .. }) => next,
                Some(Finding { why: Why { quote: Some((source, without)), .. }, threshold, .. }) => {
                    let stop = b.literal(Vec::new(), carried(*without, *threshold), next);
                    let whole = QuoteLength { min: source.len(), max: source.len() };
                    let quote = b.quote(source.clone(), whole, markers.end_quote, stop);
                    b.literal(vec![markers.quote], format!(" The {} says \"", self.speaker), quote)
                }
            };
            let says = |applies| Effect::Step { category: step.category.clone(), applies };
            let mut options = Vec::new();
            if step.applies != Some(false) {
                let display = says_of(true).unwrap_or_else(|| "applies".into());
                options.push(option(markers.yes, &display, says(true), applies));
            }
            if step.applies != Some(true) {
                let display = says_of(false).unwrap_or_else(|| "does not apply.".into());
                options.push(option(markers.no, &display, says(false), next));
            }
            let choice = b.choice(options)?;
            next = b.literal(step.header.clone(), format!(" {}: ", step.name), choice);
        }
        let start = b.literal(vec![markers.think], &self.opening, next);
        Ok(b.build(start))
    }
}

impl Finding {
    fn sentence(&self, applies: bool) -> String {
        let Self { score, threshold, why } = self;
        if !applies {
            return format!("does not apply: {score:.2}, and it would from {threshold:.2} on.");
        }
        let whole = "the message as a whole says it, no few words of it";
        match (&why.definition, &why.quote) {
            (None, Some(_)) => format!("applies ({score:.2})."),
            (None, None) => format!("applies ({score:.2}): {whole}."),
            (Some(words), Some(_)) => format!("applies ({score:.2}) by \"{words}\" in its definition."),
            (Some(words), None) => format!("applies ({score:.2}) by \"{words}\" in its definition; {whole}."),
        }
    }
}

/// What is said behind a quote.
fn carried(without: f32, threshold: f32) -> String {
    match without < threshold {
        true => format!("\"; without that it would not apply ({without:.2})."),
        false => format!("\"; even without that it would apply ({without:.2})."),
    }
}

fn option(token: TokenId, display: &str, effect: Effect, next: NodeId) -> ChoiceOption {
    ChoiceOption { tokens: vec![token], display: display.to_owned(), effect, next }
}
