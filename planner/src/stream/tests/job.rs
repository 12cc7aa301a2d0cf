//! Job graphs: where exchanges stand, that operator ids are stable, that plans survive serialisation.

use std::collections::BTreeSet;

use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{JoinType, LogicalPlanBuilder, col, lit};
use insta::assert_snapshot;
use weir_common::ObjectId;
use weir_runtime::graph::{Exchange, JobGraph, JobNodeKind, JobOutput};

use super::fixture::{planned, scan, scan_as, view};
use super::snapshots::nexmark_q4;
use crate::explain::{job_json, logical_json, render_job, render_logical, stream_json};
use crate::stream::TargetOutput;
use crate::stream::plan::StreamPlan;

fn job(query: LogicalPlanBuilder) -> JobGraph {
    view(query.build().unwrap()).unwrap().job
}

/// The exchanges of a job, in the order of its nodes.
fn exchanges(job: &JobGraph) -> Vec<Exchange> {
    let edges = job.nodes.iter().flat_map(|node| &node.inputs);
    edges.filter(|edge| edge.exchange != Exchange::Local).map(|edge| edge.exchange.clone()).collect()
}

#[test]
fn q4_exchanges_for_the_join_and_each_aggregate_only() {
    assert_snapshot!(render_job(&job(nexmark_q4())).join("\n"), @r#"
    Job 16500 "m"
      Fragment 0
        0: Source 16411 [0, 1, 2, 3]  id=d03250e9bd132b83
      Fragment 1
        1: Source 16412 [0, 2, 3]  id=a531c7a20f6a7789
      Fragment 2
        2: HashJoin { left: [0], right: [0] } <- 0 by[0], 1 by[0]  id=39a9958c082034d6
      Fragment 3
        3: Aggregate { group: [0, 1], 1 calls } <- 2 by[0, 1]  id=7adc862456d9a52b
        4: Calc { 2 columns } <- 3  id=4a0bc23cc54b7c8e
      Fragment 4
        5: Aggregate { group: [0], 1 calls } <- 4 by[0]  id=1a805fc358264e37
      Output relation 16500
    "#);
}

#[test]
fn an_aggregate_by_the_join_key_stays_on_its_worker() {
    let query = scan("t")
        .join(scan("u").build().unwrap(), JoinType::Inner, (vec!["t.id"], vec!["u.id"]), None)
        .unwrap()
        .aggregate([col("t.id")], [count(lit(1i64))])
        .unwrap();
    assert_eq!(exchanges(&job(query)), [Exchange::ByKey(vec![0]), Exchange::ByKey(vec![0])]);
}

#[test]
fn a_longer_list_of_columns_is_another_distribution() {
    let query = scan("t")
        .aggregate([col("s"), col("v")], [count(lit(1i64)).alias("n")])
        .unwrap()
        .aggregate([col("s")], [count(col("n"))])
        .unwrap();
    assert_eq!(exchanges(&job(query)).len(), 2);
}

#[test]
fn a_global_aggregate_gathers_on_one_worker_and_stays_there() {
    let none: [datafusion::logical_expr::Expr; 0] = [];
    let query = scan("t").aggregate(none, [count(lit(1i64))]).unwrap();
    assert_eq!(exchanges(&job(query)), [Exchange::ByKey(vec![])]);
}

#[test]
fn a_bag_that_retracts_is_placed_by_whole_rows() {
    let query = scan("t").project([col("v"), col("s")]).unwrap();
    assert_eq!(exchanges(&job(query)), [Exchange::ByKey(vec![0, 1])]);
    let append_only = scan("bid").project([col("price"), col("auction")]).unwrap();
    assert!(exchanges(&job(append_only)).is_empty());
}

#[test]
fn the_last_node_is_an_operator() {
    let plan = scan("bid").build().unwrap();
    let job = planned(plan, TargetOutput::ToSink(ObjectId(16600))).unwrap().job;
    assert!(matches!(job.nodes.last().unwrap().kind, JobNodeKind::Operator(_)));
    assert_eq!(job.output, JobOutput::Sink { sink: ObjectId(16600) });
}

#[test]
fn operator_ids_are_stable_and_distinct() {
    let self_join = || {
        scan_as("t", "a")
            .join(scan_as("t", "b").build().unwrap(), JoinType::Inner, (vec!["a.v"], vec!["b.v"]), None)
            .unwrap()
    };
    let ids = |job: &JobGraph| job.nodes.iter().map(|node| node.id).collect::<Vec<_>>();
    let first = ids(&job(self_join()));
    assert_eq!(first, ids(&job(self_join())));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len());
}

#[test]
fn an_operator_keeps_its_id_under_another_query() {
    let grouped = || scan("t").aggregate([col("s")], [count(lit(1i64)).alias("n")]).unwrap();
    let aggregate_id = |job: &JobGraph| {
        let is_aggregate = |kind: &JobNodeKind| {
            matches!(kind, JobNodeKind::Operator(weir_exec::spec::OperatorSpec::Aggregate { .. }))
        };
        job.nodes.iter().find(|node| is_aggregate(&node.kind)).unwrap().id
    };
    let filtered = grouped().filter(col("n").gt(lit(1i64))).unwrap();
    assert_eq!(aggregate_id(&job(grouped())), aggregate_id(&job(filtered)));
}

#[test]
fn plans_survive_serialisation() {
    let planned = view(nexmark_q4().build().unwrap()).unwrap();
    let bytes = postcard::to_stdvec(&planned.job).unwrap();
    assert_eq!(postcard::from_bytes::<JobGraph>(&bytes).unwrap(), planned.job);
    assert_eq!(serde_json::from_value::<JobGraph>(job_json(&planned.job)).unwrap(), planned.job);
    let bytes = postcard::to_stdvec(&planned.stream).unwrap();
    assert_eq!(postcard::from_bytes::<StreamPlan>(&bytes).unwrap(), planned.stream);
    assert_eq!(serde_json::from_value::<StreamPlan>(stream_json(&planned.stream)).unwrap(), planned.stream);
}

#[test]
fn logical_plan_renders_without_literal_wrappers() {
    let query = scan("t").filter(col("v").gt(lit(10i64)).and(col("s").eq(lit("it's")))).unwrap();
    let planned = view(query.build().unwrap()).unwrap();
    assert_snapshot!(render_logical(&planned.logical).join("\n"), @"
    Filter: t.v > 10 AND t.s = 'it''s'
      TableScan: t projection=[id, v, s]
    ");
    assert_eq!(logical_json(&planned.logical)["inputs"][0]["columns"][1], "v");
}
