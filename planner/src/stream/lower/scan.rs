//! Scans: a table or view by its changelog, a source by its offsets; filters pushed into the scan become a Calc.

use datafusion::logical_expr::TableScan;
use weir_common::{Error, Result};
use weir_exec::event_time::WatermarkExpr;

use crate::logical::{RelationKind, RelationSource, relation_source};
use crate::rules::merge_calc;
use crate::stream::lower::{columns_of, lower_expr};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan, TimeColumn};

/// The stream plan of a scan.
pub(super) fn lower_scan(scan: &TableScan) -> Result<StreamPlan> {
    let relation = relation_source(scan)?;
    if scan.fetch.is_some() {
        return Err(Error::internal("LIMIT was pushed into a scan of a continuous query"));
    }
    let mut plan = whole_relation(relation)?;
    let schema =
        datafusion::common::DFSchema::try_from_qualified_schema(scan.table_name.clone(), &relation.schema)
            .map_err(weir_exec::error::from_datafusion)?;
    for filter in &scan.filters {
        plan = merge_calc::filter(plan, lower_expr(filter, &schema)?);
    }
    let all: Vec<usize> = (0..relation.columns.len()).collect();
    let project = scan.projection.as_ref().unwrap_or(&all);
    if project.is_empty() {
        // Nobody reads the columns: the rows are counted. One column is kept to carry them.
        return Ok(merge_calc::select(plan, &[]));
    }
    Ok(merge_calc::select(plan, project).renamed(columns_of(&scan.projected_schema)))
}

/// All columns of a relation.
fn whole_relation(relation: &RelationSource) -> Result<StreamPlan> {
    let project: Vec<usize> = (0..relation.columns.len()).collect();
    let column =
        |column: &weir_common::Column| StreamColumn { name: column.name.clone(), ty: column.ty.arrow() };
    let columns: Vec<StreamColumn> = relation.columns.iter().map(column).collect();
    let time = |(position, watermark): &(usize, WatermarkExpr)| TimeColumn {
        position: *position,
        column: columns[*position].clone(),
        watermark: watermark.clone(),
    };
    let watermarks = relation.watermarks.iter().map(time).collect();
    let name = relation.name.clone();
    let node = match relation.kind {
        RelationKind::Table | RelationKind::MaterializedView => {
            let is_table = relation.kind == RelationKind::Table;
            let (object, grows) = (relation.object, relation.grows);
            let key = relation.key.clone();
            StreamNode::Scan { relation: object, name, is_table, grows, key, project, watermarks }
        }
        RelationKind::Source => StreamNode::Source { source: relation.object, name, project, watermarks },
        RelationKind::Given => return Err(Error::internal("a job over rows of a statement")),
        RelationKind::System => {
            return Err(Error::unsupported(format!(
                "system table \"{}.{name}\" in a materialized view",
                relation.schema_name
            ))
            .with_hint("System tables have no changelog; query them with SELECT."));
        }
    };
    Ok(StreamPlan::new(node, Vec::new(), columns))
}
