//! DROP TABLE, VIEW, MATERIALIZED VIEW, SOURCE, SINK, INDEX: out of the catalog first, then stopped and removed.

use std::sync::Arc;

use weir_catalog::{CatalogChange, CatalogSnapshot, Object, ObjectKind};
use weir_common::{ObjectId, Result};
use weir_planner::bound::{BoundDrop, DropKind};

use super::{Plan, Planner};
use crate::outcome::Notice;

impl Planner<'_> {
    pub(super) fn drop_objects(&self, drop: BoundDrop) -> Result<Plan> {
        let noun = drop.kind.noun();
        let missing = |name: &String| Notice::notice(format!("{noun} \"{name}\" does not exist, skipping"));
        let mut notices: Vec<Notice> = drop.missing.iter().map(missing).collect();
        let mut order = self.catalog.drop_order(&drop.objects, drop.cascade)?;
        let dependents = order.len();
        order.extend(owned_sequences(self.catalog, &order));
        notices.extend(cascade_notice(self.catalog, &order[..dependents], &drop.objects));
        let changes = order.iter().map(|id| CatalogChange::Drop(*id)).collect();
        Ok(Plan { stops: order, ..Plan::new(tag(drop.kind), changes) }.with_notices(notices))
    }
}

fn tag(kind: DropKind) -> &'static str {
    match kind {
        DropKind::Table => "DROP TABLE",
        DropKind::View => "DROP VIEW",
        DropKind::MaterializedView => "DROP MATERIALIZED VIEW",
        DropKind::Source => "DROP SOURCE",
        DropKind::Sink => "DROP SINK",
        DropKind::Sequence => "DROP SEQUENCE",
        DropKind::Index => "DROP INDEX",
    }
}

/// The sequences of serial and identity columns go with their table.
fn owned_sequences(catalog: &CatalogSnapshot, order: &[ObjectId]) -> Vec<ObjectId> {
    let is_owned = |object: &&Arc<Object>| match &object.kind {
        ObjectKind::Sequence(sequence) => {
            sequence.owned_by.is_some_and(|(table, _)| order.contains(&table)) && !order.contains(&object.id)
        }
        _ => false,
    };
    catalog.user_objects().filter(is_owned).map(|object| object.id).collect()
}

/// What CASCADE takes along, in PostgreSQL's words.
pub(super) fn cascade_notice(
    catalog: &CatalogSnapshot,
    order: &[ObjectId],
    named: &[ObjectId],
) -> Option<Notice> {
    let describe = |id: &ObjectId| catalog.object(*id).map(|o| format!("{} {}", o.kind.noun(), o.name));
    let is_index = |id: &&ObjectId| {
        catalog.object(**id).is_some_and(|object| matches!(object.kind, ObjectKind::Index(_)))
    };
    let along = order.iter().filter(|id| !named.contains(id) && !is_index(id));
    let mut along: Vec<String> = along.filter_map(describe).collect();
    along.reverse();
    match along.as_slice() {
        [] => None,
        [one] => Some(Notice::notice(format!("drop cascades to {one}"))),
        several => {
            let lines: Vec<String> = several.iter().map(|what| format!("drop cascades to {what}")).collect();
            let mut notice = Notice::notice(format!("drop cascades to {} other objects", several.len()));
            notice.detail = Some(lines.join("\n"));
            Some(notice)
        }
    }
}
