//! The parts of offer and answer that are ours: what may be asked for, which m-lines are sources and which are slots, and the sync groups.

use str0m::media::MediaKind;

use super::report::OfferError;
use crate::base::{Mid, Source};

/// The longest offer that is looked at, in bytes.
pub const MAX_SDP_LEN: usize = 64 * 1024;

/// The end of the name of the header extension that numbers packets for the whole transport.
const TRANSPORT_NUMBERS: &str = "transport-wide-cc-extensions-01";

/// What an offer asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub sources: Vec<(Mid, Source)>,
    pub slots: Vec<SlotLine>,
    /// The client reports on what arrives on its slots for the whole transport, so that its bandwidth can be estimated.
    pub reports_transport: bool,
}

/// An m-line the client only receives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotLine {
    pub mid: Mid,
    pub kind: MediaKind,
    /// Its number among the slots of its kind; equal numbers play in sync.
    pub pair: usize,
}

/// One m-line, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    mid: Option<Mid>,
    kind: Option<MediaKind>,
    direction: Direction,
    transport_feedback: bool,
}

/// From the client's side (RFC 8866, 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Plan {
    /// Reads the offer's m-lines and fits `sources` to them.
    pub fn of(offer: &str, sources: &[(Mid, Source)], max_lines: usize) -> Result<Self, OfferError> {
        if offer.len() > MAX_SDP_LEN {
            return Err(OfferError::Invalid(format!("it is longer than {MAX_SDP_LEN} bytes")));
        }
        let lines = read_lines(offer, max_lines)?;
        check_payload_types(offer)?;
        check_sources(&lines, sources)?;
        let reports_transport =
            lines.iter().any(|line| line.direction == Direction::RecvOnly && line.transport_feedback);
        let mut plan = Self { sources: sources.to_vec(), slots: Vec::new(), reports_transport };
        for line in lines {
            let (Some(mid), Some(kind), Direction::RecvOnly) = (line.mid, line.kind, line.direction) else { continue };
            let pair = plan.slots.iter().filter(|slot| slot.kind == kind).count();
            plan.slots.push(SlotLine { mid, kind, pair });
        }
        Ok(plan)
    }

    /// The answer with the slots' stream ids replaced by one for each pair: players keep in sync what shares a stream id (RFC 8830).
    pub fn label_pairs(&self, answer: &str) -> String {
        let mids = section_mids(answer);
        let mut section = None;
        let mut labelled = String::with_capacity(answer.len() + 64 * self.slots.len());
        for line in answer.split_inclusive("\r\n") {
            if line.starts_with("m=") {
                section = Some(section.map_or(0, |index: usize| index + 1));
            }
            let slot = section
                .and_then(|index| mids.get(index)?.as_deref())
                .and_then(|mid| self.slots.iter().find(|slot| slot.mid.as_str() == mid));
            match (slot, msid_attribute(line)) {
                (Some(slot), Some(attribute)) => {
                    let kind = if slot.kind.is_audio() { "audio" } else { "video" };
                    let pair = slot.pair;
                    labelled.push_str(&format!("{attribute}slot{pair} slot{pair}-{kind}\r\n"));
                }
                _ => labelled.push_str(line),
            }
        }
        labelled
    }
}

/// `a=msid:` or `a=ssrc:… msid:`, up to and with the colon, when the line is one.
fn msid_attribute(line: &str) -> Option<&str> {
    if line.starts_with("a=msid:") {
        return Some(&line[.."a=msid:".len()]);
    }
    let at = line.starts_with("a=ssrc:").then(|| line.find(" msid:"))??;
    Some(&line[..at + " msid:".len()])
}

/// The certificate that the maker of the description answers for (RFC 8122, 5), as it stands there.
pub fn certificate(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.strip_prefix("a=fingerprint:")).map(str::trim)
}

/// The payload types on the answer's m-line named `mid`.
pub fn payload_types(answer: &str, mid: &Mid) -> Vec<u8> {
    let mut types = "";
    for line in answer.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            types = media;
        } else if line.strip_prefix("a=mid:").is_some_and(|name| name.trim() == mid.as_str()) {
            // m=<kind> <port> <protocol> <payload types>
            return types.split(' ').skip(3).filter_map(|text| text.trim().parse().ok()).collect();
        }
    }
    Vec::new()
}

/// The header extensions on the answer's m-line named `mid`: ids and URIs.
pub fn extensions(answer: &str, mid: &Mid) -> Vec<(u8, String)> {
    let mut extensions = Vec::new();
    let mut found = false;
    for line in answer.lines() {
        if line.starts_with("m=") {
            if found {
                break;
            }
            extensions.clear();
        } else if line.strip_prefix("a=mid:").is_some_and(|name| name.trim() == mid.as_str()) {
            found = true;
        } else if let Some((id, uri)) = line.strip_prefix("a=extmap:").and_then(|map| map.split_once(' ')) {
            // RFC 8285, 5: a direction may follow the id.
            let id = id.split('/').next().and_then(|id| id.parse().ok());
            let uri = uri.split(' ').next().unwrap_or_default();
            extensions.extend(id.map(|id| (id, uri.trim().to_owned())));
        }
    }
    if found { extensions } else { Vec::new() }
}

fn section_mids(sdp: &str) -> Vec<Option<String>> {
    let mut mids = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") {
            mids.push(None);
        } else if let (Some(mid), Some(last)) = (line.strip_prefix("a=mid:"), mids.last_mut()) {
            *last = Some(mid.trim().to_owned());
        }
    }
    mids
}

fn read_lines(offer: &str, max_lines: usize) -> Result<Vec<Line>, OfferError> {
    let mut lines: Vec<Line> = Vec::new();
    // RFC 8866, 6.7: a direction at session level is the default of every m-line.
    let mut default = Direction::SendRecv;
    for text in offer.lines() {
        if let Some(media) = text.strip_prefix("m=") {
            if lines.len() == max_lines {
                return Err(OfferError::Invalid(format!("it has more than {max_lines} m-lines")));
            }
            let kind = match media.split(' ').next() {
                Some("audio") => Some(MediaKind::Audio),
                Some("video") => Some(MediaKind::Video),
                _ => None,
            };
            lines.push(Line { mid: None, kind, direction: default, transport_feedback: false });
            continue;
        }
        let direction = match text.trim_end() {
            "a=sendrecv" => Some(Direction::SendRecv),
            "a=sendonly" => Some(Direction::SendOnly),
            "a=recvonly" => Some(Direction::RecvOnly),
            "a=inactive" => Some(Direction::Inactive),
            _ => None,
        };
        match (lines.last_mut(), direction, text.strip_prefix("a=mid:")) {
            (None, Some(direction), _) => default = direction,
            (Some(line), Some(direction), _) => line.direction = direction,
            (Some(line), ..) if text.starts_with("a=extmap:") && text.trim_end().ends_with(TRANSPORT_NUMBERS) => {
                line.transport_feedback = true;
            }
            (Some(line), _, Some(mid)) => {
                line.mid = Some(mid.trim().parse().map_err(|error| OfferError::Invalid(format!("{error}")))?);
            }
            _ => {}
        }
    }
    Ok(lines)
}

/// Each m-line names a payload type once (RFC 8866, 5.14): the library takes that for granted.
fn check_payload_types(offer: &str) -> Result<(), OfferError> {
    let mut mapped: Vec<&str> = Vec::new();
    for line in offer.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            mapped.clear();
            let mut types: Vec<&str> = media.split_whitespace().skip(3).collect();
            let count = types.len();
            types.sort_unstable();
            types.dedup();
            if types.len() != count {
                return Err(OfferError::Invalid("an m-line names one payload type twice".into()));
            }
        } else if let Some(map) = line.strip_prefix("a=rtpmap:") {
            let Some(number) = map.split_whitespace().next() else { continue };
            if mapped.contains(&number) {
                return Err(OfferError::Invalid(format!("the payload type {number} is mapped twice")));
            }
            mapped.push(number);
        }
    }
    Ok(())
}

fn check_sources(lines: &[Line], sources: &[(Mid, Source)]) -> Result<(), OfferError> {
    let refuse = |reason: String| Err(OfferError::Sources(reason));
    for (index, (mid, source)) in sources.iter().enumerate() {
        let Some(line) = lines.iter().find(|line| line.mid.as_ref() == Some(mid)) else {
            return refuse(format!("no m-line has the mid {mid}"));
        };
        let wanted = if source.is_video() { MediaKind::Video } else { MediaKind::Audio };
        if line.kind != Some(wanted) {
            return refuse(format!("the m-line {mid} is not the kind that a {source:?} needs"));
        }
        if line.direction == Direction::RecvOnly {
            return refuse(format!("the m-line {mid} only receives"));
        }
        if sources[..index].iter().any(|(other_mid, other)| other_mid == mid || other == source) {
            return refuse(format!("{mid} or {source:?} is named twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_type_that_is_named_twice_is_refused_with_a_reason() {
        let offer = |types: &str, maps: &[&str]| {
            let maps: String = maps.iter().map(|map| format!("a=rtpmap:{map}\r\n")).collect();
            format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF {types}\r\na=mid:0\r\na=recvonly\r\n{maps}")
        };
        let table = [
            (offer("96 97", &["96 VP8/90000", "97 rtx/90000"]), None),
            (offer("96 96", &["96 VP8/90000"]), Some("twice")),
            (offer("96", &["96 VP8/90000", "96 H264/90000"]), Some("96 is mapped twice")),
            (offer("96", &["96 VP8/90000"]).repeat(2).replacen("a=mid:0", "a=mid:1", 1), None),
        ];
        for (offer, reason) in table {
            let refused = Plan::of(&offer, &[], 8).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), reason.is_some(), "{offer}");
            assert!(reason.is_none_or(|reason| refused.unwrap().contains(reason)));
        }
    }

    fn mid(text: &str) -> Mid {
        text.parse().unwrap()
    }

    fn offer(lines: &[(&str, &str, &str)]) -> String {
        let mut sdp = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
        for (kind, mid, direction) in lines {
            sdp += &format!("m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\n");
        }
        sdp
    }

    #[test]
    fn sources_are_what_is_named_and_slots_what_is_only_received() {
        let sdp = offer(&[
            ("audio", "0", "sendonly"),
            ("video", "1", "sendrecv"),
            ("audio", "2", "recvonly"),
            ("video", "3", "recvonly"),
            ("audio", "4", "recvonly"),
            ("video", "5", "inactive"),
        ]);
        let sources = [(mid("0"), Source::Microphone), (mid("1"), Source::Camera)];
        let plan = Plan::of(&sdp, &sources, 16).unwrap();
        assert_eq!(plan.sources, sources);
        let slot = |name, kind, pair| SlotLine { mid: mid(name), kind, pair };
        assert_eq!(
            plan.slots,
            [slot("2", MediaKind::Audio, 0), slot("3", MediaKind::Video, 0), slot("4", MediaKind::Audio, 1)]
        );
    }

    #[test]
    fn transport_feedback_counts_where_media_is_received() {
        let extension = "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
        for (direction, expected) in [("recvonly", true), ("sendonly", false)] {
            let sdp = offer(&[("audio", "0", direction)]) + extension;
            assert_eq!(Plan::of(&sdp, &[], 16).unwrap().reports_transport, expected, "{direction}");
        }
        assert!(!Plan::of(&offer(&[("audio", "0", "recvonly")]), &[], 16).unwrap().reports_transport);
    }

    #[test]
    fn sources_that_do_not_fit_are_refused_with_the_reason() {
        let sdp = offer(&[("audio", "0", "sendonly"), ("video", "1", "recvonly"), ("audio", "2", "sendonly")]);
        let table: &[(&[(&str, Source)], &str)] = &[
            (&[("9", Source::Microphone)], "no m-line has the mid 9"),
            (&[("0", Source::Camera)], "not the kind"),
            (&[("1", Source::Camera)], "only receives"),
            (&[("0", Source::Microphone), ("2", Source::Microphone)], "twice"),
            (&[("0", Source::Microphone), ("0", Source::Microphone)], "twice"),
        ];
        for (sources, reason) in table {
            let sources: Vec<_> = sources.iter().map(|(name, source)| (mid(name), *source)).collect();
            let Err(OfferError::Sources(said)) = Plan::of(&sdp, &sources, 16) else { panic!("{reason}") };
            assert!(said.contains(reason), "{said}");
        }
    }

    #[test]
    fn an_offer_is_bounded_before_it_is_parsed() {
        let many: Vec<_> = (0..5).map(|_| ("audio", "x", "recvonly")).collect();
        assert!(matches!(Plan::of(&offer(&many), &[], 4), Err(OfferError::Invalid(_))));
        assert!(matches!(Plan::of(&"v".repeat(MAX_SDP_LEN + 1), &[], 4), Err(OfferError::Invalid(_))));
    }

    #[test]
    fn a_pair_shares_one_stream_id_and_sources_keep_theirs() {
        let plan = Plan {
            sources: vec![],
            slots: vec![
                SlotLine { mid: mid("1"), kind: MediaKind::Audio, pair: 0 },
                SlotLine { mid: mid("2"), kind: MediaKind::Video, pair: 0 },
            ],
            reports_transport: false,
        };
        let answer = "v=0\r\nm=audio 9\r\na=msid:x y\r\na=mid:0\r\nm=audio 9\r\na=mid:1\r\na=msid:aaa bbb\r\na=ssrc:5 cname:c\r\n\
                      a=ssrc:5 msid:aaa bbb\r\nm=video 9\r\na=mid:2\r\na=msid:ccc ddd\r\n";
        let expected = "v=0\r\nm=audio 9\r\na=msid:x y\r\na=mid:0\r\nm=audio 9\r\na=mid:1\r\na=msid:slot0 slot0-audio\r\n\
                        a=ssrc:5 cname:c\r\na=ssrc:5 msid:slot0 slot0-audio\r\nm=video 9\r\na=mid:2\r\na=msid:slot0 slot0-video\r\n";
        assert_eq!(plan.label_pairs(answer), expected);
    }

    #[test]
    fn extensions_are_those_of_the_named_line() {
        let answer = "v=0\r\nm=audio 9\r\na=extmap:1 u:a\r\na=mid:0\r\na=extmap:2/sendonly u:b\r\nm=video 9\r\na=mid:1\r\n\
                      a=extmap:1 u:c\r\n";
        assert_eq!(extensions(answer, &mid("0")), [(1, "u:a".to_owned()), (2, "u:b".to_owned())]);
        assert_eq!(extensions(answer, &mid("1")), [(1, "u:c".to_owned())]);
        assert!(extensions(answer, &mid("2")).is_empty());
    }

    #[test]
    fn payload_types_are_those_of_the_named_line() {
        let answer = "v=0\r\nm=audio 9 P 111 63\r\na=mid:0\r\nm=video 9 P 96 97 98\r\na=mid:1\r\n";
        assert_eq!(payload_types(answer, &mid("0")), [111, 63]);
        assert_eq!(payload_types(answer, &mid("1")), [96, 97, 98]);
        assert!(payload_types(answer, &mid("2")).is_empty());
    }
}
