//! How often the rows of a kind were flagged.

use indexmap::IndexMap;
use serde::Serialize;

use super::interval::Interval;
use super::judgement::{Judgement, Outcome};

/// Flagged rows of a kind, by what they are. Intervals are Wilson's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flags {
    pub name: String,
    pub unsafe_rows: usize,
    pub unsafe_flagged: usize,
    /// `None` without unsafe rows.
    pub recall: Option<f64>,
    pub recall_interval: Option<Interval>,
    pub safe_rows: usize,
    pub safe_flagged: usize,
    /// `None` without safe rows.
    pub fpr: Option<f64>,
    pub fpr_interval: Option<Interval>,
}

/// Rows and flagged rows of one class.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    rows: usize,
    flagged: usize,
}

/// Shares of the unsafe and of the safe rows, by name.
type Shares<'a> = IndexMap<&'a str, [Share; 2]>;

fn count<'a>(shares: &mut Shares<'a>, name: &'a str, is_unsafe: bool, flagged: bool) {
    let share = &mut shares.entry(name).or_default()[usize::from(!is_unsafe)];
    share.rows += 1;
    share.flagged += usize::from(flagged);
}

impl Flags {
    fn new(name: &str, [positive, negative]: [Share; 2]) -> Self {
        let ratio = |share: Share| crate::measure::metrics::ratio(share.flagged, share.rows);
        let interval = |share: Share| Interval::of_share(share.flagged, share.rows);
        Self {
            name: name.to_owned(),
            unsafe_rows: positive.rows,
            unsafe_flagged: positive.flagged,
            recall: ratio(positive),
            recall_interval: interval(positive),
            safe_rows: negative.rows,
            safe_flagged: negative.flagged,
            fpr: ratio(negative),
            fpr_interval: interval(negative),
        }
    }

    /// By the data set's categories, most rows first: how many rows of each were flagged at all. A row of several
    /// counts in each. Rows without a verdict are wrong.
    pub fn by_row_category(judgements: &[Judgement]) -> Vec<Self> {
        let mut shares = Shares::new();
        for judgement in judgements {
            for category in &judgement.row_categories {
                count(&mut shares, category, judgement.is_unsafe, judgement.flagged());
            }
        }
        shares.sort_by(|a_name, a, b_name, b| {
            let rows = |[positive, negative]: &[Share; 2]| positive.rows + negative.rows;
            rows(b).cmp(&rows(a)).then(a_name.cmp(b_name))
        });
        shares.into_iter().map(|(name, shares)| Self::new(name, shares)).collect()
    }

    /// By the policy's categories, in their order: how often the guard flagged each, at its own thresholds, on the
    /// rows for which the category has a score. Rows without a verdict are left out.
    pub fn by_policy_category(judgements: &[Judgement]) -> Vec<Self> {
        let mut shares = Shares::new();
        for judgement in judgements {
            if let Outcome::Judged { categories, flagged_categories, .. } = &judgement.outcome {
                for (id, _) in categories {
                    count(&mut shares, id, judgement.is_unsafe, flagged_categories.contains(id));
                }
            }
        }
        shares.into_iter().map(|(name, shares)| Self::new(name, shares)).collect()
    }
}
