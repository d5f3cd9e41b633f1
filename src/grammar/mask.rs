//! Sets of tokens: a bit for each id, or a short list.

use std::sync::Arc;

use crate::tokenizer::TokenId;

/// A set of token ids below a vocabulary's size, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u64>,
    size: usize,
}

impl Mask {
    /// The empty set over ids `0..size`.
    pub fn new(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(64)], size }
    }

    /// The number of ids that could be in the set.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds an id; ids outside the vocabulary stay out.
    pub fn insert(&mut self, id: TokenId) {
        let id = id as usize;
        if id < self.size {
            self.words[id / 64] |= 1 << (id % 64);
        }
    }

    pub fn contains(&self, id: TokenId) -> bool {
        let id = id as usize;
        id < self.size && self.words[id / 64] >> (id % 64) & 1 == 1
    }

    /// The number of ids in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The ids in rising order.
    pub fn iter(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(i as TokenId * 64 + bit)
            })
        })
    }

    /// Sets the logits of all other ids to negative infinity, also those of rows that pad the vocabulary.
    pub fn apply(&self, logits: &mut [f32]) {
        for (id, logit) in logits.iter_mut().enumerate() {
            if !self.contains(id as TokenId) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// The tokens that may come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// So few that a caller may compute the logits of these rows alone; rising, without repeats, none only at the end.
    Few(Vec<TokenId>),
    /// Free text.
    Mask(Arc<Mask>),
}

impl Allowed {
    pub fn contains(&self, id: TokenId) -> bool {
        match self {
            Allowed::Few(ids) => ids.binary_search(&id).is_ok(),
            Allowed::Mask(mask) => mask.contains(id),
        }
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Allowed::Few(ids) => ids.len(),
            Allowed::Mask(mask) => mask.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Allowed::Few(ids) => ids.is_empty(),
            Allowed::Mask(mask) => mask.is_empty(),
        }
    }

    /// The tokens in rising order.
    pub fn ids(&self) -> Vec<TokenId> {
        match self {
            Allowed::Few(ids) => ids.clone(),
            Allowed::Mask(mask) => mask.iter().collect(),
        }
    }

    /// Calls `f` with each token in rising order.
    pub fn for_each(&self, mut f: impl FnMut(TokenId)) {
        match self {
            Allowed::Few(ids) => ids.iter().for_each(|id| f(*id)),
            Allowed::Mask(mask) => mask.iter().for_each(f),
        }
    }

    pub(super) fn few(mut ids: Vec<TokenId>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Allowed::Few(ids)
    }

    pub(super) fn union(self, other: Self) -> Self {
        match (self, other) {
            (Allowed::Few(mut a), Allowed::Few(b)) => {
                a.extend(b);
                Self::few(a)
            }
            (Allowed::Mask(mask), more) | (more, Allowed::Mask(mask)) => {
                let mut mask = Mask::clone(&mask);
                more.for_each(|id| mask.insert(id));
                Allowed::Mask(Arc::new(mask))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_lists_what_was_inserted_and_nothing_outside_the_vocabulary() {
        let mut mask = Mask::new(130);
        for id in [0, 63, 64, 129, 130, 9000] {
            mask.insert(id);
        }
        assert_eq!(mask.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(mask.len(), 4);
        let mut logits = vec![1.0; 140];
        mask.apply(&mut logits);
        assert_eq!(logits.iter().filter(|l| l.is_finite()).count(), 4);
    }
}
