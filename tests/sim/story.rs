//! A story of one call: people by name, each on one device or several, and what they have been told.

use std::sync::Arc;
use std::time::Duration;

use callisto::base::{CallId, PeerId, Source, UserId};
use callisto::call::Refusal;
use callisto::control::{Answer, Denial, Input, Message, Operation, Order, Reply, Request};
use callisto::event::{CallMediaType, Event, EventKind, RoomId};
use callisto::media::{Command, Report};
use serde_json::Value;

use crate::world::{Device, World, settings};

/// A story of one call: people by name, each on one device, and what they have been told.
pub struct Story {
    pub world: World,
    pub call: Option<CallId>,
    pub told: Vec<(String, Event)>,
    pub facts: Vec<(EventKind, Value)>,
}

impl Story {
    pub fn of(people: &[&str]) -> Self {
        Self::with_sessions(people, 1)
    }

    pub fn with_sessions(people: &[&str], sessions_per_user: usize) -> Self {
        let mut world = World::new(1, settings(sessions_per_user, 32));
        world.expire_after = Some(Duration::from_secs(100_000));
        for name in people {
            world.log_in(&name.parse().unwrap(), None);
        }
        Self { world, call: None, told: Vec::new(), facts: Vec::new() }
    }

    pub fn device(&self, name: &str) -> Device {
        self.nth_device(name, 0)
    }

    pub fn nth_device(&self, name: &str, n: usize) -> Device {
        self.world.devices.iter().filter(|device| device.user.as_str() == name).nth(n).expect("logged in").clone()
    }

    pub fn heard(&mut self, turn: callisto::control::Turn, devices: &[Device]) {
        for (session, message) in turn.tells {
            if let Message::Event { event, .. } = message {
                let nth = |device: &Device| {
                    let same: Vec<_> = devices.iter().filter(|other| other.user == device.user).collect();
                    same.iter().position(|other| other.session == device.session).expect("one of them")
                };
                // What is told to a session that is gone reaches nobody.
                let Some(device) = devices.iter().find(|device| device.session == session) else { continue };
                let name = match nth(device) {
                    0 => device.user.to_string(),
                    n => format!("{}#{}", device.user, n + 1),
                };
                self.told.push((name, Arc::unwrap_or_clone(event)));
            }
        }
        for fact in turn.facts {
            let json: Value = serde_json::from_slice(&fact.to_json()).unwrap();
            self.facts.push((fact.event.kind(), json["data"].clone()));
        }
    }

    pub fn request_of(&mut self, device: &Device, body: Request) -> Result<Reply, Refusal> {
        let devices = self.world.devices.clone();
        let (turn, reply) = self.world.request(device, body);
        self.heard(turn, &devices);
        reply.expect("answered at once")
    }

    pub fn asks(&mut self, name: &str, body: Request) -> Result<Reply, Refusal> {
        self.request_of(&self.device(name), body)
    }

    pub fn calls(&mut self, caller: &str, callees: &[&str], group_id: &str) -> CallId {
        let call = self.places(caller, callees, group_id, RoomId::Int(7));
        self.call = Some(call);
        call
    }

    pub fn places(&mut self, caller: &str, callees: &[&str], group_id: &str, room: RoomId) -> CallId {
        let users = callees.iter().map(|name| name.parse().unwrap()).collect();
        let reply = self.asks(
            caller,
            Request::Call {
                users,
                media_type: CallMediaType::Video,
                room: Some(room),
                group_id: group_id.into(),
                timeout: None,
                user_data: "data".into(),
                webhook: None,
            },
        );
        let Ok(Reply::Placed { call, .. }) = reply else { panic!("{reply:?}") };
        call
    }

    pub fn accepts(&mut self, name: &str) {
        let call = self.call.unwrap();
        self.asks(name, Request::Accept { call }).unwrap();
    }

    pub fn rejects(&mut self, name: &str) {
        let call = self.call.unwrap();
        self.asks(name, Request::Reject { call }).unwrap();
    }

    pub fn hangs_up(&mut self, name: &str) {
        let call = self.call.unwrap();
        self.asks(name, Request::HangUp { call }).unwrap();
    }

    pub fn input(&mut self, input: Input) {
        let devices = self.world.devices.clone();
        let turn = self.world.apply(input);
        self.heard(turn, &devices);
    }

    pub fn passes(&mut self, span: Duration) {
        self.world.now = self.world.now + span;
        self.input(Input::Tick);
    }

    /// What the backend asks.
    pub fn operates(&mut self, body: Operation) -> Result<Answer, Denial> {
        let devices = self.world.devices.clone();
        let (turn, answer) = self.world.operate(body);
        self.heard(turn, &devices);
        answer
    }

    /// What the server does to the story's call.
    pub fn orders(&mut self, order: Order) -> Result<Answer, Denial> {
        let call = self.call.unwrap();
        self.operates(Operation::Order { call, order })
    }

    /// Another log-in of a user, whose devices by then are counted anew.
    pub fn logs_in(&mut self, name: &str) {
        let mut devices = self.world.devices.clone();
        let turn = self.world.log_in(&name.parse().unwrap(), None);
        devices.extend(self.world.devices.last().cloned());
        self.heard(turn, &devices);
    }

    /// Makes the member's microphone and camera arrive at the server.
    pub fn sends_media(&mut self, name: &str) -> PeerId {
        let (call, device) = (self.call.unwrap(), self.device(name));
        let (turn, _) = self.world.request(&device, Request::Offer { call, sdp: String::new(), sources: vec![] });
        let peer = turn.media.iter().find_map(|command| match command {
            Command::Offer { peer, .. } => Some(*peer),
            _ => None,
        });
        let peer = peer.expect("an offer goes to the media plane");
        for source in [Source::Camera, Source::Microphone] {
            self.input(Input::Media(Report::Flowing { peer, source, flowing: true }));
        }
        peer
    }

    /// The backend's account of the last fact.
    pub fn last_fact(&self) -> &Value {
        &self.facts.last().expect("something happened").1
    }

    pub fn drops(&mut self, name: &str) {
        let device = self.device(name);
        let connection = device.connection.expect("connected");
        self.input(Input::Dropped { session: device.session, connection });
    }

    /// What this person was told since the last time anyone asked, as short texts; telemetry aside.
    pub fn events(&mut self, name: &str) -> Vec<String> {
        let of_them = |(who, event): &(String, Event)| {
            let telemetry = event.kind() == EventKind::UserNetworkQualityChanged;
            (who == name && !telemetry).then(|| short(event))
        };
        let events = self.told.iter().filter_map(of_them).collect();
        self.told.retain(|(who, _)| who != name);
        events
    }

    /// The levels of one user that another was told of since the last time anyone asked.
    pub fn quality_of(&mut self, listener: &str, of: &str) -> Vec<&'static str> {
        let level = |(who, event): &(String, Event)| match event {
            Event::UserNetworkQualityChanged { network_quality } if who == listener => {
                network_quality.get(&user(of)).map(|level| level.name())
            }
            _ => None,
        };
        let levels = self.told.iter().filter_map(level).collect();
        self.told.retain(|(who, event)| who != listener || event.kind() != EventKind::UserNetworkQualityChanged);
        levels
    }

    pub fn stream(&mut self) -> Vec<String> {
        let facts = std::mem::take(&mut self.facts);
        facts
            .into_iter()
            .map(|(kind, data)| match (kind, data["userId"].as_str(), data["reason"].as_str()) {
                (_, Some(user), _) => match data["isVideoAvailable"].as_bool().or(data["isAudioAvailable"].as_bool()) {
                    Some(on) => format!("{kind} {user} {on}"),
                    None => format!("{kind} {user}"),
                },
                (_, None, Some(reason)) => format!("{kind} {reason}"),
                _ => kind.to_string(),
            })
            .collect()
    }
}

pub fn short(event: &Event) -> String {
    let kind = event.kind();
    match event {
        Event::CallReceived { caller_id, .. } | Event::CallCancelled { caller_id } => format!("{kind} {caller_id}"),
        Event::CallBegin { call_role, .. } => format!("{kind} {call_role:?}"),
        Event::CallEnd { call_role, total_time, .. } => format!("{kind} {call_role:?} {total_time}"),
        Event::UserReject { user_id }
        | Event::UserNoResponse { user_id }
        | Event::UserLineBusy { user_id }
        | Event::UserInviting { user_id }
        | Event::UserJoin { user_id }
        | Event::UserLeave { user_id } => format!("{kind} {user_id}"),
        Event::UserVideoAvailable { user_id, is_video_available: on }
        | Event::UserAudioAvailable { user_id, is_audio_available: on } => format!("{kind} {user_id} {on}"),
        _ => kind.to_string(),
    }
}

pub fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub const SECOND: Duration = Duration::from_secs(1);
