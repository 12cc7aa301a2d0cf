//! How a server is set up: the few numbers that the command line may change.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of an engine, with the defaults a new user gets.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// Worker threads of the dataflow runtime.
    pub workers: usize,
    /// Longest time an epoch with source data stays open.
    pub epoch_interval: Duration,
    /// Time between two checkpoints.
    pub checkpoint_interval: Duration,
    /// Most rows of one batch that a source or scan hands out.
    pub batch_rows: usize,
    /// Bytes that state, queries and buffers together may take.
    pub memory_limit_bytes: usize,
    /// Bytes of state that an operator keeps in memory on a worker although it could read it again from disk, and that a
    /// new view takes of its input between two checkpoints. `None`: as much as the memory limit allows.
    pub state_memory_bytes: Option<usize>,
}

impl EngineConfig {
    /// The defaults on this data folder, with this many workers.
    pub fn new(data_dir: impl Into<PathBuf>, workers: usize) -> EngineConfig {
        EngineConfig {
            data_dir: data_dir.into(),
            workers: workers.max(1),
            epoch_interval: Duration::from_millis(100),
            checkpoint_interval: Duration::from_secs(1),
            batch_rows: 8192,
            memory_limit_bytes: 4 << 30,
            state_memory_bytes: None,
        }
    }
}
