//! What a room hears: who is how loud, who has the floor, and what ceased to arrive.

use std::time::Instant;

use super::floor::Heard;
use super::publisher::Home;
use super::report::Report;
use super::room::{Assignment, Room, Turn};

impl Room {
    /// A few times a second: who has the floor, and what ceased to flow.
    pub(super) fn listen(&mut self, turn: &mut Turn<'_>) {
        self.note_silent_tracks(turn);
        self.observe_voices(turn.now);
    }

    pub(super) fn tell_volumes(&mut self, turn: &mut Turn<'_>) {
        let publishers = self.publishers.iter_mut().flatten();
        let volumes: Vec<_> = publishers.map(|publisher| (publisher.id, publisher.voice.read(turn.now))).collect();
        if self.span.leads(turn.shard) && volumes != self.volumes {
            self.volumes.clone_from(&volumes);
            turn.outbox.reports.push_back(Report::Volumes { room: self.key, volumes });
        }
    }

    /// Who speaks matters only where somebody's slots are too few.
    pub(super) fn observe_voices(&mut self, now: Instant) {
        self.publishers.iter_mut().flatten().for_each(|publisher| publisher.voice.settle(now));
        let publishers = self.publishers.iter().flatten();
        let heard: Vec<Heard<'_>> = publishers.map(|publisher| (publisher.id, &publisher.voice)).collect();
        if self.floor.observe(&heard, now) && self.assignment == Assignment::Scarce {
            self.assignment = Assignment::Due;
        }
    }

    fn note_silent_tracks(&mut self, turn: &mut Turn<'_>) {
        for publisher in self.publishers.iter_mut().flatten().filter(|publisher| publisher.home == Home::Here) {
            for track in publisher.tracks.iter_mut().flatten() {
                if track.fell_silent(turn.settings.silent_after, turn.now) {
                    self.assignment = Assignment::Due;
                    let report = Report::Flowing { peer: publisher.id, source: track.source, flowing: false };
                    turn.outbox.reports.push_back(report);
                }
            }
        }
    }
}
