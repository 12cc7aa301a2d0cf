//! Groups that an aggregate lets go of when memory is tight, and reads again when a row of theirs comes.
//!
//! Right after a checkpoint all groups are on disk or on their way there. Those that this checkpoint wrote or deleted stay,
//! since its entries may not be readable yet; the others are forgotten. From then on a key that is not in memory is
//! looked up, all new keys of a batch at once, in the order of storage.
//!
//! Calls that keep values (DISTINCT, ordered aggregates, min and max with deletes) have more than one entry a group: an
//! aggregate with such a call keeps all of it. So does one whose groups end: they are found by their time in memory.

use std::sync::Arc;

use arrow::datatypes::DataType;
use weir_common::{Error, KeyGroup, Result};

use super::call::Call;
use super::persist::GROUPS;
use super::{ABSENT, Aggregate, PERSISTED};
use crate::operator::{StateLookup, StateReader};
use crate::operators::checkpoint::{CHUNK_ROWS, storage_order};
use crate::spec::{AggregateCall, ChangelogMode};

/// What it takes to let go of groups.
pub(super) struct Shedding {
    /// What the accumulators were made from.
    calls: Vec<AggregateCall>,
    mode: ChangelogMode,
    input: Vec<DataType>,
    pub durable: Option<Arc<dyn StateLookup>>,
    /// Whether there may be groups on disk that are not in memory.
    pub is_incomplete: bool,
}

impl Shedding {
    /// For an aggregate of these calls over these columns.
    pub fn new(calls: &[AggregateCall], mode: ChangelogMode, input: &[DataType]) -> Shedding {
        Shedding { calls: calls.to_vec(), mode, input: input.to_vec(), durable: None, is_incomplete: false }
    }
}

impl Aggregate {
    /// Forgets all groups but those of the last checkpoint, if that is much.
    pub(super) fn let_go(&mut self) -> Result<()> {
        let kept = self.written.len() + self.deleted.len();
        if self.group.is_empty()
            || self.keeps_values()
            || self.closing.is_some()
            || kept * 4 > self.keys.len() * 3
        {
            return Ok(());
        }
        let (written, deleted) = (std::mem::take(&mut self.written), std::mem::take(&mut self.deleted));
        let mut kept = self.emptied()?;
        for chunk in written.chunks(CHUNK_ROWS) {
            self.copy_groups(chunk, &mut kept)?;
        }
        let absent: Vec<u32> = deleted.into_iter().filter(|id| self.flags[*id as usize] == ABSENT).collect();
        self.keys_of(&absent, &mut kept)?;
        kept.ids.iter().for_each(|id| kept.flags[*id as usize] = ABSENT);
        kept.deleted = std::mem::take(&mut kept.ids);
        *self = kept;
        Ok(())
    }

    /// While the last checkpoint is read: whether memory is tight, so that its groups stay on disk.
    pub(super) fn stays_on_disk(&mut self, state: &dyn StateReader) -> bool {
        let can_shed = !self.group.is_empty() && !self.keeps_values() && self.closing.is_none();
        self.shedding.is_incomplete |= can_shed && state.is_tight();
        self.shedding.is_incomplete
    }

    /// Whether a call keeps values, which are entries of their own.
    fn keeps_values(&self) -> bool {
        let keeps = |call: &Call| matches!(call, Call::Accumulated(call) if call.values.is_some());
        self.calls.iter().any(keeps)
    }

    /// This aggregate without a group.
    pub(super) fn emptied(&self) -> Result<Aggregate> {
        let Shedding { calls, mode, input, durable, .. } = &self.shedding;
        let mut emptied = Aggregate::new(&self.group, calls, *mode, input)?;
        emptied.shedding.durable = durable.clone();
        emptied.shedding.is_incomplete = true;
        Ok(emptied)
    }

    /// Gives `to` the keys of these groups; their ids there are left in `to.ids`.
    fn keys_of(&self, ids: &[u32], to: &mut Aggregate) -> Result<()> {
        to.keys.upsert(&self.keys.gather(ids)?, ids.len(), &mut to.ids)?;
        to.resize();
        Ok(())
    }

    fn copy_groups(&self, ids: &[u32], to: &mut Aggregate) -> Result<()> {
        self.keys_of(ids, to)?;
        let new = std::mem::take(&mut to.ids);
        to.restore_groups(&new, &self.saved(ids)?)?;
        to.written.extend_from_slice(&new);
        to.ids = new;
        Ok(())
    }

    /// Reads the groups again that are not in memory.
    pub(super) fn read_again(&mut self, ids: &[u32]) -> Result<()> {
        let mut missing = Vec::new();
        for id in ids {
            let flags = &mut self.flags[*id as usize];
            if *flags == 0 {
                // Until an entry of it is found.
                *flags = ABSENT;
                missing.push(*id);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let durable = self.shedding.durable.clone();
        let durable = durable.ok_or_else(|| Error::internal("an aggregate that was not opened"))?;
        let keys = self.keys.encode(&missing)?;
        let order = storage_order(&keys, |i| KeyGroup::of(keys.row(i)));
        let asked: Vec<(KeyGroup, &[u8])> =
            order.iter().map(|(group, at)| (*group, keys.row(*at as usize))).collect();
        let (mut found, mut values) = (Vec::new(), Vec::new());
        durable.points(GROUPS, &asked, &mut |position, value| {
            found.push(missing[order[position].1 as usize]);
            values.push(value.to_vec());
            Ok(())
        })?;
        if found.is_empty() {
            return Ok(());
        }
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let columns = self.codec()?.decode(&values)?;
        self.restore_groups(&found, &columns)?;
        debug_assert!(found.iter().all(|id| self.flags[*id as usize] == PERSISTED));
        Ok(())
    }
}
