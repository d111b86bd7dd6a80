//! The ICE name of a peer begins with the number of its shard, so that a TCP connection can be handed to the right one by its first check.

/// Hexadecimal digits of the number; the name itself keeps the randomness that RFC 8445, 5.3, asks for.
const DIGITS: usize = 3;

/// As many shards can be told apart.
pub const MAX_SHARDS: usize = 1 << (4 * DIGITS);

/// A name of a peer of this shard.
pub fn tagged(shard: usize, random: &str) -> String {
    assert!(shard < MAX_SHARDS, "a shard's number has {DIGITS} digits");
    format!("{shard:0DIGITS$x}/{random}")
}

/// The shard that a name says, if it is one of ours.
pub fn shard_of(ufrag: &str) -> Option<usize> {
    let (shard, _) = ufrag.split_once('/')?;
    let digits = shard.len() == DIGITS && shard.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| usize::from_str_radix(shard, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_shard_and_others_say_none() {
        for shard in [0, 1, 15, 16, MAX_SHARDS - 1] {
            assert_eq!(shard_of(&tagged(shard, "Ab12")), Some(shard));
        }
        for foreign in ["", "/", "00/x", "0000/x", "+1f/x", "0F0/x", "xyz/x", "000x", "f\u{fb}0/x"] {
            assert_eq!(shard_of(foreign), None, "{foreign}");
        }
    }

    /// RFC 8839, 5.4: 4 to 256 of letters, digits, "+" and "/".
    #[test]
    fn a_name_is_one_that_sdp_can_carry() {
        let name = tagged(9, "aB3+");
        assert!(name.len() >= 4 && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/'));
    }
}
