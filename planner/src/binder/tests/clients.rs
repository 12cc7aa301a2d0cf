//! The queries that psql and the drivers send, as captured: each must parse, and bind or be refused with 0A000.

use weir_common::SqlType;

use super::fixture::{context, run};
use crate::bound::BoundStatement;
use crate::context::{BindContext, ParamTypes};
use crate::{bind, parse};

const PSQL: &str = include_str!("../../../testdata/psql15-backslash.sql");
const DRIVERS: &str = include_str!("../../../testdata/drivers.sql");

/// What some of the drivers' introspection needs and is refused.
const NOT_THERE: [&str; 6] = [
    "WITH RECURSIVE is not supported",
    "function set_config(",
    "function pg_sleep(",
    "function pg_advisory_unlock_all(",
    "function json_build_object(",
    "function _pg_expandarray(",
];

/// The statements under each `-- heading`.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let mut parts = text.split("-- psql15 ").flat_map(|part| part.split("-- client: "));
    parts.next();
    parts.filter_map(|part| part.split_once('\n')).collect()
}

fn failures(text: &str, runs: bool, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut failures = Vec::new();
    for (heading, sql) in sections(text).into_iter().filter(|(heading, _)| wanted(heading)) {
        match parse(sql) {
            Err(error) => failures.push(format!("{heading}: {error:?} at {:?}\n{sql}", error.position())),
            Ok(statements) => {
                for statement in statements {
                    let params = ParamTypes::declared(vec![None::<SqlType>; 0]);
                    let cx = BindContext { params, ..context() };
                    let bound = bind(&statement, &cx).and_then(|bound| match bound {
                        BoundStatement::Query(query) if runs => run(&query).map(|_| ()),
                        _ => Ok(()),
                    });
                    if let Err(error) = bound {
                        failures.push(format!(
                            "{heading}: {error:?} at {:?}\n{}\n",
                            error.position(),
                            statement.sql
                        ));
                    }
                }
            }
        }
    }
    failures
}

#[test]
fn psql_describe_commands_run() {
    let commands =
        ["\\d", "\\d t", "\\d v", "\\d mv", "\\dt", "\\dv", "\\dm", "\\dn", "\\l", "\\du", "\\dt+", "\\d+"];
    let failed = failures(PSQL, true, |heading| commands.contains(&heading.trim()));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn drivers_queries_bind() {
    let mut failed = failures(DRIVERS, false, |_| true);
    failed.retain(|failure| !NOT_THERE.iter().any(|what| failure.contains(what)));
    assert!(failed.is_empty(), "{} fail:\n{}", failed.len(), failed.join("\n"));
}
