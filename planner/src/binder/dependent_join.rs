//! The dependent join: a subquery evaluated for every row of an outer plan, turned into ordinary joins.
//!
//! ```text
//!   P ⟕ S(c)      c: columns of P that S names
//!     D  = distinct values of c in P
//!     S' = S with D pushed down: its rows, each with the c it belongs to
//!     P ⟕ S' on c is not distinct from c'
//! ```
//! Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW 2015). D is pushed below every node of S until what is
//! left below names nothing of P; there it is joined in.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, NullHandling, UnnestOptions};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, Limit, LogicalPlan, LogicalPlanBuilder, Projection,
    SortExpr as Sort, SubqueryAlias, Union, Values, Window, WindowFrame, lit,
};
use datafusion::scalar::ScalarValue;
use weir_common::{Error, Result};
use weir_exec::functions;

use super::bind_operator::if_then_else;
use super::bind_order::{sort_below, with_sort_keys};
use super::bind_set_function::unnest_lists;
use super::bind_window::window_plan;
use super::system_call::registered;
use super::{Binder, plan_error};

/// D: its plan, and for each outer column the name it has in it.
#[derive(Clone)]
pub(crate) struct Domain {
    pub(super) plan: LogicalPlan,
    pub(super) columns: Vec<(Column, Column)>,
}

impl Binder<'_> {
    /// The distinct values of `outer` in `plan`.
    pub(crate) fn domain(&self, plan: &LogicalPlan, outer: &[Column]) -> Result<Domain> {
        let (plan, sources) = where_from(plan, outer.to_vec());
        self.repeat(plan, 1)?;
        let columns: Vec<(Column, Column)> =
            outer.iter().map(|c| (c.clone(), Column::new_unqualified(self.unique(&c.name)))).collect();
        let named = sources.into_iter().zip(&columns);
        let exprs: Vec<Expr> =
            named.map(|(source, (_, to))| Expr::Column(source).alias(to.name.clone())).collect();
        let plan = LogicalPlanBuilder::from(plan.clone())
            .project(exprs)
            .and_then(LogicalPlanBuilder::distinct)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Domain { plan, columns })
    }

    /// `outer` joined with `inner`, to which the domain was pushed.
    pub(crate) fn join_domain(
        &self,
        outer: LogicalPlan,
        inner: LogicalPlan,
        domain: &Domain,
        join: JoinType,
    ) -> Result<LogicalPlan> {
        let (left, right): (Vec<Column>, Vec<Column>) = domain.columns.iter().cloned().unzip();
        null_safe_join(outer, inner, join, left, right, None)
    }

    /// The subquery's rows for each row of the domain; the domain's columns are among its columns.
    pub(crate) fn push_domain(&self, plan: &LogicalPlan, domain: &Domain) -> Result<LogicalPlan> {
        self.deeper(|| {
            if !names_domain(plan, domain) {
                if matches!(plan, LogicalPlan::EmptyRelation(one) if one.produce_one_row) {
                    return Ok(domain.plan.clone());
                }
                return build(LogicalPlanBuilder::from(domain.plan.clone()).cross_join(plan.clone()));
            }
            self.push_into(plan, domain)
        })
    }

    fn push_into(&self, plan: &LogicalPlan, domain: &Domain) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                let input = self.push_domain(input, domain)?;
                let mut exprs = domain.exprs();
                exprs.extend(domain.replace_all(expr)?);
                build(LogicalPlanBuilder::from(input).project(exprs))
            }
            LogicalPlan::Filter(filter) => {
                let input = self.push_domain(&filter.input, domain)?;
                build(LogicalPlanBuilder::from(input).filter(domain.replace(filter.predicate.clone())?))
            }
            // The order of rows means something to a LIMIT only, which looks for it itself.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.push_domain(&sort.input, domain),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                build(LogicalPlanBuilder::from(self.push_domain(input, domain)?).distinct())
            }
            LogicalPlan::Distinct(Distinct::On(on)) => self.push_into_distinct_on(on, domain),
            LogicalPlan::SubqueryAlias(alias) => self.push_into_alias(alias, domain),
            LogicalPlan::Aggregate(aggregate) => self.push_into_aggregate(aggregate, domain),
            LogicalPlan::Join(join) => self.push_into_join(join, domain),
            LogicalPlan::Limit(limit) => self.push_into_limit(limit, domain),
            LogicalPlan::Window(window) => self.push_into_window(window, domain),
            LogicalPlan::Union(union) => self.push_into_union(union, domain),
            LogicalPlan::Values(values) => push_into_values(values, domain),
            LogicalPlan::Unnest(unnest) => {
                let input = self.push_domain(&unnest.input, domain)?;
                let columns = unnest.exec_columns.clone();
                let options: UnnestOptions = unnest.options.clone();
                build(LogicalPlanBuilder::from(input).unnest_columns_with_options(columns, options))
            }
            other => Err(Error::unsupported(format!(
                "a subquery that names outer columns inside {}",
                node_name(other)
            ))
            .with_hint("Write the subquery as a join.")),
        }
    }

    /// The domain's columns keep their names.
    fn push_into_alias(&self, alias: &SubqueryAlias, domain: &Domain) -> Result<LogicalPlan> {
        let mut exprs = domain.exprs();
        let columns = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
        exprs.extend(columns.map(|(from, to)| Expr::Column(from).alias_qualified(to.relation, to.name)));
        build(LogicalPlanBuilder::from(self.push_domain(&alias.input, domain)?).project(exprs))
    }

    /// Groups get the domain's columns. Without GROUP BY there is a row for every row of the domain, with the
    /// aggregates' values over nothing where the subquery has no row.
    fn push_into_aggregate(&self, aggregate: &Aggregate, domain: &Domain) -> Result<LogicalPlan> {
        let input = self.push_domain(&aggregate.input, domain)?;
        let calls = domain.replace_all(&aggregate.aggr_expr)?;
        let mut groups = domain.exprs();
        groups.extend(domain.replace_all(&aggregate.group_expr)?);
        let grouped = build(LogicalPlanBuilder::from(input).aggregate(groups, calls.clone()))?;
        if !aggregate.group_expr.is_empty() {
            return Ok(grouped);
        }
        let outputs: Vec<Column> =
            grouped.schema().columns().into_iter().skip(domain.columns.len()).collect();
        self.repeat(&domain.plan, 1)?;
        let marker = Column::new_unqualified(self.unique("found"));
        let mut inner = Vec::new();
        let mut right = Vec::new();
        for (_, column) in &domain.columns {
            let name = self.unique(&column.name);
            inner.push(Expr::Column(column.clone()).alias(name.clone()));
            right.push(Column::new_unqualified(name));
        }
        inner.extend(outputs.iter().cloned().map(Expr::Column));
        inner.push(lit(true).alias(marker.name.clone()));
        let inner = build(LogicalPlanBuilder::from(grouped).project(inner))?;
        let left = domain.columns.iter().map(|(_, column)| column.clone()).collect();
        let joined = null_safe_join(domain.plan.clone(), inner, JoinType::Left, left, right, None)?;
        let mut exprs = domain.exprs();
        for (output, call) in outputs.into_iter().zip(&calls) {
            exprs.push(over_nothing(output, call, &marker)?);
        }
        build(LogicalPlanBuilder::from(joined).project(exprs))
    }

    /// LIMIT counts within each row of the domain.
    fn push_into_limit(&self, limit: &Limit, domain: &Domain) -> Result<LogicalPlan> {
        let count = |expr: &Option<Box<Expr>>| match expr.as_deref() {
            None => Ok(None),
            Some(Expr::Literal(ScalarValue::Int64(n), _)) => Ok(*n),
            Some(_) => Err(Error::unsupported("LIMIT of an expression in a subquery")),
        };
        let (skip, fetch) = (count(&limit.skip)?.unwrap_or(0), count(&limit.fetch)?);
        let output = limit.input.schema().columns().into_iter().map(Expr::Column);
        let kept: Vec<Expr> = domain.exprs().into_iter().chain(output).collect();
        let ordered = with_sort_keys(limit.input.as_ref().clone());
        let order_by = sort_below(&ordered);
        let input = self.push_domain(&ordered, domain)?;
        let resolved = functions::resolve_window("row_number", &[])?;
        let resolved = resolved.ok_or_else(|| Error::internal("row_number is missing"))?;
        let params = WindowFunctionParams {
            args: Vec::new(),
            partition_by: domain.exprs(),
            window_frame: WindowFrame::new((!order_by.is_empty()).then_some(true)),
            order_by,
            filter: None,
            null_treatment: None,
            distinct: false,
        };
        let call = Expr::WindowFunction(Box::new(WindowFunction { fun: resolved.function, params }));
        let name = self.unique("number");
        let numbered = window_plan(input, &[(call, name.clone())])?;
        let number = datafusion::logical_expr::cast(
            Expr::Column(Column::new_unqualified(name)),
            arrow::datatypes::DataType::Int64,
        );
        let mut condition = number.clone().gt(lit(skip));
        if let Some(fetch) = fetch {
            condition = condition.and(number.lt_eq(lit(skip.saturating_add(fetch))));
        }
        build(LogicalPlanBuilder::from(numbered).filter(condition).and_then(|p| p.project(kept)))
    }

    /// DISTINCT ON chooses within each row of the domain.
    fn push_into_distinct_on(&self, on: &DistinctOn, domain: &Domain) -> Result<LogicalPlan> {
        let input = self.push_domain(&on.input, domain)?;
        let with_domain =
            |exprs: &[Expr]| Ok([domain.exprs(), domain.replace_all(exprs)?].concat()) as Result<Vec<Expr>>;
        let mut sorts: Vec<Sort> =
            domain.exprs().into_iter().map(|column| Sort::new(column, true, false)).collect();
        for sort in on.sort_expr.iter().flatten() {
            sorts.push(sort.with_expr(domain.replace(sort.expr.clone())?));
        }
        let (keys, select) = (with_domain(&on.on_expr)?, with_domain(&on.select_expr)?);
        build(LogicalPlanBuilder::from(input).distinct_on(keys, select, Some(sorts)))
    }

    fn push_into_window(&self, window: &Window, domain: &Domain) -> Result<LogicalPlan> {
        let input = self.push_domain(&window.input, domain)?;
        let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let mut named = Vec::new();
        for expr in domain.replace_all(&window.window_expr)? {
            let output = Column::new_unqualified(expr.schema_name().to_string());
            let Expr::WindowFunction(mut call) = expr else {
                return Err(Error::internal("a window expression is no window call"));
            };
            call.params.partition_by.extend(domain.exprs());
            let name = self.unique("window");
            columns.push(Expr::Column(Column::new_unqualified(name.clone())).alias(output.name));
            named.push((Expr::WindowFunction(call), name));
        }
        build(LogicalPlanBuilder::from(window_plan(input, &named)?).project(columns))
    }

    fn push_into_union(&self, union: &Union, domain: &Domain) -> Result<LogicalPlan> {
        self.repeat(&domain.plan, union.inputs.len().saturating_sub(1))?;
        let inputs: Result<Vec<Arc<LogicalPlan>>> = union
            .inputs
            .iter()
            .map(|input| {
                let mut exprs = domain.exprs();
                exprs.extend(input.schema().columns().into_iter().map(Expr::Column));
                let pushed = self.push_domain(input, domain)?;
                build(LogicalPlanBuilder::from(pushed).project(exprs)).map(Arc::new)
            })
            .collect();
        Union::try_new_with_loose_types(inputs?).map(LogicalPlan::Union).map_err(plan_error)
    }
}

/// Rows of expressions over the domain: in each column an array of the rows' values, unnested side by side.
fn push_into_values(values: &Values, domain: &Domain) -> Result<LogicalPlan> {
    let array = |(i, field): (usize, &FieldRef)| {
        let items: Result<Vec<Expr>> =
            values.values.iter().map(|row| domain.replace(row[i].clone())).collect();
        Ok((registered(functions::MAKE_ARRAY, items?)?, field.name().clone()))
    };
    let arrays: Result<Vec<_>> = values.schema.fields().iter().enumerate().map(array).collect();
    unnest_lists(domain.plan.clone(), arrays?, NullHandling::Drop)
}

impl Domain {
    /// All rows of a plan, copies too.
    pub(crate) fn of_rows(plan: LogicalPlan) -> Domain {
        let columns = plan.schema().columns().into_iter().map(|column| (column.clone(), column)).collect();
        Domain { plan, columns }
    }

    /// The domain's columns as expressions.
    pub(crate) fn exprs(&self) -> Vec<Expr> {
        self.columns.iter().map(|(_, column)| Expr::Column(column.clone())).collect()
    }

    /// Outer references as columns of the domain.
    pub(super) fn replace(&self, expr: Expr) -> Result<Expr> {
        let replaced = expr.transform_up(|e| match &e {
            Expr::OuterReferenceColumn(_, outer) => match self.columns.iter().find(|(from, _)| from == outer)
            {
                Some((_, column)) => Ok(Transformed::yes(Expr::Column(column.clone()))),
                None => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        });
        Ok(replaced.map_err(plan_error)?.data)
    }

    pub(super) fn replace_all(&self, exprs: &[Expr]) -> Result<Vec<Expr>> {
        exprs.iter().map(|e| self.replace(e.clone())).collect()
    }
}

/// The plan furthest down that has the same values of these columns, and what they are there. So a subquery that was
/// joined already is not part of the next one's domain: n of them would make 2ⁿ copies of what is below.
fn where_from(plan: &LogicalPlan, columns: Vec<Column>) -> (&LogicalPlan, Vec<Column>) {
    let below = match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Left => Some((&join.left, columns.clone())),
        LogicalPlan::Window(window) => Some((&window.input, columns.clone())),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Some((&sort.input, columns.clone())),
        LogicalPlan::Distinct(Distinct::All(input)) => Some((input, columns.clone())),
        LogicalPlan::Projection(projection) => {
            passed_on(plan, &projection.expr, &columns).map(|columns| (&projection.input, columns))
        }
        LogicalPlan::Aggregate(aggregate) if !aggregate.group_expr.is_empty() => {
            passed_on(plan, &aggregate.group_expr, &columns).map(|columns| (&aggregate.input, columns))
        }
        _ => None,
    };
    match below {
        Some((input, below)) if below.iter().all(|c| input.schema().has_column(c)) => {
            where_from(input, below)
        }
        _ => (plan, columns),
    }
}

/// Which columns of the input these columns of `plan` are, by the expressions that its first columns are made by.
fn passed_on(plan: &LogicalPlan, exprs: &[Expr], columns: &[Column]) -> Option<Vec<Column>> {
    let source = |column: &Column| {
        let index = plan.schema().maybe_index_of_column(column)?;
        match exprs.get(index)?.clone().unalias() {
            Expr::Column(source) => Some(source),
            _ => None,
        }
    };
    columns.iter().map(source).collect()
}

/// What an aggregate gives where there was no row.
fn over_nothing(output: Column, call: &Expr, marker: &Column) -> Result<Expr> {
    let name = output.name.clone();
    let relation = output.relation.clone();
    let column = Expr::Column(output);
    let default = match call.clone().unalias() {
        Expr::AggregateFunction(call) if matches!(call.func.name(), "count" | "regr_count") => {
            ScalarValue::Int64(Some(0))
        }
        _ => return Ok(column),
    };
    let missing = Expr::IsNull(Box::new(Expr::Column(marker.clone())));
    let value = if_then_else(missing, Expr::Literal(default, None), column);
    Ok(match relation {
        Some(relation) => value.alias_qualified(Some(relation), name),
        None => value.alias(name),
    })
}

pub(super) fn names_domain(plan: &LogicalPlan, domain: &Domain) -> bool {
    let outer = plan.all_out_ref_exprs();
    outer.iter().any(|e| match e {
        Expr::OuterReferenceColumn(_, column) => domain.columns.iter().any(|(from, _)| from == column),
        _ => false,
    })
}

fn null_safe_join(
    left: LogicalPlan,
    right: LogicalPlan,
    join: JoinType,
    left_keys: Vec<Column>,
    right_keys: Vec<Column>,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    let keys = (left_keys, right_keys);
    build(LogicalPlanBuilder::from(left).join_detailed(
        right,
        join,
        keys,
        filter,
        NullEquality::NullEqualsNull,
    ))
}

pub(super) fn build(builder: datafusion::common::Result<LogicalPlanBuilder>) -> Result<LogicalPlan> {
    builder.and_then(LogicalPlanBuilder::build).map_err(plan_error)
}

fn node_name(plan: &LogicalPlan) -> String {
    let line = plan.display().to_string();
    line.split([':', ' ']).next().unwrap_or_default().to_owned()
}
