//! One call's state machine: requests, lost devices and time go in; facts, news for users and changes of membership come out.
//!
//! Before a call connects a party is told onCallCancelled, after it connects onCallEnd: never both, never neither. A race has one
//! winner, because requests are taken one at a time; the loser's gets a [`Refusal`]. Facts are numbered without gaps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::party::{Link, Media, Party, Seat, State};
use super::refusal::Refusal;
use super::sanctions::Sanctions;
use crate::base::{CallId, SessionId, Timestamp, UserId};
use crate::event::{
    CallMediaType, CallRole, EndReason, ErrorCode, Event, Fact, Outcome, RoomId, ServerView, UserSummary,
};

/// What every call keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long a lost device's seat is held.
    pub resume_timeout: Duration,
    /// Members and ringing users together.
    pub max_members: usize,
}

/// What kind of call it is; this decides who may enter and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// One caller, one callee.
    OneToOne,
    /// Ends when at most one is left and nobody rings.
    Group,
    /// Entered without ringing; ends when nobody is left.
    Room,
}

/// The request that makes a call.
#[derive(Debug, Clone)]
pub struct Placing {
    pub id: CallId,
    pub kind: Kind,
    pub room: RoomId,
    pub media_type: CallMediaType,
    pub group_id: String,
    pub user_data: String,
    pub caller: Member,
    pub callees: Vec<Invitee>,
    pub ring_timeout: Duration,
    pub limits: Limits,
}

/// A user on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
    pub session: SessionId,
}

/// A user to be rung, unless busy elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitee {
    pub user: UserId,
    pub busy: bool,
}

/// What the call wants done, in order.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is handed on at once; most are facts or as many small ones as there are users"
)]
pub enum Output {
    /// To be stored, then told to the backend.
    Record(Fact),
    /// To be told to a user once the facts before it are stored.
    Tell { to: Recipient, event: Arc<Event> },
    /// The user is busy with this call.
    Engaged(UserId),
    /// The user became a member on this device.
    Joined(Member),
    /// Something changed that is worth keeping, though no fact says so: a seat is another device's, the server forbade something.
    Changed,
    /// The user, a member until here, is one no more.
    Left(UserId),
    /// The user is not busy with this call any more.
    Released(UserId),
    /// Nothing more will come of this call.
    Ended,
}

/// Which of a user's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    Every(UserId),
    Device(Member),
    EveryBut(Member),
}

/// A presence in the call, for the participants' list of the backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Visit {
    pub(super) user: UserId,
    pub(super) role: CallRole,
    pub(super) joined: Timestamp,
    pub(super) left: Option<Timestamp>,
}

/// The machine. Getters come first, then `place`/`open`, requests of users, requests of the server, time, `poll`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    pub(super) id: CallId,
    pub(super) kind: Kind,
    pub(super) room: RoomId,
    pub(super) media_type: CallMediaType,
    pub(super) group_id: String,
    user_data: String,
    pub(super) caller: UserId,
    limits: Limits,
    ring_timeout: Duration,
    /// In the order in which they came into the call.
    pub(super) parties: Vec<Party>,
    pub(super) visits: Vec<Visit>,
    pub(super) summaries: BTreeMap<UserId, UserSummary>,
    begun: Option<Timestamp>,
    pub(super) ended: bool,
    seq: u64,
    /// Set when the node came back after a crash: when the call was last known to live.
    pub(super) last_seen: Option<Timestamp>,
    #[serde(default)]
    pub(super) sanctions: Sanctions,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

impl Call {
    pub fn id(&self) -> CallId {
        self.id
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn room(&self) -> &RoomId {
        &self.room
    }

    pub fn media_type(&self) -> CallMediaType {
        self.media_type
    }

    pub fn caller(&self) -> &UserId {
        &self.caller
    }

    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    pub fn user_data(&self) -> &str {
        &self.user_data
    }

    /// When the first callee accepted.
    pub fn begun(&self) -> Option<Timestamp> {
        self.begun
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The number of the last fact.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn parties(&self) -> &[Party] {
        &self.parties
    }

    pub fn party(&self, user: &UserId) -> Option<&Party> {
        self.parties.iter().find(|party| party.user == *user)
    }

    pub fn members(&self) -> impl Iterator<Item = &Party> {
        self.parties.iter().filter(|party| party.is_in())
    }

    /// The device through which the user is a member or waits as the caller.
    pub fn session_of(&self, user: &UserId) -> Option<SessionId> {
        self.party(user)?.seat().map(|seat| seat.session)
    }

    /// A call to users who are rung. A room without ringing is made by [`Call::open`].
    ///
    /// # Errors
    /// Callees that are none, too many, repeated or the caller.
    pub fn place(placing: Placing, now: Timestamp) -> Result<Self, Refusal> {
        assert!(placing.kind != Kind::Room, "a room is opened, not placed");
        check_callees(&placing.callees, &placing.caller.user)?;
        if placing.kind == Kind::OneToOne && placing.callees.len() != 1 {
            return Err(Refusal::parameter("a call between two names exactly one callee"));
        }
        let mut call = Self::empty(&placing);
        call.check_room_for(placing.callees.len() + 1)?;
        let caller = placing.caller;
        call.parties.push(Party {
            user: caller.user.clone(),
            role: CallRole::Caller,
            called_by: caller.user.clone(),
            state: State::Calling(Seat::new(caller.session)),
        });
        call.push(Output::Engaged(caller.user.clone()));
        let callees: Vec<UserId> = placing.callees.iter().map(|callee| callee.user.clone()).collect();
        let received = call.received(&caller.user, callees);
        call.record(now, received.clone(), ServerView { room_id: Some(call.room.clone()), ..ServerView::default() });
        call.ring(placing.callees, &received, now + placing.ring_timeout, now);
        call.settle(EndReason::LineBusy, now);
        Ok(call)
    }

    /// A room without ringing, begun by its first member.
    pub fn open(placing: Placing, now: Timestamp) -> Self {
        assert!(placing.kind == Kind::Room && placing.callees.is_empty(), "a room rings nobody");
        let mut call = Self::empty(&placing);
        call.enter(placing.caller, CallRole::Caller, now);
        call
    }

    fn empty(placing: &Placing) -> Self {
        Self {
            id: placing.id,
            kind: placing.kind,
            room: placing.room.clone(),
            media_type: placing.media_type,
            group_id: placing.group_id.clone(),
            user_data: placing.user_data.clone(),
            caller: placing.caller.user.clone(),
            limits: placing.limits,
            ring_timeout: placing.ring_timeout,
            parties: Vec::new(),
            visits: Vec::new(),
            summaries: BTreeMap::new(),
            begun: None,
            ended: false,
            seq: 0,
            last_seen: None,
            sanctions: Sanctions::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A rung user takes the call on this device.
    pub fn accept(&mut self, member: Member, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        self.check_not_banned(&member.user, now)?;
        match self.party(&member.user).map(|party| &party.state) {
            Some(State::Ringing { .. }) => {
                self.enter(member, CallRole::Called, now);
                Ok(())
            }
            Some(State::In { .. }) => Err(Refusal::repeated("this user is in the call already")),
            Some(State::Calling(_)) => Err(Refusal::state("the caller cannot accept their own call")),
            _ => Err(Refusal::state("this user is not being rung for the call")),
        }
    }

    /// A rung user declines, for all of their devices.
    pub fn reject(&mut self, user: &UserId, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        match self.party(user) {
            Some(party) if party.is_ringing() => {
                self.miss(user, Outcome::Reject, now);
                self.settle(EndReason::Reject, now);
                Ok(())
            }
            _ => Err(Refusal::state("this user is not being rung for the call")),
        }
    }

    /// A member leaves, the waiting caller cancels, or a rung user declines.
    pub fn hang_up(&mut self, user: &UserId, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        match self.party(user).map(|party| &party.state) {
            Some(State::Calling(_)) => self.cancel(EndReason::Cancelled, now),
            Some(State::In { .. }) => self.leave(user, EndReason::Hangup, now),
            Some(State::Ringing { .. }) => return self.reject(user, now),
            _ => return Err(Refusal::state("this user is not in the call")),
        }
        Ok(())
    }

    /// A member rings more users; `timeout` stands for the call's own ring timeout.
    pub fn invite(
        &mut self,
        inviter: &UserId,
        invitees: Vec<Invitee>,
        timeout: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check_running()?;
        if self.kind == Kind::OneToOne {
            return Err(Refusal::not_here("a call between two takes no one else"));
        }
        if self.party(inviter).and_then(Party::seat).is_none() {
            return Err(Refusal::state("only the caller and members invite"));
        }
        check_callees(&invitees, inviter)?;
        if let Some(known) = invitees.iter().find(|i| self.party(&i.user).is_some_and(Party::is_engaged)) {
            return Err(Refusal::repeated(format!("{} is in the call or being rung already", known.user)));
        }
        invitees.iter().try_for_each(|invitee| self.check_not_banned(&invitee.user, now))?;
        self.check_room_for(self.engaged() + invitees.len())?;
        for invitee in &invitees {
            let event = Event::UserInviting { user_id: invitee.user.clone() };
            self.record(now, event.clone(), ServerView { caller_id: Some(inviter.clone()), ..ServerView::default() });
            self.tell_seated(&event);
        }
        let until = now + timeout.unwrap_or(self.ring_timeout);
        let received = self.received(inviter, invitees.iter().map(|invitee| invitee.user.clone()).collect());
        self.ring(invitees, &received, until, now);
        self.settle(EndReason::LineBusy, now);
        Ok(())
    }

    /// Anyone who knows the call or its room enters without being rung; a rung user accepts by it; a member on another device
    /// takes the seat over.
    pub fn join(&mut self, member: Member, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        self.check_not_banned(&member.user, now)?;
        match self.party(&member.user) {
            Some(party) if party.is_ringing() => return self.accept(member, now),
            Some(Party { state: State::In { seat, .. }, .. }) => {
                if seat.link == Link::Up {
                    return Err(Refusal::repeated("this user is in the call already"));
                }
                self.resume(&member, now);
                return Ok(());
            }
            Some(Party { state: State::Calling(seat), .. }) => {
                if seat.link == Link::Up || seat.session == member.session {
                    return Err(Refusal::state("the caller waits for an answer"));
                }
                self.resume(&member, now);
                return Ok(());
            }
            _ => {}
        }
        if self.kind == Kind::OneToOne {
            return Err(Refusal::not_here("a call between two takes no one else"));
        }
        self.check_room_for(self.engaged() + 1)?;
        self.enter(member, CallRole::Called, now);
        Ok(())
    }

    /// Voice to video or back, in a running call between two.
    pub fn switch_media_type(&mut self, user: &UserId, to: CallMediaType, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        let failed = match to {
            CallMediaType::Voice => ErrorCode::SwitchToVoiceFailed,
            CallMediaType::Video => ErrorCode::SwitchToVideoFailed,
        };
        if self.kind != Kind::OneToOne {
            return Err(Refusal::new(failed, "only a call between two changes its media type"));
        }
        if self.begun.is_none() || !self.party(user).is_some_and(Party::is_in) {
            return Err(Refusal::new(failed, "the media type changes during the call, by a member"));
        }
        if self.media_type == to {
            return Err(Refusal::repeated("the call has this media type already"));
        }
        let event = Event::CallMediaTypeChanged { old_call_media_type: self.media_type, new_call_media_type: to };
        self.media_type = to;
        self.record(now, event.clone(), ServerView::default());
        self.tell_seated(&event);
        Ok(())
    }

    /// What others can hear and see of a member, as the media plane and the mute requests have it.
    pub fn set_media(&mut self, user: &UserId, media: Media, now: Timestamp) {
        let Some(Party { state: State::In { media: current, .. }, .. }) =
            self.parties.iter_mut().find(|party| party.user == *user)
        else {
            return;
        };
        let before = std::mem::replace(current, media);
        self.tell_media(user, before, media, now);
    }

    /// The user's device is gone; the seat is held, then given up for this reason.
    pub fn lose(&mut self, user: &UserId, reason: EndReason, now: Timestamp) {
        let until = now + self.limits.resume_timeout;
        if let Some(seat) = self.seat_mut(user)
            && seat.link == Link::Up
        {
            seat.link = Link::Lost { until, reason };
        }
    }

    /// The user's device is back, or another one of theirs takes the seat: to the old one the call is over, to the new one it begins.
    pub fn resume(&mut self, member: &Member, now: Timestamp) {
        let Some(seat) = self.seat_mut(&member.user) else { return };
        if seat.session == member.session {
            seat.link = Link::Up;
            return;
        }
        let held_by = seat.session;
        let is_member = self.party(&member.user).is_some_and(Party::is_in);
        if is_member {
            self.tell_end(&member.user, now);
        } else {
            let old = Member { user: member.user.clone(), session: held_by };
            self.tell(Recipient::Device(old), Event::CallCancelled { caller_id: self.caller.clone() });
        }
        *self.seat_mut(&member.user).expect("looked up above") = Seat::new(member.session);
        if is_member {
            self.welcome(member.clone());
        }
        self.push(Output::Changed);
    }

    /// A user's figures for the summary at the end.
    pub fn summarize(&mut self, user: &UserId, summary: UserSummary) {
        self.summaries.insert(user.clone(), summary);
    }

    /// After a crash: everyone's device is lost until it comes back, and what follows is inferred.
    pub fn recover(&mut self, last_seen: Timestamp, now: Timestamp) {
        self.last_seen = Some(last_seen);
        let users: Vec<UserId> =
            self.parties.iter().filter(|party| party.seat().is_some()).map(|party| party.user.clone()).collect();
        for user in users {
            if let Some(seat) = self.seat_mut(&user) {
                seat.link = Link::Up;
            }
            self.lose(&user, EndReason::NodeLost, now);
        }
    }

    /// When time alone changes something.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.ended { None } else { self.parties.iter().filter_map(Party::deadline).min() }
    }

    /// Gives up what is due: rings that nobody answered, seats that nobody came back to.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while !self.ended {
            let Some(party) = self.parties.iter().find(|party| party.deadline().is_some_and(|due| due <= now)) else {
                return;
            };
            let user = party.user.clone();
            match &party.state {
                State::Ringing { .. } => {
                    self.miss(&user, Outcome::NoResponse, now);
                    self.settle(EndReason::NoResponse, now);
                }
                State::Calling(Seat { link: Link::Lost { reason, .. }, .. }) => self.cancel(*reason, now),
                State::In { seat: Seat { link: Link::Lost { reason, .. }, .. }, .. } => {
                    let reason = *reason;
                    self.leave(&user, reason, now);
                }
                other => unreachable!("no deadline in {other:?}"),
            }
        }
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn check_running(&self) -> Result<(), Refusal> {
        if self.ended { Err(Refusal::state("the call has ended")) } else { Ok(()) }
    }

    fn check_room_for(&self, people: usize) -> Result<(), Refusal> {
        let most = self.limits.max_members;
        if people > most {
            return Err(Refusal::parameter(format!("a call has at most {most} people, this would make {people}")));
        }
        Ok(())
    }

    fn engaged(&self) -> usize {
        self.parties.iter().filter(|party| party.is_engaged()).count()
    }

    pub(super) fn seat_mut(&mut self, user: &UserId) -> Option<&mut Seat> {
        self.parties.iter_mut().find(|party| party.user == *user)?.seat_mut()
    }

    fn received(&self, caller: &UserId, callees: Vec<UserId>) -> Event {
        Event::CallReceived {
            caller_id: caller.clone(),
            callee_id_list: callees,
            group_id: self.group_id.clone(),
            call_media_type: self.media_type,
            user_data: self.user_data.clone(),
        }
    }

    /// Rings who is free, notes who is busy.
    fn ring(&mut self, invitees: Vec<Invitee>, received: &Event, until: Timestamp, now: Timestamp) {
        let Event::CallReceived { caller_id: called_by, .. } = received else {
            unreachable!("a ring is a received call")
        };
        let (busy, free): (Vec<_>, Vec<_>) = invitees.into_iter().partition(|invitee| invitee.busy);
        for Invitee { user, .. } in free {
            self.set_party(&user, CallRole::Called, called_by.clone(), State::Ringing { until });
            self.push(Output::Engaged(user.clone()));
            self.tell(Recipient::Every(user), received.clone());
        }
        for Invitee { user, .. } in busy {
            self.set_party(&user, CallRole::Called, called_by.clone(), State::Missed(Outcome::LineBusy));
            self.tell_missed(&user, Outcome::LineBusy, now);
        }
    }

    pub(super) fn set_party(&mut self, user: &UserId, role: CallRole, called_by: UserId, state: State) {
        match self.parties.iter_mut().find(|party| party.user == *user) {
            Some(party) => (party.called_by, party.state) = (called_by, state),
            None => self.parties.push(Party { user: user.clone(), role, called_by, state }),
        }
    }

    /// A rung user will not come: everyone concerned hears why, the user's devices stop ringing.
    pub(super) fn miss(&mut self, user: &UserId, outcome: Outcome, now: Timestamp) {
        let party = self.parties.iter_mut().find(|party| party.user == *user).expect("a rung user is a party");
        party.state = State::Missed(outcome);
        let called_by = party.called_by.clone();
        self.tell_missed(user, outcome, now);
        self.tell(Recipient::Every(user.clone()), Event::CallCancelled { caller_id: called_by });
        self.push(Output::Released(user.clone()));
    }

    /// The user becomes a member on this device; the first one to answer begins the call for the caller too.
    fn enter(&mut self, member: Member, role: CallRole, now: Timestamp) {
        let was_ringing = self.party(&member.user).is_some_and(Party::is_ringing);
        let waiting = self.waiting_caller();
        if self.begun.is_none() {
            self.begun = Some(now);
            let begin = self.begin(CallRole::Caller);
            if let Some(caller) = &waiting {
                self.seat(caller.clone(), CallRole::Caller, now);
            }
            self.seat(member.clone(), role, now);
            self.record_begin(begin, now);
            if let Some(caller) = &waiting {
                self.record_join(&caller.user, now);
            }
        } else {
            self.seat(member.clone(), role, now);
        }
        self.record_join(&member.user, now);
        if was_ringing {
            let called_by = self.party(&member.user).expect("just seated").called_by.clone();
            let answered = Event::CallCancelled { caller_id: called_by };
            self.tell(Recipient::EveryBut(member.clone()), answered);
        }
        self.tell_others(&member.user, &Event::UserJoin { user_id: member.user.clone() });
        if let Some(caller) = waiting {
            let begin = self.begin(CallRole::Caller);
            self.tell(Recipient::Device(caller), begin);
        }
        self.welcome(member);
    }

    fn waiting_caller(&self) -> Option<Member> {
        self.parties.iter().find_map(|party| match &party.state {
            State::Calling(seat) => Some(Member { user: party.user.clone(), session: seat.session }),
            _ => None,
        })
    }

    /// Makes the user a member, silently. A waiting caller's seat keeps its link.
    fn seat(&mut self, member: Member, role: CallRole, now: Timestamp) {
        let seat = self.seat_mut(&member.user).cloned().unwrap_or_else(|| Seat::new(member.session));
        let called_by = self.party(&member.user).map_or_else(|| self.caller.clone(), |party| party.called_by.clone());
        self.set_party(&member.user, role, called_by, State::In { since: now, seat, media: Media::default() });
        let role = self.party(&member.user).expect("just set").role;
        self.visits.push(Visit { user: member.user.clone(), role, joined: now, left: None });
        self.push(Output::Engaged(member.user.clone()));
        self.push(Output::Joined(member));
    }

    /// A member goes: media off, leave, then what follows for the call.
    pub(super) fn leave(&mut self, user: &UserId, reason: EndReason, now: Timestamp) {
        self.tell_end(user, now);
        self.part(user, reason, now);
        self.settle(reason, now);
    }

    /// Takes a member out and says so to those who stay.
    fn part(&mut self, user: &UserId, reason: EndReason, now: Timestamp) {
        let party = self.parties.iter_mut().find(|party| party.user == *user).expect("a member is a party");
        let State::In { media, .. } = std::mem::replace(&mut party.state, State::Left) else {
            unreachable!("only members part")
        };
        self.tell_media(user, media, Media::default(), now);
        let event = Event::UserLeave { user_id: user.clone() };
        self.record(now, event.clone(), self.inferred(ServerView { reason: Some(reason), ..ServerView::default() }));
        self.tell_others(user, &event);
        let visit = self.visits.iter_mut().rev().find(|visit| visit.user == *user).expect("a member has a visit");
        visit.left = Some(now);
        self.push(Output::Left(user.clone()));
        self.push(Output::Released(user.clone()));
    }

    /// Ends the call when too few are left to go on.
    pub(super) fn settle(&mut self, reason: EndReason, now: Timestamp) {
        let (members, ringing) =
            (self.members().count(), self.parties.iter().filter(|party| party.is_ringing()).count());
        if self.begun.is_none() {
            if ringing == 0 {
                self.cancel(reason, now);
            }
            return;
        }
        let over = match self.kind {
            Kind::Room => members == 0,
            Kind::OneToOne | Kind::Group => members == 0 || members == 1 && ringing == 0,
        };
        if over {
            self.finish(reason, now);
        }
    }

    /// The end of a call that never began.
    pub(super) fn cancel(&mut self, reason: EndReason, now: Timestamp) {
        let mut told = Vec::new();
        for party in &mut self.parties {
            match party.state {
                State::Calling(_) => party.state = State::Left,
                State::Ringing { .. } => party.state = State::Missed(Outcome::Cancelled),
                _ => continue,
            }
            told.push((party.user.clone(), party.called_by.clone()));
        }
        self.record_cancelled(reason, now);
        self.stop_ringing(told);
        self.close();
    }

    /// The end of a call that began: whoever rings is told it is cancelled, whoever is in that it ended.
    pub(super) fn finish(&mut self, reason: EndReason, now: Timestamp) {
        let mut rung = Vec::new();
        for party in self.parties.iter_mut().filter(|party| party.is_ringing()) {
            party.state = State::Missed(Outcome::Cancelled);
            rung.push((party.user.clone(), party.called_by.clone()));
        }
        self.stop_ringing(rung);
        let members: Vec<UserId> = self.members().map(|party| party.user.clone()).collect();
        for user in &members {
            self.tell_call_end(user, now);
        }
        // Nobody is left to hear of these: they are for the backend, which counts joins against leaves.
        for user in members {
            self.part_silently(&user, reason, now);
        }
        self.record_end(reason, now);
        self.close();
    }

    fn part_silently(&mut self, user: &UserId, reason: EndReason, now: Timestamp) {
        let mark = self.outputs.len();
        self.part(user, reason, now);
        let told = self.outputs.split_off(mark);
        self.outputs.extend(told.into_iter().filter(|output| !matches!(output, Output::Tell { .. })));
    }

    fn stop_ringing(&mut self, told: Vec<(UserId, UserId)>) {
        for (user, caller_id) in told {
            self.tell(Recipient::Every(user.clone()), Event::CallCancelled { caller_id });
            self.push(Output::Released(user));
        }
    }

    fn close(&mut self) {
        self.ended = true;
        self.push(Output::Ended);
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

fn check_callees(callees: &[Invitee], caller: &UserId) -> Result<(), Refusal> {
    if callees.is_empty() {
        return Err(Refusal::parameter("userIdList names nobody"));
    }
    for (i, callee) in callees.iter().enumerate() {
        if callee.user == *caller {
            return Err(Refusal::parameter("nobody calls themself"));
        }
        if callees[..i].iter().any(|other| other.user == callee.user) {
            return Err(Refusal::parameter(format!("userIdList names {} twice", callee.user)));
        }
    }
    Ok(())
}
