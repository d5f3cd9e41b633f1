//! One answer as far as it is written: what the grammar makes of it, what the sampler has seen, and what the model has
//! not read of it.

use crate::error::Result;
use crate::grammar::{Allowed, Grammar, p_unsafe_by};
use crate::sampling::{Sampler, Sampling};
use crate::tokenizer::TokenId;
use crate::verdict::Answer;

/// An answer in progress.
pub struct Draft {
    grammar: Grammar,
    sampler: Sampler,
    /// Tokens that the grammar has consumed and the model has not read: read together with what follows.
    pub pending: Vec<TokenId>,
    p_unsafe: Option<f32>,
    sound: bool,
    tokens: usize,
}

impl Draft {
    pub fn new(grammar: Grammar, sampling: Sampling) -> Self {
        Self { grammar, sampler: Sampler::new(sampling), pending: Vec::new(), p_unsafe: None, sound: true, tokens: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.grammar.is_done()
    }

    /// Whether free text had to be ended because its budget was spent.
    pub fn was_cut(&self) -> bool {
        self.grammar.was_cut()
    }

    /// The next token where the grammar leaves no choice.
    pub fn forced(&self) -> Option<TokenId> {
        match self.grammar.allowed() {
            Allowed::Few(ids) if ids.len() == 1 => Some(ids[0]),
            _ => None,
        }
    }

    /// The tokens that may come next.
    pub fn allowed(&self) -> Allowed {
        self.grammar.allowed()
    }

    /// Takes a forced token; gives the text that it shows.
    pub fn take(&mut self, id: TokenId) -> Result<String> {
        self.tokens += 1;
        self.pending.push(id);
        self.sampler.observe(&[id]);
        self.grammar.consume(id)
    }

    /// Takes one of the allowed tokens, given their logits; gives it and the text that it shows. `None` only where none is
    /// allowed.
    pub fn choose(&mut self, logits: &[(TokenId, f32)]) -> Result<Option<(TokenId, String)>> {
        self.sound &= logits.iter().all(|(_, logit)| logit.is_finite());
        if let Some(choice) = self.grammar.verdict_choice() {
            let logit = |id| logits.iter().find(|(known, _)| *known == id).map_or(f32::NAN, |(_, logit)| *logit);
            self.p_unsafe = Some(p_unsafe_by(logit, &choice));
        }
        match self.sampler.pick(logits.iter().copied()) {
            Some(sampled) => Ok(Some((sampled.token, self.take(sampled.token)?))),
            None => Ok(None),
        }
    }

    pub fn answer(&self) -> &Answer {
        self.grammar.answer()
    }

    /// P(unsafe) at the verdict; `None` before it.
    pub fn p_unsafe(&self) -> Option<f32> {
        self.p_unsafe
    }

    /// Whether every logit so far was a finite number.
    pub fn is_sound(&self) -> bool {
        self.sound
    }

    /// Tokens written, forced ones included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::{Builder, ChoiceOption, Effect};

    /// An answer of two tokens, each 1 or 2.
    fn draft(sampling: Sampling) -> Draft {
        let mut builder = Builder::new(3);
        let option =
            |token, next| ChoiceOption { tokens: vec![token], display: String::new(), effect: Effect::Nothing, next };
        let end = builder.end();
        let last = builder.choice(vec![option(1, end), option(2, end)]).unwrap();
        let first = builder.choice(vec![option(1, last), option(2, last)]).unwrap();
        Draft::new(builder.build(first), sampling)
    }

    #[test]
    fn one_logit_that_is_no_number_makes_an_answer_unsound_to_its_end() {
        let mut draft = draft(Sampling::greedy());
        draft.choose(&[(1, 0.0), (2, f32::NAN)]).unwrap();
        draft.choose(&[(1, 0.0), (2, 0.0)]).unwrap();
        assert!(draft.is_done() && !draft.is_sound());
    }

    #[test]
    fn what_was_written_is_less_likely_to_be_written_again() {
        let mut draft = draft(Sampling { repetition_penalty: 2.0, ..Sampling::greedy() });
        let mut next = || draft.choose(&[(1, 3.0), (2, 2.0)]).unwrap().map(|(token, _)| token);
        assert_eq!([next(), next()], [Some(1), Some(2)]);
    }
}
