//! Makes a fragment's operators from the graph, opens them on their state, and takes their state at checkpoints.

use std::ops::Bound;
use std::sync::Arc;

use weir_common::{Epoch, JobId, KeyGroup, MemoryWatch, OperatorId, Pressure, Result};
use weir_exec::build::build;
use weir_exec::event_time::{EventTime, Watermark, WatermarkExpr};
use weir_exec::operator::{NoState, Operator, Port, StateLookup, StateReader, StateTable, StateWriter};
use weir_exec::spec::NodeSpec;
use weir_storage::backend::{Keyspace, StateBackend, StateSnapshot, WriteBatch};

use crate::engine::Engine;
use crate::event_time::{EventClock, Watched};
use crate::fragments::Fragment;
use crate::graph::{JobGraph, JobNode, JobNodeKind};
use crate::host::{FragmentHost, HostNode};
use crate::job::{Job, Output};
use crate::meta::{after_prefix, group_prefix};
use crate::moment::Moment;
use crate::outbox::{Outbox, OutboxWriter};
use crate::output::{OutputNode, Target, positional_schema};
use crate::shared::TableRows;

/// The output node, which is in no graph.
const OUTPUT: OperatorId = OperatorId(0);
/// What a job left out, likewise.
const LETTERS: OperatorId = OperatorId(1);

/// Entries that one read of state takes from the backend.
const STATE_CHUNK: usize = 4096;

/// The host of a fragment on one worker; the last fragment ends in the job's output.
pub fn build_host(
    engine: &Engine,
    job: &Arc<Job>,
    fragment: &Fragment,
    worker: usize,
    is_last: bool,
) -> Result<FragmentHost> {
    let local = |node: usize| fragment.nodes.binary_search(&node).unwrap_or(0);
    let mut nodes: Vec<HostNode> = Vec::new();
    let clock = EventClock::of(&job.start.marks);
    for node in &fragment.nodes {
        let graph_node = &job.graph.nodes[*node];
        let watched = |watermark| watched(watermark, EventTime::of_operator(graph_node.id), &clock);
        let watermark = graph_node.watermark.as_ref().map(watched).transpose()?;
        let known = watermark.as_ref().and_then(|watched| watched.last().value);
        let operator = open_operator(engine, job, *node, worker, known)?;
        let reads_epoch_time = graph_node.reads_epoch_time();
        nodes.push(HostNode { operator, consumers: Vec::new(), watermark, reads_epoch_time });
    }
    for node in &fragment.nodes {
        for (port, edge) in job.graph.nodes[*node].inputs.iter().enumerate() {
            if fragment.nodes.contains(&edge.from) {
                nodes[local(edge.from)].consumers.push((local(*node), Port(port)));
            }
        }
    }
    if is_last {
        if let Some(root) = nodes.len().checked_sub(1) {
            nodes[root].consumers.push((root + 1, Port(0)));
        }
        open_letters(engine, job, worker)?;
        let operator = Box::new(output_node(engine, job, worker)?);
        nodes.push(HostNode { operator, consumers: Vec::new(), watermark: None, reads_epoch_time: false });
    }
    let watermarks = if is_last { watched_output(&job.graph, &clock)? } else { Vec::new() };
    let inputs = fragment.inputs.iter().map(|i| (local(i.to), Port(i.port))).collect();
    let start = Moment::start_of(job.start.first_epoch());
    Ok(FragmentHost::new(nodes, inputs, start, job.start.beginning).at_event_time(clock, watermarks))
}

/// The watermarks of a job's output, by column.
pub fn watched_output(graph: &JobGraph, clock: &EventClock) -> Result<Vec<(usize, Watched)>> {
    let of = |(column, watermark): &(usize, WatermarkExpr)| {
        Ok((*column, watched(watermark, EventTime::of_output(*column), clock)?))
    };
    graph.watermarks.iter().map(of).collect()
}

fn watched(watermark: &WatermarkExpr, told: EventTime, clock: &EventClock) -> Result<Watched> {
    Ok(Watched::new(Watermark::new(watermark)?, told, clock))
}

fn open_operator(
    engine: &Engine,
    job: &Job,
    node: usize,
    worker: usize,
    watermark: Option<i64>,
) -> Result<Box<dyn Operator>> {
    let graph_node = &job.graph.nodes[node];
    let mut operator = build(&node_spec(job, graph_node))?;
    let workers = engine.config.workers;
    let backend = engine.backend.clone();
    let durable = Arc::new(DurableState { backend, job: job.id, operator: graph_node.id });
    let shared = TableRows::of_node(job, node)?;
    with_state(engine, job, graph_node.id, worker, |state| {
        operator.open(&job.open_context(worker, workers, state, durable, watermark, shared))
    })?;
    Ok(operator)
}

/// Gives the state of one operator on one worker, as the last checkpoint has it.
fn with_state<T>(
    engine: &Engine,
    job: &Job,
    operator: OperatorId,
    worker: usize,
    open: impl FnOnce(&dyn StateReader) -> Result<T>,
) -> Result<T> {
    let restored = job.start.state.lock().clone();
    match restored {
        None => open(&NoState),
        Some(snapshot) => {
            let (snapshot, memory) = (snapshot.as_ref(), engine.memory.as_ref());
            let workers = engine.config.workers;
            open(&RestoredState { snapshot, job: job.id, operator, worker, workers, memory })
        }
    }
}

fn node_spec(job: &Job, node: &JobNode) -> NodeSpec {
    let JobNodeKind::Operator(operator) = &node.kind else { unreachable!("fragments hold operators only") };
    let inputs = node.inputs.iter().map(|edge| job.graph.nodes[edge.from].types.clone()).collect();
    NodeSpec { operator: operator.clone(), inputs, output: node.types.clone() }
}

fn output_node(engine: &Engine, job: &Arc<Job>, worker: usize) -> Result<OutputNode> {
    let types = job.graph.nodes.last().map(|n| n.types.clone()).unwrap_or_default();
    let (target, schema) = match &job.output {
        Output::Relation(relation) => {
            let schema = relation.store.schema().arrow();
            (Target::Relation { relation: relation.clone(), worker }, schema)
        }
        Output::Sink(sink) => {
            (Target::Sink(sink.writer(weir_common::WorkerId(worker))?), positional_schema(&types))
        }
        Output::Table(outbox) => {
            (Target::Table(outbox_writer(engine, job, outbox, worker)?), positional_schema(&types))
        }
        Output::Nowhere => return Err(weir_common::Error::internal("the job has no output")),
    };
    Ok(OutputNode::new(job.clone(), target, schema))
}

fn outbox_writer(engine: &Engine, job: &Job, outbox: &Arc<Outbox>, worker: usize) -> Result<OutboxWriter> {
    let group = group_of(engine, worker)?;
    with_state(engine, job, OUTPUT, worker, |state| OutboxWriter::open(outbox.clone(), group, state))
}

fn open_letters(engine: &Engine, job: &Job, worker: usize) -> Result<()> {
    let group = group_of(engine, worker)?;
    with_state(engine, job, LETTERS, worker, |state| job.letters.open(worker, group, state))
}

/// A key group that the worker owns.
fn group_of(engine: &Engine, worker: usize) -> Result<KeyGroup> {
    let mut groups = KeyGroup::owned_by(weir_common::WorkerId(worker), engine.config.workers);
    groups.next().ok_or_else(|| weir_common::Error::internal("a worker without a key group"))
}

/// A checkpoint that is taken.
#[derive(Clone, Copy)]
pub struct Taken {
    pub epoch: Epoch,
    pub is_last_durable: bool,
}

/// The dirty state of a fragment's operators; `graph_nodes` are the graph positions of the first host nodes, which the
/// output node may follow; the last fragment adds the letters of its worker. Operators with more state than
/// `state_memory_bytes` let go of some.
pub fn dump(
    job: &Job,
    taken: Taken,
    graph_nodes: &[usize],
    nodes: &mut [HostNode],
    letters_of: Option<usize>,
    state_memory_bytes: usize,
) -> Result<WriteBatch> {
    let mut writes = WriteBatch::default();
    for (i, node) in nodes.iter_mut().enumerate() {
        let operator = graph_nodes.get(i).map_or(OUTPUT, |n| job.graph.nodes[*n].id);
        node.operator.checkpoint(&mut DumpWriter::new(job.id, operator, taken, &mut writes))?;
        if node.operator.memory_bytes() > state_memory_bytes {
            node.operator.shed()?;
        }
    }
    if let Some(worker) = letters_of {
        job.letters.checkpoint(worker, &mut DumpWriter::new(job.id, LETTERS, taken, &mut writes))?;
    }
    Ok(writes)
}

struct DumpWriter<'a> {
    job: JobId,
    operator: OperatorId,
    taken: Taken,
    writes: &'a mut WriteBatch,
    /// The table and key group of the last entry, and what their keys begin with.
    at: Option<(StateTable, KeyGroup)>,
    prefix: Vec<u8>,
}

impl<'a> DumpWriter<'a> {
    fn new(job: JobId, operator: OperatorId, taken: Taken, writes: &'a mut WriteBatch) -> DumpWriter<'a> {
        DumpWriter { job, operator, taken, writes, at: None, prefix: Vec::new() }
    }

    fn enter(&mut self, table: StateTable, group: KeyGroup) {
        if self.at != Some((table, group)) {
            self.at = Some((table, group));
            self.prefix = group_prefix(self.job, self.operator, table, group);
        }
    }
}

impl StateWriter for DumpWriter<'_> {
    fn put(&mut self, table: StateTable, group: KeyGroup, key: &[u8], value: &[u8]) {
        self.enter(table, group);
        self.writes.put_joined(Keyspace::State, [&self.prefix, key], value);
    }

    fn delete(&mut self, table: StateTable, group: KeyGroup, key: &[u8]) {
        self.enter(table, group);
        self.writes.delete_joined(Keyspace::State, [&self.prefix, key]);
    }

    fn epoch(&self) -> Epoch {
        self.taken.epoch
    }

    fn is_last_durable(&self) -> bool {
        self.taken.is_last_durable
    }
}

/// The state of one operator as it is on disk now.
struct DurableState {
    backend: Arc<dyn StateBackend>,
    job: JobId,
    operator: OperatorId,
}

impl DurableState {
    fn key(&self, table: StateTable, (group, key): &(KeyGroup, &[u8])) -> Vec<u8> {
        [&group_prefix(self.job, self.operator, table, *group), *key].concat()
    }
}

impl StateLookup for DurableState {
    fn points(
        &self,
        table: StateTable,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for (chunk, keys) in keys.chunks(STATE_CHUNK).enumerate() {
            let full: Vec<Vec<u8>> = keys.iter().map(|key| self.key(table, key)).collect();
            let asked: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
            for (i, value) in self.backend.points(Keyspace::State, &asked)?.into_iter().enumerate() {
                if let Some(value) = value {
                    visit(chunk * STATE_CHUNK + i, &value)?;
                }
            }
        }
        Ok(())
    }

    fn prefixed(
        &self,
        table: StateTable,
        prefixes: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let snapshot = self.backend.snapshot();
        for (at, prefix) in prefixes.iter().enumerate() {
            let prefix = self.key(table, prefix);
            visit_prefixed(snapshot.as_ref(), &prefix, &mut |rest, value| visit(at, rest, value))?;
        }
        Ok(())
    }
}

/// Visits the entries of state whose keys begin with `prefix`: the rest of the key, and the value.
fn visit_prefixed(
    snapshot: &dyn StateSnapshot,
    prefix: &[u8],
    visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let end = after_prefix(prefix);
    let mut start = Bound::Included(prefix.to_vec());
    loop {
        let from = start.as_ref().map(|k| k.as_slice());
        let entries = snapshot.range(Keyspace::State, from, Bound::Excluded(&end), STATE_CHUNK)?;
        for (key, value) in &entries {
            visit(&key[prefix.len()..], value)?;
        }
        match entries.last() {
            Some((last, _)) if entries.len() == STATE_CHUNK => start = Bound::Excluded(last.to_vec()),
            _ => return Ok(()),
        }
    }
}

/// The state of one operator in the last checkpoint, of the key groups that one worker owns.
struct RestoredState<'a> {
    snapshot: &'a dyn StateSnapshot,
    job: JobId,
    operator: OperatorId,
    worker: usize,
    workers: usize,
    memory: &'a MemoryWatch,
}

impl StateReader for RestoredState<'_> {
    fn is_tight(&self) -> bool {
        self.memory.look() > Pressure::None
    }

    fn scan(
        &self,
        table: StateTable,
        visit: &mut dyn FnMut(KeyGroup, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        for group in KeyGroup::owned_by(weir_common::WorkerId(self.worker), self.workers) {
            let prefix = group_prefix(self.job, self.operator, table, group);
            visit_prefixed(self.snapshot, &prefix, &mut |key, value| visit(group, key, value))?;
        }
        Ok(())
    }
}
