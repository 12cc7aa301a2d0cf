//! SUBSCRIBE: the changes of a relation as rows.
//!
//! ```text
//!   op             ts                    k | v
//!   insert         … the snapshot …      1 | a
//!   update_delete  12:00:01.5            1 | a      a key's old row and its new one,
//!   update_insert  12:00:01.5            1 | b      one behind the other
//!   delete         12:00:02.1            1 | b
//! ```
//! `ts` is when the change was committed: every change of one moment has the same, later ones have greater ones, and
//! a client that lost its connection goes on `WITH (after = '…')` the last `ts` it has worked in. A row
//! `progress` says that the relation is complete up to its `ts`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use weir_common::change::record_batch;
use weir_common::key::KeyEncoder;
use weir_common::{ChangeBatch, Error, RelationKey, RelationSchema, Result, SqlType};
use weir_planner::bound::{BoundSubscribe, SubscribeFrom};
use weir_runtime::{Changes, Subscription};

use crate::outcome::{Outcome, RowStream, RowsTag};
use crate::query::result_schema;
use crate::session::Session;

/// Rows of a snapshot that come at once.
const SNAPSHOT_ROWS: usize = 4096;

/// A subscription with the shape of its rows.
pub(crate) struct Changefeed {
    subscription: Subscription,
    relation: RelationSchema,
    /// Which of the relation's columns are given.
    positions: Vec<usize>,
    schema: SchemaRef,
    progress: bool,
    /// The time of the last `progress` row.
    reported: i64,
}

impl Session {
    /// Runs SUBSCRIBE: rows come until the client has enough.
    pub(crate) async fn subscribe(&mut self, bound: &BoundSubscribe) -> Result<Outcome> {
        let feed = self.changefeed(bound).await?;
        let columns = bound.columns.clone();
        Ok(Outcome::Rows { columns, stream: feed.into_stream(), tag: RowsTag::Counted("SUBSCRIBE") })
    }

    /// Begins a subscription. What the session wrote in an implicit block is committed before.
    pub(crate) async fn changefeed(&mut self, bound: &BoundSubscribe) -> Result<Changefeed> {
        let catalog = self.catalog();
        self.env.check_not_broken(&catalog, bound.relation)?;
        if self.transaction.block() == crate::transaction::Block::Implicit {
            self.commit_writes().await?;
        }
        let from = match bound.from {
            SubscribeFrom::Snapshot => weir_runtime::SubscribeFrom::Snapshot,
            SubscribeFrom::Now => weir_runtime::SubscribeFrom::Now,
            SubscribeFrom::After(time) => weir_runtime::SubscribeFrom::After(time),
        };
        let subscription = self.env.runtime.subscribe(bound.relation, from).await?;
        let relation = subscription.schema().clone();
        let schema = result_schema(&bound.columns);
        let (positions, progress) = (bound.positions.clone(), bound.progress);
        Ok(Changefeed { subscription, relation, positions, schema, progress, reported: i64::MIN })
    }
}

impl Changefeed {
    /// All rows: the snapshot, then changes as they come, for ever.
    pub(crate) fn into_stream(mut self) -> RowStream {
        let snapshot = self.snapshot();
        let changes = futures::stream::unfold(Some(self), |feed| async {
            let mut feed = feed?;
            match feed.next().await {
                Ok(batches) => Some((futures::stream::iter(batches.into_iter().map(Ok)).boxed(), Some(feed))),
                Err(error) => Some((futures::stream::iter([Err(error)]).boxed(), None)),
            }
        });
        snapshot.chain(changes.flatten()).boxed()
    }

    /// The rows that the subscription begins with, once.
    pub(crate) fn snapshot(&mut self) -> RowStream {
        let Some((time, snapshot)) = self.subscription.take_snapshot() else {
            return futures::stream::empty().boxed();
        };
        let schema = Arc::clone(&self.schema);
        let rows = snapshot.scan(&self.positions, SNAPSHOT_ROWS).map(move |batch| {
            let batch = batch?;
            labelled(&schema, vec!["insert"; batch.num_rows()], time, batch.columns())
        });
        let progress = self.progress_row(time).transpose();
        futures::stream::iter(rows.chain(progress)).boxed()
    }

    /// Waits for more, and gives it.
    pub(crate) async fn next(&mut self) -> Result<Vec<RecordBatch>> {
        let changes = self.subscription.next().await?;
        self.rows_of(changes)
    }

    /// What was committed before the call and not given yet.
    pub(crate) async fn next_committed(&mut self) -> Result<Vec<RecordBatch>> {
        let changes = self.subscription.next_committed().await?;
        self.rows_of(changes)
    }

    fn rows_of(&mut self, changes: Changes) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::with_capacity(changes.epochs.len() + 1);
        for (time, epoch) in changes.epochs {
            batches.push(self.epoch_rows(time, &epoch)?);
        }
        batches.extend(self.progress_row(changes.upto)?);
        Ok(batches)
    }

    /// The changes of one epoch in order of their keys, each delete followed by the insert of the same key, if there is
    /// one. A relation without a key has whole rows as keys.
    fn epoch_rows(&self, time: i64, changes: &[ChangeBatch]) -> Result<RecordBatch> {
        let rows = concat_batches(&changes[0].rows.schema(), changes.iter().map(|c| &c.rows));
        let rows = rows.map_err(Error::internal)?;
        let ops: Vec<i8> = changes.iter().flat_map(|c| (0..c.len()).map(|row| c.op(row))).collect();
        let is_keyed = matches!(self.relation.key, RelationKey::Columns(_));
        let (order, words) = ordered(&rows, &ops, &self.relation.key_columns(), is_keyed)?;
        let order = UInt32Array::from(order);
        let given: Vec<_> = self.positions.iter().map(|i| rows.column(*i).clone()).collect();
        let columns = arrow::compute::take_arrays(&given, &order, None).map_err(Error::internal)?;
        labelled(&self.schema, words, time, &columns)
    }

    fn progress_row(&mut self, time: i64) -> Result<Option<RecordBatch>> {
        if !self.progress || time <= self.reported {
            return Ok(None);
        }
        self.reported = time;
        let nulls: Vec<ArrayRef> =
            self.relation.data_types().iter().map(|ty| new_null_array(ty, 1)).collect();
        labelled(&self.schema, vec!["progress"], time, &nulls).map(Some)
    }
}

/// The order of rows by key, and the word of each; with `pairs`, a key's delete and insert are an update.
fn ordered(
    rows: &RecordBatch,
    ops: &[i8],
    key: &[usize],
    pairs: bool,
) -> Result<(Vec<u32>, Vec<&'static str>)> {
    let columns: Vec<ArrayRef> = key.iter().map(|column| Arc::clone(rows.column(*column))).collect();
    let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
    let keys = KeyEncoder::new(&types)?.encode_rows(&columns, ops.len())?;
    let mut order: Vec<u32> = (0..ops.len() as u32).collect();
    order.sort_by_key(|row| (keys.row(*row as usize), ops[*row as usize]));
    let word = |at: usize| {
        let row = order[at] as usize;
        let same = |other: Option<&u32>| {
            pairs && other.is_some_and(|other| keys.row(*other as usize) == keys.row(row))
        };
        match ops[row] > 0 {
            true if at > 0 && same(order.get(at - 1)) => "update_insert",
            true => "insert",
            false if same(order.get(at + 1)) => "update_delete",
            false => "delete",
        }
    };
    let words = (0..order.len()).map(word).collect();
    Ok((order, words))
}

/// Rows with their first two columns.
fn labelled(schema: &SchemaRef, words: Vec<&str>, time: i64, columns: &[ArrayRef]) -> Result<RecordBatch> {
    let rows = words.len();
    let ops: ArrayRef = Arc::new(StringArray::from(words));
    let times = TimestampMicrosecondArray::from_value(time, rows);
    let times: ArrayRef = Arc::new(times.with_data_type(SqlType::Timestamptz.arrow()));
    let columns = [ops, times].into_iter().chain(columns.iter().cloned()).collect();
    record_batch(Arc::clone(schema), columns, rows)
}
