//! How a node stops: it takes no new calls, waits for those that go on, then closes its parts so that nothing told is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{Service, Signals};
use crate::config::{Drain, OpenCalls};
use crate::control::Input;
use crate::node::Node;

/// Time for the last facts to reach a disk that makes trouble.
const STORE_WITHIN: Duration = Duration::from_secs(10);
/// Time for the webhooks that are due; what is left is delivered by the next start.
const DELIVER_WITHIN: Duration = Duration::from_secs(5);
/// Time for clients to be told that the connection ends.
const CLOSE_SOCKETS_WITHIN: Duration = Duration::from_secs(2);

/// How long the parts are given on the way out.
#[derive(Debug, Clone, Copy)]
struct Patience {
    deliver: Duration,
}

impl Node {
    /// Takes no new calls and waits for those that go on, then stops. A signal meanwhile cuts the waiting short; another one ends
    /// the process where it stands, which loses nothing that was told either.
    pub async fn drain(self, drain: Drain, signals: &mut Signals) {
        let patience = tokio::select! {
            () = self.wait_for_calls(drain) => Patience { deliver: DELIVER_WITHIN },
            () = signals.next() => {
                tracing::warn!("stopping at once; open calls are taken up by the next start");
                Patience { deliver: Duration::ZERO }
            }
        };
        tokio::select! {
            () = self.stop(patience) => {}
            () = signals.next() => tracing::warn!("ended on the way out; the next start delivers what is left"),
        }
    }

    async fn wait_for_calls(&self, drain: Drain) {
        let Drain { timeout: within, open_calls } = drain;
        Service::stopping("taking no new calls");
        self.readiness.close();
        let until = Instant::now() + within;
        let mut drained = self.drained.subscribe();
        // Control outlives this: it is stopped by `stop` only.
        let _ = self.control.send(Input::Drain { within }).await;
        let within = humantime::format_duration(within);
        tracing::info!(%within, "stopping: no new calls; waiting for open ones to end (a second signal stops at once)");
        if timeout_at(until, drained.wait_for(|drained| *drained)).await.is_ok() {
            return tracing::info!("no call is open");
        }
        match open_calls {
            OpenCalls::Keep => tracing::warn!("calls are still open; the next start takes them up"),
            OpenCalls::End => {
                tracing::warn!("calls are still open; they end");
                let _ = self.control.send(Input::EndCalls).await;
                let _ = timeout(STORE_WITHIN, drained.wait_for(|drained| *drained)).await;
            }
        }
    }

    /// Nothing that was told is lost: what control gave out is stored and told, then doors close, control ends, delivery and the
    /// record finish.
    async fn stop(self, patience: Patience) {
        self.readiness.close();
        let _ = timeout(STORE_WITHIN, self.record.flush()).await;
        for server in self.servers {
            server.abort();
        }
        let _ = timeout(CLOSE_SOCKETS_WITHIN, self.registry.close_all()).await;
        let _ = self.stop_control.send(());
        let control_thread = self.control_thread;
        if !matches!(tokio::task::spawn_blocking(move || control_thread.join()).await, Ok(Ok(()))) {
            tracing::error!("control had failed");
        }
        let _ = timeout(STORE_WITHIN, self.record.flush()).await;
        self.deliverer.shutdown(patience.deliver).await;
        let unstored = self.writer.close(STORE_WITHIN).await;
        if unstored.0 > 0 {
            tracing::error!(turns = unstored.0, "the record could not be written to the end");
        }
        if let Ok(plane) = Arc::try_unwrap(self.plane) {
            let _ = tokio::task::spawn_blocking(|| plane.stop()).await;
        }
        tracing::info!("stopped");
    }
}
