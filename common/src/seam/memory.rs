//! How much memory the process has.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Where the size of the process is read.
pub trait MemoryProbe: Send + Sync {
    /// Bytes of memory that the process occupies now; 0 where the system does not tell.
    fn resident_bytes(&self) -> usize;
}

/// What Linux says of this process.
pub struct SystemMemory {
    page_bytes: usize,
}

impl Default for SystemMemory {
    fn default() -> Self {
        SystemMemory { page_bytes: page_bytes().unwrap_or(4096) }
    }
}

impl MemoryProbe for SystemMemory {
    fn resident_bytes(&self) -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").ok();
        pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or(0) * self.page_bytes
    }
}

/// Of the kernel's page size as `smaps` shows it in the first mapping.
fn page_bytes() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let line = maps.lines().find_map(|line| line.strip_prefix("KernelPageSize:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kib| kib << 10)
}

/// A process of the size that a test gives it.
#[derive(Default)]
pub struct ManualMemory(AtomicUsize);

impl ManualMemory {
    /// Sets the size.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::SeqCst);
    }
}

impl MemoryProbe for ManualMemory {
    fn resident_bytes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_counted() {
        let memory = SystemMemory::default();
        let before = memory.resident_bytes();
        let block = vec![1u8; 64 << 20];
        let during = memory.resident_bytes();
        assert!(during >= before + (48 << 20), "{before} then {during}");
        drop(block);
    }
}
