//! The sequencer: the one thread that closes epochs.
//!
//! Closing an epoch: collect the commits that wait and what sources have → apply them to relations under the next
//! number → append them to the log → fsync if there was a commit (group commit: whoever came during the last fsync
//! shares the next) → mark the jobs that have work → publish `committed` → answer. An epoch closes at once for a
//! commit, at the latest every `epoch_interval` for sources with readers, and never while nothing happens.
//!
//! Commits that do not fit on the disk are undone and refused, and everything else goes on; after any other failure of
//! the log nothing can be promised any more, and the process ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;
use weir_common::seam::DiskSpace;
use weir_common::{ChangeBatch, Epoch, Error, JobId, ObjectId, Pressure, Result, SqlState};
use weir_connector::{Split, SplitRange};
use weir_exec::event_time::EventTime;
use weir_storage::log::{DeliveredUpto, Log, LogRecord};

use crate::alignment::Groups;
use crate::checkpoint::CheckpointEvent;
use crate::commit::{TableWrite, stage};
use crate::engine::Engine;
use crate::idle::TableActivity;
use crate::index::{check_computed, check_unique};
use crate::job::{JobEntry, JobState};
use crate::outbox::Delivered;
use crate::relation::Relation;
use crate::source::{Reach, SourceState, encode_ranges};

/// What the sequencer is asked.
pub enum Request {
    /// Commit these writes in one epoch, with what this transaction prepared in the catalog.
    Commit {
        writes: Vec<TableWrite>,
        catalog: Option<u32>,
        /// The job whose rows these are.
        delivered: Option<Delivered>,
        reply: oneshot::Sender<Result<Epoch>>,
    },
    /// The catalog knows of the transaction that was committed with it: the log need not tell any more.
    CatalogCommitted,
    /// A reader of a source has room again.
    Demand,
    /// Bind what sources at rest have now; all of them, or one.
    Bind {
        source: Option<ObjectId>,
        reply: oneshot::Sender<Epoch>,
    },
    /// Close an epoch, whatever there is, so that it has the time of now.
    Tick {
        reply: oneshot::Sender<()>,
    },
    /// Answers when every commit that came before is applied.
    Fence {
        reply: oneshot::Sender<()>,
    },
    /// Records of the log up to here are not needed any more: the state backend, in this version, holds them.
    Trim {
        upto: Epoch,
        state_version: u64,
    },
    /// There are changes that no checkpoint holds.
    Touch,
    /// A checkpoint is due at once.
    Checkpoint,
    Stop,
}

/// Most rounds of binding that one request makes: a file that grows fast must not keep it busy.
const BIND_ROUNDS: usize = 64;

/// Part of the disk that commits leave to checkpoints, which let the log be trimmed, and the most they leave.
const DISK_SHARE_KEPT: u64 = 8;
const DISK_KEPT_MAX: u64 = 64 << 20;

/// Time between two checkpoints while memory is tight.
const TIGHT_CHECKPOINT_INTERVAL: Duration = Duration::from_millis(50);

/// The thread's state.
pub struct Sequencer {
    engine: Arc<Engine>,
    log: Log,
    requests: Receiver<Request>,
    /// Monotonic time of the last look at the sources.
    polled: Duration,
    checkpointed: Duration,
    /// Whether anything closed since the last checkpoint was declared.
    dirty: bool,
    /// Whether the log alone knows that a transaction which changes the catalog has committed.
    holds_catalog: bool,
    /// Whether the last write of the log found no room.
    is_disk_full: bool,
    tables: TableActivity,
}

/// What holds together with the rows of a commit.
struct Along {
    catalog: Option<u32>,
    delivered: Option<Delivered>,
}

/// What one epoch will hold.
#[derive(Default)]
struct Draft {
    tables: HashMap<ObjectId, Vec<ChangeBatch>>,
    bindings: Vec<(Arc<SourceState>, Vec<SplitRange>)>,
    catalog: Option<u32>,
    delivered: Vec<Delivered>,
    /// Whether it is closed even if it holds nothing: jobs that go by the clock wait for it.
    tick: bool,
    /// Tables, and splits of sources, that are idle from now on.
    idle: Vec<(ObjectId, Split)>,
    replies: Vec<oneshot::Sender<Result<Epoch>>>,
}

impl Sequencer {
    /// Takes over the log.
    pub fn new(engine: Arc<Engine>, log: Log, requests: Receiver<Request>, dirty: bool) -> Sequencer {
        let now = engine.clock.monotonic();
        Sequencer {
            engine,
            log,
            requests,
            polled: now,
            checkpointed: now,
            dirty,
            holds_catalog: false,
            is_disk_full: false,
            tables: TableActivity::default(),
        }
    }

    /// Runs until told to stop. A log that can't be written ends the process: nothing more could be promised.
    pub fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!("the log can't be written, the server stops: {error}");
                    std::process::abort();
                }
            }
        }
    }

    fn turn(&mut self) -> Result<bool> {
        let mut draft = Draft::default();
        let (mut binds, mut ticks) = (Vec::new(), Vec::new());
        let mut next = match self.wait() {
            Ok(request) => Some(request),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        };
        while let Some(request) = next {
            match request {
                Request::Commit { writes, catalog, delivered, reply } => {
                    self.add_commit(&mut draft, writes, Along { catalog, delivered }, reply);
                }
                Request::CatalogCommitted => self.holds_catalog = false,
                Request::Bind { source, reply } => binds.push((source, reply)),
                Request::Tick { reply } => {
                    draft.tick = true;
                    ticks.push(reply);
                }
                Request::Trim { .. } if self.holds_catalog => {}
                Request::Trim { upto, state_version } => {
                    if let Err(error) = self.log.trim(upto, state_version) {
                        self.check_log(&error)?;
                        tracing::info!("the log is trimmed later: {error}");
                    }
                }
                Request::Fence { reply } => drop(reply.send(())),
                Request::Demand => {}
                Request::Touch => self.dirty = true,
                Request::Checkpoint => (self.dirty, self.checkpointed) = (true, Duration::ZERO),
                Request::Stop => return Ok(false),
            }
            next = self.requests.try_recv().ok();
        }
        self.add_sources(&mut draft);
        self.add_idle(&mut draft);
        let deadline = self.engine.state.lock().next_deadline();
        draft.tick |= deadline.is_some_and(|deadline| deadline <= self.engine.clock.now_micros());
        self.close(draft)?;
        // Whoever asked may have gone away.
        for reply in ticks {
            let _ = reply.send(());
        }
        for (source, reply) in binds {
            let epoch = self.bind_all(source)?;
            let _ = reply.send(epoch);
        }
        Ok(true)
    }

    /// Waits for a request, at most until the next thing that is due by time.
    fn wait(&self) -> std::result::Result<Request, RecvTimeoutError> {
        let now = self.engine.clock.monotonic();
        let checkpoint = self.dirty.then(|| self.checkpointed + self.checkpoint_interval());
        let state = self.engine.state.lock();
        let mut due: Vec<Duration> = checkpoint.into_iter().chain(self.tables.next(&state, now)).collect();
        if state.sources.values().any(|s| s.is_live()) {
            due.push(self.polled + self.engine.config.epoch_interval);
        }
        if let Some(deadline) = state.next_deadline() {
            let left = deadline.saturating_sub(self.engine.clock.now_micros());
            due.push(now + Duration::from_micros(left.try_into().unwrap_or(0)));
        }
        drop(state);
        match due.into_iter().min() {
            Some(due) => self.requests.recv_timeout(due.saturating_sub(now)),
            None => self.requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Time between two checkpoints: when memory is tight they let go of what they make durable.
    fn checkpoint_interval(&self) -> Duration {
        let interval = self.engine.config.checkpoint_interval;
        if self.engine.wants_checkpoint() { interval.min(TIGHT_CHECKPOINT_INTERVAL) } else { interval }
    }

    /// Whether sources have to wait: memory is tight, and there is a checkpoint to come that lets some go.
    fn holds_sources_back(&self) -> bool {
        let is_behind =
            |e: &JobEntry| e.state == JobState::Running && e.paused.is_none() && e.pending.is_some();
        (self.engine.memory.pressure() > Pressure::None || self.engine.has_much_unsaved())
            && (self.dirty || self.engine.state.lock().jobs.values().any(is_behind))
    }

    /// Checks and applies a commit; one that breaks a constraint is answered at once and leaves nothing.
    fn add_commit(
        &self,
        draft: &mut Draft,
        writes: Vec<TableWrite>,
        along: Along,
        reply: oneshot::Sender<Result<Epoch>>,
    ) {
        let (epoch, relations) = self.relations_of(&writes);
        let staged = self.check_delivery(along.delivered).and_then(|()| stage(&writes, &relations));
        let applied = staged.and_then(|net| {
            for (relation, changes) in &net {
                check_computed(relation, changes)?;
                check_unique(relation, changes)?;
            }
            net.iter().try_for_each(|(relation, changes)| {
                changes.iter().try_for_each(|batch| relation.store.apply(epoch, batch))
            })?;
            Ok(net)
        });
        match applied {
            Ok(net) => {
                self.engine.committed_rows(net.iter().flat_map(|(_, changes)| changes));
                for (relation, changes) in net {
                    draft.tables.entry(relation.id).or_default().extend(changes);
                }
                draft.catalog = draft.catalog.or(along.catalog);
                draft.delivered.extend(along.delivered);
                draft.replies.push(reply);
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Refuses the rows of a job that was dropped or has failed meanwhile.
    fn check_delivery(&self, delivered: Option<Delivered>) -> Result<()> {
        let Some(Delivered { job, .. }) = delivered else { return Ok(()) };
        match self.engine.state.lock().jobs.get(&job) {
            Some(entry) if entry.state != JobState::Failed => Ok(()),
            _ => Err(Error::new(SqlState::UNDEFINED_OBJECT, "the job was dropped")),
        }
    }

    /// The epoch under way, and the tables that are written.
    fn relations_of(&self, writes: &[TableWrite]) -> (Epoch, HashMap<ObjectId, Arc<Relation>>) {
        let state = self.engine.state.lock();
        let known = writes.iter().filter_map(|w| Some((w.table, state.relations.get(&w.table)?.clone())));
        (state.committed.next(), known.collect())
    }

    /// Adds what sources have: on the epoch's beat, or when a reader has room and more is there at once.
    fn add_sources(&mut self, draft: &mut Draft) {
        let now = self.engine.clock.monotonic();
        let on_beat = now.saturating_sub(self.polled) >= self.engine.config.epoch_interval;
        let sources: Vec<_> = self.engine.state.lock().sources.values().cloned().collect();
        if self.holds_sources_back() {
            sources.iter().for_each(|source| source.not_asked());
            return;
        }
        let groups = Groups::of(&sources);
        let mut drained = false;
        for source in sources {
            if !on_beat && !source.wants_more_now() {
                continue;
            }
            let was_draining = source.is_draining();
            let ranges = source.discover(now, Reach::Budget).unwrap_or_default();
            let ranges = match groups.limit(source.alignment()) {
                Some(limit) => source.not_beyond(limit, ranges),
                None => ranges,
            };
            if !ranges.is_empty() {
                draft.bindings.push((source.clone(), ranges));
            }
            drained |= was_draining && !source.is_draining();
        }
        if drained {
            self.engine.notify();
        }
        if on_beat {
            self.polled = now;
        }
    }

    /// Adds what is idle by now.
    fn add_idle(&mut self, draft: &mut Draft) {
        let now = self.engine.clock.monotonic();
        let state = self.engine.state.lock();
        draft.idle = self.tables.newly_idle(&state, |table| draft.tables.contains_key(&table), now);
    }

    /// Binds everything that sources at rest have now, in epochs of their own.
    fn bind_all(&mut self, only: Option<ObjectId>) -> Result<Epoch> {
        for _ in 0..BIND_ROUNDS {
            let sources: Vec<_> = self.engine.state.lock().sources.values().cloned().collect();
            let now = self.engine.clock.monotonic();
            let mut draft = Draft::default();
            for source in
                sources.into_iter().filter(|s| s.source.is_at_rest() && only.is_none_or(|id| s.id == id))
            {
                if let Some(ranges) = source.discover(now, Reach::Everything) {
                    draft.bindings.push((source, ranges));
                }
            }
            if draft.bindings.is_empty() {
                break;
            }
            self.close(draft)?;
        }
        Ok(self.engine.state.lock().committed)
    }

    /// Closes an epoch with this in it; nothing happens when it is empty and no checkpoint is due.
    fn close(&mut self, mut draft: Draft) -> Result<()> {
        let now = self.engine.clock.monotonic();
        let empty =
            draft.tables.is_empty() && draft.bindings.is_empty() && draft.idle.is_empty() && !draft.tick;
        self.dirty |= !empty;
        let due = now.saturating_sub(self.checkpointed) >= self.checkpoint_interval();
        let mut checkpoint = self.dirty && due;
        if empty && !checkpoint {
            let epoch = self.engine.state.lock().committed;
            draft.replies.into_iter().for_each(|reply| drop(reply.send(Ok(epoch))));
            return Ok(());
        }
        let epoch = self.engine.state.lock().committed.next();
        let closed_micros = self.engine.state.lock().times.next(self.engine.clock.now_micros());
        if !draft.tables.is_empty() {
            fail::fail_point!(weir_common::failpoint::COMMIT_BEFORE_LOG);
        }
        if let Err(error) = self.write_log(epoch, closed_micros, &draft, checkpoint) {
            self.check_log(&error)?;
            self.refuse(&mut draft, epoch, &error)?;
            if std::mem::take(&mut checkpoint) {
                self.checkpointed = now;
            }
            if draft.bindings.is_empty() && !draft.tick {
                return Ok(());
            }
            self.write_log(epoch, closed_micros, &draft, false)?;
        }
        fail::fail_point!(weir_common::failpoint::EPOCH_BEFORE_PUBLISH);
        self.holds_catalog |= draft.catalog.is_some();
        let jobs = self.publish(epoch, closed_micros, &draft, checkpoint);
        fail::fail_point!(weir_common::failpoint::EPOCH_BEFORE_REPLY);
        draft.replies.into_iter().for_each(|reply| drop(reply.send(Ok(epoch))));
        self.engine.workers.pump(&jobs);
        self.engine.notify();
        if checkpoint {
            fail::fail_point!(weir_common::failpoint::CHECKPOINT_BEFORE_DECLARE);
            (self.dirty, self.checkpointed) = (false, now);
            self.engine.checkpoint_event(CheckpointEvent::Declared { epoch });
        }
        Ok(())
    }

    /// The error again when the log takes nothing any more after it.
    fn check_log(&self, error: &Error) -> Result<()> {
        if self.log.is_usable() { Ok(()) } else { Err(error.clone()) }
    }

    /// Takes the commits out of an epoch that could not be written, and answers them.
    fn refuse(&mut self, draft: &mut Draft, epoch: Epoch, error: &Error) -> Result<()> {
        for (id, changes) in draft.tables.drain() {
            let relation = self.engine.state.lock().relations.get(&id).cloned();
            let Some(relation) = relation else { continue };
            changes.iter().try_for_each(|batch| relation.store.apply(epoch, &batch.inverse()))?;
        }
        (draft.catalog, draft.delivered) = (None, Vec::new());
        if !std::mem::take(&mut draft.idle).is_empty() {
            self.tables.restart();
            self.engine.state.lock().sources.values().for_each(|source| source.not_asked());
        }
        draft.replies.drain(..).for_each(|reply| drop(reply.send(Err(error.clone()))));
        Ok(())
    }

    /// Commits are durable before they are answered, bindings before a checkpoint that holds their rows, as a job that lags
    /// behind it must find them again, and what is idle before anybody sees the windows that it closes.
    fn write_log(&mut self, epoch: Epoch, closed_micros: i64, draft: &Draft, checkpoint: bool) -> Result<()> {
        let tables = draft.tables.iter().map(|(id, changes)| (*id, changes.clone())).collect();
        let encode = |(s, ranges): &(Arc<SourceState>, Vec<SplitRange>)| Ok((s.id, encode_ranges(ranges)?));
        let sources = draft.bindings.iter().map(encode).collect::<Result<_>>()?;
        let upto =
            |d: &Delivered| DeliveredUpto { job: ObjectId(d.job.0), channel: d.channel as u8, upto: d.upto };
        let delivered = draft.delivered.iter().map(upto).collect();
        let (catalog, idle) = (draft.catalog, draft.idle.clone());
        let record = LogRecord { epoch, tables, sources, catalog, delivered, closed_micros, idle };
        if draft.tables.is_empty() && draft.idle.is_empty() && !checkpoint {
            return self.log.append(&record);
        }
        let room = if draft.tables.is_empty() { Ok(()) } else { self.check_room() };
        let written = room.and_then(|()| self.log.commit(&record));
        let is_full = matches!(&written, Err(error) if error.state() == SqlState::DISK_FULL);
        match std::mem::replace(&mut self.is_disk_full, is_full) {
            false if is_full => tracing::warn!("commits are refused until there is room on the disk"),
            true if written.is_ok() => tracing::info!("there is room on the disk again"),
            _ => {}
        }
        written
    }

    /// 53100 when the disk has so little room left that checkpoints need it, which make some.
    fn check_room(&self) -> Result<()> {
        let Ok(DiskSpace { free, total }) = self.engine.fs.space(&self.engine.config.data_dir) else {
            return Ok(());
        };
        let kept = (total / DISK_SHARE_KEPT).min(DISK_KEPT_MAX);
        if free >= kept {
            return Ok(());
        }
        let message = format!("could not commit: the disk has {} KiB of room left", free >> 10);
        Err(Error::new(SqlState::DISK_FULL, message)
            .with_detail(format!("The last {} KiB are kept for checkpoints.", kept >> 10))
            .with_hint("Make room on the disk of the data directory."))
    }

    /// Makes the epoch visible. Returns the jobs that can start on it.
    fn publish(&mut self, epoch: Epoch, closed_micros: i64, draft: &Draft, checkpoint: bool) -> Vec<JobId> {
        let now = self.engine.clock.monotonic();
        let mut state = self.engine.state.lock();
        let workers = self.engine.config.workers;
        let mut changed = HashSet::new();
        for (id, changes) in &draft.tables {
            changed.insert(*id);
            self.tables.got_rows(*id, now);
            let Some(relation) = state.relations.get(id) else { continue };
            for (i, batch) in changes.iter().enumerate() {
                relation.append((epoch.0 as usize + i) % workers, epoch, std::slice::from_ref(batch));
            }
        }
        if draft.tick {
            changed.insert(EventTime::CLOCK.object);
        }
        for (id, split) in &draft.idle {
            changed.insert(*id);
            state.note_idle(*id, split, epoch);
        }
        for (source, ranges) in &draft.bindings {
            changed.insert(source.id);
            source.bind(epoch, ranges.clone(), now);
        }
        let mut jobs = state.mark_dirty(&changed, epoch);
        if checkpoint {
            jobs = declare(&mut state.jobs, epoch);
        }
        state.times.close(epoch, closed_micros);
        if checkpoint {
            state.relations.values().for_each(|relation| relation.expire(now));
        }
        state.committed = epoch;
        jobs
    }
}

/// Declares a checkpoint at `epoch` for each job that has changed since its last one, is not taking one, and
/// reads only jobs of which the same holds or that have not changed: so no checkpoint is ever ahead of its
/// input's. Returns all jobs that have work.
fn declare(jobs: &mut BTreeMap<JobId, JobEntry>, epoch: Epoch) -> Vec<JobId> {
    let mut with_work = Vec::new();
    let mut behind: HashSet<JobId> = HashSet::new();
    for (id, entry) in jobs {
        if entry.state == JobState::Failed {
            continue;
        }
        let blocked = entry.job.relations().any(|r| r.producer.is_some_and(|p| behind.contains(&p)));
        let changed = entry.need > entry.checkpointed || entry.checkpointed == Epoch::ZERO;
        if changed && !blocked && entry.pending.is_none() {
            entry.job.declare_checkpoint(epoch);
            entry.job.metrics.declared();
            entry.pending = Some(epoch);
            entry.need = epoch;
        } else if changed {
            behind.insert(*id);
        }
        if !entry.is_caught_up() {
            with_work.push(*id);
        }
    }
    with_work
}
