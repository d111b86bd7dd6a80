//! How the bandwidth to each viewer is shared among its slots, some times a second, and what follows from it: what the slots show, what
//! publishers need not send, what the viewers are told.

use std::time::{Duration, Instant};

use super::allocate::{self, Priority, Rung, Want};
use super::layer::Layer;
use super::peer::Pacing;
use super::publisher::Home;
use super::report::{EncodingState, Report};
use super::room::{Room, Turn};
use super::route::Origin;
use super::slot::{Grant, Redundancy, Slot};
use crate::base::Source;

/// Shares are drawn up so often. Shorter costs time for every viewer, longer lets queues grow.
pub const SHARE_INTERVAL: Duration = Duration::from_millis(200);

/// What one voice takes with its headers, in bits per second.
const VOICE: u64 = 40_000;
/// Its redundancy takes so much more each time it is said again, which all voices together may up to this part of the path: unless packets
/// are lost and none waits.
const REDUNDANCY: u64 = 35_000;
const REDUNDANCY_SHARE: u64 = 10;
/// The bandwidth looked for is so many times what the slots would take: what goes up needs some room.
const LOOK_FOR: f64 = 1.3;
/// Never less than this: a probe for less than the path is known to carry would lower the estimate to what was probed for.
const LOOK_FOR_LEAST: u64 = 1_000_000;
/// A plan that differs by less is not worth telling the connection.
const PLAN_STEP: f64 = 0.05;

/// Packets that wait so long say that the path carries less than was thought.
const STRAINED: Duration = Duration::from_millis(250);
/// Who waits so long sees the past: the rest of it is left out, up to the next key frame. Longer than a key frame takes on a thin link.
const GIVEN_UP: Duration = Duration::from_millis(800);
/// A slot gets a fresh start at most so often.
const CUT_INTERVAL: Duration = Duration::from_secs(2);

/// Bits per second that video may take.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// By all slots together …
    usable: u64,
    /// … and by the smallest picture of each, however low its frame rate: it is not paused for a dip that may be over at once.
    least: u64,
    /// Packets are lost, but none waits: sending less would not help.
    only_lossy: bool,
}

/// On a path that loses packets without delaying any, an estimate of this share of the smallest pictures is believed to be enough for them.
const LOSSY_LEAST: f64 = 0.4;

/// What was chosen for one slot.
#[derive(Debug, Clone, Copy)]
struct Choice {
    slot: usize,
    given: Option<Rung>,
    /// It shows a larger picture than that.
    goes_down: bool,
    /// Than what the viewer wanted.
    layers_short: f32,
}

/// What was chosen for one viewer, in bits per second.
#[derive(Debug)]
struct Shares {
    choices: Vec<Choice>,
    had: u64,
    given: u64,
    wanted: u64,
    pacing: Pacing,
}

impl Room {
    /// Brings the ladders of what is sent here up to date.
    pub(super) fn survey_all(&mut self, now: Instant) {
        let here = self.publishers.iter_mut().flatten().filter(|publisher| publisher.home == Home::Here);
        for track in here.flat_map(|publisher| publisher.tracks.iter_mut().flatten()) {
            if track.source.is_video() {
                track.survey(now);
            }
        }
        self.span.surveyed(now);
    }

    /// Draws up everyone's share.
    pub(super) fn share_all(&mut self, turn: &mut Turn<'_>) {
        for seat in 0..self.seats.len() {
            self.relieve(seat, turn.now);
            self.share(seat, turn);
            self.want_missing(seat, turn.now);
        }
        self.replace_lost(turn.now);
        self.count_demand(turn);
        self.span.routes_changed();
    }

    /// Draws up the viewer's share: what each of its open video slots shows.
    pub(super) fn share(&mut self, seat: usize, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Some(member) = &mut self.seats[seat] else { return };
        let (usable, waits) = (member.budget.usable(now), member.peer.path_waits());
        // The round trip is of a while ago.
        let only_lossy = member.budget.is_only_lossy() && !waits;
        let speakers = member.slots.iter().filter(|slot| slot.kind.is_audio() && slot.is_open()).count() as u64;
        let affords = |times| usable.is_none_or(|usable| usable >= speakers * times * REDUNDANCY * REDUNDANCY_SHARE);
        let (redundancy, times) = match () {
            () if !affords(1) && !only_lossy => (Redundancy::Spared, 0),
            () if affords(2) && only_lossy && member.budget.is_very_lossy() => (Redundancy::Deep, 2),
            () => (Redundancy::AsItComes, 1),
        };
        let audio = member.slots.iter_mut().filter(|slot| slot.kind.is_audio());
        audio.for_each(|slot| slot.set_redundancy(redundancy));
        let voices = speakers * (VOICE + times * REDUNDANCY);
        let budget = usable.map(|usable| Bounds {
            usable: usable.saturating_sub(voices),
            only_lossy,
            // Nobody's picture is paused before the estimate had time to grow.
            least: if member.budget.is_first_steps(now) {
                u64::MAX
            } else {
                member.budget.latest().unwrap_or(0).saturating_sub(voices)
            },
        });
        let shares = self.choose(seat, budget);
        if shares.choices.is_empty() {
            return;
        }
        let member = self.member_mut(seat);
        if budget.is_some_and(|budget| shares.had > budget.usable) {
            member.budget.lowered(now);
        } else if shares.given > shares.had {
            member.budget.raised(now);
        }
        let mut told = false;
        for choice in &shares.choices {
            let slot = &mut member.slots[choice.slot];
            told |= apply(slot, choice);
            if slot.pacing != shares.pacing
                && let Some(stream) = slot.stream()
            {
                slot.pacing = shares.pacing;
                member.peer.pace(stream, shares.pacing);
            }
        }
        let looked_for = ((shares.wanted as f64 * LOOK_FOR) as u64 + voices).max(LOOK_FOR_LEAST);
        if member.planned.abs_diff(looked_for) as f64 > looked_for as f64 * PLAN_STEP {
            member.planned = looked_for;
            member.peer.look_for(looked_for);
            self.touch(seat);
        }
        if told {
            self.member_mut(seat).version += 1;
            self.report_slots(seat, turn);
        }
    }

    /// Asks for the key frames that the viewer's slots wait for.
    pub(super) fn want_missing(&mut self, seat: usize, now: Instant) {
        let Some(member) = &self.seats[seat] else { return };
        let missing = |slot: &Slot| {
            let showing = slot.showing().filter(|showing| showing.open)?;
            Some((showing.origin, slot.waits_for()?))
        };
        let missing: Vec<(Origin, usize)> = member.slots.iter().filter_map(missing).collect();
        for (origin, encoding) in missing {
            self.want_key_frame(origin, encoding, now);
        }
    }

    fn choose(&self, seat: usize, bounds: Option<Bounds>) -> Shares {
        let member = self.seats[seat].as_ref().expect("a member has a share");
        let speaker = self.floor.dominant();
        let (mut slots, mut wants) = (Vec::new(), Vec::new());
        for (index, slot) in member.slots.iter().enumerate() {
            let Some(showing) = slot.showing().filter(|showing| showing.open && slot.kind.is_video()) else { continue };
            let Origin { member: publisher, source } = showing.origin;
            let track = self.publishers[publisher].as_ref().and_then(|publisher| publisher.track(source));
            let Some(track) = track.filter(|track| !track.ladder.is_empty()) else { continue };
            let priority = match source {
                Source::Screen => Priority::Screen,
                _ if speaker == Some(showing.feed.publisher) => Priority::Speaker,
                _ => Priority::Other,
            };
            slots.push(index);
            wants.push(Want {
                ladder: &track.ladder,
                max_height: slot.max_height,
                priority,
                present: place_of(slot.grant, &track.ladder),
            });
        }
        let lowest: u64 = wants.iter().map(|want| want.ladder[0].bitrate).sum();
        let full_rate: u64 = wants.iter().map(Want::least_at_full_rate).sum();
        let lossy = bounds.is_some_and(|bounds| {
            let enough = bounds.least as f64 >= full_rate as f64 * LOSSY_LEAST;
            bounds.only_lossy && enough && bounds.usable < full_rate * 2
        });
        let budget = bounds.map(|bounds| {
            let least = if lossy { full_rate + full_rate / 4 } else { bounds.least.min(lowest + lowest / 4) };
            bounds.usable.max(least)
        });
        let given = allocate::allocate(budget, &wants);
        let pacing = if lossy { Pacing::Free } else { Pacing::Paced };
        let mut shares = Shares { choices: Vec::with_capacity(wants.len()), had: 0, given: 0, wanted: 0, pacing };
        for ((slot, want), given) in slots.into_iter().zip(&wants).zip(given) {
            let bitrate = |rung: Option<usize>| rung.map_or(0, |rung| want.ladder[rung].bitrate);
            shares.had += bitrate(want.present);
            shares.given += bitrate(given);
            shares.wanted += bitrate(want.ceiling());
            let on = member.slots[slot].switch.on_encoding();
            let on = want.ladder.iter().position(|rung| Some(rung.encoding) == on);
            let goes_down = on.is_some_and(|on| given.is_none_or(|given| given < on));
            let layers_short = want.layers_short(given);
            shares.choices.push(Choice { slot, given: given.map(|rung| want.ladder[rung]), goes_down, layers_short });
        }
        shares
    }

    /// Looks at what waits to be sent to the viewer: a queue that grows says more, and sooner, than the estimate.
    fn relieve(&mut self, seat: usize, now: Instant) {
        let Some(member) = &mut self.seats[seat] else { return };
        let mut strained = false;
        for slot in member.slots.iter_mut().filter(|slot| slot.kind.is_video()) {
            let Some(stream) = slot.stream() else { continue };
            let waiting = member.peer.backlog(stream, now);
            strained |= waiting >= STRAINED;
            if waiting >= GIVEN_UP && slot.cut_at.is_none_or(|at| now >= at + CUT_INTERVAL) {
                slot.cut_at = Some(now);
                slot.switch.restart();
                member.peer.give_up(stream);
            }
        }
        if strained {
            member.budget.strained(now);
        }
    }

    /// Asks for a key frame where something that viewers are shown is lost for good: they would find out later.
    fn replace_lost(&mut self, now: Instant) {
        let mut lost = Vec::new();
        for (member, publisher) in self.publishers.iter_mut().enumerate() {
            let tracks = publisher.iter_mut().flat_map(|publisher| publisher.tracks.iter_mut().flatten());
            for track in tracks.filter(|track| track.source.is_video()) {
                let origin = Origin { member, source: track.source };
                let broken = track
                    .encodings
                    .iter_mut()
                    .enumerate()
                    .filter_map(|(index, e)| e.gaps.take_lost(now).then_some(index));
                lost.extend(broken.map(|encoding| (origin, encoding)));
            }
        }
        for (origin, encoding) in lost {
            if self.watched(origin) & 1 << encoding != 0 {
                self.want_key_frame(origin, encoding, now);
            }
        }
    }

    /// Tells publishers which of their encodings are watched. The smallest always is: who begins to watch has it at once, and a source of
    /// which nothing comes would count as switched off.
    pub(super) fn count_demand(&mut self, turn: &mut Turn<'_>) {
        let layered: Vec<Origin> = self
            .publishers()
            .filter(|(_, publisher)| publisher.home == Home::Here)
            .flat_map(|(member, publisher)| publisher.tracks.iter().flatten().map(move |track| (member, track)))
            .filter(|(_, track)| track.encodings.len() > 1)
            .map(|(member, track)| Origin { member, source: track.source })
            .collect();
        for origin in layered {
            self.note_demand(origin, self.watched(origin) | self.watched_elsewhere(origin), turn);
        }
    }

    /// A bit for each encoding that a slot shows or will show.
    pub(super) fn watched(&self, origin: Origin) -> u32 {
        let receivers = self.routes.receivers(origin).iter();
        let slots = receivers.filter_map(|receiver| self.seats[receiver.member].as_ref()?.slots.get(receiver.slot));
        slots
            .flat_map(|slot| [slot.switch.target(), slot.switch.on_encoding()])
            .flatten()
            .fold(0, |bits, e| bits | 1 << e)
    }

    fn note_demand(&mut self, origin: Origin, watched: u32, turn: &mut Turn<'_>) {
        let publisher = self.publisher_mut(origin.member);
        let peer = publisher.id;
        let Some(track) = publisher.track_mut(origin.source) else { return };
        let smallest = track.ladder.first().map(|rung| rung.encoding);
        let mut told = false;
        for (index, encoding) in track.encodings.iter_mut().enumerate() {
            told |= if Some(index) == smallest || watched & 1 << index != 0 {
                encoding.demand.watched(turn.now)
            } else {
                encoding.demand.unwatched(turn.now)
            };
        }
        let Ok(mid) = track.mid.parse() else { return };
        if told {
            let state = |encoding: &super::publish::Encoding| EncodingState {
                rid: encoding.rid.map(|rid| rid.to_string()),
                active: encoding.demand.is_active(),
                max_bitrate: None,
            };
            let encodings = track.encodings.iter().map(state).collect();
            turn.outbox.reports.push_back(Report::Encodings { peer, mid, encodings });
        }
    }
}

/// Where on the ladder a slot stands; when its layer is not on it any more, the best under it of the same encoding.
fn place_of(grant: Grant, ladder: &[Rung]) -> Option<usize> {
    let Grant::Up { encoding, layer } = grant else { return None };
    ladder.iter().rposition(|rung| rung.encoding == encoding && rung.layer <= layer)
}

/// True: the viewer must be told.
fn apply(slot: &mut Slot, choice: &Choice) -> bool {
    let was_paused = slot.grant == Grant::Paused;
    slot.layers_short = choice.layers_short;
    match choice.given {
        Some(rung) => {
            slot.grant = Grant::Up { encoding: rung.encoding, layer: rung.layer };
            slot.switch.aim(Some(rung.encoding));
            if slot.switch.on_encoding() == Some(rung.encoding) {
                slot.thinner.aim(rung.layer);
            } else if choice.goes_down {
                // Until the smaller picture's key frame comes, fewer of the larger one.
                slot.thinner.aim(Layer { temporal: 0, ..Layer::TOP });
            }
        }
        None => {
            slot.grant = Grant::Paused;
            slot.switch.aim(None);
        }
    }
    was_paused != (slot.grant == Grant::Paused)
}
