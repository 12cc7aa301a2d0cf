//! Identifiers as types: an object of the catalog, a job, an operator of a plan, a worker thread.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(
    /// The OID of a catalog object. Users' objects start at [`ObjectId::FIRST_USER`]; never reused.
    ObjectId(u32)
);
id!(
    /// A continuous job. A materialized view's or sink's job has the number of its object.
    JobId(u32)
);
id!(
    /// A stateful operator within its job: a hash of the normalised sub-plan below it, so that it stays the
    /// same over restarts and over changes elsewhere in the plan.
    OperatorId(u64)
);
id!(
    /// A worker thread of the dataflow runtime, counted from 0.
    WorkerId(usize)
);

impl ObjectId {
    /// The first OID a user's object gets, as in PostgreSQL.
    pub const FIRST_USER: ObjectId = ObjectId(16384);
    /// The table `sys.dead_letters`.
    pub const DEAD_LETTERS: ObjectId = ObjectId(15100);
}
