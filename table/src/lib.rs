//! The embeddable engine: open an [`Environment`], take a [`Session`], execute SQL.
//!
//! Place in the flow: the server (or an application) above; planner, catalog and runtime below. A statement
//! goes parse → bind (planner) → execute (here), where execute means: read relations at one epoch and run a
//! DataFusion plan over them, or commit changes to tables, or change the catalog and the running jobs.
//!
//! Invariants: no sockets; DDL is one at a time and is carried through or undone once it started, whatever
//! happens to the client; a statement is cancelled by dropping its future or its stream.
//!
//! ```no_run
//! # async fn example() -> weir_common::Result<()> {
//! use weir_common::config::EngineConfig;
//! use weir_table::{Environment, SessionOptions};
//!
//! let env = Environment::open(EngineConfig::new("./weir-data", 2))?;
//! env.execute("CREATE TABLE t (k int PRIMARY KEY, v text)").await?;
//! env.execute("INSERT INTO t VALUES (1, 'one')").await?;
//! let batches = env.execute("SELECT v FROM t WHERE k = 1").await?;
//! assert_eq!(batches[0].num_rows(), 1);
//! env.shutdown();
//! # Ok(())
//! # }
//! ```

mod activity;
mod api;
mod caller;
mod changefeed;
mod copy;
mod cursors;
mod ddl;
mod deliveries;
mod dml;
mod environment;
mod explain;
mod indexes;
mod locks;
mod outcome;
mod params;
mod prepared;
mod query;
mod recent;
mod recovery;
mod rows;
mod savepoint;
mod sequences;
mod session;
mod settings;
mod statement;
mod templates;
mod transaction;

#[cfg(test)]
mod tests;

pub use copy::{CopyEncoder, CopyIn, CopyOut};
pub use environment::Environment;
pub use outcome::{
    ImplicitEnd, Notice, Outcome, ParamValue, Prepared, RowStream, RowsTag, Severity, TransactionStatus,
};
pub use session::{Session, SessionOptions};
pub use weir_planner::{OutputColumn, ParsedStatement};
