//! `TableRows`: the rows of a table, for joins that look them up instead of keeping them.
//!
//! Every worker of every job has a snapshot of its own, all of the same rows: a table is in memory and on disk once,
//! however many joins read it. A snapshot is as of the job's state, and goes on with its checkpoints. After a restart the
//! table may be ahead of the job: then the job's snapshot is the table without the changes that the job has still to read,
//! which the table's changelog keeps for it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use parking_lot::Mutex;
use weir_common::{Epoch, Error, Result};
use weir_exec::operator::SharedRows;
use weir_exec::spec::{OperatorSpec, SharedSide};
use weir_storage::relation::{RelationPin, RelationSnapshot};

use crate::graph::{JobGraph, JobNodeKind};
use crate::job::{Beginning, Job, Origin};
use crate::relation::Relation;

/// A table as one worker of a job looks it up.
pub struct TableRows {
    table: Arc<Relation>,
    columns: Vec<usize>,
    snapshot: Mutex<RelationSnapshot>,
}

impl TableRows {
    /// The rows that a node of a job shares, if it does.
    pub fn of_node(job: &Job, node: usize) -> Result<Option<Arc<dyn SharedRows>>> {
        let Some(side) = shared_side(&job.graph, node) else { return Ok(None) };
        let found = job.inputs.iter().find_map(|input| match &input.origin {
            Origin::Relation { relation, snapshot, .. } if relation.id == side.relation => {
                Some((relation.clone(), snapshot))
            }
            _ => None,
        });
        let (table, pinned) =
            found.ok_or_else(|| Error::internal("a join shares rows that its job does not read"))?;
        let as_of = |epoch| table.as_of(epoch);
        let snapshot = match job.start.beginning {
            Beginning::Fresh => match pinned.lock().clone() {
                Some(pinned) => pinned,
                None => as_of(job.start.epoch)?,
            },
            Beginning::Resumed { after } => as_of(after)?,
            Beginning::Restored => as_of(job.start.epoch)?,
        };
        let (columns, snapshot) = (side.columns.clone(), Mutex::new(snapshot));
        Ok(Some(Arc::new(TableRows { table, columns, snapshot })))
    }
}

impl SharedRows for TableRows {
    fn visit(&self, key: &[ArrayRef], visit: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let snapshot = self.snapshot.lock().clone();
        snapshot.visit_keyed(key, &self.columns, visit)
    }

    fn renew(&self, epoch: Epoch) -> bool {
        let pin = self.table.store.pin();
        let is_there = self.table.oldest(&pin) <= epoch;
        if is_there {
            *self.snapshot.lock() = pin.at(epoch);
        }
        is_there
    }
}

impl Relation {
    /// The oldest epoch whose rows a pin has: its store does not know what the base held when it was opened.
    fn oldest(&self, pin: &RelationPin) -> Epoch {
        pin.oldest().max(self.base_epoch())
    }

    /// The rows after every change up to `epoch`, if the changes since are kept for somebody.
    fn as_of(&self, epoch: Epoch) -> Result<RelationSnapshot> {
        let pin = self.store.pin();
        let oldest = self.oldest(&pin);
        if oldest <= epoch {
            return Ok(pin.at(epoch));
        }
        let kept = self.changelog().between(epoch, oldest.next());
        let since =
            kept.into_iter().map(|(epoch, kept)| Ok((epoch, kept.load()?))).collect::<Result<Vec<_>>>()?;
        pin.at(oldest).before(&since)
    }
}

impl JobGraph {
    /// The input nodes whose rows a join looks up: of these only changes are fed.
    pub fn shared_inputs(&self) -> Vec<usize> {
        let joins = (0..self.nodes.len()).filter_map(|node| Some((node, shared_side(self, node)?)));
        joins.map(|(node, side)| self.relation_above(self.nodes[node].inputs[side.side].from)).collect()
    }

    /// The relation that is the node or that a Calc reads.
    fn relation_above(&self, node: usize) -> usize {
        match &self.nodes[node].kind {
            JobNodeKind::Operator(_) => self.relation_above(self.nodes[node].inputs[0].from),
            _ => node,
        }
    }
}

fn shared_side(graph: &JobGraph, node: usize) -> Option<&SharedSide> {
    match &graph.nodes[node].kind {
        JobNodeKind::Operator(OperatorSpec::HashJoin { shared, .. }) => shared.as_deref(),
        _ => None,
    }
}
