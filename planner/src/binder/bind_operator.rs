//! Operators and predicates: arithmetic, comparison, AND/OR, LIKE, BETWEEN, IN, IS, ANY/ALL over arrays.

use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, Like, Operator, lit};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{BinaryOperator, Expr as SqlExpr, Spanned, UnaryOperator, Value, ValueWithSpan};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions::{self, FunctionKind, ResolvedFunction};

use super::Binder;
use super::bind_expr::{ExprContext, strip};
use super::interval::compared;
use super::typed::Typed;

impl Binder<'_> {
    pub(crate) fn bind_binary(
        &self,
        left: &SqlExpr,
        op: &BinaryOperator,
        right: &SqlExpr,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return self.bind_connective(left, op, right, cx);
        }
        let position = self.operator_position(left.span());
        let symbol = operator_name(op).map_err(|e| e.at(position))?;
        if let (SqlExpr::Tuple(left), SqlExpr::Tuple(right)) = (strip(left), strip(right)) {
            return self.bind_row_comparison(left, &symbol, right, position, cx);
        }
        let left = self.bind_expr(left, cx)?;
        let right = self.bind_expr(right, cx)?;
        let start = left.position;
        let mut result = self.operator(&symbol, left, right, position)?;
        result.position = start;
        Ok(result)
    }

    /// AND and OR: a chain of them becomes a balanced tree, so that long chains do not run deep.
    fn bind_connective(
        &self,
        left: &SqlExpr,
        op: &BinaryOperator,
        right: &SqlExpr,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let (word, operator) = match op {
            BinaryOperator::And => ("AND", Operator::And),
            _ => ("OR", Operator::Or),
        };
        let position = self.position(left);
        let mut operands = vec![right];
        let mut rest = left;
        while let SqlExpr::BinaryOp { left, op: next, right } = rest {
            if next != op {
                break;
            }
            operands.push(right);
            rest = left;
        }
        operands.push(rest);
        let conditions: Result<Vec<Expr>> =
            operands.into_iter().rev().map(|e| self.condition(self.bind_expr(e, cx)?, word)).collect();
        Ok(Typed::new(balanced(conditions?, operator), SqlType::Bool, position))
    }

    /// `left op right` for bound operands.
    pub(crate) fn operator(
        &self,
        op: &str,
        left: Typed,
        right: Typed,
        position: Option<usize>,
    ) -> Result<Typed> {
        if let Some(spelled) = op.strip_prefix('!').or(Some(op)).filter(|o| matches!(*o, "~~" | "~~*")) {
            let start = left.position;
            let expr = self.like(left, right, op.starts_with('!'), spelled.ends_with('*'), position)?;
            return Ok(Typed::new(expr, SqlType::Bool, start));
        }
        let resolved =
            functions::resolve_operator(op, Some(&left.ty), &right.ty).map_err(|e| e.at(position))?;
        let start = left.position;
        let mut typed = self.apply(resolved, vec![left, right])?;
        typed.position = start.or(position);
        Ok(typed)
    }

    /// A resolved function over its arguments, coerced to what it takes.
    pub(crate) fn apply(&self, resolved: ResolvedFunction, args: Vec<Typed>) -> Result<Typed> {
        let position = args.first().and_then(|a| a.position);
        let coerced: Result<Vec<Expr>> =
            args.into_iter().zip(&resolved.arg_types).map(|(arg, ty)| self.coerce(arg, ty)).collect();
        let mut coerced = coerced?;
        let expr = match resolved.kind {
            FunctionKind::Udf(udf) => udf.call(coerced),
            FunctionKind::Native(operator) => {
                coerced = coerced
                    .into_iter()
                    .zip(&resolved.arg_types)
                    .map(|(arg, ty)| compared(arg, ty))
                    .collect::<Result<_>>()?;
                let right = coerced.pop().ok_or_else(|| Error::internal("a comparison has no operand"))?;
                let left = coerced.pop().ok_or_else(|| Error::internal("a comparison has one operand"))?;
                binary(left, operator, right)
            }
        };
        Ok(Typed::new(expr, resolved.result, position))
    }

    pub(crate) fn bind_unary(
        &self,
        op: UnaryOperator,
        operand: &SqlExpr,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let position = self.position(operand);
        if op == UnaryOperator::Not {
            let operand = self.condition(self.bind_expr(operand, cx)?, "NOT")?;
            return Ok(Typed::new(Expr::Not(Box::new(operand)), SqlType::Bool, position));
        }
        let operand = self.bind_expr(operand, cx)?;
        let symbol = match op {
            UnaryOperator::Plus => "+",
            UnaryOperator::Minus => match negate_literal(&operand) {
                Some(literal) => return Ok(literal),
                None => "-",
            },
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            other => return Err(Error::unsupported(format!("operator {other}")).at(position)),
        };
        let resolved = functions::resolve_operator(symbol, None, &operand.ty).map_err(|e| e.at(position))?;
        self.apply(resolved, vec![operand])
    }

    pub(crate) fn bind_null_test(&self, operand: &SqlExpr, null: bool, cx: ExprContext<'_>) -> Result<Typed> {
        let operand = self.decide_text(self.bind_expr(operand, cx)?)?;
        let position = operand.position;
        let test = if null { Expr::IsNull } else { Expr::IsNotNull };
        Ok(Typed::new(test(Box::new(operand.expr)), SqlType::Bool, position))
    }

    pub(crate) fn bind_truth_test(
        &self,
        operand: &SqlExpr,
        clause: &str,
        test: fn(Box<Expr>) -> Expr,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let operand = self.bind_expr(operand, cx)?;
        let position = operand.position;
        let condition = self.condition(operand, clause)?;
        Ok(Typed::new(plain_test(test(Box::new(condition))), SqlType::Bool, position))
    }

    /// IS [NOT] DISTINCT FROM: the equality operator's operand types, with NULLs equal to each other.
    pub(crate) fn bind_distinct(
        &self,
        left: &SqlExpr,
        right: &SqlExpr,
        negated: bool,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let position = self.operator_position(left.span());
        let left = self.bind_expr(left, cx)?;
        let right = self.bind_expr(right, cx)?;
        let (left, right) = self.comparable(left, right, position)?;
        let operator = if negated { Operator::IsNotDistinctFrom } else { Operator::IsDistinctFrom };
        Ok(Typed::new(binary(left, operator, right), SqlType::Bool, position))
    }

    /// Both operands in the type that `=` compares them in.
    pub(crate) fn comparable(
        &self,
        left: Typed,
        right: Typed,
        position: Option<usize>,
    ) -> Result<(Expr, Expr)> {
        let resolved =
            functions::resolve_operator("=", Some(&left.ty), &right.ty).map_err(|e| e.at(position))?;
        match resolved.arg_types.as_slice() {
            [l, r] => Ok((compared(self.coerce(left, l)?, l)?, compared(self.coerce(right, r)?, r)?)),
            _ => Err(Error::internal("equality does not take two operands")),
        }
    }

    pub(crate) fn bind_between(
        &self,
        operand: &SqlExpr,
        low: &SqlExpr,
        high: &SqlExpr,
        negated: bool,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let position = self.operator_position(operand.span());
        let value = self.bind_expr(operand, cx)?;
        let low = self.bind_expr(low, cx)?;
        let high = self.bind_expr(high, cx)?;
        let start = value.position;
        let above = self.operator(">=", value.clone(), low, position)?;
        let below = self.operator("<=", value, high, position)?;
        let both = binary(above.expr, Operator::And, below.expr);
        Ok(Typed::new(not_if(negated, both), SqlType::Bool, start))
    }

    pub(crate) fn bind_in_list(
        &self,
        operand: &SqlExpr,
        list: &[SqlExpr],
        negated: bool,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let position = self.operator_position(operand.span());
        if let SqlExpr::Tuple(columns) = strip(operand) {
            let rows: Result<Vec<Expr>> = list
                .iter()
                .map(|row| match strip(row) {
                    SqlExpr::Tuple(values) => {
                        Ok(self.bind_row_comparison(columns, "=", values, position, cx)?.expr)
                    }
                    _ => Err(Error::unsupported("IN with rows and single values mixed").at(position)),
                })
                .collect();
            return Ok(Typed::new(not_if(negated, balanced(rows?, Operator::Or)), SqlType::Bool, position));
        }
        let value = self.bind_expr(operand, cx)?;
        let items = self.bind_exprs(list, cx)?;
        let start = value.position;
        // All items of one type: PostgreSQL finds the type that value and items have in common.
        let types: Vec<SqlType> = std::iter::once(&value).chain(&items).map(|t| t.ty.clone()).collect();
        if let Ok(common) = functions::common_type(&types, "IN")
            && let Ok(resolved) = functions::resolve_operator("=", Some(&common), &common)
            && matches!(resolved.kind, FunctionKind::Native(_))
            && let [left, _] = resolved.arg_types.as_slice()
        {
            let value = Box::new(self.coerce(value, left)?);
            let items: Result<Vec<Expr>> = items.into_iter().map(|item| self.coerce(item, left)).collect();
            return Ok(Typed::new(Expr::InList(InList::new(value, items?, negated)), SqlType::Bool, start));
        }
        let equal: Result<Vec<Expr>> = items
            .into_iter()
            .map(|item| self.operator("=", value.clone(), item, position).map(|t| t.expr))
            .collect();
        Ok(Typed::new(not_if(negated, balanced(equal?, Operator::Or)), SqlType::Bool, start))
    }

    /// `(a, b) op (c, d)` for = and <>.
    fn bind_row_comparison(
        &self,
        left: &[SqlExpr],
        op: &str,
        right: &[SqlExpr],
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        if left.len() != right.len() {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions")
                .at(position));
        }
        if !matches!(op, "=" | "<>") {
            return Err(Error::unsupported(format!("row comparison with {op}"))
                .with_hint("Compare the columns one by one.")
                .at(position));
        }
        let pairs: Result<Vec<Expr>> = left
            .iter()
            .zip(right)
            .map(|(l, r)| {
                let (l, r) = (self.bind_expr(l, cx)?, self.bind_expr(r, cx)?);
                self.operator("=", l, r, position).map(|t| t.expr)
            })
            .collect();
        Ok(Typed::new(not_if(op == "<>", balanced(pairs?, Operator::And)), SqlType::Bool, position))
    }

    pub(crate) fn bind_like(&self, expr: &SqlExpr, cx: ExprContext<'_>) -> Result<Typed> {
        let (negated, any, operand, pattern, escape, insensitive) = match expr {
            SqlExpr::Like { negated, any, expr, pattern, escape_char } => {
                (negated, any, expr, pattern, escape_char, false)
            }
            SqlExpr::ILike { negated, any, expr, pattern, escape_char } => {
                (negated, any, expr, pattern, escape_char, true)
            }
            other => return Err(Error::internal(format!("{other} is not LIKE"))),
        };
        let position = self.operator_position(operand.span());
        if *any {
            return Err(Error::unsupported("LIKE ANY").with_hint("Write x LIKE a OR x LIKE b.").at(position));
        }
        let operand = self.bind_expr(operand, cx)?;
        let start = operand.position;
        let mut pattern = self.bind_expr(pattern, cx)?;
        if let Some(escape) = escape_character(escape.as_ref()).map_err(|e| e.at(position))? {
            let text = self.coerce(pattern, &SqlType::Text)?;
            let escape = Expr::Literal(ScalarValue::Utf8(Some(escape)), None);
            let rewritten = super::system_call::registered("like_escape", vec![text, escape])?;
            pattern = Typed::new(rewritten, SqlType::Text, position);
        }
        let expr = self.like(operand, pattern, *negated, insensitive, position)?;
        Ok(Typed::new(expr, SqlType::Bool, start))
    }

    /// LIKE of two strings, with the backslash as escape character.
    fn like(
        &self,
        operand: Typed,
        pattern: Typed,
        negated: bool,
        case_insensitive: bool,
        position: Option<usize>,
    ) -> Result<Expr> {
        if !operand.ty.is_string() || !pattern.ty.is_string() {
            let (not, star) = (if negated { "!" } else { "" }, if case_insensitive { "*" } else { "" });
            let message =
                format!("operator does not exist: {} {not}~~{star} {}", operand.ty.name(), pattern.ty.name());
            let hint = "No operator matches the given name and argument types. You might need to add explicit type casts.";
            return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).with_hint(hint).at(position));
        }
        let operand = self.coerce(operand, &SqlType::Text)?;
        let pattern = self.coerce(pattern, &SqlType::Text)?;
        Ok(Expr::Like(Like::new(negated, Box::new(operand), Box::new(pattern), None, case_insensitive)))
    }
}

/// A test of truth as DataFusion would compute it. Its own says that the result is never NULL, which the computation
/// does not say, and then an aggregate over it finds that its input is not the one planned.
fn plain_test(test: Expr) -> Expr {
    let same = |x: Box<Expr>, value: bool| binary(*x, Operator::IsNotDistinctFrom, lit(value));
    let other = |x: Box<Expr>, value: bool| binary(*x, Operator::IsDistinctFrom, lit(value));
    match test {
        Expr::IsTrue(x) => same(x, true),
        Expr::IsFalse(x) => same(x, false),
        Expr::IsNotTrue(x) => other(x, true),
        Expr::IsNotFalse(x) => other(x, false),
        Expr::IsUnknown(x) => Expr::IsNull(x),
        Expr::IsNotUnknown(x) => Expr::IsNotNull(x),
        test => test,
    }
}

/// `None`: the default; `Some("")`: no escape character.
fn escape_character(escape: Option<&ValueWithSpan>) -> Result<Option<String>> {
    match escape.map(|e| &e.value) {
        None => Ok(None),
        Some(Value::SingleQuotedString(text)) if text == "\\" => Ok(None),
        Some(Value::SingleQuotedString(text)) if text.chars().count() <= 1 => Ok(Some(text.clone())),
        Some(Value::SingleQuotedString(_)) => {
            let error = Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string");
            Err(error.with_hint("Escape string must be empty or one character."))
        }
        Some(_) => Err(Error::unsupported("ESCAPE with an expression")),
    }
}

fn negate_literal(operand: &Typed) -> Option<Typed> {
    let Expr::Literal(value, _) = &operand.expr else { return None };
    let negated = match value {
        ScalarValue::Int32(Some(v)) => ScalarValue::Int32(Some(v.checked_neg()?)),
        ScalarValue::Int64(Some(v)) => ScalarValue::Int64(Some(v.checked_neg()?)),
        ScalarValue::Decimal128(Some(v), p, s) => ScalarValue::Decimal128(Some(v.checked_neg()?), *p, *s),
        _ => return None,
    };
    Some(Typed::new(Expr::Literal(negated, None), operand.ty.clone(), operand.position))
}

/// A tree of depth log n.
pub(crate) fn balanced(mut operands: Vec<Expr>, operator: Operator) -> Expr {
    if operands.len() > 1 {
        let right = operands.split_off(operands.len() / 2);
        return binary(balanced(operands, operator), operator, balanced(right, operator));
    }
    let identity = || Expr::Literal(ScalarValue::Boolean(Some(operator == Operator::And)), None);
    operands.pop().unwrap_or_else(identity)
}

pub(crate) fn binary(left: Expr, operator: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

pub(crate) fn not_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::Not(Box::new(expr)) } else { expr }
}

/// `CASE WHEN condition THEN value ELSE otherwise END`.
pub(crate) fn if_then_else(condition: Expr, value: Expr, otherwise: Expr) -> Expr {
    Expr::Case(Case::new(None, vec![(Box::new(condition), Box::new(value))], Some(Box::new(otherwise))))
}

/// PostgreSQL's name of an operator; `OPERATOR(pg_catalog.~)` is `~`.
pub(crate) fn operator_name(op: &BinaryOperator) -> Result<String> {
    Ok(match op {
        BinaryOperator::NotEq => "<>".into(),
        BinaryOperator::PGCustomBinaryOperator(parts) => match parts.as_slice() {
            [name] => name.clone(),
            [schema, name] if schema.eq_ignore_ascii_case("pg_catalog") => name.clone(),
            _ => {
                let message = format!("operator does not exist: {}", parts.join("."));
                return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message));
            }
        },
        BinaryOperator::Custom(name) => name.clone(),
        BinaryOperator::Overlaps => return Err(Error::unsupported("OVERLAPS").with_hint("Compare the ends.")),
        other => other.to_string(),
    })
}
