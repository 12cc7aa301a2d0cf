//! What every other crate speaks: SQL types, change batches, epochs, key encoding, errors, and the seams
//! (`Clock`, `FileSystem`, `Rng`) through which the outside world is reached.
//!
//! Place in the flow: below everything. Invariants: this crate starts no thread and, outside the
//! `OsFileSystem` and `SystemClock` implementations of its seams, touches nothing outside memory.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod change;
pub mod config;
pub mod epoch;
pub mod error;
pub mod failpoint;
pub mod id;
pub mod key;
pub mod key_group;
pub mod memory;
pub mod relation;
pub mod row;
pub mod seam;
pub mod text;
pub mod torn;
pub mod types;

pub use change::ChangeBatch;
pub use epoch::Epoch;
pub use error::{Error, Result, SqlState};
pub use id::{JobId, ObjectId, OperatorId, WorkerId};
pub use key_group::{KEY_GROUPS, KeyGroup};
pub use memory::{MemoryWatch, Pressure};
pub use relation::{Column, RelationKey, RelationSchema};
pub use types::SqlType;
