//! One turn's datagrams on their way to the kernel, in as few system calls as the platform allows.

use std::collections::HashSet;
use std::net::{IpAddr, UdpSocket};
use std::ops::Range;

use quinn_udp::UdpSocketState;
use str0m::net::Protocol;

use crate::media::outbound::{Outbound, Path};

/// Segments the kernel takes in one message (`UDP_MAX_SEGMENTS` of older kernels).
const MAX_SEGMENTS: usize = 64;

/// Bytes of one message: below what fits a UDP length.
const MAX_BYTES: usize = 65_000;

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub datagrams: u64,
    pub bytes: u64,
    pub calls: u64,
    /// Datagrams the kernel's buffer had no room for.
    pub refused: u64,
    /// Datagrams the kernel would not send at all.
    pub errors: u64,
}

/// Consecutive datagrams that leave as one message: one path, one size, the last one not longer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    range: Range<usize>,
    bytes: usize,
}

/// The state that sending keeps from turn to turn.
pub struct Batch {
    /// The socket is an IPv6 one that carries IPv4, too.
    dual: bool,
    /// Addresses of this machine, as far as datagrams came to them; a message leaves from the one it was asked at.
    local: HashSet<IpAddr>,
    segments: usize,
    #[cfg(target_os = "linux")]
    messages: linux::Messages,
}

impl Batch {
    pub fn new(dual: bool) -> Self {
        Self {
            dual,
            local: HashSet::new(),
            segments: MAX_SEGMENTS,
            #[cfg(target_os = "linux")]
            messages: linux::Messages::default(),
        }
    }

    pub fn learn_local(&mut self, ip: IpAddr) {
        self.local.insert(ip);
    }

    /// The address the kernel must be told to send from.
    fn source(&self, path: &Path) -> Option<IpAddr> {
        let ip = path.source.ip();
        self.local.contains(&ip).then_some(ip)
    }
}

/// Cuts what goes over UDP into runs of at most `segments` datagrams.
fn runs(datagrams: &Outbound, segments: usize) -> impl Iterator<Item = Run> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        while start < datagrams.len() && datagrams.path(start).proto != Protocol::Udp {
            start += 1;
        }
        if start == datagrams.len() {
            return None;
        }
        let (path, size) = (datagrams.path(start), datagrams.contents(start).len());
        let (mut end, mut bytes, mut shorter) = (start + 1, size, false);
        while end < datagrams.len() {
            let length = datagrams.contents(end).len();
            let fits = length <= size && length > 0 && bytes + length <= MAX_BYTES && end - start < segments;
            if datagrams.path(end) != path || !fits || shorter {
                break;
            }
            shorter = length < size;
            bytes += length;
            end += 1;
        }
        let run = Run { range: start..end, bytes };
        start = end;
        Some(run)
    })
}

#[cfg(not(target_os = "linux"))]
impl Batch {
    pub fn send(&mut self, socket: &UdpSocket, state: &UdpSocketState, datagrams: &Outbound) -> Sent {
        let mut sent = Sent::default();
        self.segments = state.max_gso_segments();
        for run in runs(datagrams, self.segments) {
            let path = datagrams.path(run.range.start);
            let transmit = quinn_udp::Transmit {
                destination: path.destination,
                ecn: None,
                contents: datagrams.together(run.range.clone()),
                segment_size: (run.range.len() > 1).then(|| datagrams.contents(run.range.start).len()),
                src_ip: self.source(&path),
            };
            sent.calls += 1;
            match state.try_send(socket.into(), &transmit) {
                Ok(()) => {
                    sent.datagrams += run.range.len() as u64;
                    sent.bytes += run.bytes as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => sent.refused += run.range.len() as u64,
                Err(_) => sent.errors += run.range.len() as u64,
            }
        }
        sent
    }
}

#[cfg(target_os = "linux")]
impl Batch {
    pub fn send(&mut self, socket: &UdpSocket, _: &UdpSocketState, datagrams: &Outbound) -> Sent {
        let mut sent = Sent::default();
        let mut messages = std::mem::take(&mut self.messages);
        messages.clear();
        for run in runs(datagrams, self.segments) {
            let source = self.source(&datagrams.path(run.range.start));
            messages.push(datagrams, run, source, self.dual);
        }
        let mut retry = Vec::new();
        messages.send(socket, &mut sent, &mut retry);
        messages.clear();
        if !retry.is_empty() {
            // The interface does not segment: from now on one message is one datagram.
            self.segments = 1;
            for run in retry {
                for index in run.range {
                    let source = self.source(&datagrams.path(index));
                    let bytes = datagrams.contents(index).len();
                    messages.push(datagrams, Run { range: index..index + 1, bytes }, source, self.dual);
                }
            }
            messages.send(socket, &mut sent, &mut Vec::new());
            messages.clear();
        }
        self.messages = messages;
        sent
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::mem;
    use std::net::{IpAddr, SocketAddr, UdpSocket};
    use std::os::fd::AsRawFd;

    use super::{Outbound, Run, Sent};
    use socket2::SockAddr;

    /// Messages given to one `sendmmsg`; the kernel takes at most 1024.
    const MAX_MESSAGES: usize = 512;

    /// Room for the two control messages: a segment size and a source address.
    const CONTROL: usize = 128;

    /// The arrays that `sendmmsg` reads. They hold pointers into a turn's datagrams and into each other only while [`Messages::send`] runs.
    #[derive(Default)]
    pub struct Messages {
        runs: Vec<Run>,
        addresses: Vec<SockAddr>,
        controls: Vec<Control>,
        parts: Vec<libc::iovec>,
        headers: Vec<libc::mmsghdr>,
    }

    // SAFETY: the pointers in `parts` and `headers` are made and used within one `send`, on one thread, and the arrays are cleared after it.
    unsafe impl Send for Messages {}

    #[repr(C, align(8))]
    #[derive(Clone, Copy)]
    struct Control {
        bytes: [u8; CONTROL],
        length: usize,
    }

    impl Messages {
        pub fn clear(&mut self) {
            self.runs.clear();
            self.addresses.clear();
            self.controls.clear();
            self.parts.clear();
            self.headers.clear();
        }

        pub fn push(&mut self, datagrams: &Outbound, run: Run, source: Option<IpAddr>, dual: bool) {
            self.addresses.push(destination(datagrams.path(run.range.start).destination, dual).into());
            let mut control = Control { bytes: [0; CONTROL], length: 0 };
            if run.range.len() > 1 {
                control.add(libc::SOL_UDP, libc::UDP_SEGMENT, datagrams.contents(run.range.start).len() as u16);
            }
            match source {
                Some(IpAddr::V4(ip)) => {
                    let info = libc::in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                        ipi_addr: libc::in_addr { s_addr: 0 },
                    };
                    control.add(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
                }
                Some(IpAddr::V6(ip)) => {
                    let info =
                        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                    control.add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
                }
                None => {}
            }
            self.controls.push(control);
            let contents = datagrams.together(run.range.clone());
            self.parts.push(libc::iovec { iov_base: contents.as_ptr().cast_mut().cast(), iov_len: contents.len() });
            self.runs.push(run);
        }

        /// `retry` gets the runs that could not leave as one message.
        pub fn send(&mut self, socket: &UdpSocket, sent: &mut Sent, retry: &mut Vec<Run>) {
            self.link();
            let mut next = 0;
            while next < self.headers.len() {
                let count = (self.headers.len() - next).min(MAX_MESSAGES);
                sent.calls += 1;
                // SAFETY: `link` has just pointed `count` headers from `next` on at arrays that live, unmoved, until this function returns; the
                // datagrams they point into are borrowed by the caller for as long.
                let taken = unsafe {
                    libc::sendmmsg(
                        socket.as_raw_fd(),
                        self.headers[next..].as_mut_ptr(),
                        count as u32,
                        libc::MSG_DONTWAIT,
                    )
                };
                if taken > 0 {
                    let done = &self.runs[next..next + taken as usize];
                    sent.datagrams += done.iter().map(|run| run.range.len() as u64).sum::<u64>();
                    sent.bytes += done.iter().map(|run| run.bytes as u64).sum::<u64>();
                    next += taken as usize;
                    continue;
                }
                let failed = &self.runs[next];
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        sent.refused += self.runs[next..].iter().map(|run| run.range.len() as u64).sum::<u64>();
                        return;
                    }
                    _ if failed.range.len() > 1 => retry.push(failed.clone()),
                    _ => sent.errors += 1,
                }
                next += 1;
            }
        }

        fn link(&mut self) {
            for ((part, address), control) in self.parts.iter_mut().zip(&self.addresses).zip(&mut self.controls) {
                // SAFETY: all zeroes is a valid `mmsghdr`.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = address.len();
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
                if control.length > 0 {
                    header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
                    header.msg_hdr.msg_controllen = control.length as _;
                }
                self.headers.push(header);
            }
        }
    }

    impl Control {
        fn add<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
            let size = mem::size_of::<T>() as u32;
            // SAFETY: `CMSG_SPACE` and `CMSG_LEN` only compute.
            let (space, length) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size)) };
            assert!(self.length + space <= CONTROL, "two control messages fit");
            // SAFETY: the buffer is aligned for `cmsghdr` (8 bytes, and every space is a multiple of that), and `space` bytes of it are free.
            unsafe {
                let header = self.bytes.as_mut_ptr().add(self.length).cast::<libc::cmsghdr>();
                (*header).cmsg_level = level;
                (*header).cmsg_type = kind;
                (*header).cmsg_len = length as _;
                libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
            }
            self.length += space;
        }
    }

    /// An IPv6 socket reaches IPv4 by mapped addresses.
    fn destination(address: SocketAddr, dual: bool) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) if dual => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            _ => address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn datagrams(sizes: &[(u16, usize)]) -> Outbound {
        let mut datagrams = Outbound::default();
        for (port, size) in sizes {
            datagrams.push(path(Protocol::Udp, *port), &vec![0; *size]);
        }
        datagrams
    }

    fn path(proto: Protocol, port: u16) -> Path {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Path { proto, source: address(1), destination: address(port) }
    }

    #[test]
    fn what_goes_over_tcp_is_in_no_run() {
        let mut mixed = Outbound::default();
        for proto in [Protocol::Tcp, Protocol::Udp, Protocol::Tcp, Protocol::Udp, Protocol::Tcp] {
            mixed.push(path(proto, 2), &[0; 10]);
        }
        assert_eq!(runs(&mixed, 64).map(|run| run.range).collect::<Vec<_>>(), [1..2, 3..4]);
    }

    #[test]
    fn runs_are_of_one_path_and_one_size_with_a_shorter_end() {
        type Case<'a> = (&'a [(u16, usize)], &'a [usize]);
        let table: &[Case<'_>] = &[
            (&[], &[]),
            (&[(2, 10)], &[1]),
            (&[(2, 10), (2, 10), (2, 4), (2, 4)], &[3, 1]),
            (&[(2, 10), (2, 12)], &[1, 1]),
            (&[(2, 10), (3, 10), (2, 10)], &[1, 1, 1]),
            (&[(2, 10), (2, 0), (2, 10)], &[1, 1, 1]),
        ];
        for (sizes, expected) in table {
            let cut: Vec<_> = runs(&datagrams(sizes), 64).map(|run| run.range.len()).collect();
            assert_eq!(&cut, expected, "{sizes:?}");
        }
    }

    #[test]
    fn runs_are_bounded_in_segments_and_bytes() {
        let many = datagrams(&[(2, 100); 150]);
        assert_eq!(runs(&many, 64).map(|run| run.range.len()).collect::<Vec<_>>(), [64, 64, 22]);
        let large = datagrams(&[(2, 1400); 50]);
        assert_eq!(runs(&large, 64).map(|run| run.bytes).max(), Some(46 * 1400));
        assert_eq!(runs(&large, 1).count(), 50);
    }
}
