//! ASOF joins and lookup joins. Keys and times that are expressions are computed by a Calc below, so that the joins read columns only.

use datafusion::logical_expr::{Expr, LogicalPlan};
use weir_common::{Error, Result};
use weir_exec::spec::{AsofJoinSpec, LookupJoinSpec};

use crate::asof_join::AsofJoin;
use crate::lookup_join::LookupJoin;
use crate::stream::event_time::asof_times;
use crate::stream::lower::{Extended, columns_of, lower};
use crate::stream::plan::{StreamNode, StreamPlan};

/// The stream plan of an ASOF join.
pub(super) fn lower_asof_join(join: &AsofJoin) -> Result<StreamPlan> {
    let (left_keys, right_keys) = join.on.iter().map(|(l, r)| (l, r)).unzip();
    let left = Side::lower(&join.left, left_keys, Some(&join.time.0))?;
    let right = Side::lower(&join.right, right_keys, Some(&join.time.1))?;
    let (Some(left_time), Some(right_time)) = (left.time, right.time) else {
        return Err(Error::internal("an ASOF join compares times"));
    };
    let spec = AsofJoinSpec {
        outer: join.is_outer(),
        project: both(&left, &right),
        left_keys: left.keys,
        right_keys: right.keys,
        left_time,
        right_time,
        nearest: join.nearest,
    };
    let inputs = asof_times::on_time(&spec, [left.plan, right.plan]);
    Ok(StreamPlan::new(StreamNode::AsofJoin(spec), inputs, columns_of(join.schema_ref())))
}

/// The stream plan of a lookup join.
pub(super) fn lower_lookup_join(join: &LookupJoin) -> Result<StreamPlan> {
    let (left_keys, right_keys) = join.on.iter().map(|(l, r)| (l, r)).unzip();
    let left = Side::lower(&join.left, left_keys, None)?;
    let right = Side::lower(&join.right, right_keys, None)?;
    let node = StreamNode::LookupJoin(LookupJoinSpec {
        outer: join.is_outer(),
        project: both(&left, &right),
        left_keys: left.keys,
        right_keys: right.keys,
        left_mode: left.plan.traits.mode,
    });
    Ok(StreamPlan::new(node, vec![left.plan, right.plan], columns_of(join.schema_ref())))
}

/// The sides' own columns, of all of them.
fn both(left: &Side, right: &Side) -> Vec<usize> {
    let left_width = left.plan.columns.len();
    (0..left.width).chain((0..right.width).map(|column| column + left_width)).collect()
}

/// One input of the join.
struct Side {
    /// The input, with computed keys and times after its own columns.
    plan: StreamPlan,
    /// How many columns the input has of its own.
    width: usize,
    keys: Vec<usize>,
    time: Option<usize>,
}

impl Side {
    fn lower(logical: &LogicalPlan, keys: Vec<&Expr>, time: Option<&Expr>) -> Result<Side> {
        let mut rows = Extended::over(lower(logical)?, logical.schema());
        let keys = keys.into_iter().map(|key| rows.add(key)).collect::<Result<_>>()?;
        let time = time.map(|time| rows.add(time)).transpose()?;
        let plan = rows.compute();
        if let Some(column) = plan.columns.iter().find(|column| !weir_exec::state::can_store(&column.ty)) {
            return Err(Error::unsupported(format!("this kind of join with a column of type {}", column.ty))
                .with_hint("Cast the column in a subquery below the join."));
        }
        Ok(Side { width: logical.schema().fields().len(), plan, keys, time })
    }
}
