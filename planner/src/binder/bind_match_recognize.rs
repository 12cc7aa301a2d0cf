//! MATCH_RECOGNIZE in FROM: rows that fit a pattern, by SQL:2016 (ISO/IEC TR 19075-5).
//!
//! ```text
//!   FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES … PATTERN (A B*) DEFINE …)
//!
//!   MatchRecognize  its specification, over columns by position
//!     Projection    the columns that it reads, and the keys of its order
//! ```
//! ONE ROW PER MATCH shows the partition's columns and the measures; ALL ROWS PER MATCH the columns of the partition, those
//! of the order, the measures, and the other columns of the input. Conditions and measures are bound in
//! [`match_values`](super::match_values).

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{
    EmptyMatchesMode, Expr as SqlExpr, MatchRecognizePattern, MatchRecognizeSymbol,
    Measure as WrittenMeasure, OrderByExpr, RowsPerMatch as WrittenRows, SymbolDefinition, TableFactor,
};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;
use weir_exec::spec::{Measure, Pattern, PatternVariable, RowPattern, RowsPerMatch, SortColumn, VariableSet};

use super::bind_expr::{ExprContext, strip};
use super::match_pattern::Variables;
use super::match_values::{Clause, MatchValues};
use super::scope::{Relation, Scope, ScopeColumn};
use super::{Binder, plan_error};
use crate::match_recognize::MatchRecognize;
use crate::parser::{PatternClause, fold, recognized_query};

/// The columns that MATCH_RECOGNIZE reads of its input.
pub(crate) struct MatchColumns {
    pub input: Relation,
    /// Columns of the projection below it.
    exprs: Vec<Expr>,
}

impl MatchColumns {
    /// The position of an expression over the input among the columns that are read.
    pub(crate) fn add(&mut self, expr: &Expr, binder: &Binder<'_>) -> usize {
        let is_it = |known: &Expr| match known {
            Expr::Alias(alias) => *alias.expr == *expr,
            known => known == expr,
        };
        if let Some(at) = self.exprs.iter().position(is_it) {
            return at;
        }
        self.exprs.push(match expr {
            Expr::Column(_) => expr.clone(),
            _ => expr.clone().alias(binder.unique("key")),
        });
        self.exprs.len() - 1
    }

    /// The position of a column of the input.
    pub(crate) fn add_column(&mut self, column: usize, binder: &Binder<'_>) -> usize {
        let expr = Expr::Column(self.input.columns[column].column.clone());
        self.add(&expr, binder)
    }
}

impl Binder<'_> {
    /// `table MATCH_RECOGNIZE (…) [AS alias]`.
    pub(crate) fn bind_match_recognize(&self, factor: &TableFactor, scope: &Scope<'_>) -> Result<Relation> {
        let TableFactor::MatchRecognize {
            table,
            partition_by,
            order_by,
            measures,
            rows_per_match,
            after_match_skip,
            pattern: MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Named(folded)),
            symbols,
            alias,
        } = factor
        else {
            return Err(Error::internal("a pattern that was not folded"));
        };
        let clause = PatternClause::parse(folded, &self.source.borrow())?;
        let (pattern, variables) = self.bind_pattern(&clause)?;
        let mut columns = MatchColumns { input: self.bind_recognized(table, scope)?, exprs: Vec::new() };
        let partition = self.bind_partition(partition_by, &columns.input)?;
        let rows = bind_rows(rows_per_match.as_ref(), &pattern)?;
        let mut shown = partition.clone();
        let (order, ordered) = self.bind_match_order(order_by, &mut columns, scope)?;
        if rows != RowsPerMatch::One {
            let others = (0..columns.input.columns.len()).filter(|c| !columns.input.columns[*c].merged);
            let all: Vec<usize> = ordered.iter().copied().chain(others).collect();
            all.into_iter().for_each(|column| {
                if !shown.contains(&column) {
                    shown.push(column);
                }
            });
        }
        let within = match &clause.within {
            Some(within) => Some(self.bind_within(within, &order, &columns)?),
            None => None,
        };
        let after_match = self.bind_skip(after_match_skip.as_ref(), &variables)?;
        let variables_bound = self.bind_definitions(symbols, &variables, &mut columns, scope)?;
        let (measures, types) = self.bind_measures(measures, &variables, &mut columns, scope)?;
        if shown.is_empty() && measures.is_empty() {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "MATCH_RECOGNIZE without columns")
                .with_hint("Add MEASURES or PARTITION BY.")
                .at(self.span_position(folded.span)));
        }
        let spec = RowPattern {
            partition: partition.iter().map(|column| columns.add_column(*column, self)).collect(),
            order,
            pattern,
            variables: variables_bound,
            within_micros: within,
            after_match,
            rows,
            project: shown.iter().map(|column| columns.add_column(*column, self)).collect(),
            measures,
        };
        // Behind the columns of partition and order come the measures.
        let first = shown.iter().take_while(|c| partition.contains(c) || ordered.contains(c)).count();
        let mut relation = self.match_plan(spec, types, &columns, &shown, first)?;
        self.apply_alias(&mut relation, alias.as_ref())?;
        Ok(relation)
    }

    /// What is in front of MATCH_RECOGNIZE.
    fn bind_recognized(&self, table: &TableFactor, scope: &Scope<'_>) -> Result<Relation> {
        let Some(query) = recognized_query(table) else {
            return self.bind_factor(table, None, datafusion::logical_expr::JoinType::Inner, scope);
        };
        let bound = self.bind_query(query, scope)?;
        let mut relation = self.settle(bound.relation)?;
        for column in &mut relation.columns {
            (column.table, column.schema) = (None, None);
        }
        if let TableFactor::Table { alias, .. } = table {
            self.apply_alias(&mut relation, alias.as_ref())?;
        }
        Ok(relation)
    }

    /// Columns of the input.
    fn bind_partition(&self, keys: &[SqlExpr], input: &Relation) -> Result<Vec<usize>> {
        let scope = Scope { columns: &input.columns, ..Scope::default() };
        let mut partition = Vec::with_capacity(keys.len());
        for key in keys {
            let bound = self.bind_expr(strip(key), ExprContext::plain(&scope, "PARTITION BY"))?;
            let is_it = |c: &ScopeColumn| bound.expr == Expr::Column(c.column.clone());
            let Some(column) = input.columns.iter().position(is_it) else {
                return Err(Error::unsupported("PARTITION BY of an expression in MATCH_RECOGNIZE")
                    .with_hint("Compute it as a column of a subquery below MATCH_RECOGNIZE.")
                    .at(self.position(key)));
            };
            if !partition.contains(&column) {
                partition.push(column);
            }
        }
        Ok(partition)
    }

    /// The keys of the order, and the columns of the input among them.
    fn bind_match_order(
        &self,
        keys: &[OrderByExpr],
        columns: &mut MatchColumns,
        scope: &Scope<'_>,
    ) -> Result<(Vec<SortColumn>, Vec<usize>)> {
        let inside = Scope { columns: &columns.input.columns, ctes: scope.ctes, parent: None };
        let sorts = self.bind_sort_keys(keys, ExprContext::plain(&inside, "ORDER BY"))?;
        let (mut order, mut ordered) = (Vec::new(), Vec::new());
        for sort in sorts {
            let is_it = |c: &ScopeColumn| sort.expr == Expr::Column(c.column.clone());
            ordered.extend(columns.input.columns.iter().position(is_it));
            let column = columns.add(&sort.expr, self);
            order.push(SortColumn { column, descending: !sort.asc, nulls_first: sort.nulls_first });
        }
        Ok((order, ordered))
    }

    /// WITHIN, in microseconds.
    fn bind_within(&self, within: &SqlExpr, order: &[SortColumn], columns: &MatchColumns) -> Result<i64> {
        let position = self.position(within);
        let length = functions::length_micros(self.fixed_length(within, "WITHIN", "WITHIN")?)?;
        if length <= 0 {
            let message = "WITHIN must be positive";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(position));
        }
        let time = order.first().filter(|key| !key.descending).and_then(|key| columns.exprs.get(key.column));
        let is_time = |time: &Expr| {
            let known = |c: &&ScopeColumn| Expr::Column(c.column.clone()) == *time;
            let column = columns.input.columns.iter().find(known);
            column.is_some_and(|c| matches!(c.ty, SqlType::Timestamp | SqlType::Timestamptz | SqlType::Date))
        };
        if !time.is_some_and(is_time) {
            let message = "WITHIN needs an ORDER BY that begins with a column of times, ascending";
            return Err(Error::new(SqlState::WINDOWING_ERROR, message)
                .with_hint("Order by a timestamp, timestamptz or date first.")
                .at(position));
        }
        Ok(length)
    }

    fn bind_definitions(
        &self,
        symbols: &[SymbolDefinition],
        variables: &Variables,
        columns: &mut MatchColumns,
        scope: &Scope<'_>,
    ) -> Result<Vec<PatternVariable>> {
        let mut bound: Vec<PatternVariable> =
            variables.names.iter().map(|name| PatternVariable { name: name.clone(), define: None }).collect();
        for SymbolDefinition { symbol, definition } in symbols {
            let name = fold(symbol);
            let at = |error: Error| error.at(self.span_position(symbol.span));
            let set = self.variable(symbol, variables)?;
            let Some((number, variable)) =
                bound.iter_mut().enumerate().find(|(_, variable)| variable.name == name)
            else {
                let message =
                    format!("variable \"{name}\" is a SUBSET of others and has no condition of its own");
                return Err(at(Error::new(SqlState::SYNTAX_ERROR, message)));
            };
            debug_assert_eq!(set, VariableSet::one(number as u8));
            if variable.define.is_some() {
                let message = format!("variable \"{name}\" is defined more than once");
                return Err(at(Error::new(SqlState::DUPLICATE_ALIAS, message)));
            }
            let mut values = MatchValues::new(self, variables, columns, Clause::Define(set), scope);
            let condition = values.bind(definition)?;
            let condition_expr = self.condition(condition, "DEFINE")?;
            variable.define = Some(values.finish(&condition_expr)?);
        }
        Ok(bound)
    }

    fn bind_measures(
        &self,
        written: &[WrittenMeasure],
        variables: &Variables,
        columns: &mut MatchColumns,
        scope: &Scope<'_>,
    ) -> Result<(Vec<Measure>, Vec<SqlType>)> {
        let (mut measures, mut types) = (Vec::new(), Vec::new());
        for WrittenMeasure { expr, alias } in written {
            let mut values = MatchValues::new(self, variables, columns, Clause::Measures, scope);
            let bound = values.bind(expr)?;
            let bound = self.decide_text(bound)?;
            let ty = bound.ty.arrow();
            measures.push(Measure { name: fold(alias), value: values.finish(&bound.expr)?, ty });
            types.push(bound.ty);
        }
        Ok((measures, types))
    }

    /// The plan, and its columns: the first of those shown, the measures, the others.
    fn match_plan(
        &self,
        pattern: RowPattern,
        types: Vec<SqlType>,
        columns: &MatchColumns,
        shown: &[usize],
        first: usize,
    ) -> Result<Relation> {
        let input = LogicalPlanBuilder::from(columns.input.plan.clone());
        let input = input.project(columns.exprs.clone()).and_then(LogicalPlanBuilder::build);
        let input = input.map_err(plan_error)?;
        let mut fields: Vec<(Option<TableReference>, Arc<Field>)> = pattern
            .project
            .iter()
            .map(|column| {
                let (relation, field) = input.schema().qualified_field(*column);
                (relation.cloned(), Arc::clone(field))
            })
            .collect();
        let mut relation_columns: Vec<ScopeColumn> = Vec::new();
        for column in shown {
            let column = columns.input.columns[*column].clone();
            relation_columns.push(ScopeColumn { table: None, schema: None, ..column });
        }
        let mut measured = Vec::with_capacity(types.len());
        for (measure, ty) in pattern.measures.iter().zip(types) {
            let column = Column::new_unqualified(self.unique(&measure.name));
            fields.push((None, Arc::new(Field::new(column.name.clone(), measure.ty.clone(), true))));
            let name = measure.name.clone();
            let (table, schema, origin) = (None, None, None);
            measured.push(ScopeColumn { table, schema, name, column, ty, origin, merged: false });
        }
        relation_columns.splice(first..first, measured);
        let schema = DFSchema::new_with_metadata(fields, Default::default()).map_err(plan_error)?;
        let node = MatchRecognize { input, pattern, schema: Arc::new(schema) };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(Relation { plan, columns: relation_columns })
    }
}

fn bind_rows(written: Option<&WrittenRows>, pattern: &Pattern) -> Result<RowsPerMatch> {
    Ok(match written {
        None | Some(WrittenRows::OneRow) => RowsPerMatch::One,
        Some(WrittenRows::AllRows(None | Some(EmptyMatchesMode::Show))) => {
            RowsPerMatch::All { empty: true, unmatched: false }
        }
        Some(WrittenRows::AllRows(Some(EmptyMatchesMode::Omit))) => {
            RowsPerMatch::All { empty: false, unmatched: false }
        }
        Some(WrittenRows::AllRows(Some(EmptyMatchesMode::WithUnmatched))) if excludes(pattern) => {
            let message = "WITH UNMATCHED ROWS and an exclusion {- -} cannot be used together";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
        Some(WrittenRows::AllRows(Some(EmptyMatchesMode::WithUnmatched))) => {
            RowsPerMatch::All { empty: true, unmatched: true }
        }
    })
}

/// Whether a pattern has an exclusion.
fn excludes(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Variable { is_excluded, .. } => *is_excluded,
        Pattern::Start | Pattern::End => false,
        Pattern::Concat(parts) | Pattern::Alternation(parts) => parts.iter().any(excludes),
        Pattern::Repeat { pattern, .. } => excludes(pattern),
    }
}
