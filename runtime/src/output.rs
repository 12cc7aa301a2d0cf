//! The last node of a job: writes the rows of an epoch, consolidated, into its relation or sink.
//!
//! Consolidation (no row is both inserted and deleted within an epoch) makes what readers of the changelog see
//! minimal and lets a keyed relation be written without reading it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use weir_common::change::record_batch;
use weir_common::key::KeyEncoder;
use weir_common::{ChangeBatch, Epoch, Error, Result};
use weir_connector::SinkWriter;
use weir_exec::operator::{Flow, Operator, Output, Port, StateWriter};

use crate::job::{Beginning, Job};
use crate::outbox::OutboxWriter;
use crate::relation::Relation;
use crate::renewed::replaced;

/// Rows of a snapshot that are held at most before they are written.
const FLUSH_ROWS: usize = 64 * 1024;

/// Where consolidated rows go.
pub enum Target {
    Relation { relation: Arc<Relation>, worker: usize },
    Sink(Box<dyn SinkWriter>),
    Table(OutboxWriter),
}

/// The operator that ends a job.
pub struct OutputNode {
    target: Target,
    job: Arc<Job>,
    /// Names and types of the target's columns.
    schema: SchemaRef,
    held: Vec<ChangeBatch>,
    held_rows: usize,
    epoch: Epoch,
    /// Whether the job forgets groups that may come again.
    forgets: bool,
    /// The job's first epoch, while a fresh job is in it: its rows are all inserts, so they need not be held.
    snapshot: Option<Epoch>,
}

impl OutputNode {
    /// An end for `job` whose rows have these columns.
    pub fn new(job: Arc<Job>, target: Target, schema: SchemaRef) -> OutputNode {
        let (epoch, forgets) = (job.start.epoch, job.graph.forgets_groups());
        let snapshot = (job.start.beginning == Beginning::Fresh).then_some(epoch);
        OutputNode { target, job, schema, held: Vec::new(), held_rows: 0, epoch, forgets, snapshot }
    }

    fn write(&mut self, epoch: Epoch) -> Result<()> {
        self.held_rows = 0;
        let mut batches = consolidate(&self.schema, std::mem::take(&mut self.held))?;
        if let Target::Relation { relation, .. } = &self.target
            && self.forgets
        {
            batches = self.with_replaced(relation, epoch, batches)?;
        }
        if batches.is_empty() {
            return Ok(());
        }
        let rows: usize = batches.iter().map(ChangeBatch::len).sum();
        self.job.metrics.rows_out.add(epoch, rows as u64);
        match &mut self.target {
            Target::Relation { relation, worker } => relation.apply(*worker, epoch, &batches),
            Target::Sink(writer) => batches.iter().try_for_each(|batch| writer.write(epoch, batch)),
            Target::Table(writer) => {
                writer.write(epoch, &batches);
                Ok(())
            }
        }
    }
}

impl OutputNode {
    /// The changes, and the deletes of rows whose groups have begun anew.
    fn with_replaced(
        &self,
        relation: &Relation,
        epoch: Epoch,
        changes: Vec<ChangeBatch>,
    ) -> Result<Vec<ChangeBatch>> {
        let mut deletes = replaced(relation, &changes)?;
        if deletes.is_empty() {
            return Ok(changes);
        }
        let hits = deletes.iter().map(ChangeBatch::len).sum::<usize>();
        self.job.metrics.expired_hits.add(epoch, hits as u64);
        deletes.extend(changes);
        consolidate(&self.schema, deletes)
    }
}

impl Operator for OutputNode {
    fn on_batch(&mut self, _: Port, batch: ChangeBatch, _: &mut Output) -> Result<Flow> {
        self.held_rows += batch.len();
        let only_inserts = batch.ops.is_none();
        self.held.push(batch);
        match self.snapshot {
            Some(epoch) if only_inserts && self.held_rows >= FLUSH_ROWS => self.write(epoch)?,
            Some(_) if !only_inserts => self.snapshot = None,
            _ => {}
        }
        Ok(Flow::Done)
    }

    fn on_epoch_end(&mut self, epoch: Epoch, _: &mut Output) -> Result<Flow> {
        self.epoch = epoch;
        self.snapshot = None;
        self.write(epoch)?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        match &mut self.target {
            Target::Table(writer) => writer.checkpoint(state),
            Target::Sink(writer) => writer.prepare(self.epoch),
            Target::Relation { .. } => Ok(()),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.held.iter().map(ChangeBatch::memory_size).sum()
    }
}

/// The net of the batches: each row with its summed weight, as that many inserts or deletes.
pub fn consolidate(schema: &SchemaRef, batches: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
    let renamed = batches.into_iter().map(|batch| {
        let rows = record_batch(schema.clone(), batch.rows.columns().to_vec(), batch.len())?;
        Ok(ChangeBatch { rows, ops: batch.ops })
    });
    let batches = renamed.collect::<Result<Vec<_>>>()?;
    if batches.iter().all(|batch| batch.ops.is_none()) {
        return Ok(batches);
    }
    let rows = concat_batches(schema, batches.iter().map(|b| &b.rows)).map_err(Error::internal)?;
    let ops: Vec<i8> = batches.iter().flat_map(|b| (0..b.len()).map(|i| b.op(i))).collect();
    let types: Vec<_> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
    let keys = KeyEncoder::new(&types)?.encode(rows.columns())?;
    let mut weights: HashMap<&[u8], (u32, i64)> = HashMap::with_capacity(ops.len());
    for (i, op) in ops.iter().enumerate() {
        weights.entry(keys.row(i)).or_insert((i as u32, 0)).1 += i64::from(*op);
    }
    let mut net: Vec<(u32, i64)> = weights.into_values().filter(|(_, weight)| *weight != 0).collect();
    net.sort_unstable();
    let repeat = |(row, weight): &(u32, i64)| {
        std::iter::repeat_n((*row, weight.signum() as i8), weight.unsigned_abs() as usize)
    };
    let (indices, ops): (Vec<u32>, Vec<i8>) = net.iter().flat_map(repeat).unzip();
    if indices.is_empty() {
        return Ok(Vec::new());
    }
    let taken = ChangeBatch::inserts(rows).take(&UInt32Array::from(indices))?;
    Ok(vec![ChangeBatch::new(taken.rows, ops.into())])
}

/// A schema with these column types; names are positions.
pub fn positional_schema(types: &[arrow::datatypes::DataType]) -> SchemaRef {
    let field = |(i, ty): (usize, &arrow::datatypes::DataType)| {
        arrow::datatypes::Field::new(format!("c{i}"), ty.clone(), true)
    };
    Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>()))
}
