//! Control's state and its one step: an input goes in, a turn comes out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::input::{Input, Moment, RequestId, Restored};
use super::message::{Message, Reply};
use super::operation::{Answer, Denial, OperationId};
use super::room::{Member, Room};
use super::session::Session;
use super::timers::Timers;
use crate::base::{CallId, PeerId, RoomKey, SessionId, Timestamp, UserId};
use crate::call::{self, Call, Presence, Recipient, Refusal};
use crate::event::{Event, Fact, RoomId};
use crate::media::Command;
use crate::webhook::endpoint::OwnWebhook;

/// What control keeps to; from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub ring_timeout: Duration,
    pub limits: call::Limits,
    pub sessions_per_user: usize,
    pub renew_grace: Duration,
    pub webhook_volume_interval: Duration,
    /// Media shards, over which calls are spread.
    pub shards: u64,
}

/// What one input leads to, in the order of its lists: media commands at once; facts into the ledger; and when these are
/// stored, messages to sessions, then `after`.
#[derive(Debug, Default)]
pub struct Turn {
    pub media: Vec<Command>,
    pub facts: Vec<Fact>,
    /// Calls of this turn that bring an endpoint of their own along.
    pub webhooks: Vec<(CallId, OwnWebhook)>,
    /// The states of the calls that changed; of each the last one counts.
    pub states: Vec<CallState>,
    pub tells: Vec<(SessionId, Message)>,
    /// Likewise behind the facts.
    pub answers: Vec<(OperationId, Result<Answer, Denial>)>,
    /// Media commands that wait until the messages are on their way.
    pub after: Vec<Command>,
    /// For webhooks that name them; never stored.
    pub telemetry: Vec<(CallId, Event)>,
    /// No call is left, and none will come: the node may stop once this turn is stored and told.
    pub drained: bool,
}

/// A call's state for the ledger, so that a node that comes back knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallState {
    pub call: CallId,
    /// `None`: the call has ended.
    pub snapshot: Option<Vec<u8>>,
}

/// What can fall due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    Call(CallId),
    Session(SessionId),
    /// The volumes that webhooks have not been given yet.
    Volumes(CallId),
}

/// Everything control owns.
#[derive(Debug)]
pub struct State {
    pub(super) settings: Settings,
    pub(super) presence: Presence,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) calls: HashMap<CallId, Room>,
    pub(super) rooms: HashMap<RoomId, CallId>,
    pub(super) keys: HashMap<RoomKey, CallId>,
    pub(super) peers: HashMap<PeerId, CallId>,
    /// Offers that the media plane has not answered yet.
    pub(super) offers: HashMap<u64, (SessionId, RequestId)>,
    pub(super) timers: Timers<Timer>,
    last_number: u64,
    /// Until when calls may go on, once the node is to stop.
    pub(super) draining: Option<Timestamp>,
    pub(super) writable: bool,
    pub(super) turn: Turn,
}

impl State {
    pub fn new(settings: Settings) -> Self {
        assert!(settings.shards > 0, "calls need a shard");
        Self {
            settings,
            presence: Presence::default(),
            sessions: HashMap::new(),
            calls: HashMap::new(),
            rooms: HashMap::new(),
            keys: HashMap::new(),
            peers: HashMap::new(),
            offers: HashMap::new(),
            timers: Timers::default(),
            last_number: 0,
            draining: None,
            writable: true,
            turn: Turn::default(),
        }
    }

    /// When [`Input::Tick`] is next wanted.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Whether a new call would be taken on.
    pub fn takes_calls(&self) -> bool {
        self.writable && self.draining.is_none()
    }

    pub fn calls(&self) -> impl Iterator<Item = &Room> {
        self.calls.values()
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The one step.
    pub fn apply(&mut self, input: Input, moment: Moment) -> Turn {
        let now = moment.now;
        match input {
            Input::LogIn(log_in) => self.log_in(log_in, now),
            Input::Renewed(renewal) => self.renewed(renewal, now),
            Input::Dropped { session, connection } => self.dropped(session, connection, now),
            Input::Request { session, request, body } => {
                if let Some(result) = self.request(session, &request, body, moment).transpose() {
                    self.tell(session, Message::Reply { request, result });
                }
            }
            Input::Operation { id, body } => {
                let result = self.operate(body, moment);
                self.turn.answers.push((id, result));
            }
            Input::Media(report) => self.report(report, now),
            Input::Restored(restored) => self.restored(restored, now),
            Input::LedgerHealth { writable } => self.writable = writable,
            Input::Drain { within } => self.drain(within, now),
            Input::EndCalls => self.end_calls(now),
            Input::Tick => {}
        }
        self.handle_due(now);
        self.turn.drained = self.draining.is_some() && self.calls.is_empty();
        std::mem::take(&mut self.turn)
    }

    fn handle_due(&mut self, now: Timestamp) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Call(call) => self.with_call(call, now, |room, now| room.call.handle_timeout(now)),
                Timer::Session(session) => self.session_due(session, now),
                Timer::Volumes(call) => self.post_volumes(call, now),
            }
        }
    }

    /// A call that the ledger kept: its members' devices are held for until they come back.
    fn restored(&mut self, restored: Restored, now: Timestamp) {
        let Restored { mut call, last_seen } = restored;
        call.recover(last_seen, now);
        let id = call.id();
        for party in call.parties().iter().filter(|party| party.is_engaged()) {
            self.presence.engage(&party.user, id);
        }
        let members: Vec<UserId> = call.members().map(|party| party.user.clone()).collect();
        let key = self.adopt(*call);
        let room = self.calls.get_mut(&self.keys[&key]).expect("just adopted");
        for user in &members {
            // What its client may not send is known when it comes back.
            let silenced = room.call.sanctions().muted(user);
            room.members.insert(user.clone(), Member { silenced, signal_lost: true, ..Member::default() });
        }
        self.flush(id);
        // Nothing arrives from anyone yet.
        members.iter().for_each(|user| self.media_changed(id, user, now));
    }

    /// Takes a new call into the books; its shard is the one with the fewest calls.
    pub(super) fn adopt(&mut self, call: Call) -> RoomKey {
        let shards = self.settings.shards;
        let mut load = vec![0usize; shards as usize];
        for key in self.keys.keys() {
            load[(key.0 % shards) as usize] += 1;
        }
        let shard = (0..shards).min_by_key(|shard| load[*shard as usize]).expect("there is a shard");
        let number = self.next_number();
        let key = RoomKey(number * shards + shard);
        self.rooms.insert(call.room().clone(), call.id());
        self.keys.insert(key, call.id());
        self.calls.insert(call.id(), Room::new(call, key));
        key
    }

    /// A number not given out before while the node runs.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn tell(&mut self, session: SessionId, message: Message) {
        self.turn.tells.push((session, message));
    }

    pub(super) fn reply(&mut self, session: SessionId, request: RequestId, result: Result<Reply, Refusal>) {
        self.tell(session, Message::Reply { request, result });
    }

    /// Lets `change` work on a call, then carries out what the call wants.
    pub(super) fn with_call<T: Default>(
        &mut self,
        call: CallId,
        now: Timestamp,
        change: impl FnOnce(&mut Room, Timestamp) -> T,
    ) -> T {
        let Some(room) = self.calls.get_mut(&call) else { return T::default() };
        // Should the change be the end, its summary speaks of everyone up to this moment.
        for (user, member) in &room.members {
            room.call.summarize(user, member.summary(now));
        }
        let result = change(room, now);
        self.flush(call);
        result
    }

    /// Carries out what the call wants, notes its next deadline and, when it is worth keeping, its state.
    pub(super) fn flush(&mut self, id: CallId) {
        let mut worth_keeping = false;
        while let Some(output) = self.calls.get_mut(&id).and_then(|room| room.call.poll()) {
            worth_keeping |= matches!(output, call::Output::Record(_) | call::Output::Changed);
            self.carry_out(id, output);
        }
        let room = self.calls.get(&id);
        self.timers.set(Timer::Call(id), room.and_then(|room| room.call.deadline()));
        if worth_keeping {
            let snapshot = room.map(|room| serde_json::to_vec(&room.call).expect("a call is plain data"));
            self.turn.states.push(CallState { call: id, snapshot });
        }
    }

    fn carry_out(&mut self, id: CallId, output: call::Output) {
        match output {
            call::Output::Record(fact) => self.turn.facts.push(fact),
            call::Output::Tell { to, event } => self.tell_users(id, to, event),
            call::Output::Engaged(user) => self.presence.engage(&user, id),
            call::Output::Released(user) => self.presence.release(&user, id),
            call::Output::Joined(member) => self.joined(id, member),
            call::Output::Changed => {}
            call::Output::Left(user) => self.left(id, &user),
            call::Output::Ended => self.ended(id),
        }
    }

    fn tell_users(&mut self, id: CallId, to: Recipient, event: Arc<Event>) {
        let sessions: Vec<SessionId> = match to {
            Recipient::Device(member) => vec![member.session],
            Recipient::Every(user) => self.presence.sessions(&user).to_vec(),
            Recipient::EveryBut(member) => {
                self.presence.sessions(&member.user).iter().copied().filter(|other| *other != member.session).collect()
            }
        };
        for session in sessions {
            self.tell(session, Message::Event { call: Some(id), event: event.clone() });
        }
    }

    fn joined(&mut self, id: CallId, member: call::Member) {
        let session = self.sessions.get(&member.session);
        let forbidden = session.map(Session::forbidden_sources).unwrap_or_default();
        let signal_lost = !session.is_some_and(Session::is_attached);
        let room = self.calls.get_mut(&id).expect("a call that speaks is known");
        let silenced = room.call.sanctions().muted(&member.user);
        room.members.insert(member.user, Member { forbidden, silenced, signal_lost, ..Member::default() });
    }

    fn left(&mut self, id: CallId, user: &UserId) {
        let room = self.calls.get_mut(&id).expect("a call that speaks is known");
        let Some(member) = room.members.remove(user) else { return };
        if let Some(peer) = member.peer {
            self.peers.remove(&peer);
            self.turn.media.push(Command::Leave { room: room.key, peer });
        }
    }

    fn ended(&mut self, id: CallId) {
        let Some(room) = self.calls.remove(&id) else { return };
        assert!(room.members.is_empty(), "an ended call has no members");
        self.rooms.remove(room.call.room());
        self.keys.remove(&room.key);
        self.timers.set(Timer::Volumes(id), None);
    }
}
