//! Names for answers, that no other of this server has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// `prefix` says what they are of.
pub fn id(prefix: &str) -> String {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    format!("{prefix}{since:x}-{:x}", ANSWERS.fetch_add(1, Ordering::Relaxed))
}
