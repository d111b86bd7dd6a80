//! A client without a browser: JSON-RPC over a WebSocket, as protocol.md has it.

use std::collections::VecDeque;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::DEADLINE;
use crate::server::{Server, Site};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The app that a server has without configuration.
pub const APP: u32 = 1_400_000_001;

/// What comes on its own time and answers to nothing that a test does.
const BESIDES: [&str; 5] =
    ["onUserVoiceVolumeChanged", "onUserNetworkQualityChanged", "slots", "encodings", "resumeToken"];

const TELEMETRY: [&str; 2] = ["onUserVoiceVolumeChanged", "onUserNetworkQualityChanged"];

/// What the door answers by itself is not told again to those who come back.
const DOORS_OWN: [&str; 2] = ["login", "ping"];

pub struct Client {
    sink: SplitSink<Socket, Message>,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    reading: JoinHandle<()>,
    last_id: u64,
    /// Notifications that were read while waiting for a reply.
    events: VecDeque<Event>,
    closed: Option<u16>,
    /// The newest message that counts for a resumption was read, its token was not yet.
    token_is_due: bool,
    pub resume_token: String,
    pub session: String,
    pub calls: Value,
    pub ice_servers: Value,
}

/// A notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub params: Value,
}

/// A refused request: the number and its stable name.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub code: i64,
    pub name: String,
}

enum Incoming {
    Message(Value),
    /// With the code, if the server gave one.
    Closed(Option<u16>),
}

impl Client {
    /// Connected, and not logged in.
    pub async fn connect(server: &Server) -> Self {
        let url = format!("ws://{}/v1/ws", server.public());
        let (socket, _) = timeout(DEADLINE, connect_async(url)).await.expect("in time").expect("the door is open");
        let (sink, stream) = socket.split();
        let (sender, incoming) = mpsc::unbounded_channel();
        let reading = tokio::spawn(read(stream, sender));
        Self {
            sink,
            incoming,
            reading,
            last_id: 0,
            events: VecDeque::new(),
            closed: None,
            token_is_due: false,
            resume_token: String::new(),
            session: String::new(),
            calls: Value::Null,
            ice_servers: Value::Null,
        }
    }

    pub async fn log_in(server: &Server, site: &Site, user: &str) -> Self {
        let mut client = Self::connect(server).await;
        let params = json!({"sdkAppId": APP, "userId": user, "userSig": site.ticket(user)});
        client.logged_in(params).await;
        client
    }

    /// Comes back with what an earlier connection had been given.
    pub async fn resume(server: &Server, site: &Site, user: &str, resume_token: &str) -> Self {
        let mut client = Self::connect(server).await;
        let ticket = site.ticket(user);
        let params = json!({"sdkAppId": APP, "userId": user, "userSig": ticket, "resumeToken": resume_token});
        client.logged_in(params).await;
        client
    }

    async fn logged_in(&mut self, params: Value) {
        let result = self.ask("login", params).await;
        self.session = result["sessionId"].as_str().expect("a session").to_owned();
        self.resume_token = result["resumeToken"].as_str().expect("a resume token").to_owned();
        self.calls = result["calls"].clone();
        self.ice_servers = result["iceServers"].clone();
        assert!(self.ice_servers.is_array(), "{result}");
    }

    /// A request that must succeed.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        let reply = self.request(method, params.clone()).await;
        match reply.get("result") {
            Some(result) => {
                self.token_is_due |= !DOORS_OWN.contains(&method);
                result.clone()
            }
            None => panic!("{method} {params} was refused: {reply}"),
        }
    }

    /// A request that must be refused.
    pub async fn refused(&mut self, method: &str, params: Value) -> Refused {
        let reply = self.request(method, params.clone()).await;
        let Some(code) = reply["error"]["code"].as_i64() else {
            panic!("{method} {params} was not refused: {reply}");
        };
        assert!(reply["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{reply}");
        Refused { code, name: reply["error"]["data"]["name"].as_str().unwrap_or_default().to_owned() }
    }

    /// A request; gives the reply, whichever it is.
    pub async fn request(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(request.to_string()).await;
        self.reply(json!(id)).await
    }

    /// Any text frame.
    pub async fn send(&mut self, text: String) {
        self.sink.send(Message::text(text)).await.expect("the connection is open");
    }

    /// Any text frame, to a server that may have closed the connection.
    pub async fn try_send(&mut self, text: String) -> bool {
        self.sink.send(Message::text(text)).await.is_ok()
    }

    /// Everything that comes until the connection is closed, and its code.
    pub async fn drain(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Incoming::Message(message) if message.get("method").is_some() => {}
                Incoming::Message(message) => messages.push(message),
                Incoming::Closed(code) => return (messages, code),
            }
        }
    }

    /// The reply with this id; null is what a frame without a readable one gets.
    pub async fn reply(&mut self, id: Value) -> Value {
        loop {
            match self.next().await {
                Incoming::Message(message) if message.get("method").is_some() => self.keep(message),
                Incoming::Message(message) => {
                    assert_eq!(message["jsonrpc"], "2.0", "{message}");
                    assert_eq!(message["id"], id, "{message}");
                    return message;
                }
                Incoming::Closed(code) => panic!("closed ({code:?}) before the reply to {id}"),
            }
        }
    }

    /// The next event must be this one; its payload without the call's id, which is checked against `call`.
    pub async fn expect(&mut self, name: &str, call: &str) -> Value {
        let Event { name: got, mut params } = self.next_event(name).await;
        assert_eq!(got, name, "{params}");
        let of = params.as_object_mut().expect("params are an object").remove("callId");
        assert_eq!(of, Some(json!(call)), "{name}");
        params
    }

    /// The next event must be this one, which belongs to no call.
    pub async fn expect_callless(&mut self, name: &str) -> Value {
        let event = self.next_event(name).await;
        assert_eq!(event.name, name, "{}", event.params);
        event.params
    }

    /// The next events, as `label` has them, must be these.
    pub async fn expect_all(&mut self, call: &str, labels: &[&str]) {
        for label in labels {
            let name = label.split_whitespace().next().expect("a label begins with a name");
            let params = self.expect(name, call).await;
            assert_eq!(self::label(name, &params), *label);
        }
    }

    /// As [`Client::expect_all`], whatever media come and go between.
    pub async fn expect_flow(&mut self, call: &str, labels: &[&str]) {
        for expected in labels {
            let mut told = self.next_label(call).await;
            while is_media(&told) {
                told = self.next_label(call).await;
            }
            assert_eq!(told, *expected);
        }
    }

    /// The next event, whichever it is, as `label` has it.
    pub async fn next_label(&mut self, call: &str) -> String {
        let Event { name, params } = self.next_event("an event").await;
        assert_eq!(params["callId"], call, "{name}");
        label(&name, &params)
    }

    async fn next_event(&mut self, awaited: &str) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match timeout(DEADLINE, self.next()).await {
                Ok(Incoming::Message(message)) if message.get("method").is_some() => self.keep(message),
                Ok(Incoming::Message(message)) => panic!("a reply that nobody asked for: {message}"),
                Ok(Incoming::Closed(code)) => panic!("closed ({code:?}) while waiting for {awaited}"),
                Err(_) => panic!("waited in vain for {awaited}"),
            }
        }
    }

    /// Nothing more has come: asks something that passes through everything events pass through, and looks what came before it.
    pub async fn expect_nothing_more(&mut self) {
        let nowhere = json!({"callId": "call_00000000000000000000000000"});
        self.request("hangup", nowhere).await;
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    /// The server closes the connection; gives its code.
    pub async fn expect_closed(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Incoming::Message(message) if message.get("method").is_some() => self.keep(message),
                Incoming::Message(message) => panic!("a reply that nobody asked for: {message}"),
                Incoming::Closed(code) => {
                    assert!(self.events.is_empty(), "{:?}", self.events);
                    return code;
                }
            }
        }
    }

    /// The connection breaks without a word. Gives the token for all that was read.
    pub async fn vanish(mut self) -> String {
        while self.token_is_due {
            match self.next().await {
                Incoming::Message(message) if message.get("method").is_some() => self.keep(message),
                Incoming::Message(message) => panic!("a reply that nobody asked for: {message}"),
                Incoming::Closed(code) => panic!("closed ({code:?}) before the token came"),
            }
        }
        assert!(self.events.is_empty(), "{:?}", self.events);
        self.reading.abort();
        // Both halves of the socket go: the other one with the task.
        let _ = self.reading.await;
        self.resume_token
    }

    async fn next(&mut self) -> Incoming {
        match timeout(DEADLINE, self.incoming.recv()).await {
            Ok(Some(Incoming::Closed(code))) => {
                self.closed = code;
                Incoming::Closed(code)
            }
            Ok(Some(message)) => message,
            Ok(None) => Incoming::Closed(self.closed),
            Err(_) => panic!("waited in vain for the server; events so far: {:?}", self.events),
        }
    }

    fn keep(&mut self, message: Value) {
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        let name = message["method"].as_str().expect("a method is text").to_owned();
        if name == "resumeToken" {
            self.resume_token = message["params"]["resumeToken"].as_str().expect("a token").to_owned();
            self.token_is_due = false;
        } else if !TELEMETRY.contains(&name.as_str()) {
            self.token_is_due = true;
        }
        if !BESIDES.contains(&name.as_str()) {
            self.events.push_back(Event { name, params: message["params"].clone() });
        }
    }
}

async fn read(mut stream: SplitStream<Socket>, sender: mpsc::UnboundedSender<Incoming>) {
    while let Some(Ok(message)) = stream.next().await {
        let incoming = match message {
            Message::Text(text) => Incoming::Message(serde_json::from_str(&text).expect("the server sends JSON")),
            Message::Close(frame) => Incoming::Closed(frame.map(|frame| frame.code.into())),
            _ => continue,
        };
        if sender.send(incoming).is_err() {
            return;
        }
    }
    let _ = sender.send(Incoming::Closed(None));
}

/// An event's name and, where it speaks of a user, who, and whether what it speaks of is there.
pub fn label(name: &str, payload: &Value) -> String {
    let mut label = name.to_owned();
    if let Some(user) = payload["userId"].as_str() {
        label += &format!(" {user}");
    }
    for key in ["isVideoAvailable", "isAudioAvailable"] {
        if let Some(available) = payload[key].as_bool() {
            label += if available { " on" } else { " off" };
        }
    }
    label
}

/// Whether it tells of media. They come and go as devices do, and when exactly is up to them; the rest of what is told is not.
pub fn is_media(label: &str) -> bool {
    label.contains("Available ")
}

/// A user's media of this kind, `Audio` or `Video`, came and went in turn, so often in all. A machine so busy that it sends none for two seconds
/// makes them go and come once more, which is told as it is.
#[track_caller]
pub fn assert_turns(labels: &[String], kind: &str, user: &str, turns: usize) {
    let prefix = format!("onUser{kind}Available {user} ");
    let states: Vec<&str> = labels.iter().filter_map(|label| label.strip_prefix(&prefix)).collect();
    assert!(are_in_turn(&states, turns), "{turns} turns of {prefix}expected, {states:?} told: {labels:?}");
}

fn are_in_turn(states: &[&str], turns: usize) -> bool {
    let alternate = states.iter().enumerate().all(|(index, state)| *state == ["on", "off"][index % 2]);
    alternate && states.len() >= turns && (states.len() - turns).is_multiple_of(2)
}

#[test]
fn turns_are_on_and_off_as_often_as_expected_or_by_whole_stalls_more() {
    for (states, turns, good) in [
        (&["on", "off"][..], 2, true),
        (&["on", "off", "on", "off"], 2, true),
        (&["on", "off"], 4, false),
        (&["on"], 2, false),
        (&["on", "off", "on"], 2, false),
        (&["on", "on", "off", "off"], 2, false),
        (&["off", "on"], 2, false),
        (&[], 2, false),
    ] {
        assert_eq!(are_in_turn(states, turns), good, "{states:?}, {turns}");
    }
}
