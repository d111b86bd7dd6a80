//! Which frames of a layered stream a slot lets through: it changes between pictures, and only where the receiver can follow.

use super::layer::{Layer, Place};

/// Pictures whose packets may still come late.
const REMEMBERED: usize = 32;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Pass,
    /// And it is the last of its picture for this receiver.
    PassLast,
    /// The frame is left out, of a picture that is shown.
    DropDetail,
    /// The whole picture is left out.
    DropPicture,
}

/// A slot's layers of the stream that is on.
#[derive(Debug, Clone)]
pub struct Thinner {
    on: Layer,
    target: Layer,
    /// The stream's larger pictures do not build on the smaller ones.
    loose: bool,
    /// The last pictures and what was let through of them, in a ring.
    pictures: Vec<Picture>,
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Picture {
    timestamp: u32,
    on: Layer,
}

impl Default for Thinner {
    fn default() -> Self {
        Self { on: Layer::TOP, target: Layer::TOP, loose: false, pictures: Vec::new(), next: 0 }
    }
}

impl Thinner {
    /// The slot shall show all up to this layer.
    pub fn aim(&mut self, target: Layer) {
        self.target = target;
    }

    /// Another stream begins, with a key frame.
    pub fn begin(&mut self) {
        self.on = self.target;
        self.pictures.clear();
        self.next = 0;
    }

    /// The detail that is wanted is not what is shown, and only a key frame brings it.
    pub fn waits_for_key_frame(&self) -> bool {
        self.on.spatial < self.target.spatial || self.loose && self.on.spatial > self.target.spatial
    }

    /// The packet is of the frame at this place in the picture with this timestamp.
    pub fn judge(&mut self, timestamp: u32, place: &Place, key_frame_start: bool) -> Passage {
        if self.on == Layer::TOP && self.target == Layer::TOP && self.pictures.is_empty() {
            return Passage::Pass;
        }
        let on = self.picture(timestamp, place, key_frame_start);
        if place.needed.contains(on) {
            let last = place.ends && place.layer.spatial == on.spatial;
            return if last { Passage::PassLast } else { Passage::Pass };
        }
        if place.layer.temporal <= on.temporal { Passage::DropDetail } else { Passage::DropPicture }
    }

    /// What is let through of a picture, decided when its first packet comes.
    fn picture(&mut self, timestamp: u32, place: &Place, key_frame_start: bool) -> Layer {
        if let Some(known) = self.pictures.iter().find(|picture| picture.timestamp == timestamp) {
            return known.on;
        }
        self.loose = !place.nested;
        self.step(place, key_frame_start);
        if self.on == Layer::TOP && self.pictures.iter().all(|picture| picture.on == Layer::TOP) {
            self.pictures.clear();
            self.next = 0;
        }
        let picture = Picture { timestamp, on: self.on };
        if self.pictures.len() < REMEMBERED {
            self.pictures.push(picture);
        } else {
            self.pictures[self.next] = picture;
            self.next = (self.next + 1) % REMEMBERED;
        }
        self.on
    }

    fn step(&mut self, place: &Place, key_frame_start: bool) {
        if key_frame_start {
            self.on = self.target;
            return;
        }
        if self.target.spatial < self.on.spatial && place.nested {
            self.on.spatial = self.target.spatial;
        }
        if self.target.temporal <= self.on.temporal {
            self.on.temporal = self.target.temporal;
            return;
        }
        let can_enter = |temporal: &u8| place.entry.contains(Layer { temporal: *temporal, ..self.on });
        if let Some(temporal) = (self.on.temporal + 1..=self.target.temporal).rev().find(can_enter) {
            self.on.temporal = temporal;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Passage::*;

    fn at(spatial: u8, temporal: u8, sync: bool) -> Place {
        Place::stacked(Layer::new(spatial, temporal), sync)
    }

    fn layer(spatial: u8, temporal: u8) -> Layer {
        Layer::new(spatial, temporal)
    }

    #[test]
    fn frame_rates_fall_at_once_and_rise_at_a_sync_frame() {
        let mut thinner = Thinner::default();
        assert_eq!(thinner.judge(1, &at(0, 2, false), false), Pass);
        thinner.aim(layer(2, 0));
        assert_eq!(thinner.judge(2, &at(0, 2, false), false), DropPicture);
        assert_eq!(thinner.judge(3, &at(0, 0, true), false), Pass);
        thinner.aim(layer(2, 2));
        assert_eq!(thinner.judge(4, &at(0, 2, false), false), DropPicture, "it builds on what was left out");
        assert_eq!(thinner.judge(5, &at(0, 1, true), false), Pass);
        assert_eq!(thinner.judge(6, &at(0, 2, false), false), DropPicture);
        assert_eq!(thinner.judge(7, &at(0, 2, true), false), Pass);
        assert_eq!(thinner.judge(8, &at(0, 2, false), false), Pass);
    }

    #[test]
    fn a_picture_is_let_through_whole_or_not_at_all() {
        let mut thinner = Thinner::default();
        thinner.aim(layer(2, 0));
        assert_eq!(thinner.judge(9, &at(0, 1, true), false), DropPicture);
        thinner.aim(layer(2, 1));
        assert_eq!(thinner.judge(9, &at(0, 1, true), false), DropPicture, "its first packet was dropped");
        assert_eq!(thinner.judge(11, &at(0, 1, true), false), Pass);
        thinner.aim(layer(2, 0));
        assert_eq!(thinner.judge(11, &at(0, 1, true), false), Pass, "its first packet was passed");
        assert_eq!(thinner.judge(9, &at(0, 1, true), false), DropPicture, "late, and still of a dropped picture");
    }

    #[test]
    fn detail_rises_at_key_frames_only_and_ends_where_the_receiver_ends() {
        let mut thinner = Thinner::default();
        thinner.aim(layer(1, 3));
        let ends = |spatial| Place { ends: true, ..at(spatial, 0, false) };
        assert_eq!((0..3).map(|s| thinner.judge(1, &ends(s), false)).collect::<Vec<_>>(), [Pass, PassLast, DropDetail]);
        thinner.aim(layer(2, 3));
        assert!(thinner.waits_for_key_frame());
        assert_eq!(thinner.judge(2, &ends(2), false), DropDetail);
        assert_eq!((thinner.judge(3, &ends(0), true), thinner.judge(3, &ends(2), false)), (Pass, PassLast));
        assert!(!thinner.waits_for_key_frame());
    }

    #[test]
    fn layers_that_do_not_nest_change_at_key_frames_only() {
        let mut thinner = Thinner::default();
        thinner.aim(layer(0, 3));
        let loose = Place { nested: false, ..at(0, 0, false) };
        let upper = Place { nested: false, ..at(2, 0, false) };
        assert_eq!(thinner.judge(1, &upper, false), Pass);
        assert!(thinner.waits_for_key_frame());
        assert_eq!((thinner.judge(2, &loose, true), thinner.judge(2, &upper, false)), (Pass, DropDetail));
    }
}
