//! Where events are delivered to.

use crate::base::EndpointId;
use crate::config::EventFilter;
use crate::event::{Class, EventKind};

use super::sign::SigningSecret;

/// A receiver of events.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub url: url::Url,
    /// The newest first; every one signs.
    pub secrets: Vec<SigningSecret>,
    pub events: EventFilter,
    pub enabled: bool,
}

impl Endpoint {
    /// Whether the endpoint wants events of this kind; those that tell of delivery itself always come.
    pub fn takes(&self, kind: EventKind) -> bool {
        match kind.class() {
            Class::Client => false,
            Class::Telemetry => self.events.named.contains(&kind),
            Class::Lifecycle => {
                kind == EventKind::DeliveryGap || self.events.all_lifecycle || self.events.named.contains(&kind)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(all_lifecycle: bool, named: &[EventKind]) -> Endpoint {
        Endpoint {
            id: "e".parse().unwrap(),
            url: "https://example.com/hook".parse().unwrap(),
            secrets: vec![SigningSecret::from_bytes([1; 32])],
            events: EventFilter { all_lifecycle, named: named.iter().copied().collect() },
            enabled: true,
        }
    }

    #[test]
    fn the_star_stands_for_lifecycle_events_only() {
        let all = endpoint(true, &[EventKind::UserVoiceVolumeChanged]);
        assert!(all.takes(EventKind::CallBegin) && all.takes(EventKind::UserVoiceVolumeChanged));
        assert!(!all.takes(EventKind::UserNetworkQualityChanged) && !all.takes(EventKind::KickedOffline));
        let one = endpoint(false, &[EventKind::CallEnd]);
        assert!(one.takes(EventKind::CallEnd) && one.takes(EventKind::DeliveryGap));
        assert!(!one.takes(EventKind::CallBegin));
    }
}
