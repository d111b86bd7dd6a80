//! What a WHIP or WHEP client has at this server: a session without a WebSocket, its place in a call, and its ICE session.
//!
//! Control knows nothing of HTTP: it hears the same inputs as from a WebSocket, and its messages for the session come here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use super::door::{Door, grant};
use crate::base::{CallId, Mid, SessionId, Source, UserId};
use crate::control::input::Wish;
use crate::control::io::entropy;
use crate::control::{ConnectionId, Input, LogIn, Message, Refusal, Reply, Request, RequestId};
use crate::event::{ErrorCode, Event};
use crate::signal::fragment;
use crate::signal::offer::{self, Credentials};
use crate::ticket::Ticket;

/// Messages that may wait for one resource. It acts on few and lets the others go at once, so it keeps up with any call.
const MAILBOX: usize = 256;

/// Time control has for an answer: longer than any commit to a disk that works, shorter than the patience of common HTTP clients.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The resources of one door.
pub struct Floor {
    pub door: Arc<Door>,
    resources: DashMap<SessionId, Arc<Resource>>,
}

/// One client's.
pub struct Resource {
    floor: Arc<Floor>,
    pub id: SessionId,
    pub user: UserId,
    connection: ConnectionId,
    state: Mutex<State>,
    /// Requests that control has not answered.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Reply, Refusal>>>>,
    last_request: AtomicU64,
    /// One change of the ICE session at a time.
    patching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    call: Option<CallId>,
    offer: Offer,
    /// How often ICE was restarted; names the ICE session.
    restarts: u64,
    choice: Option<Choice>,
    /// It has ended, be it before its client was told of it.
    over: bool,
}

/// The client's offer, kept for restarts of ICE.
#[derive(Clone, Default)]
pub struct Offer {
    pub sdp: String,
    pub sources: Vec<(Mid, Source)>,
}

/// Whom a viewer wants in its slots.
#[derive(Clone)]
pub struct Choice {
    pub user: UserId,
    pub slots: Vec<(Mid, Source)>,
}

/// A resource that is being made: it ends with this value, unless it is kept. A client may go while it is made.
pub struct Draft(Option<Arc<Resource>>);

impl Floor {
    pub fn new(door: Arc<Door>) -> Arc<Self> {
        Arc::new(Self { door, resources: DashMap::new() })
    }

    pub fn find(&self, id: SessionId) -> Option<Arc<Resource>> {
        self.resources.get(&id).map(|resource| resource.clone())
    }

    /// Logs the ticket's user in.
    pub async fn log_in(self: &Arc<Self>, ticket: Ticket) -> Result<Draft, Refusal> {
        let door = &self.door;
        let resource = Arc::new(Resource {
            floor: self.clone(),
            id: SessionId::new(door.clock.now(), entropy()),
            user: ticket.user.clone(),
            connection: door.registry.next_connection(),
            state: Mutex::default(),
            waiting: Mutex::default(),
            last_request: AtomicU64::new(0),
            patching: tokio::sync::Mutex::default(),
        });
        let draft = Draft(Some(resource.clone()));
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        door.registry.open_mailbox(resource.id, mailbox);
        tokio::spawn(resource.clone().listen(messages));
        let (session, connection, user) = (resource.id, resource.connection, ticket.user);
        let (expires, grant) = (ticket.expires_at, ticket.map_key.map(grant));
        let log_in = |request| Input::LogIn(LogIn { session, connection, request, user, expires, grant });
        resource.exchange(log_in).await?;
        Ok(draft)
    }
}

impl Draft {
    pub fn resource(&self) -> &Arc<Resource> {
        self.0.as_ref().expect("it is taken by `keep` only")
    }

    /// The client knows of it from here on.
    pub fn keep(mut self) -> Arc<Resource> {
        let resource = self.0.take().expect("it is taken by `keep` only");
        resource.floor.resources.insert(resource.id, resource.clone());
        if resource.state().over {
            resource.floor.resources.remove(&resource.id);
        }
        resource
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(resource) = self.0.take() {
            tokio::spawn(async move { resource.leave().await });
        }
    }
}

impl Resource {
    /// Enters a call.
    pub async fn join(&self, request: Request) -> Result<(), Refusal> {
        match self.ask(request).await? {
            Reply::Entered { call, .. } => {
                self.state().call = Some(call);
                Ok(())
            }
            other => unreachable!("a join is answered by an entry, not by {other:?}"),
        }
    }

    /// Gives the offer to the media plane; its answer.
    pub async fn offer(&self, offer: Offer) -> Result<String, Refusal> {
        let Some(call) = self.state().call else { return Err(over()) };
        let Offer { sdp, sources } = offer.clone();
        match self.ask(Request::Offer { call, sdp, sources }).await? {
            Reply::Answer { sdp } => {
                self.state().offer = offer;
                Ok(sdp)
            }
            other => unreachable!("an offer is answered by an answer, not by {other:?}"),
        }
    }

    /// Shows this user only, whenever they are there.
    pub async fn choose(&self, choice: Choice) {
        self.state().choice = Some(choice);
        self.view().await;
    }

    /// The name of the ICE session (RFC 9725, 4.3.1), an entity tag.
    pub fn etag(&self) -> String {
        format!("\"ice-{}\"", self.state().restarts)
    }

    pub fn credentials(&self) -> Option<Credentials> {
        offer::credentials(&self.state().offer.sdp)
    }

    /// Restarts ICE with the client's fresh credentials; the server's, as a fragment.
    pub async fn restart(&self, credentials: &Credentials) -> Result<String, Refusal> {
        let _one = self.patching.lock().await;
        let Offer { sdp, sources } = self.state().offer.clone();
        let answer = self.offer(Offer { sdp: offer::restarted(&sdp, credentials), sources }).await?;
        self.state().restarts += 1;
        Ok(fragment::of_answer(&answer))
    }

    /// Hangs up and ends.
    pub async fn leave(&self) {
        let call = self.state().call.take();
        if let Some(call) = call {
            let request = RequestId(self.next_request().into());
            let input = Input::Request { session: self.id, request, body: Request::HangUp { call } };
            // Without control there is no call either.
            let _ = self.floor.door.control.send(input).await;
        }
        self.end().await;
    }

    async fn end(&self) {
        let Floor { door, resources } = &*self.floor;
        self.state().over = true;
        if resources.remove(&self.id).is_some() {
            tracing::debug!(session = %self.id, "a WHIP or WHEP resource ends");
        }
        door.registry.close_mailbox(self.id);
        let _ = door.control.send(Input::Dropped { session: self.id, connection: self.connection }).await;
    }

    /// Hears control until the session or its call is over.
    async fn listen(self: Arc<Self>, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Reply { request, result } => self.answer(&request, result),
                Message::Close { .. } => break,
                Message::Event { event, .. }
                    if matches!(*event, Event::CallEnd { .. } | Event::CallCancelled { .. }) =>
                {
                    break;
                }
                Message::Event { event, .. } if self.is_of_choice(&event) => {
                    let resource = self.clone();
                    // Its answer comes through here.
                    tokio::spawn(async move { resource.view().await });
                }
                // What a client without our protocol cannot be told.
                Message::Event { .. }
                | Message::Slots { .. }
                | Message::Encodings { .. }
                | Message::Stopping { .. } => {}
            }
        }
        self.state().call = None;
        self.end().await;
    }

    /// Whether the chosen user may be shown from here on, though they could not before.
    fn is_of_choice(&self, event: &Event) -> bool {
        let user = match event {
            Event::UserJoin { user_id }
            | Event::UserAudioAvailable { user_id, is_audio_available: true }
            | Event::UserVideoAvailable { user_id, is_video_available: true } => user_id,
            _ => return false,
        };
        self.state().choice.as_ref().is_some_and(|choice| choice.user == *user)
    }

    async fn view(&self) {
        let (call, choice) = {
            let state = self.state();
            (state.call, state.choice.clone())
        };
        let (Some(call), Some(Choice { user, slots })) = (call, choice) else { return };
        let wishes = |user: Option<UserId>| {
            let wish = |(mid, source): &(Mid, Source)| Wish {
                mid: mid.clone(),
                user: user.clone(),
                source: *source,
                max_height: None,
            };
            Request::View { call, slots: slots.iter().map(wish).collect() }
        };
        if self.ask(wishes(Some(user))).await.is_err() {
            // They are not in the call: nobody else is shown instead.
            let _ = self.ask(wishes(None)).await;
        }
    }

    async fn ask(&self, body: Request) -> Result<Reply, Refusal> {
        let session = self.id;
        self.exchange(|request| Input::Request { session, request, body }).await
    }

    async fn exchange(&self, input: impl FnOnce(RequestId) -> Input) -> Result<Reply, Refusal> {
        let number = self.next_request();
        let (sender, reply) = oneshot::channel();
        self.waiting().insert(number, sender);
        let exchange = async {
            self.floor.door.control.send(input(RequestId(number.into()))).await.ok()?;
            reply.await.ok()
        };
        let reply = tokio::time::timeout(ANSWER_WITHIN, exchange).await.ok().flatten();
        self.waiting().remove(&number);
        reply.unwrap_or_else(|| {
            let reason = "the session is over, or the server is stopping or overloaded";
            Err(Refusal::new(ErrorCode::Unavailable, reason))
        })
    }

    fn answer(&self, request: &RequestId, result: Result<Reply, Refusal>) {
        let waiting = request.0.as_u64().and_then(|number| self.waiting().remove(&number));
        if let Some(waiting) = waiting {
            // Who asked may have given up.
            let _ = waiting.send(result);
        }
    }

    fn next_request(&self) -> u64 {
        self.last_request.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the state in hand")
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<Reply, Refusal>>>> {
        self.waiting.lock().expect("nobody panics with the requests in hand")
    }
}

fn over() -> Refusal {
    Refusal::state("the call is over")
}
