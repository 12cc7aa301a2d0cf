//! `Typed`: an expression with its SQL type, and the conversions between types.
//!
//! A string literal, NULL or parameter without a type has type `unknown` until its context decides: then the
//! literal is read as a value of that type here, at binding time, with the position of the literal in the error.

use datafusion::logical_expr::{Cast, Expr};
use datafusion::scalar::ScalarValue;
use weir_common::text::{self, FormatOptions};
use weir_common::types::{NumericDisplay, NumericType};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions::{self, CastContext, CastKind};

use super::{Binder, plan_error};

/// A bound expression.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub expr: Expr,
    pub ty: SqlType,
    /// Where it begins in the text.
    pub position: Option<usize>,
}

impl Typed {
    pub(crate) fn new(expr: Expr, ty: SqlType, position: Option<usize>) -> Typed {
        Typed { expr, ty, position }
    }

    /// NULL of no type yet.
    pub(crate) fn null(position: Option<usize>) -> Typed {
        Typed::new(Expr::Literal(ScalarValue::Utf8(None), None), SqlType::Unknown, position)
    }

    /// A literal or parameter whose type is still open.
    pub(crate) fn is_undecided(&self) -> bool {
        self.ty == SqlType::Unknown && matches!(self.expr, Expr::Literal(..) | Expr::Placeholder(_))
    }

    /// The value, when it is an integer literal.
    pub(crate) fn integer(&self) -> Option<i64> {
        match &self.expr {
            Expr::Literal(ScalarValue::Int16(Some(v)), _) => Some(i64::from(*v)),
            Expr::Literal(ScalarValue::Int32(Some(v)), _) => Some(i64::from(*v)),
            Expr::Literal(ScalarValue::Int64(Some(v)), _) => Some(*v),
            _ => None,
        }
    }

    fn is_null_literal(&self) -> bool {
        matches!(&self.expr, Expr::Literal(value, _) if value.is_null())
    }
}

/// NULL of a type.
pub(crate) fn typed_null(ty: &SqlType) -> Result<Expr> {
    let value = ScalarValue::try_from(&ty.arrow()).map_err(plan_error)?;
    Ok(Expr::Literal(value, None))
}

impl Binder<'_> {
    /// Converts to a type, or says in which PostgreSQL would refuse. `None` when there is no such cast.
    pub(crate) fn cast(&self, from: Typed, to: &SqlType, context: CastContext) -> Result<Option<Typed>> {
        let position = from.position;
        if from.is_undecided() {
            let unlimited = without_length(to);
            if context == CastContext::Explicit && unlimited != *to {
                // An explicit cast cuts a literal off where an assignment refuses it.
                let literal = self.decide(from, &unlimited).map_err(|e| e.at(position))?;
                return self.cast(literal, to, context);
            }
            return self.decide(from, to).map(Some).map_err(|e| e.at(position));
        }
        if from.ty == *to {
            return Ok(Some(from));
        }
        if from.is_null_literal() && to.arrow() == from.ty.arrow() {
            return Ok(Some(Typed::new(from.expr, to.clone(), position)));
        }
        if let Some(expr) = self.system_cast(&from, to, context)? {
            return Ok(Some(Typed::new(expr, to.clone(), position)));
        }
        let source = if from.ty == SqlType::Unknown { SqlType::Text } else { from.ty.clone() };
        let context = if from.ty == SqlType::Unknown { CastContext::Explicit } else { context };
        let Some(kind) = functions::resolve_cast(&source, to, context)? else {
            return Ok(None);
        };
        let is_literal = matches!(from.expr, Expr::Literal(..));
        let mut expr = match kind {
            CastKind::NoOp => from.expr,
            CastKind::Arrow => Expr::Cast(Cast::new(Box::new(from.expr), to.arrow())),
            CastKind::Udf(udf) => udf.call(vec![from.expr]),
        };
        if is_literal && let Ok(folded) = super::bind_values::fold_constant(expr.clone()) {
            expr = folded;
        }
        Ok(Some(Typed::new(expr, to.clone(), position)))
    }

    /// Converts an operand to the type its operator or function was resolved with.
    pub(crate) fn coerce(&self, from: Typed, to: &SqlType) -> Result<Expr> {
        let (name, position) = (from.ty.name(), from.position);
        let cast = self.cast(from, to, CastContext::Implicit)?;
        cast.map(|t| t.expr).ok_or_else(|| cannot_cast(&name, to).at(position))
    }

    /// `CAST(x AS t)`.
    pub(crate) fn cast_explicitly(&self, from: Typed, to: &SqlType, at: Option<usize>) -> Result<Typed> {
        let name = from.ty.name();
        let cast = self.cast(from, to, CastContext::Explicit)?;
        cast.ok_or_else(|| cannot_cast(&name, to).at(at))
    }

    /// Storing into a column of this type.
    pub(crate) fn assign(&self, from: Typed, column: &str, to: &SqlType) -> Result<Expr> {
        let (ty, position) = (from.ty.clone(), from.position);
        let cast = self.cast(from, to, CastContext::Assignment)?;
        let mismatch = || {
            let message = format!(
                "column \"{column}\" is of type {} but expression is of type {}",
                to.name(),
                ty.name()
            );
            let hint = "You will need to rewrite or cast the expression.";
            Error::new(SqlState::DATATYPE_MISMATCH, message).with_hint(hint).at(position)
        };
        cast.map(|t| t.expr).ok_or_else(mismatch)
    }

    /// A condition: boolean, or 42804 naming the clause.
    pub(crate) fn condition(&self, from: Typed, clause: &str) -> Result<Expr> {
        let (ty, position) = (from.ty.clone(), from.position);
        let mismatch = || {
            let message = format!("argument of {clause} must be type boolean, not type {}", ty.name());
            Error::new(SqlState::DATATYPE_MISMATCH, message).at(position)
        };
        self.cast(from, &SqlType::Bool, CastContext::Implicit)?.map(|t| t.expr).ok_or_else(mismatch)
    }

    /// Decides an open type as text, as PostgreSQL does for a column of a subquery.
    pub(crate) fn decide_text(&self, from: Typed) -> Result<Typed> {
        match from.ty {
            SqlType::Unknown if from.is_undecided() => self.decide(from, &SqlType::Text),
            SqlType::Unknown => Ok(Typed::new(from.expr, SqlType::Text, from.position)),
            _ => Ok(from),
        }
    }

    fn decide(&self, from: Typed, to: &SqlType) -> Result<Typed> {
        let position = from.position;
        let expr = match from.expr {
            Expr::Placeholder(placeholder) => return self.decide_parameter(&placeholder.id, to, position),
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => return self.read_literal(&text, to, position),
            Expr::Literal(..) => typed_null(to)?,
            other => other,
        };
        Ok(Typed::new(expr, to.clone(), position))
    }

    fn decide_parameter(&self, id: &str, to: &SqlType, position: Option<usize>) -> Result<Typed> {
        let number = id.trim_start_matches('$').parse().unwrap_or(0);
        let to = if *to == SqlType::Unknown { &SqlType::Text } else { to };
        self.cx.params.infer(number, without_length(to));
        match self.cx.params.lookup(number)? {
            Some(ty) if ty == *to => self.parameter_value(number, ty, position),
            Some(ty) => {
                // What is too long is refused, as a literal is: an explicit cast does not come by here.
                let (name, value) = (ty.name(), self.parameter_value(number, ty, position)?);
                let cast = self.cast(value, to, CastContext::Assignment)?;
                cast.ok_or_else(|| cannot_cast(&name, to).at(position))
            }
            None => Err(Error::internal("a parameter has no type after inference")),
        }
    }

    fn read_literal(&self, text: &str, to: &SqlType, position: Option<usize>) -> Result<Typed> {
        if matches!(to, SqlType::Unknown | SqlType::Text) {
            let literal = Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
            return Ok(Typed::new(literal, to.clone(), position));
        }
        let as_text = Typed::new(
            Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None),
            SqlType::Text,
            position,
        );
        if let Some(expr) = self.system_cast(&as_text, to, CastContext::Explicit)? {
            return Ok(Typed::new(expr, to.clone(), position));
        }
        let to = &literal_numeric(text, to);
        let values = arrow::array::StringArray::from(vec![text]);
        let array = text::parse_array_in(to, &values, &self.format_options()).map_err(|e| e.at(position))?;
        let value = ScalarValue::try_from_array(&array, 0).map_err(plan_error)?;
        Ok(Typed::new(Expr::Literal(value, None), to.clone(), position))
    }

    /// The session's zone, for reading and printing timestamps.
    pub(crate) fn format_options(&self) -> FormatOptions {
        FormatOptions { time_zone: self.cx.session.time_zone.parse().unwrap_or(chrono_tz::Tz::UTC) }
    }
}

/// `'1.50'::numeric` keeps the scale of its digits.
fn literal_numeric(text: &str, to: &SqlType) -> SqlType {
    match to {
        SqlType::Numeric(n) if n.display != NumericDisplay::Fixed => {
            let digits = text.trim().split(['e', 'E']).next().unwrap_or_default();
            let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let plain = digits.len() == text.trim().len();
            match i8::try_from(fraction) {
                Ok(scale) if plain && scale <= 38 => SqlType::Numeric(NumericType::fixed(38, scale)),
                _ => to.clone(),
            }
        }
        other => other.clone(),
    }
}

/// A parameter is of the type, not of the type with its length limit.
fn without_length(ty: &SqlType) -> SqlType {
    match ty {
        SqlType::Varchar(_) => SqlType::Varchar(None),
        SqlType::Bpchar(_) => SqlType::Bpchar(None),
        other => other.clone(),
    }
}

fn cannot_cast(from: &str, to: &SqlType) -> Error {
    Error::new(SqlState::CANNOT_COERCE, format!("cannot cast type {from} to {}", to.name()))
}
