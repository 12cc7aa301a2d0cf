//! A scenario as text: as a script of SQL to read, and as a suite with PostgreSQL's answers to keep.
//!
//! Place in the flow: `weir-oracle` writes both of what it shrank. The suite has sections, so the runner tries it
//! under every circumstance; what a transaction does would fall apart there, so then it runs as it is written.

use super::outcome::{Failure, Outcome};
use super::play::Stage;
use super::scenario::{End, Scenario, Step};
use crate::Result;
use crate::wire::Answer;

/// The statements in order, with what is no statement as comments.
pub fn script(scenario: &Scenario) -> String {
    let mut text = format!("-- {}\n", scenario.circumstances);
    scenario.circumstances.first_statement().into_iter().for_each(|sql| text.push_str(&format!("{sql};\n")));
    for step in &scenario.steps {
        match step {
            Step::Twins(one, other) => text.push_str(&format!("-- {one} and {other} must be equal\n")),
            Step::Check => text.push_str("-- check\n"),
            Step::Crash => text.push_str("-- kill -9 and restart\n"),
            step => statements(step).iter().for_each(|sql| text.push_str(&format!("{sql};\n"))),
        }
    }
    text
}

/// The scenario as a suite.
pub fn suite(stage: &mut Stage, scenario: &Scenario, failure: &Failure, seed: u64) -> Result<String> {
    let of = |wanted: fn(&Step) -> bool| {
        scenario.steps.iter().filter(|step| wanted(step)).flat_map(statements).collect::<Vec<_>>()
    };
    let mut tables = of(|step| matches!(step, Step::Table { .. } | Step::Index(_)));
    tables.splice(0..0, scenario.circumstances.first_statement());
    let data = of(|step| matches!(step, Step::Data(..)));
    let views = of(|step| matches!(step, Step::View { .. }));
    let checks = checks(scenario);
    let all: Vec<String> = [&tables, &data, &views, &checks]
        .into_iter()
        .flatten()
        .map(|sql| sql.replace("CREATE MATERIALIZED VIEW", "CREATE VIEW"))
        .collect();
    let mut outcomes = stage.ask_postgres(&all)?.into_iter();
    let in_sections = !data.iter().any(|sql| sql == "BEGIN");
    let summary = failure.detail.lines().last().unwrap_or_default();
    let mut text = format!("# Seed {seed} of the oracle, {:?}: {summary}\n", failure.class);
    for (name, statements) in [("tables", &tables), ("data", &data), ("views", &views), ("checks", &checks)] {
        if in_sections {
            text.push_str(&format!("\n# section: {name}\n"));
        }
        for (sql, outcome) in statements.iter().zip(&mut outcomes) {
            text.push_str(&record(sql, &outcome));
        }
    }
    Ok(text)
}

fn statements(step: &Step) -> Vec<String> {
    match step {
        Step::Table { create, .. } => vec![create.to_string()],
        Step::View { name, query, maintained } => {
            let kind = if *maintained { "MATERIALIZED VIEW" } else { "VIEW" };
            vec![format!("CREATE {kind} {name} AS {query}")]
        }
        Step::Index(statement) | Step::Query(statement) => vec![statement.to_string()],
        Step::Data(statements, end) => {
            let (before, after) = match end {
                End::Auto => (None, None),
                End::Commit => (Some("BEGIN"), Some("COMMIT")),
                End::Rollback => (Some("BEGIN"), Some("ROLLBACK")),
            };
            let statements = statements.iter().map(|statement| statement.to_string());
            let around = |word: Option<&str>| word.map(str::to_string).into_iter();
            around(before).chain(statements).chain(around(after)).collect()
        }
        Step::Twins(..) | Step::Check | Step::Crash => Vec::new(),
    }
}

/// The queries of the scenario, each view, and each view's query.
fn checks(scenario: &Scenario) -> Vec<String> {
    let of = |step: &Step| match step {
        Step::Query(query) => vec![query.to_string()],
        Step::View { name, query, .. } => vec![format!("SELECT * FROM {name}"), query.to_string()],
        _ => Vec::new(),
    };
    scenario.steps.iter().flat_map(of).collect()
}

fn record(sql: &str, outcome: &Outcome) -> String {
    let is_query = !["INSERT", "UPDATE", "DELETE"].iter().any(|word| sql.starts_with(word));
    match outcome {
        Err(error) => format!("\nstatement error {}\n{sql}\n", error.code),
        Ok(answer) if answer.columns > 0 && is_query => {
            format!("\nquery {} rowsort\n{sql}\n----\n{}", "T".repeat(answer.columns), rows(answer))
        }
        Ok(_) => format!("\nstatement ok\n{sql}\n"),
    }
}

fn rows(answer: &Answer) -> String {
    let value = |value: &Option<String>| match value.as_deref() {
        None => "NULL".to_string(),
        Some("-0") => "0".to_string(),
        Some("") => "(empty)".to_string(),
        Some(text) => text.to_string(),
    };
    let line = |row: &Vec<Option<String>>| row.iter().map(value).collect::<Vec<_>>().join(" ") + "\n";
    answer.rows.iter().map(line).collect()
}
