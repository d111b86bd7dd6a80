//! Everything that leaves for one client as media: sealed, numbered for the whole transport, paced, repeated when it was lost, reported on.
//!
//! A packet is sealed where it will lie until the kernel takes it, in the same step in which it is written. What comes back, RTCP, is read
//! here first; the library, which serves the other direction, sees only what concerns that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::media::Mid;

use super::estimate::{Estimator, Probe};
use super::header::Ids;
use super::keys::Keys;
use super::outbound::{Outbound, Path};
use super::pacer::Pacer;
use super::resend::ResendLimit;
use super::rtcp::compose::{Compound, StreamReport, TimeAnswer};
use super::rtcp::{self, Block};
use super::sender::{Heard, Made, Sender, Write};
use super::srtp::{Opener, Sealer};
use super::wallclock::{self, WallClock};

/// Sender reports leave so often while there is media (RFC 3550, 6.2, with the reduced minimum of sessions of this size).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The first one says soon how sound and picture belong together.
const FIRST_REPORT: Duration = Duration::from_millis(200);

/// Packets that wait for the pacer. With more, those that come are lost: what waits so long is old before it is sent.
const MAX_QUEUED: usize = 2048;

/// Bytes of one report, with room for its seal in what paths carry.
const REPORT_MTU: usize = 1100;
/// In whose name reports are: nobody looks streams up by it, they belong together by their `msid`.
const CNAME: &str = "callisto";

/// Packets of which one compound packet may tell: a second at 60 Mbit/s. A few bytes can claim to tell of 65,535.
const MAX_TOLD: usize = 8192;

/// Lost packets of one feedback that are sent again: as many as are kept of a stream.
const MAX_LOST: usize = 256;

/// A probe that has nothing to be made of is given up after this.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// A stream of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamIndex(usize);

/// What the client's reports brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It cannot decode the stream without a key frame.
    KeyFrameWanted(Mid),
}

/// What of a compound packet the library must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It is all read.
    Nothing,
    /// It has to do with what the client sends.
    Something,
    /// It is not the client's, or comes again.
    Refused,
}

/// The sending side of one connection.
pub struct Outgoing {
    wall: WallClock,
    sealer: Option<Sealer>,
    opener: Option<Opener>,
    path: Option<Path>,
    /// Nothing is sent after this.
    consent_until: Instant,
    senders: Vec<Sender>,
    /// The number of the last packet, over all streams.
    transport: u64,
    estimator: Option<Estimator>,
    pacer: Pacer,
    queue: VecDeque<Queued>,
    probing: Option<Probing>,
    resends: ResendLimit,
    report_at: Option<Instant>,
    /// The SSRC that reports begin with: SRTCP's state goes by it (RFC 3711, 3.2.3), and the library's reports have another.
    report_ssrc: u32,
    /// The client's last reference time, and when it came (RFC 3611, 4.4).
    reference: Option<Reference>,
    /// Of all that left, headers and seals with it.
    bytes: u64,
    /// Reports on their way out, and opened ones.
    scratch: Vec<u8>,
    opened: Vec<u8>,
    /// What a feedback says did not arrive.
    lost: Vec<(Name, Instant)>,
}

/// A packet of a stream, in 32 bits: the stream's index and the packet's number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name(u32);

#[derive(Debug, Clone, Copy)]
struct Reference {
    ssrc: u32,
    /// In the middle 32 bits of NTP's.
    time: u32,
    at: Instant,
}

#[derive(Debug)]
struct Queued {
    sender: usize,
    since: Instant,
    packet: Write,
}

/// A probe under way.
#[derive(Debug)]
struct Probing {
    probe: Probe,
    since: Instant,
    sent: u64,
}

impl Outgoing {
    /// `estimate`: the first guess of the bandwidth; `None` sends unpaced and estimates nothing. `report_ssrc` is nobody else's.
    pub fn new(wall: WallClock, estimate: Option<Bitrate>, report_ssrc: u32, now: Instant) -> Self {
        let first = estimate.map_or(0, |estimate| estimate.as_u64());
        Self {
            wall,
            sealer: None,
            opener: None,
            path: None,
            consent_until: now,
            senders: Vec::new(),
            transport: 0,
            estimator: estimate.map(|_| Estimator::new(first, now)),
            pacer: Pacer::new(first, now),
            queue: VecDeque::new(),
            probing: None,
            resends: ResendLimit::new(now),
            report_at: None,
            report_ssrc,
            reference: None,
            bytes: 0,
            scratch: Vec::new(),
            opened: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The handshake is through: from now on packets can be sealed.
    pub fn secure(&mut self, keys: &Keys) {
        self.sealer = Some(Sealer::new(keys));
        self.opener = Some(Opener::new(keys));
    }

    pub fn is_secure(&self) -> bool {
        self.sealer.is_some()
    }

    /// Where packets go from now on.
    pub fn go(&mut self, path: Path) {
        self.path = Some(path);
    }

    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// The client's consent to be sent anything (RFC 7675).
    pub fn consent(&mut self, until: Instant) {
        self.consent_until = until;
    }

    pub fn has_consent(&self, now: Instant) -> bool {
        now < self.consent_until
    }

    /// A stream that was negotiated; one that is known goes on as it was.
    pub fn negotiated(&mut self, mid: Mid, ssrc: u32, repeat_ssrc: Option<u32>, now: Instant) {
        match self.senders.iter_mut().find(|sender| sender.mid == mid) {
            Some(sender) if sender.ssrc == ssrc => sender.repeat_ssrc = repeat_ssrc,
            Some(sender) => *sender = Sender::new(mid, ssrc, repeat_ssrc, now),
            None => self.senders.push(Sender::new(mid, ssrc, repeat_ssrc, now)),
        }
    }

    /// The streams: m-line, SSRC, and the one for what is sent again.
    pub fn streams(&self) -> impl Iterator<Item = (Mid, u32, Option<u32>)> + '_ {
        self.senders.iter().map(|sender| (sender.mid, sender.ssrc, sender.repeat_ssrc))
    }

    /// The stream of an m-line, and its SSRC; `None`: the m-line does not send.
    pub fn stream(&mut self, mid: Mid, ids: Ids) -> Option<(StreamIndex, u32)> {
        let index = self.senders.iter().position(|sender| sender.mid == mid)?;
        self.senders[index].ids = ids;
        Some((StreamIndex(index), self.senders[index].ssrc))
    }

    /// Whether the stream's packets wait for the pacer.
    pub fn pace(&mut self, StreamIndex(index): StreamIndex, paced: bool) {
        self.senders[index].paced = paced;
    }

    /// How long the oldest packet of the stream has been waiting.
    pub fn backlog(&self, StreamIndex(index): StreamIndex, now: Instant) -> Duration {
        let oldest = self.queue.iter().find(|queued| queued.sender == index);
        oldest.map_or(Duration::ZERO, |queued| now.saturating_duration_since(queued.since))
    }

    /// What of the stream waits is not sent any more.
    pub fn give_up(&mut self, StreamIndex(index): StreamIndex) {
        self.queue.retain(|queued| queued.sender != index);
    }

    /// Probes for so many bits per second.
    pub fn look_for(&mut self, bitrate: u64, now: Instant) {
        if let Some(estimator) = &mut self.estimator {
            estimator.look_for(bitrate, now);
        }
    }

    /// Sends the packet, or lets it wait.
    pub fn write(&mut self, StreamIndex(index): StreamIndex, packet: Write, now: Instant, out: &mut Outbound) {
        if self.sealer.is_none() || self.path.is_none() || now >= self.consent_until {
            return;
        }
        let waits = if self.estimator.is_some() && self.senders[index].paced {
            !self.queue.is_empty() || !self.pacer.allows(now)
        } else {
            // What was paced until now is not overtaken.
            self.queue.iter().any(|queued| queued.sender == index)
        };
        if waits {
            if self.queue.len() < MAX_QUEUED {
                self.queue.push_back(Queued { sender: index, since: now, packet });
            }
            return;
        }
        self.send(index, packet, now, out);
    }

    /// When [`Outgoing::run_to`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        let queue = (!self.queue.is_empty()).then(|| self.pacer.next());
        let probe = self.probing.as_ref().map(Probing::next);
        let estimate = self.estimator.as_ref().and_then(Estimator::deadline);
        [queue, probe, estimate, self.report_at].into_iter().flatten().min()
    }

    /// Time passes: what waited leaves, and what is due.
    pub fn run_to(&mut self, now: Instant, out: &mut Outbound) {
        self.estimate(now);
        if self.sealer.is_none() || self.path.is_none() || now >= self.consent_until {
            self.queue.clear();
            (self.probing, self.report_at) = (None, None);
            return;
        }
        while !self.queue.is_empty() && self.pacer.allows(now) {
            let Some(Queued { sender, packet, .. }) = self.queue.pop_front() else { break };
            self.send(sender, packet, now, out);
        }
        self.probe(now, out);
        if self.report_at.is_some_and(|at| now >= at) {
            self.report(now, out);
        }
    }

    /// Reads a compound packet of the client's.
    pub fn receive(&mut self, datagram: &[u8], now: Instant, out: &mut Outbound, mut each: impl FnMut(Word)) -> Rest {
        let mut scratch = std::mem::take(&mut self.opened);
        let opened = self.opener.as_mut().map(|opener| opener.open_rtcp(datagram, &mut scratch));
        let rest = match opened {
            // The library has the same keys, later.
            None => Rest::Something,
            Some(None) => Rest::Refused,
            Some(Some(compound)) => {
                let mut told = MAX_TOLD;
                for block in rtcp::read(compound) {
                    self.take(block, &mut told, now, out, &mut each);
                }
                if rtcp::must_reach_library(compound) { Rest::Something } else { Rest::Nothing }
            }
        };
        self.opened = scratch;
        rest
    }

    /// News of the bandwidth, in bits per second.
    pub fn poll_estimate(&mut self) -> Option<u64> {
        let estimate = self.estimator.as_mut()?.poll_estimate()?;
        self.pacer.set_estimate(estimate);
        Some(estimate)
    }

    /// The share of packets that were lost lately, 0.0-1.0; `None`: nobody says.
    pub fn loss(&self, now: Instant) -> Option<f32> {
        self.estimator.as_ref()?.loss(now)
    }

    /// Even the quickest packets wait in a queue on the way.
    pub fn path_waits(&self) -> bool {
        self.pacer.is_full()
    }

    /// The shortest round trip that is known of.
    pub fn round_trip(&self) -> Option<Duration> {
        let reported = self.senders.iter().filter_map(|sender| sender.heard().round_trip);
        reported.chain(self.estimator.as_ref().and_then(Estimator::round_trip)).min()
    }

    /// What was reported of each stream that was sent.
    pub fn heard(&self) -> impl Iterator<Item = (Mid, Heard)> + '_ {
        self.senders.iter().filter(|sender| sender.packets > 0).map(|sender| (sender.mid, sender.heard()))
    }

    /// Bytes that left.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Says that the streams end.
    pub fn close(&mut self, now: Instant, out: &mut Outbound) {
        let ended: Vec<u32> = self.senders.iter().filter(|s| s.packets > 0).map(|sender| sender.ssrc).collect();
        if self.has_consent(now) {
            self.say(&[], &[], &ended, out);
        }
        self.sealer = None;
    }

    fn say(&mut self, streams: &[StreamReport], answers: &[TimeAnswer], ended: &[u32], out: &mut Outbound) {
        let (Some(sealer), Some(path)) = (&mut self.sealer, self.path) else { return };
        let compound = Compound { own: self.report_ssrc, cname: CNAME, streams, answers, ended };
        compound.write(REPORT_MTU, &mut self.scratch, |packet| {
            sealer.seal_rtcp(packet);
            self.bytes += packet.len() as u64;
            out.push(path, packet);
        });
    }

    fn send(&mut self, index: usize, packet: Write, now: Instant, out: &mut Outbound) {
        let sender = &mut self.senders[index];
        let transport = sender.ids.transport.map(|_| self.transport + 1);
        let (Some(sealer), Some(path)) = (&self.sealer, self.path) else { return };
        let bytes =
            sealed(sealer, path, out, |bytes| Some(sender.make(&packet, transport.map(|seq| seq as u16), bytes)));
        let name = Name::new(index, packet.seq as u16);
        sender.keep(packet, now);
        self.resends.sent(bytes);
        self.report_at.get_or_insert(now + FIRST_REPORT);
        self.note(transport, bytes, name, now);
    }

    fn send_again(&mut self, index: usize, seq: u16, now: Instant, out: &mut Outbound) -> bool {
        let sender = &mut self.senders[index];
        let transport = sender.ids.transport.map(|_| self.transport + 1);
        let (Some(sealer), Some(path)) = (&self.sealer, self.path) else { return false };
        let number = transport.map(|seq| seq as u16);
        let bytes = sealed(sealer, path, out, |bytes| sender.make_again(seq, number, now, bytes));
        if bytes > 0 {
            self.note(transport, bytes, Name::new(index, seq), now);
        }
        bytes > 0
    }

    /// A packet left.
    fn note(&mut self, transport: Option<u64>, bytes: u64, name: Name, now: Instant) {
        self.bytes += bytes;
        self.pacer.sent(bytes);
        let Some(seq) = transport else { return };
        self.transport = seq;
        if let Some(estimator) = &mut self.estimator {
            let probe = self.probing.as_mut().map(|probing| {
                probing.sent += bytes;
                probing.probe.id
            });
            estimator.sent(seq, bytes as u32, probe, name.0, now);
        }
    }

    fn estimate(&mut self, now: Instant) {
        let Some(estimator) = &mut self.estimator else { return };
        if estimator.deadline().is_some_and(|at| now >= at) {
            estimator.handle_timeout(now);
        }
        if self.probing.is_none() && self.senders.iter().any(|sender| sender.spare().is_some()) {
            self.probing = estimator.poll_probe(now).map(|probe| Probing { probe, since: now, sent: 0 });
        }
    }

    /// Sends what a probe still lacks at this moment: packets that were sent before, which a receiver may have missed.
    fn probe(&mut self, now: Instant, out: &mut Outbound) {
        while let Some(probing) = &self.probing {
            if probing.is_over(now) {
                self.probing = None;
                return;
            }
            if now < probing.next() {
                return;
            }
            let spare = self.senders.iter().enumerate().find_map(|(index, sender)| Some((index, sender.spare()?)));
            if !spare.is_some_and(|(index, seq)| self.send_again(index, seq, now, out)) {
                self.probing = None;
            }
        }
    }

    fn report(&mut self, now: Instant, out: &mut Outbound) {
        let ntp = self.wall.ntp(now);
        let fresh = self.senders.iter_mut().filter(|sender| sender.packets != sender.reported);
        let streams: Vec<StreamReport> = fresh
            .filter_map(|sender| {
                sender.reported = sender.packets;
                let (packets, octets) = (sender.packets, sender.octets);
                Some(StreamReport { ssrc: sender.ssrc, ntp, timestamp: sender.timestamp(now)?, packets, octets })
            })
            .collect();
        // With nothing to report on, the next packet sets it going again.
        self.report_at = (!streams.is_empty()).then_some(now + REPORT_INTERVAL);
        let answer = self.reference.take().map(|Reference { ssrc, time, at }| TimeAnswer {
            ssrc,
            last: time,
            delay: (now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000) as u32,
        });
        self.say(&streams, answer.as_slice(), &[], out);
    }

    /// `told`: the arrivals that may still be told.
    fn take(
        &mut self,
        block: Block<'_>,
        told: &mut usize,
        now: Instant,
        out: &mut Outbound,
        each: &mut impl FnMut(Word),
    ) {
        match block {
            Block::ReceiverReport { reports, .. } | Block::SenderReport { reports, .. } => {
                let middle = wallclock::middle(self.wall.ntp(now));
                for report in reports {
                    if let Some(sender) = self.senders.iter_mut().find(|sender| sender.ssrc == report.ssrc) {
                        let answered = (report.last_sr, report.delay);
                        sender.reported(report.fraction_lost, report.jitter, answered, middle);
                    }
                }
            }
            Block::Nack { ssrc, lost } => {
                let Some(index) = self.senders.iter().position(|sender| sender.ssrc == ssrc) else { return };
                let mut asked = 0;
                for seq in lost {
                    asked += 1;
                    let bytes = self.senders[index].repeatable(seq, now);
                    self.repeat(index, seq, bytes, now, out);
                }
                self.senders[index].nacked(asked);
            }
            Block::PictureLoss { ssrc } => self.want_key_frame(ssrc, each),
            Block::FullIntra(asked) => asked.for_each(|ssrc| self.want_key_frame(ssrc, each)),
            Block::Transport(feedback) => {
                if let Some(estimator) = &mut self.estimator {
                    let arrivals = feedback.arrivals().take(*told).inspect(|_| *told -= 1);
                    let lost = &mut self.lost;
                    estimator.feedback(feedback.base, arrivals, now, |name, at| {
                        if lost.len() < MAX_LOST {
                            lost.push((Name(name), at));
                        }
                    });
                    self.pacer.set_full(estimator.path_waits());
                }
                self.replace_lost(now, out);
            }
            Block::ReferenceTime { sender, ntp } => {
                self.reference = Some(Reference { ssrc: sender, time: wallclock::middle(ntp), at: now });
            }
            // What a receiver thinks of its link on its own is not asked of it; the rest is of other streams.
            Block::Remb { .. } | Block::Other(_) => {}
        }
    }

    /// Sends again what did not arrive and was not asked for: the question may be lost, too, and so may what answered it.
    fn replace_lost(&mut self, now: Instant, out: &mut Outbound) {
        let mut lost = std::mem::take(&mut self.lost);
        for (name, sent) in lost.drain(..) {
            let (index, seq) = name.parts();
            let Some(sender) = self.senders.get(index) else { continue };
            let bytes = sender.replaceable(seq, sent, now);
            self.repeat(index, seq, bytes, now, out);
        }
        self.lost = lost;
    }

    /// Sends a packet of so many bytes again, if it may be and there is an allowance left. On a path that is full it would push out another:
    /// there, as many as leave room for the rest; who misses the others asks again.
    fn repeat(&mut self, index: usize, seq: u16, bytes: Option<usize>, now: Instant, out: &mut Outbound) {
        let has_room = !self.pacer.is_full() || (self.queue.is_empty() && self.pacer.allows(now));
        if has_room && bytes.is_some_and(|bytes| self.resends.allows(bytes as u64, now)) {
            self.send_again(index, seq, now, out);
        }
    }

    fn want_key_frame(&self, ssrc: u32, each: &mut impl FnMut(Word)) {
        if let Some(sender) = self.senders.iter().find(|sender| sender.ssrc == ssrc) {
            each(Word::KeyFrameWanted(sender.mid));
        }
    }
}

/// Makes a packet in place and seals it there. The bytes it has on the wire; 0: none was made.
fn sealed(sealer: &Sealer, path: Path, out: &mut Outbound, make: impl FnOnce(&mut Vec<u8>) -> Option<Made>) -> u64 {
    let mut made = None;
    let packet = out.write(path, |bytes| {
        made = make(bytes);
        if made.is_some() {
            bytes.resize(bytes.len() + sealer.tag_len(), 0);
        }
    });
    let Some(Made { header, index }) = made else {
        out.take_back();
        return 0;
    };
    sealer.seal_rtp(packet, header, index);
    packet.len() as u64
}

impl Name {
    fn new(sender: usize, seq: u16) -> Self {
        Self((sender as u32) << 16 | u32::from(seq))
    }

    fn parts(self) -> (usize, u16) {
        ((self.0 >> 16) as usize, self.0 as u16)
    }
}

impl Probing {
    /// When its next packet is due.
    fn next(&self) -> Instant {
        self.since + Duration::from_micros(self.sent * 8 * 1_000_000 / self.probe.bitrate.max(1))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.sent >= u64::from(self.probe.bytes) || now >= self.since + PROBE_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use str0m::net::Protocol;

    use super::super::keys::{Profile, Role};
    use super::super::payload::Patch;
    use super::*;

    const MATERIAL: [u8; 56] = [7; 56];
    const VIDEO: StreamIndex = StreamIndex(0);
    const SOUND: StreamIndex = StreamIndex(1);
    const VIDEO_SSRC: u32 = 0x0a00_0001;
    const REPEAT_SSRC: u32 = 0x0a00_0002;
    const REPORT_SSRC: u32 = 0x0b00_0000;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A connection to which a megabit a second is thought to go, and what its client seals its RTCP with.
    fn connection(now: Instant) -> (Outgoing, Sealer) {
        let mut outgoing = Outgoing::new(WallClock::new(now, UNIX_EPOCH), Some(Bitrate::kbps(1000)), REPORT_SSRC, now);
        outgoing.secure(&Keys::new(Profile::Aes128Gcm, &MATERIAL, Role::Server).unwrap());
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        outgoing.go(Path { proto: Protocol::Udp, source: at(1), destination: at(2) });
        outgoing.consent(now + ms(60_000));
        outgoing.negotiated("v".into(), VIDEO_SSRC, Some(REPEAT_SSRC), now);
        outgoing.negotiated("a".into(), 0x0a00_0003, None, now);
        let ids = Ids { transport: Some(3), ..Ids::default() };
        assert_eq!(outgoing.stream("v".into(), ids), Some((VIDEO, VIDEO_SSRC)));
        assert_eq!(outgoing.stream("a".into(), ids).map(|(stream, _)| stream), Some(SOUND));
        outgoing.pace(SOUND, false);
        (outgoing, Sealer::new(&Keys::new(Profile::Aes128Gcm, &MATERIAL, Role::Client).unwrap()))
    }

    fn packet(seq: u64, now: Instant) -> Write {
        Write {
            payload_type: 96,
            repeat_type: Some(97),
            seq,
            timestamp: 0,
            clock_rate: 90_000,
            captured: now,
            marker: false,
            level: None,
            orientation: None,
            descriptor: None,
            patch: Patch::default(),
            payload: Arc::from(&[1; 1000][..]),
        }
    }

    /// SSRC and sequence number of every RTP packet that left since it was last asked; of RTCP the SSRC and 0.
    fn left(out: &mut Outbound) -> Vec<(u32, u16)> {
        let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let all = out
            .iter()
            .map(|(_, bytes)| match bytes[1] {
                192..=223 => (word(bytes, 4), 0),
                _ => (word(bytes, 8), u16::from_be_bytes([bytes[2], bytes[3]])),
            })
            .collect();
        out.clear();
        all
    }

    fn nack(sealer: &mut Sealer, seqs: &[u16]) -> Vec<u8> {
        let mut compound = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        compound.extend([0x81, 205, 0, 2 + seqs.len() as u8, 0, 0, 0, 9]);
        compound.extend(VIDEO_SSRC.to_be_bytes());
        seqs.iter().for_each(|seq| compound.extend([&seq.to_be_bytes()[..], &[0, 0]].concat()));
        sealer.seal_rtcp(&mut compound);
        compound
    }

    #[test]
    fn what_is_more_than_a_burst_waits_and_sound_does_not() {
        let now = Instant::now();
        let (mut outgoing, _) = connection(now);
        let mut out = Outbound::default();
        (0..40).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
        outgoing.write(SOUND, packet(7, now), now, &mut out);
        let at_once = left(&mut out);
        assert!((10..20).contains(&at_once.len()) && at_once.last() == Some(&(0x0a00_0003, 7)), "{at_once:?}");
        assert_eq!(outgoing.backlog(VIDEO, now + ms(3)), ms(3));
        assert_eq!(outgoing.backlog(SOUND, now + ms(3)), Duration::ZERO);
        let mut later = Vec::new();
        while outgoing.backlog(VIDEO, now + ms(1000)) > Duration::ZERO {
            let at = outgoing.deadline().unwrap();
            assert!(at < now + ms(200), "40 kB take an eighth of a second");
            outgoing.run_to(at, &mut out);
            later.extend(left(&mut out).into_iter().filter(|(ssrc, _)| *ssrc == VIDEO_SSRC));
        }
        let seqs: Vec<u16> =
            at_once.iter().filter(|(ssrc, _)| *ssrc == VIDEO_SSRC).chain(&later).map(|p| p.1).collect();
        assert_eq!(seqs, (0..40).collect::<Vec<_>>(), "all, in order");
    }

    #[test]
    fn a_stream_that_is_not_paced_any_more_stays_in_order() {
        let now = Instant::now();
        let (mut outgoing, _) = connection(now);
        let mut out = Outbound::default();
        (0..30).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
        outgoing.pace(VIDEO, false);
        (30..60).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
        let mut seqs = left(&mut out);
        while let Some(at) = outgoing.deadline().filter(|at| *at < now + ms(1000)) {
            outgoing.run_to(at, &mut out);
            seqs.extend(left(&mut out));
        }
        let media = seqs.into_iter().filter(|(ssrc, _)| *ssrc == VIDEO_SSRC).map(|(_, seq)| seq);
        assert!(media.eq(0..60));
    }

    #[test]
    fn what_was_given_up_is_not_sent_and_the_queue_is_bounded() {
        let now = Instant::now();
        let (mut outgoing, _) = connection(now);
        let mut out = Outbound::default();
        (0..5000).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
        assert_eq!(outgoing.queue.len(), MAX_QUEUED);
        left(&mut out);
        outgoing.give_up(VIDEO);
        outgoing.run_to(now + ms(5), &mut out);
        assert!(left(&mut out).is_empty());
    }

    #[test]
    fn nothing_leaves_without_keys_a_path_and_consent() {
        let now = Instant::now();
        let mut out = Outbound::default();
        let (mut outgoing, _) = connection(now);
        outgoing.consent(now);
        outgoing.write(SOUND, packet(1, now), now, &mut out);
        outgoing.run_to(now + ms(5000), &mut out);
        let (mut pathless, _) = connection(now);
        pathless.path = None;
        pathless.write(SOUND, packet(1, now), now, &mut out);
        let (mut keyless, _) = connection(now);
        keyless.sealer = None;
        keyless.write(SOUND, packet(1, now), now, &mut out);
        assert!(out.is_empty());
        assert_eq!(keyless.deadline(), pathless.deadline());
    }

    #[test]
    fn who_may_not_be_sent_anything_costs_no_time() {
        let now = Instant::now();
        let (mut outgoing, _) = connection(now);
        let mut out = Outbound::default();
        outgoing.look_for(5_000_000, now);
        (0..40).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
        outgoing.consent(now + ms(10));
        left(&mut out);
        let mut at = now + ms(20);
        let mut wakes = 0;
        while let Some(next) = outgoing.deadline().filter(|next| *next < now + ms(60_000)) {
            at = at.max(next);
            outgoing.run_to(at, &mut out);
            wakes += 1;
            assert!(wakes < 20 && out.is_empty(), "{at:?}");
        }
    }

    #[test]
    fn a_probe_sends_what_was_sent_before_at_its_rate() {
        let now = Instant::now();
        let (mut outgoing, mut client) = connection(now);
        let mut out = Outbound::default();
        outgoing.look_for(5_000_000, now);
        outgoing.write(VIDEO, packet(1, now), now, &mut out);
        left(&mut out);
        assert_eq!(outgoing.deadline(), Some(now + FIRST_REPORT), "there may be nobody to tell what a probe finds");
        outgoing.receive(&feedback(&mut client, 1, &[true]), now + ms(50), &mut out, |_| {});
        let mut repeated = Vec::new();
        let mut at = now;
        while let Some(next) = outgoing.deadline().filter(|next| *next < now + ms(900)) {
            at = at.max(next);
            outgoing.run_to(at, &mut out);
            repeated.extend(left(&mut out).into_iter().filter(|(ssrc, _)| *ssrc == REPEAT_SSRC).map(|_| at));
        }
        let span = repeated.last().unwrap().duration_since(repeated[0]);
        assert!(repeated.len() >= 5 && span > ms(5) && span < ms(100), "{} in {span:?}", repeated.len());
    }

    #[test]
    fn what_is_missing_is_sent_again_once_and_not_for_a_replayed_report() {
        let now = Instant::now();
        let (mut outgoing, mut client) = connection(now);
        let mut out = Outbound::default();
        (0..5).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
        left(&mut out);
        let asked = nack(&mut client, &[3, 4, 900]);
        let take = |outgoing: &mut Outgoing, report: &[u8], out: &mut Outbound| {
            outgoing.receive(report, now + ms(30), out, |word| panic!("{word:?}"))
        };
        assert_eq!(take(&mut outgoing, &asked, &mut out), Rest::Nothing);
        assert_eq!(left(&mut out).iter().map(|p| p.0).collect::<Vec<_>>(), [REPEAT_SSRC; 2]);
        assert_eq!(take(&mut outgoing, &asked, &mut out), Rest::Refused, "the same bytes again");
        assert_eq!(take(&mut outgoing, &nack(&mut client, &[3]), &mut out), Rest::Nothing, "too soon");
        assert!(out.is_empty());
        let heard: Vec<Heard> = outgoing.heard().map(|(_, heard)| heard).collect();
        assert_eq!((heard[0].nacks, heard[0].repeated), (4, 2));
    }

    /// Transport-wide feedback of up to 14 packets.
    fn feedback(sealer: &mut Sealer, base: u16, arrived: &[bool]) -> Vec<u8> {
        let bits = arrived.iter().enumerate().fold(0x8000, |bits, (n, arrived)| bits | u16::from(*arrived) << (13 - n));
        let mut compound = vec![0x8f, 205, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0];
        compound.extend([base, arrived.len() as u16].map(u16::to_be_bytes).concat());
        compound.extend([0, 0, 1, 0]);
        compound.extend(bits.to_be_bytes());
        compound.extend(arrived.iter().filter(|arrived| **arrived).map(|_| 4));
        compound.resize(compound.len().next_multiple_of(4), 0);
        compound[3] = (compound.len() / 4 - 1) as u8;
        sealer.seal_rtcp(&mut compound);
        compound
    }

    #[test]
    fn what_did_not_arrive_is_sent_again_without_being_asked_for_until_it_does() {
        let now = Instant::now();
        let (mut outgoing, mut client) = connection(now);
        let mut out = Outbound::default();
        // They have the transport's numbers from 1 on.
        (0..4).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
        left(&mut out);
        let mut tell = |outgoing: &mut Outgoing, client: &mut Sealer, base, arrived: &[bool], after| {
            outgoing.receive(&feedback(client, base, arrived), now + ms(after), &mut out, |_| {});
            left(&mut out).len()
        };
        let asked = nack(&mut client, &[2]);
        outgoing.receive(&asked, now + ms(40), &mut Outbound::default(), |_| {});
        let told = [true, false, false, true];
        assert_eq!(tell(&mut outgoing, &mut client, 1, &told, 60), 1, "one of the two was asked for before");
        assert_eq!(tell(&mut outgoing, &mut client, 1, &told, 80), 0, "it was told already");
        assert_eq!(tell(&mut outgoing, &mut client, 5, &[true, false], 120), 1, "what was sent again is lost, too");
        assert_eq!(tell(&mut outgoing, &mut client, 7, &[false], 1500), 0, "that is too long ago");
    }

    #[test]
    fn on_a_full_path_is_sent_again_only_what_leaves_room_for_the_rest() {
        let now = Instant::now();
        for (is_full, waiting, again) in [(false, 0, 8), (true, 0, 5), (true, 9, 0)] {
            let (mut outgoing, mut client) = connection(now);
            let mut out = Outbound::default();
            (0..8).for_each(|seq| outgoing.write(VIDEO, packet(seq, now), now, &mut out));
            let later = now + ms(100);
            outgoing.pacer.set_full(is_full);
            (8..8 + waiting).for_each(|seq| outgoing.write(VIDEO, packet(seq, later), later, &mut out));
            left(&mut out);
            let asked = nack(&mut client, &[0, 1, 2, 3, 4, 5, 6, 7]);
            outgoing.receive(&asked, later, &mut out, |_| {});
            let repeated = left(&mut out).len();
            assert_eq!(repeated, again, "{is_full}, {waiting} wait");
        }
    }

    #[test]
    fn a_viewer_that_begs_for_everything_gets_a_share() {
        let now = Instant::now();
        let (mut outgoing, mut client) = connection(now);
        let mut out = Outbound::default();
        let mut sent = (0, 0);
        for step in 0..200u16 {
            let now = now + ms(20 * u64::from(step));
            outgoing.run_to(now, &mut out);
            outgoing.write(VIDEO, packet(u64::from(step), now), now, &mut out);
            for _ in 0..5 {
                let all: Vec<u16> = (step.saturating_sub(40)..=step).collect();
                outgoing.receive(&nack(&mut client, &all), now, &mut out, |_| {});
            }
            let packets = left(&mut out);
            sent.0 += packets.iter().filter(|(ssrc, _)| *ssrc == VIDEO_SSRC).count();
            sent.1 += packets.iter().filter(|(ssrc, _)| *ssrc == REPEAT_SSRC).count();
        }
        // A quarter, and the burst that is allowed at first.
        assert!(sent.0 >= 190 && sent.1 <= 200 / 4 + 45, "{sent:?}");
    }

    #[test]
    fn reports_leave_while_there_is_something_to_report() {
        let now = Instant::now();
        let (mut outgoing, _) = connection(now);
        outgoing.estimator = None;
        let mut out = Outbound::default();
        assert_eq!(outgoing.deadline(), None, "who is sent nothing costs no time");
        outgoing.write(VIDEO, packet(1, now), now, &mut out);
        left(&mut out);
        let first = outgoing.deadline().unwrap();
        outgoing.run_to(first, &mut out);
        assert_eq!(left(&mut out), [(REPORT_SSRC, 0)]);
        outgoing.write(VIDEO, packet(2, now), first + ms(500), &mut out);
        left(&mut out);
        assert_eq!(outgoing.deadline(), Some(first + REPORT_INTERVAL));
        outgoing.run_to(first + REPORT_INTERVAL, &mut out);
        assert_eq!(left(&mut out), [(REPORT_SSRC, 0)]);
        outgoing.run_to(first + 2 * REPORT_INTERVAL, &mut out);
        assert!(left(&mut out).is_empty());
        assert_eq!(outgoing.deadline(), None);
    }

    #[test]
    fn a_stream_that_is_negotiated_again_goes_on() {
        let now = Instant::now();
        let (mut outgoing, _) = connection(now);
        let mut out = Outbound::default();
        outgoing.write(VIDEO, packet(1, now), now, &mut out);
        outgoing.negotiated("v".into(), VIDEO_SSRC, Some(REPEAT_SSRC), now);
        assert_eq!(outgoing.senders[0].packets, 1);
        outgoing.negotiated("v".into(), VIDEO_SSRC + 100, Some(REPEAT_SSRC), now);
        assert_eq!((outgoing.senders[0].packets, outgoing.streams().count()), (0, 2));
    }

    #[test]
    fn a_goodbye_names_what_was_sent_and_is_the_last() {
        let now = Instant::now();
        let (mut outgoing, _) = connection(now);
        let mut out = Outbound::default();
        outgoing.write(VIDEO, packet(1, now), now, &mut out);
        left(&mut out);
        outgoing.close(now, &mut out);
        assert_eq!(left(&mut out), [(REPORT_SSRC, 0)]);
        outgoing.write(VIDEO, packet(2, now), now, &mut out);
        assert!(out.is_empty());
    }
}
