//! PostgreSQL's type categories, preferred types and casts allowed by context (`pg_type.typcategory`,
//! `typispreferred`, `pg_cast.castcontext`), and the common type of UNION, CASE and the like.

use weir_common::types::{NumericDisplay, NumericType};
use weir_common::{Error, Result, SqlState, SqlType};

use super::CastContext;

/// `pg_type.typcategory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    Boolean,
    Numeric,
    String,
    DateTime,
    Timespan,
    Array,
    Unknown,
    User,
}

/// The category of a type.
pub(crate) fn category(ty: &SqlType) -> Category {
    match ty {
        SqlType::Bool => Category::Boolean,
        ty if ty.is_numeric() || ty.is_oid_like() => Category::Numeric,
        SqlType::Unknown => Category::Unknown,
        SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Name => Category::String,
        SqlType::Date | SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz => Category::DateTime,
        SqlType::Interval => Category::Timespan,
        SqlType::Array(_) | SqlType::Int2Vector | SqlType::OidVector => Category::Array,
        _ => Category::User,
    }
}

/// Whether resolution prefers this type over others of its category.
pub(crate) fn is_preferred(ty: &SqlType) -> bool {
    matches!(
        ty,
        SqlType::Bool
            | SqlType::Float8
            | SqlType::Oid
            | SqlType::Text
            | SqlType::Timestamptz
            | SqlType::Interval
    )
}

/// Whether a value of type `from` may become a `to` in this context.
pub(crate) fn can_cast(from: &SqlType, to: &SqlType, context: CastContext) -> bool {
    if from.same_family(to) || *from == SqlType::Unknown {
        return true;
    }
    if let (SqlType::Array(from), SqlType::Array(to)) = (from, to) {
        return can_cast(from, to, context);
    }
    match context {
        CastContext::Implicit => is_implicit(from, to),
        CastContext::Assignment => is_implicit(from, to) || is_assignment(from, to),
        CastContext::Explicit => is_implicit(from, to) || is_assignment(from, to) || is_explicit(from, to),
    }
}

fn is_implicit(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    match (from, to) {
        (Int2, Int4 | Int8 | Float4 | Float8 | Numeric(_)) => true,
        (Int4, Int8 | Float4 | Float8 | Numeric(_)) => true,
        (Int8, Float4 | Float8 | Numeric(_)) => true,
        (Int2 | Int4 | Int8, to) if to.is_oid_like() => true,
        (Numeric(_), Float4 | Float8) | (Float4, Float8) => true,
        (Date, Timestamp | Timestamptz) | (Timestamp, Timestamptz) | (Time, Interval) => true,
        (Text | Varchar(_) | Bpchar(_), Text | Varchar(_) | Bpchar(_) | Name) => true,
        (Name | Char, Text) => true,
        (Text | Varchar(_), Regclass) => true,
        (Oid, Int8) => true,
        (from, to) if from.is_oid_like() && to.is_oid_like() => *from == Oid || *to == Oid,
        (Int2Vector, Array(element)) => **element == Int2,
        (OidVector, Array(element)) => **element == Oid,
        _ => false,
    }
}

fn is_assignment(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    match (from, to) {
        (from, Text | Varchar(_) | Bpchar(_)) if !matches!(from, Void) => true,
        (Name, _) if matches!(to, Varchar(_) | Bpchar(_)) => true,
        (Text | Varchar(_) | Bpchar(_), Char) => true,
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (Timestamp, Date | Time) | (Timestamptz, Date | Time | Timestamp) | (Interval, Time) => true,
        (Json, Jsonb) | (Jsonb, Json) => true,
        (from, Int4 | Int8) if from.is_oid_like() => true,
        _ => false,
    }
}

fn is_explicit(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    match (from, to) {
        (from, _) if from.is_string() => !matches!(to, Void),
        (Bool, Int4) | (Int4, Bool) | (Char, Int4) | (Int4, Char) => true,
        (Jsonb, Bool | Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_)) => true,
        (Array(_), to) if to.is_string() => true,
        _ => false,
    }
}

/// The type that UNION, CASE, COALESCE, GREATEST, VALUES and ARRAY give to these inputs (PostgreSQL's
/// "UNION, CASE, and Related Constructs"); `what` opens the error: `CASE`, `UNION`.
pub fn common_type(types: &[SqlType], what: &str) -> Result<SqlType> {
    let mut chosen: Option<SqlType> = None;
    for ty in types.iter().filter(|ty| **ty != SqlType::Unknown) {
        chosen = Some(match chosen {
            None => ty.clone(),
            Some(so_far) => common_of_two(so_far, ty, what)?,
        });
    }
    let Some(chosen) = chosen else { return Ok(SqlType::Text) };
    for ty in types {
        if !can_cast(ty, &chosen, CastContext::Implicit) {
            return Err(Error::new(
                SqlState::CANNOT_COERCE,
                format!("{what} could not convert type {} to {}", ty.name(), chosen.name()),
            ));
        }
    }
    Ok(chosen)
}

fn common_of_two(so_far: SqlType, ty: &SqlType, what: &str) -> Result<SqlType> {
    if so_far.same_family(ty) {
        return Ok(merge_modifiers(so_far, ty));
    }
    if category(&so_far) != category(ty) {
        return Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("{what} types {} and {} cannot be matched", so_far.name(), ty.name()),
        ));
    }
    let widen = !is_preferred(&so_far)
        && can_cast(&so_far, ty, CastContext::Implicit)
        && !can_cast(ty, &so_far, CastContext::Implicit);
    let chosen = if widen { ty.clone() } else { so_far.clone() };
    let other = if widen { &so_far } else { ty };
    Ok(match chosen {
        SqlType::Numeric(numeric) if other.is_integer() => {
            SqlType::Numeric(NumericType { precision: 38, ..numeric })
        }
        SqlType::Varchar(_) => SqlType::Varchar(None),
        SqlType::Bpchar(_) => SqlType::Bpchar(None),
        chosen => chosen,
    })
}

/// One type for two of the same family: their modifiers where equal, else none.
fn merge_modifiers(a: SqlType, b: &SqlType) -> SqlType {
    if a == *b {
        return a;
    }
    match (a, b) {
        (SqlType::Numeric(a), SqlType::Numeric(b)) => SqlType::Numeric(common_numeric(&[a, *b])),
        (SqlType::Varchar(_), _) => SqlType::Varchar(None),
        (SqlType::Bpchar(_), _) => SqlType::Bpchar(None),
        (SqlType::Array(a), SqlType::Array(b)) => SqlType::Array(Box::new(merge_modifiers(*a, b))),
        (a, _) => a,
    }
}

/// A numeric that can hold values of all of these at their scale. Values of several fixed scales print with
/// trailing zeros removed, since each row keeps its own in PostgreSQL.
pub(crate) fn common_numeric(numerics: &[NumericType]) -> NumericType {
    let scale = numerics.iter().map(|n| n.scale).max().unwrap_or(0);
    let display = merge_display(numerics);
    let same_scale = numerics.iter().all(|n| n.scale == scale);
    let display =
        if display == NumericDisplay::Fixed && !same_scale { NumericDisplay::Trimmed } else { display };
    NumericType { precision: 38, scale, display }
}

/// How the result of a computation over these prints.
pub(crate) fn merge_display(numerics: &[NumericType]) -> NumericDisplay {
    use NumericDisplay::{Deviation, Mixed, Quotient, Trimmed, Variance};
    let any = |displays: &[NumericDisplay]| numerics.iter().any(|n| displays.contains(&n.display));
    match (any(&[Trimmed, Mixed]), any(&[Quotient, Variance, Deviation, Mixed])) {
        (true, true) => Mixed,
        (true, false) => Trimmed,
        (false, true) => Quotient,
        (false, false) => NumericDisplay::Fixed,
    }
}
