//! `Generation`: the runs applied between two checkpoints, and the link to the next generation.
//!
//! A checkpoint seals the newest generation and begins another. Whoever holds a generation reaches all later
//! ones through `next`, so a reader that pinned the past can still read the future. Only the newest one
//! takes runs; whenever it has [`FAN_IN`] runs of about one size it merges them, so that a reader meets
//! few runs.

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use super::layout::Layout;
use super::run::Run;

/// How many runs of one size class are merged into one.
const FAN_IN: usize = 16;
/// Runs beyond this size are not merged any more.
const LARGEST_RUN_BYTES: usize = 64 << 20;

/// Runs of one span of time.
#[derive(Default)]
pub(super) struct Generation {
    runs: RwLock<Vec<Arc<Run>>>,
    next: OnceLock<Arc<Generation>>,
    merging: Mutex<()>,
}

impl Generation {
    /// A generation of what is left of older ones, followed by `next`.
    pub(super) fn of_rest(rest: Run, next: Arc<Generation>) -> Generation {
        let link = OnceLock::new();
        link.get_or_init(|| next);
        Generation { runs: RwLock::new(vec![Arc::new(rest)]), next: link, merging: Mutex::default() }
    }

    /// Adds a run.
    pub(super) fn push(&self, run: Run) {
        if run.len() > 0 {
            self.runs.write().push(Arc::new(run));
        }
    }

    /// The runs there are now.
    pub(super) fn runs(&self) -> Vec<Arc<Run>> {
        self.runs.read().clone()
    }

    /// The generation after this one, once it is sealed.
    pub(super) fn next(&self) -> Option<&Arc<Generation>> {
        self.next.get()
    }

    /// Seals the generation: `next` takes the runs from now on.
    pub(super) fn seal(&self, next: Arc<Generation>) {
        let linked = Arc::ptr_eq(self.next.get_or_init(|| next.clone()), &next);
        assert!(linked, "a generation is sealed once");
    }

    /// This generation and all later ones.
    pub(super) fn chain(self: &Arc<Generation>) -> impl Iterator<Item = &Arc<Generation>> {
        std::iter::successors(Some(self), |generation| generation.next())
    }

    /// Merges runs while there are many of one size. One thread at a time; others go on without.
    pub(super) fn compact(&self, layout: &Layout) {
        let Some(_merging) = self.merging.try_lock() else { return };
        while self.next.get().is_none() {
            let Some(merged) = self.mergeable() else { return };
            let run = Arc::new(Run::merge(layout, &merged, |_| true));
            let mut runs = self.runs.write();
            runs.retain(|run| !merged.iter().any(|gone| Arc::ptr_eq(run, gone)));
            if run.len() > 0 {
                runs.push(run);
            }
        }
    }

    /// Runs of one size class, when there are enough of them.
    fn mergeable(&self) -> Option<Vec<Arc<Run>>> {
        let runs = self.runs.read();
        let mut classes: Vec<Vec<Arc<Run>>> = Vec::new();
        for run in runs.iter().filter(|run| run.data_bytes() < LARGEST_RUN_BYTES / FAN_IN) {
            let class = run.len().ilog(FAN_IN) as usize;
            classes.resize_with(classes.len().max(class + 1), Vec::new);
            classes[class].push(run.clone());
        }
        classes.into_iter().find(|class| class.len() >= FAN_IN)
    }
}

impl Drop for Generation {
    /// Lets go of the later generations one by one: a long chain must not recurse.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(generation) = next {
            next = Arc::into_inner(generation).and_then(|mut generation| generation.next.take());
        }
    }
}
