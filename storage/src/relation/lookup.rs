//! Rows by the first columns of their key, and a snapshot of what was before.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use weir_common::key::{KeyEncoder, KeyRange};
use weir_common::{ChangeBatch, Epoch, Error, Result};

use super::RelationSnapshot;
use super::run::Run;

/// Rows that are visited at once, about.
const BATCH_ROWS: usize = 8192;

impl RelationSnapshot {
    /// Visits the rows whose first key columns have one of these values, each row once, with the columns at positions
    /// `project`. Of a relation with a key; the values have the types of its columns.
    pub fn visit_keyed(
        &self,
        key: &[ArrayRef],
        project: &[usize],
        visit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let Some(rows) = key.first().map(|column| column.len()) else {
            return Err(Error::internal("rows are looked up by a column at least"));
        };
        let types: Vec<DataType> = key.iter().map(|column| column.data_type().clone()).collect();
        let encoded = KeyEncoder::new(&types)?.encode_rows(key, rows)?;
        let mut keys: Vec<&[u8]> = encoded.iter().collect();
        keys.sort_unstable();
        keys.dedup();
        if key.len() == self.layout.key_width() {
            return keys.chunks(BATCH_ROWS).try_for_each(|keys| visit(self.points_of(keys, project)?));
        }
        let mut found: Vec<RecordBatch> = Vec::new();
        for key in keys {
            for batch in self.scan_range(&KeyRange::of_prefix(key), project, BATCH_ROWS) {
                found.push(batch?);
                if found.iter().map(RecordBatch::num_rows).sum::<usize>() >= BATCH_ROWS {
                    visit(joined(&std::mem::take(&mut found))?)?;
                }
            }
        }
        if found.is_empty() { Ok(()) } else { visit(joined(&found)?) }
    }

    /// The relation as it was before these changes, which are all that came after an earlier epoch and up to this
    /// snapshot's; each with its own epoch, in any order.
    pub fn before(mut self, changes: &[(Epoch, ChangeBatch)]) -> Result<RelationSnapshot> {
        let mut undone = vec![Arc::new(Run::merge(&self.layout, &self.runs, |epoch| self.shows(epoch)))];
        let last = self.upto;
        for (epoch, batch) in changes {
            // What came last goes first.
            let turn = Epoch(last.0 + 1 + (last.0 - epoch.0));
            undone.push(Arc::new(Run::of_batch(&self.layout, turn, &batch.inverse())?));
        }
        self.upto = Epoch::MAX;
        self.runs = vec![Arc::new(Run::merge(&self.layout, &undone, |_| true))];
        Ok(self)
    }
}

fn joined(batches: &[RecordBatch]) -> Result<RecordBatch> {
    match batches {
        [only] => Ok(only.clone()),
        batches => concat_batches(&batches[0].schema(), batches).map_err(Error::internal),
    }
}
