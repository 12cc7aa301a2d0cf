//! `Epoch`: the one number that is barrier, commit and visible version.
//!
//! Epochs are global to a server, start at 1 and only grow. Epoch `e` of a relation is its contents after
//! every change stamped `<= e`. The `upper` of a relation is the first epoch that is not complete yet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in the one logical time of a server. `Epoch(0)` is "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before every change.
    pub const ZERO: Epoch = Epoch(0);
    /// After every change.
    pub const MAX: Epoch = Epoch(u64::MAX);

    /// The epoch that follows this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }

    /// The epoch before this one; zero stays zero.
    #[must_use]
    pub fn previous(self) -> Epoch {
        Epoch(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
