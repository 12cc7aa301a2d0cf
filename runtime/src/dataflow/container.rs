//! Change batches as timely containers, and their exchange by key group.

use std::io::Write;

use arrow::array::UInt32Array;
use timely::Accountable;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;
use weir_common::key::KeyEncoder;
use weir_common::{ChangeBatch, KeyGroup};
use weir_storage::ipc;

use crate::event_time;

/// A change batch on its way between operators; empty before and after.
#[derive(Clone, Default)]
pub struct Parcel(pub Option<ChangeBatch>);

impl Accountable for Parcel {
    fn record_count(&self) -> i64 {
        self.0.as_ref().map_or(0, |batch| batch.len() as i64)
    }
}

impl ContainerBytes for Parcel {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        if bytes.len() <= 8 {
            return Parcel(None);
        }
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes were sliced")) as usize;
        Parcel(Some(ipc::decode_batch(&bytes[8..8 + length]).expect("a peer of this version sent the batch")))
    }

    fn length_in_bytes(&self) -> usize {
        8 + self.encoded().len().next_multiple_of(8)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let encoded = self.encoded();
        let padding = encoded.len().next_multiple_of(8) - encoded.len();
        let parts = [&(encoded.len() as u64).to_le_bytes()[..], &encoded, &[0; 8][..padding]];
        parts.iter().for_each(|part| writer.write_all(part).expect("the network buffer was sized for it"));
    }
}

impl Parcel {
    fn encoded(&self) -> Vec<u8> {
        self.0
            .as_ref()
            .map(|batch| ipc::encode_batch(batch).expect("a batch in memory encodes"))
            .unwrap_or_default()
    }
}

/// Sends each row to the worker that owns the key group of some of its columns.
pub struct ByKeyGroup {
    columns: Vec<usize>,
    encoder: Option<KeyEncoder>,
    rows: Vec<Vec<u32>>,
}

impl ByKeyGroup {
    /// Among `peers` workers, by these columns.
    pub fn new(columns: Vec<usize>, peers: usize) -> ByKeyGroup {
        ByKeyGroup { columns, encoder: None, rows: vec![Vec::new(); peers] }
    }

    /// Fills `self.rows` with the rows of each worker.
    fn assign(&mut self, batch: &ChangeBatch) {
        let peers = self.rows.len();
        let columns: Vec<_> = self.columns.iter().map(|c| batch.columns()[*c].clone()).collect();
        if columns.is_empty() {
            let owner = KeyGroup::of(&[]).owner(peers).0;
            self.rows[owner].extend(0..batch.len() as u32);
            return;
        }
        let encoder = self.encoder.get_or_insert_with(|| {
            let types: Vec<_> = columns.iter().map(|c| c.data_type().clone()).collect();
            KeyEncoder::new(&types).expect("the planner exchanges by columns that can be keys")
        });
        let keys = encoder.encode(&columns).expect("the columns have the encoder's types");
        for row in 0..batch.len() {
            self.rows[KeyGroup::of(keys.row(row)).owner(peers).0].push(row as u32);
        }
    }
}

/// Sends a parcel of marks to the worker that it is addressed to. (Progress is counted in records, so a parcel for all
/// of them has to be as many parcels.)
pub struct ToWorker;

impl Distributor<Parcel> for ToWorker {
    fn partition<T: Clone, P: Push<Message<T, Parcel>>>(
        &mut self,
        parcel: &mut Parcel,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let Some(batch) = parcel.0.take() else { return };
        let to = event_time::addressee(&batch).expect("marks are addressed to a worker");
        Message::push_at(&mut Parcel(Some(batch)), stamp.clone(), &mut pushers[to]);
    }

    fn flush<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

impl Distributor<Parcel> for ByKeyGroup {
    fn partition<T: Clone, P: Push<Message<T, Parcel>>>(
        &mut self,
        parcel: &mut Parcel,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let Some(batch) = parcel.0.take() else { return };
        if pushers.len() == 1 {
            Message::push_at(&mut Parcel(Some(batch)), stamp.clone(), &mut pushers[0]);
            return;
        }
        self.assign(&batch);
        for (rows, pusher) in self.rows.iter_mut().zip(pushers) {
            let share = match rows.len() {
                0 => continue,
                all if all == batch.len() => batch.clone(),
                _ => batch.take(&UInt32Array::from(std::mem::take(rows))).expect("row numbers of this batch"),
            };
            rows.clear();
            Message::push_at(&mut Parcel(Some(share)), stamp.clone(), pusher);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}
