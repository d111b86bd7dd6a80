//! Two of the library's connections on one wire, with their keys: what one side seals by our own means, the other's library opens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{KeyingMaterial, SrtpProfile};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RawPacket, RtpPacket};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::dtls::{self, Handshakes, Watch, watch};
use super::keys::{Keys, Profile};
use super::sim::ms;

/// The first end may send sound and video to the second.
pub struct Pair {
    pub ends: [End; 2],
    pub audio: Mid,
    pub video: Mid,
    pub now: Instant,
    /// What the first end sends is lost.
    pub lossy: bool,
}

pub struct End {
    pub rtc: Rtc,
    pub watch: Watch,
    pub connected: bool,
    /// What the library made of packets, or made packets of.
    pub raw: Vec<RawPacket>,
    pub packets: Vec<RtpPacket>,
    /// Sealed RTCP that it sent.
    pub rtcp: Vec<Vec<u8>>,
}

impl Pair {
    pub fn connected(profile: Profile) -> Self {
        Self::with(|| Arc::new(provider(profile)))
    }

    pub fn with(provider: impl Fn() -> Arc<CryptoProvider>) -> Self {
        let now = Instant::now();
        let end = |n: u8| {
            let config = Rtc::builder().set_rtp_mode(true).enable_raw_packets(true).set_crypto_provider(provider());
            let (mut rtc, watch) = watch(|| config.build(now));
            rtc.add_local_candidate(Candidate::host(address(n), "udp").unwrap());
            End { rtc, watch, connected: false, raw: Vec::new(), packets: Vec::new(), rtcp: Vec::new() }
        };
        let mut ends = [end(0), end(1)];
        let mut api = ends[0].rtc.sdp_api();
        let [audio, video] =
            [MediaKind::Audio, MediaKind::Video].map(|kind| api.add_media(kind, Direction::SendOnly, None, None, None));
        let (offer, pending) = api.apply().unwrap();
        let answer = ends[1].rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
        let answer = SdpAnswer::from_sdp_string(&answer).unwrap();
        ends[0].rtc.sdp_api().accept_answer(pending, answer).unwrap();
        let mut pair = Self { ends, audio, video, now, lossy: false };
        pair.run(ms(3000));
        assert!(pair.ends.iter().all(|end| end.connected), "they find each other");
        pair
    }

    /// What both have learnt.
    pub fn keys(&mut self) -> [Keys; 2] {
        self.ends.each_mut().map(|end| end.watch.take().expect("the handshake is over"))
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += ms(5);
            for n in [0, 1] {
                self.ends[n].rtc.handle_input(Input::Timeout(self.now)).unwrap();
                self.drain(n);
            }
        }
    }

    /// Gives the end a datagram of the other.
    pub fn deliver(&mut self, to: usize, datagram: &[u8]) {
        let (from, to_address) = (address(1 - to as u8), address(to as u8));
        let receive = Receive::new(Protocol::Udp, from, to_address, datagram).unwrap();
        self.ends[to].rtc.handle_input(Input::Receive(self.now, receive)).unwrap();
        self.drain(to);
    }

    fn drain(&mut self, n: usize) {
        let mut sent = Vec::new();
        loop {
            let end = &mut self.ends[n];
            match end.rtc.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => sent.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => end.connected = true,
                Output::Event(Event::RawPacket(packet)) => end.raw.push(*packet),
                Output::Event(Event::RtpPacket(packet)) => end.packets.push(packet),
                Output::Event(_) => {}
            }
        }
        for datagram in sent {
            if (128..192).contains(&datagram[0]) && (192..224).contains(&datagram[1]) {
                self.ends[n].rtcp.push(datagram.clone());
            }
            if n == 1 || !self.lossy {
                self.deliver(1 - n, &datagram);
            }
        }
    }
}

fn address(n: u8) -> std::net::SocketAddr {
    ([10, 0, 0, 1 + n], 5000).into()
}

/// A provider whose handshakes end with this profile. The library has no wish of its own but the strongest, whose material is the
/// longest: of that a part will do.
fn provider(profile: Profile) -> CryptoProvider {
    fn part(material: &KeyingMaterial, profile: SrtpProfile) -> (KeyingMaterial, SrtpProfile) {
        (KeyingMaterial::new(&material[..profile.keying_material_len()]), profile)
    }
    dtls::with(match profile {
        Profile::Aes128CmSha1 => &Handshakes { agrees: |material, _| part(&material, SrtpProfile::AES128_CM_SHA1_80) },
        Profile::Aes128Gcm => &Handshakes { agrees: |material, _| part(&material, SrtpProfile::AEAD_AES_128_GCM) },
        Profile::Aes256Gcm => &Handshakes { agrees: |material, _| part(&material, SrtpProfile::AEAD_AES_256_GCM) },
    })
}
