//! One client's WebSocket: frames in, requests to control; control's messages out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message as WsMessage, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::SinkExt as _;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::door::{Door, TOO_MANY_FAILURES, grant};
use super::registry::{Arrival, Frame, SOCKET_QUEUE};
use crate::base::{SessionId, UserId};
use crate::control::io::{Stopped, entropy};
use crate::control::{ConnectionId, Input, LogIn, Refusal, Renewal, Request, RequestId};
use crate::event::ErrorCode;
use crate::signal::protocol::{self, Body, Incoming, LogInParams, MAX_FRAME, Malformed};
use crate::signal::rate::{Allowance, Verdict};
use crate::signal::token::Resume;
use crate::ticket::Ticket;

/// Time a client has for its log-in.
const LOG_IN_WITHIN: Duration = Duration::from_secs(10);
/// What one read of a socket may bring, in bytes. An idle socket holds on to it, so it is an ordinary message and no offer.
const READ_BUFFER: usize = 4096;
/// How often a silent client is asked whether it is there: two unanswered questions are an answer.
const PING_EVERY: Duration = Duration::from_secs(4);
/// A client unheard for so long is gone.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// Frames that leave in one write.
const FRAMES_AT_ONCE: usize = 64;
/// Time for one frame to leave; a socket stuck longer is dead.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

pub fn router(door: Arc<Door>) -> Router {
    Router::new().route("/v1/ws", get(upgrade)).with_state(door)
}

async fn upgrade(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !door.allows_origin(&headers) {
        return (StatusCode::FORBIDDEN, "this origin is not in http.allowed_origins\n").into_response();
    }
    upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(move |socket| async move { Connection::new(door, peer.ip()).serve(socket).await })
}

/// One socket's state.
struct Connection {
    door: Arc<Door>,
    id: ConnectionId,
    address: IpAddr,
    allowance: Allowance,
    session: Option<(SessionId, UserId)>,
    /// The door's own answers to the frame just read.
    answers: Vec<Frame>,
    /// Given to the registry with the log-in: when that lets go of it, the connection ends.
    outgoing: Option<mpsc::Sender<Frame>>,
    frames: mpsc::Receiver<Frame>,
}

/// The connection ends.
struct Over;

impl From<Stopped> for Over {
    fn from(_: Stopped) -> Self {
        Over
    }
}

impl Connection {
    fn new(door: Arc<Door>, address: IpAddr) -> Self {
        let (outgoing, frames) = mpsc::channel(SOCKET_QUEUE);
        let id = door.registry.next_connection();
        let allowance = Allowance::new(door.clock.now());
        Self { door, id, address, allowance, session: None, answers: Vec::new(), outgoing: Some(outgoing), frames }
    }

    async fn serve(mut self, mut socket: WebSocket) {
        let _counted = self.door.metrics.websocket();
        tracing::debug!(connection = self.id.0, "client connected");
        let _ = self.exchange(&mut socket).await;
        let _ = tokio::time::timeout(WRITE_WITHIN, socket.send(WsMessage::Close(None))).await;
        if let Some((session, _)) = self.session {
            self.door.registry.detach(session, self.id);
            let _ = self.door.control.send(Input::Dropped { session, connection: self.id }).await;
        }
        tracing::debug!(connection = self.id.0, "client disconnected");
    }

    async fn exchange(&mut self, socket: &mut WebSocket) -> Result<(), Over> {
        let log_in_by = Instant::now() + LOG_IN_WITHIN;
        let mut heard = Instant::now();
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut frames = Vec::new();
        loop {
            let logged_in = self.session.is_some();
            tokio::select! {
                message = socket.recv() => {
                    heard = Instant::now();
                    self.heard(message.ok_or(Over)?.map_err(|_| Over)?).await?;
                    let answers = std::mem::take(&mut self.answers);
                    self.write(socket, answers).await?;
                }
                count = self.frames.recv_many(&mut frames, FRAMES_AT_ONCE) => {
                    if count == 0 {
                        return Err(Over);
                    }
                    self.write(socket, std::mem::take(&mut frames)).await?;
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENT_AFTER {
                        return Err(Over);
                    }
                    send(socket, WsMessage::Ping(Default::default())).await?;
                }
                () = tokio::time::sleep_until(log_in_by), if !logged_in => {
                    let late = Frame::Close { code: 4000, reason: "no log-in within 10 s" };
                    return self.write(socket, vec![late]).await;
                }
            }
        }
    }

    /// Together, and behind those that are kept the token that stands for the last of them.
    async fn write(&self, socket: &mut WebSocket, frames: Vec<Frame>) -> Result<(), Over> {
        let mut newest = None;
        for frame in frames {
            let text = match frame {
                Frame::Text(text) => text,
                Frame::Kept { text, position } => {
                    newest = Some(position);
                    text
                }
                Frame::Close { code, reason } => {
                    let _ = send(socket, WsMessage::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
                    return Err(Over);
                }
            };
            feed(socket, &text).await?;
        }
        if let (Some(position), Some((session, user))) = (newest, &self.session) {
            let token = self.door.registry.tokens().sign(user, Resume { session: *session, position });
            feed(socket, &protocol::resume_token(&token)).await?;
        }
        in_time(socket.flush()).await
    }

    async fn heard(&mut self, message: WsMessage) -> Result<(), Over> {
        match message {
            WsMessage::Text(text) => self.request(&text).await,
            WsMessage::Binary(_) => {
                self.close(1003, "only text frames are understood");
                Ok(())
            }
            WsMessage::Ping(_) | WsMessage::Pong(_) => Ok(()),
            WsMessage::Close(_) => Err(Over),
        }
    }

    async fn request(&mut self, text: &str) -> Result<(), Over> {
        let parsed = protocol::parse(text);
        match self.allowance.ask(self.door.clock.now()) {
            Verdict::Take => {}
            Verdict::Refuse => {
                let id = parsed.map_or_else(|malformed| RequestId(malformed.id), |incoming| incoming.id);
                self.refuse(&id, &Refusal::new(ErrorCode::TooManyRequests, "more requests than a client may send"));
                return Ok(());
            }
            Verdict::Close => {
                self.close(1008, "more requests than a client may send");
                return Ok(());
            }
        }
        match parsed {
            Ok(Incoming { id, body }) => self.take(id, body).await,
            Err(malformed) => {
                self.say(malformed.to_json());
                Ok(())
            }
        }
    }

    async fn take(&mut self, id: RequestId, body: Body) -> Result<(), Over> {
        let Some((session, user)) = self.session.clone() else {
            return match body {
                Body::LogIn(params) => self.log_in(id, params).await,
                Body::Ping => {
                    self.say(protocol::result(&id, &json!({})));
                    Ok(())
                }
                _ => {
                    self.refuse(&id, &Refusal::new(ErrorCode::NotLoggedIn, "login comes first"));
                    Ok(())
                }
            };
        };
        match body {
            Body::LogIn(_) => self.refuse(&id, &Refusal::repeated("this connection is logged in")),
            Body::Ping => self.say(protocol::result(&id, &json!({}))),
            Body::RenewUserSig { user_sig } => {
                match self.verify(&user_sig, self.door.tickets.key().sdk_app_id(), &user) {
                    Ok(ticket) => {
                        let (expires, grant) = (ticket.expires_at, ticket.map_key.map(grant));
                        self.door
                            .control
                            .send(Input::Renewed(Renewal { session, request: id, expires, grant }))
                            .await?;
                    }
                    Err(refusal) => self.refuse(&id, &refusal),
                }
            }
            Body::Control(Request::Call { webhook: Some(webhook), .. })
                if self.door.webhooks.vet(&webhook.url).is_err() =>
            {
                let why = "params.webhook.url: private and special addresses are not allowed";
                self.say(Malformed::parameter(id, why.into()).to_json());
            }
            Body::Control(body) => self.door.control.send(Input::Request { session, request: id, body }).await?,
        }
        Ok(())
    }

    async fn log_in(&mut self, request: RequestId, params: LogInParams) -> Result<(), Over> {
        let LogInParams { sdk_app_id, user_id: user, user_sig, resume_token } = params;
        let ticket = match self.verify(&user_sig, sdk_app_id, &user) {
            Ok(ticket) => ticket,
            Err(refusal) => {
                tracing::debug!(code = refusal.code.number(), "log-in refused");
                if self.door.failed(self.address) {
                    self.refuse(&request, &refusal);
                } else {
                    self.refuse(&request, &Refusal::new(ErrorCode::TooManyRequests, TOO_MANY_FAILURES));
                    self.close(1008, TOO_MANY_FAILURES);
                }
                return Ok(());
            }
        };
        // A token that is not good any more makes a new session: the reply names it, the client sees the difference.
        let resume = resume_token.and_then(|token| self.door.registry.tokens().verify(&user, &token));
        let session = resume.map_or_else(|| SessionId::new(self.door.clock.now(), entropy()), |resume| resume.session);
        let arrival = Arrival {
            user: user.clone(),
            connection: self.id,
            socket: self.outgoing.take().expect("only the first log-in comes here"),
            resume,
            ice_servers: self.door.ice_servers.grant(&user, self.door.clock.now()),
        };
        self.door.registry.arrive(session, arrival);
        self.session = Some((session, user.clone()));
        let (expires, grant) = (ticket.expires_at, ticket.map_key.map(grant));
        let log_in = LogIn { session, connection: self.id, request, user, expires, grant };
        Ok(self.door.control.send(Input::LogIn(log_in)).await?)
    }

    fn verify(&self, user_sig: &str, sdk_app_id: u32, user: &UserId) -> Result<Ticket, Refusal> {
        self.door
            .tickets
            .key()
            .verify(user_sig, sdk_app_id, user, self.door.clock.now())
            .map_err(|error| Refusal::new(error.code(), error.to_string()))
    }

    fn refuse(&mut self, id: &RequestId, refusal: &Refusal) {
        self.say(protocol::refusal(id, refusal));
    }

    fn say(&mut self, text: String) {
        self.answers.push(Frame::Text(text.into()));
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        self.answers.push(Frame::Close { code, reason });
    }
}

async fn send(socket: &mut WebSocket, message: WsMessage) -> Result<(), Over> {
    in_time(socket.send(message)).await
}

/// Sends it with what follows.
async fn feed(socket: &mut WebSocket, text: &str) -> Result<(), Over> {
    in_time(socket.feed(WsMessage::Text(text.into()))).await
}

async fn in_time<E>(written: impl Future<Output = Result<(), E>>) -> Result<(), Over> {
    match tokio::time::timeout(WRITE_WITHIN, written).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Over),
    }
}
