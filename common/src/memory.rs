//! `MemoryWatch`: how close the process is to its memory limit.
//!
//! What counts is what the system says the process occupies, so whatever takes memory is in it: state of
//! operators, versions of rows, input that waits for a job, batch queries, buffers of clients, RocksDB.
//!
//! | share of the limit | pressure | what happens |
//! |---|---|---|
//! | below 0.65 | `None` | |
//! | 0.65 | `Tight` | checkpoints come at once; sources wait for them: what they make durable is let go |
//! | 0.80 | `Short` | queries that hold much get no more: they spill, or fail with 53200; as do large writes |
//! | 0.90 | `Over` | the job that holds most is stopped, with 53200 |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::seam::MemoryProbe;
use crate::{Error, Result, SqlState};

/// How close the process is to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    None,
    Tight,
    Short,
    Over,
}

/// Thousandths of the limit at which `Tight`, `Short` and `Over` begin.
const STEPS: [(usize, Pressure); 3] = [(900, Pressure::Over), (800, Pressure::Short), (650, Pressure::Tight)];

/// Who holds less than this part of the limit is never refused more: it is not the one that fills memory.
const SMALL_SHARE: usize = 256;

/// The limit, and the size of the process when it was looked at last.
pub struct MemoryWatch {
    probe: Arc<dyn MemoryProbe>,
    limit_bytes: usize,
    resident_bytes: AtomicUsize,
}

impl MemoryWatch {
    /// Watches a process that may take `limit_bytes`.
    pub fn new(limit_bytes: usize, probe: Arc<dyn MemoryProbe>) -> Arc<MemoryWatch> {
        Arc::new(MemoryWatch { probe, limit_bytes: limit_bytes.max(1), resident_bytes: AtomicUsize::new(0) })
    }

    /// What the process may take, in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Looks how large the process is: a system call.
    pub fn look(&self) -> Pressure {
        self.resident_bytes.store(self.probe.resident_bytes(), Ordering::Relaxed);
        self.pressure()
    }

    /// The pressure at the last look.
    pub fn pressure(&self) -> Pressure {
        let permille = self.resident_bytes().saturating_mul(1000) / self.limit_bytes;
        STEPS.into_iter().find(|(from, _)| permille >= *from).map_or(Pressure::None, |(_, pressure)| pressure)
    }

    /// The size of the process at the last look.
    pub fn resident_bytes(&self) -> usize {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    /// Whether somebody who would hold `bytes` may have them; 53200 when memory is short, unless it is little.
    pub fn admit(&self, bytes: usize) -> Result<()> {
        if bytes < self.limit_bytes / SMALL_SHARE || self.look() < Pressure::Short {
            return Ok(());
        }
        Err(Error::new(SqlState::OUT_OF_MEMORY, "out of memory")
            .with_detail(format!(
                "The server occupies {} of the {} MiB it may take.",
                self.resident_bytes() >> 20,
                self.limit_bytes >> 20
            ))
            .with_hint("Write or read in smaller pieces, or start the server with a higher --memory-limit."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::ManualMemory;

    #[test]
    fn pressure_rises_with_the_process() {
        let process = Arc::new(ManualMemory::default());
        let watch = MemoryWatch::new(100 << 20, process.clone());
        for (mib, expected) in [
            (0, Pressure::None),
            (64, Pressure::None),
            (65, Pressure::Tight),
            (80, Pressure::Short),
            (90, Pressure::Over),
        ] {
            process.set(mib << 20);
            assert_eq!(watch.look(), expected, "{mib} MiB");
            assert_eq!(watch.pressure(), expected);
        }
    }

    #[test]
    fn only_who_holds_much_is_refused() {
        let process = Arc::new(ManualMemory::default());
        let watch = MemoryWatch::new(100 << 20, process.clone());
        assert!(watch.admit(usize::MAX).is_ok());
        process.set(80 << 20);
        let small = (100 << 20) / SMALL_SHARE;
        assert!(watch.admit(small - 1).is_ok());
        assert_eq!(watch.admit(small).unwrap_err().state(), SqlState::OUT_OF_MEMORY);
    }
}
