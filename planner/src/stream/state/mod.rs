//! What a plan keeps: of each node the pieces of state it has, what a piece is kept by, and what limits it.
//!
//! Place in the flow: one of a node's traits. `EXPLAIN` shows it beside each node, `EXPLAIN (STATE)` as a table, and
//! `require_bounded_state` warns of what grows, or refuses it.
//!
//! A piece is bounded in one of two ways. Its rows are no more than those of something else that is there: a group for
//! each row of a table, ten rows. Or they go with time, when event time or the clock has passed them. Everything else
//! grows as long as one of its inputs does ([`endless`]).

pub mod endless;
mod node;
mod null_times;

use serde::{Deserialize, Serialize};

use crate::stream::plan::StreamPlan;

pub(super) use node::derive;
pub use node::{length, result};

/// A piece of state that a node keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTable {
    /// `one row for each (k)`, `the rows of the left input`.
    pub keeps: String,
    /// The columns that it is found by, and that place it on a worker.
    pub key: Vec<String>,
    pub bound: StateBound,
}

/// What limits a piece of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateBound {
    /// It is no more than this: `the rows of t`.
    Size(String),
    /// It is forgotten when time has passed: `the watermark of bid`, `event time has passed ts`.
    Time { by: String, until: String },
    /// The view says when it may be forgotten, although rows to come might still need it.
    Ttl { until: String },
    /// It grows as long as the job runs.
    Unbounded {
        /// `source "bid" goes on without end`.
        why: String,
        /// How the query could limit it.
        hint: String,
    },
}

/// A piece of state in a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanState<'p> {
    /// The node that keeps it.
    pub plan: &'p StreamPlan,
    pub table: &'p StateTable,
}

impl StateTable {
    /// Beside a node: `one row for each (k)`, `rows until event time has passed ts`, `unbounded: …`.
    pub fn summary(&self, plan: &StreamPlan) -> String {
        match &self.bound {
            StateBound::Size(_) => self.keeps.clone(),
            StateBound::Time { until, .. } | StateBound::Ttl { until } => {
                format!("{} until {until}", self.keeps)
            }
            StateBound::Unbounded { .. } => format!("unbounded: {}", self.growth(plan)),
        }
    }

    /// `the aggregate keeps one row for each (k), and source "bid" goes on without end`.
    fn growth(&self, plan: &StreamPlan) -> String {
        let StateBound::Unbounded { why, .. } = &self.bound else { return String::new() };
        format!("{} keeps {}, and {why}", node::who(&plan.node), self.keeps)
    }
}

/// Every piece of state in a plan, as the plan is shown: a node's before its inputs'.
pub fn tables(plan: &StreamPlan) -> Vec<PlanState<'_>> {
    let own = plan.traits.state.iter().map(|table| PlanState { plan, table });
    own.chain(plan.inputs.iter().flat_map(tables)).collect()
}

/// The pieces of the node itself that grow as long as the job runs.
pub fn unbounded_here(plan: &StreamPlan) -> Vec<UnboundedState> {
    let mut found = Vec::new();
    for table in &plan.traits.state {
        let StateBound::Unbounded { hint, .. } = &table.bound else { continue };
        found.push(UnboundedState { growth: table.growth(plan), hint: hint.clone() });
    }
    found
}

/// The pieces that grow as long as the job runs, each with the reason: inputs first, the same reason once.
pub fn unbounded(plan: &StreamPlan) -> Vec<UnboundedState> {
    let mut found: Vec<UnboundedState> = plan.inputs.iter().flat_map(unbounded).collect();
    found.extend(unbounded_here(plan));
    let mut distinct: Vec<UnboundedState> = Vec::new();
    for state in found {
        if !distinct.contains(&state) {
            distinct.push(state);
        }
    }
    distinct
}

/// A piece of state that grows, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnboundedState {
    /// What is kept, and why it grows.
    pub growth: String,
    pub hint: String,
}
