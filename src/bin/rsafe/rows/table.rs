//! Rows of a Parquet file: its columns become the keys that a JSON line has, and are read as one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use rsafe::{Error, Result, Target};
use serde_json::value::{RawValue, to_raw_value};

use super::entry::{Entries, Entry};
use crate::input::{self, BadRow, Place};

/// The columns that are looked at.
const COLUMNS: [&str; 5] = ["id", "prompt", "response", "messages", "level"];

/// The rows of a file, a page of each column in memory; `before` bytes of input are before it.
///
/// # Errors
/// [`Error::BadInput`] for what is no Parquet file, and for columns that are missing or nested.
pub fn entries(file: File, path: &Path, before: u64, target: Option<Target>) -> Result<Entries> {
    let name = path.display().to_string();
    let failed = {
        let name = name.clone();
        move |error: ParquetError| Error::BadInput(format!("{name}: cannot be read as a Parquet file: {error}"))
    };
    let size = file.metadata().map_err(Error::io(path))?.len();
    let reader = SerializedFileReader::new(file).map_err(&failed)?;
    let metadata = reader.metadata().file_metadata();
    let rows = metadata.num_rows().max(1) as u64;
    let columns = columns(metadata.schema(), &name)?;
    let reader = RowIter::from_file_into(Box::new(reader)).project(Some(columns)).map_err(&failed)?;
    let entries = reader.zip(1_u64..).map(move |(row, line)| {
        let (size_of_row, row) = parsed(row.map_err(&failed)?, target);
        // Rows say nothing of where they stand in the file.
        let read = before + (u128::from(size) * u128::from(line.min(rows)) / u128::from(rows)) as u64;
        Ok(Entry { place: Place { file: Some(name.clone()), line }, row, size: size_of_row, read })
    });
    Ok(Box::new(entries))
}

/// The schema without the columns that are not looked at.
fn columns(schema: &Type, name: &str) -> Result<Type> {
    let all = schema.get_fields();
    let known: Vec<Arc<Type>> = all.iter().filter(|column| COLUMNS.contains(&column.name())).cloned().collect();
    if let Some(nested) = known.iter().find(|column| !column.is_primitive()) {
        let column = nested.name();
        return Err(Error::BadInput(format!(
            "{name}: expected a column `{column}` of text, found a nested one; write it as JSON text"
        )));
    }
    if !known.iter().any(|column| matches!(column.name(), "prompt" | "messages")) {
        let found: Vec<&str> = all.iter().map(|column| column.name()).collect();
        return Err(Error::BadInput(format!(
            "{name}: expected a column `prompt` or `messages`, found {}",
            found.join(", ")
        )));
    }
    Type::group_type_builder(schema.name())
        .with_fields(known)
        .build()
        .map_err(|error| Error::BadInput(format!("{name}: {error}")))
}

/// The size of a row in bytes, and the row.
fn parsed(row: Row, target: Option<Target>) -> (usize, Result<input::Row, BadRow>) {
    let mut keys: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
    let mut wrong = None;
    for (column, field) in row.into_columns() {
        match value(&column, field) {
            Ok(Some(value)) => drop(keys.insert(column, value)),
            Ok(None) => {}
            Err(what) => wrong = Some(format!("column `{column}`: {what}")),
        }
    }
    let line = match (wrong, serde_json::to_string(&keys)) {
        (None, Ok(line)) => line,
        (Some(what), _) => return (0, Err(BadRow { id: keys.remove("id"), error: Error::BadInput(what) })),
        (None, Err(error)) => return (0, Err(BadRow { id: None, error: Error::BadInput(error.to_string()) })),
    };
    if line.len() > input::MAX_BYTES {
        return (0, Err(input::too_long()));
    }
    (line.len(), input::parse_object(&line, target))
}

/// A field as JSON; `None` for one that is null.
fn value(column: &str, field: Field) -> Result<Option<Box<RawValue>>, String> {
    let text = match field {
        Field::Null => return Ok(None),
        // Some writers do not say that their bytes are text.
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).map_err(|_| "expected UTF-8".to_owned())?,
        Field::Str(text) => text,
        number @ (Field::Int(_) | Field::Long(_) | Field::UInt(_) | Field::ULong(_)) => {
            return RawValue::from_string(number.to_string()).map(Some).map_err(|error| error.to_string());
        }
        other => other.to_string(),
    };
    let json = if column == "messages" { RawValue::from_string(text) } else { to_raw_value(&text) };
    json.map(Some).map_err(|error| format!("expected JSON text: {error}"))
}
