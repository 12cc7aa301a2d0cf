//! `ScanRows`: the rows of one scan, batch by batch: ranges of a relation's keys, with what the reader's own
//! transaction block has written laid over them.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use weir_common::Result;
use weir_common::change::record_batch;
use weir_common::key::KeyRange;
use weir_storage::{RelationScan, RelationSnapshot};

use super::overlay::{Hiding, Overlay};

/// An iterator over the rows. After an error it ends.
pub struct ScanRows {
    snapshot: Arc<RelationSnapshot>,
    project: Vec<usize>,
    /// Of the columns at `project`.
    schema: SchemaRef,
    batch_rows: usize,
    /// What is still to be read, the first of it being read.
    ranges: VecDeque<KeyRange>,
    current: Option<RelationScan>,
    /// What the block has written; gone when all of it was given.
    overlay: Option<(Arc<Overlay>, Hiding)>,
}

impl ScanRows {
    /// The rows with keys in `ranges`, and with an overlay what the block has added, wherever its keys are.
    pub fn new(
        snapshot: Arc<RelationSnapshot>,
        ranges: impl Into<VecDeque<KeyRange>>,
        project: Vec<usize>,
        schema: SchemaRef,
        overlay: Option<Arc<Overlay>>,
    ) -> ScanRows {
        let overlay = overlay.map(|overlay| {
            let hiding = overlay.hiding();
            (overlay, hiding)
        });
        ScanRows { snapshot, project, schema, batch_rows: 1, ranges: ranges.into(), current: None, overlay }
    }

    /// Rows of a batch from now on.
    pub fn by(&mut self, batch_rows: usize) {
        self.batch_rows = batch_rows;
        if let Some(scan) = &mut self.current {
            scan.by(batch_rows);
        }
    }

    /// The next batch of the relation itself.
    fn stored(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.current.as_mut().and_then(Iterator::next) {
                return Some(batch);
            }
            let range = self.ranges.pop_front()?;
            let scan = match &self.overlay {
                None => self.snapshot.scan_range(&range, &self.project, self.batch_rows),
                Some((overlay, _)) => {
                    self.snapshot.scan_range(&range, &overlay.widen(&self.project), self.batch_rows)
                }
            };
            self.current = Some(scan);
        }
    }

    fn shown(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        match &mut self.overlay {
            None => record_batch(Arc::clone(&self.schema), batch.columns().to_vec(), batch.num_rows()),
            Some((_, hiding)) => hiding.apply(&batch, self.project.len(), &self.schema),
        }
    }
}

impl Iterator for ScanRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        match self.stored() {
            Some(batch) => Some(batch.and_then(|batch| self.shown(batch))),
            None => {
                let (overlay, _) = self.overlay.take()?;
                Some(overlay.added(&self.project, &self.schema))
            }
        }
    }
}
