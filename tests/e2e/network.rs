//! A network of a test's own: the server's site on one side, the people's machine on the other, cables between them that a test can pull.
//!
//! Namespaces belong to threads, and a test of ours runs on one thread: from [`Network::lay`] on, this test and every process it starts is on
//! the people's machine; the server alone is put on the other side.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::link::{self, Link};
use crate::server::{Server, Site};

/// Both sides and their cables. They go with the test's last process.
pub struct Network {
    site: File,
    cables: usize,
    /// Where the site's media can be reached.
    addresses: Vec<Ipv4Addr>,
}

impl Network {
    /// Takes the calling thread to a machine that so many cables join to the site. The first carries what may go either way.
    pub fn lay(cables: usize) -> Self {
        unshare();
        let site = File::open("/proc/thread-self/ns/net").expect("the site's namespace has a name");
        ip("link set lo up");
        unshare();
        ip("link set lo up");
        let network = Self { site, cables: 0, addresses: vec![SITE] };
        (0..cables).fold(network, |network, _| network.lay_cable())
    }

    fn lay_cable(mut self) -> Self {
        let cable = self.cables;
        let site = self.site_name();
        ip(&format!("link add cable{cable} type veth peer name cable{cable} netns {site}"));
        ip(&format!("addr add {}/24 dev cable{cable}", person(cable)));
        ip(&format!("link set cable{cable} up"));
        // The site is one address, however it is reached.
        ip(&format!("route add {SITE} via {} metric {}", gateway(cable), cable + 1));
        ip(&format!("route add default via {} metric {}", gateway(cable), cable + 1));
        self.ip_at_site(&format!("addr add {}/24 dev cable{cable}", gateway(cable)));
        self.ip_at_site(&format!("link set cable{cable} up"));
        if cable == 0 {
            self.ip_at_site(&format!("addr add {SITE}/32 dev lo"));
        }
        self.cables += 1;
        self
    }

    /// One more way to the site's media, at [`link::SITE_BY_LINK`] and as bad as a test wants it. Before the server starts.
    pub fn lay_link(&mut self) -> Link {
        let [people, site] = [PEOPLES_TUN, SITES_TUN].map(link::tun);
        ip(&format!("link set {SITES_TUN} netns {}", self.site_name()));
        self.ip_at_site(&format!("addr add {}/24 dev {SITES_TUN}", link::SITE_BY_LINK));
        self.ip_at_site(&format!("link set {SITES_TUN} up"));
        // The site answers by the way it was asked, whatever address of its machine a browser asks from.
        self.ip_at_site(&format!("rule add from {} table {LINK_TABLE}", link::SITE_BY_LINK));
        self.ip_at_site(&format!("route add default dev {SITES_TUN} table {LINK_TABLE}"));
        ip(&format!("addr add {}/24 dev {PEOPLES_TUN}", link::PEOPLE_BY_LINK));
        ip(&format!("link set {PEOPLES_TUN} up"));
        self.addresses.push(link::SITE_BY_LINK);
        Link::between(people, site)
    }

    fn site_name(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.site.as_raw_fd())
    }

    /// Starts the server at the site; its try-a-call page is for everyone on this network.
    pub async fn serve(&self, site: &Site) -> Server {
        let media: Vec<String> = self.addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let media = format!("media.address=[{}]", media.join(", "));
        let here = [format!("http.public={SITE}:0"), media, "http.try_page=all".to_owned()];
        site.serve_with(&here, |command| {
            self.at_site(command);
            link::hurry(command);
        })
        .await
    }

    /// The command will run at the site.
    fn at_site<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let site = self.site.as_raw_fd();
        // SAFETY: between fork and exec there is one system call, which takes no memory; the descriptor is open, for it was inherited.
        unsafe { command.pre_exec(move || enter(site)) }
    }

    /// Pulls a cable: this machine loses the address that it had there.
    pub fn pull(&self, cable: usize) {
        ip(&format!("addr flush dev cable{cable}"));
        ip(&format!("link set cable{cable} down"));
    }

    fn ip_at_site(&self, arguments: &str) {
        run(self.at_site(Command::new("ip").args(arguments.split(' '))));
    }
}

/// The two ends of a link, each on its side's machine.
const PEOPLES_TUN: &str = "people-link";
const SITES_TUN: &str = "site-link";

/// The number of the routes that the site has for what leaves by its link.
const LINK_TABLE: u8 = 99;

/// Where the site is, by any cable.
pub const SITE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// This machine's end of a cable.
fn person(cable: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 1 + cable as u8, 2)
}

/// The site's end of a cable.
fn gateway(cable: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 1 + cable as u8, 1)
}

fn unshare() {
    // SAFETY: a system call without memory.
    let outcome = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(outcome, 0, "networks of their own need root: {}", io::Error::last_os_error());
}

fn enter(namespace: RawFd) -> io::Result<()> {
    // SAFETY: a system call without memory.
    match unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

fn run(command: &mut Command) {
    let output = command.output().expect("iproute2 is installed (tests/run does it)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
