//! RTCP (RFC 3550, 6; RFC 4585; RFC 5104; RFC 3611): reads the compound packets that a receiver sends, in place.
//!
//! Lengths are checked once, when a block is found; what a block says is read as it is iterated over. What is malformed is passed over
//! and counted. All work is bounded by the length of the packet, but for [`transport::Feedback::arrivals`].

pub mod compose;
pub mod transport;

use std::slice::ChunksExact;

use transport::Feedback;

/// Packet types (RFC 3550, 12.1; RFC 4585, 6.1; RFC 3611, 2).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

/// Kinds of transport feedback: RFC 4585, 6.2.1; draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1.
const NACK: u8 = 1;
const TRANSPORT_WIDE: u8 = 15;

/// Kinds of payload feedback: RFC 4585, 6.3.1 and 6.4; RFC 5104, 4.3.1.
const PICTURE_LOSS: u8 = 1;
const FULL_INTRA: u8 = 4;
const APPLICATION: u8 = 15;

/// Blocks of an extended report (RFC 3611, 4.4 and 4.5).
const RECEIVER_TIME: u8 = 4;
const LAST_RECEIVER_TIMES: u8 = 5;

const HEADER: usize = 4;
const SSRC: usize = 4;
const SENDER_INFO: usize = 20;
const REPORT: usize = 24;
const FULL_INTRA_ENTRY: usize = 8;

/// One packet of a compound packet.
#[derive(Debug, Clone)]
pub enum Block<'a> {
    SenderReport {
        sender: u32,
        reports: Reports<'a>,
    },
    ReceiverReport {
        sender: u32,
        reports: Reports<'a>,
    },
    Nack {
        ssrc: u32,
        lost: Lost<'a>,
    },
    PictureLoss {
        ssrc: u32,
    },
    FullIntra(Asked<'a>),
    Transport(Feedback<'a>),
    /// The receiver's clock, which it would like to get back (RFC 3611, 4.4). `ntp`: seconds since 1900, 32 bits after the point.
    ReferenceTime {
        sender: u32,
        ntp: u64,
    },
    /// What the receiver thinks its link carries (draft-alvestrand-rmcat-remb-03, 2.2).
    Remb {
        bits_per_second: u64,
    },
    /// A packet of this type that is none of these.
    Other(u8),
}

/// What a receiver says of one stream (RFC 3550, 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Of 256, since its last report.
    pub fraction_lost: u8,
    /// Since it began; less than 0 when packets came twice.
    pub lost: i32,
    /// The highest sequence number, and above it how often they began anew.
    pub highest: u32,
    /// In units of the stream's clock.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the sender report it had last; 0 when it had none.
    pub last_sr: u32,
    /// How long it had had it, in 1/65536 s.
    pub delay: u32,
}

/// The blocks of a compound packet.
pub fn read(compound: &[u8]) -> Blocks<'_> {
    Blocks { rest: compound, malformed: 0 }
}

/// Whether the library, which serves what comes in, must see the packet: it has more in it than a receiver's feedback and descriptions.
pub fn must_reach_library(compound: &[u8]) -> bool {
    read(compound).any(|block| match block {
        Block::SenderReport { .. } | Block::ReferenceTime { .. } => true,
        Block::Other(kind) => kind != SOURCE_DESCRIPTION,
        _ => false,
    })
}

#[derive(Debug, Clone)]
pub struct Blocks<'a> {
    rest: &'a [u8],
    malformed: u32,
}

impl Blocks<'_> {
    /// How many blocks were passed over, so far, because they do not say what they should.
    pub const fn malformed(&self) -> u32 {
        self.malformed
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        while !self.rest.is_empty() {
            let Some((packet, rest)) = Packet::first(self.rest) else {
                // Nobody knows where the next one begins.
                self.rest = &[];
                self.malformed += 1;
                return None;
            };
            self.rest = rest;
            match packet.block() {
                Some(block) => return Some(block),
                None => self.malformed += 1,
            }
        }
        None
    }
}

/// A packet whose length is known, without header and padding.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    kind: u8,
    /// A number of reports or a kind of feedback.
    count: u8,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &[first, kind, ..] = bytes else { return None };
        let length = HEADER + 4 * usize::from(half(bytes, 2)?);
        if first >> 6 != 2 || bytes.len() < length {
            return None;
        }
        let (packet, rest) = bytes.split_at(length);
        let padding = if first & 0x20 == 0 { 0 } else { usize::from(*packet.last()?) };
        let body = packet[HEADER..].get(..(length - HEADER).checked_sub(padding)?)?;
        Some((Self { kind, count: first & 0x1f, body }, rest))
    }

    fn block(self) -> Option<Block<'a>> {
        match self.kind {
            SENDER_REPORT => {
                let reports = Reports::new(self.count, self.body.get(SSRC + SENDER_INFO..)?)?;
                Some(Block::SenderReport { sender: word(self.body, 0)?, reports })
            }
            RECEIVER_REPORT => {
                let reports = Reports::new(self.count, self.body.get(SSRC..)?)?;
                Some(Block::ReceiverReport { sender: word(self.body, 0)?, reports })
            }
            TRANSPORT_FEEDBACK => self.transport(),
            PAYLOAD_FEEDBACK => self.payload(),
            EXTENDED_REPORT => self.extended(),
            other => Some(Block::Other(other)),
        }
    }

    fn transport(self) -> Option<Block<'a>> {
        let (ssrc, entries) = (word(self.body, SSRC)?, &self.body[2 * SSRC..]);
        match self.count {
            NACK => Some(Block::Nack { ssrc, lost: Lost::new(entries) }),
            TRANSPORT_WIDE => Feedback::parse(entries).map(Block::Transport),
            _ => Some(Block::Other(self.kind)),
        }
    }

    fn payload(self) -> Option<Block<'a>> {
        let (ssrc, entries) = (word(self.body, SSRC)?, &self.body[2 * SSRC..]);
        match self.count {
            PICTURE_LOSS => Some(Block::PictureLoss { ssrc }),
            FULL_INTRA => Some(Block::FullIntra(Asked(entries.chunks_exact(FULL_INTRA_ENTRY)))),
            APPLICATION if entries.starts_with(b"REMB") => {
                let packed = word(entries, 4)?;
                let (exponent, mantissa) = (packed >> 18 & 0x3f, u64::from(packed & 0x3_ffff));
                let fits = mantissa.leading_zeros() >= exponent;
                Some(Block::Remb { bits_per_second: if fits { mantissa << exponent } else { u64::MAX } })
            }
            _ => Some(Block::Other(self.kind)),
        }
    }

    /// Of the blocks of an extended report the receiver's time is the one that somebody answers.
    fn extended(self) -> Option<Block<'a>> {
        let (sender, mut rest) = (word(self.body, 0)?, &self.body[SSRC..]);
        while !rest.is_empty() {
            let length = HEADER + 4 * usize::from(half(rest, 2)?);
            let block = rest.get(..length)?;
            if block[0] == RECEIVER_TIME {
                let ntp = u64::from(word(block, 4)?) << 32 | u64::from(word(block, 8)?);
                return Some(Block::ReferenceTime { sender, ntp });
            }
            rest = &rest[length..];
        }
        Some(Block::Other(self.kind))
    }
}

/// The reports of a sender or receiver report.
#[derive(Debug, Clone)]
pub struct Reports<'a>(ChunksExact<'a, u8>);

impl<'a> Reports<'a> {
    fn new(count: u8, bytes: &'a [u8]) -> Option<Self> {
        Some(Self(bytes.get(..usize::from(count) * REPORT)?.chunks_exact(REPORT)))
    }
}

impl Iterator for Reports<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let report = self.0.next()?;
        let loss = word(report, 4)?;
        Some(ReportBlock {
            ssrc: word(report, 0)?,
            fraction_lost: (loss >> 24) as u8,
            // 24 bits with a sign.
            lost: (loss << 8) as i32 >> 8,
            highest: word(report, 8)?,
            jitter: word(report, 12)?,
            last_sr: word(report, 16)?,
            delay: word(report, 20)?,
        })
    }
}

/// The sequence numbers of a NACK (RFC 4585, 6.2.1), in its order.
#[derive(Debug, Clone)]
pub struct Lost<'a> {
    entries: ChunksExact<'a, u8>,
    /// Bit n: the first one plus n is lost and has not been said.
    first: u16,
    left: u32,
}

impl<'a> Lost<'a> {
    fn new(entries: &'a [u8]) -> Self {
        Self { entries: entries.chunks_exact(4), first: 0, left: 0 }
    }
}

impl Iterator for Lost<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.left == 0 {
            let entry = self.entries.next()?;
            self.first = half(entry, 0)?;
            self.left = u32::from(half(entry, 2)?) << 1 | 1;
        }
        let bit = self.left.trailing_zeros();
        self.left &= self.left - 1;
        Some(self.first.wrapping_add(bit as u16))
    }
}

/// The SSRCs of which a key frame is asked (RFC 5104, 4.3.1).
#[derive(Debug, Clone)]
pub struct Asked<'a>(ChunksExact<'a, u8>);

impl Iterator for Asked<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        word(self.0.next()?, 0)
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::mem::take;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use str0m::media::KeyframeRequestKind;
    use str0m::rtp::rtcp::Rtcp;
    use str0m::rtp::{RawPacket, RtpWrite, SeqNo};

    use super::super::keys::Profile;
    use super::super::pair::Pair;
    use super::super::srtp::Opener;
    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// The blocks in words, and how many were passed over.
    fn said(compound: &[u8]) -> (Vec<String>, u32) {
        let mut blocks = read(compound);
        let said = blocks.by_ref().map(|block| match block {
            Block::SenderReport { sender, reports } => format!("sr {sender} {:?}", reports.collect::<Vec<_>>()),
            Block::ReceiverReport { sender, reports } => format!("rr {sender} {:?}", reports.collect::<Vec<_>>()),
            Block::Nack { ssrc, lost } => format!("nack {ssrc} {:?}", lost.collect::<Vec<_>>()),
            Block::PictureLoss { ssrc } => format!("pli {ssrc}"),
            Block::FullIntra(asked) => format!("fir {:?}", asked.collect::<Vec<_>>()),
            Block::Transport(feedback) => {
                format!("twcc {} {:?}", feedback.base, feedback.arrivals().collect::<Vec<_>>())
            }
            Block::ReferenceTime { sender, ntp } => format!("time {sender} {ntp:x}"),
            Block::Remb { bits_per_second } => format!("remb {bits_per_second}"),
            Block::Other(kind) => format!("other {kind}"),
        });
        let said = said.collect();
        (said, blocks.malformed())
    }

    const REPORT_OF_5: [u32; 6] = [5, 0x40ff_fffe, 0x0001_0203, 9, 0x1234_5678, 0x0001_0000];

    #[test]
    fn reports_are_read_with_their_signs() {
        let report = ReportBlock {
            ssrc: 5,
            fraction_lost: 64,
            lost: -2,
            highest: 0x0001_0203,
            jitter: 9,
            last_sr: 0x1234_5678,
            delay: 0x0001_0000,
        };
        let receiver = [bytes(&[0x81c9_0007, 1]), bytes(&REPORT_OF_5)].concat();
        assert_eq!(said(&receiver), (vec![format!("rr 1 {:?}", [report])], 0));
        let sender = [bytes(&[0x81c8_000c, 1, 2, 3, 4, 5, 6]), bytes(&REPORT_OF_5)].concat();
        assert_eq!(said(&sender), (vec![format!("sr 1 {:?}", [report])], 0));
        let both = [receiver, bytes(&[0x80c9_0001, 7])].concat();
        assert_eq!(said(&both).0.len(), 2);
        let most = [bytes(&[0x9fc9_00bb, 1]), bytes(&REPORT_OF_5).repeat(31)].concat();
        let reports = read(&most).map(|block| match block {
            Block::ReceiverReport { reports, .. } => reports.filter(|said| *said == report).count(),
            _ => 0,
        });
        assert_eq!(reports.collect::<Vec<_>>(), [31]);
    }

    /// RFC 4585, 6.2.1: a number, and bits for the sixteen after it.
    #[test]
    fn a_nack_says_what_is_lost_in_its_order() {
        let nack = bytes(&[0x81cd_0005, 1, 9, 0x0064_0000, 0xfffe_8003, 0x0000_0001]);
        assert_eq!(said(&nack), (vec!["nack 9 [100, 65534, 65535, 0, 14, 0, 1]".into()], 0));
        let all = bytes(&[0x81cd_0003, 1, 9, 0x0010_ffff]);
        assert_eq!(said(&all).0, [format!("nack 9 {:?}", (16..33).collect::<Vec<_>>())]);
        assert_eq!(said(&bytes(&[0x81cd_0002, 1, 9])).0, ["nack 9 []"]);
    }

    #[test]
    fn feedback_on_pictures_and_rates_is_read() {
        let compound = bytes(&[
            0x81ce_0002,
            1,
            9, // picture loss
            0x84ce_0006,
            1,
            0,
            9,
            0x0300_0000,
            10,
            0x0400_0000, // full intra
            0x8fce_0005,
            1,
            0,
            0x5245_4d42,
            0x010e_86a0,
            9, // "REMB", 0x286a0 << 3
            0x8fce_0004,
            1,
            0,
            0x5245_4d42,
            0x00ff_ffff, // more than there is
            0x8fce_0003,
            1,
            0,
            0x5245_4d43, // another application
            0x8fcd_0005,
            1,
            9,
            0x0007_0001,
            0x0000_0201,
            0x2001_0400, // transport-wide
            0x82cd_0002,
            1,
            9, // a kind that nobody uses
        ]);
        let expected = [
            "pli 9",
            "fir [9, 10]",
            "remb 1324288",
            "remb 18446744073709551615",
            "other 206",
            "twcc 7 [Some(129000)]",
            "other 205",
        ];
        assert_eq!(said(&compound), (expected.map(String::from).to_vec(), 0));
    }

    #[test]
    fn the_receivers_time_is_found_among_the_blocks_of_an_extended_report() {
        let time = [0x0400_0002, 0x83aa_7e80, 0x8000_0000];
        let other = [0x0600_0001, 0];
        let extended = |blocks: &[u32]| bytes(&[&[0x80cf_0001 + blocks.len() as u32, 1], blocks].concat());
        assert_eq!(said(&extended(&time)).0, ["time 1 83aa7e8080000000"]);
        assert_eq!(said(&extended(&[&other[..], &time].concat())).0, ["time 1 83aa7e8080000000"]);
        assert_eq!(said(&extended(&other)), (vec!["other 207".into()], 0));
        assert_eq!(said(&extended(&[])), (vec!["other 207".into()], 0));
        assert_eq!(said(&extended(&[0x0600_0002, 0])), (vec![], 1), "a block that is longer than the rest");
        assert_eq!(said(&extended(&[0x0400_0001, 0])), (vec![], 1), "a time that is shorter than one");
    }

    #[test]
    fn what_is_malformed_is_passed_over_and_counted() {
        let good = [0x81ce_0002, 1, 9];
        let with = |words: &[u32]| said(&bytes(&[words, &good].concat()));
        let expected = |malformed| (vec!["pli 9".to_owned()], malformed);
        assert_eq!(with(&[0x82c9_0007, 1, 5, 0, 0, 0, 0, 0]), expected(1), "two reports in the room of one");
        assert_eq!(with(&[0x80c9_0000]), expected(1), "no sender");
        assert_eq!(with(&[0x80c8_0005, 1, 2, 3, 4, 5]), expected(1), "half a sender's report");
        assert_eq!(with(&[0x81ce_0001, 1]), expected(1), "a loss of no picture");
        assert_eq!(with(&[0x8fcd_0003, 1, 9, 0x0007_0001]), expected(1), "feedback on transport without a time");
        assert_eq!(with(&[0x8fce_0003, 1, 0, 0x5245_4d42]), expected(1), "no rate");
        // Where the next one begins is not known: nothing of the rest is read.
        assert_eq!(with(&[0x41ce_0002, 1, 9]), (vec![], 1), "another version");
        assert_eq!(with(&[0x81ce_0006, 1, 9]), (vec![], 1), "longer than there is");
        assert_eq!(with(&[0xa1ce_0002, 1, 255]), (vec![], 1), "more padding than packet");
        assert_eq!(said(&[0x80, 201, 0]), (vec![], 1));
        assert_eq!(said(&[]), (vec![], 0));
    }

    #[test]
    fn padding_says_nothing() {
        let nack = bytes(&[0xa1cd_0005, 1, 9, 0x0064_0000, 0, 8, 0x81ce_0002, 1, 9]);
        assert_eq!(said(&nack), (vec!["nack 9 [100]".into(), "pli 9".into()], 0));
    }

    #[test]
    fn the_library_must_see_all_but_feedback() {
        let feedback = [
            bytes(&[0x80c9_0001, 1]),
            bytes(&[0x81cd_0003, 1, 9, 0x0064_0000]),
            bytes(&[0x81ce_0002, 1, 9]),
            bytes(&[0x84ce_0004, 1, 0, 9, 0]),
            bytes(&[0x8fce_0004, 1, 0, 0x5245_4d42, 1]),
            bytes(&[0x8fcd_0005, 1, 9, 0x0007_0001, 0x0000_0201, 0x2001_0400]),
            bytes(&[0x81ca_0002, 1, 0x0101_6100]),
        ];
        assert!(!must_reach_library(&feedback.concat()));
        let others = [
            bytes(&[0x80c8_0006, 1, 2, 3, 4, 5, 6]),
            bytes(&[0x81cb_0001, 1]),
            bytes(&[0x80cc_0002, 1, 0]),
            bytes(&[0x80cf_0001, 1]),
            bytes(&[0x80cf_0004, 1, 0x0400_0002, 1, 2]),
            bytes(&[0x80d0_0001, 1]),
        ];
        for other in others {
            assert!(must_reach_library(&other) && must_reach_library(&[feedback.concat(), other].concat()));
        }
    }

    /// What the library of the other side has written, read by ours, says what the library meant.
    #[test]
    fn what_another_implementation_writes_is_read_as_it_means_it() {
        let mut pair = Pair::connected(Profile::Aes128Gcm);
        let [keys, _] = pair.keys();
        let ssrc = pair.send_video(300);
        for kind in [KeyframeRequestKind::Pli, KeyframeRequestKind::Fir] {
            pair.ends[1].rtc.direct_api().stream_rx(&ssrc).unwrap().request_keyframe(kind);
            pair.run(Duration::from_millis(300));
        }
        let mut opener = Opener::new(&keys);
        let mut into = Vec::new();
        let mut read = Vec::new();
        for packet in take(&mut pair.ends[1].rtcp) {
            let (said, malformed) = said(opener.open_rtcp(&packet, &mut into).unwrap());
            assert_eq!(malformed, 0);
            read.extend(said);
        }
        let written = |raw: &RawPacket| match raw {
            RawPacket::RtcpTx(written) => Some(meant(written)),
            _ => None,
        };
        let written: Vec<String> = pair.ends[1].raw.iter().filter_map(written).collect();
        assert_eq!(read.len(), written.len());
        for (read, written) in read.iter().zip(&written) {
            match (read.strip_prefix("time "), written.strip_prefix("time ")) {
                // It writes its clock with fewer digits than it has.
                (Some(read), Some(written)) => assert!(time(read).abs_diff(time(written)) < 1 << 16),
                _ => assert_eq!(read, written),
            }
        }
        for kind in ["rr", "nack", "pli", "fir", "twcc", "time"] {
            assert!(read.iter().any(|said| said.starts_with(kind)), "{kind} is among them");
        }
        assert!(read.iter().any(|said| said.starts_with("twcc") && said.contains("None")), "some were missing");
    }

    fn time(said: &str) -> u64 {
        u64::from_str_radix(said.split_once(' ').unwrap().1, 16).unwrap()
    }

    /// What one of the library's packets says, in the words of [`said`].
    fn meant(packet: &Rtcp) -> String {
        match packet {
            Rtcp::ReceiverReport(report) => {
                let reports = report.reports.iter().map(|said| ReportBlock {
                    ssrc: *said.ssrc,
                    fraction_lost: said.fraction_lost,
                    lost: said.packets_lost as i32,
                    highest: said.max_seq,
                    jitter: said.jitter,
                    last_sr: said.last_sr_time,
                    delay: said.last_sr_delay,
                });
                format!("rr {} {:?}", *report.sender_ssrc, reports.collect::<Vec<_>>())
            }
            Rtcp::Nack(nack) => {
                let begin: SeqNo = 0.into();
                let lost = nack.reports.iter().flat_map(|entry| entry.into_iter(begin).map(|seq| *seq as u16));
                format!("nack {} {:?}", *nack.ssrc, lost.collect::<Vec<_>>())
            }
            Rtcp::Pli(loss) => format!("pli {}", *loss.ssrc),
            Rtcp::Fir(fir) => format!("fir {:?}", fir.reports.iter().map(|entry| *entry.ssrc).collect::<Vec<_>>()),
            Rtcp::Twcc(feedback) => {
                let begin = Instant::now();
                let statuses = feedback.clone().into_iter(begin, 0.into());
                let at = |at: Instant| at.duration_since(begin).as_micros() as i64;
                let arrivals: Vec<_> = statuses.map(|(_, _, arrival)| arrival.map(at)).collect();
                format!("twcc {} {arrivals:?}", feedback.base_seq)
            }
            Rtcp::ExtendedReport(report) => match report.blocks.first() {
                Some(str0m::rtp::rtcp::ReportBlock::Rrtr(time)) => {
                    format!("time {} {:x}", *report.ssrc, ntp(time.ntp_time))
                }
                _ => "other 207".into(),
            },
            Rtcp::SourceDescription(_) => "other 202".into(),
            other => panic!("nobody made it write {other:?}"),
        }
    }

    fn ntp(time: SystemTime) -> u64 {
        let since = time.duration_since(UNIX_EPOCH).unwrap();
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        (since.as_secs() + 2_208_988_800) << 32 | fraction
    }

    impl Pair {
        /// Sends so many packets of video, of which some are lost and some late; the SSRC.
        fn send_video(&mut self, count: u64) -> str0m::rtp::Ssrc {
            let video = self.video;
            let ssrc = self.ends[0].rtc.direct_api().stream_tx_by_mid(video, None).unwrap().ssrc();
            let params = self.ends[0].rtc.codec_config().params().to_vec();
            let pt = params.iter().find(|param| param.spec().codec.is_video()).unwrap().pt();
            for n in 0..count {
                let packet = RtpWrite::new(pt, (n + 1).into(), 900 * n as u32, self.now, &b"picture"[..]);
                self.ends[0].rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(packet);
                self.lossy = n % 7 == 3 || (100..150).contains(&n);
                // 63.75 ms are the most that a small delta says.
                self.run(Duration::from_millis(if n % 31 == 30 { 80 } else { 10 }));
            }
            self.lossy = false;
            ssrc
        }
    }
}
