//! Where an answer decides, and how sure the model is there.

use std::collections::BTreeMap;

use super::Grammar;
use super::machine::Cursor;
use super::program::{Effect, Node};
use crate::tokenizer::TokenId;
use crate::verdict::Label;

/// The tokens that decide the verdict, by the label each leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerdictChoice {
    pub safe: Vec<TokenId>,
    pub unsafe_: Vec<TokenId>,
    pub controversial: Vec<TokenId>,
}

impl Grammar {
    /// The tokens that decide the verdict, where the very next token separates safe from the other labels.
    pub fn verdict_choice(&self) -> Option<VerdictChoice> {
        let (Cursor::Choice { pos, live }, Node::Choice(options)) = (&self.cursor, self.node()) else { return None };
        let mut labels: BTreeMap<TokenId, Vec<Label>> = BTreeMap::new();
        for option in live.iter().map(|i| &options[*i]) {
            let Effect::Verdict(label) = option.effect else { return None };
            labels.entry(*option.tokens.get(*pos)?).or_default().push(label);
        }
        let mut choice = VerdictChoice::default();
        for (token, labels) in labels {
            let safe = labels.contains(&Label::Safe);
            if safe && labels.iter().any(|label| *label != Label::Safe) {
                return None;
            }
            // A token that both other labels begin with counts as the severer one.
            match (safe, labels.contains(&Label::Unsafe)) {
                (true, _) => choice.safe.push(token),
                (_, true) => choice.unsafe_.push(token),
                _ => choice.controversial.push(token),
            }
        }
        let flags = choice.unsafe_.len() + choice.controversial.len();
        (!choice.safe.is_empty() && flags > 0).then_some(choice)
    }
}

/// P(unsafe) in [0, 1] at the verdict: the softmax over the tokens that decide it, all other tokens left out.
///
/// `logits` holds one number for each id of the vocabulary. The middle label counts half. A logit that is missing,
/// infinite or not a number gives 1: a model that cannot say fails closed.
pub fn p_unsafe(logits: &[f32], choice: &VerdictChoice) -> f32 {
    p_unsafe_by(|id| logits.get(id as usize).copied().unwrap_or(f32::NAN), choice)
}

/// [`p_unsafe`] for callers that computed the logits of a few rows only.
pub fn p_unsafe_by(logit: impl Fn(TokenId) -> f32, choice: &VerdictChoice) -> f32 {
    let weighted = [(&choice.safe, 0.0), (&choice.controversial, 0.5), (&choice.unsafe_, 1.0)];
    let scored: Vec<(f64, f64)> = weighted
        .into_iter()
        .flat_map(|(ids, weight)| ids.iter().map(move |id| (*id, weight)))
        .map(|(id, weight)| (f64::from(logit(id)), weight))
        .collect();
    if scored.is_empty() || scored.iter().any(|(logit, _)| !logit.is_finite()) {
        return 1.0;
    }
    let top = scored.iter().map(|(logit, _)| *logit).fold(f64::NEG_INFINITY, f64::max);
    let mass = |weigh: fn(f64) -> f64| scored.iter().map(|(l, w)| (l - top).exp() * weigh(*w)).sum::<f64>();
    (mass(|weight| weight) / mass(|_| 1.0)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::{Builder, ChoiceOption};

    #[test]
    fn a_token_that_may_lead_to_two_labels_counts_as_the_severer_and_none_that_may_lead_to_safe_decides() {
        let choice = |labels: &[(Label, [TokenId; 2])]| {
            let mut builder = Builder::new(16);
            let next = builder.end();
            let option = |&(label, tokens): &(Label, [TokenId; 2])| ChoiceOption {
                tokens: tokens.to_vec(),
                display: String::new(),
                effect: Effect::Verdict(label),
                next,
            };
            let start = builder.choice(labels.iter().map(option).collect()).unwrap();
            builder.build(start).verdict_choice()
        };
        let apart = [(Label::Safe, [1, 2]), (Label::Controversial, [3, 4]), (Label::Unsafe, [5, 6])];
        let expected = VerdictChoice { safe: vec![1], unsafe_: vec![5], controversial: vec![3] };
        assert_eq!(choice(&apart), Some(expected));
        let alike = [(Label::Safe, [1, 2]), (Label::Controversial, [3, 4]), (Label::Unsafe, [3, 6])];
        let expected = VerdictChoice { safe: vec![1], unsafe_: vec![3], controversial: vec![] };
        assert_eq!(choice(&alike), Some(expected));
        assert_eq!(choice(&[(Label::Safe, [1, 2]), (Label::Unsafe, [1, 3])]), None);
    }
}
