//! A commit of table changes: nets what it does to each key and checks the primary key.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use weir_common::key::KeyEncoder;
use weir_common::text::{FormatOptions, Formatter};
use weir_common::{ChangeBatch, Error, ObjectId, RelationKey, RelationSchema, Result, SqlState};

use crate::relation::Relation;

/// Changes of one table, in the order in which the statements made them.
#[derive(Clone, Debug)]
pub struct TableWrite {
    pub table: ObjectId,
    pub changes: Vec<ChangeBatch>,
}

/// The net changes of each relation of a commit.
pub type NetChanges = Vec<(Arc<Relation>, Vec<ChangeBatch>)>;

/// What `writes` do in the end, or 23505 when a key would stand twice. Nothing is applied here.
pub fn stage(writes: &[TableWrite], relations: &HashMap<ObjectId, Arc<Relation>>) -> Result<NetChanges> {
    let mut by_table: Vec<(ObjectId, Vec<ChangeBatch>)> = Vec::new();
    for write in writes {
        let changes = write.changes.iter().filter(|c| !c.is_empty()).cloned();
        match by_table.iter_mut().find(|(table, _)| *table == write.table) {
            Some((_, all)) => all.extend(changes),
            None => by_table.push((write.table, changes.collect())),
        }
    }
    let mut net = NetChanges::new();
    for (table, changes) in by_table {
        let relation = relations.get(&table).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {table} does not exist"))
        })?;
        let schema = relation.store.schema();
        let changes = of_this_width(&relation.name, &schema, changes)?;
        let changes = match &schema.key {
            RelationKey::Bag => changes,
            RelationKey::Columns(key) => net_by_key(relation, &schema, key, &changes)?,
        };
        if !changes.is_empty() {
            net.push((relation.clone(), changes));
        }
    }
    Ok(net)
}

/// The changes with the relation's columns. A statement that was planned before a column was added must be planned
/// again (40001): it knows nothing of the column's default. One that was planned before an addition was rolled back
/// has nothing in the column.
fn of_this_width(name: &str, schema: &RelationSchema, changes: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
    let width = schema.columns.len();
    if changes.iter().all(|batch| batch.rows.num_columns() == width) {
        return Ok(changes);
    }
    let arrow = schema.arrow();
    let conform = |batch: ChangeBatch| {
        let extra = batch.columns().get(width..);
        if extra.is_some_and(|extra| extra.iter().all(|column| column.null_count() == column.len())) {
            return batch.conform(&arrow);
        }
        let message = format!("could not serialize access: table \"{name}\" is being altered");
        Err(Error::new(SqlState::SERIALIZATION_FAILURE, message).with_hint("Retry the statement."))
    };
    changes.into_iter().map(conform).collect()
}

/// Where a row stands: batch and row.
type Place = (usize, usize);

/// What becomes of one key.
#[derive(Default)]
struct KeyFate {
    /// The row that was there before the commit and goes.
    deleted: Option<Place>,
    /// The row that is there after it.
    inserted: Option<Place>,
}

fn net_by_key(
    relation: &Relation,
    schema: &RelationSchema,
    key: &[usize],
    changes: &[ChangeBatch],
) -> Result<Vec<ChangeBatch>> {
    let types: Vec<_> = key.iter().map(|c| schema.columns[*c].ty.arrow()).collect();
    let encoder = KeyEncoder::new(&types)?;
    let mut fates: HashMap<Vec<u8>, KeyFate> = HashMap::new();
    for (b, batch) in changes.iter().enumerate() {
        let columns: Vec<ArrayRef> = key.iter().map(|c| batch.columns()[*c].clone()).collect();
        let keys = encoder.encode(&columns)?;
        let slices: Vec<&[u8]> = (0..keys.len()).map(|i| keys.row(i)).collect();
        let present = relation.store.latest_many(&slices)?;
        for (i, bytes) in slices.iter().enumerate() {
            let fate = fates.entry(bytes.to_vec()).or_default();
            if batch.op(i) < 0 {
                if fate.inserted.take().is_none() {
                    fate.deleted = Some((b, i));
                }
                continue;
            }
            if fate.inserted.is_some() || (present[i].is_some() && fate.deleted.is_none()) {
                return Err(duplicate_key(relation, schema, key, &columns, i));
            }
            fate.inserted = Some((b, i));
        }
    }
    gather(changes, fates.values())
}

/// The rows that the fates name, batch by batch.
fn gather<'a>(changes: &[ChangeBatch], fates: impl Iterator<Item = &'a KeyFate>) -> Result<Vec<ChangeBatch>> {
    let mut kept: Vec<Vec<u32>> = vec![Vec::new(); changes.len()];
    for fate in fates {
        for (batch, row) in fate.deleted.iter().chain(&fate.inserted) {
            kept[*batch].push(*row as u32);
        }
    }
    let mut net = Vec::new();
    for (batch, mut rows) in changes.iter().zip(kept) {
        if rows.len() == batch.len() {
            net.push(batch.clone());
        } else if !rows.is_empty() {
            rows.sort_unstable();
            net.push(batch.take(&UInt32Array::from(rows))?);
        }
    }
    Ok(net)
}

fn duplicate_key(
    relation: &Relation,
    schema: &RelationSchema,
    key: &[usize],
    columns: &[ArrayRef],
    row: usize,
) -> Error {
    let names: Vec<_> = key.iter().map(|c| schema.columns[*c].name.as_str()).collect();
    let mut values = Vec::new();
    for (c, column) in key.iter().zip(columns) {
        let mut text = String::new();
        Formatter::new(&schema.columns[*c].ty, &FormatOptions::default()).write(
            column.as_ref(),
            row,
            &mut text,
        );
        values.push(text);
    }
    let constraint = relation.key_name.clone().unwrap_or_else(|| format!("{}_pkey", relation.name));
    let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
    Error::new(SqlState::UNIQUE_VIOLATION, message).with_detail(format!(
        "Key ({})=({}) already exists.",
        names.join(", "),
        values.join(", ")
    ))
}
