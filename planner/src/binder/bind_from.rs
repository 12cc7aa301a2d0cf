//! FROM: items side by side, each with its alias; subqueries, LATERAL ones among them, VALUES, functions and windows.

use datafusion::common::{Column, NullHandling};
use datafusion::logical_expr::expr::Unnest;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, lit};
use sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, Join, JoinConstraint, JoinOperator, Spanned, TableAlias,
    TableFactor, TableWithJoins,
};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions::ORDINALS;

use super::bind_expr::ExprContext;
use super::bind_function::function_name;
use super::bind_lateral::is_lateral;
use super::bind_set_function::{contains_set, unnest_lists};
use super::bind_time_window::window_factor;
use super::correlation::holds_query;
use super::scope::{Relation, Scope, ScopeColumn};
use super::system_call::registered;
use super::{Binder, plan_error};
use crate::parser::fold;

/// The clause that arguments of a function in FROM are bound in.
pub(crate) const FUNCTIONS: &str = "functions in FROM";

impl Binder<'_> {
    /// All items of a FROM clause, combined; one empty row without FROM.
    pub(crate) fn bind_from(&self, from: &[TableWithJoins], scope: &Scope<'_>) -> Result<Relation> {
        let mut combined: Option<Relation> = None;
        for item in from {
            let next = self.bind_table_with_joins(item, combined, scope)?;
            combined = Some(next);
        }
        match combined {
            Some(relation) => {
                self.check_aliases(&relation.columns)?;
                Ok(relation)
            }
            None => Ok(Relation { plan: one_row()?, columns: Vec::new() }),
        }
    }

    /// An item with its joins, to the right of `left`.
    fn bind_table_with_joins(
        &self,
        item: &TableWithJoins,
        left: Option<Relation>,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        if item.joins.is_empty() || left.is_none() {
            let mut relation = self.bind_factor(&item.relation, left, JoinType::Inner, scope)?;
            for join in &item.joins {
                relation = self.bind_join(relation, join, scope)?;
            }
            return Ok(relation);
        }
        if is_lateral(&item.relation) && item.joins.iter().all(keeps_left) {
            // Each row to the left with its part of the joins is the same as the joins with all rows to the left.
            let mut relation = self.bind_factor(&item.relation, left, JoinType::Inner, scope)?;
            for join in &item.joins {
                relation = self.bind_join(relation, join, scope)?;
            }
            return Ok(relation);
        }
        // The joins bind tighter than the comma: join first, then put it beside what came before.
        let mut right = self.bind_factor(&item.relation, None, JoinType::Inner, scope)?;
        for join in &item.joins {
            right = self.bind_join(right, join, scope)?;
        }
        match left {
            Some(left) => self.cross(left, right),
            None => Ok(right),
        }
    }

    /// One item. With `left`, the result is `left` and the item side by side; a LATERAL subquery or a function may
    /// name columns of `left`.
    pub(crate) fn bind_factor(
        &self,
        factor: &TableFactor,
        left: Option<Relation>,
        join: JoinType,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        if let Some((kind, args, alias)) = window_factor(factor) {
            let right = self.bind_time_window(kind, args, alias, scope)?;
            return match left {
                Some(left) => self.cross(left, right),
                None => Ok(right),
            };
        }
        let right = match factor {
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                let call =
                    FromCall { name: function_name(name)?, args: &args.args, ordinality: *with_ordinality };
                return self.bind_from_function(&call, alias.as_ref(), left, join, scope);
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                let call = FromCall { name: function_name(name)?, args, ordinality: *with_ordinality };
                return self.bind_from_function(&call, alias.as_ref(), left, join, scope);
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
                let arrays: Vec<&SqlExpr> = array_exprs.iter().collect();
                return self.bind_unnest(&arrays, *with_ordinality, alias.as_ref(), left, join, scope);
            }
            TableFactor::Derived { lateral: true, subquery, alias, .. } => {
                return self.bind_lateral(subquery, alias.as_ref(), left, scope);
            }
            TableFactor::Table { name, alias, sample: None, version: None, .. } => {
                let short = alias.as_ref().map(|a| fold(&a.name));
                let mut relation = self.bind_named_relation(name, short.as_deref(), scope)?;
                self.apply_alias(&mut relation, alias.as_ref())?;
                relation
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                let bound = self.bind_query(subquery, scope)?;
                let mut relation = self.settle(bound.relation)?;
                for column in &mut relation.columns {
                    (column.table, column.schema) = (None, None);
                }
                if alias.is_none() {
                    return Err(Error::new(SqlState::SYNTAX_ERROR, "subquery in FROM must have an alias")
                        .with_hint("For example, FROM (SELECT ...) [AS] foo.")
                        .at(self.span_position(subquery.span())));
                }
                self.apply_alias(&mut relation, alias.as_ref())?;
                relation
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut relation = self.bind_table_with_joins(table_with_joins, None, scope)?;
                self.apply_alias(&mut relation, alias.as_ref())?;
                relation
            }
            TableFactor::MatchRecognize { .. } => self.bind_match_recognize(factor, scope)?,
            TableFactor::Table { version: Some(_), .. } => {
                return Err(Error::unsupported("FOR SYSTEM_TIME AS OF outside of a join")
                    .with_hint("Write l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k.")
                    .at(self.span_position(factor.span())));
            }
            other => {
                return Err(Error::unsupported(format!("FROM {other}")).at(self.span_position(other.span())));
            }
        };
        match left {
            Some(left) => self.cross(left, right),
            None => Ok(right),
        }
    }

    pub(crate) fn cross(&self, left: Relation, right: Relation) -> Result<Relation> {
        let plan = LogicalPlanBuilder::from(left.plan)
            .cross_join(right.plan)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Relation { plan, columns: left.columns.into_iter().chain(right.columns).collect() })
    }

    pub(crate) fn apply_alias(&self, relation: &mut Relation, alias: Option<&TableAlias>) -> Result<()> {
        let Some(alias) = alias else { return Ok(()) };
        let names: Vec<_> = alias.columns.iter().map(|c| c.name.clone()).collect();
        self.rename(&mut relation.columns, &fold(&alias.name), &names)
            .map_err(|e| e.at(self.span_position(alias.name.span)))
    }

    pub(crate) fn check_aliases(&self, columns: &[ScopeColumn]) -> Result<()> {
        // Two items of the same name stand apart by their columns' scans: names repeat within a table only then.
        let mut seen = std::collections::HashMap::new();
        for column in columns.iter().filter(|c| c.table.is_some() && c.column.relation.is_some()) {
            let key = (column.schema.clone(), column.table.clone());
            let scan = column.column.relation.clone();
            if let Some(other) = seen.insert((key, column.name.clone()), scan.clone())
                && other != scan
            {
                let table = column.table.as_deref().unwrap_or_default();
                let message = format!("table name \"{table}\" specified more than once");
                return Err(Error::new(SqlState::DUPLICATE_ALIAS, message));
            }
        }
        Ok(())
    }

    fn bind_from_function(
        &self,
        call: &FromCall<'_>,
        alias: Option<&TableAlias>,
        left: Option<Relation>,
        join: JoinType,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let args: Result<Vec<&SqlExpr>> = call
            .args
            .iter()
            .map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
                other => Err(Error::unsupported(format!("argument {other}"))),
            })
            .collect();
        let args = args?;
        if call.name == "unnest" && args.len() > 1 {
            return self.bind_unnest(&args, call.ordinality, alias, left, join, scope);
        }
        let columns = left.as_ref().map(|l| l.columns.clone()).unwrap_or_default();
        let around = scope.with_columns(&columns);
        let cx = ExprContext::plain(&around, FUNCTIONS);
        let position = call.args.first().and_then(|a| self.span_position(a.span()));
        let bind = |column: &str, function: &str| -> Result<(String, Expr, SqlType)> {
            let typed = self.bind_call(function, &args, position, cx)?;
            Ok((column.to_owned(), typed.expr, typed.ty))
        };
        let values = match call.name.as_str() {
            "jsonb_each" | "jsonb_each_text" => {
                vec![bind("key", "jsonb_object_keys")?, bind("value", &call.name)?]
            }
            name => vec![bind(name, name)?],
        };
        self.from_values(&call.name, values, call.ordinality, alias, left, join)
    }

    fn bind_unnest(
        &self,
        arrays: &[&SqlExpr],
        ordinality: bool,
        alias: Option<&TableAlias>,
        left: Option<Relation>,
        join: JoinType,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let columns = left.as_ref().map(|l| l.columns.clone()).unwrap_or_default();
        let around = scope.with_columns(&columns);
        let cx = ExprContext::plain(&around, FUNCTIONS);
        let calls: Result<Vec<_>> = arrays
            .iter()
            .map(|array| {
                let typed = self.bind_call("unnest", &[*array], self.position(array), cx)?;
                Ok(("unnest".to_owned(), typed.expr, typed.ty))
            })
            .collect();
        self.from_values("unnest", calls?, ordinality, alias, left, join)
    }

    /// Columns of functions beside `left`: sets give a row for each element, anything else one row.
    fn from_values(
        &self,
        function: &str,
        values: Vec<(String, Expr, SqlType)>,
        ordinality: bool,
        alias: Option<&TableAlias>,
        left: Option<Relation>,
        join: JoinType,
    ) -> Result<Relation> {
        let left = match left {
            // A view's operator makes the elements beside each row; a query would make whole lists for many rows.
            Some(left)
                if !self.continuous.get() && values.iter().all(|(_, value, _)| stands_alone(value)) =>
            {
                let right = self.from_values(function, values, ordinality, alias, None, JoinType::Inner)?;
                return match join {
                    JoinType::Inner => self.cross(left, right),
                    _ => self.join_always(left, right, join),
                };
            }
            left => left,
        };
        let Relation { mut plan, columns: mut all } = match left {
            Some(left) => left,
            None => Relation { plan: one_row()?, columns: Vec::new() },
        };
        let table = alias.map_or_else(|| function.to_owned(), |a| fold(&a.name));
        let mut rows = self.function_rows(values, &table)?;
        if ordinality {
            self.add_ordinality(&mut rows)?;
        }
        let names: Vec<_> = alias.iter().flat_map(|a| a.columns.iter().map(|c| c.name.clone())).collect();
        self.rename(&mut rows.columns, &table, &names)?;
        if !rows.scalars.is_empty() {
            let kept = plan.schema().columns().into_iter().map(Expr::Column);
            let exprs: Vec<Expr> = kept.chain(rows.scalars).collect();
            plan = LogicalPlanBuilder::from(plan)
                .project(exprs)
                .and_then(LogicalPlanBuilder::build)
                .map_err(plan_error)?;
        }
        if !rows.lists.is_empty() {
            let keeps_left = join == JoinType::Left;
            let empty = if keeps_left { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
            plan = unnest_lists(plan, rows.lists, empty)?;
        }
        all.extend(rows.columns);
        Ok(Relation { plan, columns: all })
    }

    /// The values of functions by what makes rows of them. A function that stands alone names its column by its alias.
    fn function_rows(&self, values: Vec<(String, Expr, SqlType)>, table: &str) -> Result<FunctionRows> {
        let alone = values.len() == 1;
        let mut rows = FunctionRows::default();
        for (name, expr, ty) in values {
            let shown = match alone {
                // PostgreSQL declares a name for these; other functions' columns are named by their alias.
                true if name.contains("_array_elements") => "value",
                true => table,
                false => &name,
            };
            let column = self.function_column(shown, &name, ty);
            let plan_name = column.column.name.clone();
            if alone {
                self.whole_rows.borrow_mut().insert(column.column.clone());
            }
            rows.columns.push(column);
            match expr {
                Expr::Unnest(Unnest { expr, .. }) if !contains_set(&expr) => {
                    rows.lists.push((*expr, plan_name))
                }
                expr if !contains_set(&expr) => rows.scalars.push(expr.alias(plan_name)),
                _ => {
                    let message = "set-returning functions must appear at top level of FROM";
                    return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                }
            }
        }
        Ok(rows)
    }

    /// WITH ORDINALITY: one more list beside the others, of their numbers.
    fn add_ordinality(&self, rows: &mut FunctionRows) -> Result<()> {
        let column = self.function_column("ordinality", "ordinality", SqlType::Int8);
        let plan_name = column.column.name.clone();
        rows.columns.push(column);
        if rows.lists.is_empty() {
            rows.scalars.push(lit(1i64).alias(plan_name));
        } else {
            let counted = rows.lists.iter().map(|(list, _)| list.clone()).collect();
            rows.lists.push((registered(ORDINALS, counted)?, plan_name));
        }
        Ok(())
    }

    fn function_column(&self, name: &str, hint: &str, ty: SqlType) -> ScopeColumn {
        ScopeColumn {
            table: None,
            schema: None,
            name: name.to_owned(),
            column: Column::new_unqualified(self.unique(hint)),
            ty,
            origin: None,
            merged: false,
        }
    }

    /// Columns whose type is still open become text, as PostgreSQL does at the edge of a subquery.
    pub(crate) fn settle(&self, mut relation: Relation) -> Result<Relation> {
        for column in &mut relation.columns {
            if column.ty == SqlType::Unknown {
                column.ty = SqlType::Text;
            }
        }
        Ok(relation)
    }
}

/// Whether a join keeps or repeats the rows of its left side, whatever else is in them.
fn keeps_left(join: &Join) -> bool {
    use JoinOperator as J;
    match &join.join_operator {
        J::CrossJoin(_) => true,
        J::Join(on) | J::Inner(on) | J::Left(on) | J::LeftOuter(on) => {
            matches!(on, JoinConstraint::On(_) | JoinConstraint::None)
        }
        _ => false,
    }
}

/// A function called in FROM.
struct FromCall<'f> {
    name: String,
    args: &'f [FunctionArg],
    ordinality: bool,
}

/// What functions in FROM give: columns, of which some are lists to be made rows of. Each has a name in the plan.
#[derive(Default)]
struct FunctionRows {
    columns: Vec<ScopeColumn>,
    lists: Vec<(Expr, String)>,
    scalars: Vec<Expr>,
}

/// A plan of one row without columns.
pub(crate) fn one_row() -> Result<LogicalPlan> {
    LogicalPlanBuilder::empty(true).build().map_err(plan_error)
}

/// Whether an expression names no row.
fn stands_alone(expr: &Expr) -> bool {
    expr.column_refs().is_empty() && !expr.contains_outer() && !holds_query(expr)
}
