//! Rows as a parquet file in veRL's schema: nested columns by hand, with definition and repetition levels.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::chat::ChatMessage;
use crate::error::{Error, Result};

/// Rows in a row group: what a reader holds in memory at least.
const GROUP: usize = 1000;

/// What veRL reads (`verl/utils/dataset/rl_dataset.py`): `prompt` goes through the model's chat template, the rest to the
/// reward function. Columns come in this order when they are written.
const SCHEMA: &str = "
    message verl {
        REQUIRED BYTE_ARRAY data_source (STRING);
        REQUIRED GROUP prompt (LIST) {
            REPEATED GROUP list {
                REQUIRED GROUP element {
                    REQUIRED BYTE_ARRAY role (STRING);
                    REQUIRED BYTE_ARRAY content (STRING);
                }
            }
        }
        REQUIRED BYTE_ARRAY ability (STRING);
        REQUIRED GROUP reward_model {
            REQUIRED BYTE_ARRAY style (STRING);
            REQUIRED BYTE_ARRAY ground_truth (STRING);
        }
        REQUIRED GROUP extra_info {
            REQUIRED BYTE_ARRAY split (STRING);
            REQUIRED INT64 index;
            REQUIRED BYTE_ARRAY id (STRING);
            REQUIRED BYTE_ARRAY policy (STRING);
            REQUIRED BYTE_ARRAY conversation (STRING);
        }
    }";

/// One row of the file.
pub struct VerlRow {
    pub data_source: String,
    /// Not empty.
    pub prompt: Vec<ChatMessage>,
    pub ability: &'static str,
    pub style: &'static str,
    pub ground_truth: String,
    pub split: &'static str,
    pub index: i64,
    pub id: String,
    pub policy: String,
    pub conversation: String,
}

/// Writes a file, or replaces it.
///
/// # Errors
/// [`Error::Io`] if it cannot be written, or whatever error a row is.
pub fn write(path: &Path, rows: impl Iterator<Item = Result<VerlRow>>) -> Result<usize> {
    let failed = |error: ParquetError| Error::io(path)(std::io::Error::other(error));
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::GZIP(Default::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let file = File::create(path).map_err(Error::io(path))?;
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(failed)?;
    let mut rows = rows.peekable();
    let mut written = 0;
    while rows.peek().is_some() {
        let group: Vec<VerlRow> = rows.by_ref().take(GROUP).collect::<Result<_>>()?;
        let mut columns = writer.next_row_group().map_err(failed)?;
        write_group(&mut columns, &group).map_err(failed)?;
        columns.close().map_err(failed)?;
        written += group.len();
    }
    writer.close().map_err(failed)?;
    Ok(written)
}

type Group<'a> = SerializedRowGroupWriter<'a, File>;

/// The columns of some rows, in the order of the schema.
fn write_group(group: &mut Group, rows: &[VerlRow]) -> Result<(), ParquetError> {
    text(group, rows, |row| &row.data_source)?;
    messages(group, rows, |message| &message.role)?;
    messages(group, rows, |message| &message.content)?;
    text(group, rows, |row| row.ability)?;
    text(group, rows, |row| row.style)?;
    text(group, rows, |row| &row.ground_truth)?;
    text(group, rows, |row| row.split)?;
    let index: Vec<i64> = rows.iter().map(|row| row.index).collect();
    if let Some(mut column) = group.next_column()? {
        column.typed::<Int64Type>().write_batch(&index, None, None)?;
        column.close()?;
    }
    text(group, rows, |row| &row.id)?;
    text(group, rows, |row| &row.policy)?;
    text(group, rows, |row| &row.conversation)
}

fn text(group: &mut Group, rows: &[VerlRow], field: impl Fn(&VerlRow) -> &str) -> Result<(), ParquetError> {
    strings(group, rows.iter().map(field), None)
}

/// A field of the messages: each is there (definition level 1), and all but a row's first continue its list (repetition
/// level 1).
fn messages(group: &mut Group, rows: &[VerlRow], field: impl Fn(&ChatMessage) -> &str) -> Result<(), ParquetError> {
    let repetition: Vec<i16> =
        rows.iter().flat_map(|row| (0..row.prompt.len()).map(|place| i16::from(place > 0))).collect();
    let definition = vec![1; repetition.len()];
    strings(group, rows.iter().flat_map(|row| &row.prompt).map(field), Some((&definition, &repetition)))
}

fn strings<'a>(
    group: &mut Group,
    values: impl Iterator<Item = &'a str>,
    levels: Option<(&[i16], &[i16])>,
) -> Result<(), ParquetError> {
    let values: Vec<ByteArray> = values.map(ByteArray::from).collect();
    let (definition, repetition) = levels.unzip();
    if let Some(mut column) = group.next_column()? {
        column.typed::<ByteArrayType>().write_batch(&values, definition, repetition)?;
        column.close()?;
    }
    Ok(())
}
