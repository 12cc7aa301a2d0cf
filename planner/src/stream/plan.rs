//! `StreamPlan`: a query as a tree of streaming operators, each with the traits proved of its output.
//!
//! Place in the flow: made from the optimised logical plan by [`crate::stream::lower`], turned into a `JobGraph`
//! by [`crate::stream::job`], shown by `EXPLAIN (STAGE stream)`. Plain serialisable data. A node is only made
//! through [`StreamPlan::new`], so its traits always belong to it.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_common::{ObjectId, RelationKey};
use weir_exec::event_time::WatermarkExpr;
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::{
    AggregateCall, AsofJoinSpec, GroupTtl, JoinKind, LookupJoinSpec, RowBounds, RowClosing, RowPattern,
    SortColumn, WindowCall,
};

use crate::stream::traits::Traits;

/// An output column of a node. Positions carry the meaning; the name is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamColumn {
    pub name: String,
    pub ty: DataType,
}

/// A column of a relation that has a watermark, whether it is read or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeColumn {
    /// In the relation.
    pub position: usize,
    pub column: StreamColumn,
    pub watermark: WatermarkExpr,
}

/// What a node of a stream plan does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StreamNode {
    /// Rows of a table or view: a snapshot, then its changes. `project`: positions in the relation.
    Scan {
        relation: ObjectId,
        name: String,
        /// Whether it is a table, so that all its rows are there at any time.
        is_table: bool,
        /// Whether its rows become ever more as long as its job runs.
        grows: bool,
        /// What identifies a row of the relation, as positions in the relation.
        key: RelationKey,
        project: Vec<usize>,
        /// Columns of the relation that have watermarks.
        watermarks: Vec<TimeColumn>,
    },
    /// Rows of an external source.
    Source {
        source: ObjectId,
        name: String,
        project: Vec<usize>,
        /// Columns of the source that have watermarks.
        watermarks: Vec<TimeColumn>,
    },
    /// Constant rows as an Arrow IPC stream.
    Values { ipc: Vec<u8>, rows: usize },
    /// Filter, then projection.
    Calc { filter: Option<ScalarExpr>, project: Vec<ScalarExpr> },
    /// GROUP BY; without calls DISTINCT. Output: the group columns, then a column for each call. With `ttl` a group is
    /// forgotten so long after its last row.
    Aggregate { group: Vec<usize>, calls: Vec<AggregateCall>, ttl: Option<GroupTtl> },
    /// Join on keys, or without any. `filter` and `project` count the left input's columns first, then the right
    /// one's, then the mark of a mark join.
    HashJoin {
        kind: JoinKind,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        /// Of each key: whether NULL equals NULL.
        null_equal: Vec<bool>,
        filter: Option<ScalarExpr>,
        project: Vec<usize>,
        /// Of each side: the rows to be forgotten that the query itself does not bound.
        ttl: [Option<RowClosing>; 2],
    },
    /// Each left row beside the right row that is nearest by time.
    AsofJoin(AsofJoinSpec),
    /// Each left row beside the right rows that are there when it comes.
    LookupJoin(LookupJoinSpec),
    /// The first rows of each partition. Output: the input's columns at `project`, then the row's number.
    TopN {
        partition: Vec<usize>,
        order: Vec<SortColumn>,
        bounds: RowBounds,
        project: Vec<usize>,
        /// Whether the number is a column.
        numbered: bool,
    },
    /// Window functions. Output: the input's columns at `project`, then a column for each call.
    Window { partition: Vec<usize>, order: Vec<SortColumn>, calls: Vec<WindowCall>, project: Vec<usize> },
    /// MATCH_RECOGNIZE. Output: the input's columns that it projects, then its measures.
    MatchRecognize { pattern: Box<RowPattern> },
    /// UNION ALL.
    Union,
    /// A row for each element of the lists, side by side; with `outer` one of NULLs where there is none. `project`
    /// counts the input's columns first, then an element of each list.
    Unnest { lists: Vec<ScalarExpr>, outer: bool, project: Vec<usize> },
    /// PROCTIME(). Output: the input's columns, then when the epoch of the row was closed.
    ProcTime,
    /// Rows whose value in a column is not behind a watermark.
    LateFilter { column: usize, watermark: WatermarkExpr },
    /// Rows while the clock is between the moments in two columns: from the first on, until the second. Each row is on one
    /// worker by the columns at `partition`.
    TemporalFilter { partition: Vec<usize>, from: Option<usize>, until: Option<usize>, project: Vec<usize> },
    /// Rows that lie behind the watermark of column `time`, and so are final; each row is on one worker by the columns
    /// at `partition`.
    EmitOnClose { partition: Vec<usize>, time: usize },
    /// The root of a view: rows become the relation's.
    Materialize { relation: ObjectId, name: String, key: RelationKey },
    /// The root of a sink job.
    Sink { sink: ObjectId, name: String },
}

/// A node with its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamPlan {
    pub node: StreamNode,
    pub inputs: Vec<StreamPlan>,
    pub columns: Vec<StreamColumn>,
    pub traits: Traits,
}

impl StreamPlan {
    /// A node over its inputs; its traits are derived here.
    pub fn new(node: StreamNode, inputs: Vec<StreamPlan>, columns: Vec<StreamColumn>) -> StreamPlan {
        let traits = Traits::derive(&node, &inputs, &columns);
        StreamPlan { node, inputs, columns, traits }
    }

    /// Column types of the output.
    pub fn types(&self) -> Vec<DataType> {
        self.columns.iter().map(|column| column.ty.clone()).collect()
    }

    /// The same node with the names of these columns, as many as there are.
    #[must_use]
    pub fn renamed(mut self, columns: Vec<StreamColumn>) -> StreamPlan {
        for (column, named) in self.columns.iter_mut().zip(columns) {
            debug_assert_eq!(column.ty, named.ty, "a renamed column keeps its type");
            column.name = named.name;
        }
        self
    }
}
