//! The planner: SQL text → AST → bound logical plan → stream plan → job graph.
//!
//! ```text
//!   text ─ parse ─► ParsedStatement ─ bind ─► BoundStatement ─► table (commands, batch queries)
//!                                                  └─ stream::plan_job ─► JobGraph ─► runtime
//! ```
//!
//! Place in the flow: below the sessions of `table`, above `runtime` and `exec`. [`parser`] is sqlparser with our
//! own statements around it; [`binder`] gives names and types PostgreSQL's meaning and writes every cast into a
//! DataFusion `LogicalPlan`, so that DataFusion's own coercions never fire.
//!
//! Invariants: everything here is a pure function of the text, the catalog snapshot and the session's settings:
//! no I/O, no threads, no clock, nothing async.

pub mod asof_join;
pub mod ast;
pub mod binder;
pub mod bound;
pub mod context;
pub mod copy;
pub mod explain;
pub mod keep;
pub mod logical;
pub mod lookup_join;
pub mod match_recognize;
pub mod parser;
pub mod position;
pub mod rules;
pub mod stream;

pub use ast::{ParsedStatement, Statement};
pub use binder::{bind, bind_watermark, index_expressions};
pub use bound::{BoundQuery, BoundStatement, OutputColumn};
pub use context::{BindContext, ParamTypes, ParamValue, ParamValues, SequenceAccess, SessionInfo};
pub use logical::{RelationKind, RelationSource, reads_column};
pub use parser::parse;
