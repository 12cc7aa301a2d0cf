//! `sys`: what Weir's jobs, sources and checkpoints are doing. Not in PostgreSQL.

use super::rows::{Rows, Value};
use super::{PushRows, SystemContext, no_rows};

pub(super) fn rows_of(name: &str) -> PushRows {
    match name {
        "jobs" => jobs,
        "backfill" => backfill,
        "sources" => sources,
        "checkpoints" => checkpoints,
        "relations" => relations,
        "dependencies" => dependencies,
        "watermarks" => watermarks,
        "late_rows" => late_rows,
        _ => no_rows,
    }
}

fn jobs(cx: &SystemContext, rows: &mut Rows<'_>) {
    for job in &cx.jobs {
        rows.push([
            ("id", job.job.0.into()),
            ("name", (&job.name).into()),
            ("kind", (&job.kind).into()),
            ("state", (&job.state).into()),
            ("sqlstate", job.error.as_ref().map(|error| error.state().0).into()),
            ("error", job.error.as_ref().map(|error| error.message()).into()),
            ("epoch", job.epoch.0.into()),
            ("rows_in", job.rows_in.into()),
            ("rows_out", job.rows_out.into()),
            ("rows_skipped", job.rows_skipped.into()),
            ("rows_late", job.rows_late.into()),
            ("expired_hits", job.expired_hits.into()),
            ("state_bytes", job.state_bytes.into()),
            ("started_at", job.started_at.into()),
        ]);
    }
}

fn watermarks(cx: &SystemContext, rows: &mut Rows<'_>) {
    for mark in &cx.watermarks {
        let Some((relation, column)) = cx.catalog.object(mark.relation).and_then(|object| {
            let column = object.relation_schema()?.columns.get(mark.column)?.name.clone();
            Some((object.name.clone(), column))
        }) else {
            continue;
        };
        rows.push([
            ("id", mark.job.0.into()),
            ("view", (&mark.name).into()),
            ("relation", relation.into()),
            ("column_name", column.into()),
            ("split", mark.split.as_ref().into()),
            ("event_time", mark.event_time.into()),
            ("idle", mark.is_idle.into()),
            ("blocks", mark.blocks.into()),
        ]);
    }
}

fn late_rows(cx: &SystemContext, rows: &mut Rows<'_>) {
    for job in cx.jobs.iter().filter(|job| job.rows_late > 0) {
        rows.push([("id", job.job.0.into()), ("view", (&job.name).into()), ("rows", job.rows_late.into())]);
    }
}

fn backfill(cx: &SystemContext, rows: &mut Rows<'_>) {
    for job in &cx.backfills {
        let percent = u128::from(job.rows_done) * 100 / u128::from(job.rows_total.max(1));
        rows.push([
            ("id", job.job.0.into()),
            ("view", (&job.name).into()),
            ("stage", job.stage.into()),
            ("rows_done", job.rows_done.into()),
            ("rows_total", job.rows_total.into()),
            ("percent", (percent as u64).into()),
            ("started_at", job.started_at.into()),
            ("eta", job.eta.into()),
        ]);
    }
}

fn sources(cx: &SystemContext, rows: &mut Rows<'_>) {
    for source in &cx.sources {
        rows.push([
            ("id", source.id.into()),
            ("name", (&source.name).into()),
            ("connector", (&source.connector).into()),
            ("offsets", (&source.offsets).into()),
            ("rows", source.rows.into()),
            ("skipped", source.skipped.into()),
            ("error", source.error.as_ref().into()),
        ]);
    }
}

fn checkpoints(cx: &SystemContext, rows: &mut Rows<'_>) {
    for checkpoint in &cx.checkpoints {
        rows.push([
            ("epoch", checkpoint.epoch.0.into()),
            ("completed_at", checkpoint.completed_at.into()),
            ("duration_ms", checkpoint.duration_ms.into()),
            ("bytes", checkpoint.bytes.into()),
        ]);
    }
}

fn relations(cx: &SystemContext, rows: &mut Rows<'_>) {
    for object in cx.catalog.user_objects() {
        let size = cx.relation_size(object.id);
        rows.push([
            ("id", object.id.into()),
            ("schema", schema_name(cx, object.schema)),
            ("name", (&object.name).into()),
            ("kind", object.kind.noun().into()),
            ("rows", size.map(|size| size.rows).into()),
            ("bytes", size.map(|size| size.bytes).into()),
            ("backlog", size.map(|size| size.backlog).into()),
        ]);
    }
}

fn schema_name(cx: &SystemContext, schema: weir_common::ObjectId) -> Value {
    cx.catalog.schema_name(schema).unwrap_or_default().into()
}

fn dependencies(cx: &SystemContext, rows: &mut Rows<'_>) {
    for object in cx.catalog.user_objects() {
        for read in object.depends_on.iter().filter_map(|id| cx.catalog.object(*id)) {
            rows.push([
                ("id", object.id.into()),
                ("name", (&object.name).into()),
                ("kind", object.kind.noun().into()),
                ("depends_on", read.id.into()),
                ("depends_on_name", (&read.name).into()),
                ("depends_on_kind", read.kind.noun().into()),
            ]);
        }
    }
}
