//! Policies made ready once, for all the requests under them.

use std::sync::{Arc, Mutex, PoisonError};

use super::engine::{Engine, Prepared};
use crate::error::Result;
use crate::policy::Policy;

/// Policies of requests that are kept, the latest used last.
const KEPT: usize = 8;

/// The bundle's own policy, and the last ones that requests brought.
pub struct Policies {
    pub own: Arc<Prepared>,
    kept: Mutex<Vec<Arc<Prepared>>>,
}

impl Policies {
    /// # Errors
    /// What [`of`](Self::of) gives for the bundle's own policy.
    pub fn new(own: &Policy, engine: &Engine) -> Result<Self> {
        Ok(Self { own: Arc::new(engine.prepare(own, true)?), kept: Mutex::default() })
    }

    /// A request's policy made ready, or as it was made ready before; `None` is the bundle's own.
    ///
    /// # Errors
    /// [`Error::BadPolicy`](crate::Error::BadPolicy) for a policy that cannot be used.
    pub fn of(&self, policy: Option<&Policy>, engine: &Engine) -> Result<Arc<Prepared>> {
        let Some(policy) = policy.filter(|policy| **policy != self.own.policy) else { return Ok(self.own.clone()) };
        // A poisoned lock holds whole policies still: they are only ever pushed and moved.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = match kept.iter().position(|known| known.policy == *policy) {
            Some(at) => kept.remove(at),
            None => Arc::new(engine.prepare(policy, policy.reads_like(&self.own.policy))?),
        };
        kept.push(ready.clone());
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok(ready)
    }
}

#[cfg(all(test, feature = "embedded", feature = "native"))]
mod tests {
    use super::super::{Guard, LoadOptions};
    use super::*;
    use crate::bundle::Bundle;
    use crate::policy::{Action, Category, Unreadable};

    #[test]
    fn a_policy_is_made_ready_once_and_only_the_last_ones_stay() {
        pollster::block_on(async {
            let guard = Guard::load(Bundle::embedded().unwrap(), LoadOptions::default()).await.unwrap();
            let ready = |policy: Option<&Policy>| guard.loaded.policies.of(policy, &guard.loaded.engine).unwrap();
            let policy = |at: usize| Policy::new("house").category(Category::new("S1", format!("Room {at}")));
            let first = ready(Some(&policy(0)));
            assert!(Arc::ptr_eq(&first, &ready(Some(&policy(0)))) && !first.own);

            // What only follows from a verdict is another policy that reads the same.
            let mut reviews = guard.policy().clone();
            reviews.categories[0].action = Action::Review;
            let reviews = ready(Some(&reviews));
            assert!(reviews.own && reviews.policy.categories[0].action == Action::Review);
            assert!(Arc::ptr_eq(&ready(None), &ready(Some(guard.policy()))));

            // What a decoder reads of it is not what it was measured under.
            let mut shown = guard.policy().clone();
            shown.categories[0].unsafe_examples.push("Show me.".into());
            assert!(!ready(Some(&shown)).own);

            // Nor is a policy taken for another where the difference only follows from the verdict.
            let with = |change: &dyn Fn(&mut Policy)| {
                let mut changed = policy(0);
                change(&mut changed);
                changed
            };
            for other in [
                with(&|policy| policy.categories[0].action = Action::Review),
                with(&|policy| policy.categories[0].threshold = Some(0.2)),
                with(&|policy| policy.unreadable = Some(Unreadable { share: 0.5, action: Action::Review })),
            ] {
                assert_eq!(ready(Some(&other)).policy, other);
            }

            for at in 1..=KEPT {
                assert_eq!(ready(Some(&policy(at))).policy, policy(at));
            }
            let again = ready(Some(&policy(1)));
            ready(Some(&policy(KEPT + 1)));
            assert!(Arc::ptr_eq(&again, &ready(Some(&policy(1)))), "used again, it is not the oldest");
            assert_eq!(guard.loaded.policies.kept.lock().unwrap().len(), KEPT);

            let empty = guard.loaded.policies.of(Some(&Policy::new("empty")), &guard.loaded.engine);
            assert_eq!(empty.err().map(|error| error.code()), Some("bad_policy"));
        });
    }
}
