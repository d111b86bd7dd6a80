//! The contract's rules, checked on everything that control gives out.

use std::collections::{HashMap, HashSet};

use callisto::base::{CallId, SessionId, UserId};
use callisto::control::{Message, Turn};
use callisto::event::{Event, EventKind, Fact};

/// Everything seen so far of every call and session.
#[derive(Default)]
pub struct Rules {
    pub calls: HashMap<CallId, Stream>,
    sessions: HashMap<(SessionId, CallId), Hearing>,
}

/// A call as its backend sees it.
#[derive(Default)]
pub struct Stream {
    last_seq: u64,
    begun: bool,
    ended: bool,
    members: HashSet<UserId>,
    audible: HashSet<UserId>,
    visible: HashSet<UserId>,
    ids: HashSet<String>,
}

/// A call as one session hears of it.
#[derive(Default)]
struct Hearing {
    begun: bool,
    over: Option<EventKind>,
    joined: HashSet<UserId>,
}

impl Rules {
    pub fn observe(&mut self, turn: &Turn) {
        for fact in &turn.facts {
            self.calls.entry(fact.call).or_default().observe(fact);
        }
        let with_facts: HashSet<CallId> = turn.facts.iter().map(|fact| fact.call).collect();
        let with_state: HashSet<CallId> = turn.states.iter().map(|state| state.call).collect();
        assert!(with_facts.is_subset(&with_state), "facts and the state they lead to are stored together");
        for state in &turn.states {
            let stream = &self.calls[&state.call];
            if turn.states.iter().rev().find(|other| other.call == state.call) == Some(state) {
                assert_eq!(state.snapshot.is_none(), stream.ended, "a call is open until its end is told");
            }
        }
        for (session, message) in &turn.tells {
            if let Message::Event { call: Some(call), event } = message {
                self.sessions.entry((*session, *call)).or_default().observe(event);
            }
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
    fn observe(&mut self, fact: &Fact) {
        assert!(!self.ended, "a fact after the end: {fact:?}");
        assert_eq!(fact.seq, self.last_seq + 1, "a gap before {fact:?}");
        assert!(self.ids.insert(fact.id().to_string()), "an id twice: {fact:?}");
        let first = self.last_seq == 0;
        self.last_seq = fact.seq;
        let kind = fact.event.kind();
        assert_eq!(first, kind == EventKind::CallReceived || first && kind == EventKind::CallBegin, "{fact:?}");
        match &fact.event {
            Event::CallBegin { .. } => {
                assert!(!self.begun, "begun twice");
                self.begun = true;
            }
            Event::CallCancelled { .. } => {
                assert!(!self.begun, "cancelled after it began");
                self.ended = true;
            }
            Event::CallEnd { .. } => {
                assert!(self.begun, "ended before it began");
                assert!(self.members.is_empty(), "ended with members: {:?}", self.members);
                self.ended = true;
            }
            Event::UserJoin { user_id } => {
                assert!(self.begun, "joined before the call began");
                assert!(self.members.insert(user_id.clone()), "joined twice: {user_id}");
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
    fn observe(&mut self, event: &Event) {
        match event {
            Event::CallReceived { .. } => {
                let known = std::mem::take(self);
                assert!(known.over.is_some() || !known.begun, "rung while in the call");
            }
            Event::CallBegin { .. } => {
                assert!(!self.begun || self.over.is_some(), "begun twice for one session");
                *self = Self { begun: true, ..Self::default() };
            }
            Event::CallEnd { .. } | Event::CallCancelled { .. } => {
                assert_eq!(self.over, None, "over twice for one session");
                assert_eq!(
                    self.begun,
                    event.kind() == EventKind::CallEnd,
                    "cancelled and ended are confused: {event:?}"
                );
                self.over = Some(event.kind());
            }
            Event::UserJoin { user_id } => {
                self.joined.insert(user_id.clone());
            }
            _ => {}
        }
        let in_call = matches!(
            event,
            Event::UserJoin { .. }
                | Event::UserLeave { .. }
                | Event::UserVideoAvailable { .. }
                | Event::UserAudioAvailable { .. }
        );
        assert!(!in_call || self.over.is_none(), "news of a call that is over for the session: {event:?}");
    }
}
