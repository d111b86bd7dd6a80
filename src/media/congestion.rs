//! What a TCP connection that cannot keep up is still given: frames whole or not at all, and always what steers the connection.

use std::collections::HashMap;

/// Places of its queue that media does not take: answers to checks, RTCP and DTLS always find one.
const FOR_CONTROL: usize = 16;

/// A frame is begun only with so many places free, so that all of it is likely to find one: a key frame at 1.5 Mbit/s. More makes the
/// picture stand sooner, fewer cuts more frames in the middle.
const FOR_A_FRAME: usize = 48;

/// Streams of one connection that are told apart; a client with more gets its frames judged anew.
const MAX_STREAMS: usize = 128;

/// The judge of one connection's queue.
#[derive(Debug, Default)]
pub struct Congestion {
    /// By SSRC: the frame that is being sent, and whether it is let through.
    frames: HashMap<u32, Frame>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    timestamp: u32,
    passes: bool,
}

impl Congestion {
    /// Whether the packet goes into a queue with `free` places left.
    pub fn takes(&mut self, packet: &[u8], free: usize) -> bool {
        let Some((ssrc, timestamp)) = media(packet) else { return free > 0 };
        if self.frames.len() == MAX_STREAMS && !self.frames.contains_key(&ssrc) {
            self.frames.clear();
        }
        let frame = self.frames.entry(ssrc).or_insert(Frame { timestamp: !timestamp, passes: false });
        if frame.timestamp == timestamp {
            frame.passes &= free > FOR_CONTROL;
        } else {
            *frame = Frame { timestamp, passes: free > FOR_A_FRAME };
        }
        frame.passes
    }
}

/// The SSRC and timestamp of an RTP packet, encrypted or not (RFC 3550, 5.1); `None` for RTCP (RFC 5761, 4) and what is neither.
fn media(packet: &[u8]) -> Option<(u32, u32)> {
    let header = packet.first_chunk::<12>()?;
    let is_rtp = matches!(header[0], 128..=191) && !matches!(header[1], 192..=223);
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    is_rtp.then(|| (word(8), word(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(ssrc: u32, timestamp: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 1];
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0; 100]);
        packet
    }

    #[test]
    fn a_frame_that_was_cut_is_cut_to_its_end() {
        let mut congestion = Congestion::default();
        assert!(congestion.takes(&rtp(1, 100), 60));
        assert!(congestion.takes(&rtp(1, 100), FOR_CONTROL + 1), "a begun frame may use what is left");
        assert!(!congestion.takes(&rtp(1, 100), FOR_CONTROL));
        assert!(!congestion.takes(&rtp(1, 100), 1000), "its rest is worth nothing");
        assert!(congestion.takes(&rtp(1, 200), 1000), "the next one is");
    }

    #[test]
    fn a_frame_begins_only_where_it_can_end_and_each_stream_for_itself() {
        let mut congestion = Congestion::default();
        assert!(!congestion.takes(&rtp(1, 100), FOR_A_FRAME));
        assert!(!congestion.takes(&rtp(1, 100), FOR_A_FRAME + 1), "its beginning is missing");
        assert!(congestion.takes(&rtp(2, 100), FOR_A_FRAME + 1));
    }

    #[test]
    fn what_steers_the_connection_takes_the_last_place() {
        let mut congestion = Congestion::default();
        let rtcp = [0x80, 201, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2];
        let stun = [1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0];
        let dtls = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for control in [&rtcp[..], &stun, &dtls, &[]] {
            assert!(congestion.takes(control, 1));
            assert!(!congestion.takes(control, 0));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut congestion = Congestion::default();
        for ssrc in 0..10 * MAX_STREAMS as u32 {
            congestion.takes(&rtp(ssrc, 1), 1000);
        }
        assert!(congestion.frames.len() <= MAX_STREAMS);
    }
}
