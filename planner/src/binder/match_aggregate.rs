//! Aggregates in DEFINE and MEASURES: `avg(A.price)`, `count(*)`, `count(A.*)`, over the rows that are mapped to a variable,
//! or over all rows of the match.
//!
//! The call is bound over the input's columns as in any query. Values in an order of their own (`array_agg`, `string_agg`)
//! are in the order of the rows if no other is written.

use std::ops::ControlFlow;

use arrow::datatypes::Field;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, ExprSchemable};
use sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    Ident, OrderByExpr, VisitMut, VisitorMut,
};
use weir_common::{Error, Result, SqlType};
use weir_exec::expr::{ScalarExpr, from_logical};
use weir_exec::functions;
use weir_exec::spec::{MatchAggregate, MatchInput, VariableSet};

use super::bind_expr::{ExprContext, qualified_column};
use super::match_values::{Clause, MatchValues, is_classifier, named};
use super::plan_error;
use super::scope::{Scope, ScopeColumn};
use super::typed::Typed;
use crate::stream::lower::aggregate::aggregate_call;
use crate::stream::scalar::{columns_read, move_columns};
use crate::stream::unsupported::{check_expr, check_functions};

impl MatchValues<'_, '_> {
    /// Whether a call is one of an aggregate.
    pub(crate) fn is_aggregate(&self, function: &Function, name: &str) -> bool {
        !function.within_group.is_empty()
            || functions::ordered_set(name, None).is_some()
            || !matches!(functions::resolve_aggregate(name, &[]), Ok(None))
    }

    /// The name of the column that stands for an aggregate.
    pub(crate) fn aggregate(&mut self, function: &Function, name: &str, is_final: bool) -> Result<String> {
        let mut call = function.clone();
        let set = match self.take_wildcard(&mut call)? {
            Some(set) => set,
            None => self.set_of(&SqlExpr::Function(call.clone()))?,
        };
        let of_row = [("row_number", SqlType::Int8), ("classifier", SqlType::Text)];
        let of_row = of_row.map(|(hint, ty)| self.of_row(hint, ty));
        self.order_by_rows(&mut call, name, &of_row[0].name);
        let mut expr = SqlExpr::Function(call);
        let mut unqualify = Unqualify { values: self, classifier: &of_row[1].name };
        if let ControlFlow::Break(error) = expr.visit(&mut unqualify) {
            return Err(*error);
        }
        let mut columns = self.columns.input.columns.clone();
        columns.extend(of_row.iter().cloned());
        let scope = Scope { columns: &columns, ctes: self.scope.ctes, parent: None };
        let clause = self.clause.name();
        let cx = ExprContext { scope: &scope, clause, aggregates: true, windows: false };
        let bound = self.binder.bind_expr(&expr, cx)?;
        let aggregate = self.match_aggregate(&bound, &of_row, set, is_final)?;
        Ok(self.value(MatchInput::Aggregate(Box::new(aggregate)), bound.ty, name))
    }

    /// A column that a row has besides those of the input.
    fn of_row(&self, hint: &str, ty: SqlType) -> ScopeColumn {
        let name = self.binder.unique(hint);
        let column = Column::new_unqualified(name.clone());
        ScopeColumn { table: None, schema: None, name, column, ty, origin: None, merged: false }
    }

    /// The variable of `count(A.*)`, which is `count(*)` over its rows.
    fn take_wildcard(&self, call: &mut Function) -> Result<Option<VariableSet>> {
        let FunctionArguments::List(list) = &mut call.args else { return Ok(None) };
        let [FunctionArg::Unnamed(arg)] = list.args.as_mut_slice() else { return Ok(None) };
        let FunctionArgExpr::QualifiedWildcard(name) = arg else { return Ok(None) };
        let Some(variable) = name.0.last().and_then(|part| part.as_ident()) else { return Ok(None) };
        let set = self.binder.variable(variable, self.variables)?;
        *arg = FunctionArgExpr::Wildcard;
        Ok(Some(set))
    }

    /// Values that are in an order are in that of their rows, if no other is written.
    fn order_by_rows(&self, call: &mut Function, name: &str, row_number: &str) {
        let FunctionArguments::List(list) = &mut call.args else { return };
        let is_ordered = matches!(name, "array_agg" | "string_agg" | "jsonb_agg");
        let has_order = list.clauses.iter().any(|c| matches!(c, FunctionArgumentClause::OrderBy(_)));
        if is_ordered && !has_order && list.duplicate_treatment.is_none() {
            let key = OrderByExpr::from(Ident::with_quote('"', row_number));
            list.clauses.push(FunctionArgumentClause::OrderBy(vec![key]));
        }
    }

    /// A bound call, which may be inside of a cast, as data.
    fn match_aggregate(
        &mut self,
        bound: &Typed,
        of_row: &[ScopeColumn; 2],
        set: VariableSet,
        is_final: bool,
    ) -> Result<MatchAggregate> {
        let mut found = None;
        let _ = bound.expr.apply(|e| {
            if let Expr::AggregateFunction(call) = e {
                found = Some(call.clone());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let call = found.ok_or_else(|| Error::internal("an aggregate that is none"))?;
        if self.binder.continuous.get() {
            check_expr(&bound.expr)?;
            check_functions(&bound.expr)?;
        }
        let schema = self.argument_schema(of_row)?;
        let result = Expr::AggregateFunction(call.clone()).get_type(&schema).map_err(plan_error)?;
        let mut args: Vec<ScalarExpr> = Vec::new();
        let call = aggregate_call(&call, result, &mut |expr| {
            let arg = from_logical(expr, &schema)?;
            Ok(args.iter().position(|known| *known == arg).unwrap_or_else(|| {
                args.push(arg);
                args.len() - 1
            }))
        })?;
        let width = schema.fields().len() - of_row.len();
        let read: Vec<usize> = columns_read(&args).into_iter().filter(|column| *column < width).collect();
        let place = |column: usize| match column.checked_sub(width) {
            Some(of_row) => read.len() + of_row,
            None => read.partition_point(|read| *read < column),
        };
        let args = args.iter().map(|arg| move_columns(arg, &place)).collect();
        let reads = read.iter().map(|column| {
            self.columns.add(&Expr::Column(Column::from(schema.qualified_field(*column))), self.binder)
        });
        Ok(MatchAggregate { call, reads: reads.collect(), args, set, is_final, result: bound.ty.arrow() })
    }

    /// The columns of the input and those that a row has besides.
    fn argument_schema(&self, of_row: &[ScopeColumn]) -> Result<DFSchema> {
        let input = self.columns.input.plan.schema();
        let mut fields: Vec<_> =
            input.iter().map(|(relation, field)| (relation.cloned(), field.clone())).collect();
        let field = |c: &ScopeColumn| (None, Field::new(c.name.clone(), c.ty.arrow(), true).into());
        fields.extend(of_row.iter().map(field));
        DFSchema::new_with_metadata(fields, Default::default()).map_err(plan_error)
    }
}

/// Makes `A.x` the column x, for all of a call's columns are of the same variables, and `CLASSIFIER()` the one of this name.
struct Unqualify<'v, 'a, 'b> {
    values: &'v MatchValues<'a, 'b>,
    classifier: &'v str,
}

impl VisitorMut for Unqualify<'_, '_, '_> {
    type Break = Box<Error>;

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<Box<Error>> {
        match expr {
            SqlExpr::Function(function) if is_classifier(function) => {
                if self.values.clause != Clause::Measures {
                    let what = "CLASSIFIER() in an aggregate in DEFINE";
                    let error = Error::unsupported(what).at(self.values.binder.position(expr));
                    return ControlFlow::Break(Box::new(error));
                }
                *expr = named(self.classifier.to_owned(), function);
            }
            SqlExpr::CompoundIdentifier(parts) => {
                if let Some((_, column)) = self.values.of_variable(parts) {
                    *expr = SqlExpr::Identifier(column);
                }
            }
            SqlExpr::CompoundFieldAccess { root, access_chain } => {
                if let (Some(parts), rest) = qualified_column(root, access_chain)
                    && let Some((_, column)) = self.values.of_variable(&parts)
                {
                    let rest = rest.to_vec();
                    let root = Box::new(SqlExpr::Identifier(column));
                    *expr = match rest.is_empty() {
                        true => *root,
                        false => SqlExpr::CompoundFieldAccess { root, access_chain: rest },
                    };
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
