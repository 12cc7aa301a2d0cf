//! Rules that a session may switch off, to find out whether one of them is to blame: `SET weir.disabled_rules =
//! 'push_down_filter'`.
//!
//! Place in the flow: [`super::optimize`] leaves them out of a view's plan, the engine for queries out of a query's. A view
//! that runs keeps the plan it was created with. Invariant: a rule is listed only if every query has the same rows
//! without it, in a view and in a SELECT. Rules that turn what cannot be executed into what can are not: subqueries
//! into joins, DISTINCT into groups, the equality that NOT IN needs into a key, the LIMIT 0 that a sort cannot keep into
//! nothing.

use weir_common::{Error, Result, SqlState};

use super::null_safe::Rule;

/// The setting that lists the rules that are switched off.
pub const DISABLED_RULES: &str = "weir.disabled_rules";

/// The names of the rules that may be switched off, in DataFusion's order.
pub const OPTIONAL: &[&str] = &[
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

/// The rules that are switched off, none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisabledRules(Vec<&'static str>);

impl DisabledRules {
    /// Reads names separated by commas. Error: 22023 for one that is not [`OPTIONAL`].
    pub fn parse(text: &str) -> Result<DisabledRules> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let find = |name: &str| {
            let found = OPTIONAL.iter().find(|rule| rule.eq_ignore_ascii_case(name)).copied();
            found.ok_or_else(|| {
                let message = format!("\"{name}\" is no rule that can be switched off");
                Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                    .with_hint(format!("Available rules: {}.", OPTIONAL.join(", ")))
            })
        };
        names.map(find).collect::<Result<_>>().map(DisabledRules)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules that are left.
    pub fn strike(&self, rules: Vec<Rule>) -> Vec<Rule> {
        rules.into_iter().filter(|rule| !self.0.contains(&rule.name())).collect()
    }
}

/// The names, separated by commas.
impl std::fmt::Display for DisabledRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::optimizer::Optimizer;

    use super::*;

    #[test]
    fn every_name_is_a_rule() {
        let rules = Optimizer::new().rules;
        let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
        for name in OPTIONAL {
            assert!(names.contains(name), "{name} is none of {names:?}");
        }
    }

    #[test]
    fn names_are_checked_and_the_rules_go() {
        let disabled = DisabledRules::parse(" Push_Down_Filter,,optimize_unions ").unwrap();
        assert_eq!(disabled.to_string(), "push_down_filter, optimize_unions");
        let all = Optimizer::new().rules;
        assert_eq!(disabled.strike(all.clone()).len(), all.len() - 2);
        assert!(DisabledRules::parse("").unwrap().is_empty());
        let error = DisabledRules::parse("scalar_subquery_to_join").unwrap_err();
        assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE);
    }
}
