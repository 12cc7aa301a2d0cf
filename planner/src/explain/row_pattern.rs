//! MATCH_RECOGNIZE as text, for the logical and the stream plan.

use weir_exec::spec::{
    AfterMatch, Logical, MatchExpr, MatchInput, Navigation, Pattern, PatternVariable, RowPattern,
    RowsPerMatch, VariableSet,
};

use crate::explain::window::{render_order, render_partition};
use crate::explain::{list, render_expr};

/// `MatchRecognize { partition: [a], order: [b], pattern: (a b*), define: […], measures: […], … }` over an input with
/// columns of these names.
pub(crate) fn render_match_recognize(spec: &RowPattern, input: &[&str]) -> String {
    let renderer = Renderer { spec, input };
    let defines = spec.variables.iter().filter_map(|variable| {
        let define = variable.define.as_ref()?;
        Some(format!("{} AS {}", variable.name, renderer.expr(define)))
    });
    let measures =
        spec.measures.iter().map(|measure| format!("{} AS {}", renderer.expr(&measure.value), measure.name));
    let within =
        spec.within_micros.map_or_else(String::new, |micros| format!("within: {} s, ", micros as f64 / 1e6));
    let rows = match spec.rows {
        RowsPerMatch::One => "one row",
        RowsPerMatch::All { unmatched: true, .. } => "all rows with unmatched rows",
        RowsPerMatch::All { empty: true, .. } => "all rows",
        RowsPerMatch::All { .. } => "all rows without empty matches",
    };
    format!(
        "MatchRecognize {{ {}order: {}, pattern: ({}), {within}define: {}, measures: {}, {rows} per match, skip {} }}",
        render_partition(&spec.partition, input),
        render_order(&spec.order, input),
        renderer.pattern(&spec.pattern),
        list(defines),
        list(measures),
        renderer.skip(),
    )
}

struct Renderer<'a> {
    spec: &'a RowPattern,
    input: &'a [&'a str],
}

impl Renderer<'_> {
    fn name(&self, variable: u8) -> &str {
        let variable: Option<&PatternVariable> = self.spec.variables.get(usize::from(variable));
        variable.map_or("?", |variable| variable.name.as_str())
    }

    fn pattern(&self, pattern: &Pattern) -> String {
        match pattern {
            Pattern::Variable { variable, is_excluded: false } => self.name(*variable).to_owned(),
            Pattern::Variable { variable, .. } => format!("{{- {} -}}", self.name(*variable)),
            Pattern::Start => "^".to_owned(),
            Pattern::End => "$".to_owned(),
            Pattern::Concat(parts) if parts.is_empty() => "()".to_owned(),
            Pattern::Concat(parts) => {
                parts.iter().map(|part| self.operand(part)).collect::<Vec<_>>().join(" ")
            }
            Pattern::Alternation(branches) => {
                branches.iter().map(|branch| self.pattern(branch)).collect::<Vec<_>>().join(" | ")
            }
            Pattern::Repeat { pattern, min, max, is_greedy } => {
                let times = match (min, max) {
                    (0, None) => "*".to_owned(),
                    (1, None) => "+".to_owned(),
                    (0, Some(1)) => "?".to_owned(),
                    (min, None) => format!("{{{min},}}"),
                    (min, Some(max)) if min == max => format!("{{{min}}}"),
                    (min, Some(max)) => format!("{{{min},{max}}}"),
                };
                let reluctant = if *is_greedy { "" } else { "?" };
                let body = match pattern.as_ref() {
                    Pattern::Concat(_) | Pattern::Repeat { .. } => format!("({})", self.pattern(pattern)),
                    body => self.operand(body),
                };
                format!("{body}{times}{reluctant}")
            }
        }
    }

    fn operand(&self, pattern: &Pattern) -> String {
        match pattern {
            Pattern::Alternation(_) => format!("({})", self.pattern(pattern)),
            _ => self.pattern(pattern),
        }
    }

    fn set(&self, set: VariableSet) -> String {
        let names = (0..).zip(&self.spec.variables).filter(|(variable, _)| set.contains(*variable));
        let names: Vec<&str> = names.map(|(_, variable)| variable.name.as_str()).collect();
        match names.as_slice() {
            _ if set == VariableSet::ALL => String::new(),
            [one] => format!("{one}."),
            _ => format!("({}).", names.join(", ")),
        }
    }

    fn at(&self, of: &str, at: &Navigation) -> String {
        let value = format!("{}{of}", self.set(at.set));
        let mode = if at.is_final { "final " } else { "" };
        let logical = match at.logical {
            Logical::Last(0) if !at.is_final => value,
            Logical::Last(0) => format!("{mode}last({value})"),
            Logical::First(0) => format!("{mode}first({value})"),
            Logical::Last(n) => format!("{mode}last({value}, {n})"),
            Logical::First(n) => format!("{mode}first({value}, {n})"),
        };
        match at.offset {
            0 => logical,
            -1 => format!("prev({logical})"),
            1 => format!("next({logical})"),
            n if n < 0 => format!("prev({logical}, {})", -n),
            n => format!("next({logical}, {n})"),
        }
    }

    fn value(&self, value: &MatchInput) -> String {
        match value {
            MatchInput::Column { column, at } => self.at(self.input.get(*column).unwrap_or(&"?"), at),
            MatchInput::Present(at) => format!("exists({})", self.at("*", at)),
            MatchInput::Classifier(at) => self.at("classifier()", at),
            MatchInput::MatchNumber => "match_number()".to_owned(),
            MatchInput::Aggregate(aggregate) => {
                let names = aggregate.reads.iter().map(|column| {
                    format!("{}{}", self.set(aggregate.set), self.input.get(*column).unwrap_or(&"?"))
                });
                let names: Vec<String> = names.chain(["row_number".to_owned()]).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let arg = |at: &usize| aggregate.args.get(*at).map(|arg| render_expr(arg, &names));
                let args: Vec<String> = aggregate.call.args.iter().filter_map(arg).collect();
                let call = &aggregate.call;
                let args = match args.is_empty() && aggregate.set != VariableSet::ALL {
                    true => vec![format!("{}*", self.set(aggregate.set))],
                    false => args,
                };
                let mode = if aggregate.is_final { "final " } else { "" };
                format!("{mode}{}", call.function.render(&args, call.distinct, &call.order))
            }
        }
    }

    fn expr(&self, expr: &MatchExpr) -> String {
        let values: Vec<String> = expr.inputs.iter().map(|value| self.value(value)).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        render_expr(&expr.expr, &values)
    }

    fn skip(&self) -> String {
        let name = |set| self.set(set).trim_end_matches('.').to_owned();
        match self.spec.after_match {
            AfterMatch::PastLastRow => "past last row".to_owned(),
            AfterMatch::ToNextRow => "to next row".to_owned(),
            AfterMatch::ToFirst(set) => format!("to first {}", name(set)),
            AfterMatch::ToLast(set) => format!("to last {}", name(set)),
        }
    }
}
