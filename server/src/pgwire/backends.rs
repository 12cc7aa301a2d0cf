//! Who is connected: the number, the secret and the cancel switch of each session, and the limit on them.
//!
//! Place in the flow: a connection registers here after authentication; a CancelRequest, which comes on a
//! connection of its own, looks the session up. Invariants: a wrong secret does nothing and is not told apart
//! from a wrong number; a cancel reaches only what runs at that moment, never the next statement.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use pgwire::api::auth::sasl::scram::random_nonce;
use tokio::sync::Notify;
use weir_common::{Error, Result, SqlState};

/// All sessions of a server.
pub struct Backends {
    live: Mutex<HashMap<i32, Arc<Backend>>>,
    connected: AtomicUsize,
    limit: usize,
}

/// One session, as others see it.
pub struct Backend {
    /// What BackendKeyData tells the client; the only proof a CancelRequest needs.
    pub secret: Bytes,
    /// Notifies what the session runs at the moment.
    pub cancel: Notify,
    /// How many cancels have come: what runs in several steps compares it between them.
    pub cancels: AtomicUsize,
}

/// A place among the allowed connections; freed when dropped.
pub struct Slot(Arc<Backends>);

/// A registered session; forgotten when dropped.
pub struct Registration {
    backends: Arc<Backends>,
    pid: i32,
    /// The session.
    pub backend: Arc<Backend>,
}

impl Backends {
    /// No sessions yet, at most `limit` at a time.
    pub fn new(limit: usize) -> Arc<Backends> {
        Arc::new(Backends { live: Mutex::default(), connected: AtomicUsize::new(0), limit })
    }

    /// Takes one of the allowed places (53300 when there is none).
    pub fn take_slot(self: &Arc<Self>) -> Result<Slot> {
        if self.connected.fetch_add(1, Ordering::SeqCst) >= self.limit {
            self.connected.fetch_sub(1, Ordering::SeqCst);
            return Err(Error::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
                .with_detail(format!("All {} connections are in use.", self.limit)));
        }
        Ok(Slot(Arc::clone(self)))
    }

    /// Makes the session known under its number, with a new secret of `secret_bytes` bytes.
    pub fn register(self: &Arc<Self>, pid: i32, secret_bytes: usize) -> Registration {
        let backend = Arc::new(Backend {
            secret: random_secret(secret_bytes),
            cancel: Notify::new(),
            cancels: AtomicUsize::new(0),
        });
        self.live.lock().insert(pid, Arc::clone(&backend));
        Registration { backends: Arc::clone(self), pid, backend }
    }

    /// Cancels what the session runs, if the secret is its own.
    pub fn cancel(&self, pid: i32, secret: &[u8]) {
        let found = self.live.lock().get(&pid).cloned();
        if let Some(backend) = found.filter(|b| same_bytes(&b.secret, secret)) {
            backend.cancels.fetch_add(1, Ordering::SeqCst);
            backend.cancel.notify_waiters();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.backends.live.lock().remove(&self.pid);
    }
}

/// Random bytes that cannot be guessed: a keyed hash, with keys from the operating system, over a random nonce.
fn random_secret(bytes: usize) -> Bytes {
    let mut secret = Vec::with_capacity(bytes + 8);
    while secret.len() < bytes {
        secret.extend_from_slice(&RandomState::new().hash_one(random_nonce()).to_be_bytes());
    }
    secret.truncate(bytes);
    secret.into()
}

/// Equality in time that does not depend on where the bytes differ.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_cancels() {
        let backends = Backends::new(2);
        let session = backends.register(7, 4);
        let mut cancelled = std::pin::pin!(session.backend.cancel.notified());
        cancelled.as_mut().enable();
        backends.cancel(7, b"????");
        backends.cancel(8, &session.backend.secret);
        assert!(!cancelled.as_mut().enable());
        backends.cancel(7, &session.backend.secret);
        assert!(cancelled.as_mut().enable());
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let backends = Backends::new(1);
        let slot = backends.take_slot().unwrap();
        assert_eq!(backends.take_slot().err().unwrap().state(), SqlState::TOO_MANY_CONNECTIONS);
        drop(slot);
        assert!(backends.take_slot().is_ok());
    }

    #[test]
    fn secrets_differ_and_have_their_length() {
        let (a, b) = (random_secret(32), random_secret(32));
        assert_eq!(a.len(), 32);
        assert_ne!(a, b);
    }
}
