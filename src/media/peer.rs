//! One client's connection: the only file that knows str0m's `Rtc`.
//!
//! Every mutation is followed by a drain: what it produces is collected in a [`Drain`] that the caller owns and empties.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use str0m::bwe::{Bitrate, BweKind};
use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::{KeyframeRequestKind, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::rtp::{Extension, ExtensionMap, RtpPacket, RtpWrite, Ssrc};
use str0m::stats::{MediaEgressStats, MediaIngressStats, PeerStats};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig, RtcError};

use super::demux::Remote;
use super::dependency::{self, DescriptorSerializer};
use super::red::Wrapping;
use super::resend::ResendLimit;
use super::ufrag;

/// Timeouts this near are served at once: the pacer sends one packet a timeout. Longer lets bursts through unpaced.
const PACING_SLACK: Duration = Duration::from_micros(500);

/// Timeouts served in one drain, so that one peer cannot hold the shard.
const MAX_TIMEOUTS_A_DRAIN: usize = 128;

/// A peer that used them all is looked at again after this.
const BREATHER: Duration = Duration::from_millis(1);

/// Sent packets kept for retransmission: a second of video at 2.5 Mbit/s. More costs memory for each receiver, fewer leaves long round
/// trips unrepaired.
const RTX_PACKETS: usize = 256;
const RTX_AGE: Duration = Duration::from_secs(1);
/// Retransmissions beyond this share of what a stream sends within a second are given up at once, before they are queued and encrypted.
/// Over all streams and longer times [`ResendLimit`] is stricter.
const RTX_SHARE: f32 = 0.4;

/// SSRCs of a peer whose track is remembered. A sender that uses more is looked up again for each packet.
const KNOWN_SSRCS: usize = 32;

/// A client that has not renewed its consent for so long is sent nothing (RFC 7675, 5.1). Its checks are its consent: an ICE-lite
/// server sends none of its own.
const CONSENT: Duration = Duration::from_secs(30);

/// A STUN binding success response (RFC 8489, 5), which answers a check that proved its integrity.
const STUN_BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// A connection to which nothing was written for so long is idle …
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// … and its timers are served so often: the pacer asks for 40 ms whether there is something to pace or not. Longer makes reports late.
const IDLE_TICK: Duration = Duration::from_millis(250);

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
    pub datagrams: Vec<Transmit>,
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
    Egress(MediaEgressStats),
}

/// A client's connection.
pub struct Peer {
    rtc: Rtc,
    /// The latest time the connection was told; it never goes back.
    clock: Instant,
    deadline: Instant,
    /// Nothing but answers to checks is sent after this.
    consent_until: Instant,
    shard: usize,
    known: Vec<(Ssrc, StreamName)>,
    resends: ResendLimit,
    /// Its packets go through the pacer.
    paced: bool,
    connected: bool,
    written_at: Instant,
    /// A probe has something to look for: its timing matters though nothing is written.
    looks: bool,
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
        let mut rtc = config(identity).set_local_ice_credentials(credentials).enable_bwe(estimate).build(now);
        let over_udp = identity.addresses.iter().map(|address| Candidate::builder().udp().host(*address).build());
        // RFC 6544, 4.5: the server waits for the connection.
        let passive =
            |address: &SocketAddr| Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build();
        for candidate in over_udp.chain(identity.stream_addresses.iter().map(passive)) {
            rtc.add_local_candidate(candidate.expect("a bound address makes a candidate"));
        }
        Self {
            rtc,
            clock: now,
            deadline: now,
            consent_until: now,
            shard: identity.shard,
            known: Vec::new(),
            resends: ResendLimit::new(now),
            paced: estimate.is_some(),
            connected: false,
            written_at: now,
            looks: false,
        }
    }

    /// When the connection wants [`Peer::run_to`] next.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The name that connectivity checks for this peer carry.
    pub fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Applies the offer and makes the answer.
    pub fn answer(&mut self, offer: &str) -> Result<String, Unanswered> {
        // The library asserts things of payload types that an offer can break.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let offer = SdpOffer::from_sdp_string(offer).map_err(|error| Unanswered::Refused(error.to_string()))?;
            let answer = self.rtc.sdp_api().accept_offer(offer);
            answer.map_err(|error| Unanswered::Refused(error.to_string()))
        }));
        let answer = answered.map_err(|_| Unanswered::Broken("it contradicts itself".into()))??;
        self.known.clear();
        Ok(self.name(answer.to_sdp_string()))
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

    /// The SSRC a slot's packets leave with; `None` when the m-line does not send.
    pub fn outgoing(&mut self, mid: Mid) -> Option<Ssrc> {
        let stream = self.rtc.direct_api().stream_tx_by_mid(mid, None).map(|stream| stream.ssrc())?;
        Some(stream)
    }

    /// Bounds what is kept of the stream for retransmission.
    pub fn bound_retransmission(&mut self, mid: Mid) {
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_SHARE));
            if let Some(ssrc) = stream.rtx() {
                self.resends.add(*ssrc);
            }
        }
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
        // An error here is the datagram's, not the connection's: whoever can write the client's address can send anything.
        let taken = self.rtc.handle_input(input).map_err(|_| Refusal::Rejected);
        self.drain(now, drain)?;
        Ok(taken)
    }

    /// Time passes, and what was written leaves.
    pub fn run_to(&mut self, now: Instant, drain: &mut Drain) -> Result<(), Ended> {
        self.clock = now.max(self.clock);
        self.rtc.handle_input(Input::Timeout(self.clock)).map_err(|error| ended(&error))?;
        self.drain(now, drain)
    }

    /// Probes for so many bits per second; [`Peer::run_to`] sets that going. Nothing is padded for it beyond the little that the library always
    /// does: a picture that is worth less than it may cost is no reason to fill the link.
    pub fn look_for(&mut self, bitrate: u64) {
        self.looks = true;
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::bps(bitrate));
    }

    /// Sends the stream's packets as they are written, or at the pace of the estimate.
    pub fn pace(&mut self, ssrc: Ssrc, pacing: Pacing) {
        if let Some(stream) = self.rtc.direct_api().stream_tx(&ssrc) {
            stream.set_unpaced(pacing == Pacing::Free);
        }
    }

    /// How long the oldest packet of the stream has been waiting to be sent.
    pub fn backlog(&mut self, ssrc: Ssrc, now: Instant) -> Duration {
        let mut api = self.rtc.direct_api();
        let oldest = api.stream_tx(&ssrc).and_then(|stream| stream.queue_info()?.first_unsent());
        oldest.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Queues a packet; [`Peer::run_to`] sends it.
    pub fn write(&mut self, ssrc: Ssrc, packet: RtpWrite) {
        self.written_at = self.clock;
        if let Some(stream) = self.rtc.direct_api().stream_tx(&ssrc) {
            stream.write_rtp(packet);
        }
    }

    /// Asks the client for a key frame; [`Peer::run_to`] sends it. False: the stream is not known yet.
    pub fn ask_key_frame(&mut self, stream: StreamName) -> bool {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx_by_mid(stream.mid, stream.rid);
        stream.map(|stream| stream.request_keyframe(KeyframeRequestKind::Pli)).is_some()
    }

    /// Says goodbye; drains what that takes.
    pub fn close(&mut self, now: Instant, drain: &mut Drain) {
        if self.rtc.close().is_ok() {
            // Nobody is left to tell of an error.
            let _ = self.run_to(now, drain);
        }
        self.rtc.disconnect();
    }

    fn drain(&mut self, now: Instant, drain: &mut Drain) -> Result<(), Ended> {
        let mut timeouts = 0;
        loop {
            match self.rtc.poll_output().map_err(|error| ended(&error))? {
                Output::Transmit(transmit) => {
                    let released = self.paced && is_rtp(&transmit.contents) && timeouts < MAX_TIMEOUTS_A_DRAIN;
                    if self.may_send(&transmit.contents) {
                        drain.datagrams.push(transmit);
                    }
                    if released {
                        // The pacer releases the next packet when time is let pass; asking it first whether it wants that is a round for nothing.
                        timeouts += 1;
                        self.rtc.handle_input(Input::Timeout(self.clock)).map_err(|error| ended(&error))?;
                    }
                }
                Output::Event(event) => self.note(event, drain),
                Output::Timeout(_) if !self.rtc.is_alive() => return Err(Ended),
                Output::Timeout(at) if at > now + PACING_SLACK => {
                    let idle = self.paced && !self.looks && self.connected && now > self.written_at + IDLE_AFTER;
                    self.deadline = if idle { at.max(now + IDLE_TICK) } else { at };
                    return Ok(());
                }
                Output::Timeout(_) if timeouts == MAX_TIMEOUTS_A_DRAIN => {
                    self.deadline = now + BREATHER;
                    return Ok(());
                }
                Output::Timeout(at) => {
                    timeouts += 1;
                    self.clock = at.max(self.clock);
                    self.rtc.handle_input(Input::Timeout(self.clock)).map_err(|error| ended(&error))?;
                }
            }
        }
    }

    /// The answer to a check renews the consent that everything else needs.
    fn may_send(&mut self, contents: &[u8]) -> bool {
        if contents.starts_with(&STUN_BINDING_SUCCESS) {
            self.consent_until = self.clock + CONSENT;
        }
        self.clock < self.consent_until && self.resends.allows(contents, self.clock)
    }

    fn note(&mut self, event: Event, drain: &mut Drain) {
        match event {
            Event::RtpPacket(packet) => {
                if let Some(stream) = self.stream_of(packet.header.ssrc) {
                    drain.packets.push((stream, packet));
                }
            }
            Event::Connected => {
                self.connected = true;
                drain.events.push(PeerEvent::Connected);
            }
            Event::Closed => drain.events.push(PeerEvent::Closed),
            Event::KeyframeRequest(request) => drain.events.push(PeerEvent::KeyFrameWanted(request.mid)),
            Event::SenderFeedback(feedback) => drain.events.push(PeerEvent::SenderReport {
                stream: StreamName { mid: feedback.mid, rid: feedback.rid },
                ntp: feedback.sender_info.ntp_time,
                // The wire's 32 bits of what was extended.
                timestamp: feedback.sender_info.rtp_time.numer() as u32,
                received_at: feedback.received_at,
            }),
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                drain.events.push(PeerEvent::Estimate(estimate.as_u64()));
            }
            Event::PeerStats(stats) => drain.events.push(PeerEvent::Peer(stats)),
            Event::MediaIngressStats(stats) => drain.events.push(PeerEvent::Ingress(stats)),
            Event::MediaEgressStats(stats) => drain.events.push(PeerEvent::Egress(stats)),
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

/// RTP, or RTCP that goes with it (RFC 7983).
fn is_rtp(contents: &[u8]) -> bool {
    contents.first().is_some_and(|first| (128..192).contains(first))
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
