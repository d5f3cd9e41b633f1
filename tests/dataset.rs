//! Reading labelled rows: what a file may look like, and what is said about one that does not.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rsafe::data::rows::{Label, Row, Rows, labelled_rows, set_name};
use rsafe::{Conversation, Target};

const PROMPT: &str = r#"{"id":"a-1","source":"a","level":"prompt","prompt":"how to pick a lock","response":null,"label":"unsafe","categories":["theft"],"lang":"en","split":"train"}"#;
const RESPONSE: &str =
    r#"{"id":"a-2","source":"a","level":"response","prompt":"hello","response":"good day","label":"safe"}"#;

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Both rows as a table: `categories` a list where `nested`, else JSON text.
fn table(nested: bool) -> Vec<u8> {
    let categories = match nested {
        true => "OPTIONAL group categories (LIST) { REPEATED group list { REQUIRED BYTE_ARRAY element (STRING); } }",
        false => "OPTIONAL BYTE_ARRAY categories (STRING);",
    };
    let schema = format!(
        "message rows {{ REQUIRED BYTE_ARRAY id (STRING); REQUIRED BYTE_ARRAY source; REQUIRED BYTE_ARRAY level (STRING);
         REQUIRED INT64 votes; REQUIRED BYTE_ARRAY prompt (STRING); OPTIONAL BYTE_ARRAY response (STRING);
         REQUIRED BYTE_ARRAY label (STRING); {categories} OPTIONAL BYTE_ARRAY lang; OPTIONAL BYTE_ARRAY split; }}"
    );
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let theft = if nested { "theft" } else { r#"["theft"]"# };
    // A column's values, and how deep they are there where some row has none.
    let columns: [(&[&str], Option<&[i16]>); 10] = [
        (&["a-1", "a-2"], None),
        (&["a", "a"], None),
        (&["prompt", "response"], None),
        (&[], None),
        (&["how to pick a lock", "hello"], None),
        (&["good day"], Some(&[0, 1])),
        (&["unsafe", "safe"], None),
        (&[theft], Some(if nested { &[2, 0] } else { &[1, 0] })),
        (&["en"], Some(&[1, 0])),
        (&["train"], Some(&[1, 0])),
    ];
    for (at, (values, levels)) in columns.into_iter().enumerate() {
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = values.iter().map(|value| ByteArray::from(value.as_bytes().to_vec())).collect();
        match at {
            3 => column.typed::<parquet::data_type::Int64Type>().write_batch(&[7, 8], None, None).map(drop),
            7 if nested => column.typed::<ByteArrayType>().write_batch(&values, levels, Some(&[0, 0])).map(drop),
            _ => column.typed::<ByteArrayType>().write_batch(&values, levels, None).map(drop),
        }
        .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn every_format_gives_the_same_rows() {
    let text = format!("{PROMPT}\n\n{RESPONSE}");
    let read = |name: &str, bytes: &[u8]| -> Vec<Row> {
        let (_dir, path) = file(name, bytes);
        assert_eq!(set_name(&path), "rows", "{name}");
        Rows::open(path).unwrap().map(Result::unwrap).collect()
    };
    let plain = read("rows.jsonl", text.as_bytes());
    assert_eq!(plain, read("rows.jsonl.gz", &gzip(&text)));
    assert_eq!(plain, read("rows.jsonl.zst", &zstd::encode_all(text.as_bytes(), 1).unwrap()));
    assert_eq!(plain, read("rows.parquet", &table(true)));
    assert_eq!(plain, read("rows.parquet", &table(false)));
    assert_eq!(plain.len(), 2);
    assert_eq!((plain[0].label, plain[0].level), (Label::Unsafe, Target::Prompt));
    assert_eq!(plain[0].conversation(), Conversation::prompt("how to pick a lock"));
    assert_eq!(plain[1].conversation(), Conversation::response("hello", "good day"));
}

#[test]
fn a_row_that_names_no_source_belongs_to_its_file() {
    assert_eq!(set_name(Path::new("dev/toxicchat_test.jsonl.gz")), "toxicchat_test");
    let (_dir, path) = file("house.jsonl", format!("{PROMPT}\n{}", PROMPT.replace(r#""source":"a","#, "")).as_bytes());
    let sources: Vec<String> = Rows::open(path).unwrap().map(|row| row.unwrap().source).collect();
    assert_eq!(sources, ["a", "house"]);
}

#[test]
fn gzip_files_of_several_members_are_read_to_the_end() {
    let bytes = [gzip(&format!("{PROMPT}\n")), gzip(&format!("{RESPONSE}\n"))].concat();
    let (_dir, path) = file("rows.jsonl.gz", &bytes);
    assert_eq!(Rows::open(path).unwrap().map(Result::unwrap).count(), 2);
}

#[test]
fn a_bad_line_names_its_file_and_number_and_the_rest_goes_on() {
    let (_dir, path) = file("rows.jsonl", format!("{PROMPT}\n{{\"id\": 3}}\n{RESPONSE}\n").as_bytes());
    let rows: Vec<_> = Rows::open(path).unwrap().collect();
    assert_eq!(rows.len(), 3);
    let message = rows[1].as_ref().unwrap_err().to_string();
    assert!(message.contains("rows.jsonl, line 2"), "{message}");
    assert!(rows[2].is_ok());
}

#[test]
fn a_response_row_without_a_response_is_an_error() {
    let (_dir, path) = file("rows.jsonl", br#"{"id":"x","level":"response","prompt":"hi","label":"safe"}"#);
    let message = Rows::open(path).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(message.contains("line 1") && message.contains("response"), "{message}");
}

#[test]
fn a_torn_gzip_file_ends_with_one_error() {
    let whole = gzip(&format!("{PROMPT}\n").repeat(500));
    let (_dir, path) = file("rows.jsonl.gz", &whole[..whole.len() / 2]);
    let failures = Rows::open(path).unwrap().filter(|row| row.is_err()).count();
    assert_eq!(failures, 1);
}

#[test]
fn a_folder_holds_the_rows_of_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("a.jsonl", PROMPT.as_bytes());
    write("b.jsonl.zst", &zstd::encode_all(RESPONSE.as_bytes(), 1).unwrap());
    write("c.parquet", &table(true));
    write("d.jsonl.gz", &gzip(PROMPT));
    write("notes.md", b"no rows");
    let ids: Vec<String> = labelled_rows(&[dir.path()]).unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(ids, ["a-1", "a-2", "a-1", "a-2", "a-1"]);
}

#[test]
fn a_row_over_the_bound_is_an_error_and_the_rest_goes_on() {
    let long = format!("{}\n{RESPONSE}", " ".repeat((16 << 20) + 1));
    let (_dir, path) = file("rows.jsonl", long.as_bytes());
    let rows: Vec<_> = Rows::open(path).unwrap().collect();
    let message = rows[0].as_ref().unwrap_err().to_string();
    assert!(message.contains("line 1") && message.contains("at most 16777216 bytes"), "{message}");
    assert!(rows.len() == 2 && rows[1].is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let Err(error) = Rows::open("no-such-rows.jsonl") else { panic!("opened a file that does not exist") };
    assert!(error.to_string().contains("no-such-rows.jsonl"));
}

#[test]
fn held_out_rows_depend_on_the_id_alone_and_grow_with_the_fraction() {
    let (_dir, path) = file("rows.jsonl", PROMPT.as_bytes());
    let row = Rows::open(path).unwrap().next().unwrap().unwrap();
    let rows: Vec<Row> = (0..4000).map(|number| Row { id: format!("row-{number}"), ..row.clone() }).collect();
    let share = |fraction: f64| rows.iter().filter(|row| row.is_held_out(fraction)).count() as f64 / rows.len() as f64;
    assert_eq!(share(0.0), 0.0);
    assert_eq!(share(1.0), 1.0);
    assert!((share(0.03) - 0.03).abs() < 0.01, "{}", share(0.03));
    assert!(rows.iter().all(|row| !row.is_held_out(0.03) || row.is_held_out(0.1)));
    let changed = Row { prompt: "another".into(), ..rows[0].clone() };
    assert_eq!(changed.is_held_out(0.5), rows[0].is_held_out(0.5));
}
