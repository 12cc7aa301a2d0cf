//! `LookupJoin`: each left row with the right rows as they are when the left row comes, and never corrected after.
//!
//! `FOR SYSTEM_TIME AS OF PROCTIME()` (Flink's lookup join, its processing-time temporal join). What comes in an epoch is
//! taken to come at its end: a left row is joined with the right rows that are there then, whatever the order in which
//! rows of one epoch arrived. So the output is a function of the epochs, and a restart makes the same again.
//!
//! ```text
//!   right rows ─► OrderedRows by key                         left row comes ─► right rows of its key now ─► emitted
//!   left rows of the epoch ─► net of what came and went      left row goes  ─► what was emitted for it   ─► taken back
//! ```
//! When a left row goes, exactly what was emitted for it is taken back, though the right rows have changed since: so
//! that is kept, beside each left row (`emitted.rs`). A left input that only grows keeps nothing of it. Of equal left
//! rows the one that came first goes first. NULL keys match nothing. The left rows of an epoch are held until its end.

mod emitted;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use self::emitted::{Emitted, Pairs};
use super::null_keys::split_nulls;
use super::ordered_rows::OrderedRows;
use super::{BATCH_ROWS, positional_schema};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateTable, StateWriter};
use crate::spec::{ChangelogMode, LookupJoinSpec, NodeSpec, OperatorSpec};
use crate::state::NONE;

/// The streaming lookup join operator.
pub struct LookupJoin {
    join: LookupJoinSpec,
    left_width: usize,
    schema: SchemaRef,
    right: OrderedRows,
    /// Left rows of this epoch.
    arrived: Arrived,
    /// What was emitted for left rows that may go.
    emitted: Option<Emitted>,
    /// The end of an epoch that goes on.
    work: Option<Work>,
}

/// Left rows that have come in an epoch.
enum Arrived {
    /// Of an input that only grows.
    Batches(Vec<ChangeBatch>),
    /// Rows with what their inserts and deletes come to.
    Net(Box<OrderedRows>),
}

/// What is left to do at the end of an epoch.
struct Work {
    epoch: Epoch,
    /// Left rows to join: batches of them, and slots of those that came more often than they went.
    batches: Vec<ChangeBatch>,
    came: Vec<u32>,
    /// Some of them that are being joined.
    coming: Option<Coming>,
    /// Left rows that went, as slots of what is kept of emitted rows.
    going: Vec<u32>,
}

/// Left rows to join.
struct Coming {
    columns: Vec<ArrayRef>,
    /// The partition of right rows that each of them is joined with.
    partitions: Vec<u32>,
    done: usize,
}

impl LookupJoin {
    /// The join that a `LookupJoin` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<LookupJoin> {
        let OperatorSpec::LookupJoin(join) = &spec.operator else {
            return Err(Error::internal("a lookup join is built from a lookup join's specification"));
        };
        let [left, right] = spec.inputs.as_slice() else {
            return Err(Error::internal("a lookup join has two inputs"));
        };
        let types = |keys: &[usize], input: &[DataType]| {
            keys.iter().map(|key| input.get(*key).cloned()).collect::<Option<Vec<_>>>()
        };
        if types(&join.left_keys, left).is_none_or(|keys| Some(keys) != types(&join.right_keys, right)) {
            return Err(Error::internal("the keys of a lookup join differ in type"));
        }
        let only_grows = join.left_mode == ChangelogMode::AppendOnly;
        Ok(LookupJoin {
            join: join.clone(),
            left_width: left.len(),
            schema: positional_schema(&spec.output),
            right: OrderedRows::new(&join.right_keys, &[], right)?.in_table(StateTable(1)),
            arrived: match only_grows {
                true => Arrived::Batches(Vec::new()),
                false => Arrived::Net(Box::new(OrderedRows::new(&join.left_keys, &[], left)?)),
            },
            emitted: (!only_grows).then(|| Emitted::new(&join.left_keys, left, right)).transpose()?,
            work: None,
        })
    }

    /// What has come and gone in the epoch.
    fn begin(&mut self, epoch: Epoch) -> Result<Work> {
        let (batches, came, going) = (Vec::new(), Vec::new(), Vec::new());
        let mut work = Work { epoch, batches, came, coming: None, going };
        match &mut self.arrived {
            Arrived::Batches(batches) => work.batches = std::mem::take(batches),
            Arrived::Net(arrived) => {
                let mut went = Vec::new();
                for (slot, weight) in arrived.net() {
                    let list = if weight > 0 { &mut work.came } else { &mut went };
                    list.extend(std::iter::repeat_n(slot, weight.unsigned_abs() as usize));
                }
                if let Some(emitted) = &mut self.emitted {
                    work.going = emitted.find(&arrived.rows.gather_all(&went)?, went.len())?;
                }
            }
        }
        Ok(work)
    }

    /// The next left rows to join.
    fn next_coming(&mut self, work: &mut Work) -> Result<Option<Coming>> {
        let columns = match &self.arrived {
            Arrived::Batches(_) => match work.batches.pop() {
                Some(batch) => batch.columns().to_vec(),
                None => return Ok(None),
            },
            Arrived::Net(_) if work.came.is_empty() => return Ok(None),
            Arrived::Net(arrived) => {
                let slots = work.came.split_off(work.came.len().saturating_sub(BATCH_ROWS));
                arrived.rows.gather_all(&slots)?
            }
        };
        let rows = columns.first().map_or(0, |column| column.len());
        let keys: Vec<ArrayRef> = self.join.left_keys.iter().map(|key| columns[*key].clone()).collect();
        let mut partitions = Vec::with_capacity(rows);
        self.right.partitions_of(&keys, rows, &mut partitions)?;
        Ok(Some(Coming { columns, partitions, done: 0 }))
    }

    /// Joins some left rows, and emits them; false when all are done.
    fn join_some(&mut self, work: &mut Work, out: &mut Output) -> Result<bool> {
        let coming = match work.coming.take() {
            Some(coming) => Some(coming),
            None => self.next_coming(work)?,
        };
        let Some(mut rows) = coming else { return Ok(false) };
        let mut pairs = Pairs::default();
        while pairs.len() < BATCH_ROWS && rows.done < rows.partitions.len() {
            self.right.pair(rows.partitions[rows.done], rows.done as u32, &mut pairs);
            rows.done += 1;
        }
        let positions = UInt32Array::from(std::mem::take(&mut pairs.left));
        let left = rows.columns.iter().map(|column| take(column, &positions, None));
        let left: Vec<ArrayRef> = left.collect::<Result<_, _>>().map_err(Error::internal)?;
        let right = pairs.gather(&self.right)?;
        self.emit(1, [&left, &right], &pairs.matches, out)?;
        if let Some(emitted) = &mut self.emitted {
            emitted.keep(work.epoch, left, right, pairs.matches)?;
        }
        work.coming = (rows.done < rows.partitions.len()).then_some(rows);
        Ok(true)
    }

    /// Takes back what was emitted for some left rows; false when all are done.
    fn take_back_some(&mut self, work: &mut Work, out: &mut Output) -> Result<bool> {
        let Some(emitted) = self.emitted.as_mut().filter(|_| !work.going.is_empty()) else {
            return Ok(false);
        };
        let taken = emitted.take(&mut work.going, BATCH_ROWS)?;
        self.emit(-1, [&taken.left, &taken.right], &taken.matches, out)?;
        Ok(true)
    }

    /// Emits left rows beside right ones, each as often as it has matches; once beside NULLs without one, if that shows.
    fn emit(&self, op: i8, sides: [&[ArrayRef]; 2], matches: &[i64], out: &mut Output) -> Result<()> {
        let mut positions: Vec<u32> = Vec::with_capacity(matches.len());
        for (row, matches) in matches.iter().enumerate() {
            let least = i64::from(self.join.outer);
            positions.extend(std::iter::repeat_n(row as u32, (*matches).max(least) as usize));
        }
        for part in positions.chunks(BATCH_ROWS) {
            let rows = UInt32Array::from(part.to_vec());
            let column = |column: &usize| match column.checked_sub(self.left_width) {
                None => take(&sides[0][*column], &rows, None),
                Some(column) => take(&sides[1][column], &rows, None),
            };
            let columns = self.join.project.iter().map(column).collect::<Result<Vec<_>, _>>();
            let batch =
                record_batch(Arc::clone(&self.schema), columns.map_err(Error::internal)?, part.len())?;
            out.push(ChangeBatch::new(batch, ScalarBuffer::from(vec![op; part.len()])));
        }
        Ok(())
    }
}

impl OrderedRows {
    /// Adds a left row beside each of the rows of a partition, or beside none.
    fn pair(&self, partition: u32, left: u32, pairs: &mut Pairs) {
        let before = pairs.len();
        if partition != NONE {
            for right in self.list(partition).iter() {
                let [_, copies] = self.copies(right);
                if copies > 0 {
                    pairs.push(left, right, copies as i64);
                }
            }
        }
        if pairs.len() == before {
            pairs.push(left, NONE, 0);
        }
    }
}

impl Operator for LookupJoin {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.right.restore(cx)?;
        self.emitted.iter_mut().try_for_each(|emitted| emitted.restore(cx))
    }

    fn on_batch(&mut self, port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<Flow> {
        match (port, &mut self.arrived) {
            (Port(0), Arrived::Batches(batches)) => batches.push(batch),
            (Port(0), Arrived::Net(arrived)) => arrived.apply(&batch)?,
            _ => self.right.apply(&split_nulls(batch, &self.join.right_keys)?.0)?,
        }
        Ok(Flow::Done)
    }

    fn on_epoch_end(&mut self, epoch: Epoch, out: &mut Output) -> Result<Flow> {
        self.work = Some(self.begin(epoch)?);
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        let Some(mut work) = self.work.take() else { return Ok(Flow::Done) };
        while self.take_back_some(&mut work, out)? || self.join_some(&mut work, out)? {
            if out.fuel <= 0 {
                self.work = Some(work);
                return Ok(Flow::Yield);
            }
        }
        if let Arrived::Net(arrived) = &mut self.arrived {
            arrived.clear()?;
        }
        self.right.settle()?;
        self.emitted.iter_mut().try_for_each(Emitted::settle)?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.right.persist(state)?;
        self.emitted.iter_mut().try_for_each(|emitted| emitted.persist(state))
    }

    fn memory_bytes(&self) -> usize {
        let arrived = match &self.arrived {
            Arrived::Batches(batches) => batches.iter().map(ChangeBatch::memory_size).sum(),
            Arrived::Net(arrived) => arrived.memory_bytes(),
        };
        self.right.memory_bytes() + arrived + self.emitted.as_ref().map_or(0, Emitted::memory_bytes)
    }
}
