//! What a continuous query cannot have: each construct's 0A000 with a hint that names what to write instead.
//!
//! Place in the flow: [`check`] looks at the bound plan before any rule runs, so that a rule cannot turn a construct
//! into something else first; the lowering asks for the error of what is left over.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;
use weir_exec::functions::{EPOCH_NOW, PROCTIME, is_list_maker};

use crate::asof_join::AsofJoin;
use crate::lookup_join::LookupJoin;
use crate::match_recognize::MatchRecognize;
use crate::stream::set_operation::BagOperation;

const IN_VIEW: &str = "in a materialized view";

/// Refuses a bound plan that holds a node which no rule removes, or a function whose value changes by itself.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    let visited = plan.apply_with_subqueries(|node| {
        if is_never_streaming(node) {
            refused = Some(self::node(node));
        }
        for expr in node.expressions() {
            refused = refused.take().or_else(|| check_functions(&expr).err());
        }
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visited.map_err(from_datafusion)?;
    refused.map_or(Ok(()), Err)
}

fn is_never_streaming(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::RecursiveQuery(_) => true,
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            !node.is::<BagOperation>()
                && !node.is::<MatchRecognize>()
                && !node.is::<AsofJoin>()
                && !node.is::<LookupJoin>()
        }
        _ => false,
    }
}

/// The error for a logical node that has no streaming operator.
pub fn node(plan: &LogicalPlan) -> Error {
    let (what, hint) = match plan {
        LogicalPlan::RecursiveQuery(_) => ("WITH RECURSIVE", "Write the levels of the recursion as joins."),
        _ => return Error::unsupported(format!("{} {IN_VIEW}", plan.display())),
    };
    Error::unsupported(format!("{what} {IN_VIEW}")).with_hint(hint)
}

/// Refuses subqueries that no rule could turn into a join, now() outside of a filter, and PROCTIME() outside of a
/// select list.
pub fn check_expr(expr: &Expr) -> Result<()> {
    let subquery = expr.exists(|e| {
        Ok(matches!(
            e,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    });
    // The closure cannot fail.
    if expr.exists(|e| Ok(is_now(e))).unwrap_or(false) {
        return Err(now());
    }
    if expr.exists(|e| Ok(is_proc_time(e))).unwrap_or(false) {
        return Err(Error::unsupported("PROCTIME() outside of a select list, in a continuous query")
            .with_hint("Select it as a column in a subquery: FROM (SELECT *, PROCTIME() AS p FROM t)."));
    }
    if subquery.map_err(from_datafusion)? {
        return Err(Error::unsupported(format!("this form of subquery {IN_VIEW}"))
            .with_hint("Write the subquery as a join."));
    }
    Ok(())
}

/// Whether an expression is now().
pub fn is_now(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == EPOCH_NOW)
}

/// Whether an expression is PROCTIME().
pub fn is_proc_time(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == PROCTIME)
}

/// The error for now() where it names no moment at which a row comes or goes.
pub fn now() -> Error {
    Error::unsupported("this use of now() in a continuous query").with_hint(
        "Compare a time with now(), or with now() and a constant interval of days or less, in WHERE: \
         ts > now() - INTERVAL '5 minutes'.",
    )
}

/// Refuses functions whose value is not determined by their arguments.
pub fn check_functions(expr: &Expr) -> Result<()> {
    let mut changing = None;
    let visited = expr.apply(|e| {
        if let Expr::ScalarFunction(call) = e
            && call.func.signature().volatility != Volatility::Immutable
            && !is_list_maker(call.func.name())
            && !is_now(e)
            && !is_proc_time(e)
        {
            changing = Some(call.func.name().to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_err(from_datafusion)?;
    changing.map_or(Ok(()), |name| {
        Err(Error::unsupported(format!("function {name} {IN_VIEW}")).with_hint(
            "The rows of a view may only depend on its inputs. Use the function in the query that reads the view.",
        ))
    })
}
