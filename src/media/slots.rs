//! Who is in which of a viewer's slots: a pure choice that moves as few users as it can.

use str0m::media::MediaKind;

use super::command::Permissions;
use crate::base::{PeerId, Source};

/// Someone's track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Feed {
    pub publisher: PeerId,
    pub source: Source,
}

impl Feed {
    pub const fn kind(self) -> MediaKind {
        if self.source.is_video() { MediaKind::Video } else { MediaKind::Audio }
    }
}

/// A feed that could be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub feed: Feed,
    /// 0 for who comes first, and so on; equal for all who never spoke.
    pub rank: usize,
    /// It flows and is not muted.
    pub active: bool,
}

/// The viewer's word about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The server chooses.
    Free,
    Empty,
    Show(Feed),
}

/// A slot as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub kind: MediaKind,
    /// Its number among the slots of its kind: the audio and the video slot of one number play in sync.
    pub pair: usize,
    pub wish: Wish,
    pub holds: Option<Feed>,
}

/// What limits the choice.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub may_receive: Permissions,
    /// With more speakers than audio slots, how many are forwarded.
    pub loudest: usize,
}

/// The new occupant of each place.
pub fn assign(places: &[Place], candidates: &[Candidate], limits: Limits) -> Vec<Option<Feed>> {
    let allowed: Vec<Candidate> =
        candidates.iter().copied().filter(|c| may(limits.may_receive, c.feed.source)).collect();
    let mut seating = Seating { places, seats: vec![None; places.len()] };
    seating.honour_wishes(&allowed);
    let wanted = seating.wanted(&allowed, limits.loudest);
    seating.keep(&wanted);
    // Sound first: it settles the pair that the same user's picture then joins.
    for feed in wanted.iter().filter(|feed| feed.source == Source::Microphone) {
        seating.seat(*feed);
    }
    for feed in wanted.iter().filter(|feed| feed.source == Source::Camera) {
        seating.seat(*feed);
    }
    for feed in wanted.iter().filter(|feed| feed.source == Source::Screen) {
        seating.seat_last(*feed);
    }
    seating.seats
}

const fn may(may_receive: Permissions, source: Source) -> bool {
    match source {
        Source::Microphone => may_receive.audio,
        Source::Camera => may_receive.video,
        Source::Screen => may_receive.screen,
    }
}

struct Seating<'a> {
    places: &'a [Place],
    seats: Vec<Option<Feed>>,
}

impl Seating<'_> {
    fn honour_wishes(&mut self, candidates: &[Candidate]) {
        for (index, place) in self.places.iter().enumerate() {
            if let Wish::Show(feed) = place.wish
                && feed.kind() == place.kind
                && candidates.iter().any(|c| c.feed == feed)
                && !self.seats.contains(&Some(feed))
            {
                self.seats[index] = Some(feed);
            }
        }
    }

    /// The feeds for the places that are the server's to fill, as many as fit.
    fn wanted(&self, candidates: &[Candidate], loudest: usize) -> Vec<Feed> {
        // Sorts are stable; whom the viewer has already goes before whom it has not.
        let held = |feed: Feed| self.places.iter().any(|place| place.holds == Some(feed));
        let unseated = |kind| {
            let free = |c: &&Candidate| c.feed.kind() == kind && !self.seats.contains(&Some(c.feed));
            candidates.iter().filter(free).collect::<Vec<&Candidate>>()
        };
        let mut speakers = unseated(MediaKind::Audio);
        speakers.sort_by_key(|c| (c.rank, !held(c.feed)));
        let room = self.free(MediaKind::Audio).count();
        let heard = if speakers.len() > room { room.min(loudest.max(1)) } else { room };
        let speakers = speakers.into_iter().map(|c| c.feed).take(heard);

        let mut pictures = unseated(MediaKind::Video);
        pictures.sort_by_key(|c| (!c.active, c.feed.source != Source::Screen, c.rank, !held(c.feed)));
        let seen = self.free(MediaKind::Video).count();
        let pictures = pictures.into_iter().map(|c| c.feed).take(seen);
        speakers.chain(pictures).collect()
    }

    /// Places the server fills and has not filled.
    fn free(&self, kind: MediaKind) -> impl DoubleEndedIterator<Item = usize> + '_ {
        (0..self.places.len()).filter(move |index| {
            let place = &self.places[*index];
            place.kind == kind && place.wish == Wish::Free && self.seats[*index].is_none()
        })
    }

    fn keep(&mut self, wanted: &[Feed]) {
        for (index, place) in self.places.iter().enumerate() {
            if let Some(feed) = place.holds
                && place.wish == Wish::Free
                && wanted.contains(&feed)
                && !self.seats.contains(&Some(feed))
            {
                self.seats[index] = Some(feed);
            }
        }
    }

    fn seat(&mut self, feed: Feed) {
        if self.seats.contains(&Some(feed)) {
            return;
        }
        let best = self.free(feed.kind()).min_by_key(|index| self.pairing(*index, feed));
        if let Some(index) = best {
            self.seats[index] = Some(feed);
        }
    }

    /// From the other end, where the pairs are least likely to be anyone's.
    fn seat_last(&mut self, feed: Feed) {
        if self.seats.contains(&Some(feed)) {
            return;
        }
        let last = self.free(feed.kind()).next_back();
        if let Some(index) = last {
            self.seats[index] = Some(feed);
        }
    }

    /// How well `feed` sits at a place, lowest best: beside the same user, beside nobody, beside another.
    fn pairing(&self, index: usize, feed: Feed) -> u8 {
        let place = &self.places[index];
        let partner =
            (0..self.places.len()).find(|i| self.places[*i].pair == place.pair && self.places[*i].kind != place.kind);
        match partner.map(|index| self.seats[index]) {
            Some(Some(other)) if other.publisher == feed.publisher && other.source != Source::Screen => 0,
            Some(None) => 1,
            None => 2,
            Some(Some(_)) => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u64 = 1;
    const B: u64 = 2;
    const C: u64 = 3;

    fn feed(publisher: u64, source: Source) -> Feed {
        Feed { publisher: PeerId(publisher), source }
    }

    fn mic(publisher: u64) -> Feed {
        feed(publisher, Source::Microphone)
    }

    fn cam(publisher: u64) -> Feed {
        feed(publisher, Source::Camera)
    }

    fn screen(publisher: u64) -> Feed {
        feed(publisher, Source::Screen)
    }

    fn candidates(feeds: &[Feed]) -> Vec<Candidate> {
        feeds.iter().enumerate().map(|(rank, feed)| Candidate { feed: *feed, rank, active: true }).collect()
    }

    fn places(audio: usize, video: usize) -> Vec<Place> {
        let of = |kind, count| (0..count).map(move |pair| Place { kind, pair, wish: Wish::Free, holds: None });
        of(MediaKind::Audio, audio).chain(of(MediaKind::Video, video)).collect()
    }

    fn hold(places: &mut [Place], held: &[Option<Feed>]) {
        for (place, held) in places.iter_mut().zip(held) {
            place.holds = *held;
        }
    }

    const LIMITS: Limits = Limits { may_receive: Permissions::ALL, loudest: 2 };

    #[test]
    fn a_users_sound_and_picture_share_a_pair_in_whatever_order_they_come() {
        let mut places = places(3, 3);
        let first = assign(&places, &candidates(&[mic(A), mic(B)]), LIMITS);
        assert_eq!(first, [Some(mic(A)), Some(mic(B)), None, None, None, None]);
        hold(&mut places, &first);
        let second = assign(&places, &candidates(&[cam(B), mic(B), mic(A), cam(C), mic(C)]), LIMITS);
        assert_eq!(second, [Some(mic(A)), Some(mic(B)), Some(mic(C)), None, Some(cam(B)), Some(cam(C))]);
    }

    #[test]
    fn who_stays_is_not_moved_when_another_leaves_or_comes() {
        let mut places = places(2, 2);
        hold(&mut places, &[Some(mic(A)), Some(mic(B)), Some(cam(A)), Some(cam(B))]);
        let left = assign(&places, &candidates(&[mic(B), cam(B)]), LIMITS);
        assert_eq!(left, [None, Some(mic(B)), None, Some(cam(B))]);
        hold(&mut places, &left);
        let came = assign(&places, &candidates(&[mic(C), cam(C), mic(B), cam(B)]), LIMITS);
        assert_eq!(came, [Some(mic(C)), Some(mic(B)), Some(cam(C)), Some(cam(B))]);
    }

    #[test]
    fn with_more_speakers_than_slots_the_first_few_are_heard() {
        let mut places = places(3, 0);
        hold(&mut places, &[Some(mic(4)), Some(mic(5)), None]);
        let heard = assign(&places, &candidates(&[mic(1), mic(5), mic(3), mic(4)]), LIMITS);
        assert_eq!(heard, [Some(mic(1)), Some(mic(5)), None], "two are heard, one of them where it was");
    }

    #[test]
    fn cameras_that_are_off_give_way_and_a_screen_comes_first() {
        let places = places(0, 2);
        let mut all = candidates(&[cam(A), cam(B), screen(C), cam(C)]);
        all[0].active = false;
        assert_eq!(assign(&places, &all, LIMITS), [Some(cam(B)), Some(screen(C))]);
        all[2].active = false;
        assert_eq!(assign(&places, &all, LIMITS), [Some(cam(B)), Some(cam(C))]);
    }

    #[test]
    fn of_those_who_never_spoke_whom_the_viewer_has_stays() {
        let mut places = places(0, 2);
        hold(&mut places, &[Some(cam(C)), None]);
        let mut all = candidates(&[cam(A), cam(B), cam(C)]);
        all.iter_mut().for_each(|candidate| candidate.rank = 0);
        assert_eq!(assign(&places, &all, LIMITS), [Some(cam(C)), Some(cam(A))]);
    }

    #[test]
    fn the_viewers_word_comes_before_the_servers() {
        let mut places = places(2, 2);
        places[2].wish = Wish::Show(cam(C));
        places[3].wish = Wish::Empty;
        places[3].holds = Some(cam(A));
        places[0].wish = Wish::Show(cam(A));
        let shown = assign(&places, &candidates(&[mic(A), cam(A), mic(C), cam(C)]), LIMITS);
        assert_eq!(
            shown,
            [None, Some(mic(A)), Some(cam(C)), None],
            "a picture is no wish for an audio slot; one audio slot is left"
        );
        let gone = assign(&places, &candidates(&[mic(A)]), LIMITS);
        assert_eq!(gone, [None, Some(mic(A)), None, None], "who is not there cannot be shown");
    }

    #[test]
    fn nobody_is_shown_what_they_may_not_receive_and_nobody_twice() {
        let limits = Limits { may_receive: Permissions { audio: true, video: false, screen: false }, ..LIMITS };
        let mut places = places(2, 2);
        places[2].wish = Wish::Show(cam(A));
        assert_eq!(
            assign(&places, &candidates(&[mic(A), cam(A), screen(A)]), limits),
            [Some(mic(A)), None, None, None]
        );
        places[3].wish = Wish::Show(cam(A));
        assert_eq!(assign(&places, &candidates(&[cam(A)]), LIMITS), [None, None, Some(cam(A)), None]);
    }
}
