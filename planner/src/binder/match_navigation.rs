//! Navigations in DEFINE and MEASURES: `FIRST(A.x, n)`, `LAST(A.x, n)`, `PREV(x, n)`, `NEXT(x, n)`, and one of the former
//! inside of one of the latter, `PREV(LAST(A.x, 1), 2)`.

use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{CaseWhen, Expr as SqlExpr, Function, Value, VisitMut, VisitorMut};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::spec::{Logical, MatchInput, Navigation, VariableSet};

use super::bind_expr::{qualified_column, strip};
use super::bind_function::function_name;
use super::match_values::{Clause, Inside, MatchValues, arguments, is_classifier, misplaced_mode, named};
use crate::parser::{fold, mode_of};

impl MatchValues<'_, '_> {
    /// `PREV`, `NEXT`, `FIRST` or `LAST`.
    pub(crate) fn navigation(&mut self, function: &Function, name: &str, is_final: bool) -> Result<SqlExpr> {
        let args = arguments(function)?;
        let (value, count) = match args.as_slice() {
            [value] => (*value, None),
            [value, count] => (*value, Some(self.row_count(count, name)?)),
            _ => {
                let message = format!("{name} takes a value and perhaps a number of rows");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
        };
        let (mut at, mut value) =
            (Navigation { is_final, ..Navigation::last(VariableSet::ALL) }, strip(value));
        let rows = i64::from(count.unwrap_or(1));
        match name {
            "first" => at.logical = Logical::First(count.unwrap_or(0)),
            "last" => at.logical = Logical::Last(count.unwrap_or(0)),
            "prev" => at.offset = -rows,
            _ => at.offset = rows,
        }
        let inner_args;
        if at.offset != 0 || matches!(name, "prev" | "next") {
            if is_final {
                return Err(misplaced_mode("FINAL"));
            }
            if let Some((logical, args, is_final)) = self.inner_navigation(value)? {
                (at.logical, at.is_final) = (logical, is_final);
                inner_args = args;
                value = &inner_args;
            }
        }
        at.set = self.set_of(value)?;
        self.value_at(value, at, function)
    }

    /// `FIRST(x, n)` or `LAST(x, n)` inside of PREV or NEXT: which row, x, and whether it is FINAL.
    fn inner_navigation(&mut self, value: &SqlExpr) -> Result<Option<(Logical, SqlExpr, bool)>> {
        let SqlExpr::Function(function) = value else { return Ok(None) };
        let (is_final, function) = match mode_of(function) {
            Some((mode, SqlExpr::Function(inner))) => (mode == "FINAL", inner),
            Some((mode, _)) => return Err(misplaced_mode(mode)),
            None => (false, function),
        };
        if is_final && matches!(self.clause, Clause::Define(_)) {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "FINAL is not allowed in DEFINE"));
        }
        let name = function_name(&function.name)?;
        if !matches!(name.as_str(), "first" | "last") {
            return Ok(None);
        }
        let args = arguments(function)?;
        let (value, rows) = match args.as_slice() {
            [value] => (*value, 0),
            [value, count] => (*value, self.row_count(count, &name)?),
            _ => return Ok(None),
        };
        let logical = if name == "first" { Logical::First(rows) } else { Logical::Last(rows) };
        Ok(Some((logical, strip(value).clone(), is_final)))
    }

    /// A constant number of rows.
    fn row_count(&self, count: &SqlExpr, name: &str) -> Result<u32> {
        let number = match strip(count) {
            SqlExpr::Value(value) => match &value.value {
                Value::Number(digits, _) => digits.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        number.ok_or_else(|| {
            let message = format!("the number of rows of {name} must be a constant that is not negative");
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(self.binder.position(count))
        })
    }

    /// The variables that an expression inside of a navigation or an aggregate is about.
    pub(crate) fn set_of(&self, expr: &SqlExpr) -> Result<VariableSet> {
        let mut sets = Sets { values: self, found: Vec::new(), unqualified: false };
        let mut expr = expr.clone();
        let _: ControlFlow<()> = expr.visit(&mut sets);
        let Sets { found, unqualified, .. } = sets;
        match found.as_slice() {
            [] => Ok(VariableSet::ALL),
            [first, others @ ..] if !unqualified && others.iter().all(|set| set == first) => Ok(*first),
            _ => Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "columns inside of a navigation or an aggregate are of different variables",
            )
            .with_hint("Take the value of each variable by a call of its own.")
            .at(self.binder.position(&expr))),
        }
    }

    /// An expression over the columns of one row.
    fn value_at(&mut self, value: &SqlExpr, at: Navigation, function: &Function) -> Result<SqlExpr> {
        let mut inside = value.clone();
        self.rewrite(&mut inside, Some(Inside { at }))?;
        if matches!(inside, SqlExpr::Identifier(_)) && inside != *value {
            return Ok(inside);
        }
        let present = self.value(MatchInput::Present(at), SqlType::Bool, "present");
        Ok(SqlExpr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: named(present, function), result: inside }],
            else_result: None,
        })
    }
}

/// Collects the variables of columns.
struct Sets<'v, 'a, 'b> {
    values: &'v MatchValues<'a, 'b>,
    found: Vec<VariableSet>,
    unqualified: bool,
}

impl VisitorMut for Sets<'_, '_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::Identifier(name) => {
                self.unqualified |= matches!(self.values.input_column(name), Ok(Some(_)));
            }
            SqlExpr::CompoundIdentifier(parts) => {
                self.found.extend(self.values.of_variable(parts).map(|(set, _)| set));
            }
            SqlExpr::CompoundFieldAccess { root, access_chain } => {
                if let (Some(parts), _) = qualified_column(root, access_chain) {
                    self.found.extend(self.values.of_variable(&parts).map(|(set, _)| set));
                }
            }
            SqlExpr::Function(function) => {
                if is_classifier(function)
                    && let Ok([SqlExpr::Identifier(variable)]) = arguments(function).as_deref()
                {
                    self.found.extend(self.values.variables.find(&fold(variable)));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
