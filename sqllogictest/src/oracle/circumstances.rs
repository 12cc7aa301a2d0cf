//! Under which circumstances a scenario is played: none of them may change a result.
//!
//! Place in the flow: `scenario` chooses them, `play` starts a server with them, `shrink` goes back to the usual ones. When
//! views are made and when the server is killed are circumstances too; those are the order of the steps.

use std::fmt;

use super::rng::Rng;
use crate::server::Options;
use crate::wire::Protocol;

/// Rows a server takes at once, when it is not one.
const BATCH_ROWS: u32 = 1024;

/// State that an operator keeps in memory, when not all. It is to the few rows of a scenario what a MiB is to many: it
/// holds none of them.
const STATE_MEMORY_BYTES: usize = 64;

/// The optimizer's rules that can be switched off. A server refuses a name that it does not know: this crate has nothing
/// of it but the wire.
const RULES: [&str; 18] = [
    "optimize_unions",
    "unions_to_filter",
    "simplify_expressions",
    "eliminate_join",
    "eliminate_duplicated_expr",
    "eliminate_filter",
    "eliminate_cross_join",
    "propagate_empty_relation",
    "filter_null_join_keys",
    "eliminate_outer_join",
    "push_down_limit",
    "push_down_filter",
    "single_distinct_aggregation_to_group_by",
    "eliminate_group_by_constant",
    "common_sub_expression_eliminate",
    "extract_leaf_expressions",
    "push_down_leaf_projections",
    "optimize_projections",
];

/// How the server runs and is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    pub server: Options,
    pub protocol: Protocol,
    /// The rule of the optimizer that is switched off.
    pub without_rule: Option<&'static str>,
}

impl Circumstances {
    pub fn choose(rng: &mut Rng) -> Circumstances {
        let server = Options {
            workers: *rng.pick(&[1, 3]),
            batch_rows: *rng.pick(&[1, BATCH_ROWS]),
            state_memory_bytes: *rng.pick(&[None, Some(STATE_MEMORY_BYTES)]),
        };
        let protocol = if rng.chance(70) { Protocol::Simple } else { Protocol::Extended };
        let without_rule = if rng.chance(60) { Some(*rng.pick(&RULES)) } else { None };
        Circumstances { server, protocol, without_rule }
    }

    /// The same with one more of them as usual, for each that is not.
    pub fn plainer(self) -> Vec<Circumstances> {
        let server = self.server;
        let all = [
            Circumstances { without_rule: None, ..self },
            Circumstances { server: Options { workers: 1, ..server }, ..self },
            Circumstances { server: Options { state_memory_bytes: None, ..server }, ..self },
            Circumstances { server: Options { batch_rows: BATCH_ROWS, ..server }, ..self },
            Circumstances { protocol: Protocol::Simple, ..self },
        ];
        all.into_iter().filter(|plainer| *plainer != self).collect()
    }

    /// The statement that a session begins with, here and on PostgreSQL, where the setting means nothing.
    pub fn first_statement(&self) -> Option<String> {
        self.without_rule.map(|rule| format!("SET weir.disabled_rules = '{rule}'"))
    }
}

impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { workers, batch_rows, state_memory_bytes } = self.server;
        write!(f, "{workers} workers, {batch_rows} rows at once, ")?;
        match state_memory_bytes {
            Some(bytes) => write!(f, "{bytes} bytes of state in memory")?,
            None => write!(f, "all state in memory")?,
        }
        write!(f, ", {} protocol", self.protocol.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circumstances_become_plain_one_by_one() {
        let mut now = Circumstances {
            server: Options { workers: 3, batch_rows: 1, state_memory_bytes: Some(64) },
            protocol: Protocol::Extended,
            without_rule: Some(RULES[0]),
        };
        let mut steps = 0;
        while let Some(plainer) = now.plainer().first() {
            now = *plainer;
            steps += 1;
        }
        assert_eq!((steps, now.first_statement()), (5, None));
    }
}
