//! `ScanRows`: the rows of one scan, batch by batch: ranges of a relation's keys or single keys, with what the reader's
//! own transaction block has written laid over them.

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
    left: Left,
    /// What the block has written; gone when all of it was given.
    overlay: Option<(Arc<Overlay>, Hiding)>,
}

/// What is still to be read.
enum Left {
    /// The scan under way, and what comes after it.
    Ranges {
        current: Option<RelationScan>,
        ranges: VecDeque<KeyRange>,
    },
    Keys(std::vec::IntoIter<Vec<u8>>),
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
        let left = Left::Ranges { current: None, ranges: ranges.into() };
        ScanRows::of(snapshot, left, project, schema, overlay)
    }

    /// The rows with these keys, and what the block has added.
    pub fn of_keys(
        snapshot: Arc<RelationSnapshot>,
        keys: Vec<Vec<u8>>,
        project: Vec<usize>,
        schema: SchemaRef,
        overlay: Option<Arc<Overlay>>,
    ) -> ScanRows {
        ScanRows::of(snapshot, Left::Keys(keys.into_iter()), project, schema, overlay)
    }

    fn of(
        snapshot: Arc<RelationSnapshot>,
        left: Left,
        project: Vec<usize>,
        schema: SchemaRef,
        overlay: Option<Arc<Overlay>>,
    ) -> ScanRows {
        let overlay = overlay.map(|overlay| {
            let hiding = overlay.hiding();
            (overlay, hiding)
        });
        ScanRows { snapshot, project, schema, batch_rows: 1, left, overlay }
    }

    /// Rows of a batch from now on.
    pub fn by(&mut self, batch_rows: usize) {
        self.batch_rows = batch_rows;
        if let Left::Ranges { current: Some(scan), .. } = &mut self.left {
            scan.by(batch_rows);
        }
    }

    /// The next batch of the relation itself.
    fn stored(&mut self) -> Option<Result<RecordBatch>> {
        let wide = self.overlay.as_ref().map(|(overlay, _)| overlay.widen(&self.project));
        let project = wide.as_deref().unwrap_or(&self.project);
        let (current, ranges) = match &mut self.left {
            Left::Ranges { current, ranges } => (current, ranges),
            Left::Keys(keys) => {
                let next: Vec<Vec<u8>> = keys.take(self.batch_rows).collect();
                let next: Vec<&[u8]> = next.iter().map(Vec::as_slice).collect();
                return (!next.is_empty()).then(|| self.snapshot.points_of(&next, project));
            }
        };
        loop {
            if let Some(batch) = current.as_mut().and_then(Iterator::next) {
                return Some(batch);
            }
            *current = Some(self.snapshot.scan_range(&ranges.pop_front()?, project, self.batch_rows));
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
