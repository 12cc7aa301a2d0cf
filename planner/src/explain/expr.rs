//! Scalar expressions as text that reads like SQL.

use arrow::datatypes::DataType;
use chrono::{DateTime, Duration, NaiveDate};
use weir_exec::expr::{BinaryOp, Literal, ScalarExpr};

/// The expression over columns of these names.
pub fn render_expr(expr: &ScalarExpr, columns: &[&str]) -> String {
    let one = |inner: &ScalarExpr| render_operand(inner, columns);
    let all =
        |list: &[ScalarExpr]| list.iter().map(|e| render_expr(e, columns)).collect::<Vec<_>>().join(", ");
    let not = |negated: bool| if negated { "NOT " } else { "" };
    match expr {
        ScalarExpr::Column(position) => {
            columns.get(*position).map_or_else(|| format!("${position}"), |name| (*name).to_string())
        }
        ScalarExpr::Literal(literal, ty) => render_literal(literal, ty),
        ScalarExpr::Binary { op, left, right } => format!("{} {} {}", one(left), operator(*op), one(right)),
        ScalarExpr::Not(inner) => format!("NOT {}", one(inner)),
        ScalarExpr::IsNull(inner) => format!("{} IS NULL", one(inner)),
        ScalarExpr::IsNotNull(inner) => format!("{} IS NOT NULL", one(inner)),
        ScalarExpr::Call { function, args, .. } => format!("{function}({})", all(args)),
        ScalarExpr::Case { .. } => render_case(expr, columns),
        ScalarExpr::Cast { expr, to } => format!("{}::{to}", one(expr)),
        ScalarExpr::InList { expr, list, negated } => {
            format!("{} {}IN ({})", one(expr), not(*negated), all(list))
        }
        ScalarExpr::Like { expr, pattern, negated, case_insensitive } => {
            let like = if *case_insensitive { "ILIKE" } else { "LIKE" };
            format!("{} {}{like} {}", one(expr), not(*negated), one(pattern))
        }
    }
}

/// An operand, in parentheses unless it stands as a unit.
fn render_operand(expr: &ScalarExpr, columns: &[&str]) -> String {
    let text = render_expr(expr, columns);
    match expr {
        ScalarExpr::Column(_)
        | ScalarExpr::Literal(..)
        | ScalarExpr::Call { .. }
        | ScalarExpr::Case { .. } => text,
        _ => format!("({text})"),
    }
}

fn render_case(expr: &ScalarExpr, columns: &[&str]) -> String {
    let ScalarExpr::Case { operand, branches, otherwise } = expr else { return String::new() };
    let mut text = String::from("CASE");
    if let Some(operand) = operand {
        text += &format!(" {}", render_expr(operand, columns));
    }
    for (when, then) in branches {
        text += &format!(" WHEN {} THEN {}", render_expr(when, columns), render_expr(then, columns));
    }
    if let Some(otherwise) = otherwise {
        text += &format!(" ELSE {}", render_expr(otherwise, columns));
    }
    text + " END"
}

fn operator(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Eq => "=",
        BinaryOp::NotEq => "<>",
        BinaryOp::Lt => "<",
        BinaryOp::LtEq => "<=",
        BinaryOp::Gt => ">",
        BinaryOp::GtEq => ">=",
        BinaryOp::And => "AND",
        BinaryOp::Or => "OR",
        BinaryOp::IsDistinctFrom => "IS DISTINCT FROM",
        BinaryOp::IsNotDistinctFrom => "IS NOT DISTINCT FROM",
    }
}

fn render_literal(literal: &Literal, ty: &DataType) -> String {
    match literal {
        Literal::Null => "NULL".into(),
        Literal::Bool(value) => value.to_string(),
        Literal::Int(value) => render_integer(*value, ty),
        Literal::Float(value) => value.to_string(),
        Literal::Decimal(unscaled) => render_decimal(*unscaled, ty),
        Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Literal::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("'\\x{hex}'")
        }
        Literal::Interval { months, days, nanos } => render_interval(*months, *days, *nanos),
        Literal::List(items) => {
            let element = match ty {
                DataType::List(field) => field.data_type(),
                _ => &DataType::Null,
            };
            let items: Vec<String> = items.iter().map(|item| render_literal(item, element)).collect();
            format!("ARRAY[{}]", items.join(", "))
        }
    }
}

/// An integer, or the date or timestamp that it stands for.
fn render_integer(value: i64, ty: &DataType) -> String {
    let rendered = match ty {
        DataType::Date32 => {
            NaiveDate::default().checked_add_signed(Duration::days(value)).map(|d| format!("'{d}'"))
        }
        DataType::Timestamp(_, zone) => DateTime::from_timestamp_micros(value).map(|at| {
            let suffix = if zone.is_some() { "+00" } else { "" };
            format!("'{}{suffix}'", at.naive_utc())
        }),
        _ => None,
    };
    rendered.unwrap_or_else(|| value.to_string())
}

fn render_decimal(unscaled: i128, ty: &DataType) -> String {
    let scale = match ty {
        DataType::Decimal128(_, scale) => usize::try_from(*scale).unwrap_or(0),
        _ => 0,
    };
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

pub(super) fn render_interval(months: i32, days: i32, nanos: i64) -> String {
    let seconds = nanos as f64 / 1e9;
    let parts = [(months != 0, format!("{months} months")), (days != 0, format!("{days} days"))];
    let mut parts: Vec<String> = parts.into_iter().filter_map(|(keep, part)| keep.then_some(part)).collect();
    if nanos != 0 || parts.is_empty() {
        parts.push(format!("{seconds} seconds"));
    }
    format!("INTERVAL '{}'", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_read_like_sql() {
        let utc = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let cases = [
            (Literal::Decimal(-5), DataType::Decimal128(38, 2), "-0.05"),
            (Literal::Decimal(12345), DataType::Decimal128(38, 0), "12345"),
            (Literal::Int(1), DataType::Date32, "'1970-01-02'"),
            (Literal::Int(1_500_000), utc, "'1970-01-01 00:00:01.500+00'"),
            (Literal::Text("it's".into()), DataType::Utf8, "'it''s'"),
            (Literal::Interval { months: 0, days: 1, nanos: 0 }, DataType::Null, "INTERVAL '1 days'"),
            (Literal::Bytes(vec![0xde, 0x01]), DataType::Binary, "'\\xde01'"),
        ];
        for (literal, ty, expected) in cases {
            assert_eq!(render_literal(&literal, &ty), expected);
        }
    }

    #[test]
    fn operands_are_parenthesised_where_needed() {
        let column = |i| Box::new(ScalarExpr::Column(i));
        let less = ScalarExpr::Binary { op: BinaryOp::Lt, left: column(0), right: column(1) };
        let expr = ScalarExpr::Not(Box::new(less));
        assert_eq!(render_expr(&expr, &["a", "b"]), "NOT (a < b)");
    }
}
