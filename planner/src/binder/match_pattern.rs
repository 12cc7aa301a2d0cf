//! The pattern of MATCH_RECOGNIZE: its variables, those of SUBSET, and what AFTER MATCH skips to.

use sqlparser::ast::{AfterMatchSkip, Ident};
use weir_common::{Error, Result, SqlState};
use weir_exec::spec::{AfterMatch, Pattern, VARIABLES_MAX, VariableSet};

use super::Binder;
use crate::parser::{Pattern as Written, PatternClause, fold};

/// Most parts of a PERMUTE, of which there are six times five times … orders.
const PERMUTED_MAX: usize = 6;

/// The variables that DEFINE and MEASURES may name.
#[derive(Default)]
pub(crate) struct Variables {
    /// Those of the pattern, in the order of their first mention.
    pub names: Vec<String>,
    subsets: Vec<(String, VariableSet)>,
}

impl Variables {
    /// The rows that a name stands for.
    pub(crate) fn find(&self, name: &str) -> Option<VariableSet> {
        let primary = self.names.iter().position(|known| known == name);
        let primary = primary.and_then(|at| u8::try_from(at).ok()).map(VariableSet::one);
        primary.or_else(|| self.subsets.iter().find(|(known, _)| known == name).map(|(_, set)| *set))
    }
}

impl Binder<'_> {
    /// A pattern with its variables.
    pub(crate) fn bind_pattern(&self, clause: &PatternClause) -> Result<(Pattern, Variables)> {
        let mut variables = Variables::default();
        let pattern = self.convert(&clause.pattern, false, &mut variables)?;
        weir_exec::operators::match_recognize::check_pattern(&pattern)?;
        for (name, members) in &clause.subsets {
            let folded = fold(name);
            if variables.find(&folded).is_some() {
                let message = format!("variable \"{folded}\" of the pattern is defined more than once");
                return Err(Error::new(SqlState::DUPLICATE_ALIAS, message).at(self.span_position(name.span)));
            }
            let mut set = VariableSet(0);
            for member in members {
                set.0 |= self.variable(member, &variables)?.0;
            }
            variables.subsets.push((folded, set));
        }
        Ok((pattern, variables))
    }

    /// A variable that must be one of the pattern's.
    pub(crate) fn variable(&self, name: &Ident, variables: &Variables) -> Result<VariableSet> {
        let folded = fold(name);
        variables.find(&folded).ok_or_else(|| {
            let message = format!("variable \"{folded}\" is not in the pattern");
            Error::new(SqlState::UNDEFINED_OBJECT, message).at(self.span_position(name.span))
        })
    }

    /// AFTER MATCH SKIP.
    pub(crate) fn bind_skip(
        &self,
        skip: Option<&AfterMatchSkip>,
        variables: &Variables,
    ) -> Result<AfterMatch> {
        Ok(match skip {
            None | Some(AfterMatchSkip::PastLastRow) => AfterMatch::PastLastRow,
            Some(AfterMatchSkip::ToNextRow) => AfterMatch::ToNextRow,
            Some(AfterMatchSkip::ToFirst(name)) => AfterMatch::ToFirst(self.variable(name, variables)?),
            Some(AfterMatchSkip::ToLast(name)) => AfterMatch::ToLast(self.variable(name, variables)?),
        })
    }

    fn convert(&self, written: &Written, is_excluded: bool, variables: &mut Variables) -> Result<Pattern> {
        let mut all = |parts: &[Written]| -> Result<Vec<Pattern>> {
            parts.iter().map(|part| self.convert(part, is_excluded, variables)).collect()
        };
        Ok(match written {
            Written::Start => Pattern::Start,
            Written::End => Pattern::End,
            Written::Concat(parts) => Pattern::Concat(all(parts)?),
            Written::Alternation(branches) => Pattern::Alternation(all(branches)?),
            Written::Permute(parts) if parts.len() > PERMUTED_MAX => {
                let message = format!("PERMUTE of more than {PERMUTED_MAX} parts");
                return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, message));
            }
            Written::Permute(parts) => Pattern::Alternation(permutations(&all(parts)?)),
            Written::Repeat { pattern, min, max, is_greedy } => Pattern::Repeat {
                pattern: Box::new(self.convert(pattern, is_excluded, variables)?),
                min: *min,
                max: *max,
                is_greedy: *is_greedy,
            },
            Written::Exclude(_) if is_excluded => {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "an exclusion {- -} inside of another one"));
            }
            Written::Exclude(pattern) => self.convert(pattern, true, variables)?,
            Written::Variable(name) => {
                Pattern::Variable { variable: self.mentioned(name, variables)?, is_excluded }
            }
        })
    }

    /// The number of a variable, which is new if it was not mentioned before.
    fn mentioned(&self, name: &Ident, variables: &mut Variables) -> Result<u8> {
        let folded = fold(name);
        let at = variables.names.iter().position(|known| *known == folded).unwrap_or_else(|| {
            variables.names.push(folded);
            variables.names.len() - 1
        });
        u8::try_from(at).ok().filter(|at| usize::from(*at) < VARIABLES_MAX).ok_or_else(|| {
            let what = format!("a pattern of more than {VARIABLES_MAX} variables");
            Error::unsupported(what)
                .with_hint("Use a variable in several places of the pattern.")
                .at(self.span_position(name.span))
        })
    }
}

/// All orders of parts, those that begin with the first part first.
fn permutations(parts: &[Pattern]) -> Vec<Pattern> {
    fn extend(chosen: &mut Vec<usize>, parts: &[Pattern], orders: &mut Vec<Pattern>) {
        if chosen.len() == parts.len() {
            orders.push(Pattern::Concat(chosen.iter().map(|at| parts[*at].clone()).collect()));
            return;
        }
        for at in 0..parts.len() {
            if !chosen.contains(&at) {
                chosen.push(at);
                extend(chosen, parts, orders);
                chosen.pop();
            }
        }
    }
    let mut orders = Vec::new();
    extend(&mut Vec::new(), parts, &mut orders);
    orders
}
