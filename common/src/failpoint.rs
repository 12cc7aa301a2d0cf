//! Every failpoint of Weir, in one list.
//!
//! A failpoint is a named place where a crash test kills or fails the process (`fail` crate; armed through
//! the `FAILPOINTS` environment variable, off unless the crate's `failpoints` feature is on). The tidy test
//! checks that each name here is used, and that no other name is.

/// After a commit group is in the log's buffer, before its fsync.
pub const LOG_BEFORE_SYNC: &str = "log::before_sync";
/// After the fsync of a commit group, before anyone is told.
pub const LOG_AFTER_SYNC: &str = "log::after_sync";
/// Before a job's checkpoint is written.
pub const CHECKPOINT_BEFORE_WRITE: &str = "checkpoint::before_write";
/// After a job's checkpoint is durable, before sinks commit and the log is trimmed.
pub const CHECKPOINT_AFTER_WRITE: &str = "checkpoint::after_write";
/// After a step of a backfill is durable, before the next one opens.
pub const BACKFILL_AFTER_STEP: &str = "backfill::after_step";
/// After a catalog change is appended, before its fsync.
pub const CATALOG_BEFORE_SYNC: &str = "catalog::before_sync";
/// After a catalog change is durable, before the object's job starts.
pub const CATALOG_AFTER_SYNC: &str = "catalog::after_sync";
/// While a recovery replays the log.
pub const RECOVERY_REPLAY: &str = "recovery::replay";
/// After the rows of a transaction with DDL are durable, before the catalog's log says that it holds.
pub const DDL_BEFORE_CATALOG_COMMIT: &str = "ddl::before_catalog_commit";
/// Before a fragment of a job works on what has arrived.
pub const JOB_RUN: &str = "job::run";
