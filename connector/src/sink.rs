//! `Sink`: where a job's rows leave Weir.
//!
//! Rows are handed over epoch by epoch. Delivery is two-phase: `prepare` makes everything up to an epoch durable
//! but not visible, the job's checkpoint records that epoch, `commit` makes it visible. After a crash,
//! `recover` gets the checkpoint's epoch: what was prepared up to it is committed, what came after is thrown
//! away and will be written again.

use weir_common::{ChangeBatch, Epoch, Result, WorkerId};

/// External output. One instance serves all workers of its job.
pub trait Sink: Send + Sync {
    /// Called once when the job starts, before any writer: `checkpoint` is the last durable epoch, or zero.
    fn recover(&self, checkpoint: Epoch) -> Result<()>;
    /// The writer of one worker.
    fn writer(&self, worker: WorkerId) -> Result<Box<dyn SinkWriter>>;
    /// Everything prepared up to `epoch` becomes visible. May be called again after a crash.
    fn commit(&self, epoch: Epoch) -> Result<()>;
}

/// Writes the rows of one worker.
pub trait SinkWriter: Send {
    /// Rows of `epoch`, consolidated: no row is both inserted and deleted in it.
    fn write(&mut self, epoch: Epoch, batch: &ChangeBatch) -> Result<()>;
    /// Makes what was written up to `epoch` durable, not visible.
    fn prepare(&mut self, epoch: Epoch) -> Result<()>;
}
