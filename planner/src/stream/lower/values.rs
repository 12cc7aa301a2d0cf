//! Constant rows: `VALUES`, and the one empty row below a SELECT without FROM.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{EmptyRelation, Expr, Values};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;

use crate::binder::fold_constant;
use crate::stream::lower::columns_of;
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};

/// The stream plan of `VALUES`.
pub(super) fn lower_values(values: &Values) -> Result<StreamPlan> {
    let columns = columns_of(&values.schema);
    let mut arrays = Vec::new();
    for (position, column) in columns.iter().enumerate() {
        let cells = values
            .values
            .iter()
            .map(|row| constant(&row[position], &column.ty))
            .collect::<Result<Vec<_>>>()?;
        arrays.push(ScalarValue::iter_to_array(cells).map_err(from_datafusion)?);
    }
    constant_rows(arrays, columns)
}

/// The stream plan of no row, or of one row without columns. A row without columns gets one that nobody reads.
pub(super) fn lower_empty(empty: &EmptyRelation) -> Result<StreamPlan> {
    if !empty.produce_one_row && !empty.schema.fields().is_empty() {
        let columns = columns_of(&empty.schema);
        let arrays = columns.iter().map(|column| new_empty_array(&column.ty)).collect();
        return constant_rows(arrays, columns);
    }
    let rows = usize::from(empty.produce_one_row);
    let column = StreamColumn { name: "row".into(), ty: DataType::Boolean };
    constant_rows(vec![Arc::new(BooleanArray::from(vec![true; rows])) as ArrayRef], vec![column])
}

fn constant(expr: &Expr, ty: &DataType) -> Result<ScalarValue> {
    match expr {
        Expr::Alias(alias) => constant(&alias.expr, ty),
        Expr::Literal(value, _) if value.data_type() == *ty => Ok(value.clone()),
        Expr::Literal(value, _) => value.cast_to(ty).map_err(from_datafusion),
        // The rules leave what they cannot compute; computing it says why.
        other => match fold_constant(other.clone())? {
            folded @ Expr::Literal(..) => constant(&folded, ty),
            _ => {
                Err(Error::unsupported("an expression that is not constant in VALUES in a materialized view")
                    .with_hint("Use constants in VALUES, or a table."))
            }
        },
    }
}

fn constant_rows(arrays: Vec<ArrayRef>, columns: Vec<StreamColumn>) -> Result<StreamPlan> {
    let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, c.ty.clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(Error::internal)?;
    let mut ipc = Vec::new();
    let mut writer = StreamWriter::try_new(&mut ipc, &schema).map_err(Error::internal)?;
    writer.write(&batch).and_then(|()| writer.finish()).map_err(Error::internal)?;
    drop(writer);
    Ok(StreamPlan::new(StreamNode::Values { ipc, rows: batch.num_rows() }, Vec::new(), columns))
}
