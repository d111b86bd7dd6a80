//! A world around control: users with devices, their calls as clients would know them, a clock.

use std::collections::BTreeMap;
use std::time::Duration;

use callisto::base::{CallId, PeerId, SessionId, Timestamp, UserId};
use callisto::call::{Limits, Refusal};
use callisto::control::input::{LogIn, Restored};
use callisto::control::{
    Answer, ConnectionId, Denial, Grant, Input, Message, Moment, Operation, OperationId, Reply, Request, RequestId,
    Settings, State, Turn,
};
use callisto::media::Command;

use crate::Random;
use crate::rules::{self, Rules};

pub struct World {
    pub random: Random,
    pub now: Timestamp,
    pub state: State,
    settings: Settings,
    pub rules: Rules,
    /// Users by device; a device that is away has no connection.
    pub devices: Vec<Device>,
    /// What the ledger would hold of each open call.
    stored: BTreeMap<CallId, (Vec<u8>, Timestamp)>,
    /// Peers that the media plane would have.
    pub peers: Vec<PeerId>,
    /// Offers that the media plane has not answered.
    pub offers: Vec<(PeerId, u64)>,
    /// How long tickets last; at random when not set.
    pub expire_after: Option<Duration>,
    /// What the next log-ins may do.
    pub grant: Option<Grant>,
    /// Whether the ledger can be written.
    pub writable: bool,
    last: u64,
}

#[derive(Clone)]
pub struct Device {
    pub user: UserId,
    pub session: SessionId,
    pub connection: Option<ConnectionId>,
}

pub fn settings(sessions_per_user: usize, max_members: usize) -> Settings {
    Settings {
        ring_timeout: Duration::from_secs(30),
        limits: Limits { resume_timeout: Duration::from_secs(20), max_members },
        sessions_per_user,
        renew_grace: Duration::from_secs(60),
        webhook_volume_interval: Duration::from_secs(1),
        shards: 3,
    }
}

impl World {
    pub fn new(seed: u64, settings: Settings) -> Self {
        Self {
            random: Random::new(seed),
            now: Timestamp::from_millis(1_700_000_000_000),
            state: State::new(settings.clone()),
            settings,
            rules: Rules::default(),
            devices: Vec::new(),
            stored: BTreeMap::new(),
            peers: Vec::new(),
            offers: Vec::new(),
            expire_after: None,
            grant: None,
            writable: true,
            last: 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub fn apply(&mut self, input: Input) -> Turn {
        let mut entropy = [0; 10];
        entropy[..8].copy_from_slice(&self.random.number().to_be_bytes());
        let turn = self.state.apply(input, Moment { now: self.now, entropy });
        let new_call = |call| self.rules.calls.get(&call).is_none_or(rules::Stream::is_new);
        assert!(self.writable || !turn.facts.iter().any(|fact| new_call(fact.call)), "a call that cannot be recorded");
        self.rules.observe(&turn, self.now);
        rules::hold(&self.state, self.now, self.settings.limits.max_members);
        assert!(self.state.deadline().is_none_or(|due| due > self.now), "something due was left undone");
        self.keep(&turn);
        turn
    }

    fn keep(&mut self, turn: &Turn) {
        for state in &turn.states {
            match &state.snapshot {
                Some(snapshot) => drop(self.stored.insert(state.call, (snapshot.clone(), self.now))),
                None => drop(self.stored.remove(&state.call)),
            }
        }
        for command in &turn.media {
            match command {
                Command::Offer { peer, request, .. } => {
                    if !self.peers.contains(peer) {
                        self.peers.push(*peer);
                    }
                    self.offers.push((*peer, *request));
                }
                Command::Leave { peer, .. } => self.peers.retain(|known| known != peer),
                _ => {}
            }
        }
        for (session, message) in &turn.tells {
            if let Message::Close { .. } = message {
                self.devices.retain(|device| device.session != *session);
            }
        }
    }

    pub fn request(&mut self, device: &Device, body: Request) -> (Turn, Option<Result<Reply, Refusal>>) {
        let id = RequestId(self.number().into());
        let turn = self.apply(Input::Request { session: device.session, request: id.clone(), body });
        let mut replies = turn.tells.iter().filter_map(|(session, message)| match message {
            Message::Reply { request, result } if *request == id && *session == device.session => Some(result.clone()),
            _ => None,
        });
        let reply = replies.next();
        assert!(replies.next().is_none(), "a request is answered once");
        drop(replies);
        (turn, reply)
    }

    pub fn operate(&mut self, body: Operation) -> (Turn, Result<Answer, Denial>) {
        let id = OperationId(self.number());
        let mut turn = self.apply(Input::Operation { id, body });
        let answers = std::mem::take(&mut turn.answers);
        let [(answered, answer)] = <[_; 1]>::try_from(answers).expect("an operation is answered once, at once");
        assert_eq!(answered, id);
        (turn, answer)
    }

    pub fn lifetime(&mut self) -> Duration {
        self.expire_after.unwrap_or_else(|| Duration::from_secs(self.random.below(2000) + 1))
    }

    pub fn log_in(&mut self, user: &UserId, session: Option<SessionId>) -> Turn {
        let connection = ConnectionId(self.number());
        let session = session.unwrap_or_else(|| SessionId::from_u128(u128::from(self.last)));
        self.devices.retain(|device| device.session != session);
        let expires = self.now + self.lifetime();
        let request = RequestId(self.number().into());
        let grant = self.grant.clone();
        let log_in = LogIn { session, connection, request, user: user.clone(), expires, grant };
        self.devices.push(Device { user: user.clone(), session, connection: Some(connection) });
        self.rules.logged_in(session, user);
        self.apply(Input::LogIn(log_in))
    }

    /// Kills the node and starts another one on what was stored.
    pub fn crash(&mut self) {
        self.restart();
        for (snapshot, last_seen) in self.stored.clone().into_values() {
            let call = serde_json::from_slice(&snapshot).expect("what was stored can be read");
            self.apply(Input::Restored(Restored { call, last_seen }));
        }
    }

    /// A node that knows nothing yet.
    pub fn restart(&mut self) {
        self.state = State::new(self.settings.clone());
        self.rules.crashed();
        self.writable = true;
        self.peers.clear();
        self.offers.clear();
        for device in &mut self.devices {
            device.connection = None;
        }
    }

    /// What the ledger holds of a call, and since when.
    pub fn stored_call(&self, call: CallId) -> (Vec<u8>, Timestamp) {
        self.stored[&call].clone()
    }

    /// Time passes, with everything that falls due in between.
    pub fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(due) = self.state.deadline().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.apply(Input::Tick);
        }
        self.now = until;
    }
}
