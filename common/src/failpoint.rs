//! Every failpoint of Weir, in one list.
//!
//! A failpoint is a named place where a crash test kills or fails the process (`fail` crate; armed through
//! the `FAILPOINTS` environment variable, off unless the crate's `failpoints` feature is on). The tidy test
//! checks that each name here is used, and that no other name is; the crash matrix kills the server at each of [`ALL`].

macro_rules! failpoints {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// All of them, in the order of a server's life.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

failpoints! {
    /// The mark of a new data folder is written, and has not its name yet.
    DATA_DIR_BEFORE_FORMAT = "data_dir::before_format",
    /// A torn record was found at the end of the catalog's log, and is still there.
    CATALOG_BEFORE_CUT = "catalog::before_cut",
    /// The compacted log of the catalog is durable beside the old one.
    CATALOG_BEFORE_RENAME = "catalog::before_rename",
    /// The compacted log of the catalog has its name, which is not durable yet.
    CATALOG_AFTER_RENAME = "catalog::after_rename",
    /// A torn record was found at the end of the log, and is still there.
    LOG_BEFORE_CUT = "log::before_cut",
    /// The catalog is recovered; the state backend and the log are not open.
    RECOVERY_BEFORE_STATE = "recovery::before_state",
    /// A backfill was cut short; `return` makes it start afresh.
    RECOVERY_BEFORE_RESUME = "recovery::before_resume",
    /// What a backfill that was cut short had made is removed.
    RECOVERY_AFTER_BACKFILL_REMOVED = "recovery::after_backfill_removed",
    /// While a recovery replays the log.
    RECOVERY_REPLAY = "recovery::replay",
    /// Everything is recovered; no job runs yet.
    RECOVERY_BEFORE_INSTALL = "recovery::before_install",
    /// Jobs run; what objects left that were dropped is still there.
    RECOVERY_BEFORE_ERASE = "recovery::before_erase",

    /// A commit is applied to its tables, invisible; the log does not know it.
    COMMIT_BEFORE_LOG = "commit::before_log",
    /// After a commit group is in the log's file, before its fsync.
    LOG_BEFORE_SYNC = "log::before_sync",
    /// After the fsync of a commit group, before anyone is told.
    LOG_AFTER_SYNC = "log::after_sync",
    /// An epoch is in the log and nobody can see it.
    EPOCH_BEFORE_PUBLISH = "epoch::before_publish",
    /// An epoch can be seen; its commits are not answered.
    EPOCH_BEFORE_REPLY = "epoch::before_reply",
    /// Before a fragment of a job works on what has arrived.
    JOB_RUN = "job::run",
    /// The rows of a sink into a table are worked out, and not committed.
    DELIVERY_BEFORE_COMMIT = "delivery::before_commit",

    /// A checkpoint's epoch is closed and answered; the checkpoint thread does not know.
    CHECKPOINT_BEFORE_DECLARE = "checkpoint::before_declare",
    /// A part of a job's state has arrived for its checkpoint.
    CHECKPOINT_AFTER_PART = "checkpoint::after_part",
    /// A file of a sink is complete and durable under its temporary name.
    SINK_AFTER_PREPARE = "sink::after_prepare",
    /// Before a job's checkpoint is written.
    CHECKPOINT_BEFORE_WRITE = "checkpoint::before_write",
    /// After a job's checkpoint is durable, before sinks commit and the log is trimmed.
    CHECKPOINT_AFTER_WRITE = "checkpoint::after_write",
    /// A file of a sink has its name, which is not durable yet.
    SINK_AFTER_RENAME = "sink::after_rename",
    /// Sinks have committed; the log keeps what the checkpoint holds.
    CHECKPOINT_BEFORE_TRIM = "checkpoint::before_trim",
    /// The log is about to begin a new file.
    LOG_BEFORE_ROLL = "log::before_roll",
    /// The log's new file is durable, and no older one is removed.
    LOG_AFTER_ROLL = "log::after_roll",
    /// A file of the log is removed; that is not durable yet.
    LOG_AFTER_REMOVE = "log::after_remove",
    /// All parts of a step of a backfill are there, none is durable.
    BACKFILL_BEFORE_STEP = "backfill::before_step",
    /// After a step of a backfill is durable, before the next one opens.
    BACKFILL_AFTER_STEP = "backfill::after_step",
    /// What is left of dropped objects is about to be removed.
    ERASE_BEFORE_WRITE = "erase::before_write",
    /// What was left of dropped objects is removed; nobody is told.
    ERASE_AFTER_WRITE = "erase::after_write",
    /// The entries of a new index are made, and no checkpoint has them.
    INDEX_BEFORE_COMPLETE = "index::before_complete",
    /// A new index is part of its relation's checkpoints; the catalog does not name it.
    INDEX_AFTER_COMPLETE = "index::after_complete",

    /// After a catalog change is appended, before its fsync.
    CATALOG_BEFORE_SYNC = "catalog::before_sync",
    /// After a catalog change is durable, before anyone is told.
    CATALOG_AFTER_SYNC = "catalog::after_sync",
    /// The catalog has what a statement creates; none of it has started.
    DDL_BEFORE_START = "ddl::before_start",
    /// What a statement creates has started; what it drops has not stopped.
    DDL_BEFORE_STOP = "ddl::before_stop",
    /// What a statement drops is gone; its client is not told.
    DDL_AFTER_STOP = "ddl::after_stop",
    /// What a statement creates could not start; the catalog still has it.
    DDL_BEFORE_TAKE_BACK = "ddl::before_take_back",
    /// What a statement of a block creates has started, under no name.
    DRAFT_AFTER_START = "draft::after_start",
    /// A block with DDL commits; nothing is in any log.
    DRAFT_BEFORE_PREPARE = "draft::before_prepare",
    /// The catalog's log has a block's DDL prepared; its rows are not in the log.
    DRAFT_AFTER_PREPARE = "draft::after_prepare",
    /// After the rows of a transaction with DDL are durable, before the catalog's log says that it holds.
    DDL_BEFORE_CATALOG_COMMIT = "ddl::before_catalog_commit",
    /// A block's DDL is published; the log of rows still keeps that it holds.
    DDL_AFTER_CATALOG_COMMIT = "ddl::after_catalog_commit",
}
