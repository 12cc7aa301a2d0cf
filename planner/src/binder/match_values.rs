//! Expressions of DEFINE and MEASURES: what they read of a match becomes columns, over which they are bound as any other.
//!
//! ```text
//!   B.price < PREV(B.price) AND avg(A.price) > 10        written
//!   price#1 < price#2       AND avg#3        > 10        bound, where
//!   price#1 = price of the last row of B, price#2 = price of the row before that, avg#3 = avg(price) over the rows of A
//! ```
//! A column without a variable is one of any row of the match. An expression inside a navigation, `FIRST(A.x + A.y)`, is
//! computed from the columns of that one row; it is NULL if there is no such row ([`match_navigation`]).
//!
//! [`match_navigation`]: super::match_navigation

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr;
use sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Spanned,
    VisitMut, VisitorMut,
};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::expr::from_logical;
use weir_exec::spec::{Logical, MatchExpr, MatchInput, Navigation, VariableSet};

use super::bind_expr::{ExprContext, qualified_column};
use super::bind_function::function_name;
use super::bind_match_recognize::MatchColumns;
use super::match_pattern::Variables;
use super::scope::{Scope, ScopeColumn};
use super::typed::Typed;
use super::{Binder, plan_error};
use crate::parser::{fold, mode_of};
use crate::stream::unsupported::{check_expr, check_functions};

/// Where an expression stands.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Clause {
    /// The condition of a variable.
    Define(VariableSet),
    Measures,
}

impl Clause {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clause::Define(_) => "DEFINE",
            Clause::Measures => "MEASURES",
        }
    }
}

/// Binds one expression.
pub(crate) struct MatchValues<'a, 'b> {
    pub binder: &'a Binder<'b>,
    pub variables: &'a Variables,
    pub columns: &'a mut MatchColumns,
    pub clause: Clause,
    pub scope: &'a Scope<'a>,
    /// What the expression reads, with the column that stands for it.
    values: Vec<(MatchInput, ScopeColumn)>,
}

/// The inside of a navigation.
#[derive(Clone, Copy)]
pub(crate) struct Inside {
    pub at: Navigation,
}

impl<'a, 'b> MatchValues<'a, 'b> {
    pub(crate) fn new(
        binder: &'a Binder<'b>,
        variables: &'a Variables,
        columns: &'a mut MatchColumns,
        clause: Clause,
        scope: &'a Scope<'a>,
    ) -> MatchValues<'a, 'b> {
        MatchValues { binder, variables, columns, clause, scope, values: Vec::new() }
    }

    /// The expression over columns that stand for what it reads.
    pub(crate) fn bind(&mut self, written: &SqlExpr) -> Result<Typed> {
        let mut expr = written.clone();
        self.rewrite(&mut expr, None)?;
        let columns: Vec<ScopeColumn> = self.values.iter().map(|(_, column)| column.clone()).collect();
        let scope = Scope { columns: &columns, ctes: self.scope.ctes, parent: None };
        let bound = self.binder.bind_expr(&expr, ExprContext::plain(&scope, self.clause.name()));
        bound.map_err(|error| match error.state() {
            // A suggestion would be one of our columns.
            state @ SqlState::UNDEFINED_COLUMN => Error::new(state, error.message()).at(error.position()),
            _ => error,
        })
    }

    /// The bound expression as data.
    pub(crate) fn finish(self, expr: &Expr) -> Result<MatchExpr> {
        let fields: Vec<Field> =
            self.values.iter().map(|(_, c)| Field::new(c.column.name.clone(), c.ty.arrow(), true)).collect();
        let schema = DFSchema::from_unqualified_fields(fields.into(), HashMap::new()).map_err(plan_error)?;
        if self.binder.continuous.get() {
            check_expr(expr)?;
            check_functions(expr)?;
        }
        let scalar = from_logical(expr, &schema)?;
        let types: Vec<DataType> = self.values.iter().map(|(_, column)| column.ty.arrow()).collect();
        if weir_exec::compile::compile(&scalar, &types).is_err() {
            return Err(Error::unsupported(format!("this expression in {}", self.clause.name()))
                .with_hint("Compute it in a query above or below MATCH_RECOGNIZE."));
        }
        Ok(MatchExpr { inputs: self.values.into_iter().map(|(value, _)| value).collect(), expr: scalar })
    }

    /// The name of the column that stands for a value.
    pub(crate) fn value(&mut self, value: MatchInput, ty: SqlType, hint: &str) -> String {
        if let Some((_, known)) = self.values.iter().find(|(known, _)| *known == value) {
            return known.name.clone();
        }
        let name = self.binder.unique(hint);
        let column = Column::new_unqualified(name.clone());
        let (table, schema, origin) = (None, None, None);
        self.values.push((
            value,
            ScopeColumn { table, schema, name: name.clone(), column, ty, origin, merged: false },
        ));
        name
    }

    pub(crate) fn rewrite(&mut self, expr: &mut SqlExpr, inside: Option<Inside>) -> Result<()> {
        let mut rewriter = Rewriter { values: self, inside };
        match expr.visit(&mut rewriter) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// An expression node, replaced if it reads the match.
    fn replace(&mut self, expr: &mut SqlExpr, inside: Option<Inside>) -> Result<()> {
        let position = self.binder.position(expr);
        match expr {
            SqlExpr::Identifier(name) => {
                let at = inside.map_or(Navigation::last(VariableSet::ALL), |inside| inside.at);
                if let Some(column) = self.input_column(name)? {
                    *expr = self.column(column, at, name);
                }
            }
            SqlExpr::CompoundIdentifier(parts) => {
                if let Some((set, name)) = self.of_variable(parts) {
                    let at = inside.map_or(Navigation::last(set), |inside| inside.at);
                    let column = self.input_column(&name)?.ok_or_else(|| {
                        let message = format!("column {}.{} does not exist", fold(&parts[0]), fold(&name));
                        Error::new(SqlState::UNDEFINED_COLUMN, message).at(position)
                    })?;
                    *expr = self.column(column, at, &name);
                }
            }
            SqlExpr::CompoundFieldAccess { root, access_chain } => {
                if let (Some(parts), rest) = qualified_column(root, access_chain)
                    && parts.len() > 1
                {
                    let rest = rest.to_vec();
                    let mut root = SqlExpr::CompoundIdentifier(parts);
                    self.replace(&mut root, inside)?;
                    *expr = match rest.is_empty() {
                        true => root,
                        false => SqlExpr::CompoundFieldAccess { root: Box::new(root), access_chain: rest },
                    };
                }
            }
            SqlExpr::Function(function) => {
                let function = function.clone();
                if let Some(replaced) = self.call(&function, inside).map_err(|e| e.at(position))? {
                    *expr = replaced;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What a call stands for, if it reads the match.
    fn call(&mut self, function: &Function, inside: Option<Inside>) -> Result<Option<SqlExpr>> {
        let (mode, function) = match mode_of(function) {
            Some((mode, SqlExpr::Function(function))) => (Some(mode), function),
            Some((mode, _)) => return Err(misplaced_mode(mode)),
            None => (None, function),
        };
        let Ok(name) = function_name(&function.name) else { return Ok(None) };
        let is_final = mode == Some("FINAL");
        if is_final && matches!(self.clause, Clause::Define(_)) {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "FINAL is not allowed in DEFINE")
                .with_hint("A condition sees the rows up to its own."));
        }
        if function.over.is_some() {
            return Ok(None);
        }
        let is_aggregate = self.is_aggregate(function, &name);
        if inside.is_some() && (is_aggregate || is_navigation(&name)) {
            let message = format!("{name} is not allowed inside of a navigation");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message)
                .with_hint("FIRST or LAST may stand directly inside of PREV or NEXT."));
        }
        match name.as_str() {
            "match_number" if arguments(function)?.is_empty() => {
                let value = self.value(MatchInput::MatchNumber, SqlType::Int8, "match_number");
                Ok(Some(named(value, function)))
            }
            "classifier" => self.classifier(function, inside).map(Some),
            _ if is_navigation(&name) => self.navigation(function, &name, is_final).map(Some),
            _ if is_aggregate => {
                let value = self.aggregate(function, &name, is_final)?;
                Ok(Some(named(value, function)))
            }
            _ => mode.map_or(Ok(None), |mode| Err(misplaced_mode(mode))),
        }
    }

    /// `CLASSIFIER()` or `CLASSIFIER(variable)`.
    fn classifier(&mut self, function: &Function, inside: Option<Inside>) -> Result<SqlExpr> {
        let args = arguments(function)?;
        let set = match args.as_slice() {
            [] => VariableSet::ALL,
            [SqlExpr::Identifier(variable)] => self.binder.variable(variable, self.variables)?,
            _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "CLASSIFIER takes a variable or nothing")),
        };
        let at = inside.map_or(Navigation::last(set), |inside| inside.at);
        if let Clause::Define(own) = self.clause {
            let is_own = at.logical == Logical::Last(0) && at.offset == 0 && at.set.0 & own.0 != 0;
            if !is_own {
                return Err(Error::unsupported("CLASSIFIER() of another row in DEFINE")
                    .with_hint("Write the order of the variables as a pattern."));
            }
        }
        let value = self.value(MatchInput::Classifier(at), SqlType::Text, "classifier");
        Ok(named(value, function))
    }

    fn column(&mut self, column: usize, at: Navigation, written: &Ident) -> SqlExpr {
        let ty = self.columns.input.columns[column].ty.clone();
        let position = self.columns.add_column(column, self.binder);
        let hint = self.columns.input.columns[column].name.clone();
        let name = self.value(MatchInput::Column { column: position, at }, ty, &hint);
        SqlExpr::Identifier(Ident { value: name, quote_style: Some('"'), span: written.span })
    }

    /// The column of the input that a name means.
    pub(crate) fn input_column(&self, name: &Ident) -> Result<Option<usize>> {
        let folded = fold(name);
        let columns = &self.columns.input.columns;
        let mut found = columns.iter().enumerate().filter(|(_, c)| c.name == folded && !c.merged);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => {
                let message = format!("column reference \"{folded}\" is ambiguous");
                Err(Error::new(SqlState::AMBIGUOUS_COLUMN, message).at(self.binder.span_position(name.span)))
            }
            (first, _) => Ok(first.map(|(column, _)| column)),
        }
    }

    /// The variables and the column of `A.x`.
    pub(crate) fn of_variable(&self, parts: &[Ident]) -> Option<(VariableSet, Ident)> {
        let [variable, column] = parts else { return None };
        Some((self.variables.find(&fold(variable))?, column.clone()))
    }
}

/// An identifier for a column that stands for a call.
pub(crate) fn named(name: String, of: &Function) -> SqlExpr {
    SqlExpr::Identifier(Ident { value: name, quote_style: Some('"'), span: of.name.span() })
}

/// Whether a call is one of CLASSIFIER.
pub(crate) fn is_classifier(function: &Function) -> bool {
    function_name(&function.name).is_ok_and(|name| name == "classifier")
}

fn is_navigation(name: &str) -> bool {
    matches!(name, "prev" | "next" | "first" | "last")
}

/// The arguments of a call.
pub(crate) fn arguments(function: &Function) -> Result<Vec<&SqlExpr>> {
    let FunctionArguments::List(list) = &function.args else { return Ok(Vec::new()) };
    let arg = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Ok(expr),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("an argument of {} is no value", function.name))),
    };
    list.args.iter().map(arg).collect()
}

pub(crate) fn misplaced_mode(mode: &str) -> Error {
    Error::new(SqlState::SYNTAX_ERROR, format!("{mode} may only stand before FIRST, LAST or an aggregate"))
}

/// Replaces what reads the match, outermost first.
struct Rewriter<'v, 'a, 'b> {
    values: &'v mut MatchValues<'a, 'b>,
    inside: Option<Inside>,
}

impl VisitorMut for Rewriter<'_, '_, '_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Box<Error>> {
        let what = format!("a subquery in {}", self.values.clause.name());
        let error = Error::unsupported(what)
            .with_hint("Join what it reads below MATCH_RECOGNIZE.")
            .at(self.values.binder.span_position(query.span()));
        ControlFlow::Break(Box::new(error))
    }

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<Box<Error>> {
        match self.values.replace(expr, self.inside) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}
