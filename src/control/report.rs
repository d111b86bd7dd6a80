//! News of the media plane, carried to the call and its members.

use std::sync::Arc;

use crate::base::{CallId, PeerId, Source, Timestamp, UserId, Volume};
use crate::call::Refusal;
use crate::event::{EndReason, ErrorCode, Event};
use crate::media::{Command, Connection, PeerQuality, Report, SlotAssignment};

use super::apply::{State, Timer};
use super::message::{Message, Reply, SlotBrief};
use super::room::Room;

impl State {
    pub(super) fn report(&mut self, report: Report, now: Timestamp) {
        match report {
            Report::Answered { request, result, .. } => {
                if let Some((session, id)) = self.offers.remove(&request) {
                    let result =
                        result.map(|sdp| Reply::Answer { sdp }).map_err(|error| Refusal::parameter(error.to_string()));
                    self.reply(session, id, result);
                }
            }
            Report::Connection { peer, state } => self.connection(peer, state, now),
            Report::Flowing { peer, source, flowing } => self.flowing(peer, source, flowing, now),
            Report::Slots { peer, version, slots } => self.slots(peer, version, slots),
            Report::Encodings { peer, mid, encodings } => {
                if let Some((call, _, session)) = self.viewer(peer) {
                    self.tell(session, Message::Encodings { call, mid, encodings });
                }
            }
            Report::Volumes { room, volumes } => {
                if let Some(call) = self.keys.get(&room).copied() {
                    self.volumes(call, volumes, now);
                }
            }
            Report::Quality { room, peers } => {
                if let Some(call) = self.keys.get(&room).copied() {
                    self.quality(call, peers);
                }
            }
            // For the metrics; the shell takes it.
            Report::Snapshot(_) => {}
        }
    }

    /// Whose peer it is: the call, the user, the session that holds the seat.
    fn viewer(&self, peer: PeerId) -> Option<(CallId, UserId, crate::base::SessionId)> {
        let call = *self.peers.get(&peer)?;
        let room = self.calls.get(&call)?;
        let user = room.user_of(peer)?.clone();
        let session = room.call.session_of(&user)?;
        Some((call, user, session))
    }

    fn connection(&mut self, peer: PeerId, state: Connection, now: Timestamp) {
        let Some((call, user, session)) = self.viewer(peer) else { return };
        let room = self.calls.get_mut(&call).expect("a viewer's call is known");
        let member = room.members.get_mut(&user).expect("a viewer is a member");
        let was_lost = std::mem::replace(&mut member.media_lost, state != Connection::Connected);
        if state == Connection::Closed {
            member.peer = None;
            member.flowing.clear();
            self.peers.remove(&peer);
            // A client that closed its connection knows; one whose connection failed may not.
            if was_lost {
                let message = "the media connection is gone: offer again".to_owned();
                let event = Event::Error { code: ErrorCode::RefusedInThisState.number(), message };
                self.tell(session, Message::Event { call: Some(call), event: event.into() });
            }
        }
        let lost = state != Connection::Connected;
        self.link_changed(call, &user, lost, EndReason::Offline, now);
        self.media_changed(call, &user, now);
    }

    fn flowing(&mut self, peer: PeerId, source: Source, flowing: bool, now: Timestamp) {
        let Some((call, user, _)) = self.viewer(peer) else { return };
        let room = self.calls.get_mut(&call).expect("a viewer's call is known");
        let member = room.members.get_mut(&user).expect("a viewer is a member");
        if flowing {
            member.flowing.insert(source);
        } else {
            member.flowing.remove(&source);
        }
        self.media_changed(call, &user, now);
    }

    /// Lets the call know what others can hear and see of the member.
    pub(super) fn media_changed(&mut self, call: CallId, user: &UserId, now: Timestamp) {
        self.with_call(call, now, |room, now| {
            if let Some(media) = room.members.get(user).map(|member| member.media()) {
                room.call.set_media(user, media, now);
            }
        });
    }

    fn slots(&mut self, peer: PeerId, version: u64, slots: Vec<SlotAssignment>) {
        let Some((call, _, session)) = self.viewer(peer) else { return };
        let room = &self.calls[&call];
        let slots = slots
            .into_iter()
            .map(|slot| SlotBrief {
                user: slot.publisher.and_then(|publisher| room.user_of(publisher)).cloned(),
                mid: slot.mid,
                source: slot.source,
                paused: slot.paused,
            })
            .collect();
        let key = room.key;
        self.tell(session, Message::Slots { call, slots });
        self.turn.after.push(Command::SlotsTold { room: key, peer, version });
    }

    fn volumes(&mut self, call: CallId, volumes: Vec<(PeerId, Volume)>, now: Timestamp) {
        let interval = self.settings.webhook_volume_interval;
        let room = self.calls.get_mut(&call).expect("a key's call is known");
        for (peer, volume) in volumes {
            if let Some(member) = room.members.values_mut().find(|member| member.peer == Some(peer)) {
                member.hear(volume, now);
            }
        }
        let current = room.current_volumes();
        if current == room.volumes {
            return;
        }
        room.volumes = current.clone();
        room.volumes_waiting = true;
        let due = room.volumes_posted + interval;
        self.tell_members(call, Event::UserVoiceVolumeChanged { volume_map: current });
        self.timers.set(Timer::Volumes(call), Some(due.max(now)));
    }

    /// Gives webhooks the newest volumes, not more often than they want them.
    pub(super) fn post_volumes(&mut self, call: CallId, now: Timestamp) {
        let Some(room) = self.calls.get_mut(&call).filter(|room| room.volumes_waiting) else { return };
        (room.volumes_waiting, room.volumes_posted) = (false, now);
        let event = Event::UserVoiceVolumeChanged { volume_map: room.volumes.clone() };
        self.turn.telemetry.push((call, event));
    }

    fn quality(&mut self, call: CallId, peers: Vec<(PeerId, PeerQuality)>) {
        let room = self.calls.get_mut(&call).expect("a key's call is known");
        for (peer, quality) in peers {
            if let Some(member) = room.members.values_mut().find(|member| member.peer == Some(peer)) {
                member.observe(quality);
            }
        }
        self.tell_quality(call);
    }

    /// Tells the members of everyone's quality when it differs from what they were told.
    pub(super) fn tell_quality(&mut self, call: CallId) {
        let Some(room) = self.calls.get_mut(&call) else { return };
        let current = room.current_qualities();
        if current == room.qualities {
            return;
        }
        room.qualities = current.clone();
        let event = Event::UserNetworkQualityChanged { network_quality: current };
        self.tell_members(call, event.clone());
        self.turn.telemetry.push((call, event));
    }

    fn tell_members(&mut self, call: CallId, event: Event) {
        let event = Arc::new(event);
        let room: &Room = &self.calls[&call];
        let sessions: Vec<_> = room.call.members().filter_map(|party| Some(party.seat()?.session)).collect();
        for session in sessions {
            self.tell(session, Message::Event { call: Some(call), event: event.clone() });
        }
    }
}
