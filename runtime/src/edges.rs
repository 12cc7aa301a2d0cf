//! `Edges`: how much of what a node has emitted waits for those who read it, so that producers wait too.
//!
//! Timely's channels have no bounds. A producer that makes rows faster than their reader takes them in would fill
//! memory with them, above all a join whose reader is on another worker. So an edge counts what is on it, over all
//! workers, from when a batch is emitted until its reader begins with it, and while that is too much, its producer does
//! nothing.
//!
//! Rows count by moment, since a reader begins with a moment only when every worker's producer is through with those
//! before: who is behind must not wait for rows of those who are ahead. So a producer waits for rows of moments that are
//! not later than its own.
//!
//! Nobody waits for ever: among the producers take one that is at the earliest moment. A reader takes in the rows that it
//! waits for as soon as they come, unless it waits for a reader of its own; the last fragment of a job waits for nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_common::ChangeBatch;

use crate::fragments::Fragment;
use crate::moment::Moment;

/// Part of the memory limit that an edge may hold.
const SHARE: usize = 64;
/// Bytes that an edge may hold, at least and at most; a producer may exceed them by what it makes in one run, and all
/// workers together by as much each.
const EDGE_BYTES: std::ops::RangeInclusive<usize> = 4 << 20..=64 << 20;

/// The edges of a job, by the graph's node that they come from.
pub struct Edges {
    edges: Vec<Edge>,
    bytes_max: u64,
}

#[derive(Default)]
struct Edge {
    readers: i64,
    /// Rows that readers have not begun with; counted for each of them.
    waiting: AtomicI64,
    waiting_by_moment: Mutex<BTreeMap<Moment, i64>>,
    /// Of all rows so far, to tell how wide they are.
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Edges {
    /// Empty ones of a job cut into these fragments.
    pub fn new(nodes: usize, fragments: &[Fragment], memory_limit_bytes: usize) -> Edges {
        let mut edges: Vec<Edge> = (0..nodes).map(|_| Edge::default()).collect();
        fragments.iter().flat_map(|f| &f.inputs).for_each(|input| edges[input.from].readers += 1);
        let share = (memory_limit_bytes / SHARE).clamp(*EDGE_BYTES.start(), *EDGE_BYTES.end());
        Edges { edges, bytes_max: share as u64 }
    }

    /// A node has emitted a batch of a moment.
    pub fn emitted(&self, node: usize, moment: Moment, batch: &ChangeBatch) {
        let edge = &self.edges[node];
        edge.rows.fetch_add(batch.len() as u64, Ordering::Relaxed);
        edge.bytes.fetch_add(batch.memory_size() as u64, Ordering::Relaxed);
        edge.add(moment, edge.readers * batch.len() as i64);
    }

    /// A reader begins with rows of a node.
    pub fn taken(&self, node: usize, moment: Moment, rows: usize) {
        self.edges[node].add(moment, -(rows as i64));
    }

    /// Whether too much of a node waits for its readers for it to go on with a moment.
    pub fn is_full(&self, node: usize, moment: Moment) -> bool {
        let edge = &self.edges[node];
        let rows = edge.rows.load(Ordering::Relaxed).max(1);
        let width = edge.bytes.load(Ordering::Relaxed) / rows;
        let is_much = |rows: i64| u64::try_from(rows).unwrap_or(0).saturating_mul(width) > self.bytes_max;
        is_much(edge.waiting.load(Ordering::Relaxed)) && is_much(edge.waiting_upto(moment))
    }
}

impl Edge {
    fn add(&self, moment: Moment, rows: i64) {
        self.waiting.fetch_add(rows, Ordering::Relaxed);
        let mut by_moment = self.waiting_by_moment.lock();
        let waiting = by_moment.entry(moment).or_default();
        *waiting += rows;
        if *waiting == 0 {
            by_moment.remove(&moment);
        }
    }

    fn waiting_upto(&self, moment: Moment) -> i64 {
        self.waiting_by_moment.lock().range(..=moment).map(|(_, rows)| rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use weir_common::Epoch;

    use super::*;
    use crate::fragments::FragmentInput;
    use crate::graph::Exchange;

    #[test]
    fn an_edge_is_full_until_every_reader_has_begun() {
        let input = |to| FragmentInput { from: 0, exchange: Exchange::Local, to, port: 0 };
        let readers = [1, 2].map(|to| Fragment { nodes: vec![to], inputs: vec![input(to)] });
        let edges = Edges::new(3, &readers, 0);
        let rows = (*EDGE_BYTES.start() / 8) as i64;
        let column = Arc::new(Int64Array::from_iter_values(0..rows)) as _;
        let batch = ChangeBatch::inserts(RecordBatch::try_from_iter([("v", column)]).unwrap());
        let [early, late] = [1, 2].map(|epoch| Moment::start_of(Epoch(epoch)));
        assert!(!edges.is_full(0, late));
        edges.emitted(0, late, &batch);
        assert!(edges.is_full(0, late) && !edges.is_full(1, late));
        assert!(!edges.is_full(0, early), "who is behind goes on");
        edges.emitted(0, early, &batch);
        assert!(edges.is_full(0, early));
        for moment in [early, late] {
            edges.taken(0, moment, batch.len());
            edges.taken(0, moment, batch.len());
            assert!(!edges.is_full(0, moment));
        }
    }
}
