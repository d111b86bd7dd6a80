//! One user's sources, as a part of its call knows them, wherever its peer sits.

use std::time::Instant;

use str0m::media;

use super::publish::{CaptureClock, Track};
use super::relay::PublisherState;
use super::speaker::Voice;
use crate::base::{Mid, PeerId, Source};

/// Where a publisher's peer sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Here,
    /// On the shard with this index: its packets and news come in letters.
    Shard(usize),
}

/// What one peer sends.
#[derive(Debug)]
pub struct Publisher {
    pub id: PeerId,
    pub home: Home,
    pub tracks: [Option<Track>; Source::ALL.len()],
    /// Not forwarded, whether the track exists yet or not.
    pub muted: [bool; Source::ALL.len()],
    pub voice: Voice,
    pub clock: CaptureClock,
}

impl Publisher {
    pub fn new(id: PeerId, home: Home, voice: Voice) -> Self {
        Self { id, home, tracks: Default::default(), muted: Default::default(), voice, clock: CaptureClock::default() }
    }

    /// What another part of the call is told of it.
    pub fn state(&self) -> PublisherState {
        PublisherState {
            id: self.id,
            muted: self.muted,
            tracks: self.tracks.iter().flatten().map(Track::state).collect(),
        }
    }

    /// Takes over what its own part tells of it.
    pub fn told(&mut self, state: &PublisherState, now: Instant) {
        if state.muted[Source::Microphone as usize] && !self.is_muted(Source::Microphone) {
            self.voice.mute(now);
        }
        self.muted = state.muted;
        let mut old = std::mem::take(&mut self.tracks);
        for told in &state.tracks {
            let kept = old[told.source as usize].take().filter(|track| track.mid == told.mid);
            let track =
                self.tracks[told.source as usize].insert(kept.unwrap_or_else(|| Track::new(told.mid, told.source)));
            track.told(told, now);
        }
    }

    /// Takes over what was negotiated; tracks that are still there go on as they were.
    pub fn negotiated(&mut self, sources: &[(Mid, Source)]) {
        let mut old = std::mem::take(&mut self.tracks);
        for (mid, source) in sources {
            let mid: media::Mid = mid.as_str().into();
            let kept = old[*source as usize].take().filter(|track| track.mid == mid);
            self.tracks[*source as usize] = Some(kept.unwrap_or_else(|| Track::new(mid, *source)));
        }
    }

    pub fn track(&self, source: Source) -> Option<&Track> {
        self.tracks[source as usize].as_ref()
    }

    pub fn track_mut(&mut self, source: Source) -> Option<&mut Track> {
        self.tracks[source as usize].as_mut()
    }

    pub fn track_by_mid(&mut self, mid: media::Mid) -> Option<&mut Track> {
        self.tracks.iter_mut().flatten().find(|track| track.mid == mid)
    }

    pub fn is_muted(&self, source: Source) -> bool {
        self.muted[source as usize]
    }
}
