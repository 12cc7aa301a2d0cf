//! `Row`: the arguments of one call.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};
use weir_common::{Error, ObjectId, Result};

/// The arguments of a function in one row.
pub(super) struct Row<'a> {
    columns: &'a [ArrayRef],
    row: usize,
}

impl<'a> Row<'a> {
    pub(super) fn new(columns: &'a [ArrayRef], row: usize) -> Row<'a> {
        Row { columns, row }
    }

    /// How many arguments there are.
    pub(super) fn count(&self) -> usize {
        self.columns.len()
    }

    /// Whether argument `i` is NULL.
    pub(super) fn is_null(&self, i: usize) -> bool {
        self.columns[i].is_null(self.row)
    }

    /// Argument `i`, an integer or OID that is not NULL.
    pub(super) fn int(&self, i: usize) -> Result<i64> {
        let column = &self.columns[i];
        match column.data_type() {
            DataType::Int16 => Ok(i64::from(column.as_primitive::<Int16Type>().value(self.row))),
            DataType::Int32 => Ok(i64::from(column.as_primitive::<Int32Type>().value(self.row))),
            DataType::Int64 => Ok(column.as_primitive::<Int64Type>().value(self.row)),
            other => Err(unexpected(i, other)),
        }
    }

    /// Argument `i`, an OID that is not NULL. One that no object can have becomes 0.
    pub(super) fn oid(&self, i: usize) -> Result<ObjectId> {
        Ok(ObjectId(u32::try_from(self.int(i)?).unwrap_or(0)))
    }

    /// Argument `i`, a string that is not NULL.
    pub(super) fn text(&self, i: usize) -> Result<&'a str> {
        match self.columns[i].as_string_opt::<i32>() {
            Some(column) => Ok(column.value(self.row)),
            None => Err(unexpected(i, self.columns[i].data_type())),
        }
    }

    /// Argument `i`, a boolean that is not NULL.
    pub(super) fn bool(&self, i: usize) -> Result<bool> {
        match self.columns[i].as_boolean_opt() {
            Some(column) => Ok(column.value(self.row)),
            None => Err(unexpected(i, self.columns[i].data_type())),
        }
    }
}

fn unexpected(i: usize, ty: &DataType) -> Error {
    Error::internal(format!("argument {i} of a catalog function has type {ty}"))
}
