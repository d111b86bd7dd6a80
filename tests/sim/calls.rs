//! Control under random users: rings, races, drops, resumes, second log-ins, expiry, crashes; the contract's rules hold throughout.

use std::time::Duration;

use callisto::base::{CallId, PeerId, SessionId, Source, UserId};
use callisto::control::input::Target;
use callisto::control::{Input, Message, Request};
use callisto::event::{CallMediaType, RoomId};
use callisto::media::{Connection, Report};

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

    fn step(&mut self, group_calls: bool, crashes: bool) {
        match self.random.below(100) {
            0..=9 => {
                let user = self.any_user();
                self.log_in(&user, None);
            }
            10..=13 => {
                let away: Vec<(UserId, SessionId)> = self
                    .devices
                    .iter()
                    .filter(|d| d.connection.is_none())
                    .map(|d| (d.user.clone(), d.session))
                    .collect();
                if let Some((user, session)) = self.random.pick(&away).cloned() {
                    self.log_in(&user, Some(session));
                }
            }
            14..=18 => {
                if let Some(device) = self.any_device() {
                    let connection = device.connection.expect("picked for it");
                    self.devices.iter_mut().find(|d| d.session == device.session).expect("known").connection = None;
                    self.apply(Input::Dropped { session: device.session, connection });
                }
            }
            19..=68 => {
                if let Some(device) = self.any_device() {
                    let body = self.any_request(group_calls);
                    self.request(&device, body);
                }
            }
            69..=83 => {
                if let Some(report) = self.any_report() {
                    self.apply(Input::Media(report));
                }
            }
            84 if crashes => self.crash(),
            84..=97 => {
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

fn run(seed: u64, sessions_per_user: usize, group_calls: bool, crashes: bool) {
    let mut world = World::new(seed, settings(sessions_per_user, 5));
    for n in 0..USERS {
        world.log_in(&user(n), None);
    }
    for _ in 0..STEPS {
        world.step(group_calls, crashes);
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
    for_each_seed(2000, |seed| run(seed, 1, false, false));
}

#[test]
fn group_calls_with_several_devices_keep_the_contract() {
    for_each_seed(2000, |seed| run(seed, 3, true, false));
}

#[test]
fn calls_keep_the_contract_across_crashes() {
    for_each_seed(2000, |seed| run(seed, 2, true, true));
}

#[test]
fn a_draining_node_takes_no_calls_and_says_when_the_last_is_over() {
    for_each_seed(500, |seed| {
        let mut world = World::new(seed, settings(2, 5));
        for n in 0..USERS {
            world.log_in(&user(n), None);
        }
        for _ in 0..STEPS / 2 {
            world.step(true, false);
        }
        let open = world.state.calls().count();
        let turn = world.apply(Input::Drain { within: Duration::from_secs(3) });
        assert_eq!(turn.drained, open == 0);
        let told = turn.tells.iter().filter(|(_, message)| matches!(message, Message::Stopping { .. })).count();
        assert_eq!(told, world.state.session_count(), "every session is told once");
        for _ in 0..STEPS / 2 {
            let open = world.state.calls().count();
            world.step(true, false);
            assert!(world.state.calls().count() <= open, "a call was taken on");
        }
        assert!(!world.state.takes_calls());
        assert!(world.apply(Input::EndCalls).drained);
        world.rules.every_call_is_over();
    });
}
