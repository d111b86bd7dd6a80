//! A call joined to its media: which peer is whose, what each sends, how loud and how well connected everyone is.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{PeerId, Quality, RoomKey, Source, Timestamp, UserId, Volume};
use crate::call::{self, Call};
use crate::event::{QualityMap, UserSummary, VolumeMap};
use crate::media::PeerQuality;

/// One running call.
#[derive(Debug)]
pub struct Room {
    pub call: Call,
    pub key: RoomKey,
    pub members: BTreeMap<UserId, Member>,
    /// Told last; a map is told when it differs.
    pub volumes: VolumeMap,
    pub qualities: QualityMap,
    /// When webhooks were last given the volumes, and whether they have changed since.
    pub volumes_posted: Timestamp,
    pub volumes_waiting: bool,
}

/// A member's media.
#[derive(Debug, Default)]
pub struct Member {
    /// None until the first offer, and after the media plane gave the peer up.
    pub peer: Option<PeerId>,
    /// The client's end of that peer, by the fingerprint of its certificate.
    pub certificate: Option<String>,
    /// The peer fell silent or was given up after it had been connected.
    pub media_lost: bool,
    /// The client's signalling connection is gone.
    pub signal_lost: bool,
    pub flowing: BTreeSet<Source>,
    /// By the client.
    pub muted: BTreeSet<Source>,
    /// By the server.
    pub silenced: BTreeSet<Source>,
    /// What a PrivateMapKey does not let its client send.
    pub forbidden: BTreeSet<Source>,
    pub volume: Volume,
    pub quality: Option<PeerQuality>,
    pub tally: Tally,
}

/// A member's figures over the whole call.
#[derive(Debug, Default)]
pub struct Tally {
    talk: TalkTime,
    /// Windows seen at each level, by the level's number.
    windows: [u32; 7],
    loss_up: f64,
    loss_down: f64,
}

#[derive(Debug, Default)]
struct TalkTime {
    millis: u64,
    talking_since: Option<Timestamp>,
}

/// A voice at least this loud talks: about −60 dBov, above the noise floor of common microphones.
const TALKING: u8 = 52;

impl Room {
    pub fn new(call: Call, key: RoomKey) -> Self {
        Self {
            call,
            key,
            members: BTreeMap::new(),
            volumes: VolumeMap::new(),
            qualities: QualityMap::new(),
            volumes_posted: Timestamp::default(),
            volumes_waiting: false,
        }
    }

    pub fn user_of(&self, peer: PeerId) -> Option<&UserId> {
        self.members.iter().find(|(_, member)| member.peer == Some(peer)).map(|(user, _)| user)
    }

    /// The level everyone is told of each member.
    pub fn current_qualities(&self) -> QualityMap {
        self.members.iter().map(|(user, member)| (user.clone(), member.level())).collect()
    }

    pub fn current_volumes(&self) -> VolumeMap {
        self.members.iter().map(|(user, member)| (user.clone(), member.heard_volume())).collect()
    }
}

impl Member {
    pub fn is_sent(&self, source: Source) -> bool {
        self.flowing.contains(&source) && self.is_forwarded(source)
    }

    pub fn is_forwarded(&self, source: Source) -> bool {
        ![&self.muted, &self.silenced, &self.forbidden].iter().any(|sources| sources.contains(&source))
    }

    pub fn is_lost(&self) -> bool {
        self.media_lost || self.signal_lost
    }

    /// What others can hear and see.
    pub fn media(&self) -> call::Media {
        call::Media {
            audio: self.is_sent(Source::Microphone),
            video: self.is_sent(Source::Camera) || self.is_sent(Source::Screen),
        }
    }

    pub fn level(&self) -> Quality {
        if self.is_lost() {
            return Quality::Down;
        }
        self.quality.as_ref().map_or(Quality::Unknown, |quality| quality.level)
    }

    pub fn heard_volume(&self) -> Volume {
        if self.is_sent(Source::Microphone) { self.volume } else { Volume::SILENT }
    }

    pub fn hear(&mut self, volume: Volume, now: Timestamp) {
        self.volume = volume;
        self.tally.talk.observe(volume.get() >= TALKING, now);
    }

    pub fn observe(&mut self, quality: PeerQuality) {
        self.tally.windows[quality.level as usize] += 1;
        self.tally.loss_up += f64::from(quality.up.loss);
        self.tally.loss_down += f64::from(quality.down.loss);
        self.quality = Some(quality);
    }

    pub fn summary(&self, now: Timestamp) -> UserSummary {
        self.tally.summary(now)
    }
}

impl Tally {
    fn summary(&self, now: Timestamp) -> UserSummary {
        let windows: u32 = self.windows.iter().sum();
        let mean = |sum: f64| if windows == 0 { 0.0 } else { (sum / f64::from(windows)) as f32 };
        UserSummary {
            talk_time: self.talk.total(now) / 1000,
            quality_p5: self.fifth_percentile(),
            loss_up: mean(self.loss_up),
            loss_down: mean(self.loss_down),
        }
    }

    /// The level that at most 5 % of the rated windows were worse than.
    fn fifth_percentile(&self) -> Quality {
        const RATED: [Quality; 6] =
            [Quality::Down, Quality::Vbad, Quality::Bad, Quality::Poor, Quality::Good, Quality::Excellent];
        let rated: u32 = RATED.iter().map(|level| self.windows[*level as usize]).sum();
        let mut seen = 0;
        for level in RATED {
            seen += self.windows[level as usize];
            if seen * 20 > rated {
                return level;
            }
        }
        Quality::Unknown
    }
}

impl TalkTime {
    fn observe(&mut self, talking: bool, now: Timestamp) {
        match (self.talking_since, talking) {
            (None, true) => self.talking_since = Some(now),
            (Some(since), false) => {
                self.millis += now.since(since).as_millis() as u64;
                self.talking_since = None;
            }
            _ => {}
        }
    }

    fn total(&self, now: Timestamp) -> u64 {
        self.millis + self.talking_since.map_or(0, |since| now.since(since).as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(level: Quality) -> PeerQuality {
        PeerQuality { level, up: Default::default(), down: Default::default() }
    }

    #[test]
    fn a_lost_member_is_down_whatever_was_measured() {
        let mut member = Member::default();
        assert_eq!(member.level(), Quality::Unknown);
        member.observe(quality(Quality::Good));
        assert_eq!(member.level(), Quality::Good);
        member.signal_lost = true;
        assert_eq!(member.level(), Quality::Down);
    }

    #[test]
    fn only_what_flows_and_is_not_muted_is_available() {
        let mut member = Member::default();
        member.flowing.extend([Source::Microphone, Source::Camera]);
        assert_eq!(member.media(), call::Media { audio: true, video: true });
        member.muted.insert(Source::Camera);
        assert_eq!(member.media(), call::Media { audio: true, video: false });
        member.flowing.insert(Source::Screen);
        assert_eq!(member.media(), call::Media { audio: true, video: true });
        member.silenced.insert(Source::Microphone);
        assert_eq!(member.media(), call::Media { audio: false, video: true });
        member.forbidden.insert(Source::Screen);
        assert_eq!(member.media(), call::Media { audio: false, video: false });
    }

    #[test]
    fn the_fifth_percentile_ignores_one_bad_window_in_forty() {
        let mut member = Member::default();
        for _ in 0..39 {
            member.observe(quality(Quality::Excellent));
        }
        member.observe(quality(Quality::Vbad));
        let now = Timestamp::from_millis(0);
        assert_eq!(member.summary(now).quality_p5, Quality::Excellent);
        for _ in 0..2 {
            member.observe(quality(Quality::Vbad));
        }
        assert_eq!(member.summary(now).quality_p5, Quality::Vbad);
    }

    #[test]
    fn talk_time_counts_the_loud_spans() {
        let at = Timestamp::from_millis;
        let mut member = Member::default();
        member.hear(Volume::from_audio_level(20), at(1_000));
        member.hear(Volume::from_audio_level(25), at(2_000));
        member.hear(Volume::SILENT, at(4_000));
        member.hear(Volume::from_audio_level(20), at(9_000));
        assert_eq!(member.summary(at(11_000)).talk_time, 5);
    }
}
