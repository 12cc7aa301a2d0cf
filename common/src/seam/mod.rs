//! The seams through which Weir reaches the outside world, so that tests can stand in for it.
//!
//! Nothing else reads a wall clock, opens a file (RocksDB's own files apart) or draws a random number.

mod clock;
mod file_system;
mod memory;
mod rng;

pub use clock::{Clock, ManualClock, SystemClock};
pub use file_system::{DiskSpace, FailingFileSystem, File, FileSystem, MemoryFileSystem, OsFileSystem};
pub use memory::{ManualMemory, MemoryProbe, SystemMemory};
pub use rng::Rng;
