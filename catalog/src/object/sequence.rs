//! A sequence: `CREATE SEQUENCE`, or what a serial or identity column brings along. Where it stands is not here: that
//! changes without DDL ([`crate::sequences`]).

use serde::{Deserialize, Serialize};
use weir_common::{Column, ObjectId, SqlType};

/// A sequence's rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceDef {
    /// `smallint`, `integer` or `bigint`.
    pub ty: SqlType,
    pub start: i64,
    /// Not 0.
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    /// Whether it goes on from the other end.
    pub cycle: bool,
    /// Table and column id whose sequence this is; it goes with the table.
    pub owned_by: Option<(ObjectId, u16)>,
}

impl SequenceDef {
    /// The value after `value`; `None` beyond the last one.
    pub fn after(&self, value: i64) -> Option<i64> {
        let next = value.checked_add(self.increment).filter(|next| (self.min..=self.max).contains(next));
        let wrapped = if self.increment > 0 { self.min } else { self.max };
        next.or(self.cycle.then_some(wrapped))
    }

    /// The columns of the one row that reading a sequence gives.
    pub fn columns() -> Vec<Column> {
        let column =
            |(id, name, ty): (u16, &str, SqlType)| Column { id, name: name.to_owned(), ty, nullable: false };
        let columns = [
            (1, "last_value", SqlType::Int8),
            (2, "log_cnt", SqlType::Int8),
            (3, "is_called", SqlType::Bool),
        ];
        columns.into_iter().map(column).collect()
    }
}
