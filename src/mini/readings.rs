//! What the readings of one window, over all of it and over its passages, say of each category together.

use crate::verdict::Scoring;

/// What a category scores in the reading of a window that gives it most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Highest {
    /// In [0, 1].
    pub score: f32,
    pub logit: f32,
    pub reading: usize,
}

/// The highest score of each category over a window's readings, whose logits these are.
pub fn highest_of(readings: &[Vec<f32>], scoring: Scoring) -> Vec<Highest> {
    let mut highest: Vec<Highest> = Vec::new();
    for (reading, logits) in readings.iter().enumerate() {
        let here = scoring.scores(logits).into_iter().zip(logits);
        let here = here.map(|(score, &logit)| Highest { score, logit, reading });
        if highest.is_empty() {
            highest.extend(here);
        } else {
            let better = highest.iter_mut().zip(here).filter(|(most, here)| here.score > most.score);
            better.for_each(|(most, here)| *most = here);
        }
    }
    highest
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
