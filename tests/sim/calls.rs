//! Control under random users, backends and disks: rings, races, drops, resumes, second log-ins, expiry, keys to rooms, orders of the server,
//! crashes; the contract's rules hold throughout.

use std::time::Duration;

use callisto::base::{CallId, PeerId, Quality, RoomKey, SessionId, Source, UserId, Volume};
use callisto::control::input::Target;
use callisto::control::{CallQuery, Grant, Input, Message, Operation, Order, Placement, Renewal, Request, RequestId};
use callisto::event::{CallMediaType, RoomId};
use callisto::media::{Connection, Direction, OfferError, PeerQuality, Report};

use crate::for_each_seed;
use crate::world::{Device, World, settings};

const USERS: u64 = 7;
const STEPS: u64 = 120;

fn user(n: u64) -> UserId {
    format!("u{n}").parse().expect("a user id")
}

impl World {
    fn any_user(&mut self) -> UserId {
        user(self.random.below(USERS))
    }

    fn any_device(&mut self) -> Option<Device> {
        let devices: Vec<Device> = self.devices.iter().filter(|d| d.connection.is_some()).cloned().collect();
        self.random.pick(&devices).cloned()
    }

    fn any_call(&mut self) -> CallId {
        let mut calls: Vec<CallId> = self.state.calls().map(|room| room.call.id()).collect();
        calls.sort();
        self.random.pick(&calls).copied().unwrap_or(CallId::from_u128(1))
    }

    fn users(&mut self, most: u64) -> Vec<UserId> {
        (0..=self.random.below(most)).map(|_| self.any_user()).collect()
    }

    fn any_request(&mut self, group_calls: bool) -> Request {
        let call = self.any_call();
        match self.random.below(14) {
            0..=2 => Request::Call {
                users: self.users(if group_calls { 4 } else { 1 }),
                media_type: CallMediaType::Video,
                room: self.random.chance(20).then(|| RoomId::Str(format!("r{}", self.random.below(3)))),
                group_id: if self.random.chance(20) { "g".into() } else { String::new() },
                timeout: None,
                user_data: String::new(),
                webhook: None,
            },
            3..=5 => Request::Accept { call },
            6 => Request::Reject { call },
            7 => Request::HangUp { call },
            8 => Request::Invite { call, users: self.users(2), timeout: None },
            9 => Request::Join { target: Target::Call(call), media_type: CallMediaType::Video },
            10 => {
                let room = RoomId::Str(format!("r{}", self.random.below(3)));
                Request::Join { target: Target::Room(room), media_type: CallMediaType::Voice }
            }
            11 => Request::SwitchMediaType { call, to: CallMediaType::Voice },
            12 => Request::Offer { call, sdp: String::new(), sources: vec![] },
            _ => {
                let muted = self.random.chance(50);
                Request::Mute { call, source: Source::Camera, muted }
            }
        }
    }

    fn any_report(&mut self) -> Option<Report> {
        if self.random.chance(20)
            && let Some((peer, request)) = self.offers.pop()
        {
            let result = if self.random.chance(80) { Ok("sdp".to_owned()) } else { Err(OfferError::Full) };
            return Some(Report::Answered { peer, request, result });
        }
        if self.random.chance(20) {
            return self.any_telemetry();
        }
        let peers = self.peers.clone();
        let peer: PeerId = *self.random.pick(&peers)?;
        let flowing = self.random.chance(70);
        Some(match self.random.below(6) {
            0 => Report::Connection { peer, state: Connection::Connected },
            1 => Report::Connection { peer, state: Connection::Silent },
            2 if self.random.chance(30) => {
                self.peers.retain(|known| *known != peer);
                Report::Connection { peer, state: Connection::Closed }
            }
            2 | 3 => Report::Flowing { peer, source: Source::Camera, flowing },
            _ => Report::Flowing { peer, source: Source::Microphone, flowing },
        })
    }

    /// Volumes and qualities of a room, of some that are in it and of others.
    fn any_telemetry(&mut self) -> Option<Report> {
        let mut rooms: Vec<RoomKey> = self.state.calls().map(|room| room.key).collect();
        rooms.sort();
        let room = *self.random.pick(&rooms)?;
        let mut peers = self.peers.clone();
        peers.retain(|_| self.random.chance(60));
        if self.random.chance(50) {
            let mut volume = || Volume::from_audio_level(self.random.below(128) as u8);
            return Some(Report::Volumes { room, volumes: peers.into_iter().map(|peer| (peer, volume())).collect() });
        }
        let mut quality = || {
            let level = if self.random.chance(50) { Quality::Good } else { Quality::Bad };
            PeerQuality { level, up: Direction::default(), down: Direction::default() }
        };
        Some(Report::Quality { room, peers: peers.into_iter().map(|peer| (peer, quality())).collect() })
    }

    /// What a backend or an operator might ask, sensible or not.
    fn any_operation(&mut self) -> Operation {
        let (call, user) = (self.any_call(), self.any_user());
        let order = match self.random.below(10) {
            0 => return Operation::ListCalls(CallQuery { user: Some(user), limit: 3, ..CallQuery::default() }),
            1 => return Operation::ReadCall { call },
            2 => return Operation::ReadUser { user },
            3 | 4 => {
                return Operation::Place(Placement {
                    caller: user,
                    users: self.users(3),
                    media_type: CallMediaType::Voice,
                    room: None,
                    group_id: String::new(),
                    timeout: Some(Duration::from_secs(self.random.below(60) + 1)),
                    user_data: String::new(),
                    webhook: None,
                });
            }
            5 => Order::Dismiss,
            6 | 7 => {
                let ban = self.random.chance(60).then(|| Duration::from_secs(self.random.below(100) + 1));
                Order::Kick { user, ban }
            }
            _ => {
                let source = if self.random.chance(50) { Source::Microphone } else { Source::Camera };
                Order::Mute { user, source, muted: self.random.chance(60) }
            }
        };
        Operation::Order { call, order }
    }

    /// Some log in with a key to one room, and to some of what one does there.
    fn any_grant(&mut self) -> Option<Grant> {
        self.random.chance(15).then(|| Grant {
            room: RoomId::Str(format!("r{}", self.random.below(3))),
            create: self.random.chance(50),
            enter: self.random.chance(80),
            send_audio: self.random.chance(50),
            receive_audio: true,
            send_video: self.random.chance(50),
            receive_video: true,
            send_screen: self.random.chance(50),
            receive_screen: true,
        })
    }

    fn comes(&mut self, user: &UserId, session: Option<SessionId>) {
        self.grant = self.any_grant();
        self.log_in(user, session);
    }

    fn comes_back(&mut self) {
        let gone = self.devices.iter().filter(|device| device.connection.is_none());
        let away: Vec<(UserId, SessionId)> = gone.map(|device| (device.user.clone(), device.session)).collect();
        if let Some((user, session)) = self.random.pick(&away).cloned() {
            self.comes(&user, Some(session));
        }
    }

    fn drops(&mut self) {
        if let Some(device) = self.any_device() {
            let connection = device.connection.expect("picked for it");
            self.devices.iter_mut().find(|other| other.session == device.session).expect("known").connection = None;
            self.apply(Input::Dropped { session: device.session, connection });
        }
    }

    fn renews(&mut self) {
        if let Some(Device { session, .. }) = self.any_device() {
            let (expires, request) = (self.now + self.lifetime(), RequestId(self.number().into()));
            let grant = self.any_grant();
            self.apply(Input::Renewed(Renewal { session, request, expires, grant }));
        }
    }

    fn step(&mut self, wild: Wild) {
        match self.random.below(100) {
            0..=9 => {
                let user = self.any_user();
                self.comes(&user, None);
            }
            10..=13 => self.comes_back(),
            14..=18 => self.drops(),
            19..=62 => {
                if let Some(device) = self.any_device() {
                    let body = self.any_request(wild.groups);
                    self.request(&device, body);
                }
            }
            63..=80 => {
                if let Some(report) = self.any_report() {
                    self.apply(Input::Media(report));
                }
            }
            81..=85 if wild.operations => {
                let operation = self.any_operation();
                let _ = self.operate(operation);
            }
            86 => self.renews(),
            87 if wild.crashes => self.crash(),
            88 if wild.crashes => {
                self.writable = !self.writable;
                self.apply(Input::LedgerHealth { writable: self.writable });
            }
            81..=97 => {
                let span = Duration::from_millis(self.random.below(9_000));
                self.pass(span);
            }
            _ => {
                let span = Duration::from_secs(self.random.below(600));
                self.pass(span);
            }
        }
    }
}

/// What a run may hold.
#[derive(Clone, Copy)]
struct Wild {
    sessions_per_user: usize,
    groups: bool,
    operations: bool,
    crashes: bool,
}

fn run(seed: u64, wild: Wild) {
    let mut world = World::new(seed, settings(wild.sessions_per_user, 5));
    for n in 0..USERS {
        world.log_in(&user(n), None);
    }
    for _ in 0..STEPS {
        world.step(wild);
    }
    // Everyone goes away for good.
    for device in world.devices.clone() {
        if let Some(connection) = device.connection {
            world.apply(Input::Dropped { session: device.session, connection });
        }
    }
    world.pass(Duration::from_secs(7200));
    world.rules.every_call_is_over();
    assert_eq!(world.state.calls().count(), 0);
    assert_eq!(world.state.session_count(), 0);
    assert_eq!(world.state.deadline(), None, "nothing is waited for in an empty world");
    assert!(world.peers.is_empty(), "the media plane was told to let every peer go");
}

#[test]
fn calls_between_two_keep_the_contract() {
    let wild = Wild { sessions_per_user: 1, groups: false, operations: false, crashes: false };
    for_each_seed(2000, |seed| run(seed, wild));
}

#[test]
fn group_calls_with_several_devices_keep_the_contract() {
    let wild = Wild { sessions_per_user: 3, groups: true, operations: false, crashes: false };
    for_each_seed(2000, |seed| run(seed, wild));
}

#[test]
fn calls_keep_the_contract_whatever_the_server_orders() {
    let wild = Wild { sessions_per_user: 2, groups: true, operations: true, crashes: false };
    for_each_seed(2000, |seed| run(seed, wild));
}

#[test]
fn calls_keep_the_contract_across_crashes() {
    let wild = Wild { sessions_per_user: 2, groups: true, operations: true, crashes: true };
    for_each_seed(3000, |seed| run(seed, wild));
}

#[test]
fn a_draining_node_takes_no_calls_and_says_when_the_last_is_over() {
    let wild = Wild { sessions_per_user: 2, groups: true, operations: true, crashes: false };
    for_each_seed(500, |seed| {
        let mut world = World::new(seed, settings(2, 5));
        for n in 0..USERS {
            world.log_in(&user(n), None);
        }
        for _ in 0..STEPS / 2 {
            world.step(wild);
        }
        let open = world.state.calls().count();
        let turn = world.apply(Input::Drain { within: Duration::from_secs(3) });
        assert_eq!(turn.drained, open == 0);
        let told = turn.tells.iter().filter(|(_, message)| matches!(message, Message::Stopping { .. })).count();
        assert_eq!(told, world.state.session_count(), "every session is told once");
        for _ in 0..STEPS / 2 {
            let open = world.state.calls().count();
            world.step(wild);
            assert!(world.state.calls().count() <= open, "a call was taken on");
        }
        assert!(!world.state.takes_calls());
        assert!(world.apply(Input::EndCalls).drained);
        world.rules.every_call_is_over();
    });
}
