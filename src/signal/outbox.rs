//! A session's messages while its client is away: numbered, kept for a while, given again after the last one it has.

use std::collections::VecDeque;
use std::sync::Arc;

/// Messages kept for a client that comes back: some minutes of the liveliest call. The oldest go first, the client then reads
/// the state of its calls from the log-in's reply.
const MOST_KEPT: usize = 512;
/// Bytes kept for one client.
const MOST_BYTES: usize = 512 * 1024;

/// What a session was told that matters after a reconnect.
#[derive(Debug)]
pub struct Outbox {
    /// Number of the newest message.
    position: u64,
    kept: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Outbox {
    /// Counting goes on behind `position`, which a client may have from before a restart of the server.
    pub fn starting_at(position: u64) -> Self {
        Self { position, kept: VecDeque::new(), bytes: 0 }
    }

    /// How far a client is that has everything.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn push(&mut self, message: Arc<str>) {
        self.position += 1;
        self.bytes += message.len();
        self.kept.push_back(message);
        while self.kept.len() > MOST_KEPT || self.bytes > MOST_BYTES {
            let oldest = self.kept.pop_front().expect("something is kept, or the bounds hold");
            self.bytes -= oldest.len();
        }
    }

    /// Whether all that was told behind `position` is still kept.
    pub fn reaches(&self, position: u64) -> bool {
        self.position.saturating_sub(position) <= self.kept.len() as u64
    }

    /// Everything behind `position` with its number, oldest first, as far as it is kept.
    pub fn after(&self, position: u64) -> impl Iterator<Item = (u64, &Arc<str>)> {
        let missed = self.position.saturating_sub(position).min(self.kept.len() as u64);
        (self.position + 1 - missed..).zip(self.kept.iter().skip(self.kept.len() - missed as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(outbox: &Outbox, position: u64) -> Vec<&str> {
        let (numbers, messages): (Vec<_>, Vec<&str>) = outbox.after(position).map(|(at, text)| (at, &**text)).unzip();
        assert!(numbers.iter().rev().copied().eq((1..=outbox.position()).rev().take(numbers.len())));
        messages
    }

    #[test]
    fn a_client_gets_exactly_what_it_missed() {
        let mut outbox = Outbox::starting_at(0);
        for message in ["a", "b", "c"] {
            outbox.push(message.into());
        }
        assert_eq!(after(&outbox, 0), ["a", "b", "c"]);
        assert_eq!(after(&outbox, 2), ["c"]);
        assert!(after(&outbox, 3).is_empty());
        assert!(after(&outbox, 99).is_empty(), "a position from before a restart");
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let mut outbox = Outbox::starting_at(7);
        for _ in 0..MOST_KEPT + 10 {
            outbox.push("x".into());
        }
        assert!(!outbox.reaches(7) && outbox.reaches(17));
        assert_eq!(after(&outbox, 0).len(), MOST_KEPT);
        let large: Arc<str> = "x".repeat(MOST_BYTES / 2 + 1).into();
        outbox.push(large.clone());
        outbox.push(large);
        assert_eq!(after(&outbox, 0).len(), 1);
    }
}
