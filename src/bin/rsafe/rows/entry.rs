//! A row of any source, read as far as it can be.

use rsafe::Result;

use crate::input::{BadRow, Place, Row};

/// A row and where it stood.
pub struct Entry {
    pub place: Place,
    pub row: Result<Row, BadRow>,
    /// Of the row, in bytes.
    pub size: usize,
    /// Bytes of the input that were read when this row was.
    pub read: u64,
}

pub type Entries = Box<dyn Iterator<Item = Result<Entry>> + Send>;
