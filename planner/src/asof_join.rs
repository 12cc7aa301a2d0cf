//! `AsofJoin`: each row beside the row of the other side that is nearest by time, as a logical node.
//!
//! Place in the flow: the binder writes it for ASOF JOIN and for `FOR SYSTEM_TIME AS OF`; the stream planner lowers it to
//! an operator, the session's engine runs it in queries. DataFusion has no join of the kind. To its rules the node is
//! one that needs of each side what is read above, and the keys and times.
//!
//! Which of several right rows of the same time is the match is decided by the columns that are left of them, first by
//! the first column.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, JoinType, Result as DfResult, internal_err};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use weir_exec::spec::Nearest;

/// A join of each left row with one right row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AsofJoin {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    /// Keys that must be equal: of the left side and of the right one.
    pub on: Vec<(Expr, Expr)>,
    /// The times of a left row and of a right one.
    pub time: (Expr, Expr),
    pub nearest: Nearest,
    /// Inner or left.
    join_type: JoinType,
    schema: DFSchemaRef,
}

impl AsofJoin {
    /// A join that leaves out left rows without a match.
    pub fn inner(
        left: LogicalPlan,
        right: LogicalPlan,
        on: Vec<(Expr, Expr)>,
        time: (Expr, Expr),
        nearest: Nearest,
    ) -> DfResult<AsofJoin> {
        AsofJoin::new(left, right, on, time, nearest, JoinType::Inner)
    }

    fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        on: Vec<(Expr, Expr)>,
        time: (Expr, Expr),
        nearest: Nearest,
        join_type: JoinType,
    ) -> DfResult<AsofJoin> {
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &join_type)?);
        Ok(AsofJoin { left, right, on, time, nearest, join_type, schema })
    }

    /// The same join with left rows without a match beside NULLs.
    pub fn outer(self) -> DfResult<AsofJoin> {
        AsofJoin::new(self.left, self.right, self.on, self.time, self.nearest, JoinType::Left)
    }

    /// Whether left rows without a match are kept.
    pub fn is_outer(&self) -> bool {
        self.join_type == JoinType::Left
    }

    /// Columns of the left side, then of the right one.
    pub fn schema_ref(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// As a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    fn parts(&self) -> (&LogicalPlan, &LogicalPlan, &[(Expr, Expr)], &(Expr, Expr), Nearest, bool) {
        (&self.left, &self.right, &self.on, &self.time, self.nearest, self.is_outer())
    }
}

impl UserDefinedLogicalNodeCore for AsofJoin {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let pairs = self.on.iter().chain([&self.time]);
        pairs.flat_map(|(left, right)| [left.clone(), right.clone()]).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.is_outer() { "Left " } else { "" };
        write!(f, "{kind}AsofJoin:")?;
        for (left, right) in &self.on {
            write!(f, " {left} = {right} AND")?;
        }
        write!(f, " {} {} {}", self.time.0, self.nearest.symbol(), self.time.1)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("an ASOF join has two inputs");
        };
        let mut exprs = exprs.into_iter();
        let mut pairs = Vec::with_capacity(self.on.len() + 1);
        while let (Some(left), Some(right)) = (exprs.next(), exprs.next()) {
            pairs.push((left, right));
        }
        let Some(time) = pairs.pop() else { return internal_err!("an ASOF join compares times") };
        AsofJoin::new(left, right, pairs, time, self.nearest, self.join_type)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let left_width = self.left.schema().fields().len();
        let (left, right): (Vec<usize>, Vec<usize>) =
            output_columns.iter().partition(|column| **column < left_width);
        Some(vec![left, right.into_iter().map(|column| column - left_width).collect()])
    }
}

impl PartialOrd for AsofJoin {
    fn partial_cmp(&self, other: &AsofJoin) -> Option<Ordering> {
        self.parts().partial_cmp(&other.parts())
    }
}
