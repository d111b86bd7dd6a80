//! Who joins which room, sends what, and how long it takes.

use std::time::Duration;

use super::link::Impairment;

/// Clients of one run; beyond it a machine has no ports left for others.
pub const MAX_CLIENTS: usize = 10_000;
/// A run is over after this, whatever was asked for.
pub const MAX_DURATION: Duration = Duration::from_secs(3600);
/// A member of a room of n receives at most so many others.
const MAX_SLOTS: usize = 16;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// In each of `rooms`, one publishes to so many.
    OneToMany { receivers: usize, rooms: usize },
    /// Everyone in each of `rooms` publishes to everyone else in it.
    Rooms { members: usize, rooms: usize },
}

/// How a frame's packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pattern {
    /// All at once, as browsers send them.
    #[default]
    Burst,
    /// Spread over the time to the next frame.
    Even,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub scenario: Scenario,
    /// Measured, once everyone is in.
    pub duration: Duration,
    /// Joins a second.
    pub joins_a_second: u32,
    /// Members but for the first of each room leave after so long and come back.
    pub stay: Option<Duration>,
    pub pattern: Pattern,
    /// Frames a second of a publisher's video, and packets of a frame; no frames: no video.
    pub frames_a_second: u32,
    pub packets_a_frame: u32,
    /// Bytes of a video packet's payload.
    pub payload: usize,
    pub audio: bool,
    pub up: Impairment,
    pub down: Impairment,
}

/// One client's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    pub client: usize,
    pub room: usize,
    pub publishes: bool,
    /// Receiving m-lines of each kind.
    pub slots: usize,
    /// It is never sent away.
    pub stays: bool,
}

/// Why a plan cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{0} clients are more than {MAX_CLIENTS}")]
    TooMany(usize),
    #[error("a room needs somebody to send and somebody to receive")]
    Lonely,
    #[error("the duration is 1s to {}s", MAX_DURATION.as_secs())]
    Duration,
    #[error("joins a second are 1 to 1000")]
    Joins,
    #[error("somebody who leaves stays for a second at least")]
    Stay,
    #[error(
        "frames a second are 0 to 120, packets of a frame 1 to 100, a payload 40 to 1200 bytes, and there is video or audio"
    )]
    Media,
    #[error("a loss is 0 to 1, a rate 16 kbit/s at least")]
    Link,
}

impl Plan {
    /// # Errors
    /// What is out of bounds.
    pub fn check(&self) -> Result<(), Unfit> {
        let clients = self.clients();
        let alone = match self.scenario {
            Scenario::OneToMany { receivers, rooms } => receivers == 0 || rooms == 0,
            Scenario::Rooms { members, rooms } => members < 2 || rooms == 0,
        };
        let video = self.frames_a_second == 0
            || ((1..=120).contains(&self.frames_a_second)
                && (1..=100).contains(&self.packets_a_frame)
                && (40..=1200).contains(&self.payload));
        match () {
            () if alone => Err(Unfit::Lonely),
            () if clients > MAX_CLIENTS => Err(Unfit::TooMany(clients)),
            () if self.duration < Duration::from_secs(1) || self.duration > MAX_DURATION => Err(Unfit::Duration),
            () if !(1..=1000).contains(&self.joins_a_second) => Err(Unfit::Joins),
            () if self.stay.is_some_and(|stay| stay < Duration::from_secs(1)) => Err(Unfit::Stay),
            () if !video || (self.frames_a_second == 0 && !self.audio) => Err(Unfit::Media),
            () if !self.up.is_sound() || !self.down.is_sound() => Err(Unfit::Link),
            () => Ok(()),
        }
    }

    pub fn clients(&self) -> usize {
        match self.scenario {
            Scenario::OneToMany { receivers, rooms } => receivers.saturating_add(1).saturating_mul(rooms),
            Scenario::Rooms { members, rooms } => members.saturating_mul(rooms),
        }
    }

    /// Everyone's part, in the order in which they join: those who publish first, so that nobody waits for them.
    pub fn roles(&self) -> Vec<Role> {
        let (rooms, members) = match self.scenario {
            Scenario::OneToMany { receivers, rooms } => (rooms, receivers + 1),
            Scenario::Rooms { members, rooms } => (rooms, members),
        };
        let role = |member: usize, room: usize| {
            let first = member == 0;
            let (publishes, slots) = match self.scenario {
                Scenario::OneToMany { .. } => (first, usize::from(!first)),
                Scenario::Rooms { members, .. } => (true, (members - 1).min(MAX_SLOTS)),
            };
            Role { client: member * rooms + room, room, publishes, slots, stays: first }
        };
        (0..members).flat_map(|member| (0..rooms).map(move |room| role(member, room))).collect()
    }

    /// How long everyone has to come in.
    pub fn arrival(&self) -> Duration {
        Duration::from_secs_f64(self.clients() as f64 / f64::from(self.joins_a_second)) + Duration::from_secs(20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn plan(scenario: Scenario) -> Plan {
        Plan {
            scenario,
            duration: Duration::from_secs(10),
            joins_a_second: 20,
            stay: None,
            pattern: Pattern::Burst,
            frames_a_second: 30,
            packets_a_frame: 10,
            payload: 1000,
            audio: true,
            up: Impairment::NONE,
            down: Impairment::NONE,
        }
    }

    #[test]
    fn one_publishes_and_the_others_receive() {
        let roles = plan(Scenario::OneToMany { receivers: 3, rooms: 2 }).roles();
        assert_eq!(roles.len(), 8);
        assert_eq!(roles.iter().filter(|role| role.publishes).count(), 2);
        assert!(roles[..2].iter().all(|role| role.publishes && role.stays && role.slots == 0));
        assert!(roles[2..].iter().all(|role| role.slots == 1));
        let mut clients: Vec<usize> = roles.iter().map(|role| role.client).collect();
        clients.sort_unstable();
        assert_eq!(clients, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn everyone_in_a_room_has_a_slot_for_everyone_else() {
        let roles = plan(Scenario::Rooms { members: 4, rooms: 3 }).roles();
        assert_eq!(roles.len(), 12);
        assert!(roles.iter().all(|role| role.publishes && role.slots == 3));
        assert_eq!(roles.iter().filter(|role| role.stays).count(), 3);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let good = plan(Scenario::OneToMany { receivers: 1, rooms: 1 });
        assert_eq!(good.check(), Ok(()));
        let table = [
            (Plan { scenario: Scenario::OneToMany { receivers: 0, rooms: 1 }, ..good.clone() }, Unfit::Lonely),
            (Plan { scenario: Scenario::Rooms { members: 1, rooms: 9 }, ..good.clone() }, Unfit::Lonely),
            (
                Plan { scenario: Scenario::Rooms { members: 9000, rooms: 9000 }, ..good.clone() },
                Unfit::TooMany(81_000_000),
            ),
            (Plan { duration: Duration::from_secs(3601), ..good.clone() }, Unfit::Duration),
            (Plan { joins_a_second: 0, ..good.clone() }, Unfit::Joins),
            (Plan { stay: Some(Duration::ZERO), ..good.clone() }, Unfit::Stay),
            (Plan { frames_a_second: 0, audio: false, ..good.clone() }, Unfit::Media),
            (Plan { payload: 9000, ..good.clone() }, Unfit::Media),
            (Plan { up: Impairment { loss: 1.5, rate: None }, ..good.clone() }, Unfit::Link),
        ];
        for (plan, unfit) in table {
            assert_eq!(plan.check(), Err(unfit));
        }
    }
}
