//! The server under test: its folder and configuration, its process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::DEADLINE;

/// A server's folder: configuration, data, log. It stays when the process goes, so a server can be started in it again.
pub struct Site {
    folder: TempDir,
    settings: Vec<String>,
    /// Of the listeners that every server of this site has. They are bound, and nobody listens at them.
    kept: Vec<Socket>,
}

/// A running server; killed when dropped.
pub struct Server {
    process: Child,
    log: PathBuf,
    addresses: Addresses,
}

/// Where a server listens.
#[derive(Debug)]
struct Addresses {
    public: SocketAddr,
    admin: SocketAddr,
    /// Of the first shard.
    udp: SocketAddr,
}

impl Site {
    /// With webhook endpoints, each a URL and a secret, for all lifecycle events.
    pub fn with_endpoints(endpoints: &[(String, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = String::from("[webhooks]\nallow_private = [\"127.0.0.0/8\"]\n");
        for (url, secret) in endpoints {
            config += &format!("[[webhooks.endpoints]]\nurl = \"{url}\"\nsecret = \"{secret}\"\nevents = [\"*\"]\n");
        }
        fs::write(folder.path().join("callisto.toml"), config).expect("a configuration file");
        let settings = [
            "http.public=127.0.0.1:0",
            "http.admin=127.0.0.1:0",
            "media.address=127.0.0.1",
            "media.udp_port=0",
            "media.tcp_port=0",
        ];
        Self { folder, settings: settings.map(String::from).to_vec(), kept: Vec::new() }
    }

    /// Puts another configuration file in the place of the one that is there.
    pub fn configure(&self, config: &str) {
        fs::write(self.folder.path().join("callisto.toml"), config).expect("a configuration file");
    }

    /// As a service manager starts it, which listens at this socket.
    pub async fn serve_for(&self, manager: &std::path::Path) -> Server {
        let mut command = self.command("serve");
        command.env("NOTIFY_SOCKET", manager);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        Server::start(command, self.folder.path().join("server.log")).await
    }

    /// One more `--set`.
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Chooses where its servers listen, one after the other. While none runs, nobody else is given these ports.
    pub fn keep_listeners(mut self) -> Self {
        for listener in ["public", "admin"] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            // The server does the same: so both may be bound as long as one of them listens.
            socket.set_reuse_address(true).expect("an option of sockets");
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
            let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound");
            self.settings.push(format!("http.{listener}={address}"));
            self.kept.push(socket);
        }
        self
    }

    pub async fn serve(&self) -> Server {
        self.serve_with(&[], |_| {}).await
    }

    /// With the media port of an earlier one.
    pub async fn serve_at(&self, udp: SocketAddr) -> Server {
        self.serve_with(&[format!("media.udp_port={}", udp.port())], |_| {}).await
    }

    /// With more settings, and a process made ready by `prepare`.
    pub async fn serve_with(&self, settings: &[String], prepare: impl FnOnce(&mut Command)) -> Server {
        let mut command = self.command("serve");
        for setting in self.settings.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        prepare(&mut command);
        Server::start(command, self.folder.path().join("server.log")).await
    }

    /// With its data folder on a file system of this size, which only the server sees.
    pub async fn serve_in_small_data_folder(&self, size: &str) -> Server {
        let data = self.folder.path().join("data");
        let mount = format!("mount -t tmpfs -o size={size} tmpfs '{}' && exec \"$0\" \"$@\"", data.display());
        let server = self.command("serve");
        let mut command = Command::new("unshare");
        command.current_dir(self.folder.path()).args(["-m", "sh", "-c", &mount]);
        command.arg(server.get_program()).args(server.get_args());
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        // Tickets are made outside, where the folder is another one.
        command.args(["--set", "app.secret=known on both sides", "--set", "app.api_key=known key"]);
        fs::write(self.folder.path().join("data/app-secret"), "known on both sides\n").expect("a file");
        Server::start(command, self.folder.path().join("server.log")).await
    }

    /// As a person does it: with no argument but those that keep tests out of each other's way, in an empty folder.
    pub async fn serve_by_default(&self) -> Server {
        let mut command = self.program();
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        Server::start(command, self.folder.path().join("server.log")).await
    }

    /// A UserSig, made by the program's own command.
    pub fn ticket(&self, user: &str) -> String {
        self.ticket_with(user, &[])
    }

    /// One that is good for so many seconds.
    pub fn ticket_for(&self, user: &str, seconds: u32) -> String {
        self.ticket_with(user, &["--expire", &seconds.to_string()])
    }

    /// A UserSig or PrivateMapKey with these options of that command.
    pub fn ticket_with(&self, user: &str, options: &[&str]) -> String {
        let output = self.command("ticket").arg(user).args(options).output().expect("the program runs");
        assert!(output.status.success(), "ticket {user}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a ticket is ASCII").trim().to_owned()
    }

    /// The key of the REST API, which a server that has started has made.
    pub fn api_key(&self) -> String {
        fs::read_to_string(self.folder.path().join("data/api-key")).expect("a key is kept").trim().to_owned()
    }

    /// The link that opens the console, made by the program's own command.
    pub fn console_link(&self, server: &Server) -> String {
        let mut command = self.command("console");
        let output = command.args(["--set", &format!("http.admin={}", server.admin())]).output().expect("it runs");
        assert!(output.status.success(), "console: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a link is ASCII").trim().to_owned()
    }

    /// Where its files are.
    pub fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// One of the program's commands, with this folder's configuration.
    pub fn command(&self, name: &str) -> Command {
        let mut command = self.program();
        command.arg(name).arg("--config").arg(self.folder.path().join("callisto.toml"));
        command.arg("--data").arg(self.folder.path().join("data"));
        command
    }

    /// The program itself, with nothing of this machine's configuration.
    pub fn program(&self) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.folder.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CALLISTO_")) {
            command.env_remove(name);
        }
        command
    }
}

fn binary() -> PathBuf {
    match std::env::var_os("CALLISTO_BIN") {
        Some(path) => fs::canonicalize(&path).unwrap_or_else(|error| panic!("CALLISTO_BIN {path:?}: {error}")),
        None => PathBuf::from(env!("CARGO_BIN_EXE_callisto")),
    }
}

impl Server {
    async fn start(mut command: Command, log: PathBuf) -> Self {
        let stderr = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut process = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("the server starts");
        let stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let (said, first) = oneshot::channel();
        // Reads to the end, so that the server never meets a full or a closed pipe.
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            let _ = said.send(lines.next());
            lines.for_each(drop);
        });
        // Made first: it kills the process and shows the log if what follows panics.
        let unbound = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Self { process, log, addresses: Addresses { public: unbound, admin: unbound, udp: unbound } };
        let line = timeout(DEADLINE, first).await.expect("the server says where it listens").expect("stdout is read");
        let line = line.expect("the server says where it listens before it ends");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the first line is JSON: {line}"));
        let address = |listener: &Value| {
            let text = listener.as_str();
            text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{listener} in {line}"))
        };
        let said = &said["listening"];
        server.addresses = Addresses {
            public: address(&said["public"]),
            admin: address(&said["admin"]),
            udp: address(&said["udp"][0]),
        };
        server
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        let kilobytes: u64 = line.split_whitespace().next().and_then(|kb| kb.parse().ok()).expect("a number");
        kilobytes * 1024
    }

    /// The page's address.
    pub fn page(&self) -> String {
        format!("http://{}/", self.addresses.public)
    }

    pub fn public(&self) -> SocketAddr {
        self.addresses.public
    }

    pub fn udp(&self) -> SocketAddr {
        self.addresses.udp
    }

    pub fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// Asks it to read its configuration again.
    pub fn reload(&self) {
        let pid = libc::pid_t::try_from(self.process.id()).expect("a pid");
        // SAFETY: a system call without memory; nobody has waited for the process yet, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGHUP) }, 0);
    }

    /// Waits until the log has a line with this text, and gives all that it has.
    pub async fn logged(&self, text: &str) -> String {
        let begun = std::time::Instant::now();
        loop {
            let log = fs::read_to_string(&self.log).expect("a log");
            if log.contains(text) {
                return log;
            }
            assert!(begun.elapsed() < DEADLINE, "no {text:?} in the log");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) -> ExitStatus {
        self.signal(libc::SIGTERM).await
    }

    /// What no server can prepare for.
    pub async fn kill(self) {
        self.signal(libc::SIGKILL).await;
    }

    async fn signal(self, signal: libc::c_int) -> ExitStatus {
        self.send(signal);
        self.ended().await
    }

    /// Sends a signal and waits for nothing.
    pub fn send(&self, signal: libc::c_int) {
        // SAFETY: a system call without memory; nobody has waited for the process yet, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    pub fn pid(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.process.id()).expect("a pid")
    }

    /// Waits for its end, which something else brings about.
    pub async fn ended(mut self) -> ExitStatus {
        let pid = self.pid();
        let ended = timeout(DEADLINE, spawn_blocking(move || (self.process.wait(), self))).await;
        let Ok(ended) = ended else {
            // SAFETY: as above. The thread that waits reaps it.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("the server does not end");
        };
        let (status, _server) = ended.expect("waiting does not panic");
        status.expect("a child can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
