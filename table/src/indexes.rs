//! Secondary indexes as statements use them: what the catalog says of an index, compiled.
//!
//! Place in the flow: DDL and recovery take from here what the runtime is to keep ([`relation_index`]); a read asks which
//! keys it may choose from ([`IndexKeys`]). Invariant: the columns of an index are computed by the same expressions that
//! its conditions are recognised by.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use parking_lot::Mutex;
use weir_catalog::{CatalogSnapshot, IndexDef, IndexedValue, Object};
use weir_common::{Error, ObjectId, Result, SqlType};
use weir_planner::index_expressions;
use weir_runtime::{RelationIndex, Unique, UniqueColumn};
use weir_storage::{IndexColumns, IndexSpec, PlainColumns};

use crate::dml::RowExpr;
use crate::query::KeyColumn;

/// The key of an index, as conditions may bound it.
#[derive(Debug)]
pub struct IndexKey {
    pub id: ObjectId,
    pub name: String,
    pub is_unique: bool,
    pub columns: Vec<KeyColumn>,
}

/// Compiled keys, as long as index and relation are the objects that they were compiled from.
#[derive(Default)]
pub struct IndexKeys(Mutex<HashMap<ObjectId, Compiled>>);

struct Compiled {
    index: Arc<Object>,
    relation: Arc<Object>,
    key: Arc<IndexKey>,
}

impl IndexKeys {
    /// The keys of a relation's indexes. One that cannot be compiled any more is left out: no plan needs it.
    pub fn of(&self, catalog: &Arc<CatalogSnapshot>, relation: ObjectId) -> Vec<Arc<IndexKey>> {
        let Some(owner) = catalog.object(relation) else { return Vec::new() };
        let indexes = catalog.indexes_of(relation);
        indexes.filter_map(|(object, index)| self.key(catalog, owner, object, index)).collect()
    }

    fn key(
        &self,
        catalog: &Arc<CatalogSnapshot>,
        relation: &Arc<Object>,
        object: &Arc<Object>,
        index: &IndexDef,
    ) -> Option<Arc<IndexKey>> {
        let mut compiled = self.0.lock();
        if let Some(known) = compiled.get(&object.id)
            && Arc::ptr_eq(&known.index, object)
            && Arc::ptr_eq(&known.relation, relation)
        {
            return Some(Arc::clone(&known.key));
        }
        let columns = index_expressions(catalog, index).ok()?;
        let column = |(expr, ty): (datafusion::logical_expr::Expr, SqlType)| KeyColumn::new(expr, ty.arrow());
        let key = Arc::new(IndexKey {
            id: object.id,
            name: object.name.clone(),
            is_unique: index.unique,
            columns: columns.into_iter().map(column).collect(),
        });
        let (index, relation) = (Arc::clone(object), Arc::clone(relation));
        compiled.insert(object.id, Compiled { index, relation, key: Arc::clone(&key) });
        Some(key)
    }

    /// Forgets an index that was dropped.
    pub fn forget(&self, index: ObjectId) {
        self.0.lock().remove(&index);
    }
}

/// What the runtime keeps of an index of the catalog.
pub fn relation_index(
    catalog: &Arc<CatalogSnapshot>,
    id: ObjectId,
    name: &str,
    index: &IndexDef,
) -> Result<RelationIndex> {
    let relation = catalog.object(index.relation);
    let relation = relation.ok_or_else(|| Error::internal("an index of a relation that is gone"))?;
    let schema = relation.relation_schema().ok_or_else(|| Error::internal("an index of what has no rows"))?;
    let position = |id: &u16| schema.columns.iter().position(|column| column.id == *id);
    let mut unique_columns = Vec::new();
    let mut plain = Vec::new();
    for column in &index.columns {
        match &column.value {
            IndexedValue::Column(id) => {
                let position =
                    position(id).ok_or_else(|| Error::internal("an index of a column that is gone"))?;
                plain.push((position, schema.columns[position].ty.clone()));
                unique_columns.push(UniqueColumn::Column(position));
            }
            IndexedValue::Expression { sql, .. } => {
                unique_columns.push(UniqueColumn::Expression(sql.clone()))
            }
        }
    }
    let columns: Arc<dyn IndexColumns> = if plain.len() == index.columns.len() {
        Arc::new(PlainColumns(plain))
    } else {
        let exprs = index_expressions(catalog, index)?;
        Arc::new(ComputedColumns::over(&schema, &exprs)?)
    };
    let unique = index.unique.then(|| Unique { name: name.to_owned(), columns: unique_columns });
    Ok(RelationIndex { relation: relation.id, spec: IndexSpec { id, columns }, unique })
}

/// Columns of an index some of which are computed.
struct ComputedColumns {
    types: Vec<SqlType>,
    exprs: Vec<RowExpr>,
}

impl ComputedColumns {
    fn over(
        relation: &weir_common::RelationSchema,
        exprs: &[(datafusion::logical_expr::Expr, SqlType)],
    ) -> Result<ComputedColumns> {
        let schema = relation.arrow();
        let compiled = exprs.iter().map(|(expr, _)| RowExpr::over(expr, &schema)).collect::<Result<_>>()?;
        Ok(ComputedColumns { types: exprs.iter().map(|(_, ty)| ty.clone()).collect(), exprs: compiled })
    }
}

impl IndexColumns for ComputedColumns {
    fn types(&self) -> Vec<SqlType> {
        self.types.clone()
    }

    fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.exprs.iter().map(|expr| expr.of_rows(rows)).collect()
    }

    fn may_fail(&self) -> bool {
        true
    }
}
