//! GROUPING SETS: each row once for every set with the set's number, then one ordinary GROUP BY.
//!
//! ```text
//!   Aggregate    by grouping_set, a, b                        (calls FILTER is_row, if there is an empty set)
//!   Union        with a row for every empty set               (if there is one)
//!   Projection   a where the set has a and else NULL, b likewise; what the calls need
//!   Unnest       [0, 1, 2] AS grouping_set
//! ```
//! An empty set has its row even over an empty input: a row of NULLs makes the group exist, and since it is not one of
//! the input's rows (`is_row`), no call counts it. `GROUPING(…)` is a function of the set's number.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, NullHandling, ScalarValue};
use datafusion::logical_expr::{Case, Expr, LogicalPlan, LogicalPlanBuilder, lit, when};
use weir_common::{Error, Result, SqlState};

use super::bind_set_function::unnest_lists;
use super::correlation::rename_outside;
use super::{Binder, plan_error};

/// A plan made ready to be grouped by sets.
pub(super) struct Expanded {
    /// The plan to aggregate.
    pub plan: LogicalPlan,
    /// Its column with the number of the set.
    pub number: Column,
    /// Its column for each grouping expression.
    pub groups: Vec<Column>,
    /// The calls over its columns.
    pub calls: Vec<Expr>,
}

impl Binder<'_> {
    /// Expands `plan` for these sets of positions in `groups`.
    pub(super) fn expand_grouping_sets(
        &self,
        plan: LogicalPlan,
        groups: &[Expr],
        sets: &[Vec<usize>],
        calls: Vec<Expr>,
    ) -> Result<Expanded> {
        let number = Column::new_unqualified(self.unique("grouping_set"));
        let numbers: Vec<ScalarValue> = (0..sets.len() as i32).map(ScalarValue::from).collect();
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &DataType::Int32));
        let numbered = unnest_lists(plan, vec![(lit(list), number.name.clone())], NullHandling::Drop)?;
        let mut exprs = vec![Expr::Column(number.clone())];
        let mut columns = Vec::with_capacity(groups.len());
        for (position, group) in groups.iter().enumerate() {
            let column = Column::new_unqualified(self.unique(&hint(group)));
            exprs.push(self.in_sets(group, position, sets, &number)?.alias(column.name.clone()));
            columns.push(column);
        }
        let (renamed, mut calls) = self.rename_inputs(calls, numbered.schema())?;
        exprs.extend(renamed);
        let mut plan = project(numbered, exprs)?;
        if sets.iter().any(Vec::is_empty) {
            let is_row = Column::new_unqualified(self.unique("is_row"));
            plan = with_empty_sets(plan, sets, &is_row)?;
            calls = calls.into_iter().map(|call| counting_rows(call, &is_row)).collect::<Result<_>>()?;
        }
        Ok(Expanded { plan, number, groups: columns, calls })
    }

    /// The grouping expression in sets that have it, NULL in others.
    fn in_sets(&self, group: &Expr, position: usize, sets: &[Vec<usize>], number: &Column) -> Result<Expr> {
        let having = sets.iter().enumerate().filter(|(_, set)| set.contains(&position));
        let having: Vec<Expr> = having.map(|(set, _)| lit(set as i32)).collect();
        if having.len() == sets.len() {
            return Ok(group.clone());
        }
        let number = Expr::Column(number.clone());
        when(number.in_list(having, false), group.clone()).end().map_err(plan_error)
    }

    /// The columns that calls read, under new names, and the calls over those: a union has no qualified names.
    fn rename_inputs(&self, calls: Vec<Expr>, input: &DFSchema) -> Result<(Vec<Expr>, Vec<Expr>)> {
        let mut names: HashMap<Column, Column> = HashMap::new();
        let mut exprs = Vec::new();
        let mut rename = |column: &Column| {
            let new_name = || {
                let renamed = Column::new_unqualified(self.unique(&column.name));
                exprs.push(Expr::Column(column.clone()).alias(renamed.name.clone()));
                renamed
            };
            names.entry(column.clone()).or_insert_with(new_name).clone()
        };
        let mut renamed_calls = Vec::with_capacity(calls.len());
        for call in calls {
            let renamed = call.transform_up(|e| match e {
                Expr::Column(column) => Ok(Transformed::yes(Expr::Column(rename(&column)))),
                other => rename_outside(other, input, &mut rename),
            });
            renamed_calls.push(renamed.map_err(plan_error)?.data);
        }
        Ok((exprs, renamed_calls))
    }

    /// `GROUPING(args)`: a bit for each argument, the last one lowest; set where the row's grouping set lacks it.
    pub(super) fn grouping_value(
        &self,
        args: &[Expr],
        groups: &[Expr],
        sets: &[Vec<usize>],
        number: Option<&Column>,
    ) -> Result<Expr> {
        let mut positions = Vec::with_capacity(args.len());
        for arg in args {
            let position = groups.iter().position(|group| group == arg);
            positions.push(position.ok_or_else(|| {
                let message =
                    "arguments to GROUPING must be grouping expressions of the associated query level";
                Error::new(SqlState::GROUPING_ERROR, message)
            })?);
        }
        let value = |set: &Vec<usize>| {
            positions.iter().fold(0, |bits, position| bits << 1 | i32::from(!set.contains(position)))
        };
        let values: Vec<i32> = sets.iter().map(value).collect();
        let first = values.first().copied().unwrap_or(0);
        let Some(number) = number.filter(|_| values.iter().any(|value| *value != first)) else {
            return Ok(lit(first));
        };
        let branches = values.into_iter().enumerate();
        let branches = branches.map(|(set, value)| (Box::new(lit(set as i32)), Box::new(lit(value))));
        let operand = Some(Box::new(Expr::Column(number.clone())));
        Ok(Expr::Case(Case::new(operand, branches.collect(), None)))
    }
}

/// The name of a grouping expression's column.
fn hint(group: &Expr) -> String {
    match group {
        Expr::Column(column) => column.name.split('#').next().unwrap_or("group").to_owned(),
        _ => "group".to_owned(),
    }
}

fn project(plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).map_err(plan_error)
}

/// All rows, marked, and one that is none for each empty set.
fn with_empty_sets(plan: LogicalPlan, sets: &[Vec<usize>], is_row: &Column) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let mut rows = Vec::new();
    for set in (0..sets.len()).filter(|set| sets[*set].is_empty()) {
        let mut row = vec![lit(set as i32)];
        for field in plan.schema().fields().iter().skip(1) {
            row.push(lit(ScalarValue::try_from(field.data_type()).map_err(plan_error)?));
        }
        row.push(lit(false));
        rows.push(row);
    }
    let empty = LogicalPlanBuilder::values(rows).and_then(LogicalPlanBuilder::build).map_err(plan_error)?;
    let names = columns.iter().map(|column| &column.name).chain([&is_row.name]);
    let renamed = empty.schema().columns().into_iter().zip(names);
    let renamed = renamed.map(|(column, name)| Expr::Column(column).alias(name.clone())).collect();
    let empty = project(empty, renamed)?;
    let mut exprs: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    exprs.push(lit(true).alias(is_row.name.clone()));
    LogicalPlanBuilder::from(project(plan, exprs)?)
        .union(empty)
        .and_then(LogicalPlanBuilder::build)
        .map_err(plan_error)
}

/// The call over rows of the input only.
fn counting_rows(call: Expr, is_row: &Column) -> Result<Expr> {
    let Expr::AggregateFunction(mut call) = call else {
        return Err(Error::internal("an aggregate call is one"));
    };
    let is_row = Expr::Column(is_row.clone());
    let filter = call.params.filter.take();
    call.params.filter = Some(Box::new(match filter {
        Some(filter) => is_row.and(*filter),
        None => is_row,
    }));
    Ok(Expr::AggregateFunction(call))
}
