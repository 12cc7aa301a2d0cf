//! `AsofJoin`: each left row with the right row of equal keys that is nearest by time, over two changing inputs.
//!
//! Both sides lie in [`OrderedRows`] by key and time. Both are ordered away from the left row: by falling time where it
//! looks for an earlier row, by rising time where it looks for a later one. So a left row's match is always the first
//! right row that it *reaches*, and of right rows of the same time the first in the order of all their columns, the
//! one that `ORDER BY time DESC LIMIT 1` gives of the right rows.
//!
//! ```text
//!   l.ts >= r.ts        right  9     7     4     1          a left row of 8 reaches 7, 4 and 1; its match is 7
//!                       left     8 8   6 5   3              when 4 goes, the rows 6 and 5 get 1 instead;
//!                                                           when 2 comes, 3 gets 2; nobody else is looked at
//! ```
//! At the end of an epoch each list shows its rows as they were before the epoch and as they are now:
//!
//! 1. From each right row that came or went, the left rows that reach it are walked away from it, as long as what they
//!    reach first differs between before and now (`walk.rs`). Those matched otherwise are taken back and emitted anew.
//! 2. Left rows that came or went, and were not met on such a walk, have the same match before and now: one lookup.
//!
//! So a change of a right row costs the left rows between it and the next one, a change of a left row a lookup. State is
//! the rows of both inputs; nothing that was emitted is kept. NULL keys and times reach nothing: such rows are not kept.
//! Nor are rows that are final, if both times have a watermark (`closing.rs`).

mod closing;
mod emit;
mod nearest;
#[cfg(test)]
mod tests;
mod walk;

use arrow::datatypes::{DataType, SchemaRef};
use weir_common::{ChangeBatch, Epoch, Error, Result};

use self::closing::Closing;
use self::emit::Changes;
use self::walk::Walk;
use super::null_keys::split_nulls;
use super::ordered_rows::OrderedRows;
use super::{BATCH_ROWS, positional_schema};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateTable, StateWriter};
use crate::spec::{Nearest, NodeSpec, OperatorSpec, SortColumn};

pub use self::nearest::NearestRows;

/// The streaming ASOF join operator.
pub struct AsofJoin {
    outer: bool,
    nearest: Nearest,
    project: Vec<usize>,
    /// Of each side: the columns in which NULL matches nothing.
    compared: [Vec<usize>; 2],
    right_types: Vec<DataType>,
    schema: SchemaRef,
    left: OrderedRows,
    right: OrderedRows,
    /// The end of an epoch that goes on.
    walk: Option<Walk>,
    /// Changes found and not emitted yet.
    changes: Changes,
    closing: Closing,
}

impl AsofJoin {
    /// The join that an `AsofJoin` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<AsofJoin> {
        let OperatorSpec::AsofJoin(join) = &spec.operator else {
            return Err(Error::internal("an ASOF join is built from an ASOF join's specification"));
        };
        let [left_types, right_types] = spec.inputs.as_slice() else {
            return Err(Error::internal("an ASOF join has two inputs"));
        };
        let compared = |keys: &[usize], time: usize| keys.iter().copied().chain([time]).collect::<Vec<_>>();
        let compared =
            [compared(&join.left_keys, join.left_time), compared(&join.right_keys, join.right_time)];
        let type_of = |types: &[DataType], columns: &[usize]| {
            columns.iter().map(|column| types.get(*column).cloned()).collect::<Option<Vec<_>>>()
        };
        if type_of(left_types, &compared[0]).is_none_or(|t| Some(t) != type_of(right_types, &compared[1])) {
            return Err(Error::internal("the keys or times of an ASOF join differ in type"));
        }
        let ordered = |keys: &[usize], time, types| ordered(keys, time, join.nearest, types);
        Ok(AsofJoin {
            outer: join.outer,
            nearest: join.nearest,
            project: join.project.clone(),
            compared,
            right_types: right_types.clone(),
            left: ordered(&join.left_keys, join.left_time, left_types)?.in_table(StateTable(0)),
            right: ordered(&join.right_keys, join.right_time, right_types)?.in_table(StateTable(1)),
            schema: positional_schema(&spec.output),
            walk: None,
            changes: Changes::default(),
            closing: Closing::of([join.left_time, join.right_time], &left_types[join.left_time]),
        })
    }

    fn left_width(&self) -> usize {
        self.left.rows.width()
    }
}

/// Rows by key, in the order in which a left row looks at them.
fn ordered(keys: &[usize], time: usize, nearest: Nearest, types: &[DataType]) -> Result<OrderedRows> {
    let order = [SortColumn { column: time, descending: nearest.looks_back(), nulls_first: false }];
    OrderedRows::new(keys, &order, types)
}

impl Operator for AsofJoin {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.left.restore(cx)?;
        self.right.restore(cx)
    }

    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        let (batch, unmatched) = split_nulls(batch, &self.compared[port.0])?;
        match port {
            Port(0) => {
                if let Some(unmatched) = unmatched.filter(|_| self.outer) {
                    self.emit_unmatched(&unmatched, out)?;
                }
                self.left.apply(&batch)?;
            }
            _ => self.right.apply(&batch)?,
        }
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.closing.advance(watermark);
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        self.walk = Some(self.begin_walk()?);
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        let Some(mut walk) = self.walk.take() else { return Ok(Flow::Done) };
        while self.advance(&mut walk, usize::try_from(out.fuel).unwrap_or(0).clamp(1, BATCH_ROWS))? {
            self.emit_changes(out)?;
            if out.fuel <= 0 {
                self.walk = Some(walk);
                return Ok(Flow::Yield);
            }
        }
        self.emit_changes(out)?;
        self.settle()?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.left.persist(state)?;
        self.right.persist(state)
    }

    fn memory_bytes(&self) -> usize {
        self.left.memory_bytes()
            + self.right.memory_bytes()
            + self.changes.memory_bytes()
            + self.walk.as_ref().map_or(0, Walk::memory_bytes)
            + self.closing.memory_bytes()
    }
}
