//! One user's sources, as its room knows them.

use str0m::media;

use super::publish::{CaptureClock, Track};
use super::speaker::Voice;
use crate::base::{Mid, PeerId, Source};

/// What one peer sends.
#[derive(Debug)]
pub struct Publisher {
    pub id: PeerId,
    pub tracks: [Option<Track>; Source::ALL.len()],
    /// Not forwarded, whether the track exists yet or not.
    pub muted: [bool; Source::ALL.len()],
    pub voice: Voice,
    pub clock: CaptureClock,
}

impl Publisher {
    pub fn new(id: PeerId, voice: Voice) -> Self {
        Self { id, tracks: Default::default(), muted: Default::default(), voice, clock: CaptureClock::default() }
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
