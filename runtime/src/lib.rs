//! The shared runtime: jobs on timely dataflow, epochs, exchange, checkpoints, recovery.
//!
//! Place in the flow: takes job graphs and commits from the session layer, runs `exec` operators, keeps what
//! must last in `storage`. It knows nothing of SQL text. Threads: the workers (timely), the sequencer (closes
//! epochs, writes the log), the checkpointer, the restarter, and the one that watches memory.
//!
//! ```text
//!  commit ─► sequencer ─► log ─► tables ─► changelog ─► feed ─► fragments ─► view ─► changelog ─► …
//!  source ─► binding  ─┘ epoch e                           └─ dump at checkpoint ─► checkpointer ─► RocksDB
//! ```

mod alignment;
mod backfill;
mod changelog;
pub mod checkpoint;
pub mod commit;
pub mod dataflow;
mod dump;
mod edges;
mod engine;
mod event_time;
mod feed;
pub mod fragments;
pub mod graph;
pub mod host;
mod idle;
mod index;
mod job;
mod kept_changes;
mod letters;
mod memory;
pub mod meta;
mod metrics;
pub mod moment;
mod operators;
mod outbox;
mod output;
mod read;
mod recovery;
mod relation;
mod renewed;
mod restart;
mod resume;
mod sequencer;
mod shared;
mod source;
mod start;
mod steps;
mod subscription;
mod times;
mod unread;
mod watermark_status;

mod runtime;

pub use backfill::{BackfillStage, BackfillStatus};
pub use commit::TableWrite;
pub use event_time::{Alignment, TimeSpec};
pub use graph::JobGraph;
pub use index::{RelationIndex, Unique, UniqueColumn};
pub use job::{JobState, JobStatus, SourceStatus};
pub use letters::{Letter, LetterDelivery};
pub use outbox::{Channel, Delivered, Delivery};
pub use read::{Consistency, ReadView};
pub use recovery::{Recovered, SourceSpec, TableSpec, has_committed};
pub use runtime::{RelationStatus, Runtime, RuntimeSeams};
pub use subscription::{Changes, From as SubscribeFrom, Subscription};
pub use watermark_status::WatermarkStatus;
