//! One client's connection: the only file that knows str0m's `Rtc`.
//!
//! The library does ICE, DTLS, SDP, and all that concerns what the client sends; what the client is sent is made in [`Outgoing`]. Every
//! mutation of the library is followed by a drain: what it produces is collected in a [`Drain`] that the caller owns and empties.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::{KeyframeRequestKind, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::rtp::{Extension, ExtensionMap, RtpPacket, Ssrc};
use str0m::stats::{MediaIngressStats, PeerStats};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig, RtcError};

use super::demux::Remote;
use super::dependency::{self, DescriptorSerializer};
use super::dtls::{self, Watch};
use super::header::Ids;
use super::outbound::{Outbound, Path};
use super::outgoing::{Outgoing, Rest, StreamIndex, Word};
use super::red::Wrapping;
use super::sender::{Heard, Write};
use super::ufrag;
use super::wallclock::WallClock;

/// Timeouts served in one drain, so that one peer cannot hold the shard.
const MAX_TIMEOUTS_A_DRAIN: usize = 128;

/// A peer that used them all is looked at again after this.
const BREATHER: Duration = Duration::from_millis(1);

/// Timers of all clients are served together, so often: to wake the thread costs more than what is done then.
const STEP: Duration = Duration::from_millis(5);
/// Those of a client that has sent no media for so long are for statistics and such …
const QUIET_AFTER: Duration = Duration::from_secs(2);
/// … and can wait longer.
const QUIET_STEP: Duration = Duration::from_millis(100);

/// SSRCs of a peer whose track is remembered. A sender that uses more is looked up again for each packet.
const KNOWN_SSRCS: usize = 32;

/// A client that has not renewed its consent for so long is sent nothing (RFC 7675, 5.1). Its checks are its consent: an ICE-lite
/// server sends none of its own.
const CONSENT: Duration = Duration::from_secs(30);

/// A STUN binding success response (RFC 8489, 5), which answers a check that proved its integrity.
const STUN_BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// What all peers of a shard are made with.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: DtlsCert,
    /// The shard's number, which the ICE names of its peers carry.
    pub shard: usize,
    /// Where clients reach this shard over UDP.
    pub addresses: Vec<SocketAddr>,
    /// Where they reach it over TCP.
    pub stream_addresses: Vec<SocketAddr>,
    /// How often a peer's statistics are drawn up.
    pub stats_interval: Duration,
    pub wall: WallClock,
}

impl Identity {
    /// A fresh self-signed certificate. `None`: the crypto library could not make one.
    pub fn generate_certificate() -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }
}

/// A datagram from the network.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    pub proto: Protocol,
    pub source: SocketAddr,
    /// The one of our addresses it was sent to.
    pub destination: SocketAddr,
    pub contents: &'a [u8],
}

impl Datagram<'_> {
    pub fn remote(&self) -> Remote {
        Remote { proto: self.proto, address: self.source }
    }
}

/// Why a peer did not take a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not STUN, DTLS, RTP or RTCP.
    Malformed,
    /// It is not this peer's, or the peer made nothing of it.
    Rejected,
}

/// Why an offer got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    Refused(String),
    /// And the connection cannot go on.
    Broken(String),
}

/// The peer cannot go on.
#[derive(Debug)]
pub struct Ended;

/// The name of an incoming or outgoing stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamName {
    pub mid: Mid,
    pub rid: Option<Rid>,
}

/// What came of mutations.
#[derive(Debug, Default)]
pub struct Drain {
    pub datagrams: Outbound,
    pub packets: Vec<(StreamName, RtpPacket)>,
    pub events: Vec<PeerEvent>,
}

/// News of one peer.
#[derive(Debug)]
pub enum PeerEvent {
    Connected,
    /// The client said goodbye; what is drained is our own.
    Closed,
    /// The client cannot decode a slot without a key frame.
    KeyFrameWanted(Mid),
    SenderReport {
        stream: StreamName,
        ntp: SystemTime,
        timestamp: u32,
        received_at: Instant,
    },
    /// Bits per second that the path to the client carries.
    Estimate(u64),
    Peer(PeerStats),
    Ingress(MediaIngressStats),
    Egress(Mid, Heard),
}

/// A client's connection.
pub struct Peer {
    rtc: Rtc,
    /// The latest time the connection was told; it never goes back.
    clock: Instant,
    deadline: Instant,
    shard: usize,
    known: Vec<(Ssrc, StreamName)>,
    keys: Watch,
    outgoing: Outgoing,
    /// The library was changed and not drained yet.
    touched: bool,
    wall: WallClock,
    heard_media_at: Instant,
}

/// Whether a stream waits for the pacer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    Paced,
    Free,
}

impl Peer {
    /// `estimate`: the first guess of the bandwidth to the client; `None` sends unpaced and estimates nothing.
    pub fn new(identity: &Identity, estimate: Option<Bitrate>, now: Instant) -> Self {
        let credentials = named(IceCreds::new(), identity.shard);
        let config = config(identity).set_local_ice_credentials(credentials).set_crypto_provider(dtls::provider());
        let (mut rtc, keys) = dtls::watch(|| config.build(now));
        let over_udp = identity.addresses.iter().map(|address| Candidate::builder().udp().host(*address).build());
        // RFC 6544, 4.5: the server waits for the connection.
        let passive =
            |address: &SocketAddr| Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build();
        for candidate in over_udp.chain(identity.stream_addresses.iter().map(passive)) {
            rtc.add_local_candidate(candidate.expect("a bound address makes a candidate"));
        }
        let report_ssrc = *rtc.direct_api().new_ssrc();
        Self {
            rtc,
            clock: now,
            deadline: now,
            shard: identity.shard,
            known: Vec::new(),
            keys,
            outgoing: Outgoing::new(identity.wall, estimate, report_ssrc, now),
            touched: true,
            wall: identity.wall,
            heard_media_at: now,
        }
    }

    /// When the connection wants [`Peer::run_to`] next.
    pub fn deadline(&self) -> Instant {
        self.outgoing.deadline().map_or(self.deadline, |at| at.min(self.deadline))
    }

    /// The name that connectivity checks for this peer carry.
    pub fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Applies the offer and makes the answer.
    pub fn answer(&mut self, offer: &str) -> Result<String, Unanswered> {
        // It answers with the streams that it knows: those that are sent go on.
        for (mid, ssrc, repeat_ssrc) in self.outgoing.streams() {
            self.rtc.direct_api().declare_stream_tx(ssrc.into(), repeat_ssrc.map(Ssrc::from), mid, None);
        }
        // The library asserts things of payload types that an offer can break.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let offer = SdpOffer::from_sdp_string(offer).map_err(|error| Unanswered::Refused(error.to_string()))?;
            let answer = self.rtc.sdp_api().accept_offer(offer);
            answer.map_err(|error| Unanswered::Refused(error.to_string()))
        }));
        let answered = answered.map_err(|_| Unanswered::Broken("it contradicts itself".into()));
        let text = answered.and_then(|answer| answer).map(|answer| answer.to_sdp_string());
        self.take_over_streams(text.as_deref().unwrap_or(""));
        self.known.clear();
        self.touched = true;
        Ok(self.name(text?))
    }

    /// The library keeps no stream to send: it would report on what it does not send, and pass its time with it.
    fn take_over_streams(&mut self, answer: &str) {
        let mut api = self.rtc.direct_api();
        let named = answer.lines().filter_map(|line| line.strip_prefix("a=mid:")).map(|mid| Mid::from(mid.trim()));
        let known: Vec<Mid> = self.outgoing.streams().map(|(mid, ..)| mid).collect();
        for mid in named.chain(known) {
            let stream = api.stream_tx_by_mid(mid, None).map(|stream| (stream.ssrc(), stream.rtx()));
            if let Some((ssrc, repeat_ssrc)) = stream {
                api.remove_stream_tx(ssrc);
                self.outgoing.negotiated(mid, *ssrc, repeat_ssrc.map(|ssrc| *ssrc), self.clock);
            }
        }
    }

    /// An ICE restart gave the peer a name of the library's: it gets one that says where it is served.
    fn name(&mut self, answer: String) -> String {
        let mut api = self.rtc.direct_api();
        let credentials = api.local_ice_credentials();
        if ufrag::shard_of(&credentials.ufrag) == Some(self.shard) {
            return answer;
        }
        let old = credentials.ufrag.clone();
        let fresh = named(credentials, self.shard);
        let answer = answer.replace(&old, &fresh.ufrag);
        api.set_local_ice_credentials(fresh);
        answer
    }

    /// The stream that a slot's packets leave on, and its SSRC; `None` when the m-line does not send.
    pub fn outgoing(&mut self, mid: Mid, ids: Ids) -> Option<(StreamIndex, u32)> {
        self.outgoing.stream(mid, ids)
    }

    /// What the client's payload type stands for.
    pub fn payload(&self, pt: Pt) -> Option<(PayloadParams, Wrapping)> {
        let codecs = self.rtc.codec_config();
        let plain = codecs.find(|params| params.pt() == pt).map(|params| (*params, Wrapping::Plain));
        let red = || codecs.find(|params| params.red() == Some(pt)).map(|params| (*params, Wrapping::Red));
        plain.or_else(red)
    }

    /// The negotiated codecs among those payload types.
    pub fn codecs(&self, payload_types: &[u8]) -> CodecConfig {
        let named = |params: &&PayloadParams| payload_types.contains(&*params.pt());
        CodecConfig::new_from_payload_params(self.rtc.codec_config().params().iter().filter(named).copied().collect())
    }

    /// Takes a datagram and drains.
    pub fn receive(
        &mut self,
        datagram: Datagram<'_>,
        now: Instant,
        drain: &mut Drain,
    ) -> Result<Result<(), Refusal>, Ended> {
        let Datagram { proto, source, destination, contents } = datagram;
        let Ok(received) = Receive::new(proto, source, destination, contents) else {
            return Ok(Err(Refusal::Malformed));
        };
        let input = Input::Receive(now.max(self.clock), received);
        if !self.rtc.accepts(&input) {
            return Ok(Err(Refusal::Rejected));
        }
        self.clock = now.max(self.clock);
        if is_rtcp(contents) {
            let events = &mut drain.events;
            let take = |Word::KeyFrameWanted(mid)| events.push(PeerEvent::KeyFrameWanted(mid));
            let rest = self.outgoing.receive(contents, now, &mut drain.datagrams, take);
            self.tell_estimate(drain);
            match rest {
                Rest::Nothing => return Ok(Ok(())),
                Rest::Refused => return Ok(Err(Refusal::Rejected)),
                Rest::Something => {}
            }
        }
        // An error here is the datagram's, not the connection's: whoever can write the client's address can send anything.
        let taken = self.rtc.handle_input(input).map_err(|_| Refusal::Rejected);
        self.drain(now, drain)?;
        Ok(taken)
    }

    /// Time passes, and what was written or waited leaves.
    pub fn run_to(&mut self, now: Instant, drain: &mut Drain) -> Result<(), Ended> {
        self.clock = now.max(self.clock);
        self.outgoing.run_to(self.clock, &mut drain.datagrams);
        self.tell_estimate(drain);
        if !self.touched && now < self.deadline {
            return Ok(());
        }
        self.rtc.handle_input(Input::Timeout(self.clock)).map_err(|error| ended(&error))?;
        self.drain(now, drain)
    }

    /// Probes for so many bits per second.
    pub fn look_for(&mut self, bitrate: u64) {
        self.outgoing.look_for(bitrate, self.clock);
    }

    /// Sends the stream's packets as they are written, or at the pace of the estimate.
    pub fn pace(&mut self, stream: StreamIndex, pacing: Pacing) {
        self.outgoing.pace(stream, pacing == Pacing::Paced);
    }

    /// What is sent waits in a queue on the way.
    pub fn path_waits(&self) -> bool {
        self.outgoing.path_waits()
    }

    /// How long the oldest packet of the stream has been waiting to be sent.
    pub fn backlog(&self, stream: StreamIndex, now: Instant) -> Duration {
        self.outgoing.backlog(stream, now)
    }

    /// What of the stream waits is not sent any more.
    pub fn give_up(&mut self, stream: StreamIndex) {
        self.outgoing.give_up(stream);
    }

    /// Sends a packet, or lets it wait for its turn, which [`Peer::run_to`] gives it.
    pub fn write(&mut self, stream: StreamIndex, packet: Write, now: Instant, out: &mut Outbound) {
        self.outgoing.write(stream, packet, now, out);
    }

    /// Asks the client for a key frame; [`Peer::run_to`] sends it. False: the stream is not known yet.
    pub fn ask_key_frame(&mut self, stream: StreamName) -> bool {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx_by_mid(stream.mid, stream.rid);
        let asked = stream.map(|stream| stream.request_keyframe(KeyframeRequestKind::Pli)).is_some();
        self.touched |= asked;
        asked
    }

    /// Says goodbye; drains what that takes.
    pub fn close(&mut self, now: Instant, drain: &mut Drain) {
        self.outgoing.close(now, &mut drain.datagrams);
        if self.rtc.close().is_ok() {
            self.touched = true;
            // Nobody is left to tell of an error.
            let _ = self.run_to(now, drain);
        }
        self.rtc.disconnect();
    }

    fn drain(&mut self, now: Instant, drain: &mut Drain) -> Result<(), Ended> {
        self.touched = false;
        let mut timeouts = 0;
        // A check came in on another path than the one that is used.
        let mut strayed = false;
        loop {
            match self.rtc.poll_output().map_err(|error| ended(&error))? {
                Output::Transmit(transmit) => {
                    strayed |= self.follow(&transmit);
                    if self.outgoing.has_consent(self.clock) {
                        drain.datagrams.transmit(&transmit);
                    }
                }
                Output::Event(event) => self.note(event, drain),
                Output::Timeout(_) if !self.rtc.is_alive() => return Err(Ended),
                Output::Timeout(_) if strayed => {
                    strayed = false;
                    self.ask_path();
                }
                Output::Timeout(at) if at > now => {
                    let quiet = self.outgoing.is_secure() && now >= self.heard_media_at + QUIET_AFTER;
                    self.deadline = self.wall.round_up(at, if quiet { QUIET_STEP } else { STEP });
                    break;
                }
                Output::Timeout(_) if timeouts == MAX_TIMEOUTS_A_DRAIN => {
                    self.deadline = now + BREATHER;
                    break;
                }
                Output::Timeout(at) => {
                    timeouts += 1;
                    self.clock = at.max(self.clock);
                    self.rtc.handle_input(Input::Timeout(self.clock)).map_err(|error| ended(&error))?;
                }
            }
        }
        if !self.outgoing.is_secure()
            && let Some(keys) = self.keys.take()
        {
            self.outgoing.secure(&keys);
        }
        Ok(())
    }

    fn tell_estimate(&mut self, drain: &mut Drain) {
        drain.events.extend(self.outgoing.poll_estimate().map(PeerEvent::Estimate));
    }

    /// Sees where the library sends to. True: the answer to a check goes elsewhere, so the path may have changed.
    fn follow(&mut self, transmit: &Transmit) -> bool {
        let path = Path { proto: transmit.proto, source: transmit.source, destination: transmit.destination };
        let is_check = transmit.contents.first().is_some_and(|first| *first < 4);
        if !is_check {
            self.outgoing.go(path);
            return false;
        }
        // The answer to a check renews the consent that everything else needs.
        let answers = transmit.contents.starts_with(&STUN_BINDING_SUCCESS);
        if answers {
            self.outgoing.consent(self.clock + CONSENT);
        }
        answers && self.outgoing.is_secure() && self.outgoing.path() != Some(path)
    }

    /// The library does not tell which path it chose; what it sends shows it. The message means nothing to a client.
    fn ask_path(&mut self) {
        let mut api = self.rtc.direct_api();
        let ssrc = api.new_ssrc();
        api.send_app_specific_feedback(ssrc, ssrc, *b"PATH");
    }

    fn note(&mut self, event: Event, drain: &mut Drain) {
        match event {
            Event::RtpPacket(packet) => {
                self.heard_media_at = self.clock;
                if let Some(stream) = self.stream_of(packet.header.ssrc) {
                    drain.packets.push((stream, packet));
                }
            }
            Event::Connected => drain.events.push(PeerEvent::Connected),
            Event::Closed => drain.events.push(PeerEvent::Closed),
            Event::SenderFeedback(feedback) => drain.events.push(PeerEvent::SenderReport {
                stream: StreamName { mid: feedback.mid, rid: feedback.rid },
                ntp: feedback.sender_info.ntp_time,
                // The wire's 32 bits of what was extended.
                timestamp: feedback.sender_info.rtp_time.numer() as u32,
                received_at: feedback.received_at,
            }),
            Event::PeerStats(stats) => {
                let stats = PeerStats {
                    peer_bytes_tx: stats.peer_bytes_tx + self.outgoing.bytes(),
                    egress_loss_fraction: self.outgoing.loss(self.clock),
                    rtt: self.outgoing.round_trip().into_iter().chain(stats.rtt).min(),
                    ..stats
                };
                drain.events.push(PeerEvent::Peer(stats));
                drain.events.extend(self.outgoing.heard().map(|(mid, heard)| PeerEvent::Egress(mid, heard)));
            }
            Event::MediaIngressStats(stats) => drain.events.push(PeerEvent::Ingress(stats)),
            _ => {}
        }
    }

    fn stream_of(&mut self, ssrc: Ssrc) -> Option<StreamName> {
        if let Some((_, stream)) = self.known.iter().find(|(known, _)| *known == ssrc) {
            return Some(*stream);
        }
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx(&ssrc)?;
        let name = StreamName { mid: stream.mid(), rid: stream.rid() };
        if self.known.len() == KNOWN_SSRCS {
            self.known.remove(0);
        }
        self.known.push((ssrc, name));
        Some(name)
    }
}

/// RTCP among RTP (RFC 7983, 7; RFC 5761, 4).
fn is_rtcp(contents: &[u8]) -> bool {
    matches!(contents, [128..=191, 192..=223, ..])
}

/// The credentials with a name that says which shard they are of.
fn named(credentials: IceCreds, shard: usize) -> IceCreds {
    IceCreds { ufrag: ufrag::tagged(shard, &credentials.ufrag), ..credentials }
}

fn ended(error: &RtcError) -> Ended {
    tracing::debug!(%error, "a connection failed");
    Ended
}

fn config(identity: &Identity) -> RtcConfig {
    Rtc::builder()
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_dtls_cert(identity.certificate.clone())
        .set_stats_interval(Some(identity.stats_interval))
        .set_extension_map(extensions())
        .clear_codecs()
        .enable_opus(true, true)
        .enable_vp8(true)
        .enable_h264(true)
        .enable_vp9(true)
        .enable_av1(true)
}

/// Those that a forwarder reads or hands on.
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map.set(12, Extension::with_serializer(dependency::URI, DescriptorSerializer));
    map.set(13, Extension::VideoOrientation);
    map
}
