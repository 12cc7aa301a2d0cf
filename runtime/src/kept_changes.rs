//! Changes on disk for readers of a changelog that a checkpoint leaves behind: jobs that lag, and subscriptions, whose
//! clients may come back after a restart.

use std::collections::BTreeSet;

use weir_common::{Epoch, ObjectId, Result};
use weir_storage::backend::{Keyspace, WriteBatch};
use weir_storage::ipc;

use crate::changelog::{Kept, RecordChange};
use crate::engine::Engine;
use crate::meta::{self, SubscriptionRecord};
use crate::relation::Relation;

/// Adds changes of a relation that somebody may still read.
pub fn add_changes(relation: ObjectId, kept: &[(Epoch, Kept)], batch: &mut WriteBatch) -> Result<()> {
    for (i, (at, changes)) in kept.iter().enumerate() {
        let key = meta::changelog_key(relation, *at, i as u32);
        batch.put(Keyspace::Changelog, &key, &ipc::encode_batch(&changes.clone().load()?)?);
    }
    Ok(())
}

/// Removes the changes of a relation up to an epoch.
pub fn forget_changes(relation: ObjectId, upto: Epoch, batch: &mut WriteBatch) {
    let start = meta::changelog_key(relation, Epoch::ZERO, 0);
    let end = meta::changelog_key(relation, upto.next(), 0);
    batch.delete_range(Keyspace::Changelog, &start, &end);
}

/// Adds what subscriptions to a relation need to go on after a restart, with the times of the epochs of `kept`.
pub fn add_subscriptions(
    engine: &Engine,
    relation: &Relation,
    kept: &[(Epoch, Kept)],
    batch: &mut WriteBatch,
) -> Result<()> {
    let key = meta::subscription_key(relation.id);
    let change = relation.changelog().record_change();
    let after = match change {
        RecordChange::Write(after) => after,
        RecordChange::Delete => {
            batch.delete(Keyspace::Meta, &key);
            return Ok(());
        }
        RecordChange::Nothing => return Ok(()),
    };
    let time_of = |epoch: Epoch| engine.state.lock().times.of(epoch);
    let record = SubscriptionRecord { after, after_micros: time_of(after) };
    batch.put(Keyspace::Meta, &key, &meta::encode(&record)?);
    let epochs: BTreeSet<Epoch> = kept.iter().map(|(epoch, _)| *epoch).collect();
    for epoch in epochs {
        let key = meta::changelog_time_key(relation.id, epoch);
        batch.put(Keyspace::Changelog, &key, &time_of(epoch).to_be_bytes());
    }
    Ok(())
}
