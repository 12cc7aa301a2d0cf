//! Which side of a join has its rows in a table, so that the join need not keep them: one that joins by the columns that
//! lead the table's primary key. All joins of this kind share one arrangement of the table, its rows by their key.
//!
//! Place in the flow: the job builder asks for it, and `EXPLAIN`. Only rows of tables are shared: a view's are not all
//! there yet when a restart needs them. Of a side whose rows show by themselves, or count the matches that pass a filter,
//! the join has to know all rows.

use weir_common::RelationKey;
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::{JoinKind, NodeSpec, OperatorSpec, SharedSide};

use crate::stream::plan::{StreamNode, StreamPlan};

/// The side that a join shares, and the name of the table. With two to choose from it is the one that is looked up by its
/// whole key, the right one if both are.
pub fn shared_side<'a>(node: &StreamNode, inputs: &'a [StreamPlan]) -> Option<(SharedSide, &'a str)> {
    let StreamNode::HashJoin { kind, left_keys, right_keys, filter, .. } = node else { return None };
    let keeps_bags = matches!(kind, JoinKind::IntersectAll | JoinKind::ExceptAll);
    if keeps_bags || (filter.is_some() && *kind != JoinKind::Inner) {
        return None;
    }
    let keys = [left_keys, right_keys];
    let sides = [1, 0].into_iter().filter(|side| !kind.preserves()[*side]);
    let mut found: Vec<Found<'_>> =
        sides.filter_map(|side| of_input(side, &inputs[side], keys[side])).collect();
    found.sort_by_key(|found| !found.is_whole);
    found.into_iter().next().map(|found| (found.side, found.table))
}

struct Found<'a> {
    side: SharedSide,
    table: &'a str,
    /// Whether the join's keys hold all columns of the table's.
    is_whole: bool,
}

fn of_input<'a>(side: usize, input: &'a StreamPlan, keys: &[usize]) -> Option<Found<'a>> {
    let (calc, scan) = match &input.node {
        StreamNode::Calc { filter, project } => (Some((filter, project)), &input.inputs[0]),
        _ => (None, input),
    };
    let StreamNode::Scan {
        relation,
        name,
        is_table: true,
        key: RelationKey::Columns(primary),
        project: columns,
        ..
    } = &scan.node
    else {
        return None;
    };
    // The table's column that a key of the join is.
    let column = |key: &usize| match calc {
        None => Some(columns[*key]),
        Some((_, project)) => match &project[*key] {
            ScalarExpr::Column(column) => Some(columns[*column]),
            _ => None,
        },
    };
    let of_keys: Vec<Option<usize>> = keys.iter().map(column).collect();
    let place = |column: &usize| of_keys.iter().position(|of_key| *of_key == Some(*column));
    let key: Vec<usize> = primary.iter().map_while(place).collect();
    let calc = calc.map(|(filter, project)| NodeSpec {
        operator: OperatorSpec::Calc { filter: filter.clone(), project: project.clone() },
        inputs: vec![scan.types()],
        output: input.types(),
    });
    (!key.is_empty()).then(|| Found {
        is_whole: key.len() == primary.len(),
        side: SharedSide { side, relation: *relation, columns: columns.clone(), calc, key },
        table: name,
    })
}
