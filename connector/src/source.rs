//! `Source`: replayable external input, read by ranges of offsets.
//!
//! A source is a set of *splits* (a file, a stripe of a generator), each with offsets that only grow. Which
//! offsets belong to which epoch is decided once, for all jobs together, by the runtime (a *binding*), and is
//! durable; each job then reads the ranges it is told, with its own projection. So two views over one source
//! always agree, a new view starts from offset 0, and a restart reads the same rows again. A source keeps no
//! state of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_common::{ChangeBatch, Error, ObjectId, Result};

/// The name of a split within its source: a path, a stripe number.
pub type Split = String;

/// Up to where (exclusive) each split is bound.
pub type SourceOffsets = BTreeMap<Split, u64>;

/// Rows of one split from `from` (inclusive) to `to` (exclusive), in the source's own unit (bytes, events).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRange {
    pub split: Split,
    pub from: u64,
    pub to: u64,
}

/// What a discovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// The new end of each split that can go on.
    pub ranges: Vec<SplitRange>,
    /// Whether more could be read at once, beyond the budget.
    pub more: bool,
    /// Whether the source has ended for ever (a bounded generator).
    pub ended: bool,
}

/// What a reader made of a range.
#[derive(Clone, Debug, Default)]
pub struct ReadProgress {
    /// Malformed records skipped under the `skip` policy.
    pub skipped: u64,
    /// The first of them.
    pub malformed: Vec<MalformedRecord>,
    /// Input rows decoded (before any projection), for metrics.
    pub rows: u64,
}

/// A record that could not be decoded.
#[derive(Clone, Debug)]
pub struct MalformedRecord {
    /// As it stands in the input, invalid bytes replaced.
    pub text: String,
    /// Why, and where it is.
    pub error: Error,
}

/// Since when a source is read, for sources with a rate.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// What was bound when this server began to read it: of what a rate makes due, nothing is due while it is down.
    pub from: SourceOffsets,
    /// The time since then.
    pub elapsed_micros: u64,
}

/// External input. One instance serves all jobs and threads.
pub trait Source: Send + Sync {
    /// What can be read beyond `bound`, up to about `budget_rows` rows altogether. Errors: 58P01 for a missing
    /// file or folder.
    fn discover(&self, bound: &SourceOffsets, budget_rows: u64, reading: &Reading) -> Result<Discovery>;

    /// Whether what it has is data at rest, such as files: a new view then holds all of it from the start. A
    /// generator's rows come as time goes by.
    fn is_at_rest(&self) -> bool {
        false
    }

    /// Whether all that it will ever bring could be read now (a bounded generator without a rate): FLUSH then waits
    /// for its end.
    fn is_finite(&self) -> bool {
        false
    }

    /// The table that gets malformed records; `None` when they are errors, or cannot be.
    fn dead_letters(&self) -> Option<ObjectId> {
        None
    }

    /// Divides ranges among `workers`, each piece to be read by one worker. The default gives whole ranges.
    fn divide(&self, ranges: &[SplitRange], workers: usize) -> Vec<Vec<SplitRange>> {
        let mut shares = vec![Vec::new(); workers];
        for (i, range) in ranges.iter().enumerate() {
            shares[i % workers].push(range.clone());
        }
        shares
    }

    /// A reader that yields only the columns at `project`, in that order.
    fn reader(&self, project: &[usize]) -> Result<Box<dyn SplitReader>>;
}

/// Reads ranges, on one thread.
pub trait SplitReader: Send {
    /// Starts a range; the one before must be exhausted.
    fn start(&mut self, range: &SplitRange) -> Result<()>;
    /// The next batch of the range, of about `batch_rows` rows; `None` at its end. A malformed record under the
    /// `fail` policy is an error that names split and line.
    fn next(&mut self, batch_rows: usize) -> Result<Option<ChangeBatch>>;
    /// The offset that the range has been read up to.
    fn position(&self) -> u64;
    /// What happened since the last call of this function.
    fn take_progress(&mut self) -> ReadProgress;
}
