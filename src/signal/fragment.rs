//! The fragments of SDP that trickle ICE and restart it: `application/trickle-ice-sdpfrag` (RFC 8840, 9; RFC 9725, 4.3).

use super::offer::{self, Credentials};

/// The longest fragment that is looked at, in bytes.
pub const MAX_LEN: usize = 16 * 1024;
/// The most candidates one fragment brings.
const MAX_CANDIDATES: usize = 64;

/// What a client says of its ICE agent. Its candidates are read and not kept: an ICE-lite server learns addresses from checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub credentials: Credentials,
    pub candidates: usize,
}

/// A text that is no such fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

impl Fragment {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > MAX_LEN {
            return Err(Malformed("the fragment is too long"));
        }
        let Some(credentials) = offer::credentials(text) else {
            return Err(Malformed("the fragment names no a=ice-ufrag and a=ice-pwd"));
        };
        // RFC 8839, 5.4.
        if !is_ice(&credentials.ufrag, 4) || !is_ice(&credentials.pwd, 22) {
            return Err(Malformed("a=ice-ufrag has 4 to 256 and a=ice-pwd 22 to 256 letters, digits, \"+\" and \"/\""));
        }
        let candidates = text.lines().filter(|line| line.starts_with("a=candidate:")).count();
        if candidates > MAX_CANDIDATES {
            return Err(Malformed("the fragment brings too many candidates"));
        }
        let is_attribute = |line: &str| {
            let mut letters = line.chars();
            letters.next().is_some_and(|letter| letter.is_ascii_lowercase()) && letters.next() == Some('=')
        };
        if !text.lines().filter(|line| !line.trim().is_empty()).all(is_attribute) {
            return Err(Malformed("the fragment has a line that is no SDP"));
        }
        Ok(Self { credentials, candidates })
    }
}

fn is_ice(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

/// The server's side of a restart, from its answer: the new credentials, and the candidates under the m-line that carries the bundle.
pub fn of_answer(answer: &str) -> String {
    let (session, media) = answer.split_once("\r\nm=").unwrap_or((answer, ""));
    let first = media.split("\r\nm=").next().unwrap_or_default();
    let of_session = session.lines().filter(|line| ["a=ice-", "a=group:"].iter().any(|name| line.starts_with(name)));
    let of_media = first.lines().skip(1).filter(|line| {
        ["a=mid:", "a=ice-", "a=candidate:", "a=end-of-candidates"].iter().any(|name| line.starts_with(name))
    });
    let mut fragment = String::new();
    let media_line = first.lines().next().map(|line| format!("m={line}"));
    for line in of_session.map(str::to_owned).chain(media_line).chain(of_media.map(str::to_owned)) {
        fragment += &line;
        fragment += "\r\n";
    }
    fragment
}

#[cfg(test)]
mod tests {
    use super::*;

    const PWD: &str = "P2uYro0UCOQ4zxjKXaWCBui1";

    #[test]
    fn a_fragment_is_read_for_its_credentials() {
        let text = format!(
            "a=ice-ufrag:EsAw\r\na=ice-pwd:{PWD}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n\
             a=end-of-candidates\r\n"
        );
        let credentials = Credentials { ufrag: "EsAw".into(), pwd: PWD.into() };
        assert_eq!(Fragment::parse(&text), Ok(Fragment { credentials, candidates: 1 }));
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        let good = format!("a=ice-ufrag:EsAw\r\na=ice-pwd:{PWD}\r\n");
        assert!(Fragment::parse(&good).is_ok());
        for bad in [
            String::new(),
            "a=ice-ufrag:EsAw\r\n".into(),
            good.replace("EsAw", "Es:"),
            good.replace("EsAw", "Es\u{e4}w"),
            good.replace(PWD, "short"),
            good.clone() + "{\"json\":1}",
            good.clone() + &"a=candidate:1\r\n".repeat(65),
            good.clone() + &"a=x\r\n".repeat(MAX_LEN),
        ] {
            assert!(Fragment::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_servers_fragment_has_what_a_restart_changes() {
        let answer = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
                      c=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=ice-ufrag:new\r\na=ice-pwd:secret\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 \
                      typ host\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:new\r\n";
        assert_eq!(
            of_answer(answer),
            "a=group:BUNDLE 0 1\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:new\r\na=ice-pwd:secret\r\na=mid:0\r\n\
             a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
        );
        assert_eq!(of_answer(""), "", "whatever it is given");
    }
}
