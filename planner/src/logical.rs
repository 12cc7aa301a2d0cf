//! Relations inside logical plans: the leaf that names a table, view, source or system table.
//!
//! Place in the flow: the binder writes `TableScan`s whose source is a [`RelationSource`]; the session layer
//! replaces them with real providers before a batch query runs ([`replace_scans`]), the stream planner reads them
//! ([`relation_source`]). Invariant: every leaf of a bound plan is a `RelationSource` scan, `Values` or
//! `EmptyRelation`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as PlanColumn, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableSource};
use weir_common::{Column, Error, ObjectId, RelationKey, Result};
use weir_exec::event_time::WatermarkExpr;

/// What kind of relation a scan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelationKind {
    /// Stored rows, changed by DML.
    Table,
    /// Stored rows, kept by a job.
    MaterializedView,
    /// External input; only jobs can read it.
    Source,
    /// A virtual table over the catalog and the server's state.
    System,
    /// Rows that the session gives when the plan runs: what a statement has changed, for RETURNING.
    Given,
}

/// The `TableSource` of every relation in a bound plan.
#[derive(Clone, Debug)]
pub struct RelationSource {
    pub object: ObjectId,
    pub kind: RelationKind,
    /// Schema the relation lives in.
    pub schema_name: String,
    /// Its own name, whatever alias the scan has.
    pub name: String,
    /// Arrow form of `columns`.
    pub schema: SchemaRef,
    pub columns: Vec<Column>,
    pub key: RelationKey,
    /// Columns with their watermarks, by position; of relations that a job reads.
    pub watermarks: Vec<(usize, WatermarkExpr)>,
    /// Whether it is a view whose rows become ever more.
    pub grows: bool,
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The relation a scan of a bound plan reads.
pub fn relation_source(scan: &TableScan) -> Result<&RelationSource> {
    let source = scan.source.downcast_ref::<RelationSource>();
    source.ok_or_else(|| Error::internal(format!("scan of {} is not a relation", scan.table_name)))
}

/// Whether a bound query names a column of a relation: in an expression, or by giving it as it is.
pub fn reads_column(plan: &LogicalPlan, object: ObjectId, column: &str) -> bool {
    let mut scans: HashSet<TableReference> = HashSet::new();
    // The closures cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && relation_source(scan).is_ok_and(|source| source.object == object)
        {
            scans.insert(scan.table_name.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let is_it = |c: &PlanColumn| c.name == column && c.relation.as_ref().is_some_and(|r| scans.contains(r));
    let gives_it = |plan: &LogicalPlan| plan.schema().columns().iter().any(is_it);
    let mut found = gives_it(plan);
    let _ = plan.apply_with_subqueries(|node| {
        // A table with columns that were dropped is a projection of those that are there.
        let is_whole =
            matches!(node, LogicalPlan::Projection(p) if matches!(*p.input, LogicalPlan::TableScan(_)));
        if matches!(node, LogicalPlan::Union(_) | LogicalPlan::Distinct(_)) {
            found |= node.inputs().into_iter().any(gives_it);
        }
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                found |= match e {
                    Expr::Column(c) => is_it(c) && !(is_whole && e == expr),
                    Expr::OuterReferenceColumn(_, c) => is_it(c),
                    Expr::ScalarSubquery(s) => gives_it(&s.subquery),
                    Expr::InSubquery(test) => gives_it(&test.subquery.subquery),
                    _ => false,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    found
}

/// Refuses an optimised plan with a subquery that no rule made a join of; one that is a single value may stay, since a
/// batch query computes it before it begins.
pub fn check_subqueries(plan: &LogicalPlan) -> Result<()> {
    let is_left_over = |e: &Expr| match e {
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::OuterReferenceColumn(..) => {
            true
        }
        Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        _ => false,
    };
    let mut found = false;
    // The closure cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|e| Ok(is_left_over(e)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    });
    match found {
        true => Err(Error::unsupported("this form of subquery").with_hint("Write the subquery as a join.")),
        false => Ok(()),
    }
}

/// Replaces the source of every scan, in subqueries too, by the provider that `provide` gives for it.
pub fn replace_scans(
    plan: LogicalPlan,
    mut provide: impl FnMut(&RelationSource) -> Result<Arc<dyn TableProvider>>,
) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            let Some(relation) = scan.source.downcast_ref::<RelationSource>() else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            scan.source = provider_as_source(provide(relation).map_err(external)?);
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(replaced.map_err(weir_exec::error::from_datafusion)?.data)
}

fn external(error: Error) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::External(Box::new(error))
}
