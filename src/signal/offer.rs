//! A WHIP or WHEP client's offer, as far as this door reads it: which m-line is which source or slot, and its ICE credentials.

use crate::base::{Mid, Source};

/// What a WHEP client wants to receive: at most one of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    pub audio: Option<Mid>,
    pub video: Option<Mid>,
}

/// ICE credentials (RFC 8839, 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub ufrag: String,
    pub pwd: String,
}

/// An offer that this door does not take, with the reason for the developer who reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

/// One audio or video m-line that is not rejected.
struct Line<'a> {
    is_video: bool,
    mid: Mid,
    direction: &'a str,
    /// RFC 4796: `a=content:slides` is a shared screen.
    is_slides: bool,
}

/// What a WHIP client sends: the first audio is its microphone, the first video its camera, a second video or one of slides its screen.
pub fn sources(sdp: &str) -> Result<Vec<(Mid, Source)>, Unfit> {
    let mut sources: Vec<(Mid, Source)> = Vec::new();
    for line in lines(sdp)? {
        if !matches!(line.direction, "sendonly" | "sendrecv") {
            return unfit("a WHIP client only sends: every m-line is sendonly (RFC 9725, 4.2)");
        }
        let taken = |source| sources.iter().any(|(_, other)| *other == source);
        let source = match (line.is_video, line.is_slides) {
            (false, _) => Source::Microphone,
            (true, false) if !taken(Source::Camera) => Source::Camera,
            (true, _) => Source::Screen,
        };
        if taken(source) {
            return unfit("at most one audio and two video m-lines are taken");
        }
        sources.push((line.mid, source));
    }
    if sources.is_empty() { unfit("it has no audio or video m-line") } else { Ok(sources) }
}

/// What a WHEP client receives.
pub fn wanted(sdp: &str) -> Result<Wanted, Unfit> {
    let mut wanted = Wanted::default();
    for line in lines(sdp)? {
        if line.direction != "recvonly" {
            return unfit("a WHEP client only receives: every m-line is recvonly");
        }
        let place = if line.is_video { &mut wanted.video } else { &mut wanted.audio };
        if place.replace(line.mid).is_some() {
            return unfit("at most one audio and one video m-line are taken");
        }
    }
    if wanted == Wanted::default() { unfit("it has no audio or video m-line") } else { Ok(wanted) }
}

/// The credentials of the session or of its first m-line that has some.
pub fn credentials(sdp: &str) -> Option<Credentials> {
    let attribute =
        |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned());
    Some(Credentials { ufrag: attribute("a=ice-ufrag:")?, pwd: attribute("a=ice-pwd:")? })
}

/// The same offer as if it were made now, after the client restarted ICE: other credentials, no candidates.
pub fn restarted(sdp: &str, credentials: &Credentials) -> String {
    let mut offer = String::with_capacity(sdp.len());
    for line in sdp.lines() {
        let line = line.trim_end();
        match line.split_once(':').map_or(line, |(name, _)| name) {
            "a=ice-ufrag" => offer += &format!("a=ice-ufrag:{}\r\n", credentials.ufrag),
            "a=ice-pwd" => offer += &format!("a=ice-pwd:{}\r\n", credentials.pwd),
            "a=candidate" | "a=end-of-candidates" => {}
            _ => {
                offer += line;
                offer += "\r\n";
            }
        }
    }
    offer
}

fn unfit<T>(reason: &str) -> Result<T, Unfit> {
    Err(Unfit(reason.to_owned()))
}

/// The m-lines of audio and video that are neither rejected (port 0 outside a bundle) nor inactive.
fn lines(sdp: &str) -> Result<Vec<Line<'_>>, Unfit> {
    if !sdp.starts_with("v=0") {
        return unfit("it is no SDP");
    }
    // Without them nothing connects; said here, before anyone hears of a newcomer.
    if credentials(sdp).is_none() || !sdp.contains("\na=fingerprint:") {
        return unfit("it has no a=ice-ufrag, a=ice-pwd or a=fingerprint");
    }
    let mut sections: Vec<Vec<&str>> = vec![Vec::new()];
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().expect("there is the session's").push(line);
    }
    // RFC 8866, 6.7: a direction at session level is the default of every m-line.
    let default = direction(&sections[0]).unwrap_or("sendrecv");
    let mut lines = Vec::new();
    for section in &sections[1..] {
        let is_video = match section[0].split(' ').next() {
            Some("m=audio") => false,
            Some("m=video") => true,
            _ => continue,
        };
        let direction = direction(section).unwrap_or(default);
        let is_rejected = section[0].split(' ').nth(1) == Some("0") && !section.contains(&"a=bundle-only");
        if is_rejected || direction == "inactive" {
            continue;
        }
        let Some(mid) = section.iter().find_map(|line| line.strip_prefix("a=mid:")) else {
            return unfit("an m-line has no a=mid");
        };
        let mid = mid.parse().map_err(|error| Unfit(format!("{error}")))?;
        lines.push(Line { is_video, mid, direction, is_slides: section.contains(&"a=content:slides") });
    }
    Ok(lines)
}

fn direction<'a>(section: &[&'a str]) -> Option<&'a str> {
    let name = |line: &&'a str| line.strip_prefix("a=");
    section.iter().filter_map(name).find(|name| matches!(*name, "sendrecv" | "sendonly" | "recvonly" | "inactive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mid(text: &str) -> Mid {
        text.parse().unwrap()
    }

    const SECURITY: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:secret\r\na=fingerprint:sha-256 AB\r\n";

    fn sdp(sections: &[&str]) -> String {
        let mut sdp = format!("v=0\r\n{SECURITY}");
        for (index, section) in sections.iter().enumerate() {
            let (kind, attributes) = section.split_once(' ').unwrap();
            sdp += &format!("m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{index}\r\n");
            attributes.split(' ').for_each(|attribute| sdp += &format!("a={attribute}\r\n"));
        }
        sdp
    }

    #[test]
    fn a_publisher_sends_a_microphone_a_camera_and_a_screen() {
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, Source)]);
        let table: &[Case<'_>] = &[
            (&["audio sendonly", "video sendonly"], &[("0", Source::Microphone), ("1", Source::Camera)]),
            (&["video sendrecv"], &[("0", Source::Camera)]),
            (&["video sendonly", "video sendonly"], &[("0", Source::Camera), ("1", Source::Screen)]),
            (&["video sendonly content:slides", "video sendonly"], &[("0", Source::Screen), ("1", Source::Camera)]),
            (&["application sendrecv", "audio sendonly", "video inactive"], &[("1", Source::Microphone)]),
        ];
        for (sections, expected) in table {
            let expected: Vec<_> = expected.iter().map(|(name, source)| (mid(name), *source)).collect();
            assert_eq!(sources(&sdp(sections)), Ok(expected), "{sections:?}");
        }
    }

    #[test]
    fn a_viewer_receives_one_of_each() {
        let both = Wanted { audio: Some(mid("1")), video: Some(mid("0")) };
        assert_eq!(wanted(&sdp(&["video recvonly", "audio recvonly"])), Ok(both));
        assert_eq!(wanted(&sdp(&["audio recvonly"])), Ok(Wanted { audio: Some(mid("0")), video: None }));
    }

    #[test]
    fn other_offers_are_refused_with_the_reason() {
        type Case<'a> = (&'a [&'a str], &'a str);
        let publishers: &[Case<'_>] = &[
            (&[], "no audio or video"),
            (&["audio recvonly"], "only sends"),
            (&["audio sendonly", "audio sendonly"], "at most one audio"),
            (&["video sendonly", "video sendonly", "video sendonly"], "at most one audio"),
        ];
        for (sections, reason) in publishers {
            assert!(sources(&sdp(sections)).unwrap_err().0.contains(reason), "{sections:?}");
        }
        let viewers: &[Case<'_>] = &[
            (&["application sendrecv"], "no audio or video"),
            (&["video sendrecv"], "only receives"),
            (&["video recvonly", "video recvonly"], "at most one audio and one video"),
        ];
        for (sections, reason) in viewers {
            assert!(wanted(&sdp(sections)).unwrap_err().0.contains(reason), "{sections:?}");
        }
        assert!(sources("hello").unwrap_err().0.contains("no SDP"));
        let nameless = format!("v=0\r\n{SECURITY}m=audio 9 X 1\r\na=sendonly\r\n");
        assert!(sources(&nameless).unwrap_err().0.contains("a=mid"));
        assert!(sources(&nameless.replace("a=fingerprint", "a=x")).unwrap_err().0.contains("a=fingerprint"));
    }

    #[test]
    fn a_rejected_line_is_none_and_a_bundled_one_is() {
        let rejected = sdp(&["audio sendonly", "video sendonly"]).replace("m=video 9", "m=video 0");
        assert_eq!(sources(&rejected).unwrap().len(), 1);
        let bundled = rejected.replace("a=mid:1\r\n", "a=mid:1\r\na=bundle-only\r\n");
        assert_eq!(sources(&bundled).unwrap().len(), 2);
    }

    #[test]
    fn a_restarted_offer_differs_in_its_credentials_and_names_no_path() {
        let old = "v=0\r\na=ice-ufrag:old\r\na=ice-pwd:oldoldold\r\nm=audio 9 X 1\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ \
                   host\r\na=end-of-candidates\r\na=sendonly\r\n";
        let fresh = Credentials { ufrag: "new".into(), pwd: "newnewnew".into() };
        let offer = restarted(old, &fresh);
        assert_eq!(
            offer,
            "v=0\r\na=ice-ufrag:new\r\na=ice-pwd:newnewnew\r\nm=audio 9 X 1\r\na=mid:0\r\na=sendonly\r\n"
        );
        assert_eq!(credentials(&offer), Some(fresh));
    }
}
