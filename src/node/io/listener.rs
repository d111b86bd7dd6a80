//! A listener's service: connections in a number that the process can hold, none of them idle for nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Time for the head of a request, counted from the connection's first moment and from the end of each answer: a socket that says
/// nothing costs no longer than that. Shorter would part slow phones from their kept connections.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Serves the routes to at most so many connections at a time; more wait to be accepted.
pub fn serve(mut listener: impl Listener<Addr = SocketAddr>, routes: Router, most: usize) -> JoinHandle<()> {
    let places = Arc::new(Semaphore::new(most));
    tokio::spawn(async move {
        loop {
            if places.available_permits() == 0 {
                tracing::warn!(most, "as many connections as this process can hold; more wait");
            }
            let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
            let (stream, peer) = listener.accept().await;
            let routes = routes.clone();
            tokio::spawn(async move {
                connection(TokioIo::new(stream), peer, routes).await;
                drop(place);
            });
        }
    })
}

/// One connection, to its end or until it becomes a WebSocket, which keeps its own time.
async fn connection<S>(stream: TokioIo<S>, peer: SocketAddr, routes: Router)
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.call(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(stream, service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection failed");
    }
}
