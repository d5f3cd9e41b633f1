//! Rows read ahead of those that are judged: a batch is full when the workers are free, and a row that comes alone is
//! judged at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rsafe::Result;

use super::entry::Entry;
use super::source::Source;

/// What is held at most, a last row on top.
const ROWS: usize = 4096;
const BYTES: usize = 64 << 20;

/// Rows on their way from a thread that reads.
pub struct Window {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ahead: Mutex<Ahead>,
    changed: Condvar,
}

#[derive(Default)]
struct Ahead {
    entries: VecDeque<Result<Entry>>,
    bytes: usize,
    ended: bool,
}

impl Shared {
    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        // Nothing that could panic happens under the lock.
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, ahead: MutexGuard<'a, Ahead>, unchanged: impl Fn(&mut Ahead) -> bool) -> MutexGuard<'a, Ahead> {
        self.changed.wait_while(ahead, unchanged).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that no more comes, also where the reading panics.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ahead().ended = true;
        self.0.changed.notify_all();
    }
}

impl Window {
    /// Begins to read. The thread is not waited for where the run ends early: it may stand at a pipe for ever.
    pub fn over(source: Source) -> Self {
        let shared = Arc::new(Shared::default());
        let ended = Ended(shared.clone());
        let reader = std::thread::spawn(move || {
            let Ended(shared) = &ended;
            for entry in source {
                let last = entry.is_err();
                let mut ahead =
                    shared.wait(shared.ahead(), |ahead| ahead.entries.len() >= ROWS || ahead.bytes >= BYTES);
                ahead.bytes += entry.as_ref().map_or(0, |entry| entry.size);
                ahead.entries.push_back(entry);
                drop(ahead);
                shared.changed.notify_all();
                if last {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    /// The next rows, as many as are there but at most `most`, at least one; none at the end.
    ///
    /// # Errors
    /// That of the source, when the rows before it were taken.
    pub fn take(&mut self, most: usize) -> Result<Vec<Entry>> {
        let mut ahead = self.shared.wait(self.shared.ahead(), |ahead| ahead.entries.is_empty() && !ahead.ended);
        let mut taken = Vec::new();
        while taken.len() < most && ahead.entries.front().is_some_and(|entry| entry.is_ok() || taken.is_empty()) {
            let Some(entry) = ahead.entries.pop_front().transpose()? else { break };
            ahead.bytes -= entry.size;
            taken.push(entry);
        }
        drop(ahead);
        self.shared.changed.notify_all();
        if taken.is_empty()
            && let Some(reader) = self.reader.take()
        {
            // A panic there is a bug, and no end of the input.
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        Ok(taken)
    }
}
