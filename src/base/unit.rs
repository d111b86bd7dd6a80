//! Quantities and small closed sets that more than one layer speaks of.

use serde::{Deserialize, Serialize};

/// What a user sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Microphone,
    Camera,
    Screen,
}

impl Source {
    pub const ALL: [Source; 3] = [Source::Microphone, Source::Camera, Source::Screen];

    pub const fn is_video(self) -> bool {
        !matches!(self, Source::Microphone)
    }
}

/// Loudness of a voice, 0 (silent or muted) to 100 (loudest), from the RFC 6464 level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Volume(u8);

impl Volume {
    pub const SILENT: Volume = Volume(0);

    /// `level` is RFC 6464's: 0 (loudest) to 127 (silent) −dBov.
    pub fn from_audio_level(level: u8) -> Self {
        let level = u32::from(level.min(127));
        Self(((127 - level) * 100 / 127) as u8)
    }

    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A user's network as others experience it, best first. The wire carries the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Quality {
    #[default]
    Unknown = 0,
    Excellent = 1,
    Good = 2,
    Poor = 3,
    Bad = 4,
    Vbad = 5,
    Down = 6,
}

impl Quality {
    pub const fn name(self) -> &'static str {
        match self {
            Quality::Unknown => "Unknown",
            Quality::Excellent => "Excellent",
            Quality::Good => "Good",
            Quality::Poor => "Poor",
            Quality::Bad => "Bad",
            Quality::Vbad => "Vbad",
            Quality::Down => "Down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_follows_the_audio_level() {
        assert_eq!(Volume::from_audio_level(0).get(), 100);
        assert_eq!(Volume::from_audio_level(127), Volume::SILENT);
        assert_eq!(Volume::from_audio_level(255), Volume::SILENT);
        assert!(Volume::from_audio_level(30) > Volume::from_audio_level(60));
    }

    #[test]
    fn a_quality_is_written_as_its_name() {
        for quality in [Quality::Unknown, Quality::Excellent, Quality::Vbad, Quality::Down] {
            assert_eq!(serde_json::to_value(quality).unwrap(), quality.name());
        }
    }
}
