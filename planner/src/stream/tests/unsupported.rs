//! Each construct without a streaming form: SQLSTATE 0A000, what it is, what to write instead.

use datafusion::functions_aggregate::expr_fn::{array_agg, max};
use datafusion::logical_expr::{ExprSchemable, LogicalPlanBuilder, col, grouping_set};
use insta::assert_snapshot;
use weir_common::SqlState;

use super::fixture::{scan, view};

/// The error of each query as a view: its message, then its hint.
fn refusals(queries: Vec<LogicalPlanBuilder>) -> String {
    let lines = queries.into_iter().flat_map(|query| {
        let error = view(query.build().unwrap()).unwrap_err();
        assert_eq!(error.state(), SqlState::FEATURE_NOT_SUPPORTED, "{error:?}");
        [error.message().to_string(), format!("  {}", error.hint().unwrap_or("no hint"))]
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn order_without_limit_is_ignored() {
    let sorted = scan("t").sort([col("v").sort(true, false)]).unwrap();
    assert_eq!(
        view(sorted.build().unwrap()).unwrap().stream,
        view(scan("t").build().unwrap()).unwrap().stream
    );
}

#[test]
fn aggregates() {
    let list = scan("t").aggregate([col("s")], [array_agg(col("v"))]).unwrap();
    let sets = scan("t").aggregate([grouping_set(vec![vec![col("s")], vec![]])], [max(col("v"))]).unwrap();
    let sets = sets.project([col("s")]).unwrap();
    assert_snapshot!(refusals(vec![list, sets]), @"
    aggregate function array_agg in a materialized view is not supported
      Use it in the query that reads the view.
    GROUPING SETS, ROLLUP or CUBE in a materialized view is not supported
      Write one GROUP BY query for each grouping set and combine them with UNION ALL.
    ");
}

#[test]
fn functions_that_change_by_themselves() {
    let random = datafusion::functions::math::expr_fn::random();
    let cast = random.cast_to(&arrow::datatypes::DataType::Int64, scan("t").schema()).unwrap();
    assert_snapshot!(refusals(vec![scan("t").filter(col("v").gt(cast)).unwrap()]), @"
    function random in a materialized view is not supported
      The rows of a view may only depend on its inputs. Use the function in the query that reads the view.
    ");
}
