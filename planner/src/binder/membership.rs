//! IN and EXISTS with a subquery, where DataFusion would mistake NULLs or has no join for them.
//!
//! Place in the flow: before correlated subqueries become joins. DataFusion makes a semi join of `IN` as a condition of
//! WHERE, and an anti join of a column with an uncorrelated `NOT IN`. Everything else is said with EXISTS, below OR too,
//! where its mark join of `IN` takes a column without a qualifier for two:
//!
//! ```text
//!   x IN S       CASE WHEN EXISTS (S, s = x) THEN true
//!                     WHEN EXISTS (S, s IS NULL) OR x IS NULL AND EXISTS (S) THEN NULL ELSE false END
//!   x NOT IN S   as a condition: NOT EXISTS (S, s = x) AND NOT EXISTS (S, s IS NULL)
//!                                AND (x IS NOT NULL OR NOT EXISTS (S))
//!   x op ANY S, (x, y) IN S   as a condition: the first test of the CASE that they are said with
//!   EXISTS (S)   outside of WHERE, as in ON, uncorrelated: (SELECT count(*) > 0 FROM S)
//! ```

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunction, Case, Exists, InSubquery};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit,
};
use datafusion::scalar::ScalarValue;
use weir_common::Result;
use weir_exec::functions;

use super::bind_operator::{binary, not_if};
use super::correlation::{makes_semi_join, outer_columns, subquery};
use super::{Binder, plan_error};

type DfResult<T> = datafusion::common::Result<T>;

impl Binder<'_> {
    /// The plan with tests of membership that mean what PostgreSQL means.
    pub(crate) fn restate_membership(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let rewritten = plan.transform_down_with_subqueries(|node| {
            if !has_test(&node) {
                return Ok(Transformed::no(node));
            }
            self.count_tests(&node).map_err(weir_exec::error::into_datafusion)?;
            let outer = match (&node, node.inputs().as_slice()) {
                (_, [input]) => input.schema().clone(),
                (LogicalPlan::Join(join), _) => join.schema.clone(),
                _ => return Ok(Transformed::no(node)),
            };
            match &node {
                LogicalPlan::Filter(_) => {
                    node.map_expressions(|expr| condition(expr, &outer, true).map(Transformed::yes))
                }
                LogicalPlan::Join(_) => {
                    node.map_expressions(|expr| self.count_rows(condition(expr, &outer, false)?))
                }
                _ => node.map_expressions(|expr| self.count_rows(tests_to_exists(expr, &outer)?.data)),
            }
        });
        Ok(rewritten.map_err(plan_error)?.data)
    }

    /// What the tests of a node may come to: each takes its rows three times.
    fn count_tests(&self, node: &LogicalPlan) -> Result<()> {
        let mut counted = Ok(());
        for expr in node.expressions() {
            // The closure cannot fail.
            let _ = expr.apply(|e| {
                if let (Expr::InSubquery(test), Ok(())) = (e, &counted) {
                    counted = self.repeat(&test.subquery.subquery, 2);
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        counted
    }

    /// The expression with scalar subqueries instead of each uncorrelated EXISTS.
    fn count_rows(&self, expr: Expr) -> DfResult<Transformed<Expr>> {
        expr.transform_up(|e| match &e {
            Expr::Exists(exists) if exists.subquery.outer_ref_columns.is_empty() => {
                let any = self.any_row(&exists.subquery.subquery)?;
                Ok(Transformed::yes(not_if(exists.negated, Expr::ScalarSubquery(any))))
            }
            _ => Ok(Transformed::no(e)),
        })
    }

    /// `(SELECT count(*) > 0 FROM S)`.
    pub(crate) fn any_row(&self, rows: &LogicalPlan) -> DfResult<Subquery> {
        let resolved =
            functions::resolve_aggregate("count", &[]).map_err(weir_exec::error::into_datafusion)?;
        let Some(resolved) = resolved else {
            return datafusion::common::internal_err!("count is missing");
        };
        let one = vec![lit(1i64)];
        let count = AggregateFunction::new_udf(resolved.udaf, one, false, None, vec![], None);
        let (number, found) = (self.unique("rows"), self.unique("found"));
        let plan = LogicalPlanBuilder::from(rows.clone())
            .aggregate(Vec::<Expr>::new(), vec![Expr::AggregateFunction(count).alias(number.clone())])?
            .project([Expr::Column(number.as_str().into()).gt(lit(0i64)).alias(found)])?
            .build()?;
        Ok(subquery(plan))
    }
}

fn has_test(node: &LogicalPlan) -> bool {
    let is_test = |e: &Expr| matches!(e, Expr::InSubquery(_) | Expr::Exists(_));
    node.expressions().iter().any(|expr| expr.exists(|e| Ok(is_test(e))).unwrap_or(false))
}

/// A condition: false and NULL are the same. `top`: of WHERE, joined by AND only.
fn condition(expr: Expr, outer: &DFSchema, top: bool) -> DfResult<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let top = top && op == Operator::And;
            Ok(binary(condition(*left, outer, top)?, op, condition(*right, outer, top)?))
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(test) => {
                condition(Expr::InSubquery(InSubquery { negated: !test.negated, ..test }), outer, top)
            }
            inner => match decided(&inner) {
                Some([found, unknown]) => Ok(binary(negation(found), Operator::And, negation(unknown))),
                None => Ok(Expr::Not(Box::new(tests_to_exists(inner, outer)?.data))),
            },
        },
        Expr::InSubquery(test) if !test.negated => match top && is_semi_join(&test, outer) {
            true => Ok(Expr::InSubquery(test)),
            false => Parts::of(&test, outer)?.equal(false),
        },
        Expr::InSubquery(test) if top && is_anti_join(&test) => Ok(Expr::InSubquery(test)),
        Expr::InSubquery(test) => {
            let parts = Parts::of(&test, outer)?;
            let no_match = parts.equal(true)?;
            let no_null = parts.null(true)?;
            let any = binary(Expr::IsNotNull(test.expr.clone()), Operator::Or, parts.any(true));
            Ok(binary(binary(no_match, Operator::And, no_null), Operator::And, any))
        }
        other => match decided(&other) {
            Some([found, _]) => Ok(Expr::Exists(found)),
            None => Ok(tests_to_exists(other, outer)?.data),
        },
    }
}

/// Of `CASE WHEN EXISTS … THEN true WHEN EXISTS … THEN NULL ELSE false END`, as ANY and IN of rows are said: the two
/// tests, of which the first alone makes it true, and either keeps it from being false.
fn decided(expr: &Expr) -> Option<[Exists; 2]> {
    let Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(otherwise) }) = expr else {
        return None;
    };
    let is = |expr: &Expr, value: Option<bool>| matches!(expr, Expr::Literal(ScalarValue::Boolean(found), _) if *found == value);
    let [(found, yes), (unknown, null)] = when_then_expr.as_slice() else { return None };
    match (found.as_ref(), unknown.as_ref()) {
        (Expr::Exists(found), Expr::Exists(unknown))
            if is(yes, Some(true)) && is(null, None) && is(otherwise, Some(false)) =>
        {
            Some([found.clone(), unknown.clone()])
        }
        _ => None,
    }
}

fn negation(exists: Exists) -> Expr {
    Expr::Exists(Exists { negated: !exists.negated, ..exists })
}

/// Whether DataFusion's semi join says what this `IN` says: it does unless the subquery reaches further out than `outer`,
/// or does more than choose rows by what it names there.
fn is_semi_join(test: &InSubquery, outer: &DFSchema) -> bool {
    outer_columns(&test.subquery).iter().all(|c| outer.has_column(c))
        && makes_semi_join(&test.subquery, false)
}

/// Whether DataFusion's anti join says what this `NOT IN` says: it does for a column. Of another value it makes a
/// condition on the subquery's rows alone, and forgets the NULLs among them.
fn is_anti_join(test: &InSubquery) -> bool {
    test.subquery.outer_ref_columns.is_empty() && matches!(*test.expr, Expr::Column(_))
}

/// The expression with EXISTS instead of IN.
fn tests_to_exists(expr: Expr, outer: &DFSchema) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|e| {
        let Expr::InSubquery(test) = &e else { return Ok(Transformed::no(e)) };
        let parts = Parts::of(test, outer)?;
        let x_is_null = Expr::IsNull(test.expr.clone());
        let unknown =
            binary(parts.null(false)?, Operator::Or, binary(x_is_null, Operator::And, parts.any(false)));
        let branches = vec![
            (Box::new(parts.equal(false)?), Box::new(lit(true))),
            (Box::new(unknown), Box::new(Expr::Literal(ScalarValue::Boolean(None), None))),
        ];
        let test = Expr::Case(Case::new(None, branches, Some(Box::new(lit(false)))));
        Ok(Transformed::yes(not_if(matches!(&e, Expr::InSubquery(t) if t.negated), test)))
    })
}

/// `x IN S`, taken apart.
struct Parts<'a> {
    /// x, for use in S.
    x: Expr,
    s: Expr,
    rows: &'a LogicalPlan,
}

impl Parts<'_> {
    fn of<'a>(test: &'a InSubquery, outer: &DFSchema) -> DfResult<Parts<'a>> {
        let rows = test.subquery.subquery.as_ref();
        let x = test.expr.as_ref().clone().transform_down(|e| match &e {
            Expr::Column(column) if outer.has_column(column) => {
                let (_, field) = e.to_field(outer)?;
                Ok(Transformed::new(
                    Expr::OuterReferenceColumn(field, column.clone()),
                    true,
                    TreeNodeRecursion::Jump,
                ))
            }
            _ => Ok(Transformed::no(e)),
        })?;
        let s = Expr::Column(rows.schema().columns().swap_remove(0));
        Ok(Parts { x: x.data, s, rows })
    }

    /// EXISTS (S, s = x).
    fn equal(&self, negated: bool) -> DfResult<Expr> {
        self.exists(binary(self.s.clone(), Operator::Eq, self.x.clone()), negated)
    }

    /// EXISTS (S, s IS NULL).
    fn null(&self, negated: bool) -> DfResult<Expr> {
        self.exists(Expr::IsNull(Box::new(self.s.clone())), negated)
    }

    /// EXISTS (S).
    fn any(&self, negated: bool) -> Expr {
        Expr::Exists(Exists::new(subquery(self.rows.clone()), negated))
    }

    fn exists(&self, condition: Expr, negated: bool) -> DfResult<Expr> {
        let plan = LogicalPlanBuilder::from(self.rows.clone()).filter(condition)?.build()?;
        Ok(Expr::Exists(Exists::new(subquery(plan), negated)))
    }
}
