//! `Subscription`: the changes of one relation, epoch by epoch, as they become complete.
//!
//! Place in the flow: made by the session layer for SUBSCRIBE; a changelog reader like any job. What it gives out is
//! what readers see: nothing of an epoch before all of it is there, each epoch consolidated. When it is dropped, what it
//! has not given out, or gave out less than [`ON_ITS_WAY`] before, stays for [`RETENTION`], so that a client that lost its
//! connection can go on where it was; and as long again after a restart of the server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_common::{ChangeBatch, Epoch, Error, ObjectId, RelationSchema, Result, SqlState};
use weir_storage::relation::RelationSnapshot;

use crate::changelog::Reader;
use crate::checkpoint::CheckpointEvent;
use crate::engine::{Engine, State};
use crate::output::consolidate;
use crate::read::Consistency;
use crate::relation::Relation;
use crate::runtime::Runtime;
use crate::start::failed_input;

/// How long changes are kept for a subscription that was dropped.
pub const RETENTION: Duration = Duration::from_secs(300);
/// How long what was given out may take to reach its client.
const ON_ITS_WAY: Duration = Duration::from_secs(30);

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With all rows as of now.
    Snapshot,
    /// With the first change after now.
    Now,
    /// With the first change after the epoch that was closed at this time.
    After(i64),
}

/// A running subscription.
pub struct Subscription {
    engine: Arc<Engine>,
    relation: Arc<Relation>,
    /// The columns that the relation had at the start.
    schema: Arc<RelationSchema>,
    reader: Reader,
    /// Everything up to here was given out.
    seen: Epoch,
    /// What was given out lately: when, and up to which epoch.
    on_its_way: VecDeque<(Duration, Epoch)>,
    snapshot: Option<RelationSnapshot>,
}

/// What happened to a relation from one call of [`Subscription::next`] to the next.
#[derive(Debug, Default)]
pub struct Changes {
    /// Each epoch with changes: its time, and the changes consolidated.
    pub epochs: Vec<(i64, Vec<ChangeBatch>)>,
    /// The time up to which the relation is complete now.
    pub upto: i64,
}

impl Runtime {
    /// Subscribes to a relation. Error 55000 when changes since the given time are not kept any more.
    pub async fn subscribe(&self, relation: ObjectId, from: From) -> Result<Subscription> {
        let mut subscription = self.subscribe_to_changes(relation, from)?;
        if from == From::Snapshot {
            // Changes are kept from before the rows are read, so none is missed.
            let view = self.read(&[relation], Consistency::Strict).await?;
            subscription.seen = view.epoch;
            subscription.snapshot = view.snapshots.into_values().next();
        }
        Ok(subscription)
    }

    fn subscribe_to_changes(&self, relation: ObjectId, from: From) -> Result<Subscription> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let reader = Reader::Subscription(NUMBER.fetch_add(1, Ordering::Relaxed));
        let state = self.engine.state.lock();
        let relation = state.relation(relation)?.clone();
        check(&state, &relation)?;
        let seen = match from {
            From::After(time) => state.times.epoch_at(time).ok_or_else(too_old)?,
            From::Snapshot | From::Now => state.committed,
        };
        let mut changelog = relation.changelog();
        if matches!(from, From::After(_)) && !changelog.reaches_back_to(seen) {
            return Err(too_old());
        }
        changelog.subscribe(reader, seen);
        drop(changelog);
        self.engine.checkpoint_event(CheckpointEvent::Subscribed { relation: relation.id });
        let (engine, schema) = (self.engine.clone(), relation.store.schema());
        let on_its_way = VecDeque::new();
        Ok(Subscription { engine, relation, schema, reader, seen, on_its_way, snapshot: None })
    }
}

impl Subscription {
    /// Columns and key of the relation.
    pub fn schema(&self) -> &RelationSchema {
        &self.schema
    }

    /// The rows that the subscription begins with, and the time they are of. Once only.
    pub fn take_snapshot(&mut self) -> Option<(i64, RelationSnapshot)> {
        let time = self.engine.state.lock().times.of(self.seen);
        self.snapshot.take().map(|snapshot| (time, snapshot))
    }

    /// Waits until there is more, and gives it. What is given counts as seen.
    pub async fn next(&mut self) -> Result<Changes> {
        let (seen, relation) = (self.seen, &self.relation);
        let more = |state: &State| {
            let upper = check(state, relation).map(|()| state.upper(relation));
            match upper {
                Ok(upper) => (upper.previous() > seen).then_some(Ok(upper)),
                Err(error) => Some(Err(error)),
            }
        };
        let upper = self.engine.wait_until(more).await??;
        self.take_below(upper)
    }

    /// As [`Self::next`], but waits no longer than until everything committed before the call is there; that may be
    /// nothing new.
    pub async fn next_committed(&mut self) -> Result<Changes> {
        let committed = self.engine.state.lock().committed;
        let relation = &self.relation;
        let complete = |state: &State| match check(state, relation) {
            Ok(()) => Some(state.upper(relation)).filter(|upper| *upper > committed).map(Ok),
            Err(error) => Some(Err(error)),
        };
        let upper = self.engine.wait_until(complete).await??;
        self.take_below(upper)
    }

    fn take_below(&mut self, upper: Epoch) -> Result<Changes> {
        let entries = {
            let mut changelog = self.relation.changelog();
            if !changelog.knows(self.reader) {
                return Err(overrun(&self.relation.name));
            }
            let entries = changelog.between(self.seen, upper);
            changelog.give(self.reader, upper.previous());
            entries
        };
        self.seen = upper.previous();
        self.release_arrived();
        let schema = self.schema.arrow();
        let mut by_epoch: BTreeMap<Epoch, Vec<ChangeBatch>> = BTreeMap::new();
        for (epoch, batch) in entries {
            by_epoch.entry(epoch).or_default().push(batch.load()?.conform(&schema)?);
        }
        let mut changes = Changes::default();
        for (epoch, batches) in by_epoch {
            let net = consolidate(&schema, batches)?;
            if !net.is_empty() {
                changes.epochs.push((self.engine.state.lock().times.of(epoch), net));
            }
        }
        changes.upto = self.engine.state.lock().times.of(self.seen);
        Ok(changes)
    }
}

impl Subscription {
    /// Lets go of what was given out long enough ago.
    fn release_arrived(&mut self) {
        let now = self.engine.clock.monotonic();
        self.on_its_way.push_back((now, self.seen));
        let mut arrived = None;
        while let Some((given, epoch)) = self.on_its_way.front()
            && now.saturating_sub(*given) >= ON_ITS_WAY
        {
            arrived = Some(*epoch);
            self.on_its_way.pop_front();
        }
        if let Some(epoch) = arrived {
            self.relation.changelog().release(self.reader, epoch);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let deadline = self.engine.clock.monotonic() + RETENTION;
        self.relation.changelog().park(self.reader, deadline);
    }
}

/// Whether the relation is still there and its job is healthy.
fn check(state: &State, relation: &Arc<Relation>) -> Result<()> {
    if !state.relations.get(&relation.id).is_some_and(|found| Arc::ptr_eq(found, relation)) {
        return Err(Error::new(SqlState::UNDEFINED_TABLE, "the relation was dropped"));
    }
    let producer = relation.producer.and_then(|job| state.jobs.get(&job));
    match producer.and_then(|entry| entry.error.as_ref()) {
        Some(error) => Err(failed_input(&relation.name, error)),
        None => Ok(()),
    }
}

fn too_old() -> Error {
    let message = "the changes after this time are not kept any more";
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_hint("Subscribe with a snapshot, and take its rows as the new state.")
}

fn overrun(name: &str) -> Error {
    let message = format!("the subscription to \"{name}\" is too far behind");
    Error::new(SqlState::OUT_OF_MEMORY, message)
        .with_detail("What was kept for it exceeded its share of the memory limit.")
        .with_hint("Read faster, or subscribe again with a snapshot.")
}
