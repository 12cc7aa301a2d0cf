//! Reads: the rows of several relations at one epoch, as fresh as is asked for.
//!
//! Place in the flow: called by the session layer for each statement. Invariant: whatever the consistency, all relations
//! of a read show the same epoch, and each is complete as of it; a read waits for the relations that it names and for
//! nothing else.

use std::collections::HashMap;

use weir_common::{Epoch, Error, JobId, ObjectId, Result, SqlState};
use weir_storage::relation::{RelationPin, RelationSnapshot};

use crate::engine::State;
use crate::job::JobEntry;
use crate::runtime::Runtime;
use crate::start::failed_input;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// It sees every commit that was acknowledged before it began (strict serializability).
    Strict,
    /// It sees every commit up to this one, the session's last.
    Session(Epoch),
    /// It sees what is there: the newest epoch that all its relations have reached.
    Eventual,
}

/// Rows of several relations at one epoch.
pub struct ReadView {
    pub epoch: Epoch,
    pub snapshots: HashMap<ObjectId, RelationSnapshot>,
}

type Pins = Vec<(ObjectId, RelationPin)>;

impl ReadView {
    fn at(epoch: Epoch, pins: Pins) -> ReadView {
        ReadView { epoch, snapshots: pins.into_iter().map(|(id, pin)| (id, pin.at(epoch))).collect() }
    }
}

impl Runtime {
    /// The rows of these relations at one epoch. Waits for the views among them, and for nothing else, until they are
    /// as fresh as `consistency` asks. A failed view is an error with its reason.
    pub async fn read(&self, relations: &[ObjectId], consistency: Consistency) -> Result<ReadView> {
        match consistency {
            Consistency::Strict => self.read_now(relations).await,
            Consistency::Session(after) => self.read_since(relations, after).await,
            Consistency::Eventual => self.read_since(relations, Epoch::ZERO).await,
        }
    }

    /// At the epoch that is committed as the read begins.
    async fn read_now(&self, relations: &[ObjectId]) -> Result<ReadView> {
        let mut pins = Pins::new();
        let mut needs = Vec::new();
        let epoch = {
            let state = self.engine.state.lock();
            for id in relations {
                let relation = state.relation(*id)?;
                pins.push((*id, relation.store.pin()));
                if let Some(entry) = relation.producer.and_then(|job| state.jobs.get(&job)) {
                    needs.push((entry.job.id, entry.need));
                }
            }
            state.committed
        };
        self.wait_for(&needs).await?;
        Ok(ReadView::at(epoch, pins))
    }

    /// At the newest epoch that is complete in every relation, at or after `after`.
    async fn read_since(&self, relations: &[ObjectId], after: Epoch) -> Result<ReadView> {
        let common = |state: &State| match newest_common(state, relations, after) {
            Ok(found) => found.map(Ok),
            Err(error) => Some(Err(error)),
        };
        let (epoch, pins) = self.engine.wait_until(common).await??;
        Ok(ReadView::at(epoch, pins))
    }

    /// Waits until each job has passed its epoch.
    async fn wait_for(&self, needs: &[(JobId, Epoch)]) -> Result<()> {
        if needs.is_empty() {
            return Ok(());
        }
        let passed = |state: &State| {
            for (job, need) in needs {
                let Some(entry) = state.jobs.get(job) else { return Some(Err(dropped())) };
                if let Err(error) = check_healthy(entry) {
                    return Some(Err(error));
                }
                if entry.frontier > *need {
                    continue;
                }
                return state.paused_by(entry).map(|paused| Err(is_paused(paused)));
            }
            Some(Ok(()))
        };
        self.engine.wait_until(passed).await?
    }
}

/// The newest epoch that every relation is complete as of and can still be read at, with the relations pinned;
/// `None` while there is none at or after `after`.
fn newest_common(state: &State, relations: &[ObjectId], after: Epoch) -> Result<Option<(Epoch, Pins)>> {
    let (mut oldest, mut newest) = (after, state.committed);
    let mut pins = Pins::new();
    for id in relations {
        let relation = state.relations.get(id).ok_or_else(dropped)?;
        if let Some(entry) = relation.producer.and_then(|job| state.jobs.get(&job)) {
            check_healthy(entry)?;
            if entry.job.start.reads_snapshots() && entry.frontier <= entry.job.start.epoch {
                return Ok(None);
            }
        }
        let pin = relation.store.pin();
        oldest = oldest.max(pin.oldest()).max(relation.base_epoch());
        newest = newest.min(state.upper(relation).previous());
        pins.push((*id, pin));
    }
    Ok((newest >= oldest).then_some((newest, pins)))
}

fn check_healthy(entry: &JobEntry) -> Result<()> {
    entry.error.as_ref().map_or(Ok(()), |error| Err(failed_input(&entry.job.graph.name, error)))
}

/// The error of whoever would wait for a paused view.
fn is_paused(entry: &JobEntry) -> Error {
    let message = format!("materialized view \"{}\" is paused", entry.job.graph.name);
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_hint("RESUME it, or read what it has with SET weir.consistency = 'eventual'.")
}

fn dropped() -> Error {
    Error::new(SqlState::UNDEFINED_TABLE, "the relation was dropped")
}
