//! The names of the events: the seventeen of the contract and those that Callisto adds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How an event is kept and delivered to webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Stored before anyone is told, delivered in order at least once.
    Lifecycle,
    /// Never stored; the newest value wins; only for endpoints that name it.
    Telemetry,
    /// Goes to one client only; backends are not told.
    Client,
}

macro_rules! kinds {
    ($($variant:ident = $name:literal, $class:ident;)*) => {
        /// Every event by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $($variant),*
        }

        impl EventKind {
            pub const ALL: &[EventKind] = &[$(EventKind::$variant),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$variant => $name),* }
            }

            pub const fn class(self) -> Class {
                match self { $(EventKind::$variant => Class::$class),* }
            }
        }
    };
}

kinds! {
    Error = "onError", Client;
    CallReceived = "onCallReceived", Lifecycle;
    CallPlaced = "onCallPlaced", Client;
    CallCancelled = "onCallCancelled", Lifecycle;
    CallBegin = "onCallBegin", Lifecycle;
    CallEnd = "onCallEnd", Lifecycle;
    UserReject = "onUserReject", Lifecycle;
    UserNoResponse = "onUserNoResponse", Lifecycle;
    UserLineBusy = "onUserLineBusy", Lifecycle;
    UserInviting = "onUserInviting", Lifecycle;
    UserJoin = "onUserJoin", Lifecycle;
    UserLeave = "onUserLeave", Lifecycle;
    CallMediaTypeChanged = "onCallMediaTypeChanged", Lifecycle;
    KickedOffline = "onKickedOffline", Client;
    UserSigExpired = "onUserSigExpired", Client;
    UserVideoAvailable = "onUserVideoAvailable", Lifecycle;
    UserAudioAvailable = "onUserAudioAvailable", Lifecycle;
    UserVoiceVolumeChanged = "onUserVoiceVolumeChanged", Telemetry;
    UserNetworkQualityChanged = "onUserNetworkQualityChanged", Telemetry;
    DeliveryGap = "delivery.gap", Lifecycle;
}

/// The text names no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no event has this name; the names are those of the contract, such as onCallBegin")]
pub struct UnknownEvent;

impl FromStr for EventKind {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(UnknownEvent)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}
