//! Which incoming stream a slot is on, and when it may change: video at key frames only.

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the stream that is on.
    Forward,
    /// It is the first of the stream that is on from here.
    Splice,
    /// It belongs to another stream, or one that waits for its key frame.
    Drop,
}

/// One incoming stream of a track: a new SSRC is a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Index in its track.
    pub encoding: usize,
    pub ssrc: u32,
}

/// Where streams may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Audio: any packet can be the first.
    Anywhere,
    /// Video: a receiver can begin with a key frame only.
    KeyFrame,
}

/// A slot's choice among the streams of the track it shows.
#[derive(Debug, Clone)]
pub struct Switch {
    entry: Entry,
    on: Option<Stream>,
    /// The encoding it is on, or will be on from its next entry.
    target: Option<usize>,
}

impl Switch {
    pub fn new(entry: Entry) -> Self {
        Self { entry, on: None, target: None }
    }

    /// From its next entry on, the slot shows this encoding.
    pub fn aim(&mut self, target: Option<usize>) {
        self.target = target;
        if target.is_none() {
            self.on = None;
        }
    }

    /// The packets up to here are no base for the next ones: begin again.
    pub fn restart(&mut self) {
        self.on = None;
    }

    /// The same, if this encoding is on.
    pub fn restart_on(&mut self, encoding: usize) {
        self.on = self.on.filter(|on| on.encoding != encoding);
    }

    pub fn target(&self) -> Option<usize> {
        self.target
    }

    /// The encoding whose packets pass.
    pub fn on_encoding(&self) -> Option<usize> {
        self.on.map(|on| on.encoding)
    }

    /// The encoding whose key frame the slot waits for.
    pub fn waits_for(&self) -> Option<usize> {
        let target = self.target?;
        (self.entry == Entry::KeyFrame && self.on.is_none_or(|on| on.encoding != target)).then_some(target)
    }

    pub fn judge(&mut self, stream: Stream, key_frame_start: bool) -> Verdict {
        let enters = self.entry == Entry::Anywhere || key_frame_start;
        if self.on == Some(stream) {
            return Verdict::Forward;
        }
        if Some(stream.encoding) != self.target || !enters {
            if self.on.is_some_and(|on| on.encoding == stream.encoding && on.ssrc != stream.ssrc) {
                // The encoder began anew: what was on will not go on.
                self.on = None;
            }
            return Verdict::Drop;
        }
        self.on = Some(stream);
        Verdict::Splice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Stream = Stream { encoding: 0, ssrc: 1 };
    const HIGH: Stream = Stream { encoding: 1, ssrc: 2 };

    #[test]
    fn video_enters_at_a_key_frame_only() {
        let mut switch = Switch::new(Entry::KeyFrame);
        assert_eq!(switch.judge(LOW, true), Verdict::Drop, "aimed at nothing");
        switch.aim(Some(0));
        assert_eq!(switch.waits_for(), Some(0));
        assert_eq!(switch.judge(LOW, false), Verdict::Drop);
        assert_eq!(switch.judge(LOW, true), Verdict::Splice);
        assert_eq!(switch.waits_for(), None);
        assert_eq!(switch.judge(LOW, false), Verdict::Forward);
        assert_eq!(switch.judge(LOW, true), Verdict::Forward, "its own key frames are no splice");
    }

    #[test]
    fn the_old_encoding_stays_on_until_the_new_one_can_begin() {
        let mut switch = Switch::new(Entry::KeyFrame);
        switch.aim(Some(0));
        switch.judge(LOW, true);
        switch.aim(Some(1));
        assert_eq!(switch.waits_for(), Some(1));
        assert_eq!((switch.judge(LOW, false), switch.judge(HIGH, false)), (Verdict::Forward, Verdict::Drop));
        assert_eq!((switch.judge(HIGH, true), switch.judge(LOW, true)), (Verdict::Splice, Verdict::Drop));
    }

    #[test]
    fn a_new_ssrc_is_a_new_stream() {
        let mut switch = Switch::new(Entry::KeyFrame);
        switch.aim(Some(0));
        switch.judge(LOW, true);
        let anew = Stream { ssrc: 9, ..LOW };
        assert_eq!(switch.judge(anew, false), Verdict::Drop);
        assert_eq!(switch.waits_for(), Some(0), "a key frame is to be asked for");
        assert_eq!(switch.judge(anew, true), Verdict::Splice);
    }

    #[test]
    fn audio_enters_anywhere_and_again_after_a_restart() {
        let mut switch = Switch::new(Entry::Anywhere);
        switch.aim(Some(0));
        assert_eq!(switch.waits_for(), None);
        assert_eq!((switch.judge(LOW, false), switch.judge(LOW, false)), (Verdict::Splice, Verdict::Forward));
        switch.restart();
        assert_eq!(switch.judge(LOW, false), Verdict::Splice);
        switch.aim(None);
        assert_eq!(switch.judge(LOW, false), Verdict::Drop);
    }
}
