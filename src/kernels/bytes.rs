//! Shared read-only bytes: a slice of what is compiled in, or of one buffer on the heap. Cloning and slicing copy nothing.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A slice of bytes that keeps its owner alive.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    range: Range<usize>,
}

#[derive(Clone)]
enum Owner {
    Static(&'static [u8]),
    // Not `Arc<[u8]>`: turning a vector into one copies it.
    Shared(Arc<Vec<u8>>),
}

impl Bytes {
    /// A part of these bytes, by the same owner.
    ///
    /// # Panics
    /// If the range is not inside, as slicing does.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} bytes", self.len());
        let start = self.range.start;
        Self { owner: self.owner.clone(), range: start + range.start..start + range.end }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all = match &self.owner {
            Owner::Static(bytes) => bytes,
            Owner::Shared(bytes) => bytes.as_slice(),
        };
        &all[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { owner: Owner::Shared(Arc::new(bytes)), range }
    }
}

impl From<Cow<'static, [u8]>> for Bytes {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => Self { range: 0..bytes.len(), owner: Owner::Static(bytes) },
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}
