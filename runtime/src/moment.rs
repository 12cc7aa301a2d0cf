//! `Moment`: a job's own time: an epoch, and within the first one of a fresh job a step of its backfill.
//!
//! A large snapshot is worked in step by step, with a checkpoint after each, so that what an operator keeps need not
//! fit into memory before the first epoch is over. Outside a job nothing of it is seen: an epoch is complete when
//! all its steps are. Every other epoch has only step 0.

use std::fmt;

use weir_common::Epoch;

/// Bits of a moment that hold the step.
const STEP_BITS: u32 = 16;

/// An epoch and a step in it, as a timestamp of the dataflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// After everything.
    pub const MAX: Moment = Moment(u64::MAX);
    /// The last step that an epoch can have.
    pub const STEP_MAX: u16 = u16::MAX;

    /// A step of an epoch.
    pub fn new(epoch: Epoch, step: u16) -> Moment {
        match epoch.0.leading_zeros() >= STEP_BITS {
            true => Moment(epoch.0 << STEP_BITS | u64::from(step)),
            false => Moment::MAX,
        }
    }

    /// The first moment of an epoch: everything before the epoch is before it.
    pub fn start_of(epoch: Epoch) -> Moment {
        Moment::new(epoch, 0)
    }

    /// The last moment of an epoch.
    pub fn end_of(epoch: Epoch) -> Moment {
        Moment::new(epoch, Moment::STEP_MAX)
    }

    /// The epoch it is in.
    pub fn epoch(self) -> Epoch {
        if self == Moment::MAX { Epoch::MAX } else { Epoch(self.0 >> STEP_BITS) }
    }

    /// The step of the epoch.
    pub fn step(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step() {
            0 => write!(f, "{}", self.epoch()),
            step => write!(f, "{}.{step}", self.epoch()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ordered_by_epoch_then_step() {
        let (e, f) = (Epoch(7), Epoch(8));
        assert!(Moment::start_of(e) < Moment::new(e, 1));
        assert!(Moment::new(e, 1) < Moment::end_of(e));
        assert!(Moment::end_of(e) < Moment::start_of(f));
        assert!(Moment::end_of(f) < Moment::start_of(Epoch::MAX));
        for moment in [Moment::start_of(e), Moment::new(e, 300), Moment::end_of(e)] {
            assert_eq!(moment.epoch(), e);
        }
        assert_eq!((Moment::new(e, 300).step(), Moment::MAX.epoch()), (300, Epoch::MAX));
        assert_eq!(
            (Moment::start_of(e).to_string(), Moment::new(e, 2).to_string()),
            ("7".into(), "7.2".into())
        );
    }
}
