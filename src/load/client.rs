//! One client: a str0m connection that sends synthetic media, counts what it receives, and decodes nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::link::Link;
use super::plan::{Plan, Role};
use super::source::{self, Packet, Source};
use super::tally::{Stream, Tally};
use crate::media::outbound::Outbound;

/// Level of the synthetic voices, in dBov.
const LEVEL: i8 = -30;

/// Deadlines served in one drain.
const MAX_TIMEOUTS: usize = 64;

/// The connection of one client.
pub struct Client {
    pub role: Role,
    rtc: Rtc,
    address: SocketAddr,
    deadline: Instant,
    pending: Option<SdpPendingOffer>,
    sends: Sends,
    source: Option<Source>,
    up: Link,
    down: Link,
    streams: HashMap<u32, (Stream, bool)>,
    tally: Tally,
    joined_at: Instant,
    connected_after: Option<Duration>,
    first_media_after: Option<Duration>,
    closed: bool,
}

/// The m-lines it sends on.
#[derive(Debug, Clone, Copy, Default)]
struct Sends {
    sound: Option<Mid>,
    video: Option<Mid>,
}

/// An m-line and what is sent on it, for signalling.
pub type SourceLine = (String, &'static str);

/// What a client's connection needs.
pub struct Setup<'a> {
    pub role: Role,
    pub plan: &'a Plan,
    pub address: SocketAddr,
    pub now: Instant,
    pub joined_at: Instant,
}

impl Client {
    /// A client and its offer.
    pub fn new(setup: Setup<'_>) -> (Self, String, Vec<SourceLine>) {
        let Setup { role, plan, address, now, joined_at } = setup;
        let mut rtc =
            Rtc::builder().set_rtp_mode(true).clear_codecs().enable_opus(true, false).enable_vp8(true).build(now);
        if let Ok(candidate) = Candidate::host(address, "udp") {
            rtc.add_local_candidate(candidate);
        }
        let (video, audio) = (plan.frames_a_second > 0, plan.audio);
        let mut api = rtc.sdp_api();
        let mut sends = Sends::default();
        if role.publishes && audio {
            sends.sound = Some(api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None));
        }
        if role.publishes && video {
            sends.video = Some(api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
        }
        for (kind, wanted) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            for _ in 0..if wanted { role.slots } else { 0 } {
                api.add_media(kind, Direction::RecvOnly, None, None, None);
            }
        }
        let (offer, pending) = api.apply().expect("a role sends or receives something");
        let offset = (role.client * 7 % 31) as f64 / 31.0;
        let client = Self {
            rtc,
            address,
            deadline: now,
            pending: Some(pending),
            sends,
            source: role.publishes.then(|| Source::new(plan, offset, now)),
            up: Link::new(plan.up, role.client as u64 * 2 + 1, now),
            down: Link::new(plan.down, role.client as u64 * 2 + 2, now),
            streams: HashMap::new(),
            tally: Tally::default(),
            joined_at,
            connected_after: None,
            first_media_after: None,
            closed: false,
            role,
        };
        let lines = [(sends.sound, "microphone"), (sends.video, "camera")];
        let lines = lines.into_iter().filter_map(|(mid, name)| Some((mid?.to_string(), name))).collect();
        (client, offer.to_sdp_string(), lines)
    }

    /// The server's answer.
    ///
    /// # Errors
    /// It cannot be used; the text says why.
    pub fn answered(&mut self, answer: &str) -> Result<(), String> {
        let answer = SdpAnswer::from_sdp_string(answer).map_err(|error| error.to_string())?;
        let pending = self.pending.take().ok_or("an answer to nothing")?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|error| error.to_string())
    }

    /// When [`Client::run`] is wanted.
    pub fn deadline(&self) -> Instant {
        let source = self.source.as_ref().filter(|_| self.is_connected()).and_then(Source::next_at);
        source.map_or(self.deadline, |at| at.min(self.deadline))
    }

    pub fn is_connected(&self) -> bool {
        self.connected_after.is_some() && !self.closed
    }

    /// From the beginning of its join to ICE and DTLS being up.
    pub fn connected_after(&self) -> Option<Duration> {
        self.connected_after
    }

    /// From the beginning of its join to the first packet.
    pub fn first_media_after(&self) -> Option<Duration> {
        self.first_media_after
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Counts from here on.
    pub fn restart(&mut self) {
        self.tally = Tally::default();
        self.streams.values_mut().for_each(|(stream, _)| stream.restart());
    }

    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        for (stream, _) in self.streams.values() {
            tally.received += stream.received();
            tally.lost += stream.lost();
        }
        tally
    }

    /// A datagram came.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8], clock: Clock, out: &mut Outbound) {
        if !self.down.passes(datagram.len(), clock.now) {
            return;
        }
        let Ok(received) = Receive::new(Protocol::Udp, from, self.address, datagram) else { return };
        let input = Input::Receive(clock.now, received);
        // What is not for this connection is not its end.
        if self.rtc.accepts(&input) && self.rtc.handle_input(input).is_ok() {
            self.drain(clock, out);
        }
    }

    /// Time passes: what is due is sent.
    pub fn run(&mut self, clock: Clock, out: &mut Outbound) {
        if self.closed {
            return;
        }
        if self.is_connected() {
            self.send_due(clock);
        }
        if self.rtc.handle_input(Input::Timeout(clock.now)).is_err() {
            self.closed = true;
            return;
        }
        self.drain(clock, out);
    }

    /// Says goodbye.
    pub fn close(&mut self, clock: Clock, out: &mut Outbound) {
        if self.rtc.close().is_ok() {
            self.drain(clock, out);
        }
        self.closed = true;
    }

    fn send_due(&mut self, clock: Clock) {
        let Some(source) = &mut self.source else { return };
        let (rtc, sends, tally) = (&mut self.rtc, self.sends, &mut self.tally);
        source.due(clock.now, clock.stamp(), |packet| {
            let mid = if packet.video { sends.video } else { sends.sound };
            let Some(mid) = mid else { return };
            if let Some(stream) = rtc.direct_api().stream_tx_by_mid(mid, None) {
                stream.write_rtp(written(packet, clock.now));
                tally.sent += 1;
            }
        });
    }

    fn drain(&mut self, clock: Clock, out: &mut Outbound) {
        let mut timeouts = 0;
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    if self.up.passes(transmit.contents.len(), clock.now) {
                        out.transmit(&transmit);
                    }
                }
                Ok(Output::Event(event)) => self.note(event, clock),
                Ok(Output::Timeout(at)) if at <= clock.now && timeouts < MAX_TIMEOUTS => {
                    timeouts += 1;
                    if self.rtc.handle_input(Input::Timeout(clock.now)).is_err() {
                        self.closed = true;
                        return;
                    }
                }
                Ok(Output::Timeout(at)) => {
                    self.deadline = at.max(clock.now);
                    self.closed |= !self.rtc.is_alive();
                    return;
                }
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn note(&mut self, event: Event, clock: Clock) {
        match event {
            Event::Connected => {
                self.connected_after.get_or_insert(clock.now.saturating_duration_since(self.joined_at));
            }
            Event::Closed => self.closed = true,
            Event::KeyframeRequest(request)
                if matches!(request.kind, KeyframeRequestKind::Pli | KeyframeRequestKind::Fir) =>
            {
                if let Some(source) = &mut self.source {
                    source.want_key_frame();
                }
            }
            Event::RtpPacket(packet) => self.note_packet(&packet, clock),
            _ => {}
        }
    }

    fn note_packet(&mut self, packet: &RtpPacket, clock: Clock) {
        self.first_media_after.get_or_insert(clock.now.saturating_duration_since(self.joined_at));
        let ssrc = packet.header.ssrc;
        let seq = *packet.seq_no;
        let (stream, video) = self.streams.entry(*ssrc).or_insert_with(|| {
            let mid = self.rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid());
            let video = mid.and_then(|mid| self.rtc.media(mid)).is_some_and(|media| media.kind().is_video());
            // Not counted yet: it is below.
            let mut stream = Stream::new(seq.saturating_sub(1));
            stream.restart();
            (stream, video)
        });
        if !stream.note(seq) {
            return;
        }
        self.tally.bytes += packet.payload.len() as u64;
        if let Some(stamp) = source::stamp_of(&packet.payload, *video) {
            let sent_at = clock.epoch + Duration::from_nanos(stamp);
            // A stamp of the future is another program's payload.
            if sent_at <= clock.now {
                self.tally.latency.note(clock.now.duration_since(sent_at));
            }
        }
    }
}

/// The time, and when the run's clock was zero.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub epoch: Instant,
    pub now: Instant,
}

impl Clock {
    fn stamp(self) -> u64 {
        self.now.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

fn written(packet: Packet, now: Instant) -> RtpWrite {
    let pt = if packet.video { 96 } else { 111 };
    let level = (!packet.video).then_some(LEVEL);
    let ext_vals =
        ExtensionValues { audio_level: level, voice_activity: level.map(|_| true), ..ExtensionValues::default() };
    RtpWrite::new(pt.into(), packet.seq.into(), packet.timestamp, now, packet.payload)
        .marker(packet.marker)
        .nackable(packet.video)
        .ext_vals(ext_vals)
}
