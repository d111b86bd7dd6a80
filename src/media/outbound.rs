//! What a turn sends: datagrams one behind the other in one buffer, so that a run of them to one client is one piece of memory to the kernel.

use std::net::SocketAddr;
use std::ops::Range;

use str0m::net::{Protocol, Transmit};

/// A buffer that grew beyond this is given back when it is emptied: a turn of 200 key frames, not of every day.
const KEPT: usize = 4 * 1024 * 1024;

/// From where to where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    pub proto: Protocol,
    /// The one of our addresses it leaves from.
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// One datagram in the buffer.
#[derive(Debug, Clone)]
struct Entry {
    path: Path,
    range: Range<usize>,
}

/// Datagrams on their way out, in order.
#[derive(Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Outbound {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn push(&mut self, path: Path, contents: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(contents);
        self.entries.push(Entry { path, range: start..self.bytes.len() });
    }

    /// Adds the datagram that `write` appends to the buffer, which ends where it begins.
    pub fn write(&mut self, path: Path, write: impl FnOnce(&mut Vec<u8>)) -> &mut [u8] {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.entries.push(Entry { path, range: start..self.bytes.len() });
        &mut self.bytes[start..]
    }

    /// The last datagram does not leave.
    pub fn take_back(&mut self) {
        if let Some(last) = self.entries.pop() {
            self.bytes.truncate(last.range.start);
        }
    }

    pub fn transmit(&mut self, datagram: &Transmit) {
        let Transmit { proto, source, destination, contents } = datagram;
        self.push(Path { proto: *proto, source: *source, destination: *destination }, contents);
    }

    pub fn path(&self, index: usize) -> Path {
        self.entries[index].path
    }

    pub fn contents(&self, index: usize) -> &[u8] {
        &self.bytes[self.entries[index].range.clone()]
    }

    /// The bytes of datagrams that follow each other.
    pub fn together(&self, datagrams: Range<usize>) -> &[u8] {
        let last = &self.entries[datagrams.end - 1];
        &self.bytes[self.entries[datagrams.start].range.start..last.range.end]
    }

    pub fn iter(&self) -> impl Iterator<Item = (Path, &[u8])> + '_ {
        self.entries.iter().map(|entry| (entry.path, &self.bytes[entry.range.clone()]))
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        let source = "10.0.0.1:1".parse().unwrap();
        Path { proto: Protocol::Udp, source, destination: SocketAddr::new([10, 0, 0, 2].into(), port) }
    }

    #[test]
    fn datagrams_lie_one_behind_the_other() {
        let mut out = Outbound::default();
        out.push(path(1), &[1, 1]);
        out.write(path(1), |bytes| bytes.extend([2, 2, 2]))[0] = 7;
        out.push(path(2), &[]);
        assert_eq!((out.len(), out.contents(1), out.path(2)), (3, &[7, 2, 2][..], path(2)));
        assert_eq!(out.together(0..2), [1, 1, 7, 2, 2]);
        let all: Vec<_> = out.iter().map(|(path, contents)| (path.destination.port(), contents.len())).collect();
        assert_eq!(all, [(1, 2), (1, 3), (2, 0)]);
        out.take_back();
        out.take_back();
        out.push(path(3), &[4]);
        assert_eq!((out.len(), out.together(0..2)), (2, &[1, 1, 4][..]));
        out.clear();
        assert!(out.is_empty());
    }

    #[test]
    fn a_buffer_that_was_large_once_is_given_back() {
        let mut out = Outbound::default();
        out.push(path(1), &vec![0; KEPT + 1]);
        out.clear();
        assert_eq!(out.bytes.capacity(), 0);
    }
}
