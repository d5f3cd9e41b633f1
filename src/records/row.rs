//! What a file of rows gives, whatever its format.

use crate::error::Result;

/// A row as it stands in its file.
pub struct Record {
    /// From 1; of a table the row.
    pub line: u64,
    /// A JSON object, if the file is right. Of a table the columns that hold something.
    pub json: Vec<u8>,
    /// Why it is no row, where that shows before it is read as one; `json` then holds what is left of it.
    pub wrong: Option<String>,
    /// Bytes of the file that were read when this row was.
    pub read: u64,
}

/// The rows of a file, in order; blank lines are none. Behind an error nothing comes that could be relied on.
pub struct Records(pub(super) Box<dyn Iterator<Item = Result<Record>> + Send>);

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// What is wrong with a row of more than `max` bytes.
pub fn too_long(max: usize) -> String {
    format!("expected a row of at most {max} bytes, found more")
}
