//! What the server forbids in one call: users kept out for a time, sources kept silent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::{Source, Timestamp, UserId};

/// Users who can be kept out of one call at a time.
const MOST_BANS: usize = 1000;

/// Kept with the call, so that neither leaving and coming back nor a restart of the server lifts them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sanctions {
    bans: BTreeMap<UserId, Timestamp>,
    mutes: BTreeMap<UserId, BTreeSet<Source>>,
}

impl Sanctions {
    /// Until when the user is kept out.
    pub fn banned(&self, user: &UserId, now: Timestamp) -> Option<Timestamp> {
        self.bans.get(user).copied().filter(|until| *until > now)
    }

    /// Whether there was room for it; a later ban stands for an earlier one.
    pub(super) fn ban(&mut self, user: &UserId, until: Timestamp, now: Timestamp) -> bool {
        self.bans.retain(|_, until| *until > now);
        let fits = self.bans.len() < MOST_BANS || self.bans.contains_key(user);
        if fits {
            self.bans.insert(user.clone(), until);
        }
        fits
    }

    /// The user's sources that are not forwarded.
    pub fn muted(&self, user: &UserId) -> BTreeSet<Source> {
        self.mutes.get(user).cloned().unwrap_or_default()
    }

    pub(super) fn mute(&mut self, user: &UserId, source: Source, muted: bool) {
        let sources = self.mutes.entry(user.clone()).or_default();
        if muted {
            sources.insert(source);
        } else {
            sources.remove(&source);
        }
        if sources.is_empty() {
            self.mutes.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: usize) -> UserId {
        format!("u{n}").parse().unwrap()
    }

    #[test]
    fn a_ban_passes_and_bans_are_bounded() {
        let at = Timestamp::from_millis;
        let mut sanctions = Sanctions::default();
        assert!(sanctions.ban(&user(0), at(100), at(0)));
        assert_eq!(sanctions.banned(&user(0), at(99)), Some(at(100)));
        assert_eq!(sanctions.banned(&user(0), at(100)), None);
        for n in 1..MOST_BANS {
            assert!(sanctions.ban(&user(n), at(200), at(50)));
        }
        assert!(!sanctions.ban(&user(MOST_BANS), at(200), at(50)), "too many");
        assert!(sanctions.ban(&user(1), at(300), at(50)), "known already");
        assert!(sanctions.ban(&user(MOST_BANS), at(200), at(100)), "one has passed");
    }

    #[test]
    fn a_mute_holds_for_its_source_until_it_is_lifted() {
        let mut sanctions = Sanctions::default();
        sanctions.mute(&user(0), Source::Camera, true);
        sanctions.mute(&user(0), Source::Camera, true);
        assert_eq!(sanctions.muted(&user(0)), [Source::Camera].into());
        assert!(sanctions.muted(&user(1)).is_empty());
        sanctions.mute(&user(0), Source::Camera, false);
        assert_eq!(sanctions, Sanctions::default());
    }
}
