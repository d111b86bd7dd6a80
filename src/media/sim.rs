//! The shard and str0m clients on a virtual clock and network: one seed is one run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid as SdpMid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::command::{Command, Permissions};
use super::fake_source::{FakeSource, Stamp};
use super::peer::{Datagram, Identity};
use super::report::{Connection, Report, SlotAssignment};
use super::shard::Shard;
use super::wallclock::WallClock;
use super::{OfferError, Settings, dtls, outbound, red};
use crate::base::{Mid, PeerId, RoomKey, Source};

pub const ROOM: RoomKey = RoomKey(7);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn transmit((path, contents): (outbound::Path, &[u8])) -> Transmit {
    let outbound::Path { proto, source, destination } = path;
    Transmit { proto, source, destination, contents: contents.to_vec().into() }
}

/// A browser as far as the wire can tell.
pub struct Client {
    pub id: PeerId,
    pub address: SocketAddr,
    proto: Protocol,
    pub rtc: Rtc,
    pub deadline: Instant,
    pub connected: bool,
    pub closed: bool,
    pending: Option<SdpPendingOffer>,
    pub sources: Vec<(Mid, Source)>,
    pub slots: Vec<(Mid, MediaKind)>,
    pub feeds: Vec<FakeSource>,
    pub received: Vec<Received>,
    pub key_frames_asked: Vec<(SdpMid, Instant)>,
    pub sender_reports: Vec<(SdpMid, str0m::rtp::rtcp::SenderInfo, Instant)>,
    pub assignments: Vec<(u64, Vec<SlotAssignment>)>,
    /// Sends connectivity checks, by which the server knows that it may go on sending.
    pub checks: bool,
    /// Packets of pictures that are missing: a decoder that lacks one for long asks for a key frame.
    missing: BTreeMap<(SdpMid, u64), Instant>,
    newest: BTreeMap<SdpMid, u64>,
    /// M-lines that wait for a key frame: from which packet on, and when one was last asked for.
    waiting: BTreeMap<SdpMid, (u64, Instant)>,
    /// Asks for a key frame on every slot that shows video, again and again, as a broken viewer does.
    pub begs: bool,
}

/// A packet that came to a client.
#[derive(Debug)]
pub struct Received {
    pub mid: SdpMid,
    pub ssrc: u32,
    pub at: Instant,
    pub marker: bool,
    /// It came with the sound before it.
    pub red: bool,
    pub seq: u64,
    pub timestamp: u32,
    pub codec: Codec,
    pub level: Option<i8>,
    pub payload: Vec<u8>,
}

impl Received {
    /// What [`FakeSource`] wrote into the payload.
    pub fn stamp(&self) -> Stamp {
        Stamp::read(&self.payload)
    }

    /// What it wrote into each of the frames that the packet carries.
    pub fn stamps(&self) -> Vec<Stamp> {
        if !self.red {
            return vec![self.stamp()];
        }
        let (blocks, _) = red::blocks(&self.payload).expect("it is well-formed");
        // The first packet says nothing again.
        blocks.filter(|block| !block.frame.is_empty()).map(|block| Stamp::read(block.frame)).collect()
    }

    /// An empty packet fills a place in the sequence.
    pub fn is_filler(&self) -> bool {
        self.payload.is_empty()
    }

    /// The first packet of its frame, of VP8.
    pub fn begins(&self) -> bool {
        self.payload[0] & 0x10 != 0
    }

    /// The temporal layer of a VP8 payload.
    pub fn temporal(&self) -> u8 {
        self.payload[5] >> 6
    }

    /// The picture id and tl0 index of a VP8 payload as [`FakeSource`] writes it.
    pub fn vp8_ids(&self) -> (u16, u8) {
        (u16::from_be_bytes([self.payload[2] & 0x7f, self.payload[3]]), self.payload[4])
    }
}

impl Client {
    pub fn new(id: u64, address: SocketAddr, now: Instant) -> Self {
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            // Its handshake is as impatient as a browser's.
            .set_crypto_provider(dtls::provider())
            .set_rtcp_report_interval_audio(ms(1000))
            .clear_codecs()
            .enable_opus(true, true)
            .enable_vp8(true)
            .enable_h264(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            id: PeerId(id),
            address,
            proto: Protocol::Udp,
            rtc,
            deadline: now,
            connected: false,
            closed: false,
            pending: None,
            sources: Vec::new(),
            slots: Vec::new(),
            feeds: Vec::new(),
            received: Vec::new(),
            key_frames_asked: Vec::new(),
            sender_reports: Vec::new(),
            assignments: Vec::new(),
            checks: true,
            missing: BTreeMap::new(),
            newest: BTreeMap::new(),
            waiting: BTreeMap::new(),
            begs: false,
        }
    }

    /// Opens a TCP connection from this address.
    pub fn over_tcp(mut self, now: Instant) -> Self {
        self.rtc =
            Rtc::builder().set_rtp_mode(true).clear_codecs().enable_opus(true, false).enable_vp8(true).build(now);
        let candidate = Candidate::builder().tcp().host(self.address).tcptype(TcpType::Active).build();
        self.rtc.add_local_candidate(candidate.unwrap());
        self.proto = Protocol::Tcp;
        self
    }

    /// Decodes no VP8.
    pub fn only_h264(&mut self, now: Instant) {
        let mut rtc =
            Rtc::builder().set_rtp_mode(true).clear_codecs().enable_opus(true, false).enable_h264(true).build(now);
        rtc.add_local_candidate(Candidate::host(self.address, "udp").unwrap());
        self.rtc = rtc;
    }

    /// An offer with these new sources and so many new slots of each kind.
    pub fn offer(&mut self, sources: &[Source], audio_slots: usize, video_slots: usize) -> String {
        let mut api = self.rtc.sdp_api();
        let mut added = Vec::new();
        for source in sources {
            let kind = if source.is_video() { MediaKind::Video } else { MediaKind::Audio };
            added.push((*source, api.add_media(kind, Direction::SendOnly, None, None, None)));
        }
        let mut slots = Vec::new();
        for (kind, count) in [(MediaKind::Audio, audio_slots), (MediaKind::Video, video_slots)] {
            for _ in 0..count {
                slots.push((api.add_media(kind, Direction::RecvOnly, None, None, None), kind));
            }
        }
        let (offer, pending) = api.apply().expect("something was added");
        self.pending = Some(pending);
        self.sources.extend(added.iter().map(|(source, mid)| (name(*mid), *source)));
        self.slots.extend(slots.iter().map(|(mid, kind)| (name(*mid), *kind)));
        offer.to_sdp_string()
    }

    /// An offer with one simulcast camera of three layers.
    pub fn offer_simulcast(&mut self, rids: &[&str]) -> String {
        let mut api = self.rtc.sdp_api();
        let layers = rids.iter().map(|rid| SimulcastLayer::new(rid)).collect();
        let simulcast = Simulcast { send: layers, recv: vec![] };
        let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, Some(simulcast));
        let (offer, pending) = api.apply().expect("something was added");
        self.pending = Some(pending);
        self.sources.push((name(mid), Source::Camera));
        offer.to_sdp_string()
    }

    pub fn offer_ice_restart(&mut self) -> String {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().expect("a restart needs negotiation");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    pub fn answered(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("the server's answers parse");
        let pending = self.pending.take().expect("an offer is pending");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("the answer fits the offer");
    }

    /// Begins to send the source.
    pub fn send(&mut self, source: Source, now: Instant) {
        let mid: SdpMid = self.mid_of(source).as_str().into();
        self.resend_all_that_is_asked(mid, None);
        self.feeds.push(FakeSource::new(mid, source, None, 0, now));
    }

    pub fn send_layer(&mut self, rid: &str, layer: u8, packets_a_frame: usize, now: Instant) {
        let mid: SdpMid = self.mid_of(Source::Camera).as_str().into();
        self.resend_all_that_is_asked(mid, Some(rid.into()));
        let mut feed = FakeSource::new(mid, Source::Camera, Some(rid.into()), layer, now);
        feed.packets_a_frame = packets_a_frame;
        self.feeds.push(feed);
    }

    /// As browsers do.
    fn resend_all_that_is_asked(&mut self, mid: SdpMid, rid: Option<str0m::media::Rid>) {
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, rid) {
            stream.set_rtx_cache(600, ms(3000), None);
        }
    }

    pub fn feed(&mut self, source: Source) -> &mut FakeSource {
        self.feeds.iter_mut().find(|feed| feed.source == source).expect("it is sent")
    }

    fn mid_of(&self, source: Source) -> &Mid {
        &self.sources.iter().find(|(_, s)| *s == source).expect("it was offered").0
    }

    /// What came from the publisher's source, in the order it came.
    pub fn got(&self, publisher: u64, source: Source) -> Vec<&Received> {
        let wanted = |r: &&Received| {
            if r.is_filler() {
                return false;
            }
            let stamp = r.stamp();
            stamp.publisher == publisher as u32 && stamp.source == source as u8
        };
        self.received.iter().filter(wanted).collect()
    }

    pub fn shows(&self, publisher: u64, source: Source) -> Option<&Mid> {
        let (_, slots) = self.assignments.last()?;
        slots.iter().find(|s| s.publisher == Some(PeerId(publisher)) && s.source == source).map(|s| &s.mid)
    }

    pub fn due(&self) -> Instant {
        let feeds = self.feeds.iter().filter(|feed| feed.on).map(|feed| feed.next_at).min();
        feeds.map_or(self.deadline, |at| at.min(self.deadline))
    }

    pub fn step(&mut self, now: Instant) -> Vec<Transmit> {
        let mut out = Vec::new();
        let id = self.id.0 as u32;
        for feed in &mut self.feeds {
            while feed.on && feed.next_at <= now {
                let packets = feed.frame(id, now);
                let mut api = self.rtc.direct_api();
                if let (true, Some(stream)) = (self.connected, api.stream_tx_by_mid(feed.mid, feed.rid)) {
                    packets.into_iter().for_each(|packet| stream.write_rtp(packet));
                }
            }
        }
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(now, &mut out);
        out
    }

    pub fn receive(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Vec<Transmit> {
        let mut out = Vec::new();
        let received = Receive::new(self.proto, source, self.address, datagram).expect("the server sends no garbage");
        // A client that has gone on does not mind what it no longer understands.
        let _ = self.rtc.handle_input(Input::Receive(now, received));
        self.drain(now, &mut out);
        out
    }

    fn drain(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        loop {
            match self.rtc.poll_output().unwrap() {
                // A STUN binding request.
                Output::Transmit(transmit) if !self.checks && transmit.contents.starts_with(&[0, 1]) => {}
                Output::Transmit(transmit) => out.push(transmit),
                Output::Timeout(at) => {
                    self.deadline = at.max(now);
                    return;
                }
                Output::Event(event) => self.note(event, now),
            }
        }
    }

    fn note(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.connected = true,
            Event::Closed => self.closed = true,
            Event::KeyframeRequest(request) => {
                self.key_frames_asked.push((request.mid, now));
                let feeds = self.feeds.iter_mut().filter(|feed| feed.mid == request.mid && feed.rid == request.rid);
                feeds.for_each(|feed| feed.key_frame_due = true);
            }
            Event::SenderFeedback(feedback) => {
                self.sender_reports.push((feedback.mid, feedback.sender_info, feedback.received_at));
            }
            Event::RtpPacket(packet) => self.note_packet(&packet, now),
            _ => {}
        }
    }

    fn note_packet(&mut self, packet: &RtpPacket, now: Instant) {
        let ssrc = packet.header.ssrc;
        let mid = self.rtc.direct_api().stream_rx(&ssrc).expect("it came on a stream").mid();
        let pt = packet.header.payload_type;
        let codecs = self.rtc.codec_config();
        let params = codecs.find(|p| p.pt() == pt || p.red() == Some(pt)).expect("it has a codec");
        let (codec, red) = (params.spec().codec, params.red() == Some(pt));
        self.received.push(Received {
            mid,
            ssrc: *ssrc,
            at: now,
            red,
            marker: packet.header.marker,
            seq: *packet.seq_no,
            timestamp: packet.header.timestamp,
            codec,
            level: packet.header.ext_vals.audio_level,
            payload: packet.payload.to_vec(),
        });
        if codec.is_video() && (self.wants_key_frame(mid, *packet.seq_no, now) || self.begs) {
            let mut api = self.rtc.direct_api();
            api.stream_rx(&ssrc).unwrap().request_keyframe(str0m::media::KeyframeRequestKind::Pli);
        }
    }
}

impl Client {
    /// A decoder that has no key frame to begin with, or lacks a packet for long, asks for one, again and again until it comes.
    fn wants_key_frame(&mut self, mid: SdpMid, seq: u64, now: Instant) -> bool {
        const AGAIN: Duration = ms(300);
        if !self.newest.contains_key(&mid) {
            self.waiting.insert(mid, (seq, now));
        }
        if self.is_stuck(mid, seq, now) {
            self.waiting.insert(mid, (self.newest[&mid] + 1, now - AGAIN));
        }
        let Some((from, asked_at)) = self.waiting.get_mut(&mid) else { return false };
        let packet = self.received.last().expect("it was just noted");
        let begins = packet.codec == Codec::Vp8 && !packet.is_filler() && packet.begins() && packet.stamp().key;
        if begins && seq >= *from {
            self.waiting.remove(&mid);
            return false;
        }
        let asks = now >= *asked_at + AGAIN;
        if asks {
            *asked_at = now;
        }
        asks
    }

    fn is_stuck(&mut self, mid: SdpMid, seq: u64, now: Instant) -> bool {
        let newest = *self.newest.entry(mid).or_insert(seq);
        self.missing.remove(&(mid, seq));
        for missing in newest + 1..seq {
            self.missing.insert((mid, missing), now);
        }
        self.newest.insert(mid, newest.max(seq));
        let stuck = self.missing.iter().any(|((at, _), since)| *at == mid && now >= *since + ms(1000));
        if stuck {
            self.missing.retain(|(at, _), _| *at != mid);
        }
        stuck
    }
}

fn name(mid: SdpMid) -> Mid {
    mid.to_string().parse().expect("str0m's mids are ours")
}

/// A datagram on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    at: Instant,
    order: u64,
    to: SocketAddr,
    from: SocketAddr,
    contents: Vec<u8>,
}

/// The path of one client.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    pub delay: Duration,
    /// 0.0–1.0, each way.
    pub loss_up: f64,
    pub loss_down: f64,
    /// What large datagrams take longer on their way up.
    pub large_up: Duration,
    /// Each way is open only so often, as a radio that sleeps: what came in between passes at once.
    pub jitter_up: Duration,
    pub jitter_down: Duration,
    /// Bits per second of each way, and how long its queue may be: what does not fit is lost.
    pub rate_up: Option<u64>,
    pub rate_down: Option<u64>,
    pub queue_up: Duration,
    pub queue_down: Duration,
}

impl Path {
    pub const GOOD: Path = Path {
        delay: Duration::from_millis(10),
        loss_up: 0.0,
        loss_down: 0.0,
        large_up: Duration::ZERO,
        jitter_up: Duration::ZERO,
        jitter_down: Duration::ZERO,
        rate_up: None,
        rate_down: None,
        queue_up: Duration::from_millis(300),
        queue_down: Duration::from_millis(300),
    };

    /// 40 ms there and back.
    pub const fn lossy(loss: f64) -> Self {
        Path { delay: Duration::from_millis(20), loss_up: loss, loss_down: loss, ..Self::GOOD }
    }

    pub const fn thin(bits_per_second: u64) -> Self {
        Path { delay: Duration::from_millis(20), rate_down: Some(bits_per_second), ..Self::GOOD }
    }
}

/// The shards, their clients, and the network between them.
pub struct World {
    pub began: Instant,
    pub now: Instant,
    pub shards: Vec<Shard>,
    /// Where the first shard is reached; the others at the ports after it.
    pub server: SocketAddr,
    pub clients: BTreeMap<u64, Client>,
    pub paths: BTreeMap<u64, Path>,
    pub reports: Vec<(Instant, Report)>,
    /// Tell clients of their slots at once, as control does.
    pub tells: bool,
    /// Keep what clients send.
    pub record: bool,
    pub recorded: Vec<(SocketAddr, Vec<u8>)>,
    sent: BTreeMap<SocketAddr, usize>,
    sent_bytes: BTreeMap<SocketAddr, usize>,
    /// Of those, VP8 and what repeats it.
    pictures: BTreeMap<SocketAddr, (usize, usize)>,
    /// When the thin way from or to a client is free again.
    free_at: BTreeMap<(u64, bool), Instant>,
    wire: BinaryHeap<Reverse<InFlight>>,
    order: u64,
    random: u64,
    requests: u64,
}

impl World {
    pub fn new(settings: Settings) -> Self {
        Self::spanned(settings, 1)
    }

    /// A call whose members are dealt round to so many shards.
    pub fn spanned(settings: Settings, shards: usize) -> Self {
        let server = SocketAddr::from(([10, 9, 9, 9], 7882));
        let certificate = Identity::generate_certificate().unwrap();
        let now = Instant::now() + Duration::from_secs(100);
        let shard = |index: usize| {
            let identity = Identity {
                certificate: certificate.clone(),
                shard: index,
                addresses: vec![SocketAddr::new(server.ip(), server.port() + index as u16)],
                stream_addresses: Vec::new(),
                stats_interval: settings.quality_interval,
                wall: WallClock::new(now, UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            };
            Shard::new(index, settings.clone(), identity)
        };
        Self {
            began: now,
            now,
            shards: (0..shards).map(shard).collect(),
            server,
            clients: BTreeMap::new(),
            paths: BTreeMap::new(),
            reports: Vec::new(),
            tells: true,
            record: false,
            recorded: Vec::new(),
            sent: BTreeMap::new(),
            sent_bytes: BTreeMap::new(),
            pictures: BTreeMap::new(),
            free_at: BTreeMap::new(),
            wire: BinaryHeap::new(),
            order: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            requests: 0,
        }
    }

    /// A client joins with these sources and slots.
    pub fn join(&mut self, id: u64, sources: &[Source], audio_slots: usize, video_slots: usize) {
        let address = SocketAddr::from(([10, 0, (id >> 8) as u8, id as u8], 5000));
        let mut client = Client::new(id, address, self.now);
        let sdp = client.offer(sources, audio_slots, video_slots);
        self.clients.insert(id, client);
        self.negotiate(id, sdp).expect("a good offer is answered");
    }

    /// Hands the client's offer to the shard and the answer to the client.
    pub fn negotiate(&mut self, id: u64, sdp: String) -> Result<(), OfferError> {
        self.negotiate_as(id, sdp, Permissions::ALL)
    }

    pub fn negotiate_as(&mut self, id: u64, sdp: String, may_receive: Permissions) -> Result<(), OfferError> {
        self.requests += 1;
        let request = self.requests;
        let sources = self.clients[&id].sources.clone();
        self.command(Command::Offer { room: ROOM, peer: PeerId(id), request, sdp, sources, may_receive });
        let answered = self.reports.iter().rev().find_map(|(_, report)| match report {
            Report::Answered { request: r, result, .. } if *r == request => Some(result.clone()),
            _ => None,
        });
        let answer = answered.expect("every offer is answered")?;
        self.client(id).answered(&answer);
        Ok(())
    }

    pub fn client(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).expect("it joined")
    }

    pub fn send(&mut self, id: u64, source: Source) {
        let now = self.now;
        self.client(id).send(source, now);
    }

    pub fn command(&mut self, command: Command) {
        let index = command.peer().map_or(0, |peer| self.shard_of(peer));
        if self.shards.len() > 1 && matches!(command, Command::Offer { .. }) {
            let shards = (0..self.shards.len()).collect();
            self.shards[index].handle_command(Command::Span { room: command.room(), shards }, self.now);
        }
        self.shards[index].handle_command(command, self.now);
        self.finish_turn();
    }

    /// The first shard: the only one but in tests of calls that have several.
    pub fn shard(&self) -> &Shard {
        &self.shards[0]
    }

    fn shard_of(&self, peer: PeerId) -> usize {
        peer.0 as usize % self.shards.len()
    }

    fn shard_at(&self, address: SocketAddr) -> Option<usize> {
        let index = usize::from(address.port().checked_sub(self.server.port())?);
        (address.ip() == self.server.ip() && index < self.shards.len()).then_some(index)
    }

    /// The client's network changes: it has another address, and the old one is dead.
    pub fn move_client(&mut self, id: u64) {
        let client = self.client(id);
        let old = Candidate::host(client.address, "udp").unwrap();
        client.address.set_port(client.address.port() + 1);
        client.rtc.add_local_candidate(Candidate::host(client.address, "udp").unwrap());
        client.rtc.direct_api().invalidate_candidate(&old);
    }

    /// Datagrams the server sent to this address.
    pub fn sent_to(&self, address: SocketAddr) -> usize {
        self.sent.get(&address).copied().unwrap_or(0)
    }

    pub fn bytes_to(&self, id: u64) -> usize {
        self.sent_bytes.get(&self.clients[&id].address).copied().unwrap_or(0)
    }

    /// Bytes of pictures, and of pictures sent again, to the client.
    pub fn pictures_to(&self, id: u64) -> (usize, usize) {
        self.pictures.get(&self.clients[&id].address).copied().unwrap_or_default()
    }

    /// What chance brings in this run.
    pub fn seed(&mut self, seed: u64) {
        self.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    /// A datagram that reaches the server from wherever.
    pub fn inject(&mut self, from: SocketAddr, contents: &[u8]) {
        let datagram = Datagram { proto: Protocol::Udp, source: from, destination: self.server, contents };
        self.shards[0].handle_datagram(datagram, self.now);
        self.finish_turn();
    }

    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            let wire = self.wire.peek().map(|Reverse(flight)| flight.at);
            let clients = self.clients.values().map(Client::due).min();
            let shards = self.shards.iter().filter_map(Shard::deadline).min();
            let next = [wire, clients, shards].into_iter().flatten().min().unwrap_or(end);
            self.now = next.clamp(self.now, end);
            self.step();
        }
    }

    /// Runs until it holds; panics when it does not within the time.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&mut World) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            assert!(self.now < end, "it did not come to hold within {limit:?}");
            self.run_for(ms(10));
        }
    }

    fn step(&mut self) {
        while self.wire.peek().is_some_and(|Reverse(flight)| flight.at <= self.now) {
            let Reverse(flight) = self.wire.pop().expect("it was peeked");
            self.deliver(flight);
        }
        let due: Vec<u64> = self.clients.values().filter(|c| c.due() <= self.now).map(|c| c.id.0).collect();
        for id in due {
            let now = self.now;
            let out = self.client(id).step(now);
            self.transmit(out);
        }
        self.finish_turn();
    }

    fn deliver(&mut self, flight: InFlight) {
        if let Some(index) = self.shard_at(flight.to) {
            let (source, destination) = (flight.from, flight.to);
            let datagram = Datagram { proto: Protocol::Udp, source, destination, contents: &flight.contents };
            self.shards[index].handle_datagram(datagram, self.now);
            return;
        }
        let now = self.now;
        if let Some(client) = self.clients.values_mut().find(|client| client.address == flight.to) {
            let out = client.receive(now, flight.from, &flight.contents);
            self.transmit(out);
        }
    }

    fn finish_turn(&mut self) {
        let mut reports = Vec::new();
        loop {
            for index in 0..self.shards.len() {
                self.shards[index].finish_turn(self.now);
                let datagrams = std::mem::take(self.shards[index].datagrams());
                let out: Vec<Transmit> = datagrams.iter().map(transmit).collect();
                self.transmit(out);
                reports.extend(std::iter::from_fn(|| self.shards[index].poll_report()));
            }
            if !self.deliver_letters() {
                break;
            }
        }
        let mut told = Vec::new();
        for report in reports {
            if let Report::Slots { peer, version, slots } = &report {
                if let Some(client) = self.clients.get_mut(&peer.0) {
                    client.assignments.push((*version, slots.clone()));
                }
                told.push((*peer, *version));
            }
            self.reports.push((self.now, report));
        }
        if self.tells && !told.is_empty() {
            for (peer, version) in told {
                let index = self.shard_of(peer);
                self.shards[index].handle_command(Command::SlotsTold { room: ROOM, peer, version }, self.now);
            }
            self.finish_turn();
        }
    }

    /// True: there were letters between shards.
    fn deliver_letters(&mut self) -> bool {
        let mut delivered = false;
        for from in 0..self.shards.len() {
            let letters: Vec<_> =
                self.shards[from].post().letters().map(|(to, letter)| (to, std::mem::take(letter))).collect();
            for (to, mut letter) in letters {
                self.shards[to].handle_letter(from, &mut letter, self.now);
                delivered = true;
            }
        }
        delivered
    }

    fn transmit(&mut self, out: Vec<Transmit>) {
        for Transmit { source, destination, contents, .. } in out {
            let up = self.shard_at(destination).is_some();
            *self.sent.entry(destination).or_default() += 1;
            *self.sent_bytes.entry(destination).or_default() += contents.len();
            let (pictures, again) = self.pictures.entry(destination).or_default();
            match contents[..] {
                [0x80..0xc0, second, ..] if second & 0x7f == 96 => *pictures += contents.len(),
                [0x80..0xc0, second, ..] if second & 0x7f == 97 => *again += contents.len(),
                _ => {}
            }
            if up && self.record {
                self.recorded.push((source, contents.to_vec()));
            }
            let client = if up { source } else { destination };
            let id = self.clients.values().find(|c| c.address == client).map(|c| c.id.0);
            let path = id.and_then(|id| self.paths.get(&id).copied()).unwrap_or(Path::GOOD);
            let loss = if up { path.loss_up } else { path.loss_down };
            if self.chance() < loss {
                continue;
            }
            let (rate, queue) = if up { (path.rate_up, path.queue_up) } else { (path.rate_down, path.queue_down) };
            let mut leaves_at = self.now;
            if let Some((rate, id)) = rate.zip(id) {
                let free_at = self.free_at.get(&(id, up)).map_or(self.now, |at| (*at).max(self.now));
                if free_at > self.now + queue {
                    continue;
                }
                // With the headers of IP and UDP.
                let bits = (contents.len() as u64 + 28) * 8;
                leaves_at = free_at + Duration::from_micros(bits * 1_000_000 / rate);
                self.free_at.insert((id, up), leaves_at);
            }
            let jitter = if up { path.jitter_up } else { path.jitter_down };
            if !jitter.is_zero() {
                let since = leaves_at.duration_since(self.began).as_micros();
                let opens = since.next_multiple_of(jitter.as_micros());
                leaves_at += Duration::from_micros((opens - since) as u64);
            }
            self.order += 1;
            self.wire.push(Reverse(InFlight {
                at: leaves_at + path.delay + if up && contents.len() > 500 { path.large_up } else { Duration::ZERO },
                order: self.order,
                to: destination,
                from: source,
                contents: contents.to_vec(),
            }));
        }
    }

    /// 0.0–1.0, the same in every run.
    pub fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn connections(&self, id: u64) -> Vec<Connection> {
        let states = self.reports.iter().filter_map(|(_, report)| match report {
            Report::Connection { peer, state } if peer.0 == id => Some(*state),
            _ => None,
        });
        states.collect()
    }

    pub fn flowing(&self, id: u64, source: Source) -> Vec<(Instant, bool)> {
        let changes = self.reports.iter().filter_map(|(at, report)| match report {
            Report::Flowing { peer, source: s, flowing } if peer.0 == id && *s == source => Some((*at, *flowing)),
            _ => None,
        });
        changes.collect()
    }

    pub fn drops(&self) -> super::export::Drops {
        self.shard().snapshot().drops
    }
}
