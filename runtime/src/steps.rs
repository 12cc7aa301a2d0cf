//! `StepGate`: how a fresh job works in a snapshot that is large: in steps, with a checkpoint after each.
//!
//! ```text
//!   feeds      step 0 ─► wait …          step 1 ─► wait …            the rest, then the changelog
//!   operators        end ─► dump               end ─► dump
//!   checkpointer            write ─► open step 1      write ─► open step 2
//! ```
//! A step is what each feed hands out of its share of the snapshot, up to a number of bytes. The next one opens when
//! the state after it is on disk, so that operators can let go of it, and memory is not short. Nobody sees the steps:
//! readers of the view wait for its first epoch, and changes after that epoch stay in the changelogs until the snapshot
//! is through. A restart goes on after the last step that is on disk ([`crate::resume`]).
//!
//! Between two steps the view is not that of any epoch. An expression may fail on such a state which would not on
//! the whole (a sum that is not there yet is divided by): then the job starts again in one step.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use weir_common::config::EngineConfig;

use crate::moment::Moment;

/// Part of the memory limit that a step of one feed may hold.
const SHARE: usize = 64;
/// Bytes of a step, at least and at most.
const STEP_BYTES: std::ops::RangeInclusive<usize> = 4 << 20..=256 << 20;

/// Whether a fresh job may take its snapshot in more than one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    One,
    Many,
}

/// The gate between feeds and checkpoints.
pub struct StepGate {
    /// Rows of so many bytes end a feed's step.
    step_bytes: usize,
    /// Steps below this one may be fed.
    open: AtomicU16,
    /// Feeds whose snapshot is not through.
    feeding: AtomicUsize,
    /// Whether the workers were told that it is.
    told: AtomicBool,
    /// Whether a feed had more than one step holds.
    is_divided: AtomicBool,
}

impl StepGate {
    /// The gate for a job with so many inputs.
    pub fn new(config: &EngineConfig, inputs: usize) -> StepGate {
        let share = (config.memory_limit_bytes / SHARE).clamp(*STEP_BYTES.start(), *STEP_BYTES.end());
        StepGate {
            step_bytes: config.state_memory_bytes.unwrap_or(share),
            open: AtomicU16::new(0),
            feeding: AtomicUsize::new(inputs * config.workers),
            told: AtomicBool::new(false),
            is_divided: AtomicBool::new(false),
        }
    }

    /// The gate of a job that has steps behind it.
    #[must_use]
    pub fn going_on(self) -> StepGate {
        StepGate { is_divided: AtomicBool::new(true), ..self }
    }

    /// The first step that may not be fed.
    pub fn first_closed(&self) -> u16 {
        self.open.load(Ordering::Acquire)
    }

    /// Feeds may go on with the step.
    pub fn open(&self, step: u16) {
        self.open.fetch_max(step.saturating_add(1), Ordering::AcqRel);
    }

    /// Whether every feed is through with its snapshot.
    pub fn is_complete(&self) -> bool {
        self.feeding.load(Ordering::Acquire) == 0
    }

    /// Whether the snapshot was completed since this was asked last: workers whose feeds wait for it must look again.
    pub fn has_just_completed(&self) -> bool {
        self.is_complete() && !self.told.swap(true, Ordering::AcqRel)
    }

    /// Whether the snapshot takes more than one step, or may yet turn out to.
    pub fn may_be_divided(&self) -> bool {
        self.is_divided() || !self.is_complete()
    }

    /// Whether the snapshot takes more than one step, as far as is known.
    pub fn is_divided(&self) -> bool {
        self.is_divided.load(Ordering::Acquire)
    }

    fn one_is_through(&self) {
        self.feeding.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where one feed is in its share of the snapshot.
#[derive(Default)]
pub struct Position {
    step: u16,
    bytes: usize,
    is_through: bool,
}

impl Position {
    /// The first step that this feed has not finished: of one that is through, the first that is not open.
    pub fn waits_for(&self, gate: &StepGate) -> u16 {
        if self.is_through { gate.first_closed() } else { self.step }
    }

    /// Whether the next rows may be fed.
    pub fn may_go_on(&self, gate: &StepGate) -> bool {
        self.step < gate.first_closed()
    }

    /// Rows of `bytes` were fed; returns the step they belong to.
    pub fn fed(&mut self, bytes: usize) -> u16 {
        self.bytes += bytes;
        self.step
    }

    /// Whether the step holds so much that it is to end.
    pub fn is_full(&self, gate: &StepGate) -> bool {
        self.bytes >= gate.step_bytes && self.step < Moment::STEP_MAX - 1
    }

    /// The next rows belong to the next step.
    pub fn end_step(&mut self, gate: &StepGate) {
        (self.step, self.bytes) = (self.step + 1, 0);
        gate.is_divided.store(true, Ordering::Release);
    }

    /// The feed's share is through.
    pub fn leave(&mut self, gate: &StepGate) {
        if !std::mem::replace(&mut self.is_through, true) {
            gate.one_is_through();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(inputs: usize) -> StepGate {
        let mut config = EngineConfig::new("", 1);
        config.state_memory_bytes = Some(10);
        StepGate::new(&config, inputs)
    }

    #[test]
    fn a_step_is_full_of_bytes_and_the_next_waits_for_its_checkpoint() {
        let (gate, mut feed) = (gate(1), Position::default());
        assert!(!feed.may_go_on(&gate));
        gate.open(0);
        assert!(feed.may_go_on(&gate));
        assert_eq!(feed.fed(6), 0);
        assert!(!feed.is_full(&gate));
        assert_eq!(feed.fed(6), 0);
        assert!(feed.is_full(&gate) && !gate.is_divided());
        feed.end_step(&gate);
        assert!(gate.is_divided() && !feed.may_go_on(&gate));
        gate.open(1);
        assert!(feed.may_go_on(&gate));
        assert_eq!(feed.fed(6), 1);
    }

    #[test]
    fn it_is_complete_when_every_feed_is_through() {
        let (gate, mut one, mut other) = (gate(2), Position::default(), Position::default());
        one.leave(&gate);
        one.leave(&gate);
        assert!(!gate.is_complete() && !gate.has_just_completed());
        other.leave(&gate);
        assert!(gate.is_complete() && gate.has_just_completed() && !gate.has_just_completed());
    }
}
