//! Each construct without a streaming form: SQLSTATE 0A000, what it is, what to write instead.

use datafusion::functions_aggregate::expr_fn::{array_agg, max};
use datafusion::logical_expr::{
    ExprSchemable, JoinType, LogicalPlanBuilder, col, exists, grouping_set, lit, not_in_subquery,
    scalar_subquery,
};
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

fn u() -> datafusion::logical_expr::LogicalPlan {
    scan("u").build().unwrap()
}

#[test]
fn joins() {
    let cross = scan("t").cross_join(u()).unwrap();
    let unequal = scan("t").join_on(u(), JoinType::Inner, [col("t.id").lt(col("u.id"))]).unwrap();
    let outer = scan("t").join_on(u(), JoinType::Left, [col("t.id").eq(col("u.id"))]).unwrap();
    let intersect = LogicalPlanBuilder::intersect(
        scan("t").project([col("id")]).unwrap().build().unwrap(),
        scan("u").project([col("id")]).unwrap().build().unwrap(),
        true,
    );
    let intersect = LogicalPlanBuilder::from(intersect.unwrap());
    assert_snapshot!(refusals(vec![cross, unequal, outer, intersect]), @"
    a join without an equality condition in a materialized view is not supported
      Add a condition that compares a column of one side with a column of the other by =.
    a join without an equality condition in a materialized view is not supported
      Add a condition that compares a column of one side with a column of the other by =.
    an outer join in a materialized view is not supported
      Use an inner join with an equality condition; scalar subqueries become outer joins too.
    INTERSECT, EXCEPT or a subquery related by IS NOT DISTINCT FROM in a materialized view is not supported
      Use an inner join, IN or EXISTS related by =.
    ");
}

#[test]
fn subqueries() {
    let ids = || scan("u").project([col("u.id")]).unwrap().build().unwrap();
    let none = scan("t").filter(not_in_subquery(col("t.id"), ids().into())).unwrap();
    let either = scan("t").filter(exists(ids().into()).or(col("t.v").gt(lit(1i64)))).unwrap();
    let no_group: [datafusion::logical_expr::Expr; 0] = [];
    let top = scan("u").aggregate(no_group, [max(col("u.w"))]).unwrap().build().unwrap();
    let above = scan("t").filter(col("t.v").gt(scalar_subquery(top.into()))).unwrap();
    assert_snapshot!(refusals(vec![none, either, above]), @"
    NOT IN, NOT EXISTS or EXCEPT with a subquery in a materialized view is not supported
      Use inner joins with equality conditions, IN, or EXISTS.
    IN or EXISTS with a subquery under OR or in a SELECT list in a materialized view is not supported
      Use IN or EXISTS as a condition of WHERE joined by AND.
    this form of subquery in a materialized view is not supported
      Use IN or EXISTS as a condition of WHERE joined by AND, or an inner join.
    ");
}

#[test]
fn limits_and_first_rows() {
    let first = scan("t").distinct_on(vec![col("s")], vec![col("s"), col("v")], None).unwrap();
    let limit = scan("t").limit(0, Some(10)).unwrap();
    for refused in [limit, first] {
        let text = refusals(vec![refused]);
        assert!(text.contains("in a materialized view is not supported"), "{text}");
    }
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
      Materialized views support count, sum, avg, min and max, with DISTINCT and FILTER.
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
