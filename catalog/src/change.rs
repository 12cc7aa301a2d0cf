//! `CatalogChange`: one step of DDL. A statement is a batch of them, applied all or not at all.

use serde::{Deserialize, Serialize};
use weir_common::ObjectId;

use crate::object::Object;

/// A change of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CatalogChange {
    /// A new object; its id comes from [`crate::Catalog::next_id`].
    Create(Object),
    /// An object of the same id gives way to this one (`CREATE OR REPLACE VIEW`, `ALTER TABLE`).
    Replace(Object),
    /// The object goes; nothing that stays may depend on it.
    Drop(ObjectId),
    /// `ALTER … RENAME TO`.
    Rename {
        /// The object.
        id: ObjectId,
        /// Its new name.
        name: String,
    },
    /// `COMMENT ON`.
    Comment {
        /// The object.
        id: ObjectId,
        /// The column's id, for `COMMENT ON COLUMN`.
        column: Option<u16>,
        /// The text; `None` removes it.
        comment: Option<String>,
    },
}
