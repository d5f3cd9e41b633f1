//! Whether somebody gave this program a standard output.

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

#[cfg(unix)]
ctor::declarative::ctor! {
    // Before Rust starts, because it opens /dev/null in the place of a closed stream, and no write fails after that.
    #[ctor(unsafe)]
    fn look() {
        let exists = |path| std::fs::symlink_metadata(path).is_ok();
        CLOSED.store(exists("/dev/fd/.") && !exists("/dev/fd/1"), Ordering::Relaxed);
    }
}

/// Whether it was closed when the program began (`>&-`): what is written would be lost, and no error would say so.
pub fn was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}
