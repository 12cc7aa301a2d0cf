//! `WatchedPool`: the memory pool of batch queries, which gives no more while the whole process is short of memory.

use std::fmt;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use weir_common::MemoryWatch;

/// A pool below the limit of the process.
#[derive(Debug)]
pub(super) struct WatchedPool<P> {
    inner: P,
    memory: Watch,
}

struct Watch(Arc<MemoryWatch>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.0.resident_bytes(), self.0.limit_bytes())
    }
}

impl<P> WatchedPool<P> {
    /// Gives what `inner` gives, unless the process is short of memory.
    pub(super) fn new(inner: P, memory: Arc<MemoryWatch>) -> WatchedPool<P> {
        WatchedPool { inner, memory: Watch(memory) }
    }
}

impl<P> fmt::Display for WatchedPool<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watched({:?})", self.memory)
    }
}

impl<P: MemoryPool> MemoryPool for WatchedPool<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let admitted = self.memory.0.admit(reservation.size() + additional);
        admitted.map_err(|error| {
            let detail = error.detail().unwrap_or_default();
            DataFusionError::ResourcesExhausted(detail.to_string())
        })?;
        self.inner.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}
