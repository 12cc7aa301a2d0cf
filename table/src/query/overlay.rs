//! `Overlay`: what a transaction block has written to a table and not committed, laid over the table's rows.
//!
//! For a table with a key, the block decides the fate of each key it touched; the table's own row of such a key
//! is hidden, and the block's row, if any, is shown instead. For a bag, rows are counted: so many copies of a row
//! are hidden, or so many added.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use weir_common::key::KeyEncoder;
use weir_common::{ChangeBatch, Error, RelationKey, RelationSchema, Result};

/// A block's writes to one table.
pub struct Overlay {
    /// Columns that identify a row: the key's, or all of a bag's.
    key: Vec<usize>,
    encoder: KeyEncoder,
    /// Copies of the table's row to hide, by storage key; for a keyed table all (at most one) of them.
    hidden: HashMap<Vec<u8>, u64>,
    /// The rows to add.
    added: RecordBatch,
}

/// What the block did to one key so far.
#[derive(Default)]
struct Fate {
    /// Rows that came, less rows that went, as places in the changes.
    places: Vec<u32>,
    /// Rows of the table itself that went.
    hidden: u64,
}

impl Overlay {
    /// The net of the changes, which are in the order in which the statements made them.
    pub fn new(relation: &RelationSchema, changes: &[ChangeBatch]) -> Result<Overlay> {
        let key = relation.key_columns();
        let types: Vec<_> = key.iter().map(|i| relation.columns[*i].ty.arrow()).collect();
        let encoder = KeyEncoder::new(&types)?;
        let schema = relation.arrow();
        let changes = changes.iter().map(|c| c.conform(&schema)).collect::<Result<Vec<_>>>()?;
        let all = concat_batches(&schema, changes.iter().map(|c| &c.rows)).map_err(Error::internal)?;
        let ops: Vec<i8> = changes.iter().flat_map(|c| (0..c.len()).map(|i| c.op(i))).collect();
        let mut fates: HashMap<Vec<u8>, Fate> = HashMap::new();
        let keys = encoder.encode(&columns_at(&all, &key))?;
        for (place, (bytes, op)) in keys.iter().zip(&ops).enumerate() {
            let fate = fates.entry(bytes.to_vec()).or_default();
            match op {
                1.. => fate.places.push(place as u32),
                _ if fate.places.pop().is_some() => {}
                _ => fate.hidden += 1,
            }
        }
        let mut places: Vec<u32> = fates.values().flat_map(|fate| fate.places.iter().copied()).collect();
        places.sort_unstable();
        let added = take_record_batch(&all, &UInt32Array::from(places)).map_err(Error::internal)?;
        let is_keyed = matches!(relation.key, RelationKey::Columns(_));
        let hidden = fates.into_iter().filter_map(|(key, fate)| match is_keyed {
            true => Some((key, u64::MAX)),
            false => (fate.hidden > 0).then_some((key, fate.hidden)),
        });
        Ok(Overlay { key, encoder, hidden: hidden.collect(), added })
    }

    /// The rows of these keys as the block sees them; `stored` are those of a keyed table itself.
    pub fn shown(&self, stored: &RecordBatch, keys: &BTreeSet<&[u8]>) -> Result<RecordBatch> {
        let stored_keys = self.encoder.encode(&columns_at(stored, &self.key))?;
        let kept: BooleanArray = stored_keys.iter().map(|key| Some(!self.hidden.contains_key(key))).collect();
        let added_keys = self.encoder.encode(&columns_at(&self.added, &self.key))?;
        let wanted: BooleanArray = added_keys.iter().map(|key| Some(keys.contains(key))).collect();
        let kept = filter_record_batch(stored, &kept).map_err(Error::internal)?;
        let added = filter_record_batch(&self.added, &wanted).map_err(Error::internal)?;
        concat_batches(&self.added.schema(), [&kept, &added]).map_err(Error::internal)
    }

    /// These rows of the table as the block sees them, and all that it has added.
    pub fn lay_over(self: &Arc<Self>, stored: &RecordBatch) -> Result<RecordBatch> {
        let all: Vec<usize> = (0..stored.num_columns()).collect();
        let wide = stored.project(&self.widen(&all)).map_err(Error::internal)?;
        let schema = self.added.schema();
        let shown = self.hiding().apply(&wide, all.len(), &schema)?;
        concat_batches(&schema, [&shown, &self.added]).map_err(Error::internal)
    }

    /// Columns that a scan must read besides those at `project`, at the end.
    pub fn widen(&self, project: &[usize]) -> Vec<usize> {
        project.iter().chain(&self.key).copied().collect()
    }

    /// Starts a scan: hides what is to be hidden, batch by batch.
    pub fn hiding(self: &Arc<Self>) -> Hiding {
        Hiding { overlay: Arc::clone(self), left: self.hidden.clone() }
    }

    /// The rows to add, with the columns at `project`.
    pub fn added(&self, project: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
        let columns = columns_at(&self.added, project);
        weir_common::change::record_batch(SchemaRef::clone(schema), columns, self.added.num_rows())
    }
}

/// The hiding of one scan.
pub struct Hiding {
    overlay: Arc<Overlay>,
    left: HashMap<Vec<u8>, u64>,
}

impl Hiding {
    /// The rows of a widened batch that stay visible; its first `width` columns.
    pub fn apply(&mut self, batch: &RecordBatch, width: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        let key_columns: Vec<ArrayRef> = batch.columns()[width..].to_vec();
        let keys = self.overlay.encoder.encode(&key_columns)?;
        let mut keep = Vec::with_capacity(keys.len());
        for key in keys.iter() {
            keep.push(match self.left.get_mut(key) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                _ => true,
            });
        }
        let kept = filter_record_batch(batch, &BooleanArray::from(keep)).map_err(Error::internal)?;
        let columns = kept.columns()[..width].to_vec();
        weir_common::change::record_batch(SchemaRef::clone(schema), columns, kept.num_rows())
    }
}

fn columns_at(batch: &RecordBatch, positions: &[usize]) -> Vec<ArrayRef> {
    positions.iter().map(|i| ArrayRef::clone(batch.column(*i))).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use weir_common::{Column, SqlType};

    use super::*;

    fn relation(key: RelationKey) -> RelationSchema {
        let column =
            |id: u16, name: &str| Column { id, name: name.into(), ty: SqlType::Int4, nullable: true };
        RelationSchema { columns: vec![column(1, "k"), column(2, "v")], key }
    }

    fn rows(relation: &RelationSchema, rows: &[(i32, i32)]) -> RecordBatch {
        let column = |values: Vec<i32>| Arc::new(Int32Array::from(values)) as ArrayRef;
        let columns =
            vec![column(rows.iter().map(|r| r.0).collect()), column(rows.iter().map(|r| r.1).collect())];
        RecordBatch::try_new(relation.arrow(), columns).expect("two columns")
    }

    fn seen(key: RelationKey, table: &[(i32, i32)], changes: &[(i8, i32, i32)]) -> Vec<(i32, i32)> {
        let relation = relation(key);
        let change =
            |(op, k, v): &(i8, i32, i32)| ChangeBatch::new(rows(&relation, &[(*k, *v)]), vec![*op].into());
        let changes = changes.iter().map(change).collect::<Vec<_>>();
        let overlay = Arc::new(Overlay::new(&relation, &changes).expect("valid"));
        let base = rows(&relation, table);
        let wide = overlay.widen(&[0, 1]);
        let wide = base.project(&wide).expect("columns are there");
        let shown = overlay.hiding().apply(&wide, 2, &relation.arrow()).expect("valid");
        let added = overlay.added(&[0, 1], &relation.arrow()).expect("valid");
        let all = concat_batches(&relation.arrow(), [&shown, &added]).expect("same schema");
        let value = |column: usize, row| {
            all.column(column).as_any().downcast_ref::<Int32Array>().map(|a| a.value(row))
        };
        let mut rows: Vec<_> = (0..all.num_rows())
            .map(|row| (value(0, row).expect("int"), value(1, row).expect("int")))
            .collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn a_key_shows_its_last_row() {
        let keyed = || RelationKey::Columns(vec![0]);
        let table = [(1, 10), (2, 20)];
        assert_eq!(seen(keyed(), &table, &[(1, 3, 30)]), [(1, 10), (2, 20), (3, 30)]);
        assert_eq!(seen(keyed(), &table, &[(-1, 1, 10), (1, 1, 11)]), [(1, 11), (2, 20)]);
        assert_eq!(seen(keyed(), &table, &[(1, 3, 30), (-1, 3, 30)]), table);
        assert_eq!(seen(keyed(), &table, &[(-1, 1, 10), (1, 1, 11), (-1, 1, 11)]), [(2, 20)]);
    }

    #[test]
    fn copies_in_a_bag_are_counted() {
        let table = [(1, 1), (1, 1), (2, 2)];
        assert_eq!(seen(RelationKey::Bag, &table, &[(-1, 1, 1)]), [(1, 1), (2, 2)]);
        assert_eq!(
            seen(RelationKey::Bag, &table, &[(1, 2, 2), (1, 2, 2), (-1, 2, 2)]),
            [(1, 1), (1, 1), (2, 2), (2, 2)]
        );
    }
}
