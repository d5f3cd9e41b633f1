//! The grammars of a decoder's answers, kept for the last policies: free text takes a look at every token of the
//! vocabulary, and a grammar's clones share what that gave.

use std::sync::{Mutex, PoisonError};

use crate::conversation::Target;
use crate::error::{Error, Result};
use crate::grammar::{Grammar, Think};
use crate::policy::Category;
use crate::prompt::Template;
use crate::tokenizer::Tokenizer;

/// Grammars that are kept, the latest used last: with and without reasoning for each of four policies.
const KEPT: usize = 8;

/// The grammars of one template's answers.
pub struct Grammars {
    template: Template,
    kept: Mutex<Vec<(About, Grammar)>>,
}

/// What a grammar depends on beside template and tokenizer.
#[derive(PartialEq)]
struct About {
    /// Ids and names; none where the template's answers name no category.
    categories: Vec<(String, String)>,
    target: Target,
    think: Think,
}

impl Grammars {
    pub fn new(template: Template) -> Self {
        Self { template, kept: Mutex::default() }
    }

    /// A grammar at its start, of answers about a conversation under these categories; always of the same tokenizer.
    ///
    /// # Errors
    /// [`Error::BadModel`] for a tokenizer that cannot write the answers; [`Error::BadInput`] for categories written
    /// alike.
    pub fn of(&self, tokenizer: &Tokenizer, categories: &[Category], target: Target, think: Think) -> Result<Grammar> {
        let (named, target): (Vec<(&str, &str)>, Target) = match self.template.names_categories() {
            true => (categories.iter().map(|c| (c.id.as_str(), c.name.as_str())).collect(), target),
            // They depend on the vocabulary alone.
            false => (Vec::new(), Target::Prompt),
        };
        let categories = named.iter().map(|&(id, name)| (id.to_owned(), name.to_owned())).collect();
        let about = About { categories, target, think };
        // A poisoned lock holds whole grammars still: they are only ever pushed and moved.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match kept.iter().position(|(known, _)| *known == about) {
            Some(at) => kept.remove(at),
            None => (about, self.made(tokenizer, &named, target, think)?),
        };
        let fresh = entry.1.clone();
        kept.push(entry);
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok(fresh)
    }

    fn made(&self, tokenizer: &Tokenizer, named: &[(&str, &str)], target: Target, think: Think) -> Result<Grammar> {
        match self.template {
            Template::Rsafe => Grammar::rsafe(tokenizer, think, "<|im_end|>"),
            Template::Qwen3guard => Grammar::qwen3guard(tokenizer, named, target, "<|im_end|>"),
            Template::LlamaGuard3 => {
                let ids: Vec<(&str, &str)> = named.iter().map(|(id, _)| (*id, *id)).collect();
                Grammar::llama_guard(tokenizer, &ids, "<|eot_id|>")
            }
            Template::Slots => Err(Error::BadModel("the template `slots` is not a decoder's".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_has_its_own_grammar_at_its_start_however_often_it_is_asked_for() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/qwen3/tokenizer.json");
        let tokenizer = Tokenizer::from_bytes(&std::fs::read(file).unwrap()).unwrap();
        let kept = Grammars::new(Template::Qwen3guard);
        let policy = |at: usize| [Category::new("S1", "w".repeat(at % (KEPT + 2) + 1))];
        for at in 0..4 * KEPT {
            let of =
                |grammars: &Grammars| grammars.of(&tokenizer, &policy(at / 2), Target::Prompt, Think::Skip).unwrap();
            let (mut found, made) = (of(&kept), of(&Grammars::new(Template::Qwen3guard)));
            assert_eq!((found.max_len(), found.forced()), (made.max_len(), made.forced()), "policy {at}");
            found.forced().into_iter().for_each(|id| drop(found.consume(id).unwrap()));
            assert!(kept.kept.lock().unwrap().len() <= KEPT);
        }
        // What is asked for again is the last to go.
        let name = |at: usize| kept.kept.lock().unwrap()[at].0.categories[0].1.clone();
        let oldest = name(0);
        kept.of(&tokenizer, &[Category::new("S1", oldest.clone())], Target::Prompt, Think::Skip).unwrap();
        assert_eq!(name(KEPT - 1), oldest);
    }

    #[test]
    fn categories_of_the_same_names_are_told_apart_by_their_ids() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/qwen3/tokenizer.json");
        let tokenizer = Tokenizer::from_bytes(&std::fs::read(file).unwrap()).unwrap();
        let kept = Grammars::new(Template::Qwen3guard);
        for id in ["a", "b", "a"] {
            let policy = [Category::new(id, "Locks")];
            let mut grammar = kept.of(&tokenizer, &policy, Target::Prompt, Think::Skip).unwrap();
            while !grammar.is_done() {
                let unsafe_ = grammar.verdict_choice().map(|choice| choice.unsafe_[0]);
                let next = unsafe_.unwrap_or_else(|| grammar.allowed().ids()[0]);
                grammar.consume(next).unwrap();
            }
            assert_eq!(grammar.answer().categories, [id]);
        }
    }

    #[test]
    fn each_side_and_each_way_to_think_has_its_own_grammar() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/qwen3/tokenizer.json");
        let tokenizer = Tokenizer::from_bytes(&std::fs::read(file).unwrap()).unwrap();
        let policy = [Category::new("S1", "Locks")];
        for template in [Template::Qwen3guard, Template::Rsafe] {
            let kept = Grammars::new(template);
            let thought = Think::First { max_tokens: 9 };
            for (target, think) in
                [(Target::Prompt, Think::Skip), (Target::Response, Think::Skip), (Target::Prompt, thought)]
            {
                let longest = |grammars: &Grammars| grammars.of(&tokenizer, &policy, target, think).unwrap().max_len();
                assert_eq!(longest(&kept), longest(&Grammars::new(template)), "{template:?}, {target:?}, {think:?}");
            }
        }
    }
}
