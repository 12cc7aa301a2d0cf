//! `CatalogSnapshot`: the catalog at one moment, immutable, shared by everyone who planned against it.
//!
//! Name lookup follows PostgreSQL: relations (tables, views, sources, sinks, and indexes) share one namespace a schema; an unqualified name is looked up along the search path. The built-in schemas
//! are objects too, with ids below [`ObjectId::FIRST_USER`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_common::{Error, ObjectId, Result, SqlState};

use crate::change::CatalogChange;
use crate::dependency;
use crate::object::{IndexDef, Object, ObjectKind, dead_letters};

/// The one database.
pub const DATABASE: &str = "weir";
/// Its OID.
pub const DATABASE_OID: ObjectId = ObjectId(5);
/// The one role, a superuser.
pub const ROLE: &str = "weir";
/// Its OID.
pub const ROLE_OID: ObjectId = ObjectId(10);
/// The schema of the system tables.
pub const PG_CATALOG: ObjectId = ObjectId(11);
/// The schema of new objects.
pub const PUBLIC: ObjectId = ObjectId(2200);
/// The SQL standard's views of the catalog.
pub const INFORMATION_SCHEMA: ObjectId = ObjectId(13207);
/// Weir's own virtual tables.
pub const SYS: ObjectId = ObjectId(13000);

const BUILT_IN_SCHEMAS: [(ObjectId, &str, Option<&str>); 4] = [
    (PG_CATALOG, "pg_catalog", Some("system catalog schema")),
    (PUBLIC, "public", Some("standard public schema")),
    (INFORMATION_SCHEMA, "information_schema", None),
    (SYS, "sys", Some("what jobs, sources and checkpoints are doing")),
];

/// The parent of a schema.
const NO_SCHEMA: ObjectId = ObjectId(0);

/// Every object, by id and by name.
#[derive(Clone, Debug)]
pub struct CatalogSnapshot {
    objects: BTreeMap<ObjectId, Arc<Object>>,
    /// (schema, name) → object; the name of a primary key's index leads to its table.
    names: HashMap<(ObjectId, String), ObjectId>,
    /// Primary key index → its table.
    key_indexes: BTreeMap<ObjectId, ObjectId>,
    /// Table or materialized view → its secondary indexes.
    indexes: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    version: u64,
}

impl Default for CatalogSnapshot {
    fn default() -> Self {
        CatalogSnapshot::new()
    }
}

impl CatalogSnapshot {
    /// The catalog of a new server: the built-in schemas and nothing else.
    pub fn new() -> CatalogSnapshot {
        let mut snapshot = CatalogSnapshot {
            objects: BTreeMap::new(),
            names: HashMap::new(),
            key_indexes: BTreeMap::new(),
            indexes: BTreeMap::new(),
            version: 0,
        };
        for (id, name, comment) in BUILT_IN_SCHEMAS {
            let mut schema = Object::new(id, NO_SCHEMA, name, ROLE, ObjectKind::Schema);
            schema.comment = comment.map(str::to_owned);
            snapshot.link(schema);
        }
        snapshot.link(dead_letters());
        snapshot
    }

    /// The object a name means: in `schema` when it is given, else in the first schema of the path that has it.
    pub fn find(&self, schema: Option<&str>, name: &str, search_path: &[String]) -> Option<&Arc<Object>> {
        match schema {
            Some(schema) => self.find_in(self.schema_id(schema)?, name),
            None => search_path.iter().find_map(|schema| self.find_in(self.schema_id(schema)?, name)),
        }
    }

    /// The object of this name in this schema. The name of an index finds nothing.
    pub fn find_in(&self, schema: ObjectId, name: &str) -> Option<&Arc<Object>> {
        let object = self.object(*self.names.get(&(schema, name.to_owned()))?)?;
        (object.name == name).then_some(object)
    }

    /// The OID of the relation or index of this name in this schema.
    pub fn relation_id(&self, schema: ObjectId, name: &str) -> Option<ObjectId> {
        let object = self.object(*self.names.get(&(schema, name.to_owned()))?)?;
        if object.name == name { Some(object.id) } else { object.key_index().map(|(index, _)| index) }
    }

    /// Whether a relation or an index of this name is in the schema.
    pub fn is_name_taken(&self, schema: ObjectId, name: &str) -> bool {
        self.names.contains_key(&(schema, name.to_owned()))
    }

    /// `base`, or `base1`, `base2`, …: the first that no relation or index of the schema has, as PostgreSQL
    /// chooses `t_pkey`.
    pub fn free_name(&self, schema: ObjectId, base: &str) -> String {
        let numbered = (1u32..).map(|n| format!("{base}{n}"));
        std::iter::once(base.to_owned())
            .chain(numbered)
            .find(|name| !self.is_name_taken(schema, name))
            .expect("some number is free")
    }

    /// The object with this id.
    pub fn object(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(&id)
    }

    /// Every object in the order of ids, the built-in schemas first.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// The objects users made, in the order of ids.
    pub fn user_objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.range(ObjectId::FIRST_USER..).map(|(_, object)| object)
    }

    /// The objects that read this one directly, in the order of ids.
    pub fn dependents(&self, id: ObjectId) -> Vec<ObjectId> {
        self.objects.values().filter(|object| dependency::reads(object, id)).map(|object| object.id).collect()
    }

    /// What a DROP of `ids` must drop, dependents first. Without `cascade` dependents are an error (2BP01).
    pub fn drop_order(&self, ids: &[ObjectId], cascade: bool) -> Result<Vec<ObjectId>> {
        dependency::drop_order(self, ids, cascade)
    }

    /// The id of a schema.
    pub fn schema_id(&self, name: &str) -> Option<ObjectId> {
        self.names.get(&(NO_SCHEMA, name.to_owned())).copied()
    }

    /// The name of a schema.
    pub fn schema_name(&self, id: ObjectId) -> Option<&str> {
        let object = self.object(id)?;
        matches!(object.kind, ObjectKind::Schema).then_some(object.name.as_str())
    }

    /// Every schema, in the order of ids.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values().filter(|object| object.kind == ObjectKind::Schema)
    }

    /// The table whose primary key is enforced by this index.
    pub fn index_owner(&self, index: ObjectId) -> Option<&Arc<Object>> {
        self.object(*self.key_indexes.get(&index)?)
    }

    /// Whether the relation has a primary key or a secondary index.
    pub fn has_index(&self, relation: ObjectId) -> bool {
        let has_key = self.object(relation).is_some_and(|object| object.key_index().is_some());
        has_key || self.indexes_of(relation).next().is_some()
    }

    /// The secondary indexes of a table or materialized view, in the order of ids.
    pub fn indexes_of(&self, relation: ObjectId) -> impl Iterator<Item = (&Arc<Object>, &IndexDef)> {
        let ids = self.indexes.get(&relation).into_iter().flatten();
        ids.filter_map(|id| match self.object(*id) {
            Some(object) => match &object.kind {
                ObjectKind::Index(index) => Some((object, index)),
                _ => None,
            },
            None => None,
        })
    }

    /// How many batches of changes made this snapshot; a cached plan is stale when it differs.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The snapshot after changes that are not applied to the catalog yet, or why they would be refused.
    pub fn with(&self, changes: &[CatalogChange]) -> Result<CatalogSnapshot> {
        self.apply(changes)
    }

    /// The snapshot after a batch of changes, or why the batch is refused.
    pub(crate) fn apply(&self, changes: &[CatalogChange]) -> Result<CatalogSnapshot> {
        let mut next = self.clone();
        next.version += 1;
        for change in changes {
            next.apply_one(change)?;
        }
        dependency::check_complete(self, &next)?;
        Ok(next)
    }

    fn apply_one(&mut self, change: &CatalogChange) -> Result<()> {
        match change {
            CatalogChange::Create(object) => {
                if self.objects.contains_key(&object.id) {
                    return Err(Error::internal(format!("object {} is created twice", object.id)));
                }
                self.check_names(object)?;
                self.link(object.clone());
            }
            CatalogChange::Replace(object) => {
                self.unlink(object.id)?;
                self.check_names(object)?;
                self.link(object.clone());
            }
            CatalogChange::Drop(id) => {
                self.unlink(*id)?;
            }
            CatalogChange::Rename { id, name } => {
                let mut object = self.unlink(*id)?;
                object.name.clone_from(name);
                self.check_names(&object)?;
                self.link(object);
            }
            CatalogChange::Comment { id, column, comment } => {
                let mut object = self.unlink(*id)?;
                set_comment(&mut object, *column, comment.clone());
                self.link(object);
            }
        }
        Ok(())
    }

    fn check_names(&self, object: &Object) -> Result<()> {
        if object.kind == ObjectKind::Schema {
            return match self.schema_id(&object.name) {
                Some(_) => Err(Error::new(
                    SqlState::DUPLICATE_SCHEMA,
                    format!("schema \"{}\" already exists", object.name),
                )),
                None => Ok(()),
            };
        }
        if self.schema_name(object.schema).is_none() {
            return Err(Error::new(
                SqlState::INVALID_SCHEMA_NAME,
                format!("schema with OID {} does not exist", object.schema),
            ));
        }
        let index_name = object.key_index().map(|(_, name)| name);
        for name in std::iter::once(object.name.as_str()).chain(index_name) {
            if self.is_name_taken(object.schema, name) {
                return Err(Error::new(
                    SqlState::DUPLICATE_TABLE,
                    format!("relation \"{name}\" already exists"),
                ));
            }
        }
        Ok(())
    }

    fn link(&mut self, object: Object) {
        self.names.insert((object.schema, object.name.clone()), object.id);
        if let Some((index, name)) = object.key_index() {
            self.names.insert((object.schema, name.to_owned()), object.id);
            self.key_indexes.insert(index, object.id);
        }
        if let ObjectKind::Index(index) = &object.kind {
            self.indexes.entry(index.relation).or_default().insert(object.id);
        }
        self.objects.insert(object.id, Arc::new(object));
    }

    fn unlink(&mut self, id: ObjectId) -> Result<Object> {
        if id < ObjectId::FIRST_USER {
            return Err(Error::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied: object {id} is a system object"),
            ));
        }
        let missing =
            || Error::new(SqlState::UNDEFINED_OBJECT, format!("object with OID {id} does not exist"));
        let object = self.objects.remove(&id).ok_or_else(missing)?;
        self.names.remove(&(object.schema, object.name.clone()));
        if let Some((index, name)) = object.key_index() {
            self.names.remove(&(object.schema, name.to_owned()));
            self.key_indexes.remove(&index);
        }
        if let ObjectKind::Index(index) = &object.kind
            && let Some(indexes) = self.indexes.get_mut(&index.relation)
        {
            indexes.remove(&id);
        }
        Ok(Object::clone(&object))
    }
}

fn set_comment(object: &mut Object, column: Option<u16>, comment: Option<String>) {
    match (column, comment) {
        (None, comment) => object.comment = comment,
        (Some(column), Some(comment)) => {
            object.column_comments.insert(column, comment);
        }
        (Some(column), None) => {
            object.column_comments.remove(&column);
        }
    }
}
