//! How far a measure may be from what more rows would give: 95 % intervals.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The lower and the upper end, in the measure's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval(pub f64, pub f64);

/// The normal quantile of 0.975.
const Z: f64 = 1.959_963_984_540_054;

impl Interval {
    /// Wilson's score interval of `part` rows of `whole` (Wilson 1927); `None` without rows.
    pub fn of_share(part: usize, whole: usize) -> Option<Self> {
        let (n, p) = (whole as f64, part as f64 / whole as f64);
        let centre = p + Z * Z / (2.0 * n);
        let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        (whole > 0).then(|| Self(((centre - reach) / scale).max(0.0), ((centre + reach) / scale).min(1.0)))
    }

    /// From the 2.5th to the 97.5th percentile of `values`, linear between them; `None` without values.
    pub fn of_percentiles(values: &mut [f64]) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let percentile = |share: f64| {
            let at = share * last as f64;
            let low = at.floor() as usize;
            values[low] + (values[(low + 1).min(last)] - values[low]) * at.fract()
        };
        Some(Self(percentile(0.025), percentile(0.975)))
    }
}

/// Resampling of rows with replacement (Efron 1979).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bootstrap {
    /// How often the rows are drawn anew; 0: not at all, no intervals.
    pub resamples: usize,
    /// The same seed and number of rows draw the same rows.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, seed: 0 }
    }
}

impl Bootstrap {
    /// The values of `K` measures over the resamples; `measure` gets how often each of the `rows` rows was drawn. A
    /// resample that cannot give a measure (no unsafe rows in it, say) is missing among that measure's values.
    pub fn values<const K: usize>(
        self,
        rows: usize,
        mut measure: impl FnMut(&[u32]) -> [Option<f64>; K],
    ) -> [Vec<f64>; K] {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut values = [const { Vec::new() }; K];
        let mut times = vec![0; rows];
        for _ in 0..self.resamples {
            times.fill(0);
            for _ in 0..rows {
                times[rng.random_range(0..rows)] += 1;
            }
            for (values, value) in values.iter_mut().zip(measure(&times)) {
                values.extend(value);
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_rows_and_all_of_them_in_the_long_run() {
        let draw = |seed| {
            let mut seen = vec![0; 5];
            let bootstrap = Bootstrap { resamples: 200, seed };
            let [values] = bootstrap.values(5, |times| {
                assert_eq!(times.iter().sum::<u32>(), 5);
                seen.iter_mut().zip(times).for_each(|(seen, times)| *seen += times);
                [Some(f64::from(times[0]))]
            });
            (values, seen)
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).1.iter().all(|&times| (150..250).contains(&times)), "{:?}", draw(1).1);
    }

    #[test]
    fn nothing_has_no_interval() {
        assert_eq!(Interval::of_share(0, 0), None);
        assert_eq!(Interval::of_percentiles(&mut []), None);
        assert_eq!(Interval::of_percentiles(&mut [0.5]), Some(Interval(0.5, 0.5)));
        let [values] = Bootstrap { resamples: 0, seed: 0 }.values(3, |_| [Some(1.0)]);
        assert!(values.is_empty());
    }
}
