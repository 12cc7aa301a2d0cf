//! Cases of a fault test, some at once: most of its time a server waits.

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Servers at once.
const AT_ONCE: usize = 6;

/// Runs each case, and panics in the end with all that failed. A case fails by an error or by a panic.
pub fn run_all<C: Debug + Sync>(cases: &[C], run: impl Fn(&C) -> Result<(), String> + Sync) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| run(case)));
            if let Err(why) = ran.unwrap_or_else(|_| Err("panicked, see above".to_owned())) {
                eprintln!("FAILED {case:?}: {why}");
                failed.lock().unwrap().push(format!("{case:?}: {why}"));
            }
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE.min(cases.len())).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), cases.len());
}

/// Runs a future to its end, on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
