//! SRTP (RFC 3711, RFC 7714): seals the RTP and RTCP that we send, opens the RTCP that a receiver sends.
//!
//! The library seals packets of its own under the same keys. Under GCM nothing may ever be sealed twice with one nonce, which is made of
//! SSRC and index, so the two keep apart: our RTP has SSRCs on which the library sends nothing, and our RTCP its own range of indices.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{Keys, Master, Profile};

/// An RTP header without contributors and extensions (RFC 3550, 5.1).
const RTP_HEADER: usize = 12;
/// What of an RTCP packet stays readable: the first header and its SSRC (RFC 3711, 3.4).
const RTCP_HEADER: usize = 8;
/// The index of SRTCP with the flag above it.
const RTCP_INDEX: usize = 4;
/// Set in the index of a packet that is encrypted.
const ENCRYPTED: u32 = 1 << 31;

const GCM_TAG: usize = 16;
/// Of 20 bytes of SHA-1, those that `…_80` sends.
const SHA1_TAG: usize = 10;
const SHA1_KEY: usize = 20;

/// The library counts its own RTCP from 0. It would take a year of thirty packets a second to come here; from here to the end of all
/// indices it takes as long again.
const FIRST_RTCP_INDEX: u32 = 1 << 30;

/// SSRCs in whose name a client may send RTCP: more than one has streams. What it sends in more names is not read, since to forget one
/// would let its packets be played again.
const RTCP_SENDERS: usize = 256;

/// What each derived key is for (RFC 3711, 4.3.2).
#[derive(Debug, Clone, Copy)]
struct Labels {
    cipher: u8,
    authentication: u8,
    salt: u8,
}

const RTP: Labels = Labels { cipher: 0, authentication: 1, salt: 2 };
const RTCP: Labels = Labels { cipher: 3, authentication: 4, salt: 5 };

/// Protects what we send on one connection.
pub struct Sealer {
    rtp: Protection,
    rtcp: Protection,
    next_rtcp: u32,
}

impl Sealer {
    pub fn new(keys: &Keys) -> Self {
        let derived = |labels| Protection::new(keys.profile, &keys.outgoing, labels);
        Self { rtp: derived(RTP), rtcp: derived(RTCP), next_rtcp: FIRST_RTCP_INDEX }
    }

    /// Bytes that sealing adds to RTP.
    pub const fn tag_len(&self) -> usize {
        self.rtp.tag_len()
    }

    /// Bytes that sealing adds to RTCP.
    pub const fn rtcp_overhead(&self) -> usize {
        self.rtcp.tag_len() + RTCP_INDEX
    }

    /// `packet`: `header` bytes with all extensions, payload, then room for the tag. `index`: roll-over counter and sequence number, of
    /// 48 bits. No two packets of an SSRC may have one index.
    pub fn seal_rtp(&self, packet: &mut [u8], header: usize, index: u64) {
        let end = packet.len() - self.tag_len();
        assert!((RTP_HEADER..=end).contains(&header) && index >> 48 == 0, "a whole packet and an index of 48 bits");
        debug_assert_eq!(packet[2..4], (index as u16).to_be_bytes(), "the index says the sequence number");
        let ssrc = word(packet, 8);
        match &self.rtp {
            Protection::Gcm { key, salt } => {
                let (body, tag) = packet.split_at_mut(end);
                let (header, payload) = body.split_at_mut(header);
                gcm_seal(key, gcm_nonce(salt, ssrc, index), header, payload, tag);
            }
            Protection::Counter(keys) => {
                keys.run(ssrc, index, &mut packet[header..end]);
                // The roll-over counter is authenticated, not sent (RFC 3711, 4.2): the tag's room is free to hold it.
                packet[end..][..4].copy_from_slice(&((index >> 16) as u32).to_be_bytes());
                let tag = keys.tag(&packet[..end + 4]);
                packet[end..].copy_from_slice(&tag);
            }
        }
    }

    /// Appends index and tag to a whole compound packet.
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>) {
        assert!(packet.len() >= RTCP_HEADER, "RTCP begins with a header and an SSRC");
        let index = self.next_rtcp;
        assert!(index < ENCRYPTED, "a connection does not live for so many packets");
        self.next_rtcp += 1;
        let ssrc = word(packet, 4);
        let flagged = (index | ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            Protection::Gcm { key, salt } => {
                let associated = rtcp_associated(packet, flagged);
                let nonce = gcm_nonce(salt, ssrc, index.into());
                let mut tag = [0; GCM_TAG];
                gcm_seal(key, nonce, &associated, &mut packet[RTCP_HEADER..], &mut tag);
                packet.extend_from_slice(&tag);
                packet.extend_from_slice(&flagged);
            }
            Protection::Counter(keys) => {
                keys.run(ssrc, index.into(), &mut packet[RTCP_HEADER..]);
                packet.extend_from_slice(&flagged);
                let tag = keys.tag(packet);
                packet.extend_from_slice(&tag);
            }
        }
    }
}

/// Opens the RTCP that comes on one connection.
pub struct Opener {
    rtcp: Protection,
    senders: Vec<Window>,
}

impl Opener {
    pub fn new(keys: &Keys) -> Self {
        Self { rtcp: Protection::new(keys.profile, &keys.incoming, RTCP), senders: Vec::new() }
    }

    /// The compound packet, in `into`. `None`: it is not the other side's, was opened before, is too old to tell, or is not encrypted,
    /// which all profiles ask for.
    pub fn open_rtcp<'a>(&mut self, packet: &[u8], into: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let overhead = self.rtcp.tag_len() + RTCP_INDEX;
        if packet.len() < RTCP_HEADER + overhead {
            return None;
        }
        let ssrc = word(packet, 4);
        let sender = self.senders.iter().position(|sender| sender.ssrc == ssrc);
        if sender.is_none() && self.senders.len() == RTCP_SENDERS {
            return None;
        }
        let flagged = word(packet, packet.len() - self.rtcp.index_from_end());
        let index = flagged & !ENCRYPTED;
        if flagged & ENCRYPTED == 0 || sender.is_some_and(|at| !self.senders[at].is_new(index)) {
            return None;
        }
        let opened = open(&self.rtcp, packet, flagged, into)?;
        match sender {
            Some(at) => self.senders[at].note(index),
            None => self.senders.push(Window::new(ssrc, index)),
        }
        Some(opened)
    }
}

fn open<'a>(protection: &Protection, packet: &[u8], flagged: u32, into: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let (ssrc, index) = (word(packet, 4), u64::from(flagged & !ENCRYPTED));
    let end = packet.len() - RTCP_INDEX - protection.tag_len();
    into.clear();
    match protection {
        Protection::Gcm { key, salt } => {
            let associated = rtcp_associated(packet, flagged.to_be_bytes());
            into.extend_from_slice(&packet[..packet.len() - RTCP_INDEX]);
            let nonce = Nonce::assume_unique_for_key(gcm_nonce(salt, ssrc, index));
            key.open_in_place(nonce, Aad::from(associated), &mut into[RTCP_HEADER..]).ok()?;
        }
        Protection::Counter(keys) => {
            let (authenticated, tag) = packet.split_at(packet.len() - SHA1_TAG);
            if !bool::from(keys.tag(authenticated).ct_eq(tag)) {
                return None;
            }
            into.extend_from_slice(&packet[..end]);
            keys.run(ssrc, index, &mut into[RTCP_HEADER..]);
        }
    }
    Some(&into[..end])
}

/// Which indices of one SSRC have come: the newest and the 63 before it (RFC 3711, 3.3.2).
struct Window {
    ssrc: u32,
    newest: u32,
    /// Bit n: the newest less n has come.
    seen: u64,
}

impl Window {
    const fn new(ssrc: u32, index: u32) -> Self {
        Self { ssrc, newest: index, seen: 1 }
    }

    fn is_new(&self, index: u32) -> bool {
        match self.newest.checked_sub(index) {
            None => true,
            Some(age) => age < u64::BITS && self.seen >> age & 1 == 0,
        }
    }

    fn note(&mut self, index: u32) {
        if let Some(age) = self.newest.checked_sub(index) {
            self.seen |= 1 << age;
        } else {
            self.seen = self.seen.checked_shl(index - self.newest).unwrap_or(0) | 1;
            self.newest = index;
        }
    }
}

/// The derived keys of RTP or RTCP in one direction. Ciphers keep their key schedules: none is made for a packet.
enum Protection {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    /// Boxed: it has 2 KB, and hardly a client asks for it.
    Counter(Box<Counter>),
}

struct Counter {
    key: EncryptingKey,
    salt: [u8; 14],
    authentication: hmac::Key,
}

impl Protection {
    fn new(profile: Profile, master: &Master, labels: Labels) -> Self {
        let algorithm = match profile {
            Profile::Aes128CmSha1 => {
                let key = counter_key(&derive::<16>(profile, master, labels.cipher)[..]);
                let salt = *derive(profile, master, labels.salt);
                let secret = derive::<SHA1_KEY>(profile, master, labels.authentication);
                let authentication = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret[..]);
                return Self::Counter(Box::new(Counter { key, salt, authentication }));
            }
            Profile::Aes128Gcm => &aead::AES_128_GCM,
            Profile::Aes256Gcm => &aead::AES_256_GCM,
        };
        let secret = derive::<32>(profile, master, labels.cipher);
        Self::gcm(algorithm, &secret[..profile.key_len()], *derive(profile, master, labels.salt))
    }

    fn gcm(algorithm: &'static aead::Algorithm, secret: &[u8], salt: [u8; 12]) -> Self {
        let key = UnboundKey::new(algorithm, secret).expect("the key has the algorithm's length");
        Self::Gcm { key: LessSafeKey::new(key), salt }
    }

    const fn tag_len(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG,
            Self::Counter(_) => SHA1_TAG,
        }
    }

    /// Where the index of SRTCP begins: after the tag under GCM (RFC 7714, 9), before it otherwise (RFC 3711, 3.4).
    const fn index_from_end(&self) -> usize {
        match self {
            Self::Gcm { .. } => RTCP_INDEX,
            Self::Counter(_) => RTCP_INDEX + SHA1_TAG,
        }
    }
}

impl Counter {
    /// Encrypts or decrypts.
    fn run(&self, ssrc: u32, index: u64, bytes: &mut [u8]) {
        counter(&self.key, counter_iv(&self.salt, ssrc, index), bytes);
    }

    fn tag(&self, bytes: &[u8]) -> [u8; SHA1_TAG] {
        *hmac::sign(&self.authentication, bytes).as_ref().first_chunk().expect("SHA-1 has 20 bytes")
    }
}

/// RFC 3711, 4.3.3, and RFC 6188 for keys of 256 bits: the key stream under the master key, which never changes on a connection.
fn derive<const N: usize>(profile: Profile, master: &Master, label: u8) -> Zeroizing<[u8; N]> {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(master.salt());
    iv[7] ^= label;
    let mut derived = Zeroizing::new([0; N]);
    counter(&counter_key(master.key(profile)), iv, &mut derived[..]);
    derived
}

fn counter_key(secret: &[u8]) -> EncryptingKey {
    let algorithm = if secret.len() == 16 { &cipher::AES_128 } else { &cipher::AES_256 };
    let key = UnboundCipherKey::new(algorithm, secret).expect("the key has the algorithm's length");
    EncryptingKey::ctr(key).expect("AES has a counter mode")
}

fn counter(key: &EncryptingKey, iv: [u8; 16], bytes: &mut [u8]) {
    key.less_safe_encrypt(bytes, EncryptionContext::Iv128(iv.into())).expect("counter mode takes any length");
}

/// RFC 3711, 4.1.1. An index of SRTCP is one of 48 bits that has only 31.
fn counter_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    let mixed = word(&iv, 4) ^ ssrc;
    iv[4..8].copy_from_slice(&mixed.to_be_bytes());
    mix_index(&mut iv[8..14], index);
    iv
}

/// RFC 7714, 8.1 and 9.1.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> [u8; 12] {
    let mut nonce = *salt;
    let mixed = word(&nonce, 2) ^ ssrc;
    nonce[2..6].copy_from_slice(&mixed.to_be_bytes());
    mix_index(&mut nonce[6..], index);
    nonce
}

fn mix_index(bytes: &mut [u8], index: u64) {
    for (byte, index) in bytes.iter_mut().zip(&index.to_be_bytes()[2..]) {
        *byte ^= index;
    }
}

fn gcm_seal(key: &LessSafeKey, nonce: [u8; 12], associated: &[u8], bytes: &mut [u8], tag: &mut [u8]) {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = key.seal_in_place_scatter(nonce, Aad::from(associated), bytes, &[], tag);
    sealed.expect("a packet is shorter than what GCM can seal, and the tag has its room");
}

/// RFC 7714, 9.2: the readable header, then the index.
fn rtcp_associated(packet: &[u8], flagged: [u8; RTCP_INDEX]) -> [u8; RTCP_HEADER + RTCP_INDEX] {
    let mut associated = [0; RTCP_HEADER + RTCP_INDEX];
    associated[..RTCP_HEADER].copy_from_slice(&packet[..RTCP_HEADER]);
    associated[RTCP_HEADER..].copy_from_slice(&flagged);
    associated
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use str0m::rtp::RawPacket;
    use str0m::rtp::rtcp::Rtcp;

    use super::super::keys::Role;
    use super::super::pair::Pair;
    use super::*;

    const PROFILES: [Profile; 3] = [Profile::Aes128CmSha1, Profile::Aes128Gcm, Profile::Aes256Gcm];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// Sealer and opener of the two ends of one direction.
    fn ends(profile: Profile) -> (Sealer, Opener) {
        let material: Vec<u8> = (0..2 * (profile.key_len() + profile.salt_len()) as u8).collect();
        let keys = |role| Keys::new(profile, &material, role).unwrap();
        (Sealer::new(&keys(Role::Server)), Opener::new(&keys(Role::Client)))
    }

    /// RFC 3711, B.3; those of RTCP by its labels.
    #[test]
    fn keys_are_derived_as_rfc_3711_says() {
        let master = Master::new(&hex("e1f97a0d3e018be0d64fa32c06de4139"), &hex("0ec675ad498afeebb6960b3aabe6"));
        let profile = Profile::Aes128CmSha1;
        assert_eq!(derive::<16>(profile, &master, RTP.cipher)[..], hex("c61e7a93744f39ee10734afe3ff7a087"));
        assert_eq!(derive::<14>(profile, &master, RTP.salt)[..], hex("30cbbc08863d8c85d49db34a9ae1"));
        // The RFC goes on to 94 bytes.
        let authentication = hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4 8f0a0acf3c34e2359e6cdbcee049646c");
        assert_eq!(derive::<36>(profile, &master, RTP.authentication)[..], authentication);
        assert_eq!(derive::<16>(profile, &master, RTCP.cipher)[..], hex("4c1aa45a81f73d61c800bbb00fbb1eaa"));
        assert_eq!(derive::<14>(profile, &master, RTCP.salt)[..], hex("9581c7ad87b3e530bf3e4454a8b3"));
    }

    /// RFC 3711, B.2.
    #[test]
    fn the_counter_is_that_of_rfc_3711() {
        let key = counter_key(&hex("2b7e151628aed2a6abf7158809cf4f3c"));
        let salt: [u8; 14] = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap();
        let mut stream = [0; 48];
        counter(&key, counter_iv(&salt, 0, 0), &mut stream);
        let expected =
            "e03ead0935c95e80e166b16dd92b4eb4 d23513162b02d0f72a43a2fe4a5f97ab 41e95b3bb0a2e8dd477901e4fca894c0";
        assert_eq!(stream[..], hex(expected));
    }

    /// The packets that libsrtp checks itself with, under the master key of RFC 3711, B.3.
    #[test]
    fn packets_under_sha_1_are_those_of_libsrtp() {
        let master = || Master::new(&hex("e1f97a0d3e018be0d64fa32c06de4139"), &hex("0ec675ad498afeebb6960b3aabe6"));
        let keys = Keys { profile: Profile::Aes128CmSha1, outgoing: master(), incoming: master() };
        let mut sealer = Sealer::new(&keys);
        let mut packet = hex("800f1234decafbadcafebabe abababababababababababababababab 00000000000000000000");
        sealer.seal_rtp(&mut packet, 12, 0x1234);
        assert_eq!(packet, hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb"));
        sealer.next_rtcp = 1;
        let plain = hex("81c8000bcafebabe abababababababababababababababab");
        let mut packet = plain.clone();
        sealer.seal_rtcp(&mut packet);
        assert_eq!(packet, hex("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798"));
        assert_eq!(Opener::new(&keys).open_rtcp(&packet, &mut Vec::new()), Some(&plain[..]));
    }

    /// RFC 7714, 16.1.1, 16.2.1, 17.1 and 17.3: session keys, without a derivation.
    #[test]
    fn packets_under_gcm_are_those_of_rfc_7714() {
        let secret: Vec<u8> = (0..32).collect();
        let cases = [
            (
                &aead::AES_128_GCM,
                "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
                 899d7f27beb16a9152cf765ee4390cce",
                "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa458
                 96cf4d2fc5abf87245d9eade800005d4",
            ),
            (
                &aead::AES_256_GCM,
                "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
                 7aa3db36dfffd6b0f9bb7878d7a76c13",
                "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c
                 4446839f57ff6f6cb26ac3be800005d4",
            ),
        ];
        for (algorithm, sealed_rtp, sealed_rtcp) in cases {
            let protection = || Protection::gcm(algorithm, &secret[..algorithm.key_len()], *b"Quid pro quo");
            let mut sealer = Sealer { rtp: protection(), rtcp: protection(), next_rtcp: 0x5d4 };
            let header = hex("8040f17b8041f8d35501a0b2");
            let mut packet = [&header[..], b"Gallia est omnis divisa in partes tres", &[0; 16]].concat();
            sealer.seal_rtp(&mut packet, 12, 0xf17b);
            assert_eq!(packet, [header, hex(sealed_rtp)].concat());

            let header = hex("81c8000d4d617273");
            let body =
                "4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef";
            let plain = [header.clone(), hex(body)].concat();
            let mut packet = plain.clone();
            sealer.seal_rtcp(&mut packet);
            assert_eq!(packet, [header, hex(sealed_rtcp)].concat());
            let mut opener = Opener { rtcp: protection(), senders: Vec::new() };
            assert_eq!(opener.open_rtcp(&packet, &mut Vec::new()), Some(&plain[..]));
        }
    }

    /// Extensions, empty payloads, roll-over counters: all as another implementation sees them.
    #[test]
    fn the_library_of_the_other_side_opens_what_is_sealed() {
        for profile in PROFILES {
            let mut pair = Pair::connected(profile);
            let mid = pair.audio;
            let ssrc = *pair.ends[0].rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc();
            let pt = *pair.ends[0].rtc.codec_config().params()[0].pt();
            let [keys, _] = pair.keys();
            let mut sealer = Sealer::new(&keys);
            let long = vec![7; 1100];
            // 65534 and on: over the end of the sequence numbers, which the roll-over counter counts.
            for (index, payload) in (65_534u64..).zip([&b"a"[..], &long, b"sixteen bytes...", b"bc"]) {
                let mut packet = vec![0x90, pt];
                packet.extend((index as u16).to_be_bytes());
                packet.extend([0, 0, 0, index as u8]);
                packet.extend(ssrc.to_be_bytes());
                // One extension (RFC 8285): an audio level.
                packet.extend([0xbe, 0xde, 0, 1, 0x10, 0x80 | 9, 0, 0]);
                let header = packet.len();
                packet.extend(payload);
                packet.resize(packet.len() + sealer.tag_len(), 0);
                sealer.seal_rtp(&mut packet, header, index);
                pair.deliver(1, &packet);
                let got = pair.ends[1].packets.pop().unwrap_or_else(|| panic!("{profile:?} {index} is opened"));
                assert_eq!((&got.payload[..], *got.header.ssrc), (payload, ssrc), "{profile:?}");
                assert_eq!(got.header.ext_vals.audio_level, Some(-9));
            }
            // A report, twice: the index of each is its own.
            for _ in 0..2 {
                let mut report = hex("80c80006 00000000 83aa7e80 80000000 00000001 00000002 00000003");
                report[4..8].copy_from_slice(&ssrc.to_be_bytes());
                pair.ends[1].raw.clear();
                sealer.seal_rtcp(&mut report);
                pair.deliver(1, &report);
                let seen = pair.ends[1].raw.iter().filter_map(|raw| match raw {
                    RawPacket::RtcpRx(Rtcp::SenderReport(report)) => Some(&report.sender_info),
                    _ => None,
                });
                let seen: Vec<_> = seen.map(|info| (*info.ssrc, info.sender_packet_count)).collect();
                assert_eq!(seen, [(ssrc, 2)], "{profile:?}");
            }
        }
    }

    #[test]
    fn what_the_library_of_the_other_side_seals_is_opened_once() {
        for profile in PROFILES {
            let mut pair = Pair::connected(profile);
            let [keys, _] = pair.keys();
            let mid = pair.audio;
            let ssrc = pair.ends[0].rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc();
            // Sound for seven seconds: the receiver reports on it every five.
            for n in 0..350u64 {
                let pt = pair.ends[0].rtc.codec_config().params()[0].pt();
                let mut api = pair.ends[0].rtc.direct_api();
                let packet = str0m::rtp::RtpWrite::new(pt, n.into(), 960 * n as u32, pair.now, &b"sound"[..]);
                api.stream_tx(&ssrc).unwrap().write_rtp(packet);
                pair.run(std::time::Duration::from_millis(20));
            }
            let told = |raw: &&RawPacket| matches!(raw, RawPacket::RtcpTx(Rtcp::ReceiverReport(_)));
            assert!(pair.ends[1].raw.iter().any(|raw| told(&raw)));
            let mut opener = Opener::new(&keys);
            let sealed = std::mem::take(&mut pair.ends[1].rtcp);
            let mut opened = Vec::new();
            for packet in &sealed {
                let plain = opener.open_rtcp(packet, &mut opened).expect("it is the other side's");
                assert!((200..=207).contains(&plain[1]) && plain.len().is_multiple_of(4));
            }
            assert!(!sealed.is_empty());
            assert!(sealed.iter().all(|packet| opener.open_rtcp(packet, &mut opened).is_none()), "played again");
        }
    }

    fn report(sealer: &mut Sealer, ssrc: u32) -> Vec<u8> {
        let mut packet = [&hex("80c90001")[..], &ssrc.to_be_bytes(), &hex("81cb0001 00000001")].concat();
        sealer.seal_rtcp(&mut packet);
        packet
    }

    #[test]
    fn whatever_is_changed_or_cut_is_refused() {
        for profile in PROFILES {
            let (mut sealer, mut opener) = ends(profile);
            let packet = report(&mut sealer, 5);
            let mut into = Vec::new();
            for at in 0..packet.len() {
                for bit in 0..8 {
                    let mut changed = packet.clone();
                    changed[at] ^= 1 << bit;
                    assert_eq!(opener.open_rtcp(&changed, &mut into), None, "{profile:?}, byte {at}, bit {bit}");
                }
                assert_eq!(opener.open_rtcp(&packet[..at], &mut into), None);
            }
            assert!(opener.senders.is_empty(), "nothing is kept of what is not the other side's");
            assert_eq!(opener.open_rtcp(&packet, &mut into), Some(&hex("80c90001 00000005 81cb0001 00000001")[..]));
        }
    }

    #[test]
    fn what_is_authentic_but_not_encrypted_is_refused() {
        let (sealer, mut opener) = ends(Profile::Aes128CmSha1);
        let Protection::Counter(keys) = &sealer.rtcp else { panic!("it is that profile's") };
        let mut packet = hex("80c90001 00000005 81cb0001 00000001 00000007");
        let tag = keys.tag(&packet);
        packet.extend(tag);
        assert_eq!(opener.open_rtcp(&packet, &mut Vec::new()), None);
    }

    #[test]
    fn each_packet_is_opened_once_in_any_order_near_the_newest() {
        let (mut sealer, mut opener) = ends(Profile::Aes128Gcm);
        let packets: Vec<_> = (0..200).map(|_| report(&mut sealer, 5)).collect();
        let mut into = Vec::new();
        let mut open = |n: usize| opener.open_rtcp(&packets[n], &mut into).is_some();
        assert!(open(100) && open(98) && open(37));
        assert!(!open(100) && !open(98) && !open(37), "played again");
        assert!(!open(36), "too old to tell");
        assert!(open(163) && !open(100) && open(101), "the window moved by its whole length less one");
        assert!(open(199));
        assert!((136..200).all(|n| open(n) != [163, 199].contains(&n)));
        assert!((0..200).all(|n| !open(n)));
        let other = report(&mut sealer, 6);
        assert!(opener.open_rtcp(&other, &mut into).is_some());
    }

    #[test]
    fn names_beyond_the_bound_are_refused_and_none_is_forgotten() {
        let (mut sealer, mut opener) = ends(Profile::Aes128Gcm);
        let packets: Vec<_> = (0..=RTCP_SENDERS as u32).map(|ssrc| report(&mut sealer, ssrc)).collect();
        let mut into = Vec::new();
        let opened = packets.iter().filter(|packet| opener.open_rtcp(packet, &mut into).is_some()).count();
        assert_eq!(opened, RTCP_SENDERS);
        assert!(packets.iter().all(|packet| opener.open_rtcp(packet, &mut into).is_none()));
        assert!(opener.open_rtcp(&report(&mut sealer, 3), &mut into).is_some());
    }

    #[test]
    fn the_indices_of_our_rtcp_are_not_those_of_the_library() {
        let (mut sealer, _) = ends(Profile::Aes128Gcm);
        for n in 0..3 {
            let packet = report(&mut sealer, 5);
            assert_eq!(word(&packet, packet.len() - 4), 0xc000_0000 + n, "half of all indices are the library's");
        }
    }
}
