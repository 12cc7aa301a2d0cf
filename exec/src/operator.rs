//! `Operator`: the streaming building block, synchronous, pushed into, free of timely and tokio.
//!
//! The host (in the runtime) gives an operator one epoch at a time:
//! `open (on_epoch_begin? on_batch* on_watermark? on_epoch_end checkpoint?)*`. Data of later epochs is kept back by the host. On a fresh job
//! the first epoch's `on_epoch_end` is delivered even if no row arrives, so that a global aggregate can emit
//! its row. The contract: Σ output deltas = Q(Σ input deltas), for any batching of the input.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use weir_common::{ChangeBatch, Epoch, KeyGroup, Result, WorkerId};

use crate::rejected::Rejected;

/// Which input of an operator, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port(pub usize);

/// Whether the operator is through with what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Ready for the next call.
    Done,
    /// Fuel ran out in the middle: the host takes the output on and calls `resume` before anything else.
    Yield,
}

/// Where an operator's output goes, and how much it may still do before it must yield.
pub struct Output {
    /// Batches emitted by this call, in order.
    pub batches: Vec<ChangeBatch>,
    /// Rows that this call left out under the job's ON ERROR policy.
    pub rejected: Vec<Rejected>,
    /// Rows that this call left out because they came late.
    pub late: u64,
    /// Output rows the operator may still make in this call; below zero it yields at the next good moment.
    pub fuel: i64,
}

impl Output {
    /// Rows that an operator makes at most between two yields, about.
    pub const FUEL: i64 = 64 * 1024;

    /// An empty output with full fuel.
    pub fn new() -> Output {
        Output { batches: Vec::new(), rejected: Vec::new(), late: 0, fuel: Output::FUEL }
    }

    /// Emits a batch; an empty one vanishes.
    pub fn push(&mut self, batch: ChangeBatch) {
        if !batch.is_empty() {
            self.fuel -= batch.len() as i64;
            self.batches.push(batch);
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Output::new()
    }
}

/// A typed state table of one operator. Numbers are part of the format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateTable(pub u8);

/// What an operator finds when it opens: the state of the key groups its worker owns.
pub trait StateReader {
    /// Visits every entry of a table, in (key group, key) order.
    #[allow(clippy::type_complexity, reason = "an alias would hide what a visitor is given")]
    fn scan(
        &self,
        table: StateTable,
        visit: &mut dyn FnMut(KeyGroup, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()>;

    /// Whether memory is tight: state that can be read again later had better stay where it is.
    fn is_tight(&self) -> bool {
        false
    }
}

/// State of a job that starts fresh.
pub struct NoState;

impl StateReader for NoState {
    fn scan(&self, _: StateTable, _: &mut dyn FnMut(KeyGroup, &[u8], &[u8]) -> Result<()>) -> Result<()> {
        Ok(())
    }
}

/// The durable state of one operator, read again while it runs.
///
/// What a checkpoint took is durable at the latest when the next one is taken, unless that one says it is not
/// ([`StateWriter::is_last_durable`]): then it is with that one. Until then it may be there or not.
pub trait StateLookup: Send + Sync {
    /// Visits those of the keys that have an entry, by their position; faster when they are in (key group, key) order.
    fn points(
        &self,
        table: StateTable,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()>;

    /// Visits the entries whose keys begin with one of these, by its position: the rest of the key, and the value.
    fn prefixed(
        &self,
        table: StateTable,
        prefixes: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()>;
}

/// The rows of a relation that an operator looks up instead of keeping them, as of an epoch.
pub trait SharedRows: Send + Sync {
    /// Visits the rows whose leading key columns have one of these values, each once, in batches.
    fn visit(&self, key: &[ArrayRef], visit: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()>;

    /// Goes on to the rows as of the end of `epoch`; false, and nothing has changed, when these are not to be had.
    fn renew(&self, epoch: Epoch) -> bool;
}

/// Where an operator runs, and what it starts from.
pub struct OpenContext<'a> {
    /// This worker.
    pub worker: WorkerId,
    /// All workers.
    pub workers: usize,
    /// The last checkpoint's state.
    pub state: &'a dyn StateReader,
    /// Whether there was a checkpoint: `false` on a job's first start.
    pub restored: bool,
    /// Where durable state is read again that the operator let go of ([`Operator::shed`]).
    pub durable: Arc<dyn StateLookup>,
    /// The watermark as of the state that is there; [`Operator::on_watermark`] is told it too.
    pub watermark: Option<i64>,
    /// The rows of a [`SharedSide`](crate::spec::SharedSide), as of the state that is there.
    pub shared: Option<Arc<dyn SharedRows>>,
}

/// Collects an operator's dirty entries at a checkpoint.
pub trait StateWriter {
    /// Sets an entry.
    fn put(&mut self, table: StateTable, group: KeyGroup, key: &[u8], value: &[u8]);
    /// Removes an entry.
    fn delete(&mut self, table: StateTable, group: KeyGroup, key: &[u8]);
    /// The epoch at whose end the checkpoint is taken.
    fn epoch(&self) -> Epoch;
    /// Whether what was handed over the last time can be read again. It cannot be sure after a step of a backfill.
    fn is_last_durable(&self) -> bool;
}

/// A streaming operator on one worker.
pub trait Operator: Send {
    /// Loads state; called once, first.
    fn open(&mut self, _cx: &OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// The current epoch, whose rows come next, was closed at this time in microseconds since 1970. Only a
    /// [`ProcTime`](crate::spec::OperatorSpec::ProcTime) is told it.
    fn on_epoch_begin(&mut self, _closed_micros: i64) {}

    /// Takes a batch of the current epoch.
    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow>;

    /// Event time of what the operator was asked to watch has come this far with the current epoch. Called, when it has
    /// advanced, right before the epoch's end, and after [`Operator::open`] with what is known then: from the next epoch
    /// on, rows with an earlier time are late.
    fn on_watermark(&mut self, _watermark: i64) {}

    /// The current epoch is complete on every port: emit what was held back for it.
    fn on_epoch_end(&mut self, _epoch: Epoch, _out: &mut Output) -> Result<Flow> {
        Ok(Flow::Done)
    }

    /// Goes on after `Flow::Yield`.
    fn resume(&mut self, _out: &mut Output) -> Result<Flow> {
        Ok(Flow::Done)
    }

    /// Writes what changed since the last checkpoint. Between epochs only; no output, no I/O.
    fn checkpoint(&mut self, _state: &mut dyn StateWriter) -> Result<()> {
        Ok(())
    }

    /// Lets go of state that is durable and was not used since the last checkpoint but one, if the operator can read it
    /// again when it needs it. Called right after [`Operator::checkpoint`], when memory is tight.
    fn shed(&mut self) -> Result<()> {
        Ok(())
    }

    /// The moment of the clock, in microseconds since 1970, at which it has something to do even if no row comes.
    fn next_deadline(&self) -> Option<i64> {
        None
    }

    /// The earliest time of what it forgets or emits when its watermark has passed that time.
    fn first_time(&self) -> Option<i64> {
        None
    }

    /// Bytes of memory that state takes, roughly.
    fn memory_bytes(&self) -> usize {
        0
    }
}
