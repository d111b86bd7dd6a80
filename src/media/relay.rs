//! What the parts of a call on different shards send each other: letters of plain values, bounded, and lossy to the end of a frame.
//!
//! Notes are states, not steps: a later one replaces an earlier one of its kind, so a letter that waits does not grow. Packets wait up to a
//! bound; what does not fit is dropped by [`FrameGate`] in whole frames, before it is written into a letter.

use std::time::Instant;

use super::peer::StreamName;
use super::publish::TrackState;
use super::slot::Packet;
use super::slots::Feed;
use crate::base::{PeerId, RoomKey, Source};

/// Packets that may wait for one shard from one other: a few milliseconds of its work. More hides a shard that cannot keep up, fewer loses frames
/// to a busy moment.
pub const CROSSING_QUEUE: usize = 2048;

/// A frame begins to cross only with so much of the queue free, so that what began mostly ends.
const FRAME_RESERVE: usize = 256;

/// A letter from one shard to another.
#[derive(Debug, Default)]
pub struct Letter {
    pub notes: Vec<(RoomKey, Note)>,
    /// Levels of microphones (RFC 6464), as they came.
    pub levels: Vec<(RoomKey, PeerId, u8)>,
    pub packets: Vec<(RoomKey, Crossing)>,
}

/// What one part of a call lets another know.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// The part has begun and knows nothing of the other.
    Hello,
    /// Everyone who sends in the part.
    Roster(Roster),
    /// What of the other part its viewers are shown.
    Wanted(Vec<Wanted>),
    /// One of its viewers needs a key frame of the other part's publisher.
    KeyFrame { publisher: PeerId, stream: StreamName },
    /// The part has ended.
    Gone,
}

/// Everyone who sends in a part.
#[derive(Debug, Clone, PartialEq)]
pub struct Roster {
    /// When the part last surveyed what its members send.
    pub surveyed_at: Option<Instant>,
    /// When the part's clocks strike next.
    pub phases: Phases,
    pub publishers: Vec<PublisherState>,
}

/// When what a part does regularly is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phases {
    pub listens_at: Instant,
    pub volumes_at: Instant,
    pub share_at: Instant,
}

/// A feed that somebody is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub feed: Feed,
    /// A bit for each encoding that a slot shows or will show.
    pub encodings: u32,
}

/// One who sends.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherState {
    pub id: PeerId,
    pub muted: [bool; Source::ALL.len()],
    pub tracks: Vec<TrackState>,
}

impl PublisherState {
    /// Of every source that there is, whether it can be shown.
    pub fn active(&self) -> [Option<bool>; Source::ALL.len()] {
        let mut active = [None; Source::ALL.len()];
        for track in &self.tracks {
            let index = track.source as usize;
            active[index] = Some(track.flowing && !self.muted[index]);
        }
        active
    }
}

/// A packet on its way to another part.
#[derive(Debug)]
pub struct Crossing {
    pub publisher: PeerId,
    pub packet: Packet,
    /// What was sent between the last one of its stream and this one did not cross.
    pub resumes: bool,
}

impl Letter {
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.waiting() == 0
    }

    /// What counts against [`CROSSING_QUEUE`].
    pub fn waiting(&self) -> usize {
        self.packets.len() + self.levels.len()
    }

    /// Adds a note, and takes out those that it makes void.
    pub fn note(&mut self, room: RoomKey, note: Note) {
        let kind = std::mem::discriminant(&note);
        self.notes.retain(|(of, earlier)| {
            let void = match note {
                Note::Gone => true,
                Note::KeyFrame { .. } => *earlier == note,
                _ => std::mem::discriminant(earlier) == kind,
            };
            *of != room || !void
        });
        self.notes.push((room, note));
    }

    /// Adds a later letter, and empties it.
    pub fn append(&mut self, later: &mut Letter) {
        for (room, note) in later.notes.drain(..) {
            self.note(room, note);
        }
        self.levels.append(&mut later.levels);
        self.packets.append(&mut later.packets);
    }
}

/// The letters of a turn, by the index of the shard they are for.
#[derive(Debug, Default)]
pub struct Post {
    boxes: Vec<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    letter: Letter,
    /// Packets that its queue had room for.
    free: usize,
}

impl Post {
    /// The queue to that shard has room for so many packets.
    pub fn set_free(&mut self, shard: usize, packets: usize) {
        self.to(shard).free = packets;
    }

    /// Packets that still fit.
    pub fn free(&mut self, shard: usize) -> usize {
        let to = self.to(shard);
        to.free.saturating_sub(to.letter.waiting())
    }

    pub fn note(&mut self, shard: usize, room: RoomKey, note: Note) {
        self.to(shard).letter.note(room, note);
    }

    /// Left out when nothing fits: a voice holds for longer than the next level takes.
    pub fn level(&mut self, shard: usize, room: RoomKey, publisher: PeerId, level: u8) {
        if self.free(shard) > 0 {
            self.to(shard).letter.levels.push((room, publisher, level));
        }
    }

    pub fn packet(&mut self, shard: usize, room: RoomKey, crossing: Crossing) {
        self.to(shard).letter.packets.push((room, crossing));
    }

    /// What was written; the caller takes it out.
    pub fn letters(&mut self) -> impl Iterator<Item = (usize, &mut Letter)> + '_ {
        let letters = self.boxes.iter_mut().enumerate().map(|(shard, to)| (shard, &mut to.letter));
        letters.filter(|(_, letter)| !letter.is_empty())
    }

    fn to(&mut self, shard: usize) -> &mut Outgoing {
        while self.boxes.len() <= shard {
            self.boxes.push(Outgoing { letter: Letter::default(), free: CROSSING_QUEUE });
        }
        &mut self.boxes[shard]
    }
}

/// What happens to one packet that should cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Cross,
    /// And something before it did not.
    Resume,
    Drop,
}

/// One stream's way to another shard: once a packet did not fit, nothing crosses until a frame begins that a receiver can go on with.
#[derive(Debug, Clone, Default)]
pub struct FrameGate {
    frame: Option<u32>,
    state: GateState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum GateState {
    #[default]
    Open,
    Shut,
}

impl FrameGate {
    /// `free`: the packets that still fit. `enters`: a receiver can begin with this packet.
    pub fn judge(&mut self, timestamp: u32, enters: bool, free: usize) -> Passage {
        let begins = self.frame != Some(timestamp);
        self.frame = Some(timestamp);
        let fits = free > if begins { FRAME_RESERVE } else { 0 };
        match (self.state, fits) {
            (GateState::Open, true) => Passage::Cross,
            (GateState::Shut, true) if begins && enters => {
                self.state = GateState::Open;
                Passage::Resume
            }
            _ => {
                self.state = GateState::Shut;
                Passage::Drop
            }
        }
    }

    /// The stream waits for a frame that a receiver can begin with.
    pub fn is_shut(&self) -> bool {
        self.state == GateState::Shut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomKey = RoomKey(1);

    fn feed(publisher: u64) -> Wanted {
        Wanted { feed: Feed { publisher: PeerId(publisher), source: Source::Camera }, encodings: 1 }
    }

    #[test]
    fn a_frame_that_began_ends_or_is_cut_and_nothing_follows_until_a_key_frame() {
        use Passage::*;
        let full = CROSSING_QUEUE;
        let table = [
            (1, true, full, Cross),
            (1, false, FRAME_RESERVE / 2, Cross),
            (1, false, 1, Cross),
            (2, false, FRAME_RESERVE, Drop),
            (2, false, full, Drop),
            (3, false, full, Drop),
            (4, true, 0, Drop),
            (4, false, full, Drop),
            (5, true, full, Resume),
            (5, false, 1, Cross),
            (5, false, 0, Drop),
            (5, false, 9, Drop),
            (6, true, full, Resume),
        ];
        let mut gate = FrameGate::default();
        for (line, (timestamp, enters, free, expected)) in table.into_iter().enumerate() {
            assert_eq!(gate.judge(timestamp, enters, free), expected, "line {line}");
            assert_eq!(gate.is_shut(), expected == Drop, "line {line}");
        }
    }

    #[test]
    fn a_letter_that_waits_keeps_the_newest_state_only() {
        let mut letter = Letter::default();
        let stream = StreamName { mid: "1".into(), rid: None };
        for round in 0..100 {
            let mut later = Letter::default();
            later.note(ROOM, Note::Hello);
            later.note(ROOM, Note::Wanted(vec![feed(round)]));
            later.note(RoomKey(2), Note::Wanted(vec![]));
            later.note(ROOM, Note::KeyFrame { publisher: PeerId(round % 2), stream });
            letter.append(&mut later);
            assert!(later.is_empty());
        }
        assert_eq!(letter.notes.len(), 5, "{:?}", letter.notes);
        assert!(letter.notes.contains(&(ROOM, Note::Wanted(vec![feed(99)]))));
        letter.note(ROOM, Note::Gone);
        letter.note(ROOM, Note::Hello);
        assert_eq!(letter.notes, [(RoomKey(2), Note::Wanted(vec![])), (ROOM, Note::Gone), (ROOM, Note::Hello)]);
    }
}
