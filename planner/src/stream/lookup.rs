//! What is proved of a lookup join's output; beside the other nodes' in [`super::traits`].

use weir_exec::spec::LookupJoinSpec;

use crate::stream::plan::StreamPlan;
use crate::stream::traits::positions;

/// What identifies a row of a lookup join: the left row, and the right one where there may be several.
pub(super) fn lookup_key(join: &LookupJoinSpec, inputs: &[StreamPlan]) -> Option<Vec<usize>> {
    let (left, right) = (inputs[0].traits.key.as_deref()?, inputs[1].traits.key.as_deref()?);
    let mut identity = left.to_vec();
    if !right.iter().all(|column| join.right_keys.contains(column)) {
        identity.extend(right.iter().map(|column| column + inputs[0].columns.len()));
    }
    positions(&identity, &join.project)
}
