//! Makes a failing scenario smaller: fewer steps, no crash, one worker, smaller statements, while it fails the same way.
//!
//! Place in the flow: `weir-oracle` shrinks what failed before it writes a repro. Greedy: the first smaller
//! scenario that still fails is the next to start from, until none does or the time is up.
//! Source of the idea: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002; Misherghi and
//! Su, "HDD: hierarchical delta debugging", 2006.

use std::time::{Duration, Instant};

use super::outcome::Failure;
use super::play::Stage;
use super::scenario::{End, Scenario, Step};
use super::tree::Tree;
use crate::Result;

/// The smallest scenario found that fails like this one, and how it fails.
pub fn shrink(
    stage: &mut Stage,
    scenario: &Scenario,
    failure: &Failure,
    longest: Duration,
) -> Result<(Scenario, Failure)> {
    let mut shrinker = Shrinker { stage, until: Instant::now() + longest };
    let mut best = (scenario.clone(), failure.clone());
    best.0.steps.truncate(failure.step + 1);
    loop {
        let before = best.0.clone();
        shrinker.circumstances(&mut best)?;
        shrinker.steps(&mut best)?;
        shrinker.statements(&mut best)?;
        if before.steps == best.0.steps || shrinker.is_late() {
            return Ok(best);
        }
    }
}

struct Shrinker<'s> {
    stage: &'s mut Stage,
    until: Instant,
}

impl Shrinker<'_> {
    fn is_late(&self) -> bool {
        Instant::now() > self.until
    }

    /// Takes the candidate if it fails like the best.
    fn attempt(&mut self, best: &mut (Scenario, Failure), mut candidate: Scenario) -> Result<bool> {
        if self.is_late() {
            return Ok(false);
        }
        match self.stage.play(&candidate)?.failure {
            Some(failure) if failure.class == best.1.class => {
                candidate.steps.truncate(failure.step + 1);
                *best = (candidate, failure);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn circumstances(&mut self, best: &mut (Scenario, Failure)) -> Result<()> {
        let without_crash = best.0.steps.iter().filter(|step| **step != Step::Crash).cloned().collect();
        self.attempt(best, Scenario { steps: without_crash, ..best.0.clone() })?;
        let mut needed = 0;
        while let Some(circumstances) = best.0.circumstances.plainer().get(needed).copied() {
            let is_plainer = self.attempt(best, Scenario { circumstances, ..best.0.clone() })?;
            needed += usize::from(!is_plainer);
        }
        Ok(())
    }

    /// Leaves steps out: first many at once, then one by one, from the end, where fewer depend on them.
    fn steps(&mut self, best: &mut (Scenario, Failure)) -> Result<()> {
        let mut chunk = best.0.steps.len() / 2;
        while chunk > 0 {
            let mut end = best.0.steps.len();
            while end > 0 {
                let start = end.saturating_sub(chunk);
                let steps = [&best.0.steps[..start], &best.0.steps[end..]].concat();
                self.attempt(best, Scenario { steps, ..best.0.clone() })?;
                end = start.min(best.0.steps.len());
            }
            chunk /= 2;
        }
        Ok(())
    }

    fn statements(&mut self, best: &mut (Scenario, Failure)) -> Result<()> {
        let mut at = best.0.steps.len();
        while at > 0 {
            at = (at - 1).min(best.0.steps.len() - 1);
            while self.smaller_step(best, at)? {}
        }
        Ok(())
    }

    /// Replaces a step by the first smaller one that still fails.
    fn smaller_step(&mut self, best: &mut (Scenario, Failure), at: usize) -> Result<bool> {
        let Some(step) = best.0.steps.get(at) else { return Ok(false) };
        for smaller in smaller(step) {
            let mut candidate = best.0.clone();
            candidate.steps[at] = smaller;
            if self.attempt(best, candidate)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn smaller(step: &Step) -> Vec<Step> {
    match step {
        Step::Table { name, create } => {
            let name = name.clone();
            create.smaller().into_iter().map(|create| Step::Table { name: name.clone(), create }).collect()
        }
        Step::View { name, query, maintained } => {
            let view = |query: Tree| Step::View { name: name.clone(), query, maintained: *maintained };
            query.smaller().into_iter().map(view).collect()
        }
        Step::Query(query) => query.smaller().into_iter().map(Step::Query).collect(),
        Step::Data(statements, end) => smaller_data(statements, *end),
        Step::Index(_) | Step::Twins(..) | Step::Check | Step::Crash => Vec::new(),
    }
}

fn smaller_data(statements: &[Tree], end: End) -> Vec<Step> {
    let mut found = Vec::new();
    if end == End::Commit {
        found.push(Step::Data(statements.to_vec(), End::Auto));
    }
    for i in 0..statements.len() {
        if statements.len() > 1 {
            found.push(Step::Data([&statements[..i], &statements[i + 1..]].concat(), end));
        }
        for smaller in statements[i].smaller() {
            let mut all = statements.to_vec();
            all[i] = smaller;
            found.push(Step::Data(all, end));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tree::Role;
    use crate::tree;

    #[test]
    fn transactions_lose_statements_and_then_themselves() {
        let statement = |sql: &str| tree!(Role::Statement; sql);
        let both = smaller(&Step::Data(vec![statement("a"), statement("b")], End::Commit));
        assert_eq!(both.len(), 3);
        assert_eq!(both[0], Step::Data(vec![statement("a"), statement("b")], End::Auto));
        assert_eq!(both[1], Step::Data(vec![statement("b")], End::Commit));
    }
}
