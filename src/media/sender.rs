//! One outgoing stream: its headers, what is kept of it to be sent again, what its receiver reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::Mid;
use str0m::rtp::VideoOrientation;

use super::dependency::Descriptor;
use super::header::{self, Extensions, Header, Ids};
use super::payload::Patch;
use super::wallclock;

/// Packets kept to be sent again: a second of video at 2.5 Mbit/s. Fewer leave long round trips unrepaired. Their payloads are shared by all
/// receivers of a shard.
const KEPT: usize = 256;
/// Asked for later than this, a packet comes too late to be shown.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// The same packet is sent again at most so often, or once a round trip when that is longer: the one on its way may be enough.
const REPEAT_INTERVAL: Duration = Duration::from_millis(20);

/// A packet on its way to one receiver, before it has a header.
#[derive(Debug, Clone)]
pub struct Write {
    pub payload_type: u8,
    /// With which it is sent again (RFC 4588); `None`: it is not.
    pub repeat_type: Option<u8>,
    /// Extended sequence number.
    pub seq: u64,
    pub timestamp: u32,
    /// In Hz.
    pub clock_rate: u32,
    pub captured: Instant,
    pub marker: bool,
    pub level: Option<(i8, bool)>,
    pub orientation: Option<VideoOrientation>,
    pub descriptor: Option<Descriptor>,
    pub patch: Patch,
    pub payload: Arc<[u8]>,
}

/// What one packet becomes on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// Bytes of its header.
    pub header: usize,
    /// Of which its encryption is made: the roll-over counter and the sequence number (RFC 3711, 3.3.1).
    pub index: u64,
}

/// An outgoing stream.
#[derive(Debug)]
pub struct Sender {
    pub mid: Mid,
    pub ssrc: u32,
    pub repeat_ssrc: Option<u32>,
    pub ids: Ids,
    /// Its packets wait for the pacer.
    pub paced: bool,
    /// Packets and payload bytes sent for the first time, as sender reports count them.
    pub packets: u32,
    pub octets: u32,
    /// The last of them: timestamp, when it was captured, clock rate.
    last: Option<(u32, Instant, u32)>,
    /// Of `packets`, at the last sender report.
    pub reported: u32,
    repeat_seq: u64,
    kept: Vec<Option<Kept>>,
    /// The highest number among what was kept.
    newest: Option<u64>,
    /// The times of what is kept count from here.
    began: Instant,
    heard: Heard,
}

/// A packet that may be asked for again; small, since each receiver touches one for each packet it is sent.
#[derive(Debug)]
struct Kept {
    payload: Arc<[u8]>,
    descriptor: Option<Descriptor>,
    seq: u64,
    timestamp: u32,
    /// Milliseconds.
    sent_at: u32,
    /// Milliseconds, and one more: 0 is never.
    repeated_at: u32,
    patch: Patch,
    repeat_type: u8,
    marker: bool,
    orientation: Option<VideoOrientation>,
}

/// What the receiver told of the stream; counts are of all time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heard {
    pub nacks: u64,
    /// Packets sent again.
    pub repeated: u64,
    /// Of the last report: the share of packets that was lost, 0.0-1.0.
    pub loss: Option<f32>,
    /// In units of the stream's clock.
    pub jitter: u32,
    pub round_trip: Option<Duration>,
}

impl Sender {
    pub fn new(mid: Mid, ssrc: u32, repeat_ssrc: Option<u32>, now: Instant) -> Self {
        Self {
            mid,
            ssrc,
            repeat_ssrc,
            ids: Ids::default(),
            paced: true,
            packets: 0,
            octets: 0,
            last: None,
            reported: 0,
            // As for the stream itself: its roll-over counter begins at zero.
            repeat_seq: u64::from(ssrc as u16 & 0x7fff),
            kept: Vec::new(),
            newest: None,
            began: now,
            heard: Heard::default(),
        }
    }

    /// Appends the packet, and counts it.
    pub fn make(&mut self, packet: &Write, transport: Option<u16>, out: &mut Vec<u8>) -> Made {
        let start = out.len();
        let header = Header {
            payload_type: packet.payload_type,
            marker: packet.marker,
            padded: false,
            seq: packet.seq as u16,
            timestamp: packet.timestamp,
            ssrc: self.ssrc,
        };
        let extensions = Extensions {
            mid: self.mid_to_tell(),
            level: packet.level,
            orientation: packet.orientation,
            transport,
            descriptor: packet.descriptor.as_ref(),
        };
        header::write(header, self.ids, extensions, out);
        let length = out.len() - start;
        append(&packet.payload, packet.patch, out);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload.len() as u32);
        self.last = Some((packet.timestamp, packet.captured, packet.clock_rate));
        Made { header: length, index: packet.seq }
    }

    /// Keeps a packet that was sent.
    pub fn keep(&mut self, packet: Write, now: Instant) {
        let Some(repeat_type) = packet.repeat_type.filter(|_| self.repeat_ssrc.is_some()) else { return };
        if self.kept.is_empty() {
            self.kept.resize_with(KEPT, || None);
        }
        let Write { payload, descriptor, seq, timestamp, patch, marker, orientation, .. } = packet;
        let sent_at = self.millis(now);
        self.newest = self.newest.max(Some(seq));
        self.kept[seq as usize % KEPT] = Some(Kept {
            payload,
            descriptor,
            seq,
            timestamp,
            sent_at,
            repeated_at: 0,
            patch,
            repeat_type,
            marker,
            orientation,
        });
    }

    /// The receiver misses a packet. Its size, when it may be sent again.
    pub fn repeatable(&self, seq: u16, now: Instant) -> Option<usize> {
        let kept = self.fresh(seq, now)?;
        let interval = self.heard.round_trip.unwrap_or_default().max(REPEAT_INTERVAL).as_millis() as u32;
        let due = kept.repeated_at == 0 || (self.millis(now) + 1).wrapping_sub(kept.repeated_at) >= interval;
        due.then(|| kept.payload.len())
    }

    /// A packet that was sent at `sent` has not arrived, and nothing was sent again since that could. Its size, when it may be now.
    pub fn replaceable(&self, seq: u16, sent: Instant, now: Instant) -> Option<usize> {
        let kept = self.fresh(seq, now)?;
        let last = kept.repeated_at.checked_sub(1).unwrap_or(kept.sent_at);
        // The clocks of the two times tick at different moments.
        (last <= self.millis(sent) + 1).then(|| kept.payload.len())
    }

    /// The packet with that number, while a receiver may still have a use for it.
    fn fresh(&self, seq: u16, now: Instant) -> Option<&Kept> {
        let kept = self.kept.get(usize::from(seq) % KEPT)?.as_ref()?;
        let age = self.millis(now).wrapping_sub(kept.sent_at);
        (kept.seq as u16 == seq && age < KEPT_FOR.as_millis() as u32).then_some(kept)
    }

    /// A packet worth sending when any will do: the newest there is.
    pub fn spare(&self) -> Option<u16> {
        self.newest.map(|seq| seq as u16)
    }

    /// Appends the packet with that number again, on the stream's second SSRC (RFC 4588, 4). `None`: it is not kept.
    pub fn make_again(&mut self, seq: u16, transport: Option<u16>, now: Instant, out: &mut Vec<u8>) -> Option<Made> {
        let start = out.len();
        let (ssrc, index) = (self.repeat_ssrc?, self.repeat_seq);
        let (mid, repeated_at) = (self.mid_to_tell(), self.millis(now) + 1);
        let kept = self.kept.get(usize::from(seq) % KEPT)?.as_ref()?;
        let header = Header {
            payload_type: kept.repeat_type,
            marker: kept.marker,
            padded: false,
            seq: index as u16,
            timestamp: kept.timestamp,
            ssrc,
        };
        let (orientation, descriptor) = (kept.orientation, kept.descriptor.as_ref());
        header::write(header, self.ids, Extensions { mid, level: None, orientation, transport, descriptor }, out);
        let length = out.len() - start;
        out.extend_from_slice(&(kept.seq as u16).to_be_bytes());
        append(&kept.payload, kept.patch, out);
        if let Some(kept) = &mut self.kept[usize::from(seq) % KEPT] {
            kept.repeated_at = repeated_at;
        }
        self.repeat_seq += 1;
        self.heard.repeated += 1;
        Some(Made { header: length, index })
    }

    /// The receiver asked for so many packets again.
    pub fn nacked(&mut self, packets: u64) {
        self.heard.nacks += packets;
    }

    /// What the receiver reported. `fraction` is in 256ths; `answered`: in units of 2^-16 s, the time of the report it answers and how long
    /// it held it, 0 when it saw none.
    pub fn reported(&mut self, fraction: u8, jitter: u32, answered: (u32, u32), now: u32) {
        self.heard.loss = Some(f32::from(fraction) / 256.0);
        self.heard.jitter = jitter;
        let (report, held) = answered;
        let units = now.wrapping_sub(report).wrapping_sub(held);
        // More than half of the circle is a client's clock that went wrong.
        if report != 0 && units < 1 << 31 {
            self.heard.round_trip = Some(wallclock::span(units));
        }
    }

    pub fn heard(&self) -> Heard {
        self.heard
    }

    /// The timestamp that stands for `now` (RFC 3550, 6.4.1).
    pub fn timestamp(&self, now: Instant) -> Option<u32> {
        let (timestamp, captured, clock_rate) = self.last?;
        let units = now.saturating_duration_since(captured).as_micros() as u64 * u64::from(clock_rate) / 1_000_000;
        Some(timestamp.wrapping_add(units as u32))
    }

    /// A receiver that reported knows which m-line the SSRC is of.
    fn mid_to_tell(&self) -> Option<&str> {
        self.heard.loss.is_none().then(|| &*self.mid)
    }

    fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.began).as_millis() as u32
    }
}

fn append(payload: &[u8], patch: Patch, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(payload);
    patch.apply(&mut out[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64) -> Write {
        Write {
            payload_type: 96,
            repeat_type: Some(97),
            seq,
            timestamp: 90_000,
            clock_rate: 90_000,
            captured: Instant::now(),
            marker: true,
            level: None,
            orientation: None,
            descriptor: None,
            patch: Patch::default(),
            payload: Arc::from(&[seq as u8; 5][..]),
        }
    }

    fn sender() -> Sender {
        let mut sender = Sender::new("v".into(), 0x0102_0304, Some(0x0506_0708), Instant::now());
        sender.ids = Ids { mid: Some(4), transport: Some(3), ..Ids::default() };
        sender
    }

    #[test]
    fn a_packet_is_sent_again_with_its_number_before_its_payload() {
        let mut sender = sender();
        let now = sender.began;
        let mut out = Vec::new();
        let made = sender.make(&packet(70_000), Some(9), &mut out);
        assert_eq!((made.index, out.len() - made.header), (70_000, 5));
        assert_eq!(out[2..4], (70_000u32 as u16).to_be_bytes());
        assert_eq!(out[8..12], [1, 2, 3, 4]);
        sender.keep(packet(70_000), now);
        assert_eq!(sender.repeatable(70_000u32 as u16, now), Some(5));
        assert_eq!(sender.repeatable(4463, now), None, "one before it was never sent");
        out.clear();
        let again = sender.make_again(70_000u32 as u16, Some(10), now, &mut out).unwrap();
        assert_eq!(out[8..12], [5, 6, 7, 8]);
        assert_eq!((out[1], &out[again.header..again.header + 2]), (0x80 | 97, &4464u16.to_be_bytes()[..]));
        assert_eq!(out[again.header + 2..], [112; 5]);
        assert_eq!(sender.heard().repeated, 1);
        out.clear();
        assert_eq!(sender.make_again(4464, None, now, &mut out).unwrap().index, again.index + 1);
    }

    #[test]
    fn a_packet_is_not_repeated_at_once_nor_when_it_is_old() {
        let mut sender = sender();
        let now = sender.began;
        sender.keep(packet(7), now);
        sender.make_again(7, None, now, &mut Vec::new()).unwrap();
        let after = |millis| sender.repeatable(7, now + Duration::from_millis(millis)).is_some();
        assert!(!after(19) && after(20) && after(999) && !after(1000));
        sender.reported(0, 0, (1, 0), 1 + (1 << 14));
        let after = |millis| sender.repeatable(7, now + Duration::from_millis(millis)).is_some();
        assert!(!after(249) && after(250), "a round trip has to go by");
    }

    #[test]
    fn what_is_kept_is_bounded_and_nothing_is_kept_for_who_cannot_ask() {
        let now = Instant::now();
        let mut many = sender();
        (0..1000).for_each(|seq| many.keep(packet(seq), now));
        assert_eq!((many.repeatable(743, now), many.repeatable(744, now)), (None, Some(5)));
        assert_eq!(many.spare(), Some(999));
        let mut deaf = Sender::new("v".into(), 1, None, now);
        deaf.keep(packet(1), now);
        let mut sound = sender();
        sound.keep(Write { repeat_type: None, ..packet(1) }, now);
        for sender in [deaf, sound] {
            assert!(sender.kept.is_empty() && sender.spare().is_none());
        }
    }

    #[test]
    fn the_mid_is_told_until_the_receiver_reports() {
        let mut sender = sender();
        let mut long = Vec::new();
        sender.make(&packet(1), None, &mut long);
        sender.reported(64, 90, (0, 0), 5);
        assert_eq!(sender.heard(), Heard { loss: Some(0.25), jitter: 90, ..Heard::default() });
        let mut short = Vec::new();
        let made = sender.make(&packet(2), None, &mut short);
        assert!(made.header == 12 && long.len() > short.len());
    }

    #[test]
    fn reports_carry_the_timestamp_of_their_moment() {
        let mut sender = sender();
        let packet = packet(1);
        assert_eq!(sender.timestamp(packet.captured), None);
        sender.make(&packet, None, &mut Vec::new());
        assert_eq!(sender.timestamp(packet.captured + Duration::from_millis(500)), Some(90_000 + 45_000));
        assert_eq!((sender.packets, sender.octets), (1, 5));
    }
}
