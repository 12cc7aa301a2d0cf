//! PostgreSQL's wire protocol, version 3: the only module that names pgwire.
//!
//! ```text
//! server ─ accepts ─► startup ─ auth ─► connection ─┬► simple   ─┐
//! (limits)            (who, what)      (one loop)   └► extended ─┴► rows ─► binary / text ─► wire
//! ```
//! Place in the flow: bytes of a client in, calls of `weir_table::Session`, bytes out. pgwire gives the messages
//! a server sends and SCRAM; messages of clients are decoded here (`frontend`), because a hostile one must cost
//! an error and never a panic, and the loop is ours, because rows must go out as they are made and Ctrl-C must
//! be answered in any phase.
//!
//! Invariants: nothing a client sends ends the process or touches another client; every length is checked
//! before it is believed; a message is in the output buffer whole or not at all.

mod auth;
mod backends;
mod binary;
mod client;
mod connection;
mod copy;
mod extended;
mod frontend;
mod params;
mod report;
mod rows;
mod server;
mod simple;
mod startup;
mod wire;

pub use auth::AuthPolicy;
pub use server::{Server, listen};
