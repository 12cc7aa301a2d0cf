//! How much a statement may be multiplied by its rewriting: a few lines of text can stand for a plan that no machine
//! can hold.
//!
//! Each level of `NOT IN` inside `NOT IN`, of a view or WITH query that names another one twice, of correlated
//! subqueries one inside another, repeats what is below it: n levels make 2ⁿ copies. The plan nodes that come into
//! being by repetition are counted as they are made, and the statement is refused when there are too many (54001).
//! What is written out is not counted: a text can be as long as the parser takes.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use weir_common::{Error, Result, SqlState};

use super::Binder;
use super::scope::Relation;

/// Most plan nodes that one statement gets by repetition.
const REPEATED_NODES: usize = 2_000;

impl Binder<'_> {
    /// Binds something that stands elsewhere, and counts what of it was not counted while it was bound.
    pub(crate) fn repeated(&self, bind: impl FnOnce() -> Result<Relation>) -> Result<Relation> {
        let before = self.repeated.get();
        let relation = bind()?;
        let counted = self.repeated.get() - before;
        let mut nodes: usize = 0;
        // The closure cannot fail.
        let _ = relation.plan.apply_with_subqueries(|_| {
            nodes += 1;
            Ok(TreeNodeRecursion::Continue)
        });
        self.repeat_nodes(nodes.saturating_sub(counted))?;
        Ok(relation)
    }

    /// Counts that a plan stands in the statement so many times more.
    pub(crate) fn repeat(&self, plan: &LogicalPlan, times: usize) -> Result<()> {
        let left = REPEATED_NODES.saturating_sub(self.repeated.get());
        let mut nodes = 0;
        // The closure cannot fail.
        let _ = plan.apply_with_subqueries(|_| {
            nodes += times;
            Ok(if nodes > left { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        self.repeat_nodes(nodes)
    }

    fn repeat_nodes(&self, nodes: usize) -> Result<()> {
        let repeated = self.repeated.get().saturating_add(nodes);
        self.repeated.set(repeated);
        if repeated <= REPEATED_NODES {
            return Ok(());
        }
        Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "statement is too complex")
            .with_detail("Its subqueries, views and WITH queries repeat each other too many times.")
            .with_hint("Compute what is repeated once, in a materialized view."))
    }
}
