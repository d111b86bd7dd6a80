//! Letters between two shards' threads: one lock a letter, never one a packet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::wait::Bell;
use crate::media::relay::{CROSSING_QUEUE, Letter};

/// What waits from one shard for one other. Notes replace each other, packets are bounded by who writes them: the queue does not grow.
#[derive(Debug, Default)]
struct Queue {
    letter: Mutex<Letter>,
    /// Packets that wait, and one more if there is a letter: 0 says that nothing waits, without the lock.
    waiting: AtomicUsize,
}

/// The writing end.
#[derive(Debug)]
struct Sender {
    queue: Arc<Queue>,
    bell: Bell,
}

/// The reading end.
#[derive(Debug)]
struct Receiver {
    queue: Arc<Queue>,
}

/// One shard's ways to and from all others, by their index.
pub struct Links {
    to: Vec<Option<Sender>>,
    from: Vec<Option<Receiver>>,
    /// The letter in hand, empty between uses.
    letter: Letter,
}

impl Links {
    /// The links of each of the shards that the bells wake.
    pub fn between(bells: &[Bell]) -> Vec<Self> {
        let empty = |_| Self { to: Vec::new(), from: Vec::new(), letter: Letter::default() };
        let mut all: Vec<Self> = (0..bells.len()).map(empty).collect();
        for from in 0..bells.len() {
            for (to, bell) in bells.iter().enumerate() {
                let (sender, receiver) = (from != to).then(|| link(bell.clone())).unzip();
                all[from].to.push(sender);
                all[to].from.push(receiver);
            }
        }
        all
    }

    /// Hands over what waits from each shard.
    pub fn take(&mut self, mut each: impl FnMut(usize, &mut Letter)) {
        for (index, receiver) in self.from.iter().enumerate() {
            if receiver.as_ref().is_some_and(|receiver| receiver.take(&mut self.letter)) {
                each(index, &mut self.letter);
            }
        }
    }

    /// For each shard, the packets that fit into its queue.
    pub fn free(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.to.iter().enumerate().filter_map(|(index, sender)| Some((index, sender.as_ref()?.free())))
    }

    /// Appends the letter to what waits for that shard, and empties it.
    pub fn send(&self, shard: usize, letter: &mut Letter) {
        if let Some(Some(sender)) = self.to.get(shard) {
            sender.send(letter);
        }
    }
}

/// A way from one shard to the one that `bell` wakes.
fn link(bell: Bell) -> (Sender, Receiver) {
    let queue = Arc::<Queue>::default();
    (Sender { queue: queue.clone(), bell }, Receiver { queue })
}

impl Sender {
    /// Packets that fit at least: the reader only makes room.
    fn free(&self) -> usize {
        CROSSING_QUEUE.saturating_sub(self.queue.waiting.load(Ordering::Acquire))
    }

    /// Appends the letter to what waits, and empties it.
    fn send(&self, letter: &mut Letter) {
        let mut waiting = self.queue.letter.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.append(letter);
        self.queue.waiting.store(waiting.waiting() + 1, Ordering::Release);
        drop(waiting);
        self.bell.ring();
    }
}

impl Receiver {
    /// Swaps what waits for the empty `letter`. False: nothing waits.
    fn take(&self, letter: &mut Letter) -> bool {
        if self.queue.waiting.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut waiting = self.queue.letter.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, letter);
        self.queue.waiting.store(0, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::base::RoomKey;
    use crate::media::io::wait;
    use crate::media::relay::Note;

    #[test]
    fn what_was_sent_wakes_the_reader_and_is_read_once() {
        let (bell, mut sleeper) = wait::bell().unwrap();
        let (sender, receiver) = link(bell);
        let mut letter = Letter::default();
        assert!(!receiver.take(&mut letter));
        let thread = std::thread::spawn(move || {
            for room in [1, 2, 1] {
                let mut letter = Letter::default();
                letter.note(RoomKey(room), Note::Hello);
                sender.send(&mut letter);
                assert!(letter.is_empty());
            }
            sender
        });
        let quiet = UdpSocket::bind("127.0.0.1:0").unwrap();
        sleeper.sleep(&quiet, None);
        let sender = thread.join().unwrap();
        assert!(receiver.take(&mut letter));
        assert!(letter.notes.contains(&(RoomKey(1), Note::Hello)), "{letter:?}");
        assert_eq!(sender.free(), CROSSING_QUEUE);
        assert!(!receiver.take(&mut Letter::default()));
    }
}
