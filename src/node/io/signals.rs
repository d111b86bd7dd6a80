//! The signals that ask the node to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, of a service manager, and SIGINT, of Ctrl-C at a terminal. Made before the node starts, so that none is missed.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
