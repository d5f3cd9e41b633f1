//! What is seen of a text, whole or in passages.

use std::borrow::Cow;
use std::ops::Range;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::mini::layout::Layout;
use crate::train::sample::Sample;

/// What slots read of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// A passage that holds all that the facts are about.
    Core,
    /// A passage without harm, of a text that may have some elsewhere.
    Harmless,
}

/// What is seen of a text.
pub struct Shown<'s> {
    pub sample: Cow<'s, Sample>,
    /// The judged tokens that are seen.
    pub(super) window: Range<usize>,
    /// The conversation alone.
    pub layout: Layout,
}

impl Shown<'_> {
    /// Passages as inference reads them, each as what it leaves unseen: one that holds what the facts are about, and one
    /// that holds nothing of it.
    pub(super) fn passages(&self, rng: &mut ChaCha8Rng) -> Vec<(Vec<Range<usize>>, Part)> {
        let Some(core) = self.sample.core.clone() else { return Vec::new() };
        let judged = self.layout.judged();
        let core = judged.start + core.start..judged.start + core.end;
        let passages = self.layout.passages();
        let holds = |passage: &&Range<usize>| passage.start <= core.start && core.end <= passage.end;
        let lacks = |passage: &&Range<usize>| passage.end <= core.start || core.end <= passage.start;
        let unseen = |passage: &Range<usize>| vec![judged.start..passage.start, passage.end..judged.end];
        let mut draw = |part, of: &dyn Fn(&&Range<usize>) -> bool| {
            let of: Vec<_> = passages.iter().filter(|passage| of(passage)).collect();
            of.choose(rng).map(|passage| (unseen(passage), part))
        };
        [draw(Part::Core, &holds), draw(Part::Harmless, &lacks)].into_iter().flatten().collect()
    }
}
