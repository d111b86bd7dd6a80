//! Writes the compound packets that a sender sends: reports of its streams, its name, answers to receivers' clocks, goodbyes.
//!
//! SRTCP keeps its replay list by the first SSRC of a packet (RFC 3711, 3.2.3), so each packet begins with an empty receiver report in
//! a name of its own, in which nobody else may send.

use super::{
    EXTENDED_REPORT, GOODBYE, HEADER, LAST_RECEIVER_TIMES, RECEIVER_REPORT, SENDER_INFO, SENDER_REPORT,
    SOURCE_DESCRIPTION, SSRC,
};

/// The item of a description that names the endpoint (RFC 3550, 6.5.1); one has at most 255 bytes.
const CNAME: u8 = 1;
const LONGEST_CNAME: usize = 255;
/// SSRCs in one goodbye: its count has five bits.
const MOST_GOODBYES: usize = 31;
const RECEIVER_TIME_ANSWER: usize = 12;

/// What is said of one outgoing stream (RFC 3550, 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReport {
    pub ssrc: u32,
    /// Seconds since 1900, 32 bits after the point, at which …
    pub ntp: u64,
    /// … the stream's clock shows this.
    pub timestamp: u32,
    pub packets: u32,
    /// Of payload, without headers and padding.
    pub octets: u32,
}

/// An answer to a receiver that said its time (RFC 3611, 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeAnswer {
    /// The receiver.
    pub ssrc: u32,
    /// The middle 32 bits of the time that it said.
    pub last: u32,
    /// How long ago that was, in 1/65536 s.
    pub delay: u32,
}

/// What there is to say.
#[derive(Debug, Clone, Copy)]
pub struct Compound<'a> {
    /// In whose name the packets are sent; no stream's, and nobody else's on this connection.
    pub own: u32,
    pub cname: &'a str,
    pub streams: &'a [StreamReport],
    pub answers: &'a [TimeAnswer],
    /// Streams that have ended.
    pub ended: &'a [u32],
}

impl Compound<'_> {
    /// Writes it into as many packets of at most `mtu` bytes as it takes, none when there is nothing to say. Each is handed over in
    /// `packet`, where it may be sealed.
    pub fn write(&self, mtu: usize, packet: &mut Vec<u8>, mut send: impl FnMut(&mut Vec<u8>)) {
        assert!(self.cname.len() <= LONGEST_CNAME, "an item's length is a byte");
        let mut pages = Pages { compound: self, mtu, begun: 0, packet, send: &mut send };
        pages.begin();
        for stream in self.streams {
            pages.room_for(HEADER + SSRC + SENDER_INFO, 0);
            stream.write(pages.packet);
        }
        let mut answers = self.answers;
        while !answers.is_empty() {
            let fit = pages.room_for(2 * HEADER + SSRC, RECEIVER_TIME_ANSWER);
            let (these, rest) = answers.split_at(fit.min(answers.len()));
            write_answers(self.own, these, pages.packet);
            answers = rest;
        }
        let mut ended = self.ended;
        while !ended.is_empty() {
            let fit = pages.room_for(HEADER, SSRC).min(MOST_GOODBYES);
            let (these, rest) = ended.split_at(fit.min(ended.len()));
            header(pages.packet, these.len() as u8, GOODBYE, these.len() * SSRC);
            these.iter().for_each(|ssrc| put(pages.packet, *ssrc));
            ended = rest;
        }
        pages.end();
    }
}

/// The packets as they are written.
struct Pages<'a> {
    compound: &'a Compound<'a>,
    mtu: usize,
    /// Bytes with which each begins.
    begun: usize,
    packet: &'a mut Vec<u8>,
    send: &'a mut dyn FnMut(&mut Vec<u8>),
}

impl Pages<'_> {
    fn begin(&mut self) {
        self.packet.clear();
        header(self.packet, 0, RECEIVER_REPORT, SSRC);
        put(self.packet, self.compound.own);
        describe(self.compound.own, self.compound.cname, self.packet);
        self.begun = self.packet.len();
    }

    fn end(&mut self) {
        if self.packet.len() > self.begun {
            (self.send)(self.packet);
        }
    }

    /// Makes room for a block of `fixed` bytes and at least one entry of `entry` bytes; how many entries fit.
    fn room_for(&mut self, fixed: usize, entry: usize) -> usize {
        if self.packet.len() + fixed + entry > self.mtu {
            self.end();
            self.begin();
        }
        let room = self.mtu.checked_sub(self.packet.len() + fixed).expect("a packet has room for one block");
        let fit = room.checked_div(entry).unwrap_or(0);
        assert!(fit > 0 || entry == 0, "and for one entry");
        fit
    }
}

impl StreamReport {
    fn write(&self, packet: &mut Vec<u8>) {
        header(packet, 0, SENDER_REPORT, SSRC + SENDER_INFO);
        put(packet, self.ssrc);
        packet.extend_from_slice(&self.ntp.to_be_bytes());
        [self.timestamp, self.packets, self.octets].iter().for_each(|value| put(packet, *value));
    }
}

/// RFC 3550, 6.5: one chunk with one item, ended and filled up by zeros.
fn describe(ssrc: u32, cname: &str, packet: &mut Vec<u8>) {
    let items = (2 + cname.len() + 1).next_multiple_of(4);
    header(packet, 1, SOURCE_DESCRIPTION, SSRC + items);
    put(packet, ssrc);
    let end = packet.len() + items;
    packet.extend_from_slice(&[CNAME, cname.len() as u8]);
    packet.extend_from_slice(cname.as_bytes());
    packet.resize(end, 0);
}

fn write_answers(own: u32, answers: &[TimeAnswer], packet: &mut Vec<u8>) {
    let length = answers.len() * RECEIVER_TIME_ANSWER;
    header(packet, 0, EXTENDED_REPORT, SSRC + HEADER + length);
    put(packet, own);
    packet.extend_from_slice(&[LAST_RECEIVER_TIMES, 0]);
    packet.extend_from_slice(&((length / 4) as u16).to_be_bytes());
    for answer in answers {
        [answer.ssrc, answer.last, answer.delay].iter().for_each(|value| put(packet, *value));
    }
}

/// `body`: bytes that follow, a multiple of four.
fn header(packet: &mut Vec<u8>, count: u8, kind: u8, body: usize) {
    packet.extend_from_slice(&[0x80 | count, kind]);
    packet.extend_from_slice(&((body / 4) as u16).to_be_bytes());
}

fn put(packet: &mut Vec<u8>, value: u32) {
    packet.extend_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use str0m::rtp::RawPacket;
    use str0m::rtp::rtcp::{ReportBlock, Rtcp};

    use super::super::super::keys::Profile;
    use super::super::super::pair::Pair;
    use super::super::super::srtp::Sealer;
    use super::super::{Block, read};
    use super::*;

    const STREAM: StreamReport =
        StreamReport { ssrc: 7, ntp: 0x83aa_7e80_8000_0000, timestamp: 90_000, packets: 100, octets: 110_000 };

    fn compound<'a>(streams: &'a [StreamReport], answers: &'a [TimeAnswer], ended: &'a [u32]) -> Compound<'a> {
        Compound { own: 1, cname: "call", streams, answers, ended }
    }

    fn written(compound: &Compound<'_>, mtu: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        compound.write(mtu, &mut Vec::new(), |packet| packets.push(packet.clone()));
        packets
    }

    #[test]
    fn a_packet_is_what_the_rfcs_say() {
        let answer = TimeAnswer { ssrc: 9, last: 0x7e80_8000, delay: 0x8000 };
        let packets = written(&compound(&[STREAM], &[answer], &[8]), 1200);
        let expected: [u32; 24] = [
            0x80c9_0001,
            1, // an empty receiver report
            0x81ca_0003,
            1,
            0x0104_6361,
            0x6c6c_0000, // a name
            0x80c8_0006,
            7,
            0x83aa_7e80,
            0x8000_0000,
            90_000,
            100,
            110_000, // a sender's report
            0x80cf_0005,
            1,
            0x0500_0003,
            9,
            0x7e80_8000,
            0x8000, // an answer
            0x81cb_0001,
            8, // a goodbye
            0,
            0,
            0,
        ];
        assert_eq!(packets, [expected[..21].iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>()]);
    }

    #[test]
    fn nothing_to_say_is_not_said() {
        assert!(written(&compound(&[], &[], &[]), 1200).is_empty());
    }

    #[test]
    fn names_of_all_lengths_end_in_a_zero() {
        for length in 0..=LONGEST_CNAME {
            let mut packet = Vec::new();
            describe(1, &"a".repeat(length), &mut packet);
            assert_eq!(packet.len() % 4, 0);
            assert_eq!(usize::from(packet[3]), packet.len() / 4 - 1);
            assert_eq!((packet[8], usize::from(packet[9])), (CNAME, length));
            let end = &packet[10 + length..];
            assert!((1..=4).contains(&end.len()) && end.iter().all(|byte| *byte == 0), "RFC 3550, 6.5");
        }
    }

    #[test]
    fn much_to_say_takes_packets_of_the_mtu_each_with_its_beginning() {
        let streams: Vec<_> = (100..200).map(|ssrc| StreamReport { ssrc, ..STREAM }).collect();
        let answers: Vec<_> = (200..300).map(|ssrc| TimeAnswer { ssrc, last: 1, delay: 2 }).collect();
        let ended: Vec<_> = (300..400).collect();
        for mtu in [80, 100, 333, 1172, 9000] {
            let packets = written(&compound(&streams, &answers, &ended), mtu);
            let (mut reported, mut goodbyes, mut answered) = (Vec::new(), 0, 0);
            for packet in &packets {
                assert!(packet.len() <= mtu && packet.len() % 4 == 0);
                assert_eq!(packet[..8], [0x80, 0xc9, 0, 1, 0, 0, 0, 1]);
                let mut blocks = read(packet);
                let mut rest = &packet[..];
                for block in blocks.by_ref() {
                    let length = 4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]));
                    match block {
                        Block::SenderReport { sender, .. } => reported.push(sender),
                        Block::Other(GOODBYE) => goodbyes += usize::from(rest[0] & 0x1f),
                        Block::Other(EXTENDED_REPORT) => answered += (length - 12) / 12,
                        Block::ReceiverReport { .. } | Block::Other(SOURCE_DESCRIPTION) => {}
                        other => panic!("nobody wrote {other:?}"),
                    }
                    rest = &rest[length..];
                }
                assert_eq!(blocks.malformed(), 0);
            }
            assert_eq!(reported, (100..200).collect::<Vec<_>>());
            assert_eq!((answered, goodbyes), (100, 100), "mtu {mtu}");
            let least = packets.iter().map(Vec::len).sum::<usize>().div_ceil(mtu);
            assert!(packets.len() <= least + least / 2 + 1, "{} packets of {mtu}", packets.len());
        }
    }

    /// Sealed, and read by the library of the other side.
    #[test]
    fn another_implementation_reads_what_is_written() {
        let mut pair = Pair::connected(Profile::Aes128Gcm);
        let [keys, _] = pair.keys();
        let mut sealer = Sealer::new(&keys);
        let streams = [STREAM, StreamReport { ssrc: 17, packets: u32::MAX, ..STREAM }];
        let answers = [TimeAnswer { ssrc: 9, last: 0x7e80_8000, delay: 0x8000 }];
        let mut packets = Vec::new();
        compound(&streams, &answers, &[]).write(1172, &mut Vec::new(), |packet| {
            sealer.seal_rtcp(packet);
            packets.push(packet.clone());
        });
        assert_eq!(packets.len(), 1);
        pair.ends[1].raw.clear();
        pair.deliver(1, &packets[0]);
        let mut read = Vec::new();
        for raw in &pair.ends[1].raw {
            match raw {
                RawPacket::RtcpRx(Rtcp::ReceiverReport(report)) => read.push(format!("rr {}", *report.sender_ssrc)),
                RawPacket::RtcpRx(Rtcp::SourceDescription(said)) => read.push(format!("{:?}", said.reports)),
                RawPacket::RtcpRx(Rtcp::SenderReport(report)) => {
                    let info = &report.sender_info;
                    let counts = (info.sender_packet_count, info.sender_octet_count);
                    read.push(format!("sr {} {} {counts:?}", *info.ssrc, info.rtp_time.numer()));
                    assert_eq!(info.ntp_time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(), 500);
                }
                RawPacket::RtcpRx(Rtcp::ExtendedReport(report)) => match &report.blocks[..] {
                    [ReportBlock::Dlrr(answers)] => {
                        let answers = answers.items.iter();
                        read.extend(answers.map(|a| format!("{} {:x} {:x}", *a.ssrc, a.last_rr_time, a.last_rr_delay)));
                    }
                    other => panic!("nobody wrote {other:?}"),
                },
                RawPacket::RtcpRx(other) => panic!("nobody wrote {other:?}"),
                _ => {}
            }
        }
        assert_eq!(read[0], "rr 1");
        assert!(read[1].contains("CNAME, \"call\""), "{}", read[1]);
        assert_eq!(read[2..], ["sr 7 90000 (100, 110000)", "sr 17 90000 (4294967295, 110000)", "9 7e808000 8000"]);
    }
}
