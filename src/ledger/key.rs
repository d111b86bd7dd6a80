//! The keys of the tables: big-endian, so that the order of the bytes is the order of the values.

use crate::base::{CallId, EndpointId};

/// Bytes of a call's key.
pub const CALL: usize = 16;
/// Bytes of a fact's key.
pub const FACT: usize = CALL + 8;
/// Stands between an endpoint's name, which never contains it, and what follows.
const END: u8 = 0;

pub fn call(call: CallId) -> [u8; CALL] {
    call.as_u128().to_be_bytes()
}

pub fn read_call(key: &[u8; CALL]) -> CallId {
    CallId::from_u128(u128::from_be_bytes(*key))
}

/// The facts of a call lie together, by number.
pub fn fact(of: CallId, seq: u64) -> [u8; FACT] {
    let mut key = [0; FACT];
    key[..CALL].copy_from_slice(&call(of));
    key[CALL..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub fn read_fact(key: &[u8; FACT]) -> (CallId, u64) {
    let (call, seq) = key.split_at(CALL);
    (
        read_call(call.try_into().expect("the first part of a fact's key")),
        u64::from_be_bytes(seq.try_into().expect("the second part of a fact's key")),
    )
}

/// The lanes of an endpoint lie together, by call: the oldest call first.
pub fn lane(endpoint: &EndpointId, of: CallId) -> Vec<u8> {
    let mut key = Vec::with_capacity(endpoint.as_str().len() + 1 + CALL);
    key.extend_from_slice(endpoint.as_str().as_bytes());
    key.push(END);
    key.extend_from_slice(&call(of));
    key
}

/// `None`: no lane's key.
pub fn read_lane(key: &[u8]) -> Option<(EndpointId, CallId)> {
    let (front, of) = key.split_last_chunk::<CALL>()?;
    let name = front.strip_suffix(&[END])?;
    Some((std::str::from_utf8(name).ok()?.parse().ok()?, read_call(of)))
}

/// Dead letters lie by endpoint, call and the first number they cover.
pub fn dead(endpoint: &EndpointId, of: CallId, from: u64) -> Vec<u8> {
    let mut key = lane(endpoint, of);
    key.extend_from_slice(&from.to_be_bytes());
    key
}

/// `None`: no dead letter's key.
pub fn read_dead(key: &[u8]) -> Option<(EndpointId, CallId, u64)> {
    let (front, from) = key.split_last_chunk::<8>()?;
    let (endpoint, of) = read_lane(front)?;
    Some((endpoint, of, u64::from_be_bytes(*from)))
}

/// The replays of an endpoint lie together, in the order in which they were asked for.
pub fn replay(endpoint: &EndpointId, replay: u128) -> Vec<u8> {
    lane(endpoint, CallId::from_u128(replay))
}

/// `None`: no replay's key.
pub fn read_replay(key: &[u8]) -> Option<(EndpointId, u128)> {
    read_lane(key).map(|(endpoint, replay)| (endpoint, replay.as_u128()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str) -> EndpointId {
        name.parse().unwrap()
    }

    #[test]
    fn keys_survive_their_bytes() {
        let of = CallId::from_u128(u128::MAX - 5);
        assert_eq!(read_call(&call(of)), of);
        assert_eq!(read_fact(&fact(of, 258)), (of, 258));
        assert_eq!(read_lane(&lane(&endpoint("a.b"), of)), Some((endpoint("a.b"), of)));
        assert_eq!(read_dead(&dead(&endpoint("a.b"), of, 7)), Some((endpoint("a.b"), of, 7)));
    }

    #[test]
    fn keys_sort_as_their_values_do() {
        let (early, late) = (CallId::from_u128(255), CallId::from_u128(256));
        assert!(fact(early, u64::MAX) < fact(late, 1));
        assert!(fact(early, 255) < fact(early, 256));
        assert!(lane(&endpoint("a"), late) < lane(&endpoint("a-b"), early), "a prefix stays in front");
        assert!(lane(&endpoint("a"), early) < lane(&endpoint("a"), late));
        assert!(dead(&endpoint("a"), early, 255) < dead(&endpoint("a"), early, 256));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(read_lane(b"short"), None);
        assert_eq!(read_lane(&[b'a'; 40]), None, "no end of the name");
        assert_eq!(read_lane(&[0; 17]), None, "no name");
        assert_eq!(read_dead(&lane(&endpoint("a"), CallId::from_u128(1))), None);
    }
}
