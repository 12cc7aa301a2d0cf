//! The logical plan as an indented tree.
//!
//! DataFusion's display, with literals as SQL writes them: `'x'` for `Utf8("x")`, `5` for `Int32(5)`.

use datafusion::logical_expr::LogicalPlan;
use serde_json::{Value, json};

use crate::explain::expr::render_interval;
use crate::explain::indent;

/// A line for each node, inputs indented below.
pub fn render_logical(plan: &LogicalPlan) -> Vec<String> {
    let mut lines = Vec::new();
    render(plan, 0, &mut lines);
    lines
}

/// The plan as nested `{"node": …, "columns": […], "inputs": […]}`.
pub fn logical_json(plan: &LogicalPlan) -> Value {
    let columns: Vec<&String> = plan.schema().fields().iter().map(|field| field.name()).collect();
    let inputs: Vec<Value> = plan.inputs().into_iter().map(logical_json).collect();
    json!({ "node": clean(&plan.display().to_string()), "columns": columns, "inputs": inputs })
}

fn render(plan: &LogicalPlan, level: usize, lines: &mut Vec<String>) {
    lines.push(format!("{}{}", indent(level), clean(&plan.display().to_string())));
    for input in plan.inputs() {
        render(input, level + 1, lines);
    }
}

/// Type names that DataFusion wraps around literals.
const WRAPPERS: &[&str] = &["Boolean", "Int16", "Int32", "Int64", "UInt64", "Float32", "Float64", "Utf8"];

/// Takes the wrappers off literals. Text inside of quotes stays as it is.
fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let starts_word = !cleaned.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        if let Some((literal, after)) = starts_word.then(|| wrapped_literal(rest)).flatten() {
            cleaned.push_str(&literal);
            rest = after;
        } else {
            cleaned.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    cleaned
}

/// The literal at the start of the text, and what follows it.
fn wrapped_literal(text: &str) -> Option<(String, &str)> {
    if let Some(interval) = interval_literal(text) {
        return Some(interval);
    }
    let wrapper =
        WRAPPERS.iter().find(|name| text.starts_with(**name) && text[name.len()..].starts_with('('))?;
    let inner = &text[wrapper.len() + 1..];
    if let Some(quoted) = inner.strip_prefix('"') {
        let end = quoted.find("\")")?;
        return Some((format!("'{}'", quoted[..end].replace('\'', "''")), &quoted[end + 2..]));
    }
    let end = inner.find(')')?;
    Some((inner[..end].to_string(), &inner[end + 1..]))
}

/// The text with intervals as SQL writes them.
pub fn render_intervals(text: &str) -> String {
    let mut rendered = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(INTERVAL) {
        rendered.push_str(&rest[..at]);
        let (literal, after) = interval_literal(&rest[at..])
            .unwrap_or_else(|| (INTERVAL.to_owned(), &rest[at + INTERVAL.len()..]));
        rendered.push_str(&literal);
        rest = after;
    }
    rendered + rest
}

const INTERVAL: &str = "IntervalMonthDayNano";

/// An interval, which DataFusion shows as Rust does, sometimes inside a wrapper.
fn interval_literal(text: &str) -> Option<(String, &str)> {
    let bare = text.strip_prefix("IntervalMonthDayNano(\"").unwrap_or(text);
    let close = if bare.len() < text.len() { " }\")" } else { " }" };
    let (fields, after) = bare.strip_prefix("IntervalMonthDayNano { months: ")?.split_once(close)?;
    let (months, fields) = fields.split_once(", days: ")?;
    let (days, nanos) = fields.split_once(", nanoseconds: ")?;
    Some((render_interval(months.parse().ok()?, days.parse().ok()?, nanos.parse().ok()?), after))
}

#[cfg(test)]
mod tests {
    use super::{clean, render_intervals};

    #[test]
    fn intervals_read_like_sql() {
        let interval = datafusion::scalar::ScalarValue::new_interval_mdn(0, 1, 90_000_000_000);
        let text = format!("f(a, {})", datafusion::logical_expr::Expr::Literal(interval, None));
        for rendered in [clean(&text), render_intervals(&text)] {
            assert_eq!(rendered, "f(a, INTERVAL '1 days 90 seconds')", "{text}");
        }
        let physical =
            "f(IntervalMonthDayNano { months: 1, days: 0, nanoseconds: 0 }, CAST(a AS IntervalMonthDayNano))";
        assert_eq!(render_intervals(physical), "f(INTERVAL '1 months', CAST(a AS IntervalMonthDayNano))");
    }

    #[test]
    fn literals_lose_their_wrappers() {
        assert_eq!(
            clean(r#"Filter: a = Utf8("it's (x)") AND b > Int32(-5)"#),
            "Filter: a = 'it''s (x)' AND b > -5"
        );
        assert_eq!(clean("x IN ([Int64(1), Int64(2)]) OR Boolean(NULL)"), "x IN ([1, 2]) OR NULL");
    }

    #[test]
    fn names_that_merely_look_like_wrappers_stay() {
        assert_eq!(clean("my_Int32(5)"), "my_Int32(5)");
        assert_eq!(clean("CAST(a AS Int32)"), "CAST(a AS Int32)");
    }
}
