//! What is proved of a lookup join's output, and what limits its state; beside the other nodes' in [`super::traits`].

use weir_exec::spec::{ChangelogMode, LookupJoinSpec};

use crate::stream::plan::StreamPlan;
use crate::stream::traits::{StateBound, never_end, positions};

/// What identifies a row of a lookup join: the left row, and the right one where there may be several.
pub(super) fn lookup_key(join: &LookupJoinSpec, inputs: &[StreamPlan]) -> Option<Vec<usize>> {
    let (left, right) = (inputs[0].traits.key.as_deref()?, inputs[1].traits.key.as_deref()?);
    let mut identity = left.to_vec();
    if !right.iter().all(|column| join.right_keys.contains(column)) {
        identity.extend(right.iter().map(|column| column + inputs[0].columns.len()));
    }
    positions(&identity, &join.project)
}

/// The right side's rows; and of left rows that may go, what they were joined with.
pub(super) fn lookup_state(join: &LookupJoinSpec, inputs: &[StreamPlan]) -> StateBound {
    let only_grows = join.left_mode == ChangelogMode::AppendOnly;
    let right = "the rows of the right input";
    let kept = if only_grows {
        right.to_string()
    } else {
        format!("{right}, and what each left row was joined with")
    };
    let mut sources = inputs[1].sources();
    if !only_grows {
        sources.extend(inputs[0].sources());
    }
    sources.sort_unstable();
    sources.dedup();
    match sources.as_slice() {
        [] => StateBound::Bounded(kept),
        sources => {
            StateBound::Unbounded(format!("the join keeps {kept}, and {} without end", never_end(sources)))
        }
    }
}
