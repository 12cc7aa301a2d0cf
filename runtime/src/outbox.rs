//! `Outbox`: what a sink into a table has made and the table does not hold yet.
//!
//! ```text
//!   workers ─ push(epoch, rows) ─► outbox ─ next_delivery ─► session layer ─ deliver(writes, upto) ─► sequencer ─► log
//!                                    │                                                                  │
//!                                    └─ checkpoint: what is not delivered yet ─► state                  └ sink, upto
//! ```
//! Exactly once: rows of an epoch are delivered whole, by one commit, whose log record says with the rows up to which
//! epoch of the sink it goes. A job that starts again after its checkpoint makes the same rows for the same epochs; those
//! up to the last delivery are thrown away. So nothing may be delivered before the job has a checkpoint: without one it
//! would start afresh, with other epochs.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_common::{ChangeBatch, Epoch, Error, JobId, KeyGroup, Result, SqlState};
use weir_exec::operator::{StateReader, StateTable, StateWriter};
use weir_storage::ipc;

use crate::commit::TableWrite;
use crate::engine::State;
use crate::job::{JobEntry, JobState};
use crate::output::{consolidate, positional_schema};
use crate::runtime::Runtime;
use crate::sequencer::Request;

/// Undelivered batches in a checkpoint: epoch and number (both big-endian) to an encoded batch.
const UNDELIVERED: StateTable = StateTable(0);

/// Rows on their way into a table.
pub struct Outbox {
    inner: Mutex<Inner>,
}

struct Inner {
    pending: BTreeMap<Epoch, Vec<ChangeBatch>>,
    /// The table holds everything up to here.
    delivered: Epoch,
    /// Workers that have not put back yet what their last checkpoint holds.
    opening: usize,
}

/// Rows to be delivered, in the order of their epochs.
pub struct Delivery {
    /// The sink's epoch up to which they go.
    pub upto: Epoch,
    /// Of each epoch the net changes.
    pub epochs: Vec<Vec<ChangeBatch>>,
}

/// Which of a job's rows go into a table. Numbers are part of the format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Channel {
    /// What the job of a sink makes.
    Output = 0,
    /// What any job leaves out under an ON ERROR policy.
    Letters = 1,
}

impl Channel {
    /// All of them.
    pub const ALL: [Channel; 2] = [Channel::Output, Channel::Letters];
}

/// The job whose rows a commit delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub job: JobId,
    pub channel: Channel,
    pub upto: Epoch,
}

impl Outbox {
    /// An outbox whose table holds everything up to `delivered`, of so many workers.
    pub fn new(delivered: Epoch, workers: usize) -> Arc<Outbox> {
        let inner = Inner { pending: BTreeMap::new(), delivered, opening: workers };
        Arc::new(Outbox { inner: Mutex::new(inner) })
    }

    /// One more worker has put back what its last checkpoint holds; whether it was the last one. Nothing is delivered
    /// before: rows of an epoch go whole.
    pub fn worker_opened(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.opening = inner.opening.saturating_sub(1);
        inner.opening == 0
    }

    /// Up to where the table holds everything.
    pub fn delivered(&self) -> Epoch {
        self.inner.lock().delivered
    }

    /// The table holds everything up to `upto`.
    pub fn mark_delivered(&self, upto: Epoch) {
        let mut inner = self.inner.lock();
        let delivered = inner.delivered.max(upto);
        inner.delivered = delivered;
        inner.pending = inner.pending.split_off(&delivered.next());
    }

    /// Takes rows of an epoch, unless the table has them already.
    fn push(&self, epoch: Epoch, batches: &[ChangeBatch]) {
        let mut inner = self.inner.lock();
        if epoch > inner.delivered {
            inner.pending.entry(epoch).or_default().extend_from_slice(batches);
        }
    }

    /// Whether there are rows up to `epoch`, or may be.
    pub fn has_pending(&self, epoch: Epoch) -> bool {
        let inner = self.inner.lock();
        inner.opening > 0 || inner.pending.range(..=epoch).next().is_some()
    }

    /// What is to be delivered of the epochs below `frontier`; it stays until it counts as delivered.
    pub fn below(&self, frontier: Epoch) -> Option<(Epoch, Vec<Vec<ChangeBatch>>)> {
        let inner = self.inner.lock();
        if inner.opening > 0 {
            return None;
        }
        let complete: Vec<_> = inner.pending.range(..frontier).map(|(_, batches)| batches.clone()).collect();
        (!complete.is_empty()).then(|| (frontier.previous(), complete))
    }
}

/// The end of one worker in an outbox.
pub struct OutboxWriter {
    outbox: Arc<Outbox>,
    /// A key group of this worker, under which its batches are kept.
    group: KeyGroup,
    next_number: u32,
    /// Batches that may not be delivered yet and are in no checkpoint.
    recent: Vec<(Epoch, ChangeBatch)>,
    /// Keys of the batches that checkpoints hold.
    kept: Vec<(Epoch, KeyGroup, Vec<u8>)>,
}

impl OutboxWriter {
    /// The end of a worker that owns `group`; what the last checkpoint holds is pending again.
    pub fn open(outbox: Arc<Outbox>, group: KeyGroup, state: &dyn StateReader) -> Result<OutboxWriter> {
        let mut writer = OutboxWriter { outbox, group, next_number: 0, recent: Vec::new(), kept: Vec::new() };
        state.scan(UNDELIVERED, &mut |group, key, value| {
            let (epoch, number) = decode_key(key)?;
            writer.next_number = writer.next_number.max(number + 1);
            writer.outbox.push(epoch, &[ipc::decode_batch(value)?]);
            writer.kept.push((epoch, group, key.to_vec()));
            Ok(())
        })?;
        Ok(writer)
    }

    /// Takes rows of an epoch.
    pub fn write(&mut self, epoch: Epoch, batches: &[ChangeBatch]) {
        self.outbox.push(epoch, batches);
        self.recent.extend(batches.iter().map(|batch| (epoch, batch.clone())));
    }

    /// Writes what is not delivered, and removes what is.
    pub fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        let delivered = self.outbox.delivered();
        let is_done = |(epoch, ..): &mut (Epoch, KeyGroup, Vec<u8>)| *epoch <= delivered;
        for (_, group, key) in self.kept.extract_if(.., is_done) {
            state.delete(UNDELIVERED, group, &key);
        }
        for (epoch, batch) in self.recent.drain(..).filter(|(epoch, _)| *epoch > delivered) {
            let key = [&epoch.0.to_be_bytes()[..], &self.next_number.to_be_bytes()].concat();
            self.next_number = self.next_number.wrapping_add(1);
            state.put(UNDELIVERED, self.group, &key, &ipc::encode_batch(&batch)?);
            self.kept.push((epoch, self.group, key));
        }
        Ok(())
    }
}

fn decode_key(key: &[u8]) -> Result<(Epoch, u32)> {
    let damaged = || Error::corrupted("a key of what a sink has not delivered");
    let (epoch, number) = key.split_first_chunk::<8>().ok_or_else(damaged)?;
    let number = number.try_into().map_err(|_| damaged())?;
    Ok((Epoch(u64::from_be_bytes(*epoch)), u32::from_be_bytes(number)))
}

/// Whether everything that the job made for tables up to `epoch` is in them.
pub fn has_delivered(entry: &JobEntry, epoch: Epoch) -> bool {
    entry.job.outboxes().all(|(_, outbox)| !outbox.has_pending(epoch))
}

impl Runtime {
    /// Waits for rows of a job that are to be delivered. `None` when the job is gone or has failed, or the server stops.
    pub async fn next_delivery(&self, job: JobId, channel: Channel) -> Result<Option<Delivery>> {
        let found = self.engine.wait_until(|state| match outbox(state, job, channel) {
            None => Some(None),
            Some((entry, _)) if entry.checkpointed == Epoch::ZERO => None,
            Some((entry, outbox)) => {
                outbox.below(entry.frontier).map(|found| Some((found, entry.job.clone())))
            }
        });
        let Some(((upto, epochs), job)) = found.await? else { return Ok(None) };
        let types = job.graph.nodes.last().map(|node| node.types.clone()).unwrap_or_default();
        let schema = positional_schema(&types);
        let epochs = epochs.into_iter().map(|batches| consolidate(&schema, batches));
        Ok(Some(Delivery { upto, epochs: epochs.collect::<Result<_>>()? }))
    }

    /// Commits what a delivery does to a table; with nothing to commit it only counts as delivered. Errors as for
    /// [`Runtime::commit`]; nothing is delivered then.
    pub async fn deliver(&self, writes: Vec<TableWrite>, delivered: Delivered) -> Result<()> {
        if !writes.is_empty() {
            let (reply, done) = oneshot::channel();
            self.engine.request(Request::Commit { writes, catalog: None, delivered: Some(delivered), reply });
            done.await.map_err(|_| Error::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down"))??;
        }
        if let Some((_, outbox)) = outbox(&self.engine.state.lock(), delivered.job, delivered.channel) {
            outbox.mark_delivered(delivered.upto);
        }
        self.engine.notify();
        Ok(())
    }

    /// Waits until the runtime stops.
    pub async fn stopped(&self) {
        // An error says the same.
        let _ = self.engine.wait_until(|state| state.is_stopping.then_some(())).await;
    }

    /// The rows of a job cannot be delivered: it fails.
    pub fn fail_delivery(&self, job: JobId, error: Error) {
        self.engine.fail_job(job, error);
    }

    /// Waits until tables hold what the job made in its first epoch. The job's error when it fails.
    pub async fn first_delivery(&self, job: JobId) -> Result<()> {
        let delivered = |state: &State| {
            let Some(entry) = state.jobs.get(&job) else { return Some(Ok(())) };
            let first = entry.job.start.first_epoch();
            match &entry.error {
                Some(error) => Some(Err(error.clone())),
                None => (entry.frontier > first && has_delivered(entry, first)).then_some(Ok(())),
            }
        };
        self.engine.wait_until(delivered).await?
    }
}

/// The job's entry with an outbox, as long as it works.
fn outbox(state: &State, job: JobId, channel: Channel) -> Option<(&JobEntry, &Arc<Outbox>)> {
    let entry = state.jobs.get(&job).filter(|entry| entry.state != JobState::Failed && !state.is_stopping)?;
    entry.job.outbox(channel).map(|outbox| (entry, outbox))
}
