//! The relation behind a shared side: what came at the side's port, as of an epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use parking_lot::Mutex;
use weir_common::key::KeyEncoder;
use weir_common::{ChangeBatch, Epoch, Result};

use crate::operator::SharedRows;
use crate::spec::{NodeSpec, OperatorSpec};

/// What came at the port of a shared side so far.
#[derive(Default)]
pub(super) struct SharedChanges {
    changes: Arc<Mutex<Vec<(Epoch, ChangeBatch)>>>,
    /// Whether checkpoints leave the rows as of the one before.
    stays: Arc<AtomicBool>,
}

impl SharedChanges {
    /// Notes a batch, if it is of the shared side.
    pub fn take(&self, spec: &NodeSpec, port: usize, epoch: Epoch, batch: &ChangeBatch) {
        if shared_side(spec).is_some_and(|(side, _)| side == port) {
            self.changes.lock().push((epoch, batch.clone()));
        }
    }

    /// Whether checkpoints leave the rows as of the one before from now on.
    pub fn stay(&self, stays: bool) {
        self.stays.store(stays, Ordering::Relaxed);
    }

    /// The rows up to an epoch as one worker looks them up.
    pub fn looked_up(&self, spec: &NodeSpec, upto: Epoch) -> Option<Arc<dyn SharedRows>> {
        let (_, key) = shared_side(spec)?;
        let (changes, stays) = (self.changes.clone(), self.stays.clone());
        Some(Arc::new(LookedUp { changes, key, upto: Mutex::new(upto), stays }))
    }
}

/// All changes of the relation behind a shared side, as one worker looks its rows up.
struct LookedUp {
    changes: Arc<Mutex<Vec<(Epoch, ChangeBatch)>>>,
    /// Of the side's input: the columns that it is looked up by.
    key: Vec<usize>,
    upto: Mutex<Epoch>,
    stays: Arc<AtomicBool>,
}

impl SharedRows for LookedUp {
    fn visit(&self, key: &[ArrayRef], visit: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let upto = *self.upto.lock();
        let encode = |columns: &[ArrayRef], rows: usize| {
            let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
            KeyEncoder::new(&types)?.encode_rows(columns, rows)
        };
        let asked = encode(key, key[0].len())?;
        let asked: Vec<&[u8]> = asked.iter().collect();
        let mut rows: BTreeMap<Vec<u8>, (i64, RecordBatch)> = BTreeMap::new();
        for (_, batch) in self.changes.lock().iter().filter(|(epoch, _)| *epoch <= upto) {
            let columns: Vec<ArrayRef> = self.key.iter().map(|c| batch.columns()[*c].clone()).collect();
            let (keys, whole) = (encode(&columns, batch.len())?, encode(batch.columns(), batch.len())?);
            for row in (0..batch.len()).filter(|row| asked.contains(&keys.row(*row))) {
                let of_row = || (0, batch.rows.slice(row, 1));
                rows.entry(whole.row(row).to_vec()).or_insert_with(of_row).0 += i64::from(batch.op(row));
            }
        }
        for (count, row) in rows.into_values() {
            (0..count).try_for_each(|_| visit(row.clone()))?;
        }
        Ok(())
    }

    fn renew(&self, epoch: Epoch) -> bool {
        let stays = self.stays.load(Ordering::Relaxed);
        if !stays {
            *self.upto.lock() = epoch;
        }
        !stays
    }
}

/// The side that a join shares, and its columns that rows are looked up by.
fn shared_side(spec: &NodeSpec) -> Option<(usize, Vec<usize>)> {
    let OperatorSpec::HashJoin { left_keys, right_keys, shared: Some(shared), .. } = &spec.operator else {
        return None;
    };
    let keys = [left_keys, right_keys][shared.side];
    Some((shared.side, shared.key.iter().map(|at| keys[*at]).collect()))
}
