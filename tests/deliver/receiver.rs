//! A webhook receiver as a backend would write it: it verifies with the Standard Webhooks library and answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use callisto::base::EndpointId;
use callisto::config::EventFilter;
use callisto::webhook::Endpoint;
use callisto::webhook::sign::Secret;
use serde_json::Value;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(60);

/// One request, verified.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub id: String,
    pub timestamp: u64,
    pub body: Bytes,
    pub json: Value,
}

impl Arrival {
    pub fn seq(&self) -> u64 {
        self.json["seq"].as_u64().expect("a lifecycle event has a number")
    }
}

/// What a receiver answers.
pub type Answer = Box<dyn FnMut(&Arrival) -> Reply + Send>;

pub enum Reply {
    Status(u16),
    RetryAfter(u16, u64),
    /// 302 to an address.
    Moved(String),
    /// Nothing, as long as the connection holds.
    Silence,
}

#[derive(Clone)]
struct Shared {
    arrivals: mpsc::UnboundedSender<Arrival>,
    answer: Arc<Mutex<Answer>>,
    secret: Secret,
}

/// Listens on a free port of loopback until it is dropped.
pub struct Receiver {
    pub url: url::Url,
    secret: Secret,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    server: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub async fn start(answer: impl FnMut(&Arrival) -> Reply + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
        let (arrivals_in, arrivals) = mpsc::unbounded_channel();
        let secret = Secret::generate([42; 32]);
        let shared =
            Shared { arrivals: arrivals_in, answer: Arc::new(Mutex::new(Box::new(answer))), secret: secret.clone() };
        let app = Router::new().fallback(receive).with_state(shared);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, secret, arrivals, server }
    }

    /// Answers 200 to everything.
    pub async fn friendly() -> Self {
        Self::start(|_| Reply::Status(200)).await
    }

    pub fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint {
            id: name.parse::<EndpointId>().unwrap(),
            url: self.url.clone(),
            secrets: vec![self.secret.clone()],
            retiring: Vec::new(),
            events: EventFilter { all_lifecycle: true, named: Default::default() },
            enabled: true,
        }
    }

    pub async fn next(&mut self) -> Arrival {
        tokio::time::timeout(SOON, self.arrivals.recv()).await.expect("a request comes").expect("the receiver runs")
    }

    pub async fn next_seqs(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        for _ in 0..count {
            seqs.push(self.next().await.seq());
        }
        seqs
    }

    /// What has come and was not looked at.
    pub fn rest(&mut self) -> Vec<Arrival> {
        std::iter::from_fn(|| self.arrivals.try_recv().ok()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let verifier = standardwebhooks::Webhook::new(&shared.secret.reveal()).unwrap();
    if let Err(error) = verifier.verify(&body, &headers) {
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(json["id"], header("webhook-id"), "the envelope's id is the header's");
    let timestamp = header("webhook-timestamp").parse().unwrap();
    let arrival = Arrival { id: header("webhook-id"), timestamp, body, json };
    let reply = (shared.answer.lock().unwrap())(&arrival);
    // The test may have seen enough.
    let _ = shared.arrivals.send(arrival);
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::RetryAfter(status, seconds) => {
            (StatusCode::from_u16(status).unwrap(), [("retry-after", seconds.to_string())]).into_response()
        }
        Reply::Moved(to) => (StatusCode::FOUND, [("location", to)]).into_response(),
        Reply::Silence => std::future::pending().await,
    }
}
