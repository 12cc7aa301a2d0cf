//! Building a virtual table's batch: rows are pushed as (column name, value) pairs, what a row leaves out is NULL
//! where the column may be NULL and zero, false or the empty string elsewhere.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use weir_common::change::record_batch;
use weir_common::{Column, Error, ObjectId, Result, SqlType};

/// A value on its way into a column; the column's type says what it becomes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Integers, OIDs and timestamps (microseconds).
    Int(i64),
    Float(f64),
    Text(Cow<'static, str>),
    List(Vec<Value>),
}

/// The rows of a virtual table, so far.
pub(crate) struct Rows<'a> {
    columns: &'a [Column],
    positions: HashMap<&'a str, usize>,
    blank: Vec<Value>,
    values: Vec<Vec<Value>>,
    unknown_column: Option<String>,
}

impl<'a> Rows<'a> {
    /// No rows of these columns.
    pub(crate) fn new(columns: &'a [Column]) -> Rows<'a> {
        Rows {
            columns,
            positions: columns.iter().enumerate().map(|(i, c)| (c.name.as_str(), i)).collect(),
            blank: columns.iter().map(blank).collect(),
            values: columns.iter().map(|_| Vec::new()).collect(),
            unknown_column: None,
        }
    }

    /// Adds a row.
    pub(crate) fn push<const N: usize>(&mut self, row: [(&str, Value); N]) {
        self.push_all(row);
    }

    fn push_all<'b>(&mut self, row: impl IntoIterator<Item = (&'b str, Value)>) {
        for (values, blank) in self.values.iter_mut().zip(&self.blank) {
            values.push(blank.clone());
        }
        for (name, value) in row {
            match self.positions.get(name) {
                Some(position) => *self.values[*position].last_mut().expect("a row was just added") = value,
                None => self.unknown_column = Some(name.to_owned()),
            }
        }
    }

    /// Adds the rows of a table of tab-separated text whose first line names the columns, each row followed by
    /// `constants`.
    pub(crate) fn push_tsv(&mut self, text: &'static str, constants: &[(&str, Value)]) {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        for line in lines {
            let cells = names.iter().zip(line.split('\t')).map(|(name, cell)| {
                let ty = self.positions.get(name).map_or(&SqlType::Text, |i| &self.columns[*i].ty);
                (*name, parse(ty, cell))
            });
            let row: Vec<(&str, Value)> = cells.chain(constants.iter().cloned()).collect();
            self.push_all(row);
        }
    }

    /// The batch.
    pub(crate) fn finish(self) -> Result<RecordBatch> {
        if let Some(name) = self.unknown_column {
            return Err(Error::internal(format!("a virtual table has no column \"{name}\"")));
        }
        let rows = self.values.first().map_or(0, Vec::len);
        let fields: Vec<Field> =
            self.columns.iter().map(|c| Field::new(&c.name, c.ty.arrow(), true)).collect();
        let arrays: Result<Vec<ArrayRef>> = self
            .columns
            .iter()
            .zip(&self.values)
            .map(|(column, values)| array_of(&column.ty.arrow(), values))
            .collect();
        record_batch(Arc::new(Schema::new(fields)), arrays?, rows)
    }
}

/// What a row has in a column it says nothing of.
fn blank(column: &Column) -> Value {
    match &column.ty {
        _ if column.nullable => Value::Null,
        SqlType::Bool => Value::Bool(false),
        SqlType::Float4 | SqlType::Float8 => Value::Float(0.0),
        SqlType::Array(_) | SqlType::Int2Vector | SqlType::OidVector => Value::List(Vec::new()),
        ty if is_text(ty) => Value::Text(Cow::Borrowed("")),
        SqlType::Bytea | SqlType::Interval | SqlType::Numeric(_) => Value::Null,
        _ => Value::Int(0),
    }
}

fn is_text(ty: &SqlType) -> bool {
    ty.arrow() == DataType::Utf8
}

/// A cell of a `.tsv` file: `t` and `f`, numbers, space-separated vectors, text.
fn parse(ty: &SqlType, cell: &'static str) -> Value {
    match ty {
        SqlType::Bool => Value::Bool(cell == "t"),
        SqlType::Float4 | SqlType::Float8 => cell.parse().map_or(Value::Null, Value::Float),
        SqlType::Int2Vector | SqlType::OidVector => {
            Value::List(cell.split(' ').filter_map(|n| n.parse().ok().map(Value::Int)).collect())
        }
        ty if is_text(ty) => Value::Text(Cow::Borrowed(cell)),
        _ => cell.parse().map_or(Value::Null, Value::Int),
    }
}

/// An array of this Arrow type; a value that is not of the type is a defect.
pub(crate) fn array_of(ty: &DataType, values: &[Value]) -> Result<ArrayRef> {
    Ok(match ty {
        DataType::Boolean => Arc::new(collect::<_, BooleanArray>(ty, values, as_bool)?),
        DataType::Int16 => {
            Arc::new(collect::<_, Int16Array>(ty, values, |v| i16::try_from(as_int(v)?).ok())?)
        }
        DataType::Int32 => {
            Arc::new(collect::<_, Int32Array>(ty, values, |v| i32::try_from(as_int(v)?).ok())?)
        }
        DataType::Int64 => Arc::new(collect::<_, Int64Array>(ty, values, as_int)?),
        DataType::Float32 => Arc::new(collect::<_, Float32Array>(ty, values, |v| Some(as_float(v)? as f32))?),
        DataType::Float64 => Arc::new(collect::<_, Float64Array>(ty, values, as_float)?),
        DataType::Utf8 => Arc::new(collect::<_, StringArray>(ty, values, as_text)?),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let array = collect::<_, TimestampMicrosecondArray>(ty, values, as_int)?;
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::List(field) => Arc::new(list_of(field, values)?),
        other if values.iter().all(|v| *v == Value::Null) => new_null_array(other, values.len()),
        other => return Err(Error::internal(format!("a virtual table has values of type {other}"))),
    })
}

fn collect<'v, T, A: FromIterator<Option<T>>>(
    ty: &DataType,
    values: &'v [Value],
    read: impl Fn(&'v Value) -> Option<T>,
) -> Result<A> {
    let wrong = |value| Error::internal(format!("a virtual table has {value:?} in a column of type {ty}"));
    values
        .iter()
        .map(|value| match value {
            Value::Null => Ok(None),
            value => read(value).map(Some).ok_or_else(|| wrong(value)),
        })
        .collect()
}

fn list_of(field: &Arc<Field>, values: &[Value]) -> Result<ListArray> {
    let mut elements = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    for value in values {
        let before = elements.len();
        match value {
            Value::Null => {}
            Value::List(list) => elements.extend_from_slice(list),
            other => {
                return Err(Error::internal(format!("a virtual table has {other:?} in an array column")));
            }
        }
        lengths.push(elements.len() - before);
    }
    let nulls: NullBuffer = values.iter().map(|value| *value != Value::Null).collect();
    let elements = array_of(field.data_type(), &elements)?;
    debug_assert_eq!(elements.len(), lengths.iter().sum::<usize>());
    ListArray::try_new(field.clone(), OffsetBuffer::from_lengths(lengths), elements, Some(nulls))
        .map_err(Error::internal)
}

fn as_bool(value: &Value) -> Option<bool> {
    if let Value::Bool(b) = value { Some(*b) } else { None }
}

fn as_int(value: &Value) -> Option<i64> {
    if let Value::Int(i) = value { Some(*i) } else { None }
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(f) => Some(*f),
        Value::Int(i) => Some(*i as f64),
        _ => None,
    }
}

fn as_text(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

macro_rules! from_integer {
    ($($ty:ty),*) => {
        $(impl From<$ty> for Value {
            fn from(value: $ty) -> Value {
                Value::Int(i64::from(value))
            }
        })*
    };
}

from_integer!(i16, i32, i64, u16, u32);

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::from(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<ObjectId> for Value {
    fn from(id: ObjectId) -> Value {
        Value::from(id.0)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(Cow::Owned(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        Value::from(text.as_str())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(Cow::Owned(text))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}
