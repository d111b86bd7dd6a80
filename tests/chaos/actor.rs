//! A client that lives through crashes: it reconnects, resumes with its token, and asks again until it is answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callisto::base::{Timestamp, UserId};
use callisto::ticket::{Ticket, TicketKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::APP;

/// An answer that takes longer is none: the connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Where the server is, and what lets users in.
pub struct Gate {
    pub server: watch::Receiver<Option<SocketAddr>>,
    pub tickets: TicketKey,
}

/// What a client was told of a call: the server must have stored it before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub call: String,
    pub kind: String,
    /// Whom the event speaks of, or nobody.
    pub user: String,
}

pub struct Actor<'a> {
    gate: &'a Gate,
    user: UserId,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    token: Option<String>,
    last_id: u64,
    gone: bool,
    /// The call that this user is in or rung for, as the server said last.
    pub call: Option<String>,
    pub told: BTreeSet<Told>,
}

/// The connection broke before the answer came: what was asked may have happened or not.
pub struct Lost;

impl<'a> Actor<'a> {
    pub fn new(gate: &'a Gate, user: String) -> Self {
        let user = user.parse().expect("a user id");
        Self { gate, user, socket: None, token: None, last_id: 0, gone: false, call: None, told: BTreeSet::new() }
    }

    /// The connection breaks without a word, and the user never comes back.
    pub fn vanish(&mut self) {
        (self.socket, self.gone) = (None, true);
    }

    pub fn has_vanished(&self) -> bool {
        self.gone
    }

    /// Logged in, however long it takes.
    pub async fn be_online(&mut self) {
        while self.socket.is_none() {
            let _ = self.connect().await;
        }
    }

    /// Asks until there is an answer; a refusal is one.
    pub async fn ask(&mut self, method: &str, params: Value) -> Result<Value, i64> {
        loop {
            if let Ok(answer) = self.ask_once(method, params.clone()).await {
                return answer;
            }
        }
    }

    pub async fn ask_once(&mut self, method: &str, params: Value) -> Result<Result<Value, i64>, Lost> {
        self.be_online().await;
        self.send(method, params).await
    }

    /// Listens until `enough`, or for so long.
    pub async fn listen(&mut self, at_most: Duration, enough: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + at_most;
        while !enough(self) {
            if Instant::now() >= until {
                return false;
            }
            if self.socket.is_none() && timeout_at(until, self.be_online()).await.is_err() {
                return enough(self);
            }
            if let Ok(Ok(message)) = timeout_at(until, self.read()).await {
                self.hear(&message);
            }
        }
        true
    }

    pub fn heard(&self, kind: &str, call: &str) -> bool {
        self.told.iter().any(|told| told.kind == kind && told.call == call)
    }

    /// Whether the user was told that the call is over for them.
    pub fn is_out_of(&self, call: &str) -> bool {
        self.heard("onCallEnd", call) || self.heard("onCallCancelled", call)
    }

    async fn connect(&mut self) -> Result<(), Lost> {
        let mut server = self.gate.server.clone();
        let address =
            server.wait_for(Option::is_some).await.expect("the test outlives its clients").expect("it is some");
        let connected = timeout(ANSWER_WITHIN, connect_async(format!("ws://{address}/v1/ws"))).await;
        match connected {
            Ok(Ok((socket, _))) => self.socket = Some(socket),
            // Killed, and not yet replaced: the next address comes through the gate.
            _ => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Err(Lost);
            }
        }
        let mut params = json!({"sdkAppId": APP, "userId": self.user, "userSig": self.ticket()});
        if let Some(token) = &self.token {
            params["resumeToken"] = json!(token);
        }
        let result = self.send("login", params).await?.unwrap_or_else(|code| panic!("log-in refused: {code}"));
        self.token = result["resumeToken"].as_str().map(str::to_owned);
        self.call = result["calls"][0]["callId"].as_str().map(str::to_owned);
        Ok(())
    }

    fn ticket(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let issued_at = Timestamp::default() + now;
        let expires_at = issued_at + Duration::from_secs(3600);
        self.gate.tickets.sign(&Ticket { user: self.user.clone(), issued_at, expires_at, map_key: None })
    }

    async fn send(&mut self, method: &str, params: Value) -> Result<Result<Value, i64>, Lost> {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let socket = self.socket.as_mut().ok_or(Lost)?;
        if socket.send(Message::text(request)).await.is_err() {
            self.socket = None;
            return Err(Lost);
        }
        loop {
            let message = match timeout(ANSWER_WITHIN, self.read()).await {
                Ok(message) => message?,
                Err(_) => {
                    self.socket = None;
                    return Err(Lost);
                }
            };
            if message["id"] == id {
                return Ok(match message["error"]["code"].as_i64() {
                    Some(code) => Err(code),
                    None => Ok(message["result"].clone()),
                });
            }
            self.hear(&message);
        }
    }

    async fn read(&mut self) -> Result<Value, Lost> {
        let socket = self.socket.as_mut().ok_or(Lost)?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("the server sends JSON")),
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    self.socket = None;
                    return Err(Lost);
                }
                Some(Ok(_)) => {}
            }
        }
    }

    fn hear(&mut self, message: &Value) {
        let Some(kind) = message["method"].as_str() else { return };
        let params = &message["params"];
        if kind == "resumeToken" {
            self.token = params["resumeToken"].as_str().map(str::to_owned);
            return;
        }
        let Some(call) = params["callId"].as_str() else { return };
        match kind {
            "onCallReceived" => self.call = Some(call.to_owned()),
            "onCallEnd" | "onCallCancelled" if self.call.as_deref() == Some(call) => self.call = None,
            _ => {}
        }
        let user = params["userId"].as_str().unwrap_or_default().to_owned();
        self.told.insert(Told { call: call.to_owned(), kind: kind.to_owned(), user });
    }
}
