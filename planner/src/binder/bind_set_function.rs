//! Set-returning functions (unnest, generate_series, jsonb_array_elements, …) in the select list, GROUP BY and FROM.
//!
//! Each is bound as a list with DataFusion's `Unnest` expression around it; whoever can make rows of it (the select
//! list, FROM) takes the list out and puts an `Unnest` node under itself. Anywhere else it is an error (0A000).

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullHandling, UnnestOptions};
use datafusion::logical_expr::expr::Unnest;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::bind_expr::ExprContext;
use super::bind_from::FUNCTIONS;
use super::typed::Typed;
use super::{Binder, plan_error};

/// The clauses whose expressions may be sets of rows.
const CLAUSES: [&str; 5] = ["SELECT", "ORDER BY", "GROUP BY", "DISTINCT ON", FUNCTIONS];

impl Binder<'_> {
    /// A call of a set-returning function; `None` when `name` is none.
    pub(crate) fn bind_set_function(
        &self,
        name: &str,
        args: &[Typed],
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Option<Typed>> {
        let (list, element) = match (name, args) {
            ("unnest", [array]) => (array.expr.clone(), array.ty.clone()),
            ("jsonb_each" | "jsonb_each_text", _) if cx.clause != FUNCTIONS => {
                return Err(Error::unsupported(format!("{name}() as one value"))
                    .with_hint(format!("Call it in FROM: … FROM t, {name}(t.c) AS e (key, value)."))
                    .at(position));
            }
            _ if functions::is_set_function(name) => {
                let types: Vec<SqlType> = args.iter().map(|a| a.ty.clone()).collect();
                let resolved = functions::resolve_function(name, &types).map_err(|e| e.at(position))?;
                let list = self.apply(resolved, args.to_vec())?;
                (list.expr, list.ty)
            }
            _ => return Ok(None),
        };
        let element = match element {
            SqlType::Array(element) => element.as_ref().clone(),
            SqlType::Int2Vector => SqlType::Int2,
            SqlType::OidVector => SqlType::Oid,
            other => {
                let message = format!("function unnest({}) does not exist", other.name());
                return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).at(position));
            }
        };
        if !CLAUSES.contains(&cx.clause) {
            let message = match cx.clause {
                "aggregate" => {
                    "aggregate function calls cannot contain set-returning function calls".to_owned()
                }
                clause => format!("set-returning functions are not allowed in {clause}"),
            };
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .with_hint("You might be able to move the set-returning function into a LATERAL FROM item.")
                .at(position));
        }
        Ok(Some(Typed::new(Expr::Unnest(Unnest::new(list)), element, position)))
    }

    /// Makes rows of the set-returning calls inside `exprs`, side by side, and puts their columns in their place, and in
    /// the place of the same calls in `others`. A call inside another's arguments is made rows of before it.
    pub(crate) fn expand_sets(
        &self,
        mut plan: LogicalPlan,
        mut exprs: Vec<&mut Expr>,
        mut others: Vec<&mut Expr>,
    ) -> Result<LogicalPlan> {
        loop {
            let mut lists: Vec<Expr> = Vec::new();
            for expr in &exprs {
                check_conditions(expr)?;
                innermost_lists(expr, &mut lists);
            }
            if lists.is_empty() {
                return Ok(plan);
            }
            let named: Vec<(Expr, String)> =
                lists.into_iter().map(|list| (list, self.unique("set"))).collect();
            for expr in exprs.iter_mut() {
                **expr = with_columns(expr, &named)?;
            }
            for expr in others.iter_mut() {
                **expr = with_columns(expr, &named)?;
            }
            plan = unnest_lists(plan, named, NullHandling::Drop)?;
        }
    }
}

/// A set inside a condition would be rows or not by what the condition is: PostgreSQL refuses it.
fn check_conditions(expr: &Expr) -> Result<()> {
    let conditional = expr.exists(|e| Ok(matches!(e, Expr::Case(_)) && contains_set(e)));
    if conditional.map_err(plan_error)? {
        let message = "set-returning functions are not allowed in CASE";
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
            .with_hint("You might be able to move the set-returning function into a LATERAL FROM item."));
    }
    Ok(())
}

/// Whether a set-returning call is in the expression.
pub(crate) fn contains_set(expr: &Expr) -> bool {
    expr.exists(|e| Ok(matches!(e, Expr::Unnest(_)))).unwrap_or(true)
}

/// Adds the lists of the sets without a set inside of them, each once.
fn innermost_lists(expr: &Expr, lists: &mut Vec<Expr>) {
    let _ = expr.apply(|e| {
        if let Expr::Unnest(unnest) = e
            && !contains_set(&unnest.expr)
            && !lists.contains(&unnest.expr)
        {
            lists.push(unnest.expr.as_ref().clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

fn with_columns(expr: &Expr, named: &[(Expr, String)]) -> Result<Expr> {
    let rewritten = expr.clone().transform_down(|e| {
        let Expr::Unnest(unnest) = &e else { return Ok(Transformed::no(e)) };
        match named.iter().find(|(list, _)| *list == *unnest.expr) {
            Some((_, name)) => {
                let column = Expr::Column(Column::new_unqualified(name.clone()));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(e)),
        }
    });
    Ok(rewritten.map_err(plan_error)?.data)
}

/// `plan` with one more column for each list, and a row for each element.
pub(crate) fn unnest_lists(
    plan: LogicalPlan,
    lists: Vec<(Expr, String)>,
    empty: NullHandling,
) -> Result<LogicalPlan> {
    let columns: Vec<Column> = lists.iter().map(|(_, name)| Column::new_unqualified(name.clone())).collect();
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.extend(lists.into_iter().map(|(list, name)| list.alias(name)));
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(|p| p.unnest_columns_with_options(columns, UnnestOptions::new().with_null_handling(empty)))
        .and_then(LogicalPlanBuilder::build)
        .map_err(plan_error)
}
