//! The catalog: what objects exist, what they are called, what depends on what, kept durable as a log of
//! changes; and `pg_catalog`, `information_schema` and `sys` as virtual tables over one snapshot of it.
//!
//! Place in the flow: at the side of all of it. The planner resolves names against a [`CatalogSnapshot`]; the
//! session layer applies [`CatalogChange`]s. Invariants: this crate knows no plans and no jobs (a plan is
//! opaque bytes to it), a published snapshot never changes, and an id is never handed out twice.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod catalog;
pub mod change;
mod dependency;
pub mod functions;
mod home_form;
mod index_entry;
mod log;
pub mod object;
#[cfg(test)]
mod sample;
pub mod sequences;
pub mod snapshot;
pub mod system;
#[cfg(test)]
mod tests;

pub use catalog::{Catalog, Prepared};
pub use change::CatalogChange;
pub use functions::reg::quote_identifier;
pub use home_form::home_form;
pub use log::CatalogTransaction;
pub use object::{
    CheckDef, ColumnDef, Generation, IdentityKind, IndexColumn, IndexDef, IndexedValue, LETTER_COLUMNS,
    MaterializedViewDef, Object, ObjectKind, SequenceDef, ShownColumn, SinkDef, SinkTable, SourceDef,
    TableDef, ViewDef, WatermarkDef,
};
pub use snapshot::CatalogSnapshot;
pub use system::{SystemContext, SystemTable};
