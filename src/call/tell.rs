//! What a call says, and to whom: the news for its users and the facts for the backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::{Call, Member, Output, Recipient};
use super::party::{Media, Party, State};
use crate::base::{Timestamp, UserId};
use crate::event::{CallRole, EndReason, Event, Fact, Outcome, Participant, ServerView};

impl Call {
    pub(super) fn record(&mut self, time: Timestamp, event: Event, view: ServerView) {
        let seq = self.next_seq();
        self.push(Output::Record(Fact { call: self.id, seq, time, event, view }));
    }

    pub(super) fn tell(&mut self, to: Recipient, event: impl Into<Arc<Event>>) {
        self.push(Output::Tell { to, event: event.into() });
    }

    /// To every member and the waiting caller, on the device they take part with.
    pub(super) fn tell_seated(&mut self, event: &Event) {
        self.tell_where(event, |party| party.seat().is_some());
    }

    /// To every member but this one.
    pub(super) fn tell_others(&mut self, user: &UserId, event: &Event) {
        self.tell_where(event, |party| party.is_in() && party.user != *user);
    }

    fn tell_where(&mut self, event: &Event, which: impl Fn(&Party) -> bool) {
        let recipients: Vec<Recipient> = self
            .parties
            .iter()
            .filter(|party| which(party))
            .map(|party| match party.seat() {
                Some(seat) => Recipient::Device(Member { user: party.user.clone(), session: seat.session }),
                None => Recipient::Every(party.user.clone()),
            })
            .collect();
        let event = Arc::new(event.clone());
        for to in recipients {
            self.tell(to, event.clone());
        }
    }

    /// Why a callee does not come, to everyone still in the call or rung for it.
    pub(super) fn tell_missed(&mut self, user: &UserId, outcome: Outcome, now: Timestamp) {
        let user_id = user.clone();
        let event = match outcome {
            Outcome::Reject => Event::UserReject { user_id },
            Outcome::NoResponse | Outcome::Offline | Outcome::Kicked => Event::UserNoResponse { user_id },
            Outcome::LineBusy => Event::UserLineBusy { user_id },
            // The whole call is given up: its end says so.
            Outcome::Cancelled => return,
        };
        let reason = (outcome == Outcome::Kicked).then_some(EndReason::Kicked);
        self.record(now, event.clone(), ServerView { reason, ..ServerView::default() });
        self.tell_where(&event, |party| party.is_engaged() && party.user != *user);
    }

    /// What changed of a member's media, to everyone else in the call.
    pub(super) fn tell_media(&mut self, user: &UserId, before: Media, after: Media, now: Timestamp) {
        if before.video != after.video {
            let event = Event::UserVideoAvailable { user_id: user.clone(), is_video_available: after.video };
            self.record(now, event.clone(), ServerView::default());
            self.tell_others(user, &event);
        }
        if before.audio != after.audio {
            let event = Event::UserAudioAvailable { user_id: user.clone(), is_audio_available: after.audio };
            self.record(now, event.clone(), ServerView::default());
            self.tell_others(user, &event);
        }
    }

    pub(super) fn begin(&self, call_role: CallRole) -> Event {
        Event::CallBegin { room_id: self.room.clone(), call_media_type: self.media_type, call_role }
    }

    /// A new member hears that the call begins for them, who is there and what they send.
    pub(super) fn welcome(&mut self, member: Member) {
        let role = self.party(&member.user).expect("a new member is a party").role;
        let device = Recipient::Device(member.clone());
        self.tell(device.clone(), self.begin(role));
        let present: Vec<(UserId, Media)> = self
            .parties
            .iter()
            .filter_map(|party| match &party.state {
                State::In { media, .. } if party.user != member.user => Some((party.user.clone(), *media)),
                _ => None,
            })
            .collect();
        for (user_id, media) in present {
            self.tell(device.clone(), Event::UserJoin { user_id: user_id.clone() });
            if media.video {
                let event = Event::UserVideoAvailable { user_id: user_id.clone(), is_video_available: true };
                self.tell(device.clone(), event);
            }
            if media.audio {
                self.tell(device.clone(), Event::UserAudioAvailable { user_id, is_audio_available: true });
            }
        }
    }

    /// A leaver's own end, counted from their own begin.
    pub(super) fn tell_end(&mut self, user: &UserId, now: Timestamp) {
        let Some(State::In { since, .. }) = self.party(user).map(|party| &party.state) else { return };
        let since = *since;
        self.tell_end_since(user, since, now);
    }

    /// The call's end for one who stayed until then, counted from the first accept.
    pub(super) fn tell_call_end(&mut self, user: &UserId, now: Timestamp) {
        let since = self.begun().expect("a call that ends has begun");
        self.tell_end_since(user, since, now);
    }

    fn tell_end_since(&mut self, user: &UserId, since: Timestamp, now: Timestamp) {
        let party = self.party(user).expect("a member is a party");
        let session = party.seat().expect("a member has a seat").session;
        let event = Event::CallEnd {
            room_id: self.room.clone(),
            call_media_type: self.media_type,
            call_role: party.role,
            total_time: now.since(since).as_secs(),
        };
        self.tell(Recipient::Device(Member { user: user.clone(), session }), event);
    }

    pub(super) fn record_join(&mut self, user: &UserId, now: Timestamp) {
        let role = self.party(user).map(|party| party.role);
        let view = ServerView { call_role: role, ..ServerView::default() };
        self.record(now, Event::UserJoin { user_id: user.clone() }, view);
    }

    pub(super) fn record_begin(&mut self, event: Event, now: Timestamp) {
        let view = ServerView { participants: Some(self.participants(now)), ..self.people() };
        self.record(now, event, view);
    }

    pub(super) fn record_end(&mut self, reason: EndReason, now: Timestamp) {
        let event = Event::CallEnd {
            room_id: self.room.clone(),
            call_media_type: self.media_type,
            call_role: CallRole::Caller,
            total_time: now.since(self.begun().expect("a call that ends has begun")).as_secs(),
        };
        let view = ServerView {
            reason: Some(reason),
            participants: Some(self.participants(now)),
            summary: Some(self.summaries.clone()),
            ..self.people()
        };
        let view = self.inferred(view);
        self.record(now, event, view);
    }

    pub(super) fn record_cancelled(&mut self, reason: EndReason, now: Timestamp) {
        let outcomes: BTreeMap<UserId, Outcome> = self
            .parties
            .iter()
            .filter_map(|party| match party.state {
                State::Missed(outcome) => Some((party.user.clone(), outcome)),
                _ => None,
            })
            .collect();
        let view = ServerView {
            reason: Some(reason),
            outcomes: Some(outcomes),
            room_id: Some(self.room.clone()),
            ..self.people()
        };
        let view = self.inferred(view);
        self.record(now, Event::CallCancelled { caller_id: self.caller.clone() }, view);
    }

    /// Marks what was concluded after a crash rather than seen.
    pub(super) fn inferred(&self, view: ServerView) -> ServerView {
        match (self.last_seen, view.reason) {
            (Some(last_seen), Some(EndReason::NodeLost)) => {
                ServerView { inferred: true, last_seen_at: Some(last_seen), ..view }
            }
            _ => view,
        }
    }

    fn people(&self) -> ServerView {
        let callees = self.parties.iter().filter(|party| party.role == CallRole::Called);
        ServerView {
            caller_id: Some(self.caller.clone()),
            callee_id_list: Some(callees.map(|party| party.user.clone()).collect()),
            group_id: Some(self.group_id.clone()),
            ..ServerView::default()
        }
    }

    fn participants(&self, now: Timestamp) -> Vec<Participant> {
        self.visits
            .iter()
            .map(|visit| Participant {
                user_id: visit.user.clone(),
                call_role: visit.role,
                joined_at: visit.joined,
                left_at: visit.left,
                total_time: visit.left.unwrap_or(now).since(visit.joined).as_secs(),
            })
            .collect()
    }
}
