//! What the readings of a message, over whole windows and over their passages, say of each category together.

use crate::verdict::Scoring;

/// What a category scores in the reading that gives it most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Highest {
    /// In [0, 1].
    pub score: f32,
    /// What its slot gave, and that as far as others back it: what the score is made of.
    pub logit: f32,
    pub backed: f32,
    /// Which reading of its window.
    pub reading: usize,
}

/// The highest score of each category over a window's readings, whose logits these are.
pub fn highest_of(readings: &[Vec<f32>], scoring: Scoring) -> Vec<Highest> {
    let mut highest = Vec::new();
    for (reading, logits) in readings.iter().enumerate() {
        let here = scoring.backed(logits).into_iter().zip(logits);
        let here = here.map(|(backed, &logit)| Highest { score: scoring.score(backed), logit, backed, reading });
        raise(&mut highest, here);
    }
    highest
}

/// Takes in what was found elsewhere of the same categories, where it is higher.
pub fn raise(highest: &mut Vec<Highest>, here: impl IntoIterator<Item = Highest>) {
    if highest.is_empty() {
        highest.extend(here);
    } else {
        let better = highest.iter_mut().zip(here).filter(|(most, here)| here.score > most.score);
        better.for_each(|(most, here)| *most = here);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_reading_of_each_category_counts_backed_by_its_own() {
        let found = |readings: &[Vec<f32>], scoring| -> Vec<(f32, usize)> {
            highest_of(readings, scoring).into_iter().map(|highest| (highest.logit, highest.reading)).collect()
        };
        let readings = [vec![1.0, -2.0], vec![0.5, 3.0], vec![0.7, 2.0]];
        assert_eq!(found(&readings, Scoring::default()), [(1.0, 0), (3.0, 1)]);
        // Where the last category stands for any harm, the first applies most where that does, too.
        let backed = Scoring { catch_all: Some(1), ..Scoring::default() };
        assert_eq!(found(&readings, backed), [(0.7, 2), (3.0, 1)]);
        for at in 0..3 {
            let mut broken = readings.clone();
            broken[at][0] = f32::NAN;
            let highest = highest_of(&broken, Scoring::default())[0];
            assert!(highest.score == 1.0 && highest.reading == at, "a number that is none is not hidden: {highest:?}");
        }
    }
}
