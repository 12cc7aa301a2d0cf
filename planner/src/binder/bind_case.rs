//! CASE, COALESCE, NULLIF, GREATEST, LEAST: constructs whose result type is what their inputs have in common.

use datafusion::logical_expr::{Case, Expr, Operator};
use sqlparser::ast::{CaseWhen, Expr as SqlExpr};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::Binder;
use super::bind_expr::ExprContext;
use super::bind_operator::{binary, if_then_else};
use super::typed::{Typed, typed_null};

impl Binder<'_> {
    pub(crate) fn bind_case(
        &self,
        operand: Option<&SqlExpr>,
        branches: &[CaseWhen],
        otherwise: Option<&SqlExpr>,
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let operand = operand.map(|e| self.bind_expr(e, cx)).transpose()?;
        // PostgreSQL decides an unknown operand as text.
        let operand = operand.map(|o| self.decide_text(o)).transpose()?;
        let mut conditions = Vec::with_capacity(branches.len());
        let mut results = Vec::with_capacity(branches.len() + 1);
        for branch in branches {
            let condition = self.bind_expr(&branch.condition, cx)?;
            conditions.push(match &operand {
                None => self.condition(condition, "CASE/WHEN")?,
                Some(operand) => {
                    let at = condition.position;
                    self.operator("=", operand.clone(), condition, at)?.expr
                }
            });
            results.push(self.bind_expr(&branch.result, cx)?);
        }
        if let Some(otherwise) = otherwise {
            results.push(self.bind_expr(otherwise, cx)?);
        }
        let (mut results, ty) = self.in_common(results, "CASE", position)?;
        let otherwise = match otherwise {
            Some(_) => results.pop().ok_or_else(|| Error::internal("CASE has no result"))?,
            None => typed_null(&ty)?,
        };
        let branches = conditions.into_iter().zip(results).map(|(c, r)| (Box::new(c), Box::new(r))).collect();
        let expr = Expr::Case(Case::new(None, branches, Some(Box::new(otherwise))));
        Ok(Typed::new(expr, ty, position))
    }

    /// The expressions in their common type.
    pub(crate) fn in_common(
        &self,
        exprs: Vec<Typed>,
        what: &str,
        position: Option<usize>,
    ) -> Result<(Vec<Expr>, SqlType)> {
        let types: Vec<SqlType> = exprs.iter().map(|t| t.ty.clone()).collect();
        let ty = match types.iter().all(|ty| *ty == SqlType::Unknown) {
            true => SqlType::Text,
            false => functions::common_type(&types, what).map_err(|e| e.at(position))?,
        };
        let exprs: Result<Vec<Expr>> = exprs.into_iter().map(|e| self.coerce(e, &ty)).collect();
        Ok((exprs?, ty))
    }

    /// The constructs that look like functions; `None` when `name` is none of them.
    pub(crate) fn bind_conditional(
        &self,
        name: &str,
        args: &[&SqlExpr],
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Option<Typed>> {
        if !matches!(name, "coalesce" | "nullif" | "greatest" | "least") {
            return Ok(None);
        }
        let args: Result<Vec<Typed>> = args.iter().map(|e| self.bind_expr(e, cx)).collect();
        let args = args?;
        if args.is_empty() || (name == "nullif" && args.len() != 2) {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error at or near \")\"").at(position));
        }
        match name {
            "nullif" => self.bind_nullif(args, position),
            _ => self.bind_choice(name, args, position),
        }
        .map(Some)
    }

    fn bind_nullif(&self, args: Vec<Typed>, position: Option<usize>) -> Result<Typed> {
        let mut args = args.into_iter();
        let (Some(value), Some(other)) = (args.next(), args.next()) else {
            return Err(Error::internal("NULLIF has two arguments"));
        };
        let value = if other.ty == SqlType::Unknown { self.decide_text(value)? } else { value };
        let equal = self.operator("=", value.clone(), other.clone(), position)?;
        let ty = if value.ty == SqlType::Unknown { other.ty } else { value.ty.clone() };
        let value = self.coerce(value, &ty)?;
        let expr = if_then_else(equal.expr, typed_null(&ty)?, value);
        Ok(Typed::new(expr, ty, position))
    }

    /// COALESCE, GREATEST and LEAST as CASE: the first value that is not NULL and, for the latter two, no other
    /// beats.
    fn bind_choice(&self, name: &str, args: Vec<Typed>, position: Option<usize>) -> Result<Typed> {
        let (args, ty) = self.in_common(args, &name.to_uppercase(), position)?;
        let mut args = args.into_iter();
        let Some(first) = args.next() else { return Err(Error::internal("no argument")) };
        if name == "coalesce" {
            let mut all: Vec<Expr> = std::iter::once(first).chain(args).collect();
            let otherwise = all.pop().map(Box::new);
            let branches: Vec<_> = all
                .into_iter()
                .map(|value| (Box::new(Expr::IsNotNull(Box::new(value.clone()))), Box::new(value)))
                .collect();
            return Ok(match (branches.is_empty(), otherwise) {
                (true, Some(only)) => Typed::new(*only, ty, position),
                (_, otherwise) => Typed::new(Expr::Case(Case::new(None, branches, otherwise)), ty, position),
            });
        }
        let symbol = if name == "greatest" { ">=" } else { "<=" };
        let mut best = first;
        for next in args {
            let left = Typed::new(best.clone(), ty.clone(), position);
            let right = Typed::new(next.clone(), ty.clone(), position);
            let wins = self.operator(symbol, left, right, position)?.expr;
            let keep = binary(wins, Operator::Or, Expr::IsNull(Box::new(next.clone())));
            best = if_then_else(Expr::IsTrue(Box::new(keep)), best, next);
        }
        Ok(Typed::new(best, ty, position))
    }
}
