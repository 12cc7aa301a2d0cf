//! `EmitOnClose`: holds changing rows back until their time is over, and emits each once: EMIT ON WINDOW CLOSE.
//!
//! A row whose time lies behind the watermark is final: nothing that comes on time changes it any more. So the output is
//! append-only, whatever the input was, and what was emitted is kept no longer. Rows without a time are never emitted.
//!
//! ```text
//!   on_batch      rows with weights, in OrderedRows
//!   on_epoch_end  new rows → the list of their time;  times behind the watermark: emit what is there, forget it
//! ```

#[cfg(test)]
mod tests;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use super::ordered_rows::OrderedRows;
use super::{BATCH_ROWS, positional_schema};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateWriter};
use crate::spec::{NodeSpec, OperatorSpec, SortColumn};
use crate::state::TimeIndex;
use crate::state::native::int_values;

/// The operator at the end of a view that shows final rows only.
pub struct EmitOnClose {
    time: usize,
    watermark: i64,
    schema: SchemaRef,
    rows: OrderedRows,
    /// Rows by their time; some may have gone, or be in a list twice.
    by_time: TimeIndex<u32>,
    /// Final rows that are still to be emitted, with how often each is there.
    closed: Vec<(u32, u64)>,
}

impl EmitOnClose {
    /// The operator that an `EmitOnClose` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<EmitOnClose> {
        let OperatorSpec::EmitOnClose { partition, time } = &spec.operator else {
            return Err(Error::internal("final rows need their specification"));
        };
        let order = [SortColumn { column: *time, descending: false, nulls_first: false }];
        Ok(EmitOnClose {
            time: *time,
            watermark: i64::MIN,
            schema: positional_schema(&spec.output),
            rows: OrderedRows::new(partition, &order, &spec.inputs[0])?,
            by_time: TimeIndex::default(),
            closed: Vec::new(),
        })
    }

    /// Notes the time of rows.
    fn note(&mut self, slots: &[u32]) -> Result<()> {
        self.by_time.add_all(&self.rows.rows.gather(self.time, slots)?, slots)
    }

    /// Takes the rows whose time is over.
    fn close(&mut self) -> Result<()> {
        let mut ended = self.by_time.take_before(self.watermark);
        ended.retain(|slot| self.rows.copies(*slot)[1] > 0);
        let times = self.rows.rows.gather(self.time, &ended)?;
        let values = int_values(&times)?;
        for (row, slot) in ended.into_iter().enumerate() {
            // The slot may be another row's by now, which waits for its own time.
            if times.is_valid(row) && values[row] < self.watermark {
                self.closed.push((slot, self.rows.copies(slot)[1]));
            }
        }
        Ok(())
    }
}

impl Operator for EmitOnClose {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.restore(cx)?;
        let restored = self.rows.live_rows();
        self.note(&restored)
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<Flow> {
        self.rows.apply(&batch)?;
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.watermark = watermark;
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        let is_new = |slot: &u32| matches!(self.rows.copies(*slot), [0, now] if now > 0);
        let new: Vec<u32> = self.rows.touched_slots().iter().copied().filter(is_new).collect();
        self.note(&new)?;
        self.close()?;
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        while !self.closed.is_empty() {
            if out.fuel <= 0 {
                return Ok(Flow::Yield);
            }
            let rest = self.closed.split_off(self.closed.len().min(BATCH_ROWS));
            let part = std::mem::replace(&mut self.closed, rest);
            let copies = |(slot, copies): &(u32, u64)| std::iter::repeat_n(*slot, *copies as usize);
            let slots: Vec<u32> = part.iter().flat_map(copies).collect();
            let columns = self.rows.rows.gather_all(&slots)?;
            out.push(ChangeBatch::inserts(record_batch(self.schema.clone(), columns, slots.len())?));
            part.iter().for_each(|(slot, _)| self.rows.forget(*slot));
        }
        self.rows.settle()?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.rows.persist(state)
    }

    fn first_time(&self) -> Option<i64> {
        self.by_time.first()
    }

    fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.by_time.memory_bytes() + self.closed.capacity() * 16
    }
}
