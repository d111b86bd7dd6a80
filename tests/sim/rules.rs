//! The contract's rules, checked on everything that control gives out.

use std::collections::{HashMap, HashSet};

use callisto::base::{CallId, SessionId, Source, Timestamp, UserId};
use callisto::call::{Kind, Party, State as PartyState};
use callisto::control::{Message, Reply, State, Turn};
use callisto::event::{Event, EventKind, Fact};

/// Everything seen so far of every call and session.
#[derive(Default)]
pub struct Rules {
    pub calls: HashMap<CallId, Stream>,
    hearings: HashMap<(SessionId, CallId), Hearing>,
    /// Sessions that nothing reaches: they were closed, or the server does not know them since its restart.
    unreachable: HashSet<SessionId>,
    users: HashMap<SessionId, UserId>,
    /// What sessions that log in after a restart know from the reply's list of calls alone, until it is over for them.
    told_by_list: HashSet<(SessionId, CallId)>,
    /// Sessions about to be told so: what they missed is gone.
    caught_up_by_reply: HashSet<SessionId>,
}

/// A call as its backend sees it.
#[derive(Default)]
pub struct Stream {
    last_seq: u64,
    begun: Option<Timestamp>,
    ended: bool,
    members: HashSet<UserId>,
    /// Rung and not decided; who comes in without being rung is never among them.
    rung: HashSet<UserId>,
    audible: HashSet<UserId>,
    visible: HashSet<UserId>,
    ids: HashSet<String>,
}

/// A call as one session hears of it.
#[derive(Default)]
struct Hearing {
    begun: bool,
    over: Option<EventKind>,
    others: HashSet<UserId>,
    audible: HashSet<UserId>,
    visible: HashSet<UserId>,
}

impl Rules {
    pub fn logged_in(&mut self, session: SessionId, user: &UserId) {
        if self.unreachable.remove(&session) {
            self.caught_up_by_reply.insert(session);
        }
        self.users.insert(session, user.clone());
    }

    pub fn crashed(&mut self) {
        self.unreachable.extend(self.users.keys());
    }

    pub fn observe(&mut self, turn: &Turn, now: Timestamp) {
        for fact in &turn.facts {
            self.calls.entry(fact.call).or_default().observe(fact);
        }
        let with_facts: HashSet<CallId> = turn.facts.iter().map(|fact| fact.call).collect();
        let with_state: HashSet<CallId> = turn.states.iter().map(|state| state.call).collect();
        assert!(with_facts.is_subset(&with_state), "facts and the state they lead to are stored together");
        for (session, message) in &turn.tells {
            match message {
                Message::Event { call: Some(call), event } => {
                    let user = self.users.get(session);
                    let begun = self.calls.get(call).and_then(|stream| stream.begun);
                    let age = begun.map(|begun| now.since(begun).as_secs());
                    let place = (*session, *call);
                    if event.kind() == EventKind::CallReceived || !self.told_by_list.contains(&place) {
                        self.told_by_list.remove(&place);
                        self.hearings.entry(place).or_default().observe(event, user, age);
                    } else if matches!(event.kind(), EventKind::CallCancelled | EventKind::CallEnd) {
                        self.told_by_list.remove(&place);
                    }
                }
                Message::Reply { result: Ok(Reply::LoggedIn { calls }), .. }
                    if self.caught_up_by_reply.remove(session) =>
                {
                    self.hearings.retain(|(of, _), _| of != session);
                    self.told_by_list.extend(calls.iter().map(|brief| (*session, brief.call)));
                }
                // A device that takes the seat of a waiting caller has the call again.
                Message::Reply { result: Ok(Reply::Entered { call, .. }), .. }
                    if self.hearings.get(&(*session, *call)).is_some_and(|hearing| hearing.over.is_some()) =>
                {
                    self.hearings.remove(&(*session, *call));
                }
                Message::Close { .. } => drop(self.unreachable.insert(*session)),
                _ => {}
            }
        }
        for state in &turn.states {
            if turn.states.iter().rev().find(|other| other.call == state.call) == Some(state) {
                let ended = self.calls[&state.call].ended;
                assert_eq!(state.snapshot.is_none(), ended, "a call is open until its end is told");
                if ended {
                    self.everyone_heard_the_end(state.call);
                }
            }
        }
    }

    /// Never neither: whoever was told of a call is told that it is over.
    fn everyone_heard_the_end(&self, call: CallId) {
        for ((session, of), hearing) in &self.hearings {
            let reached = *of == call && !self.unreachable.contains(session);
            assert!(!reached || hearing.over.is_some(), "{session} was never told that {call} is over");
        }
    }

    pub fn every_call_is_over(&self) {
        for (call, stream) in &self.calls {
            assert!(stream.ended, "{call} never ended");
            assert!(stream.members.is_empty(), "{call} left {:?} joined", stream.members);
        }
    }
}

impl Stream {
    pub fn is_new(&self) -> bool {
        self.last_seq == 0
    }

    fn observe(&mut self, fact: &Fact) {
        assert!(!self.ended, "a fact after the end: {fact:?}");
        assert_eq!(fact.seq, self.last_seq + 1, "a gap before {fact:?}");
        assert!(self.ids.insert(fact.id().to_string()), "an id twice: {fact:?}");
        if self.is_new() {
            assert!(matches!(fact.event.kind(), EventKind::CallReceived | EventKind::CallBegin), "{fact:?}");
        }
        self.last_seq = fact.seq;
        match &fact.event {
            Event::CallReceived { callee_id_list, .. } => self.rung.extend(callee_id_list.iter().cloned()),
            Event::UserInviting { user_id } => {
                assert!(!self.members.contains(user_id), "a member is invited: {user_id}");
                self.rung.insert(user_id.clone());
            }
            Event::UserReject { user_id } | Event::UserNoResponse { user_id } | Event::UserLineBusy { user_id } => {
                assert!(self.rung.remove(user_id), "decided twice, or never rung: {fact:?}");
            }
            Event::CallBegin { .. } => {
                assert!(self.begun.is_none(), "begun twice");
                self.begun = Some(fact.time);
            }
            Event::CallCancelled { .. } => {
                assert!(self.begun.is_none(), "cancelled after it began");
                self.ended = true;
            }
            Event::CallEnd { total_time, .. } => {
                let begun = self.begun.expect("ended before it began");
                assert_eq!(*total_time, fact.time.since(begun).as_secs(), "counted from the first accept");
                assert!(self.members.is_empty(), "ended with members: {:?}", self.members);
                self.ended = true;
            }
            event => self.observe_member(event),
        }
        let terminal = matches!(fact.event.kind(), EventKind::CallCancelled | EventKind::CallEnd);
        let leaves = fact.event.kind() == EventKind::UserLeave;
        assert!(fact.view.reason.is_some() || !(terminal || leaves), "an end without a reason: {fact:?}");
    }

    fn observe_member(&mut self, event: &Event) {
        match event {
            Event::UserJoin { user_id } => {
                assert!(self.begun.is_some(), "joined before the call began");
                assert!(self.members.insert(user_id.clone()), "joined twice: {user_id}");
                self.rung.remove(user_id);
            }
            Event::UserLeave { user_id } => {
                assert!(self.members.remove(user_id), "left without having joined: {user_id}");
                assert!(!self.audible.contains(user_id) && !self.visible.contains(user_id), "left with media on");
            }
            Event::UserAudioAvailable { user_id, is_audio_available } => {
                assert!(self.members.contains(user_id), "audio of someone who is not in: {user_id}");
                toggle(&mut self.audible, user_id, *is_audio_available);
            }
            Event::UserVideoAvailable { user_id, is_video_available } => {
                assert!(self.members.contains(user_id), "video of someone who is not in: {user_id}");
                toggle(&mut self.visible, user_id, *is_video_available);
            }
            _ => {}
        }
    }
}

fn toggle(set: &mut HashSet<UserId>, user: &UserId, on: bool) {
    let changed = if on { set.insert(user.clone()) } else { set.remove(user) };
    assert!(changed, "told what was so already: {user} {on}");
}

impl Hearing {
    /// `age`: whole seconds since the first accept.
    fn observe(&mut self, event: &Event, own: Option<&UserId>, age: Option<u64>) {
        match event {
            Event::CallReceived { .. } => {
                assert!(self.over.is_some() || !self.begun, "rung while in the call");
                *self = Self::default();
            }
            Event::CallPlaced { .. } => *self = Self::default(),
            Event::CallBegin { .. } => {
                assert!(!self.begun || self.over.is_some(), "begun twice for one session");
                if self.over.is_some() {
                    *self = Self::default();
                }
                self.begun = true;
            }
            Event::CallEnd { total_time, .. } => {
                assert!(self.begun && self.over.is_none(), "ended without a begin, or twice");
                assert!(Some(*total_time) <= age, "longer than the call");
                self.over = Some(event.kind());
            }
            // Every device of a waiting caller hears that the call is given up, one that had it before, too.
            Event::CallCancelled { caller_id } if Some(caller_id) == own && self.over == Some(event.kind()) => {}
            Event::CallCancelled { .. } => {
                assert!(!self.begun || self.over.is_some(), "cancelled after it began");
                assert_eq!(self.over.filter(|_| !self.begun), None, "over twice for one session");
                *self = Self { over: Some(event.kind()), ..Self::default() };
            }
            event => {
                assert!(self.over.is_none(), "news of a call that is over for the session: {event:?}");
                self.observe_others(event, own);
            }
        }
    }

    fn observe_others(&mut self, event: &Event, own: Option<&UserId>) {
        match event {
            Event::UserJoin { user_id } => {
                assert!(Some(user_id) != own, "told of its own joining");
                assert!(self.others.insert(user_id.clone()), "joined twice: {user_id}");
            }
            Event::UserLeave { user_id } => {
                assert!(self.others.remove(user_id), "left without having joined: {user_id}");
                assert!(!self.audible.contains(user_id) && !self.visible.contains(user_id), "left with media on");
            }
            Event::UserAudioAvailable { user_id, is_audio_available } => {
                assert!(self.others.contains(user_id), "audio of someone who is not in: {user_id}");
                toggle(&mut self.audible, user_id, *is_audio_available);
            }
            Event::UserVideoAvailable { user_id, is_video_available } => {
                assert!(self.others.contains(user_id), "video of someone who is not in: {user_id}");
                toggle(&mut self.visible, user_id, *is_video_available);
            }
            Event::UserNetworkQualityChanged { network_quality } => {
                self.speaks_of_members(network_quality.keys(), own);
            }
            Event::UserVoiceVolumeChanged { volume_map } => self.speaks_of_members(volume_map.keys(), own),
            _ => {}
        }
    }

    fn speaks_of_members<'a>(&self, users: impl Iterator<Item = &'a UserId>, own: Option<&UserId>) {
        assert!(self.begun, "telemetry before the begin");
        for user in users {
            assert!(Some(user) == own || self.others.contains(user), "telemetry of someone who is not in: {user}");
        }
    }
}

/// What holds of the state itself after every step.
pub fn hold(state: &State, now: Timestamp, max_members: usize) {
    let mut busy = HashSet::new();
    for room in state.calls() {
        let call = &room.call;
        let engaged: Vec<&Party> = call.parties().iter().filter(|party| party.is_engaged()).collect();
        assert!(engaged.len() <= max_members, "too many in {}", call.id());
        let (members, ringing) = (call.members().count(), engaged.iter().filter(|party| party.is_ringing()).count());
        match (call.begun(), call.kind()) {
            (None, _) => assert!(ringing > 0 && members == 0, "a call that nobody can begin"),
            (Some(_), Kind::Room) => assert!(members > 0, "an empty room"),
            (Some(_), _) => assert!(members > 1 || members == 1 && ringing > 0, "a call of one"),
        }
        for party in engaged {
            assert!(busy.insert(party.user.clone()), "{} is busy with two calls", party.user);
            assert_eq!(call.sanctions().banned(&party.user, now), None, "{} is banned", party.user);
            let member = room.members.get(&party.user);
            assert_eq!(member.is_some(), party.is_in(), "members and their media are the same");
            if let (Some(member), PartyState::In { media, .. }) = (member, &party.state) {
                assert_eq!(*media, member.media(), "what is told is what is forwarded");
                let silenced = call.sanctions().muted(&party.user);
                assert_eq!(member.silenced, silenced);
                assert!(!(media.audio && silenced.contains(&Source::Microphone)), "muted and heard");
            }
        }
    }
}
