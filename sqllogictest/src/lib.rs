//! The sqllogictest runner: suites of SQL with expected results, tried on a server through the wire only.
//!
//! ```text
//! file ─ script ─► records ─ order ─► steps ─ run ─► (server through wire) ─ compare ─► failures
//! ```
//! The format is sqllogictest's, with results in PostgreSQL's text form, one row a line. A suite may mark its parts
//! with `# section: tables|data|views|checks`; the runner then creates the views before, in the middle of, or
//! after the data, with or without a crash before the checks: the results must be the same. Every query runs
//! over the simple and the extended protocol.
//!
//! Place in the flow: outside; this crate links nothing of the engine, so the same suite runs on PostgreSQL.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod compare;
pub mod oracle;
pub mod order;
pub mod postgres;
pub mod run;
pub mod script;
pub mod server;
pub mod wire;

use order::{Crash, Views};
use run::Circumstances;
use script::Script;
use wire::Protocol;

/// An error of the runner itself, in words.
pub type Result<T, E = String> = std::result::Result<T, E>;

/// Every number of workers and circumstance under which a suite must give the same results. A suite without
/// sections has no views to move and no checks to crash before.
pub fn all_circumstances(script: &Script) -> Vec<(usize, Circumstances)> {
    let views: &[Views] = if script.sectioned { &Views::ALL } else { &[Views::After] };
    let crashes: &[Crash] = if script.sectioned { &[Crash::No, Crash::BeforeChecks] } else { &[Crash::No] };
    let mut all = Vec::new();
    for (workers, statements) in [(1, Protocol::Simple), (3, Protocol::Extended)] {
        for (views, crash) in views.iter().flat_map(|views| crashes.iter().map(move |crash| (*views, *crash)))
        {
            all.push((workers, Circumstances { views, crash, statements }));
        }
    }
    all
}
