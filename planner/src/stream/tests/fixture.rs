//! Relations to plan over, and bound queries from logical plans.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableSource};
use weir_common::{Column, JobId, ObjectId, RelationKey, RelationSchema, Result, SqlType};

use crate::bound::{BoundQuery, OutputColumn};
use crate::explain::render_stream;
use crate::logical::{RelationKind, RelationSource};
use crate::rules::DisabledRules;
use crate::stream::{JobTarget, PlannedJob, TargetOutput, plan_job};

/// A scan of one of the fixture's relations.
pub fn scan(name: &str) -> LogicalPlanBuilder {
    scan_as(name, name)
}

/// A scan of one of the fixture's relations under another name.
pub fn scan_as(name: &str, alias: &str) -> LogicalPlanBuilder {
    let source: Arc<dyn TableSource> = Arc::new(relation(name));
    LogicalPlanBuilder::scan(alias, source, None).unwrap()
}

/// `t`, `u`: tables with a key; `log`: a table without; `auction`, `bid`: Nexmark's sources.
fn relation(name: &str) -> RelationSource {
    let time = SqlType::Timestamp;
    let (object, kind, columns, key) = match name {
        "t" => (
            16401,
            RelationKind::Table,
            vec![("id", SqlType::Int4), ("v", SqlType::Int8), ("s", SqlType::Text)],
            Some(0),
        ),
        "u" => (16402, RelationKind::Table, vec![("id", SqlType::Int4), ("w", SqlType::Int8)], Some(0)),
        "log" => (16403, RelationKind::Table, vec![("at", time), ("line", SqlType::Text)], None),
        "auction" => (
            16411,
            RelationKind::Source,
            vec![
                ("id", SqlType::Int8),
                ("category", SqlType::Int8),
                ("date_time", time.clone()),
                ("expires", time),
            ],
            None,
        ),
        "bid" => (
            16412,
            RelationKind::Source,
            vec![
                ("auction", SqlType::Int8),
                ("bidder", SqlType::Int8),
                ("price", SqlType::Int8),
                ("date_time", time),
            ],
            None,
        ),
        "per_category" => (
            16421,
            RelationKind::MaterializedView,
            vec![("category", SqlType::Int8), ("n", SqlType::Int8)],
            Some(0),
        ),
        other => panic!("no fixture relation {other}"),
    };
    let column = |(i, (name, ty)): (usize, (&str, SqlType))| Column {
        id: i as u16 + 1,
        name: name.into(),
        ty,
        nullable: true,
    };
    let columns: Vec<Column> = columns.into_iter().enumerate().map(column).collect();
    let key = key.map_or(RelationKey::Bag, |position| RelationKey::Columns(vec![position]));
    let schema = RelationSchema { columns: columns.clone(), key: key.clone() }.arrow();
    let object = ObjectId(object);
    let (name, watermarks) = (name.into(), Vec::new());
    RelationSource {
        object,
        kind,
        schema_name: "public".into(),
        name,
        schema,
        columns,
        key,
        watermarks,
        grows: false,
    }
}

/// The plan as the query of a materialized view `m`.
pub fn view(plan: LogicalPlan) -> Result<PlannedJob> {
    planned(plan, TargetOutput::ToRelation(ObjectId(16500)))
}

/// The plan as the query of a job with this output.
pub fn planned(plan: LogicalPlan, output: TargetOutput) -> Result<PlannedJob> {
    let columns = plan.schema().fields().iter().enumerate().map(|(i, field)| OutputColumn {
        name: format!("c{}", i + 1),
        ty: sql_type(field.data_type()),
        origin: None,
    });
    let query = BoundQuery { columns: columns.collect(), plan, relations: Vec::new(), ordered: false };
    plan_job(&query, JobTarget::new(JobId(16500), "m", output), &DisabledRules::default())
}

fn sql_type(ty: &DataType) -> SqlType {
    let list = SqlType::Array(Box::new(SqlType::Int8));
    let scalar =
        [SqlType::Bool, SqlType::Int4, SqlType::Int8, SqlType::Float8, SqlType::Text, SqlType::Timestamp];
    scalar
        .into_iter()
        .chain([list])
        .find(|candidate| candidate.arrow() == *ty)
        .unwrap_or_else(|| panic!("no SQL type for {ty}"))
}

/// The stream plan as EXPLAIN shows it.
pub fn stream_text(builder: LogicalPlanBuilder) -> String {
    let planned = view(builder.build().unwrap()).unwrap();
    render_stream(&planned.stream).join("\n")
}
