//! In-memory layouts of operator state: dense, typed, probed a batch at a time.
//!
//! Place in the flow: below `operators`. Hot state lives here; what must survive a restart is written by the
//! operators at checkpoints, in the canonical encodings of `weir_common::{key, row}`, never in these layouts.
//!
//! ```text
//!   HashIndex   32 hash bits → dense id          (who wins a slot is decided by the caller's compare)
//!   KeyTable    key columns → dense id           (groups of an aggregate, keys of a join)
//!   RowStore    slot → row, one typed arena a column
//!   SortKeys    slot → ORDER BY key, compared as one 128-bit number
//!   RowList     slots in order, in blocks
//!   TimeIndex   time → groups, slots, … that wait for it
//!   ByteArena   slot → bytes, in blocks, with garbage reclaimed
//! ```

mod byte_arena;
mod hash_index;
mod key_table;
pub(crate) mod native;
mod row_list;
mod row_store;
mod sort_keys;
mod stored_column;
mod time_index;

pub use byte_arena::ByteArena;
pub use hash_index::HashIndex;
pub use key_table::KeyTable;
pub use row_list::{Place, RowList};
pub use row_store::RowStore;
pub use sort_keys::SortKeys;
pub use stored_column::can_store;
pub use time_index::{FirstTimes, TimeIndex};

/// "No id", "no slot": the end of a chain.
pub const NONE: u32 = u32::MAX;
