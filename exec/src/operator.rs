//! `Operator`: the streaming building block, synchronous, pushed into, free of timely and tokio.
//!
//! The host (in the runtime) gives an operator one epoch at a time:
//! `open (on_batch* on_epoch_end checkpoint?)*`. Data of later epochs is kept back by the host. On a fresh job
//! the first epoch's `on_epoch_end` is delivered even if no row arrives, so that a global aggregate can emit
//! its row. The contract: Σ output deltas = Q(Σ input deltas), for any batching of the input.

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
    /// Output rows the operator may still make in this call; below zero it yields at the next good moment.
    pub fuel: i64,
}

impl Output {
    /// Rows that an operator makes at most between two yields, about.
    pub const FUEL: i64 = 64 * 1024;

    /// An empty output with full fuel.
    pub fn new() -> Output {
        Output { batches: Vec::new(), rejected: Vec::new(), fuel: Output::FUEL }
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
}

/// State of a job that starts fresh.
pub struct NoState;

impl StateReader for NoState {
    fn scan(&self, _: StateTable, _: &mut dyn FnMut(KeyGroup, &[u8], &[u8]) -> Result<()>) -> Result<()> {
        Ok(())
    }
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
}

/// Collects an operator's dirty entries at a checkpoint.
pub trait StateWriter {
    /// Sets an entry.
    fn put(&mut self, table: StateTable, group: KeyGroup, key: &[u8], value: &[u8]);
    /// Removes an entry.
    fn delete(&mut self, table: StateTable, group: KeyGroup, key: &[u8]);
}

/// A streaming operator on one worker.
pub trait Operator: Send {
    /// Loads state; called once, first.
    fn open(&mut self, _cx: &OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes a batch of the current epoch.
    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow>;

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

    /// Bytes of memory that state takes, roughly.
    fn memory_bytes(&self) -> usize {
        0
    }
}
