//! `Rejected`: a row that a job leaves out under its ON ERROR policy, as the table of dead letters gets it.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, TimeUnit};
use weir_common::text::json::write_string;
use weir_common::types::NumericType;
use weir_common::{Error, ObjectId, Result, SqlType};

use crate::functions::json_build::JsonWriter;

/// A row that was left out, and why.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The table that gets it.
    pub target: ObjectId,
    /// What it is a row of, where that is one relation.
    pub relation: Option<ObjectId>,
    pub error: Error,
    /// A JSON object.
    pub row: String,
}

/// Writes rows as JSON objects.
pub struct RowWriter {
    columns: Vec<(String, JsonWriter)>,
}

impl RowWriter {
    /// For columns of these names and types.
    pub fn new(names: &[String], types: &[DataType]) -> Result<RowWriter> {
        if names.len() != types.len() {
            return Err(Error::internal("names and types of a row differ in number"));
        }
        let column = |(name, ty): (&String, &DataType)| (name.clone(), JsonWriter::new(&sql_type(ty)));
        Ok(RowWriter { columns: names.iter().zip(types).map(column).collect() })
    }

    /// One row.
    pub fn json(&self, rows: &RecordBatch, row: usize) -> String {
        let mut json = String::from("{");
        for (i, (name, writer)) in self.columns.iter().enumerate() {
            json.push_str(if i > 0 { ", " } else { "" });
            write_string(name, &mut json);
            json.push_str(": ");
            writer.write(rows.column(i).as_ref(), row, &mut json);
        }
        json.push('}');
        json
    }
}

/// A type whose values are stored as this; text for all that are stored as text.
fn sql_type(ty: &DataType) -> SqlType {
    match ty {
        DataType::Boolean => SqlType::Bool,
        DataType::Int16 => SqlType::Int2,
        DataType::Int32 => SqlType::Int4,
        DataType::Int64 => SqlType::Int8,
        DataType::Float32 => SqlType::Float4,
        DataType::Float64 => SqlType::Float8,
        DataType::Decimal128(_, scale) => SqlType::Numeric(NumericType::fixed(38, *scale)),
        DataType::Date32 => SqlType::Date,
        DataType::Time64(_) => SqlType::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => SqlType::Timestamp,
        DataType::Timestamp(..) => SqlType::Timestamptz,
        DataType::Interval(_) => SqlType::Interval,
        DataType::Binary => SqlType::Bytea,
        DataType::FixedSizeBinary(16) => SqlType::Uuid,
        DataType::List(element) => SqlType::Array(Box::new(sql_type(element.data_type()))),
        _ => SqlType::Text,
    }
}
