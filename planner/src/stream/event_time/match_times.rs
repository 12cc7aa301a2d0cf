//! What MATCH_RECOGNIZE makes of event time, if rows are ordered by a time with a watermark first.
//!
//! Matches are found again as rows come, from the first attempt on that they may change. With `WITHIN i`, that attempt
//! begins less than `i` before the watermark, and so do the rows of all matches that change: their times keep the
//! watermark, less `i`. Without it an old attempt may go on for ever. What may be forgotten is the operator's to know.

use arrow::datatypes::DataType;
use weir_exec::event_time::WatermarkExpr;
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::{MatchInput, Measure, RowPattern};

use super::{ColumnWatermark, late_filter, may_be_late, watermark_of};
use crate::stream::plan::StreamPlan;

/// The time that rows are ordered by, and its watermark.
fn time<'p>(pattern: &RowPattern, input: &'p StreamPlan) -> Option<(usize, &'p WatermarkExpr)> {
    let types: Vec<DataType> = input.columns.iter().map(|column| column.ty.clone()).collect();
    let time = pattern.time(&types)?;
    Some((time, watermark_of(input, time)?))
}

/// The watermark of the rows.
pub fn watermark<'p>(pattern: &RowPattern, input: &'p StreamPlan) -> Option<&'p WatermarkExpr> {
    time(pattern, input).map(|(_, watermark)| watermark)
}

/// The rows without those that are late.
pub fn on_time(pattern: &RowPattern, input: StreamPlan) -> StreamPlan {
    match time(pattern, &input) {
        Some((time, watermark)) if may_be_late(&input) => {
            let watermark = watermark.clone();
            late_filter(input, time, watermark)
        }
        _ => input,
    }
}

/// The watermarks of the output: of the time of rows that come out, and of measures that are a match's row's.
pub(super) fn output(pattern: &RowPattern, input: &StreamPlan) -> Vec<ColumnWatermark> {
    let Some(((time, watermark), over_after)) = time(pattern, input).zip(pattern.over_after_micros()) else {
        return Vec::new();
    };
    let is_time = |measure: &Measure| match measure.value.inputs.as_slice() {
        [MatchInput::Column { column, at }] => {
            *column == time && at.offset == 0 && measure.value.expr == ScalarExpr::Column(0)
        }
        _ => false,
    };
    let columns = pattern.project.iter().map(|column| *column == time);
    let columns = columns.chain(pattern.measures.iter().map(is_time)).enumerate();
    let watermark = watermark.clone().shifted(-over_after);
    columns
        .filter(|(_, is_time)| *is_time)
        .map(|(column, _)| ColumnWatermark { column, watermark: watermark.clone() })
        .collect()
}
