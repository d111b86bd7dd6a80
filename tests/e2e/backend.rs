//! The customer's backend: a real HTTP server that takes webhooks, verifies every signature and checks every call's order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::DEADLINE;
use crate::server::Site;

/// 32 bytes; any other would do.
const SECRET: &str = "whsec_Q2FsbGlzdG8gdGVzdHMgaXRzIG93biB3ZWJob29rcyE=";

/// One webhook as it came.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub id: String,
    pub kind: String,
    pub call: String,
    pub seq: u64,
    pub data: Value,
}

/// How requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accept,
    Refuse(StatusCode),
    /// Not at all: the connection stays open.
    Hang,
}

/// The receiver; it stops with its value, which also says whether it found anything wrong.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    verifier: Mutex<Webhook>,
    inbox: Mutex<Inbox>,
    /// Counts the changes of the inbox.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Inbox {
    answer: Option<Answer>,
    /// Those answered with 2xx, each once, in the order they came.
    accepted: Vec<Envelope>,
    /// By call: the newest accepted number.
    newest: HashMap<String, u64>,
    attempts: Vec<Envelope>,
    /// The first and the last number of each gap that was told.
    gaps: Vec<(u64, u64)>,
    wrongs: Vec<String>,
}

impl Backend {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            verifier: Mutex::new(Webhook::new(SECRET).expect("a well-formed secret")),
            inbox: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let router = Router::new().route("/hook", post(take)).with_state(shared.clone());
        let serving =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves until aborted") });
        Self { address, shared, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn secret(&self) -> &'static str {
        SECRET
    }

    /// Verifies with this secret from here on.
    pub fn trust(&self, secret: &str) {
        let verifier = Webhook::new(secret).expect("a well-formed secret");
        *self.shared.verifier.lock().expect("no test panics with it in hand") = verifier;
    }

    pub fn answer(&self, answer: Answer) {
        self.shared.inbox().answer = Some(answer);
    }

    /// Waits until the accepted envelopes are as wished for.
    pub async fn wait_for(&self, what: &str, wished: impl Fn(&[Envelope]) -> bool) {
        self.wait(what, |inbox| wished(&inbox.accepted)).await;
    }

    /// Waits until a request of this kind was made, however it was answered.
    pub async fn wait_for_attempt(&self, kind: &str) {
        self.wait(kind, |inbox| inbox.attempts.iter().any(|envelope| envelope.kind == kind)).await;
    }

    /// Waits until a gap was told.
    pub async fn wait_for_gap(&self) -> (u64, u64) {
        self.wait("a gap", |inbox| !inbox.gaps.is_empty()).await;
        self.shared.inbox().gaps[0]
    }

    /// Waits until so many requests were made about a call, however they were answered.
    pub async fn wait_for_attempts(&self, call: &str, count: usize) -> Vec<Envelope> {
        let of_call = |inbox: &Inbox| -> Vec<Envelope> {
            inbox.attempts.iter().filter(|envelope| envelope.call == call).cloned().collect()
        };
        self.wait("requests", |inbox| of_call(inbox).len() >= count).await;
        of_call(&self.shared.inbox())
    }

    /// Waits for the call's terminal event and gives its whole stream, which was signed, in order and without a gap.
    pub async fn whole_call(&self, call: &str) -> Vec<Envelope> {
        let is_end = |envelope: &Envelope| {
            envelope.call == call && matches!(envelope.kind.as_str(), "onCallEnd" | "onCallCancelled")
        };
        self.wait_for("the end of the call", |accepted| accepted.iter().any(is_end)).await;
        let inbox = self.shared.inbox();
        assert!(inbox.wrongs.is_empty(), "{:#?}", inbox.wrongs);
        inbox.accepted.iter().filter(|envelope| envelope.call == call).cloned().collect()
    }

    /// As `whole_call`, for the call that was placed after `earlier` others.
    pub async fn whole_call_of(&self, earlier: usize) -> Vec<Envelope> {
        self.wait("a call", |inbox| inbox.calls().len() > earlier).await;
        let call = self.shared.inbox().calls()[earlier].clone();
        self.whole_call(&call).await
    }

    /// It heard of so many calls and no more.
    pub fn expect_calls(&self, count: usize) {
        assert_eq!(self.shared.inbox().calls().len(), count);
    }

    async fn wait(&self, what: &str, wished: impl Fn(&Inbox) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let fulfilled = changed.wait_for(|_| {
            let inbox = self.shared.inbox();
            !inbox.wrongs.is_empty() || wished(&inbox)
        });
        let outcome = timeout(DEADLINE, fulfilled).await.map(|changed| drop(changed.expect("the sender lives")));
        let inbox = self.shared.inbox();
        assert!(inbox.wrongs.is_empty(), "{:#?}", inbox.wrongs);
        assert!(outcome.is_ok(), "the backend waited in vain for {what}; it got {:#?}", inbox.accepted);
    }
}

impl Site {
    /// With these receivers as webhook endpoints for all lifecycle events.
    pub fn new(backends: &[&Backend]) -> Self {
        let endpoints: Vec<_> = backends.iter().map(|backend| (backend.url(), backend.secret())).collect();
        Self::with_endpoints(&endpoints)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
        if !std::thread::panicking() {
            let inbox = self.shared.inbox();
            assert!(inbox.wrongs.is_empty(), "{:#?}", inbox.wrongs);
        }
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no test panics with the inbox in hand")
    }

    fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let mut inbox = self.inbox();
        let answer = inbox.answer.unwrap_or(Answer::Accept);
        match self.verify(headers, body) {
            Ok(envelope) if envelope.kind == "delivery.gap" => {
                let number = |key: &str| envelope.data[key].as_u64().expect("a gap says which numbers it is of");
                inbox.gaps.push((number("fromSeq"), number("toSeq")));
            }
            Ok(envelope) => inbox.take(envelope, answer),
            Err(wrong) => inbox.wrongs.push(wrong),
        }
        drop(inbox);
        self.changed.send_modify(|changes| *changes += 1);
        answer
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Envelope, String> {
        let shown = String::from_utf8_lossy(body);
        let verifier = self.verifier.lock().expect("no test panics with it in hand");
        verifier.verify(body, headers).map_err(|error| format!("{error}: {shown}"))?;
        let envelope = parse(body).ok_or_else(|| format!("no envelope: {shown}"))?;
        match headers.get("webhook-id").map(|id| id.as_bytes()) {
            Some(id) if id == envelope.id.as_bytes() => Ok(envelope),
            _ => Err(format!("webhook-id is not the envelope's: {shown}")),
        }
    }
}

impl Inbox {
    /// In the order in which their first events came.
    fn calls(&self) -> Vec<String> {
        self.accepted.iter().filter(|envelope| envelope.seq == 1).map(|envelope| envelope.call.clone()).collect()
    }

    fn take(&mut self, envelope: Envelope, answer: Answer) {
        self.attempts.push(envelope.clone());
        if answer != Answer::Accept {
            return;
        }
        let newest = self.newest.entry(envelope.call.clone()).or_default();
        if envelope.seq == *newest + 1 {
            *newest = envelope.seq;
            self.accepted.push(envelope);
            return;
        }
        // At least once: the same again is allowed, something else under its number is not.
        let again = self.accepted.iter().any(|known| known.call == envelope.call && known.is_again(&envelope));
        if !again {
            let newest = *newest;
            self.wrongs.push(format!("number {} after number {newest}: {envelope:?}", envelope.seq));
        }
    }
}

impl Envelope {
    fn is_again(&self, other: &Envelope) -> bool {
        self.seq == other.seq && self.id == other.id && self.kind == other.kind && self.data == other.data
    }
}

fn parse(body: &[u8]) -> Option<Envelope> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    text("time")?;
    Some(Envelope {
        id: text("id").filter(|id| id.starts_with("ev_"))?,
        kind: text("type")?,
        call: text("callId").filter(|call| call.starts_with("call_"))?,
        // A gap has no number of its own.
        seq: value["seq"].as_u64().or((value["type"] == "delivery.gap").then_some(0))?,
        data: value["data"].is_object().then(|| value["data"].clone())?,
    })
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match shared.receive(&headers, &body) {
        Answer::Accept => StatusCode::NO_CONTENT,
        Answer::Refuse(status) => status,
        Answer::Hang => std::future::pending().await,
    }
}

/// The names of events, in order: what most tests compare. A name stands with the user it speaks of.
pub fn names(envelopes: &[Envelope]) -> Vec<String> {
    envelopes.iter().map(|envelope| crate::rpc::label(&envelope.kind, &envelope.data)).collect()
}
