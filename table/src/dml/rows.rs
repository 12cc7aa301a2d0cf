//! Rows on their way into a table: NOT NULL (23502), and the first of several matches.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use weir_catalog::{ColumnDef, Object, TableDef};
use weir_common::key::KeyEncoder;
use weir_common::text::Formatter;
use weir_common::{Error, Result, SqlState, SqlType};

/// Characters of one value that a DETAIL line shows.
const DETAIL_VALUE_CHARS: usize = 64;

/// The first row with NULL where none may be, and its error.
pub(super) fn first_null(object: &Object, table: &TableDef, rows: &RecordBatch) -> Option<(usize, Error)> {
    let columns = table.columns.iter().map(|c| &c.column).zip(rows.columns());
    let refused = columns.filter(|(column, values)| {
        (!column.nullable || table.primary_key.contains(&column.id)) && values.null_count() > 0
    });
    let first = refused.filter_map(|(column, values)| {
        (0..values.len()).find(|row| values.is_null(*row)).map(|row| (row, column))
    });
    let (row, column) = first.min_by_key(|(row, _)| *row)?;
    let message = format!(
        "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
        column.name, object.name
    );
    let detail = format!("Failing row contains ({}).", describe_row(table, rows, row));
    Some((row, Error::new(SqlState::NOT_NULL_VIOLATION, message).with_detail(detail)))
}

pub(super) fn describe_row(table: &TableDef, rows: &RecordBatch, row: usize) -> String {
    let value = |(column, values): (&ColumnDef, &ArrayRef)| {
        if values.is_null(row) {
            return "null".to_string();
        }
        let mut text = String::new();
        Formatter::new(&column.column.ty, &Default::default()).write(values, row, &mut text);
        match text.char_indices().nth(DETAIL_VALUE_CHARS) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    };
    let shown = table.shown().into_iter().map(|c| (c.def, rows.column(c.position)));
    shown.map(value).collect::<Vec<_>>().join(", ")
}

/// The rows of the table that were not seen before: a join may give one several times, and then the first counts,
/// as in PostgreSQL. They are told apart by the key, or by a number in the last column; else all count.
pub(super) struct FirstOfKey {
    columns: Vec<usize>,
    encoder: KeyEncoder,
    seen: HashSet<Vec<u8>>,
}

impl FirstOfKey {
    /// Rows of the table, each of which has its columns first.
    pub(super) fn of_table(table: &TableDef) -> Result<FirstOfKey> {
        let columns = table.key_positions();
        let types: Vec<_> = columns.iter().map(|i| table.columns[*i].column.ty.arrow()).collect();
        Ok(FirstOfKey { columns, encoder: KeyEncoder::new(&types)?, seen: HashSet::new() })
    }

    /// Rows that are numbered in column `number`.
    pub(super) fn numbered(number: usize) -> Result<FirstOfKey> {
        let encoder = KeyEncoder::new(&[SqlType::Int8.arrow()])?;
        Ok(FirstOfKey { columns: vec![number], encoder, seen: HashSet::new() })
    }

    /// The rows of the batch that come first.
    pub(super) fn filter(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        if self.columns.is_empty() {
            return Ok(rows);
        }
        let columns: Vec<ArrayRef> = self.columns.iter().map(|i| ArrayRef::clone(rows.column(*i))).collect();
        let keys = self.encoder.encode(&columns)?;
        let mut first = Vec::with_capacity(rows.num_rows());
        for (row, key) in keys.iter().enumerate() {
            if self.seen.insert(key.to_vec()) {
                first.push(row as u32);
            }
        }
        if first.len() == rows.num_rows() {
            return Ok(rows);
        }
        take(&rows, first)
    }
}

/// The rows at these places.
pub(crate) fn take(rows: &RecordBatch, places: Vec<u32>) -> Result<RecordBatch> {
    arrow::compute::take_record_batch(rows, &UInt32Array::from(places)).map_err(Error::internal)
}

/// The batches as one.
pub(super) fn concat(table: &TableDef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    arrow::compute::concat_batches(&table.relation_schema().arrow(), batches).map_err(Error::internal)
}

/// The columns `from..to` of a batch as rows of the table.
pub(super) fn table_rows(table: &TableDef, batch: &RecordBatch, from: usize) -> Result<RecordBatch> {
    let width = table.columns.len();
    if batch.num_columns() < from + width {
        return Err(Error::internal("the query of a DML statement does not yield the table's columns"));
    }
    let columns = batch.columns()[from..from + width].to_vec();
    weir_common::change::record_batch(table.relation_schema().arrow(), columns, batch.num_rows())
}
