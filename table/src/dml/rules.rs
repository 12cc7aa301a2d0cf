//! What a table's definition says of a row that is written: generated columns are computed, then NOT NULL and CHECK
//! are checked, for whole batches.

use arrow::array::{Array, AsArray, RecordBatch};
use weir_catalog::{Object, TableDef};
use weir_common::{Error, Result, SqlState};
use weir_planner::bound::RowRules;

use super::compute::RowExpr;
use super::rows::{describe_row, first_null};

/// The rules of one table, compiled.
pub(crate) struct Rules {
    generated: Vec<(usize, RowExpr)>,
    checks: Vec<(String, RowExpr)>,
}

/// A row that may not be written.
pub(crate) struct BadRow {
    /// Its place in the batch.
    pub row: usize,
    pub error: Error,
}

impl From<BadRow> for Error {
    fn from(bad: BadRow) -> Error {
        bad.error
    }
}

impl From<Error> for BadRow {
    fn from(error: Error) -> BadRow {
        BadRow { row: 0, error }
    }
}

impl Rules {
    pub(crate) fn new(rules: &RowRules, table: &TableDef) -> Result<Rules> {
        let schema = table.relation_schema().arrow();
        let generated = rules.generated.iter().map(|(i, expr)| Ok((*i, RowExpr::over(expr, &schema)?)));
        let checks =
            rules.checks.iter().map(|(name, expr)| Ok((name.clone(), RowExpr::over(expr, &schema)?)));
        Ok(Rules { generated: generated.collect::<Result<_>>()?, checks: checks.collect::<Result<_>>()? })
    }

    /// The rows with their generated columns, when all of them may be written; else the first that may not.
    pub(crate) fn complete(
        &self,
        object: &Object,
        table: &TableDef,
        rows: RecordBatch,
    ) -> Result<RecordBatch, BadRow> {
        let rows = self.generate(rows)?;
        let mut bad = first_null(object, table, &rows).map(|(row, error)| BadRow { row, error });
        for (name, check) in &self.checks {
            let passed = check.of_rows(&rows)?;
            let passed = passed.as_boolean();
            let failing = (0..passed.len()).find(|row| passed.is_valid(*row) && !passed.value(*row));
            if let Some(row) = failing
                && bad.as_ref().is_none_or(|bad| row < bad.row)
            {
                let message =
                    format!("new row for relation \"{}\" violates check constraint \"{name}\"", object.name);
                let detail = format!("Failing row contains ({}).", describe_row(table, &rows, row));
                let error = Error::new(SqlState::CHECK_VIOLATION, message).with_detail(detail);
                bad = Some(BadRow { row, error });
            }
        }
        match bad {
            Some(bad) => Err(bad),
            None => Ok(rows),
        }
    }

    fn generate(&self, rows: RecordBatch) -> Result<RecordBatch> {
        if self.generated.is_empty() {
            return Ok(rows);
        }
        let mut columns = rows.columns().to_vec();
        for (position, expr) in &self.generated {
            columns[*position] = expr.of_rows(&rows)?;
        }
        weir_common::change::record_batch(rows.schema(), columns, rows.num_rows())
    }
}
