//! Reads an archive folder as anybody with a Parquet reader would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Map, Value, json};

/// One row of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchiveRow {
    /// The object, relative to the archive's folder.
    pub object: PathBuf,
    /// Column name to value. Binary is text if it is UTF-8, and else an array of bytes; times are
    /// the numbers as stored.
    pub row: Map<String, Value>,
}

/// All rows of all `.parquet` objects below `folder`, in the order of the objects' names and then
/// of the rows. Reads them whole, so an object that was cut short fails the test.
#[track_caller]
pub fn parquet_rows(folder: &Path) -> Vec<ArchiveRow> {
    let mut rows = Vec::new();
    for file in objects(folder) {
        let object = file.strip_prefix(folder).unwrap().to_path_buf();
        let fail = |e: parquet::errors::ParquetError| -> ! { panic!("{}: {e}", file.display()) };
        let reader = SerializedFileReader::new(File::open(&file).unwrap());
        let reader = reader.unwrap_or_else(|e| fail(e));
        for row in reader.get_row_iter(None).unwrap_or_else(|e| fail(e)) {
            let row = object_of(&row.unwrap_or_else(|e| fail(e)));
            rows.push(ArchiveRow { object: object.clone(), row });
        }
    }
    rows
}

/// The `.parquet` files below a folder, by name.
pub fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn object_of(row: &Row) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(b) => json!(b),
        Field::Byte(n) => json!(n),
        Field::Short(n) => json!(n),
        Field::Int(n) | Field::Date(n) | Field::TimeMillis(n) => json!(n),
        Field::Long(n)
        | Field::TimeMicros(n)
        | Field::TimestampMillis(n)
        | Field::TimestampMicros(n) => json!(n),
        Field::UByte(n) => json!(n),
        Field::UShort(n) => json!(n),
        Field::UInt(n) => json!(n),
        Field::ULong(n) => json!(n),
        Field::Float16(x) => json!(f32::from(*x)),
        Field::Float(x) => json!(x),
        Field::Double(x) => json!(x),
        Field::Decimal(_) => json!(field.to_string()),
        Field::Str(s) => json!(s),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => json!(text),
            Err(_) => json!(bytes.data()),
        },
        Field::Group(row) => Value::Object(object_of(row)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let text = |key: &Field| match value(key) {
                Value::String(s) => s,
                other => other.to_string(),
            };
            Value::Object(map.entries().iter().map(|(k, v)| (text(k), value(v))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn write(file: &Path, seq: i64) {
        let columns: [(&str, ArrayRef); 4] = [
            ("seq", Arc::new(Int64Array::from(vec![seq, seq + 1]))),
            ("site", Arc::new(StringArray::from(vec![Some("a"), None]))),
            ("v", Arc::new(Float64Array::from(vec![1.5, -2.0]))),
            ("raw", Arc::new(BinaryArray::from(vec![&b"text"[..], &b"\xff\x00"[..]]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)));
        let batch = batch.unwrap();
        let mut writer = ArrowWriter::try_new(File::create(file).unwrap(), batch.schema(), None);
        let writer = writer.as_mut().unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn rows_of_all_objects_in_order() {
        let folder = crate::temp_dir("archive");
        fs::create_dir(folder.path().join("t")).unwrap();
        write(&folder.path().join("t/t-0-2.parquet"), 2);
        write(&folder.path().join("t/t-0-0.parquet"), 0);
        fs::write(folder.path().join("t/t-0-0.json"), "{}").unwrap();
        let rows = parquet_rows(folder.path());
        let seqs: Vec<&Value> = rows.iter().map(|r| &r.row["seq"]).collect();
        assert_eq!(seqs, [0, 1, 2, 3]);
        assert_eq!(rows[0].object, Path::new("t/t-0-0.parquet"));
        let first = json!({"seq": 0, "site": "a", "v": 1.5, "raw": "text"});
        assert_eq!(Value::Object(rows[0].row.clone()), first);
        let second = json!({"seq": 1, "site": null, "v": -2.0, "raw": [255, 0]});
        assert_eq!(Value::Object(rows[1].row.clone()), second);
    }

    #[test]
    #[should_panic(expected = "t-0-0.parquet")]
    fn a_cut_object_fails() {
        let folder = crate::temp_dir("archive");
        let file = folder.path().join("t-0-0.parquet");
        write(&file, 0);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
        parquet_rows(folder.path());
    }
}
