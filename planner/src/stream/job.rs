//! The job builder: a stream plan becomes the flat `JobGraph` that the runtime hosts.
//!
//! Place in the flow: last step of planning. Exchanges are placed exactly where an input's distribution does not
//! already satisfy its consumer's need ([`required_exchange`]).
//!
//! Operator ids are stable: the hash of a node's specification, its output types, its inputs' ids and exchanges,
//! and how many equal sub-plans stand before it. They do not depend on names, on the job's number, or on what is
//! above or beside the node, so state finds its operator after a restart and after changes elsewhere in the plan.
//!
//! Invariant: nodes stand in topological order, and the last one is an operator.

use arrow::datatypes::DataType;
use serde::Serialize;
use weir_common::{OperatorId, RelationSchema};
use weir_exec::event_time::{EventTime, WatermarkExpr};
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::OperatorSpec;
use weir_runtime::graph::{Exchange, JobEdge, JobGraph, JobNode, JobNodeKind, JobOutput};
use xxhash_rust::xxh3::xxh3_64;

use crate::stream::event_time::{self, join_times};
use crate::stream::plan::{StreamNode, StreamPlan};
use crate::stream::shared::shared_side;
use crate::stream::tolerant;
use crate::stream::traits::required_exchange;
use crate::stream::{JobTarget, TargetOutput};

/// The job of a stream plan whose root is a `Materialize` or `Sink`.
pub fn build_job(root: &StreamPlan, schema: &RelationSchema, target: &JobTarget) -> JobGraph {
    let mut builder = Builder { nodes: Vec::new(), target };
    let last = builder.add_plan(&root.inputs[0]);
    let exchange = required_exchange(&root.node, &root.inputs, 0);
    let is_operator = matches!(builder.nodes[last].kind, JobNodeKind::Operator(_));
    if exchange != Exchange::Local || !is_operator {
        builder.add_passthrough(last, exchange, root.types());
    }
    let output = match target.output {
        TargetOutput::ToRelation(relation) => JobOutput::Relation { relation, schema: schema.clone() },
        TargetOutput::ToSink(sink) => JobOutput::Sink { sink },
        TargetOutput::ToTable { sink, table } => JobOutput::Table { sink, table },
    };
    let watermarks = root.traits.watermarks.iter().map(|w| (w.column, builder.delayed(w.watermark.clone())));
    let watermarks = match output {
        JobOutput::Relation { .. } => watermarks.collect(),
        JobOutput::Sink { .. } | JobOutput::Table { .. } => Vec::new(),
    };
    JobGraph { job: target.job, name: target.name.clone(), nodes: builder.nodes, output, watermarks }
}

struct Builder<'t> {
    nodes: Vec<JobNode>,
    target: &'t JobTarget,
}

impl Builder<'_> {
    /// Adds the nodes of a plan, inputs first; the position of its top node.
    fn add_plan(&mut self, plan: &StreamPlan) -> usize {
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        for (port, input) in plan.inputs.iter().enumerate() {
            let exchange = required_exchange(&plan.node, &plan.inputs, port);
            inputs.push(JobEdge { from: self.add_plan(input), exchange });
        }
        let node = self.add_node(kind(plan, self.target), inputs, plan.types());
        self.nodes[node].watermark = event_time::watched(plan).map(|watermark| self.delayed(watermark));
        node
    }

    /// A watermark as this job has it: so much later as rows may be late.
    fn delayed(&self, watermark: WatermarkExpr) -> WatermarkExpr {
        let lateness = self.target.emission.lateness_micros;
        watermark.with_event_times(&|time| match time {
            WatermarkExpr::Of(EventTime::CLOCK) => time,
            time => time.shifted(-lateness),
        })
    }

    /// Adds a Calc that changes nothing: where rows arrive after the last exchange.
    fn add_passthrough(&mut self, from: usize, exchange: Exchange, types: Vec<DataType>) {
        let project = (0..types.len()).map(ScalarExpr::Column).collect();
        let kind = JobNodeKind::Operator(OperatorSpec::Calc { filter: None, project });
        self.add_node(kind, vec![JobEdge { from, exchange }], types);
    }

    fn add_node(&mut self, kind: JobNodeKind, inputs: Vec<JobEdge>, types: Vec<DataType>) -> usize {
        let id = self.stable_id(&kind, &inputs, &types);
        self.nodes.push(JobNode { id, kind, inputs, types, watermark: None });
        self.nodes.len() - 1
    }

    fn stable_id(&self, kind: &JobNodeKind, inputs: &[JobEdge], types: &[DataType]) -> OperatorId {
        let inputs = inputs.iter().map(|edge| (self.nodes[edge.from].id, &edge.exchange)).collect();
        let mut identity = Identity { kind, inputs, types, duplicate: 0 };
        loop {
            let bytes = postcard::to_stdvec(&identity).expect("plan data has no unserialisable part");
            let id = OperatorId(xxh3_64(&bytes));
            if self.nodes.iter().all(|node| node.id != id) {
                return id;
            }
            identity.duplicate += 1;
        }
    }
}

/// What an operator id is the hash of.
#[derive(Serialize)]
struct Identity<'a> {
    kind: &'a JobNodeKind,
    inputs: Vec<(OperatorId, &'a Exchange)>,
    types: &'a [DataType],
    /// How many equal sub-plans stand before this one.
    duplicate: u32,
}

fn kind(plan: &StreamPlan, target: &JobTarget) -> JobNodeKind {
    let letters = target.letters;
    let mode = |port: usize| plan.inputs[port].traits.mode;
    let closing = event_time::closing(&plan.node, &plan.inputs).map(|(position, _)| position);
    match &plan.node {
        StreamNode::Scan { relation, project, .. } => {
            JobNodeKind::Relation { relation: *relation, project: project.clone() }
        }
        StreamNode::Source { source, project, .. } => {
            JobNodeKind::Source { source: *source, project: project.clone() }
        }
        StreamNode::Values { ipc, .. } => JobNodeKind::Values { ipc: ipc.clone() },
        StreamNode::Calc { filter, project } => {
            let (filter, project) = (filter.clone(), project.clone());
            JobNodeKind::Operator(match letters.and_then(|target| tolerant::letters(plan, target)) {
                Some(letters) => OperatorSpec::TolerantCalc { filter, project, letters },
                None => OperatorSpec::Calc { filter, project },
            })
        }
        StreamNode::Aggregate { group, calls, ttl } => JobNodeKind::Operator(OperatorSpec::Aggregate {
            group: group.clone(),
            calls: calls.clone(),
            input_mode: mode(0),
            closing,
            ttl: *ttl,
        }),
        StreamNode::LateFilter { column, .. } => JobNodeKind::Operator(OperatorSpec::LateFilter {
            column: *column,
            letters: target.emission.late.map(|into| tolerant::letters_of(plan, into)),
        }),
        StreamNode::ProcTime => JobNodeKind::Operator(OperatorSpec::ProcTime),
        StreamNode::TemporalFilter { partition, from, until, project } => {
            JobNodeKind::Operator(OperatorSpec::TemporalFilter {
                partition: partition.clone(),
                from: *from,
                until: *until,
                project: project.clone(),
            })
        }
        StreamNode::EmitOnClose { partition, time } => {
            JobNodeKind::Operator(OperatorSpec::EmitOnClose { partition: partition.clone(), time: *time })
        }
        StreamNode::HashJoin { kind, left_keys, right_keys, null_equal, filter, project, .. } => {
            JobNodeKind::Operator(OperatorSpec::HashJoin {
                kind: *kind,
                null_equal: null_equal.clone(),
                left_keys: left_keys.clone(),
                right_keys: right_keys.clone(),
                filter: filter.clone(),
                project: project.clone(),
                left_mode: mode(0),
                right_mode: mode(1),
                closing: join_times::of(&plan.node, &plan.inputs).map_or([None, None], |times| times.closing),
                // A side that leaves bad rows out is not looked up: a row would be left out each time.
                shared: letters
                    .is_none()
                    .then(|| shared_side(&plan.node, &plan.inputs))
                    .flatten()
                    .map(|(side, _)| Box::new(side)),
            })
        }
        StreamNode::AsofJoin(join) => JobNodeKind::Operator(OperatorSpec::AsofJoin(join.clone())),
        StreamNode::LookupJoin(join) => JobNodeKind::Operator(OperatorSpec::LookupJoin(join.clone())),
        StreamNode::Unnest { lists, outer, project } => JobNodeKind::Operator(OperatorSpec::Unnest {
            lists: lists.clone(),
            outer: *outer,
            project: project.clone(),
        }),
        StreamNode::TopN { partition, order, bounds, project, numbered } => {
            JobNodeKind::Operator(OperatorSpec::TopN {
                partition: partition.clone(),
                order: order.clone(),
                bounds: *bounds,
                project: project.clone(),
                numbered: *numbered,
                input_mode: mode(0),
                closing,
            })
        }
        StreamNode::Window { partition, order, calls, project } => {
            JobNodeKind::Operator(OperatorSpec::Window {
                partition: partition.clone(),
                order: order.clone(),
                calls: calls.clone(),
                project: project.clone(),
                closing,
            })
        }
        StreamNode::MatchRecognize { pattern } => {
            JobNodeKind::Operator(OperatorSpec::MatchRecognize(pattern.clone()))
        }
        StreamNode::Union | StreamNode::Materialize { .. } | StreamNode::Sink { .. } => {
            JobNodeKind::Operator(OperatorSpec::Union)
        }
    }
}
