//! `LookupJoin`: each left row beside the right rows that are there when it comes, as a logical node.
//!
//! Place in the flow: the binder writes it for `FOR SYSTEM_TIME AS OF PROCTIME()`. The stream planner lowers it to an
//! operator; in a query everything is there at once, and it is a join like any other ([`as_joins`]).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchemaRef, JoinType, Result as DfResult, internal_err};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore,
};
use weir_common::Result;
use weir_exec::error::from_datafusion;

/// A join of each left row with right rows of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookupJoin {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    /// Keys that must be equal: of the left side and of the right one.
    pub on: Vec<(Expr, Expr)>,
    /// Inner or left.
    join_type: JoinType,
    schema: DFSchemaRef,
}

impl LookupJoin {
    /// An inner or a left join.
    pub fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        on: Vec<(Expr, Expr)>,
        join_type: JoinType,
    ) -> DfResult<LookupJoin> {
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &join_type)?);
        Ok(LookupJoin { left, right, on, join_type, schema })
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

    fn as_join(&self) -> DfResult<LogicalPlan> {
        let equalities = self.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        LogicalPlanBuilder::from(self.left.clone())
            .join_on(self.right.clone(), self.join_type, equalities)?
            .build()
    }

    fn parts(&self) -> (&LogicalPlan, &LogicalPlan, &[(Expr, Expr)], bool) {
        (&self.left, &self.right, &self.on, self.is_outer())
    }
}

/// The plan of a query, with joins in the place of lookup joins.
pub fn as_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        match extension.node.as_any().downcast_ref::<LookupJoin>() {
            Some(lookup) => lookup.as_join().map(Transformed::yes),
            None => Ok(Transformed::no(node)),
        }
    });
    Ok(replaced.map_err(from_datafusion)?.data)
}

impl UserDefinedLogicalNodeCore for LookupJoin {
    fn name(&self) -> &str {
        "LookupJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.on.iter().flat_map(|(left, right)| [left.clone(), right.clone()]).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.is_outer() { "Left " } else { "" };
        let on: Vec<String> = self.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        write!(f, "{kind}LookupJoin: {}", on.join(" AND "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("a lookup join has two inputs");
        };
        let mut exprs = exprs.into_iter();
        let mut on = Vec::with_capacity(self.on.len());
        while let (Some(left), Some(right)) = (exprs.next(), exprs.next()) {
            on.push((left, right));
        }
        LookupJoin::new(left, right, on, self.join_type)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let left_width = self.left.schema().fields().len();
        let (left, right): (Vec<usize>, Vec<usize>) =
            output_columns.iter().partition(|column| **column < left_width);
        Some(vec![left, right.into_iter().map(|column| column - left_width).collect()])
    }
}

impl PartialOrd for LookupJoin {
    fn partial_cmp(&self, other: &LookupJoin) -> Option<Ordering> {
        self.parts().partial_cmp(&other.parts())
    }
}
