//! Rows of a Parquet file: its columns become the keys that a JSON line has.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::row::{Record, Records, too_long};
use crate::error::{Error, Result};

/// Columns that are JSON where they hold text: not every writer nests.
const NESTED: [&str; 5] = ["messages", "categories", "touches", "quotes", "policy"];

/// The rows of a file, a page of each column in memory.
///
/// # Errors
/// [`Error::BadInput`] for what is no Parquet file, and for one without texts to judge.
pub fn rows(file: File, path: &Path, columns: &[&str], max: usize) -> Result<Records> {
    let name = path.display().to_string();
    let failed = {
        let name = name.clone();
        move |error: ParquetError| Error::BadInput(format!("{name}: cannot be read as a Parquet file: {error}"))
    };
    let size = file.metadata().map_err(Error::io(path))?.len();
    let reader = SerializedFileReader::new(file).map_err(&failed)?;
    let metadata = reader.metadata().file_metadata();
    let rows = metadata.num_rows().max(1) as u64;
    let columns = known(metadata.schema(), columns, &name)?;
    let reader = RowIter::from_file_into(Box::new(reader)).project(Some(columns)).map_err(&failed)?;
    let records = reader.zip(1_u64..).map(move |(row, line)| {
        // Rows say nothing of where they stand in the file.
        let read = (u128::from(size) * u128::from(line.min(rows)) / u128::from(rows)) as u64;
        let (json, wrong) = object(row.map_err(&failed)?, max)?;
        Ok(Record { line, json, wrong, read })
    });
    Ok(Records(Box::new(records)))
}

/// The schema without the columns that are not looked at.
fn known(schema: &Type, columns: &[&str], name: &str) -> Result<Type> {
    let all = schema.get_fields();
    let known: Vec<Arc<Type>> = all.iter().filter(|column| columns.contains(&column.name())).cloned().collect();
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

/// A row as an object, and what is wrong with it.
fn object(row: Row, max: usize) -> Result<(Vec<u8>, Option<String>)> {
    let mut keys: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
    let mut wrong = None;
    for (column, field) in row.into_columns() {
        match value(&column, field) {
            Ok(Some(value)) => drop(keys.insert(column, value)),
            Ok(None) => {}
            Err(what) => wrong = Some(format!("column `{column}`: {what}")),
        }
    }
    let json = serde_json::to_vec(&keys).map_err(|error| Error::BadInput(error.to_string()))?;
    if json.len() > max {
        return Ok((Vec::new(), Some(too_long(max))));
    }
    Ok((json, wrong))
}

/// A field as JSON; `None` for one that is null.
fn value(column: &str, field: Field) -> Result<Option<Box<RawValue>>, String> {
    let json = match nested(field)? {
        Value::Null => return Ok(None),
        Value::String(text) if NESTED.contains(&column) => RawValue::from_string(text),
        value => to_raw_value(&value),
    };
    json.map(Some).map_err(|error| format!("expected JSON text: {error}"))
}

fn nested(field: Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        // Some writers do not say that their bytes are text.
        Field::Bytes(bytes) => {
            String::from_utf8(bytes.data().to_vec()).map_err(|_| "expected UTF-8".to_owned())?.into()
        }
        Field::Str(text) => text.into(),
        Field::Int(number) => number.into(),
        Field::Long(number) => number.into(),
        Field::UInt(number) => number.into(),
        Field::ULong(number) => number.into(),
        Field::ListInternal(list) => list.elements().iter().cloned().map(nested).collect::<Result<_, _>>()?,
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            Value::Object(fields.map(|(name, field)| Ok((name, nested(field)?))).collect::<Result<_, String>>()?)
        }
        other => other.to_string().into(),
    })
}
