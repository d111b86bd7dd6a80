//! How a client comes in: JSON-RPC over a WebSocket, or WHIP and WHEP.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use url::Url;

use crate::load::Role;
use crate::load::client::SourceLine;

/// What one step of signalling may take.
const STEP: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where clients come in.
#[derive(Debug, Clone)]
pub enum Door {
    /// `/v1/ws` of a server of this kind.
    Rpc { url: Url, sdk_app_id: u32 },
    /// Addresses with `{room}` and `{user}` in them.
    Http { whip: String, whep: String, token: Option<String> },
}

/// Who comes in.
#[derive(Debug, Clone)]
pub struct Guest {
    pub role: Role,
    pub user: String,
    pub room: String,
    pub ticket: String,
}

/// Somebody who is in.
pub enum Session {
    Rpc { sink: SplitSink<Socket, Message>, reading: JoinHandle<()>, call: String },
    Http { client: reqwest::Client, resource: Option<Url>, token: String },
}

impl Door {
    /// The address that is asked first.
    ///
    /// # Errors
    /// It is none.
    pub fn address(&self, publishes: bool) -> anyhow::Result<Url> {
        match self {
            Door::Rpc { url, .. } => Ok(url.clone()),
            Door::Http { whip, whep, .. } => {
                let text = if publishes { whip } else { whep };
                let text = text.replace("{room}", "room").replace("{user}", "user");
                Url::parse(&text).with_context(|| format!("{text:?} is no address"))
            }
        }
    }

    /// Brings somebody in with an offer; returns the answer.
    ///
    /// # Errors
    /// The server refused, or took too long.
    pub async fn enter(&self, guest: &Guest, offer: String, lines: &[SourceLine]) -> anyhow::Result<(String, Session)> {
        match self {
            Door::Rpc { url, sdk_app_id } => enter_rpc(url, *sdk_app_id, guest, offer, lines).await,
            Door::Http { whip, whep, token } => {
                let text = if guest.role.publishes { whip } else { whep };
                let text = text.replace("{room}", &guest.room).replace("{user}", &guest.user);
                let url = Url::parse(&text).with_context(|| format!("{text:?} is no address"))?;
                enter_http(url, token.as_ref().unwrap_or(&guest.ticket), offer).await
            }
        }
    }
}

impl Session {
    /// Says goodbye, as far as anybody listens.
    pub async fn leave(self) {
        match self {
            Session::Rpc { mut sink, reading, call } => {
                let hangup = request(9, "hangup", &json!({"callId": call}));
                let _ = tokio::time::timeout(STEP, sink.send(hangup)).await;
                let _ = tokio::time::timeout(STEP, sink.close()).await;
                // It ends with the connection; whoever does not close has had its time.
                if tokio::time::timeout(STEP, reading).await.is_err() {
                    tracing::debug!("a server did not close its connection");
                }
            }
            Session::Http { client, resource: Some(url), token } => {
                let deletion = client.delete(url).header(AUTHORIZATION, format!("Bearer {token}")).timeout(STEP);
                let _ = deletion.send().await;
            }
            Session::Http { .. } => {}
        }
    }
}

async fn enter_rpc(
    url: &Url,
    sdk_app_id: u32,
    guest: &Guest,
    offer: String,
    lines: &[SourceLine],
) -> anyhow::Result<(String, Session)> {
    let (socket, _) =
        tokio::time::timeout(STEP, connect_async(url.as_str())).await.context("connecting took too long")??;
    let (mut sink, mut stream) = socket.split();
    let log_in = json!({"sdkAppId": sdk_app_id, "userId": guest.user, "userSig": guest.ticket});
    ask(&mut sink, &mut stream, (1, "login", log_in)).await?;
    let join = json!({"roomId": {"strRoomId": guest.room}, "callMediaType": 1});
    let joined = ask(&mut sink, &mut stream, (2, "join", join)).await?;
    let call = joined["callId"].as_str().context("join answered without a callId")?.to_owned();
    let sources: serde_json::Map<String, Value> =
        lines.iter().map(|(mid, source)| (mid.clone(), json!(source))).collect();
    let params = json!({"callId": call, "sdp": offer, "sources": sources});
    let answered = ask(&mut sink, &mut stream, (3, "offer", params)).await?;
    let answer = answered["sdp"].as_str().context("offer answered without sdp")?.to_owned();
    // What the server tells is of no interest, but it must be read.
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
    Ok((answer, Session::Rpc { sink, reading, call }))
}

async fn ask(
    sink: &mut SplitSink<Socket, Message>,
    stream: &mut SplitStream<Socket>,
    (id, method, params): (u64, &str, Value),
) -> anyhow::Result<Value> {
    sink.send(request(id, method, &params)).await.with_context(|| format!("{method} could not be sent"))?;
    let reply = async {
        while let Some(message) = stream.next().await {
            let Message::Text(text) = message? else { continue };
            let message: Value = serde_json::from_str(&text).context("the server sent no JSON")?;
            if message["id"] == id {
                return Ok(message);
            }
        }
        bail!("the server closed the connection at {method}")
    };
    let mut reply = tokio::time::timeout(STEP, reply).await.with_context(|| format!("{method} took too long"))??;
    ensure!(reply["error"].is_null(), "{method} was refused: {}", reply["error"]["message"].as_str().unwrap_or("?"));
    Ok(reply["result"].take())
}

fn request(id: u64, method: &str, params: &Value) -> Message {
    Message::text(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string())
}

async fn enter_http(url: Url, token: &str, offer: String) -> anyhow::Result<(String, Session)> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/sdp")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .timeout(STEP)
        .body(offer);
    let response = request.send().await.context("the server does not answer")?;
    let status = response.status();
    let resource = response.headers().get(LOCATION).and_then(|location| url.join(location.to_str().ok()?).ok());
    let body = response.text().await.unwrap_or_default();
    ensure!(status.is_success(), "{status}: {}", body.chars().take(200).collect::<String>());
    Ok((body, Session::Http { client, resource, token: token.to_owned() }))
}
