//! `JobGraph`: what the planner hands to the runtime; plain serialisable data.
//!
//! Nodes stand in topological order (an edge points to an earlier node). Nodes linked by `Exchange::Local`
//! edges are fused into one dataflow operator. The last node is the output: its rows go to the job's relation
//! or sink.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_common::{JobId, ObjectId, OperatorId, RelationSchema};
use weir_exec::event_time::{EventTime, WatermarkExpr};
use weir_exec::spec::OperatorSpec;

/// How rows travel along an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exchange {
    /// They stay on their worker.
    Local,
    /// To the owner of the key group of these columns (NULLs included). No column: all rows to one worker.
    ByKey(Vec<usize>),
}

/// An input of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEdge {
    /// Position of the node that produces the rows.
    pub from: usize,
    pub exchange: Exchange,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JobNodeKind {
    /// Rows of a table or view: its snapshot at the job's first epoch, then its changelog.
    Relation { relation: ObjectId, project: Vec<usize> },
    /// Rows of an external source: from the beginning, by the epochs its offsets are bound to.
    Source { source: ObjectId, project: Vec<usize> },
    /// A constant set of rows, inserted once in the first epoch: Arrow IPC stream bytes.
    Values { ipc: Vec<u8> },
    /// An operator.
    Operator(OperatorSpec),
}

/// A node of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobNode {
    /// Same over restarts: keys the node's state.
    pub id: OperatorId,
    pub kind: JobNodeKind,
    pub inputs: Vec<JobEdge>,
    /// Column types of the output.
    pub types: Vec<DataType>,
    /// What the operator is told of event time.
    pub watermark: Option<WatermarkExpr>,
}

impl JobNode {
    /// Whether what it is told of time is of the clock.
    fn reads_clock(&self) -> bool {
        let mut found = false;
        if let Some(watermark) = &self.watermark {
            watermark.visit(&mut |time| found |= time == EventTime::CLOCK);
        }
        found
    }

    /// Whether the operator is told when epochs were closed.
    pub fn reads_epoch_time(&self) -> bool {
        matches!(self.kind, JobNodeKind::Operator(OperatorSpec::ProcTime))
    }
}

/// Where the last node's rows go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobOutput {
    /// Into a relation; the last node's distribution is by the relation's key columns.
    Relation { relation: ObjectId, schema: RelationSchema },
    /// Into an external sink.
    Sink { sink: ObjectId },
    /// Into a table that others write too: the session layer commits the rows.
    Table { sink: ObjectId, table: ObjectId },
}

/// A continuous job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    pub job: JobId,
    /// For people: the object's name.
    pub name: String,
    pub nodes: Vec<JobNode>,
    pub output: JobOutput,
    /// Columns of the output, by position, with their watermarks.
    pub watermarks: Vec<(usize, WatermarkExpr)>,
}

impl JobGraph {
    /// The event times that something in it is a function of, each once, in order.
    pub fn event_times(&self) -> Vec<EventTime> {
        let mut times = Vec::new();
        let of_nodes = self.nodes.iter().filter_map(|node| node.watermark.as_ref());
        let of_output = self.watermarks.iter().map(|(_, watermark)| watermark);
        of_nodes.chain(of_output).for_each(|watermark| watermark.visit(&mut |time| times.push(time)));
        times.sort_unstable();
        times.dedup();
        times
    }
}

impl JobGraph {
    /// Whether it forgets groups that may come again.
    pub fn forgets_groups(&self) -> bool {
        let forgets = |node: &JobNode| {
            matches!(node.kind, JobNodeKind::Operator(OperatorSpec::Aggregate { ttl: Some(_), .. }))
        };
        self.nodes.iter().any(forgets)
    }

    /// Whether it forgets what rows to come may still need, by the time at which rows came.
    pub fn forgets(&self) -> bool {
        let joins =
            |node: &JobNode| matches!(node.kind, JobNodeKind::Operator(OperatorSpec::HashJoin { .. }));
        self.forgets_groups() || self.nodes.iter().any(|node| joins(node) && node.reads_clock())
    }

    /// Whether rows are joined with what is there when they come, so that no epoch may be taken in parts.
    pub fn looks_up(&self) -> bool {
        let looks_up =
            |node: &JobNode| matches!(node.kind, JobNodeKind::Operator(OperatorSpec::LookupJoin(_)));
        self.nodes.iter().any(looks_up)
    }
}
