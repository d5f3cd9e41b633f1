//! The categories of a policy that an answer is about or a panel asks: of the recipe, or as an owner wrote them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::data::recipe::ConceptIdx;
use crate::mini::layout::{BLOCK_WORDS, NAME_WORDS};
use crate::tokenizer::TokenId;
use crate::train::sample::Asked;

/// The share of an owner's categories that come with their definitions: by the name alone few are told for sure.
pub const DEFINED: f64 = 0.85;

/// One category of a sampled policy.
pub struct Sampled {
    /// `None` for an owner's own.
    pub concept: Option<ConceptIdx>,
    /// 1 if it applies, 0 if not, a half if it is borderline; `None` if nobody knows.
    pub target: Option<f32>,
    pub name: Vec<TokenId>,
    pub block: Vec<TokenId>,
}

impl Sampled {
    /// Whether it applies; `None` if nobody knows, or readers would differ.
    pub fn applies(&self) -> Option<bool> {
        self.target.filter(|&target| target == 0.0 || target == 1.0).map(|target| target == 1.0)
    }
}

/// An owner's policy for an answer: all that is known of it, mostly with the definitions, sometimes without some of the
/// categories that do not apply.
pub fn asked_of(asked: &[Asked], rng: &mut ChaCha8Rng) -> Vec<Sampled> {
    let keep = if rng.random_bool(0.5) { 1.0 } else { 0.6 };
    let kept =
        asked.iter().filter(|category| category.target.is_some_and(|target| target > 0.0) || rng.random_bool(keep));
    let kept: Vec<&Asked> = kept.collect();
    let sampled = |category: &Asked| written(category, rng.random_bool(DEFINED));
    if kept.is_empty() { asked.iter().map(sampled).collect() } else { kept.into_iter().map(sampled).collect() }
}

/// A category as somebody wrote it, with its definition or by its name alone.
pub fn written(category: &Asked, defined: bool) -> Sampled {
    let mut name = category.name.clone();
    name.truncate(NAME_WORDS);
    let mut block = name.clone();
    if defined {
        block.extend(&category.definition);
    }
    block.truncate(BLOCK_WORDS);
    Sampled { concept: None, target: category.target, name, block }
}
