//! Rows of groups that begin anew: their job has forgotten them (`state_ttl`), the view still shows what they were.
//!
//! Such a group is emitted as if it had never been there. So the row that stands in the view is looked up, and its delete
//! put in front: the changelog stays exact, for jobs, indexes and subscriptions.

use std::collections::HashSet;

use arrow::array::ArrayRef;
use weir_common::key::KeyEncoder;
use weir_common::{ChangeBatch, Epoch, RelationKey, Result};

use crate::relation::Relation;

/// The deletes of the rows that the inserts among these consolidated changes replace without saying so.
pub fn replaced(relation: &Relation, changes: &[ChangeBatch]) -> Result<Vec<ChangeBatch>> {
    let schema = relation.store.schema();
    let RelationKey::Columns(key) = &schema.key else { return Ok(Vec::new()) };
    let types: Vec<_> = key.iter().map(|c| schema.columns[*c].ty.arrow()).collect();
    let encoder = KeyEncoder::new(&types)?;
    let snapshot = relation.store.pin().at(Epoch::MAX);
    let mut deletes = Vec::new();
    for batch in changes {
        let columns: Vec<ArrayRef> = key.iter().map(|c| batch.columns()[*c].clone()).collect();
        let keys = encoder.encode(&columns)?;
        let of = |sign: i8| (0..keys.len()).filter(move |row| batch.op(*row).signum() == sign);
        let deleted: HashSet<&[u8]> = of(-1).map(|row| keys.row(row)).collect();
        let inserted = of(1).map(|row| keys.row(row)).filter(|key| !deleted.contains(key));
        let rows = snapshot.points(&inserted.collect::<Vec<_>>())?;
        if rows.num_rows() > 0 {
            deletes.push(ChangeBatch::inserts(rows).inverse());
        }
    }
    Ok(deletes)
}
