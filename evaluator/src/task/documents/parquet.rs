//! Documents in Parquet files, as `datasets` gives them: one for each row, with fields in the order of the columns.

mod footer;

use self::footer::levels;
use super::{DocumentRow, row, unpack::LARGEST};
use crate::contained::catch_panic;
use merge_core::{
    error::{Error, Result},
    file,
    yaml::known_names,
};
use parquet::{
    basic::{Compression, ConvertedType, LogicalType, Type as Physical},
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData},
        reader::{FileReader as _, SerializedFileReader},
    },
    record::Field,
    schema::types::Type,
};
use serde_json::{Map, Number, Value};
use std::{fs::File, path::Path, sync::Arc};

/// Least bytes of memory that a document takes beside its fields.
const OBJECT: usize = 512;
/// Most levels of nested columns: the library recurses without limit.
const DEEPEST: usize = 100;

/// Appends the documents of a file to `rows`, with all columns or only those that are named.
///
/// Fails for columns of types that JSON lacks: bytes, dates and times, decimals, maps.
pub(super) fn read(path: &Path, columns: Option<&[String]>, rows: &mut Vec<DocumentRow>) -> Result<()> {
    let mut file = file::open_itself(path).map_err(|e| Error::io("open", path, &e))?;
    let levels = levels(&mut file).map_err(|e| Error::io("read", path, &e))?;
    let levels = levels.ok_or_else(|| damaged(&"it has no valid footer").at(path.display()))?;
    if levels > DEEPEST {
        let message = format!("{}: its columns nest more than {DEEPEST} levels deep", path.display());
        return Err(Error::user(message).hint("save it again with columns that hold less in each other"));
    }
    // The library panics on some damaged files.
    let done = catch_panic(|| {
        let reader = SerializedFileReader::new(file).map_err(|e| damaged(&e))?;
        all(&reader, columns, &path.display().to_string(), rows)
    });
    done.map_err(|e| damaged(&e)).and_then(|read| read).map_err(|e| e.at(path.display()))
}

fn all(
    reader: &SerializedFileReader<File>,
    columns: Option<&[String]>,
    file: &str,
    rows: &mut Vec<DocumentRow>,
) -> Result<()> {
    let metadata = reader.metadata();
    let schema = chosen(metadata.file_metadata().schema(), columns)?;
    schema.get_fields().iter().try_for_each(|field| check(field, field.name()))?;
    compression(metadata)?;
    lengths(metadata)?;
    let mut room = LARGEST;
    for (i, fields) in reader.get_row_iter(Some(schema)).map_err(|e| damaged(&e))?.enumerate() {
        let at = |e: Error| e.at(format_args!("row {}", i + 1));
        let fields = fields.map_err(|e| at(damaged(&e)))?;
        let doc = object(fields.into_columns(), &mut room).map_err(at)?;
        rows.push(row(doc, format!("{file}: row {}", i + 1))?);
    }
    Ok(())
}

fn damaged(why: &impl ToString) -> Error {
    Error::user(format!("not a Parquet file, or a damaged one: {}", why.to_string()))
        .hint("download it again, or save it again")
}

/// The schema of the columns that are read.
fn chosen(schema: &Type, columns: Option<&[String]>) -> Result<Type> {
    let known = schema.get_fields();
    let field = |name: &String| {
        known.iter().find(|field| field.name() == name).cloned().ok_or_else(|| {
            let names = known.iter().map(|field| field.name());
            Error::user(format!("there is no column `{name}`")).hint(known_names(name, "it has", names))
        })
    };
    let fields = columns.map_or_else(|| Ok(known.to_vec()), |names| names.iter().map(field).collect())?;
    Type::group_type_builder(schema.name()).with_fields(fields).build().map_err(|e| damaged(&e))
}

/// Refuses a column of a type that JSON lacks.
fn check(field: &Arc<Type>, name: &str) -> Result<()> {
    use ConvertedType::{
        DATE, DECIMAL, ENUM, JSON, MAP, MAP_KEY_VALUE, TIME_MICROS, TIME_MILLIS, TIMESTAMP_MICROS, TIMESTAMP_MILLIS,
        UTF8,
    };
    use LogicalType::{Date, Float16, Time, Timestamp};
    let info = field.get_basic_info();
    let (converted, logical) = (info.converted_type(), info.logical_type_ref());
    let is_map = matches!(converted, MAP | MAP_KEY_VALUE);
    if field.is_group() && !is_map {
        return field.get_fields().iter().try_for_each(|field| check(field, name));
    }
    let physical = if is_map { None } else { Some(field.get_physical_type()) };
    let is_time = matches!(logical, Some(Date | Time { .. } | Timestamp { .. }))
        || matches!(converted, DATE | TIME_MILLIS | TIME_MICROS | TIMESTAMP_MILLIS | TIMESTAMP_MICROS)
        || physical == Some(Physical::INT96);
    let is_plain = matches!(converted, UTF8 | ENUM | JSON) || matches!(logical, Some(Float16));
    let what = match physical {
        None => "a map",
        Some(_) if converted == DECIMAL => "decimal numbers",
        Some(_) if is_time => "dates or times",
        Some(Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY) if !is_plain => "bytes",
        Some(_) => return Ok(()),
    };
    Err(Error::user(format!("the column `{name}` holds {what}, which cannot be read as JSON"))
        .hint("name the columns that are asked, as in `dataset_kwargs: {columns: [question, answer]}`"))
}

/// Refuses compressions that only C libraries unpack, before anything is unpacked.
fn compression(metadata: &ParquetMetaData) -> Result<()> {
    let all = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let unknown = all.map(ColumnChunkMetaData::compression).find(|how| {
        !matches!(
            how,
            Compression::UNCOMPRESSED
                | Compression::SNAPPY
                | Compression::GZIP(_)
                | Compression::LZ4
                | Compression::LZ4_RAW
        )
    });
    unknown.map_or(Ok(()), |how| {
        let how = how.to_string();
        let how = how.split('(').next().unwrap_or_default();
        Err(Error::user(format!("it is compressed by {how}, which is not read here"))
            .hint("save it again with `compression=\"snappy\"`, which is the default of pandas and pyarrow"))
    })
}

/// Refuses columns that are shorter than their rows: the library would loop forever.
fn lengths(metadata: &ParquetMetaData) -> Result<()> {
    let fit = metadata.row_groups().iter().all(|group| {
        let rows = group.num_rows();
        rows >= 0 && group.columns().iter().all(|column| column.num_values() >= rows)
    });
    if fit { Ok(()) } else { Err(damaged(&"its columns have fewer values than it has rows")) }
}

fn object(columns: Vec<(String, Field)>, room: &mut usize) -> Result<Value> {
    let mut fields = Map::new();
    take(room, OBJECT)?;
    for (name, field) in columns {
        take(room, name.len())?;
        let value = value(field, room).map_err(|e| e.at(format_args!("column `{name}`")))?;
        fields.insert(name, value);
    }
    Ok(Value::Object(fields))
}

fn value(field: Field, room: &mut usize) -> Result<Value> {
    take(room, size_of::<Value>())?;
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => flag.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float16(x) => float(x.into())?,
        Field::Float(x) => float(x.into())?,
        Field::Double(x) => float(x)?,
        Field::Str(text) => {
            take(room, text.len())?;
            text.into()
        }
        Field::Group(row) => object(row.into_columns(), room)?,
        Field::ListInternal(list) => {
            list.elements().iter().map(|one| value(one.clone(), room)).collect::<Result<Value>>()?
        }
        other => return Err(Error::user(format!("{other} cannot be read as JSON"))),
    })
}

fn float(x: f64) -> Result<Value> {
    let number = Number::from_f64(x).map(Value::Number);
    number.ok_or_else(|| Error::user(format!("{x} cannot be written in JSON")).hint("save it with nulls instead"))
}

/// Takes bytes from `room`. A small file can need much: it stores a value once and repeats its index.
fn take(room: &mut usize, bytes: usize) -> Result<()> {
    *room = room.checked_sub(bytes).ok_or_else(super::unpack::too_large)?;
    Ok(())
}
