//! INTERSECT ALL and EXCEPT ALL of a continuous query, as a logical node of their own.
//!
//! Place in the flow: [`restore`] runs on the bound plan before anything looks at it. The binder numbers the copies
//! of each row and keeps the numbers that the other side has, or has not; a continuous query counts copies instead
//! of numbering them.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchemaRef, JoinType, NullEquality, Result as DfResult, internal_err};
use datafusion::logical_expr::{
    Distinct, Expr, Extension, LogicalPlan, SubqueryAlias, UserDefinedLogicalNodeCore,
    WindowFunctionDefinition,
};
use weir_common::Result;
use weir_exec::error::from_datafusion;

/// `left INTERSECT ALL right` or `left EXCEPT ALL right`, columns by position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub struct BagOperation {
    pub intersects: bool,
    pub left: LogicalPlan,
    pub right: LogicalPlan,
}

impl UserDefinedLogicalNodeCore for BagOperation {
    fn name(&self) -> &str {
        if self.intersects { "IntersectAll" } else { "ExceptAll" }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.left.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("a set operation has two inputs");
        };
        Ok(BagOperation { intersects: self.intersects, left, right })
    }
}

/// The plan with a [`BagOperation`] wherever rows are numbered only to be compared as bags.
pub fn restore(plan: LogicalPlan) -> Result<LogicalPlan> {
    let restored = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Projection(projection) = &node else { return Ok(Transformed::no(node)) };
        let Some(operation) = bag_operation(&projection.input) else { return Ok(Transformed::no(node)) };
        let input = LogicalPlan::Extension(Extension { node: Arc::new(operation) });
        node.with_new_exprs(node.expressions(), vec![input]).map(Transformed::yes)
    });
    Ok(restored.map_err(from_datafusion)?.data)
}

fn bag_operation(plan: &LogicalPlan) -> Option<BagOperation> {
    let LogicalPlan::Join(join) = plan else { return None };
    let intersects = match join.join_type {
        JoinType::LeftSemi => true,
        JoinType::LeftAnti => false,
        _ => return None,
    };
    if join.null_equality != NullEquality::NullEqualsNull || join.filter.is_some() {
        return None;
    }
    let LogicalPlan::Distinct(Distinct::All(left)) = join.left.as_ref() else { return None };
    let (left, right) = (numbered(left)?, numbered(&join.right)?);
    let all = join.on.len() == left.schema().fields().len() + 1;
    all.then_some(BagOperation { intersects, left, right })
}

/// The rows of a plan that does nothing but number the copies of each.
fn numbered(plan: &LogicalPlan) -> Option<LogicalPlan> {
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        let rows = Arc::new(numbered(&alias.input)?);
        return SubqueryAlias::try_new(rows, alias.alias.clone()).ok().map(LogicalPlan::SubqueryAlias);
    }
    let LogicalPlan::Projection(projection) = plan else { return None };
    let LogicalPlan::Window(window) = projection.input.as_ref() else { return None };
    let [Expr::WindowFunction(call)] = window.window_expr.as_slice() else { return None };
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return None };
    let columns: Vec<Expr> = window.input.schema().columns().into_iter().map(Expr::Column).collect();
    let numbers_copies = function.name() == "row_number"
        && call.params.order_by.is_empty()
        && call.params.partition_by == columns
        && projection.expr.len() == columns.len() + 1;
    numbers_copies.then(|| window.input.as_ref().clone())
}
