//! What depends on what, and so what a DROP takes with it.
//!
//! An edge is recorded by the reader (`Object::depends_on`), a sink also depends on its relation, and
//! everything depends on its schema. The graph has no cycle: an object is created after what it reads.

use std::collections::BTreeSet;

use weir_common::{Error, ObjectId, Result, SqlState};

use crate::object::{Object, ObjectKind};
use crate::snapshot::CatalogSnapshot;

/// Whether `object` needs `id` to be there.
pub(crate) fn reads(object: &Object, id: ObjectId) -> bool {
    let is_sink_of = matches!(&object.kind, ObjectKind::Sink(sink) if sink.from == id);
    object.schema == id || object.depends_on.contains(&id) || is_sink_of
}

/// What a DROP of `ids` must drop, dependents first. Without `cascade` dependents are an error (2BP01).
pub(crate) fn drop_order(
    catalog: &CatalogSnapshot,
    ids: &[ObjectId],
    cascade: bool,
) -> Result<Vec<ObjectId>> {
    if !cascade {
        check_no_dependents(catalog, ids)?;
    }
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for id in ids {
        visit(catalog, *id, &mut seen, &mut order);
    }
    Ok(order)
}

fn visit(catalog: &CatalogSnapshot, id: ObjectId, seen: &mut BTreeSet<ObjectId>, order: &mut Vec<ObjectId>) {
    if !seen.insert(id) {
        return;
    }
    for dependent in catalog.dependents(id) {
        visit(catalog, dependent, seen, order);
    }
    order.push(id);
}

/// PostgreSQL's refusal, with one DETAIL line for each dependent, near ones before far ones.
fn check_no_dependents(catalog: &CatalogSnapshot, ids: &[ObjectId]) -> Result<()> {
    let mut details = Vec::new();
    let mut blocked = None;
    for id in ids {
        let lines = dependent_lines(catalog, *id, ids);
        if !lines.is_empty() {
            blocked = blocked.or(Some(*id));
            details.extend(lines);
        }
    }
    let Some(blocked) = blocked else { return Ok(()) };
    let message = match ids {
        [_] => format!("cannot drop {} because other objects depend on it", describe(catalog, blocked)),
        _ => "cannot drop desired object(s) because other objects depend on them".to_owned(),
    };
    Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(details.join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too."))
}

fn dependent_lines(catalog: &CatalogSnapshot, root: ObjectId, dropped: &[ObjectId]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::from([root]);
    let mut queue = vec![root];
    let mut next = 0;
    while let Some(id) = queue.get(next).copied() {
        next += 1;
        for dependent in catalog.dependents(id) {
            if dropped.contains(&dependent) || !seen.insert(dependent) || is_index(catalog, dependent) {
                continue;
            }
            lines.push(format!("{} depends on {}", describe(catalog, dependent), describe(catalog, id)));
            queue.push(dependent);
        }
    }
    lines
}

/// An index goes with its relation without being asked about.
fn is_index(catalog: &CatalogSnapshot, id: ObjectId) -> bool {
    catalog.object(id).is_some_and(|object| matches!(object.kind, ObjectKind::Index(_)))
}

/// `table t`, as messages name an object.
fn describe(catalog: &CatalogSnapshot, id: ObjectId) -> String {
    match catalog.object(id) {
        Some(object) => format!("{} {}", object.kind.noun(), object.name),
        None => format!("object {id}"),
    }
}

/// Refuses a batch that leaves an object without something it reads.
pub(crate) fn check_complete(before: &CatalogSnapshot, after: &CatalogSnapshot) -> Result<()> {
    let gone: Vec<ObjectId> =
        before.objects().map(|o| o.id).filter(|id| after.object(*id).is_none()).collect();
    let left_behind = |id: &&ObjectId| !after.dependents(**id).is_empty();
    if gone.iter().any(|id| left_behind(&id)) {
        let remaining: Vec<ObjectId> = gone.into_iter().collect();
        check_no_dependents(before, &remaining)?;
    }
    for object in after.user_objects() {
        let missing = object.depends_on.iter().find(|id| after.object(**id).is_none());
        if let Some(id) = missing {
            return Err(Error::internal(format!(
                "\"{}\" depends on object {id}, which does not exist",
                object.name
            )));
        }
    }
    Ok(())
}
