//! DROP of relations: names to objects of the right kind.

use sqlparser::ast::ObjectName;
use weir_catalog::ObjectKind;
use weir_common::{Error, ObjectId, Result, SqlState};

use super::Binder;
use super::bind_index::{check_droppable, constraint_needs};
use super::bind_relation::{Found, RelationName};
use crate::bound::{BoundDrop, DropKind};

impl Binder<'_> {
    pub(crate) fn bind_drop(
        &self,
        kind: DropKind,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<BoundDrop> {
        let mut drop = BoundDrop { kind, objects: Vec::new(), missing: Vec::new(), cascade, if_exists };
        for name in names {
            let wanted = RelationName::of(name)?;
            match self.lookup(&wanted) {
                Some(Found::Object(object)) if is_kind(&object.kind, kind) => {
                    check_droppable(&self.cx.catalog, object)?;
                    if !drop.objects.contains(&object.id) {
                        drop.objects.push(object.id);
                    }
                }
                Some(Found::Object(object)) => {
                    let message = format!("\"{}\" is not a {}", object.name, kind.noun());
                    let right = object.kind.noun();
                    return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                        .with_hint(format!("Use DROP {} to remove a {right}.", right.to_uppercase())));
                }
                Some(Found::System(table)) => {
                    let message = format!("permission denied: \"{}\" is a system catalog", table.name);
                    return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
                }
                None if kind == DropKind::Index && self.key_of(&wanted).is_some() => {
                    let table = self.key_of(&wanted).expect("it was found");
                    return Err(constraint_needs(&self.cx.catalog, &wanted.name, table));
                }
                None if if_exists => drop.missing.push(wanted.name),
                None => {
                    let message = format!("{} \"{}\" does not exist", kind.noun(), wanted.name);
                    let state = match kind {
                        DropKind::Index => SqlState::UNDEFINED_OBJECT,
                        _ => SqlState::UNDEFINED_TABLE,
                    };
                    return Err(Error::new(state, message));
                }
            }
        }
        Ok(drop)
    }
}

impl Binder<'_> {
    /// The table whose primary key has an index of this name.
    fn key_of(&self, wanted: &RelationName) -> Option<ObjectId> {
        let catalog = &self.cx.catalog;
        let in_schema = |schema: &String| {
            let id = catalog.relation_id(catalog.schema_id(schema)?, &wanted.name)?;
            catalog.index_owner(id).map(|table| table.id)
        };
        match &wanted.schema {
            Some(schema) => in_schema(schema),
            None => self.cx.session.search_path.iter().find_map(in_schema),
        }
    }
}

pub(crate) fn is_kind(kind: &ObjectKind, wanted: DropKind) -> bool {
    matches!(
        (kind, wanted),
        (ObjectKind::Table(_), DropKind::Table)
            | (ObjectKind::View(_), DropKind::View)
            | (ObjectKind::MaterializedView(_), DropKind::MaterializedView)
            | (ObjectKind::Source(_), DropKind::Source)
            | (ObjectKind::Sink(_), DropKind::Sink)
            | (ObjectKind::Sequence(_), DropKind::Sequence)
            | (ObjectKind::Index(_), DropKind::Index)
    )
}
