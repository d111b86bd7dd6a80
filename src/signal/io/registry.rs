//! Which session is connected where: control's messages go through here to the right socket, or wait for the client to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::mpsc;

use crate::base::{SessionId, UserId};
use crate::control::message::Closing;
use crate::control::{CallBrief, ConnectionId, Message, Reply, RequestId};
use crate::signal::ice::Granted;
use crate::signal::outbox::Outbox;
use crate::signal::protocol::{self, Welcome};
use crate::signal::token::{Resume, TokenKey};

/// Frames that may wait for one socket. A client that lets them pile up is disconnected; it may resume.
pub const SOCKET_QUEUE: usize = 1024;

/// What a socket's task is to write.
#[derive(Debug, Clone)]
pub enum Frame {
    Text(Arc<str>),
    /// One that is given again to a client that comes back: it is told its number when it has it.
    Kept {
        text: Arc<str>,
        position: u64,
    },
    Close {
        code: u16,
        reason: &'static str,
    },
}

/// A connection that waits for its log-in to be taken.
#[derive(Debug)]
pub struct Arrival {
    pub user: UserId,
    pub connection: ConnectionId,
    pub socket: mpsc::Sender<Frame>,
    /// Where the client wants to go on, when it resumes.
    pub resume: Option<Resume>,
    pub ice_servers: Vec<Granted>,
}

/// The sessions that the doors hold.
pub struct Registry {
    places: DashMap<SessionId, Place>,
    /// Sessions without a WebSocket.
    mailboxes: DashMap<SessionId, mpsc::Sender<Message>>,
    tokens: TokenKey,
    last_connection: AtomicU64,
}

struct Place {
    user: UserId,
    outbox: Outbox,
    /// A client logged in here since the node started: what its outbox does not hold it was told.
    known: bool,
    attached: Option<(ConnectionId, mpsc::Sender<Frame>)>,
    arriving: Option<Arrival>,
}

impl Registry {
    pub fn new(tokens: TokenKey) -> Self {
        Self { places: DashMap::new(), mailboxes: DashMap::new(), tokens, last_connection: AtomicU64::new(0) }
    }

    pub fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.last_connection.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub fn tokens(&self) -> &TokenKey {
        &self.tokens
    }

    /// A client proved who it is; the reply to its log-in will open the way for messages.
    pub fn arrive(&self, session: SessionId, arrival: Arrival) {
        let position = arrival.resume.map_or(0, |resume| resume.position);
        let mut place = self.places.entry(session).or_insert_with(|| Place {
            user: arrival.user.clone(),
            outbox: Outbox::starting_at(position),
            known: false,
            attached: None,
            arriving: None,
        });
        place.arriving = Some(arrival);
    }

    /// A session whose messages go to the other end of this queue, unread; those that find no place there are lost.
    pub fn open_mailbox(&self, session: SessionId, mailbox: mpsc::Sender<Message>) {
        self.mailboxes.insert(session, mailbox);
    }

    pub fn close_mailbox(&self, session: SessionId) {
        self.mailboxes.remove(&session);
    }

    /// The connection is gone; messages wait from here on. Others than the attached one change nothing.
    pub fn detach(&self, session: SessionId, connection: ConnectionId) {
        if let Some(mut place) = self.places.get_mut(&session)
            && place.attached.as_ref().is_some_and(|(attached, _)| *attached == connection)
        {
            place.attached = None;
        }
    }

    /// Carries control's messages, in the order in which control gave them. An event for many is put into words once.
    pub fn deliver(&self, messages: &[(SessionId, Message)]) {
        let mut last: Option<(&Message, Arc<str>)> = None;
        for (session, message) in messages {
            if let Some(mailbox) = self.mailboxes.get(session) {
                let _ = mailbox.try_send(message.clone());
                continue;
            }
            match message {
                Message::Close { reason } => self.close(*session, *reason),
                Message::Reply { request, result: Ok(Reply::LoggedIn { calls }) } => {
                    self.attach(*session, request, calls);
                }
                message => {
                    let written = match &last {
                        Some((before, text)) if before.is_same_event(message) => Some(text.clone()),
                        _ => protocol::write(message).map(Arc::from),
                    };
                    let Some(text) = written else { continue };
                    if let Some(mut place) = self.places.get_mut(session) {
                        place.say(text.clone(), protocol::is_kept(message));
                    }
                    last = Some((message, text));
                }
            }
        }
    }

    /// Closes every socket, at the end of the node; done when all of them are closed. A socket that takes no more is let go.
    pub async fn close_all(&self) {
        let sockets: Vec<_> = self.places.iter_mut().filter_map(|mut place| place.attached.take()).collect();
        for (_, socket) in &sockets {
            let _ = socket.try_send(Frame::Close { code: 1012, reason: "the server restarts" });
        }
        for (_, socket) in sockets {
            socket.closed().await;
        }
    }

    fn attach(&self, session: SessionId, request: &RequestId, calls: &[CallBrief]) {
        let Some(mut place) = self.places.get_mut(&session) else { return };
        let Some(arrival) = place.arriving.take() else { return };
        let read = arrival.resume.map_or_else(|| place.outbox.position(), |resume| resume.position);
        let missed: Vec<(u64, Arc<str>)> = place.outbox.after(read).map(|(at, text)| (at, text.clone())).collect();
        let token = self.tokens.sign(&place.user, Resume { session, position: read });
        let resumed = std::mem::replace(&mut place.known, true)
            && arrival.resume.is_some_and(|resume| place.outbox.reaches(resume.position));
        let welcome = Welcome { session, resume_token: &token, resumed, ice_servers: &arrival.ice_servers };
        let result = protocol::log_in_result(welcome, calls);
        // Replaces an older connection of the session; its socket ends when its queue does.
        place.attached = Some((arrival.connection, arrival.socket));
        place.send(Frame::Text(protocol::result(request, &result).into()));
        missed.into_iter().for_each(|(position, text)| place.send(Frame::Kept { text, position }));
    }

    fn close(&self, session: SessionId, reason: Closing) {
        if let Some((_, place)) = self.places.remove(&session)
            && let Some((_, socket)) = place.attached
        {
            let (code, reason) = protocol::close_code(reason);
            let _ = socket.try_send(Frame::Close { code, reason });
        }
    }
}

impl Place {
    fn say(&mut self, text: Arc<str>, kept: bool) {
        if !kept {
            return self.send(Frame::Text(text));
        }
        self.outbox.push(text.clone());
        self.send(Frame::Kept { text, position: self.outbox.position() });
    }

    /// A socket that takes no more is let go: its client reads what it missed when it comes back.
    fn send(&mut self, frame: Frame) {
        if let Some((_, socket)) = &self.attached
            && socket.try_send(frame).is_err()
        {
            self.attached = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::base::CallId;
    use crate::event::Event;

    const SESSION: SessionId = SessionId::from_u128(1);

    fn registry() -> Registry {
        Registry::new(TokenKey::new("secret"))
    }

    fn arrive(registry: &Registry, resume: Option<Resume>) -> (ConnectionId, mpsc::Receiver<Frame>) {
        let (socket, frames) = mpsc::channel(SOCKET_QUEUE);
        let connection = registry.next_connection();
        let user = "alice".parse().unwrap();
        registry.arrive(SESSION, Arrival { user, connection, socket, resume, ice_servers: vec![] });
        (connection, frames)
    }

    fn logged_in() -> Message {
        Message::Reply { request: RequestId(1.into()), result: Ok(Reply::LoggedIn { calls: vec![] }) }
    }

    fn joined(user: &str) -> Message {
        Message::Event { call: None, event: Event::UserJoin { user_id: user.parse().unwrap() }.into() }
    }

    fn tell(registry: &Registry, message: Message) {
        registry.deliver(&[(SESSION, message)]);
    }

    /// Each with its number, if it is kept.
    fn frames_of(frames: &mut mpsc::Receiver<Frame>) -> Vec<(Arc<str>, Option<u64>)> {
        let texts = std::iter::from_fn(|| match frames.try_recv() {
            Ok(Frame::Text(text)) => Some((text, None)),
            Ok(Frame::Kept { text, position }) => Some((text, Some(position))),
            _ => None,
        });
        texts.collect()
    }

    fn texts(frames: &mut mpsc::Receiver<Frame>) -> Vec<Value> {
        frames_of(frames).iter().map(|(text, _)| serde_json::from_str(text).unwrap()).collect()
    }

    #[test]
    fn a_client_that_comes_back_gets_what_it_missed_in_order() {
        let registry = registry();
        let (first, mut frames) = arrive(&registry, None);
        tell(&registry, joined("early"));
        assert!(texts(&mut frames).is_empty(), "nothing before the log-in's reply");
        tell(&registry, logged_in());
        tell(&registry, joined("bob"));
        let (_, position) = frames_of(&mut frames).pop().unwrap();
        registry.detach(SESSION, first);
        tell(&registry, joined("carol"));
        tell(&registry, joined("dave"));
        let resume = Resume { session: SESSION, position: position.unwrap() };
        let (_, mut frames) = arrive(&registry, Some(resume));
        tell(&registry, logged_in());
        let (texts, positions): (Vec<_>, Vec<_>) = frames_of(&mut frames).into_iter().unzip();
        let texts: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert!(texts[0]["result"]["sessionId"].is_string());
        assert_eq!(texts[0]["result"]["resumed"], true);
        assert_eq!(texts[1]["params"]["userId"], "carol");
        assert_eq!(texts[2]["params"]["userId"], "dave");
        assert_eq!(positions, [None, Some(resume.position + 1), Some(resume.position + 2)]);
    }

    #[test]
    fn an_event_for_many_is_put_into_words_once() {
        let registry = registry();
        let (_, mut frames) = arrive(&registry, None);
        tell(&registry, logged_in());
        frames_of(&mut frames);
        let (bob, carol, calling) = (joined("bob"), joined("carol"), CallId::from_u128(7));
        let Message::Event { event, .. } = &bob else { unreachable!() };
        let elsewhere = Message::Event { call: Some(calling), event: event.clone() };
        let messages = [bob.clone(), bob.clone(), elsewhere, carol, bob].map(|message| (SESSION, message));
        registry.deliver(&messages);
        let (texts, _): (Vec<_>, Vec<_>) = frames_of(&mut frames).into_iter().unzip();
        assert!(Arc::ptr_eq(&texts[0], &texts[1]));
        assert!(texts[2].contains(&calling.to_string()) && texts[3].contains("carol"));
        assert_eq!(texts[4], texts[0]);
    }

    #[test]
    fn a_client_is_told_when_what_it_missed_is_lost() {
        let resumed = |registry: &Registry, resume| {
            let (_, mut frames) = arrive(registry, resume);
            tell(registry, logged_in());
            texts(&mut frames)[0]["result"]["resumed"].clone()
        };
        let registry = registry();
        let resume = Some(Resume { session: SESSION, position: 0 });
        assert_eq!(resumed(&registry, None), false, "a first log-in resumes nothing");
        assert_eq!(resumed(&registry, resume), true);
        for _ in 0..1_000 {
            tell(&registry, joined("bob"));
        }
        assert_eq!(resumed(&registry, resume), false, "more than is kept");
        let restarted = self::registry();
        assert_eq!(resumed(&restarted, Some(Resume { session: SESSION, position: 7 })), false, "the node started anew");
    }

    #[test]
    fn a_late_goodbye_of_an_old_connection_changes_nothing() {
        let registry = registry();
        let (first, _frames) = arrive(&registry, None);
        tell(&registry, logged_in());
        let (_, mut frames) = arrive(&registry, None);
        tell(&registry, logged_in());
        registry.detach(SESSION, first);
        tell(&registry, joined("bob"));
        assert_eq!(texts(&mut frames)[1]["params"]["userId"], "bob");
    }

    #[test]
    fn a_socket_that_takes_no_more_is_let_go() {
        let registry = registry();
        let (_, mut frames) = arrive(&registry, None);
        tell(&registry, logged_in());
        for _ in 0..SOCKET_QUEUE {
            tell(&registry, joined("bob"));
        }
        assert!(texts(&mut frames).len() <= SOCKET_QUEUE);
        assert!(matches!(frames.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }

    #[test]
    fn a_closed_session_is_forgotten() {
        let registry = registry();
        let (_, mut frames) = arrive(&registry, None);
        tell(&registry, logged_in());
        tell(&registry, Message::Close { reason: Closing::KickedByAnotherLogin });
        texts(&mut frames);
        assert!(registry.places.is_empty());
    }
}
