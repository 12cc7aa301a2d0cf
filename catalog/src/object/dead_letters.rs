//! `sys.dead_letters`: the table of rows that jobs left out under ON ERROR SKIP. It is in every catalog; its rows are
//! deleted by whoever has looked at them.

use weir_common::{Column, ObjectId, SqlType};

use super::{ColumnDef, Object, ObjectKind, TableDef};
use crate::snapshot::{ROLE, SYS};

/// What is known of a row that was left out. A table of ON ERROR INTO has some of these columns.
pub const LETTER_COLUMNS: [(&str, SqlType); 6] = [
    // When it was written down.
    ("at", SqlType::Timestamptz),
    ("job", SqlType::Text),
    // The source or table that the row is of, where it is of one.
    ("relation", SqlType::Text),
    ("sqlstate", SqlType::Text),
    ("message", SqlType::Text),
    // The row as an object; the text of a malformed record.
    ("row", SqlType::Jsonb),
];

/// The table.
pub(crate) fn dead_letters() -> Object {
    let column = |(i, (name, ty)): (usize, (&str, SqlType))| {
        let column = Column { id: i as u16 + 1, name: name.to_owned(), ty, nullable: true };
        ColumnDef::plain(column, None)
    };
    let columns = LETTER_COLUMNS.into_iter().enumerate().map(column).collect();
    let table = TableDef { columns, ..TableDef::default() };
    let comment = "rows that jobs left out under ON ERROR SKIP";
    let mut object = Object::new(ObjectId::DEAD_LETTERS, SYS, "dead_letters", ROLE, ObjectKind::Table(table));
    object.comment = Some(comment.to_owned());
    object
}
