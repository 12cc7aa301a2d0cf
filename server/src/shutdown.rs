//! How the server ends: SIGTERM or SIGINT turns one switch, and everyone who serves a client watches it.
//!
//! Place in the flow: `main` owns the [`Switch`]; the accept loop and each connection hold a [`Watch`].
//! Invariant: once turned, the switch stays turned.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use weir_common::{Error, Result};

/// The one switch.
pub struct Switch(watch::Sender<bool>);

/// A view of the switch; cheap to clone.
#[derive(Clone)]
pub struct Watch(watch::Receiver<bool>);

impl Switch {
    /// A switch that is not turned, and a watch on it.
    pub fn new() -> (Switch, Watch) {
        let (sender, receiver) = watch::channel(false);
        (Switch(sender), Watch(receiver))
    }

    /// Everything begins to end.
    pub fn turn(&self) {
        self.0.send_replace(true);
    }
}

impl Watch {
    /// Resolves when the server ends (also when the switch itself has gone).
    pub async fn ended(&mut self) {
        // An error says that the sender was dropped, which means the same.
        let _ = self.0.wait_for(|ended| *ended).await;
    }
}

/// The signals that ask a server to end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen for them; from here on they do not kill the process.
    pub fn listen() -> Result<Signals> {
        let on = |kind| signal(kind).map_err(|e| Error::io("listen for signals", &e));
        Ok(Signals { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turned_switch_ends_every_watch() {
        let (switch, mut watch) = Switch::new();
        let mut late = watch.clone();
        switch.turn();
        watch.ended().await;
        late.ended().await;
    }

    #[tokio::test]
    async fn a_lost_switch_ends_too() {
        let (switch, mut watch) = Switch::new();
        drop(switch);
        watch.ended().await;
    }
}
