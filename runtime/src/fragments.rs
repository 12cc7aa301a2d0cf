//! Cuts a job graph into fragments: the sets of nodes that run fused in one dataflow operator.
//!
//! A node is fused with its one consumer when the edge is local. Input nodes stand for themselves: what they
//! read enters the dataflow from outside.

use crate::graph::{Exchange, JobGraph, JobNodeKind};

/// A set of fused nodes, in topological order; rows leave through the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Positions in the graph.
    pub nodes: Vec<usize>,
    pub inputs: Vec<FragmentInput>,
}

/// An edge that enters a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentInput {
    /// The graph node whose rows arrive: an input node or the last node of an earlier fragment.
    pub from: usize,
    pub exchange: Exchange,
    /// The graph node that takes them, and its port.
    pub to: usize,
    pub port: usize,
}

/// The fragments of a graph, in topological order. The last one holds the graph's last node, which may also be
/// an input node: then it is empty of operators and only passes rows to the output.
pub fn fragments(graph: &JobGraph) -> Vec<Fragment> {
    let last = graph.nodes.len() - 1;
    let mut consumers = vec![0usize; graph.nodes.len()];
    graph.nodes.iter().flat_map(|n| &n.inputs).for_each(|edge| consumers[edge.from] += 1);
    let is_input = |node: usize| !matches!(graph.nodes[node].kind, JobNodeKind::Operator(_));
    let fused = |from: usize, exchange: &Exchange| {
        *exchange == Exchange::Local && consumers[from] == 1 && !is_input(from)
    };
    let mut roots: Vec<usize> = graph
        .nodes
        .iter()
        .flat_map(|n| &n.inputs)
        .filter(|edge| !fused(edge.from, &edge.exchange) && !is_input(edge.from))
        .map(|edge| edge.from)
        .chain([last])
        .collect();
    roots.sort_unstable();
    roots.dedup();
    roots.into_iter().map(|root| collect(graph, root, &fused)).collect()
}

fn collect(graph: &JobGraph, root: usize, fused: &dyn Fn(usize, &Exchange) -> bool) -> Fragment {
    if !matches!(graph.nodes[root].kind, JobNodeKind::Operator(_)) {
        let input = FragmentInput { from: root, exchange: Exchange::Local, to: root, port: 0 };
        return Fragment { nodes: vec![], inputs: vec![input] };
    }
    let (mut nodes, mut inputs, mut open) = (Vec::new(), Vec::new(), vec![root]);
    while let Some(node) = open.pop() {
        nodes.push(node);
        for (port, edge) in graph.nodes[node].inputs.iter().enumerate() {
            if fused(edge.from, &edge.exchange) {
                open.push(edge.from);
            } else {
                let exchange = edge.exchange.clone();
                inputs.push(FragmentInput { from: edge.from, exchange, to: node, port });
            }
        }
    }
    nodes.sort_unstable();
    Fragment { nodes, inputs }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use weir_common::{JobId, ObjectId, OperatorId};
    use weir_exec::spec::OperatorSpec;

    use super::*;
    use crate::graph::{JobEdge, JobNode, JobOutput};

    fn graph(nodes: Vec<(bool, Vec<(usize, Exchange)>)>) -> JobGraph {
        let node = |(i, (input, edges)): (usize, (bool, Vec<(usize, Exchange)>))| JobNode {
            id: OperatorId(i as u64),
            kind: match input {
                true => JobNodeKind::Relation { relation: ObjectId(1), project: vec![0] },
                false => JobNodeKind::Operator(OperatorSpec::Union),
            },
            inputs: edges.into_iter().map(|(from, exchange)| JobEdge { from, exchange }).collect(),
            types: vec![DataType::Int64],
            watermark: None,
        };
        JobGraph {
            job: JobId(1),
            name: "j".into(),
            nodes: nodes.into_iter().enumerate().map(node).collect(),
            output: JobOutput::Sink { sink: ObjectId(2) },
            watermarks: Vec::new(),
        }
    }

    #[test]
    fn local_edges_fuse_and_exchanges_cut() {
        let (local, keyed) = (Exchange::Local, Exchange::ByKey(vec![0]));
        let graph = graph(vec![
            (true, vec![]),
            (false, vec![(0, local.clone())]),
            (true, vec![]),
            (false, vec![(1, keyed.clone()), (2, keyed.clone())]),
            (false, vec![(3, local.clone())]),
        ]);
        let cut = fragments(&graph);
        assert_eq!(cut.iter().map(|f| f.nodes.clone()).collect::<Vec<_>>(), [vec![1], vec![3, 4]]);
        let entering: Vec<_> = cut[1].inputs.iter().map(|i| (i.from, i.to, i.port)).collect();
        assert_eq!(entering, [(1, 3, 0), (2, 3, 1)]);
    }

    #[test]
    fn a_node_with_two_readers_is_a_fragment_of_its_own() {
        let local = Exchange::Local;
        let graph = graph(vec![
            (true, vec![]),
            (false, vec![(0, local.clone())]),
            (false, vec![(1, local.clone()), (1, local.clone())]),
        ]);
        assert_eq!(fragments(&graph).len(), 2);
    }

    #[test]
    fn a_bare_input_passes_through() {
        let cut = fragments(&graph(vec![(true, vec![])]));
        assert_eq!(cut.len(), 1);
        assert!(cut[0].nodes.is_empty());
        assert_eq!(cut[0].inputs[0].from, 0);
    }
}
