//! What a sink into a table can promise: how the changes of its query become the table's.
//!
//! | the query | table whose key the sink writes | other table |
//! |---|---|---|
//! | only inserts | upsert: the last row of a key stays | insert |
//! | unique by columns of the key | upsert; a delete removes the row of its key | refused (0A000) |
//! | neither | refused (42P10): two rows of a key would take turns | refused (0A000) |

use arrow::datatypes::DataType;
use weir_common::{Error, Result, SqlState};
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::ChangelogMode;

use crate::bound::BoundSinkTable;
use crate::stream::PlannedJob;
use crate::stream::plan::{StreamNode, StreamPlan};

/// Error 0A000 or 42P10 when the table could not hold what the query says.
pub fn check(planned: &PlannedJob, into: &BoundSinkTable) -> Result<()> {
    let rows = &planned.stream.inputs[0].traits;
    let name = &into.name;
    if rows.mode == ChangelogMode::AppendOnly {
        return Ok(());
    }
    let Some(key) = &into.key else {
        let what = format!("a sink into table \"{name}\" of a query that takes rows back");
        return Err(Error::unsupported(what)
            .with_detail(
                "Without its primary key among the sink's columns the table's rows are not known again.",
            )
            .with_hint("Give the table a PRIMARY KEY that the query's rows have, or read a source."));
    };
    if is_unique_by(&planned.stream.inputs[0], key) {
        return Ok(());
    }
    let columns: Vec<&str> = key.iter().map(|column| planned.schema.columns[*column].name.as_str()).collect();
    let message = format!("the query's rows are not unique by the primary key of table \"{name}\"");
    Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
        .with_detail(format!("Two rows could have the same ({}).", columns.join(", ")))
        .with_hint("GROUP BY the key, or select the whole key of what the query reads."))
}

/// Whether no two rows have the same values in these columns. A wider integer is as good as the integer itself.
fn is_unique_by(rows: &StreamPlan, key: &[usize]) -> bool {
    let is_covered = |unique: &Vec<usize>, covers: &dyn Fn(usize) -> bool| unique.iter().all(|c| covers(*c));
    if rows.traits.key.as_ref().is_some_and(|unique| is_covered(unique, &|column| key.contains(&column))) {
        return true;
    }
    let StreamNode::Calc { project, .. } = &rows.node else { return false };
    let kept: Vec<usize> = key.iter().filter_map(|column| widened(&project[*column])).collect();
    let below = rows.inputs.first().and_then(|input| input.traits.key.as_ref());
    below.is_some_and(|unique| is_covered(unique, &|column| kept.contains(&column)))
}

/// The column that an expression shows, possibly as a wider integer.
fn widened(expr: &ScalarExpr) -> Option<usize> {
    match expr {
        ScalarExpr::Column(column) => Some(*column),
        ScalarExpr::Cast { expr, to: DataType::Int64 | DataType::Int32 } => match expr.as_ref() {
            // PostgreSQL's narrowing casts are functions; what is left as a cast keeps the value.
            ScalarExpr::Column(column) => Some(*column),
            _ => None,
        },
        _ => None,
    }
}

/// For EXPLAIN: how rows get into the table.
pub fn describe(into: &BoundSinkTable, planned: &PlannedJob) -> String {
    let how = match &into.key {
        Some(key) => {
            let columns: Vec<&str> =
                key.iter().map(|column| planned.schema.columns[*column].name.as_str()).collect();
            format!("upsert by [{}]", columns.join(", "))
        }
        None => "insert".to_owned(),
    };
    format!("Into table \"{}\": exactly once, {how}", into.name)
}
