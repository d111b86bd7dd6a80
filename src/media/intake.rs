//! What a drained member brought: packets become the room's to forward, events change what is known of it.

use std::time::Duration;

use str0m::rtp::RtpPacket;

use super::flow::Arrived;
use super::member::Link;
use super::peer::{PeerEvent, StreamName};
use super::publish::{Arrival, SenderReport};
use super::publisher::Home;
use super::red::Recovered;
use super::report::{Connection, Report};
use super::room::{Assignment, Room, Turn};
use super::route::{Origin, Receiver};
use super::slot::Packet;
use super::switch::Stream;
use crate::base::Source;

impl Room {
    /// Takes the packets and events of a drain of this member.
    pub(super) fn absorb(&mut self, seat: usize, turn: &mut Turn<'_>) {
        let mut packets = std::mem::take(&mut turn.outbox.drain.packets);
        for (stream, packet) in packets.drain(..) {
            self.take_packet(seat, stream, packet, turn);
        }
        turn.outbox.drain.packets = packets;
        let mut events = std::mem::take(&mut turn.outbox.drain.events);
        let measured = events.iter().any(|event| matches!(event, PeerEvent::Peer(_)));
        for event in events.drain(..) {
            self.take_event(seat, event, turn);
        }
        if measured {
            self.grade(seat, turn);
        }
        turn.outbox.drain.events = events;
    }

    fn take_packet(&mut self, seat: usize, stream: StreamName, packet: RtpPacket, turn: &mut Turn<'_>) {
        let now = turn.now;
        let counts = &mut turn.outbox.counts;
        counts.rtp_in += 1;
        let member = self.seats[seat].as_ref().expect("a drained member has a seat");
        let pt = packet.header.payload_type;
        let params = member.peer.payload(pt);
        let publisher = self.publisher_mut(seat);
        let (Some(track), Some((params, wrapping))) = (publisher.track_by_mid(stream.mid), params) else {
            counts.drops.rejected += 1;
            return;
        };
        let Some(encoding) = track.encoding(stream.rid, now) else {
            counts.drops.rejected += 1;
            return;
        };
        let Some((glimpse, descriptor)) = track.encodings[encoding].inspect(params.spec().codec, &packet) else {
            counts.drops.malformed += 1;
            return;
        };
        let ssrc = *packet.header.ssrc;
        let source = track.source;
        let known = track.encodings[encoding].ssrc;
        let (bytes, place, marker) = (packet.payload.len(), &glimpse.place, packet.header.marker);
        if track.arrived(encoding, Arrival { ssrc, bytes, place, marker }, now) {
            let report = Report::Flowing { peer: publisher.id, source, flowing: true };
            turn.outbox.reports.push_back(report);
            self.assignment = Assignment::Due;
        }
        let publisher = self.publisher_mut(seat);
        let is_muted = publisher.is_muted(source);
        let track = publisher.track_mut(source).expect("it was found above");
        let Some(recovered) = track.encodings[encoding].recover(source, &packet, wrapping) else { return };
        if is_muted {
            counts.drops.muted += 1;
            return;
        }
        let report = track.encodings[encoding].report;
        let header = &packet.header;
        let clock_rate = params.spec().clock_rate.get();
        let arrived = Arrived { ssrc, seq: *packet.seq_no, timestamp: header.timestamp, clock_rate };
        track.encodings[encoding].note(arrived, glimpse.key_frame_start, now);
        let began = source == Source::Microphone && self.hear(seat, header.ext_vals.audio_level, turn);
        let publisher = self.publisher_mut(seat);
        let captured = publisher.clock.captured(report, header.timestamp, clock_rate, now);
        let packet = Packet {
            origin: Origin { member: seat, source },
            stream: Stream { encoding, ssrc },
            seq: *packet.seq_no,
            timestamp: header.timestamp,
            captured,
            marker: header.marker,
            level: header.ext_vals.audio_level,
            voice: header.ext_vals.voice_activity,
            orientation: header.ext_vals.video_orientation,
            pt,
            params,
            wrapping,
            descriptor,
            glimpse,
            payload: packet.payload,
        };
        self.voice_began |= began;
        for recovered in recovered {
            self.take(remade(&packet, recovered, clock_rate), ssrc, turn);
        }
        self.take(packet, known, turn);
    }

    /// True: a voice begins with this level.
    fn hear(&mut self, seat: usize, level: Option<i8>, turn: &mut Turn<'_>) -> bool {
        let Some(level) = level.map(i8::unsigned_abs) else { return false };
        let publisher = self.publisher_mut(seat);
        let began = publisher.voice.heard(level, turn.now);
        let id = publisher.id;
        self.tell_level(id, level, turn);
        began
    }

    /// A packet is to be forwarded at the end of the turn. `known`: the SSRC that its encoding had before it.
    pub(super) fn take(&mut self, packet: Packet, known: u32, turn: &mut Turn<'_>) {
        let (origin, stream, key_frame_start) = (packet.origin, packet.stream, packet.glimpse.key_frame_start);
        self.arrived.push(packet);
        if key_frame_start && let Some(track) = self.publisher_mut(origin.member).track_mut(origin.source) {
            track.encodings[stream.encoding].gate.key_frame();
        }
        if known != stream.ssrc {
            self.new_stream(origin, stream.encoding, key_frame_start, turn);
        }
    }

    /// A stream began, or began anew: whoever waits for it, or for another because of it, needs a key frame.
    fn new_stream(&mut self, origin: Origin, encoding: usize, key_frame_start: bool, turn: &mut Turn<'_>) {
        let publisher = self.publisher_mut(origin.member);
        if publisher.home == Home::Here
            && let Some(track) = publisher.track_mut(origin.source)
        {
            track.survey(turn.now);
        }
        self.span.roster_changed();
        for Receiver { member, slot } in self.routes.receivers(origin).to_vec() {
            let before = self.member_mut(member).slots[slot].switch.target();
            self.aim(member, slot, turn);
            let slot = &self.member_mut(member).slots[slot];
            let concerned = |target: &usize| *target == encoding || slot.switch.target() != before;
            let waits_for = slot.waits_for().filter(|target| !key_frame_start && concerned(target));
            if let Some(target) = waits_for {
                self.want_key_frame(origin, target, turn.now);
            }
        }
    }

    fn take_event(&mut self, seat: usize, event: PeerEvent, turn: &mut Turn<'_>) {
        let Some(member) = &mut self.seats[seat] else { return };
        match event {
            PeerEvent::Connected => {
                member.link = Link::Up;
                let peer = member.id;
                turn.outbox.reports.push_back(Report::Connection { peer, state: Connection::Connected });
                for slot in 0..self.member_mut(seat).slots.len() {
                    self.show(seat, slot, turn);
                }
            }
            PeerEvent::Closed => self.end(seat),
            PeerEvent::KeyFrameWanted(mid) => {
                turn.outbox.counts.keyframe_requests_received += 1;
                let shown = member.slots.iter().find(|slot| slot.mid == mid && slot.is_open());
                let wanted = shown.and_then(|slot| Some((slot.showing()?.origin, slot.switch.target()?)));
                if let Some((origin, encoding)) = wanted {
                    self.stands_still(seat, mid, origin, turn.now);
                    self.want_key_frame(origin, encoding, turn.now);
                }
            }
            PeerEvent::SenderReport { stream, ntp, timestamp, received_at } => {
                let publisher = self.publisher_mut(seat);
                publisher.clock.note(ntp, received_at);
                let encoding = publisher
                    .track_by_mid(stream.mid)
                    .and_then(|track| track.encodings.iter_mut().find(|encoding| encoding.rid == stream.rid));
                if let Some(encoding) = encoding {
                    encoding.report = Some(SenderReport { ntp, timestamp });
                }
            }
            PeerEvent::Estimate(bitrate) => member.budget.note(bitrate, turn.now),
            PeerEvent::Peer(_) | PeerEvent::Ingress(_) | PeerEvent::Egress(..) => self.measure(seat, event, turn.now),
        }
    }
}

/// The packet that was lost, made of what `later` says again.
fn remade(later: &Packet, Recovered { seq, age, payload }: Recovered, clock_rate: u32) -> Packet {
    let earlier = Duration::from_micros(u64::from(age) * 1_000_000 / u64::from(clock_rate));
    Packet {
        seq,
        timestamp: later.timestamp.wrapping_sub(age),
        captured: later.captured.checked_sub(earlier).unwrap_or(later.captured),
        marker: false,
        level: None,
        voice: None,
        payload: payload.into(),
        ..later.clone()
    }
}
