//! One thread a core, each with work of its own: most operations of a small network are too small to share.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Pools of one thread.
pub struct Workers(Vec<rayon::ThreadPool>);

impl Workers {
    /// One for each core.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn new() -> Result<Self> {
        Self::of(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// So many.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the system gives no threads.
    pub fn of(threads: NonZeroUsize) -> Result<Self> {
        let pool = |_| {
            // A pool of one keeps the matrix products inside a worker from spreading over the others' cores.
            rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .build()
                .map_err(|e| Error::Unsupported(format!("threads: {e}")))
        };
        (0..threads.get()).map(pool).collect::<Result<_>>().map(Self)
    }

    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Works on the items side by side, each core taking the next when it is done with one; results come in the items'
    /// order.
    pub fn map<I: Sync, R: Send>(&self, items: &[I], work: impl Fn(&I) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
        let (next, results_of, work) = (&next, &results, &work);
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .0
                .iter()
                .take(items.len())
                .map(|pool| {
                    scope.spawn(move || {
                        pool.install(|| {
                            while let Some(at) =
                                Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&at| at < items.len())
                            {
                                let result = work(&items[at]);
                                *results_of[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                                    Some(result);
                            }
                        })
                    })
                })
                .collect();
            // A panic in a worker is a bug, and goes on here.
            threads.into_iter().for_each(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        });
        let take = |result: Mutex<Option<R>>| result.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // No worker ended early, so every item has its result.
        results.into_iter().filter_map(take).collect()
    }
}
