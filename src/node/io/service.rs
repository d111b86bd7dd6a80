//! What the node tells the service manager that started it (systemd's `sd_notify`); without one, nothing.

use sd_notify::NotifyState;

/// The service manager, if there is one.
pub struct Service;

impl Service {
    /// The listeners are open.
    pub fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// The node is on its way out; `why` is what `systemctl status` shows.
    pub fn stopping(why: &str) {
        tell(&[NotifyState::Stopping, NotifyState::Status(why)]);
    }
}

/// A manager that does not listen changes nothing for the node.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
