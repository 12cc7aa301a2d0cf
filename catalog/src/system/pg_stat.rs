//! What is going on: `pg_stat_activity`, `pg_stat_user_tables`, `pg_stat_database`, `pg_prepared_statements`.

use super::relation::RelationEntry;
use super::rows::Rows;
use super::{Activity, SystemContext};
use crate::snapshot::{DATABASE, DATABASE_OID, ROLE_OID};

pub(super) fn pg_stat_activity(cx: &SystemContext, rows: &mut Rows<'_>) {
    for activity in &cx.activity {
        push_activity(rows, activity);
    }
}

fn push_activity(rows: &mut Rows<'_>, activity: &Activity) {
    let waits = activity.state != "active";
    rows.push([
        ("datid", DATABASE_OID.into()),
        ("datname", DATABASE.into()),
        ("pid", activity.pid.into()),
        ("usesysid", ROLE_OID.into()),
        ("usename", (&activity.user).into()),
        ("application_name", (&activity.application_name).into()),
        ("client_addr", activity.client_addr.as_ref().into()),
        ("client_port", activity.client_port.into()),
        ("backend_start", activity.backend_start.into()),
        ("xact_start", activity.xact_start.into()),
        ("query_start", activity.query_start.into()),
        ("state_change", activity.state_change.into()),
        ("wait_event_type", waits.then_some("Client").into()),
        ("wait_event", waits.then_some("ClientRead").into()),
        ("state", (&activity.state).into()),
        ("query", (&activity.query).into()),
        ("backend_type", "client backend".into()),
    ]);
}

pub(super) fn pg_stat_user_tables(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in RelationEntry::users(&cx.catalog).filter(|relation| matches!(relation.relkind, "r" | "m"))
    {
        let live_rows = cx.relation_size(relation.oid).map_or(0, |size| size.rows);
        rows.push([
            ("relid", relation.oid.into()),
            ("schemaname", cx.catalog.schema_name(relation.schema).into()),
            ("relname", relation.name.into()),
            ("n_live_tup", live_rows.into()),
            ("n_dead_tup", 0.into()),
        ]);
    }
}

pub(super) fn pg_stat_database(cx: &SystemContext, rows: &mut Rows<'_>) {
    rows.push([
        ("datid", DATABASE_OID.into()),
        ("datname", DATABASE.into()),
        ("numbackends", cx.activity.len().into()),
        ("stats_reset", cx.started_at.into()),
    ]);
}

pub(super) fn pg_prepared_statements(cx: &SystemContext, rows: &mut Rows<'_>) {
    for statement in &cx.prepared_statements {
        rows.push([
            ("name", (&statement.name).into()),
            ("statement", (&statement.statement).into()),
            ("prepare_time", statement.prepared_at.into()),
            ("parameter_types", statement.parameter_types.clone().into()),
            ("from_sql", statement.from_sql.into()),
        ]);
    }
}
