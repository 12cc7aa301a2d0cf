//! MATCH_RECOGNIZE: the binder has made its specification, of which the columns are those of its input.

use weir_common::{Error, Result};

use crate::match_recognize::MatchRecognize;
use crate::stream::event_time::match_times;
use crate::stream::lower::{columns_of, lower};
use crate::stream::plan::{StreamNode, StreamPlan};

/// The stream plan of MATCH_RECOGNIZE.
pub(super) fn lower_match_recognize(recognize: &MatchRecognize) -> Result<StreamPlan> {
    let rows = lower(&recognize.input)?;
    if let Some(column) = rows.columns.iter().find(|column| !weir_exec::state::can_store(&column.ty)) {
        return Err(Error::unsupported(format!("MATCH_RECOGNIZE over a column of type {}", column.ty))
            .with_hint("Cast the column in a subquery below MATCH_RECOGNIZE."));
    }
    let node = StreamNode::MatchRecognize { pattern: Box::new(recognize.pattern.clone()) };
    let rows = match_times::on_time(&recognize.pattern, rows);
    Ok(StreamPlan::new(node, vec![rows], columns_of(&recognize.schema)))
}
