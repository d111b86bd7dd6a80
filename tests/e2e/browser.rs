//! A person at a browser: Chromium with a fake camera and microphone, on the try-a-call page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::wd::TimeoutConfiguration;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::DEADLINE;
use crate::rpc::label;

/// Fake devices, loopback allowed in ICE, and nothing that talks to anyone else.
const FLAGS: [&str; 17] = [
    "--headless=new",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--mute-audio",
    "--no-first-run",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
];

/// Time that a driver has to take leave of its browser when a test ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// What every script of these tests may use: the page's peer connections, seen without the page's help; waiting for a condition.
const WITNESS: &str = include_str!("witness.js");

/// One browser with one page; it ends with its value.
pub struct Browser {
    client: Client,
    _driver: Driver,
    name: String,
    /// Its profile and whatever else it leaves behind.
    _folder: TempDir,
}

/// A driver's process and its session, which owns the browser's processes.
struct Driver {
    process: Child,
    port: u16,
    session: Option<String>,
}

impl Browser {
    /// Opens the page of the server as this user, who is logged in when it returns.
    pub async fn open(page: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut driver = Driver::start(folder.path()).await;
        let user_data = format!("--user-data-dir={}", folder.path().join("profile").display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([user_data.as_str()]).collect();
        let wishes = json!({"browserName": "chrome", "goog:chromeOptions": {"args": flags}});
        let capabilities = wishes.as_object().expect("an object").clone();
        let address = format!("http://127.0.0.1:{}", driver.port);
        let connecting =
            async { ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&address).await };
        let client = timeout(DEADLINE, connecting).await.expect("in time").expect("Chromium starts");
        driver.session = client.session_id().await.expect("a session");
        client
            .update_timeouts(TimeoutConfiguration::new(Some(DEADLINE), Some(DEADLINE), None))
            .await
            .expect("timeouts are set");
        let browser = Self { client, _driver: driver, name: name.to_owned(), _folder: folder };
        browser.client.goto(&format!("{page}?name={name}")).await.expect("the page loads");
        browser.client.execute(WITNESS, Vec::new()).await.expect("the witness is told");
        browser.wait_for("the call buttons", "witness.usable('#call-video')").await;
        browser
    }

    /// A person's call: the callee's name, and one of the two buttons.
    pub async fn call(&self, callee: &str, button: &str) {
        let field = self.client.find(Locator::Css("#callee")).await.expect("a field for the callee");
        field.clear().await.expect("it can be emptied");
        field.send_keys(callee).await.expect("it can be written to");
        self.click(button).await;
    }

    /// Clicks a button as soon as a person could.
    pub async fn click(&self, selector: &str) {
        self.wait_for(selector, &format!("witness.usable({selector:?})")).await;
        let button = self.client.find(Locator::Css(selector)).await.expect("it is there");
        button.click().await.unwrap_or_else(|error| panic!("{}: {selector} cannot be clicked: {error}", self.name));
    }

    /// Waits until the expression (which may be a promise) is true in the page; gives its value.
    pub async fn wait_for(&self, what: &str, expression: &str) -> Value {
        let script = format!(
            "const [within, done] = arguments; witness.until(async () => ({expression}), within).then(done, (e) => done({{failed: String(e)}}));"
        );
        // The page gives up shortly before the driver would, and says why.
        let within = DEADLINE - Duration::from_secs(2);
        let outcome = self.client.execute_async(&script, vec![json!(within.as_millis() as u64)]).await;
        let outcome = match outcome {
            Ok(outcome) if outcome.get("failed").is_none() => return outcome,
            Ok(outcome) => outcome["failed"].to_string(),
            Err(error) => error.to_string(),
        };
        let seen = self.client.execute("return witness.describe();", Vec::new()).await;
        panic!("{} waited in vain for {what}: {outcome}; the page: {:#}", self.name, seen.unwrap_or_default());
    }

    /// The events that the page lists, as `rpc::label` has them, the oldest first; without those that come on their own time.
    pub async fn events(&self) -> Vec<String> {
        let events = self.client.execute("return witness.events();", Vec::new()).await.expect("the page lists events");
        events.as_array().expect("a list").iter().map(|event| label(text(&event["name"]), &event["payload"])).collect()
    }

    /// Waits for the event of this name, and gives all up to then. Others that follow belong to nobody: they are among them.
    pub async fn events_to(&self, last: &str) -> Vec<String> {
        self.wait_for(last, &format!("witness.events().some(({{ name }}) => name === {last:?})")).await;
        self.events().await
    }

    pub async fn decoded_frames(&self) -> u64 {
        let script = "return witness.total('video', 'framesDecoded');";
        let total = self.client.execute(script, Vec::new()).await.expect("statistics");
        total.as_u64().expect("a count")
    }

    /// Waits until frames of someone's video are decoded, and ever more of them.
    pub async fn expect_video(&self) {
        self.wait_for("decoded frames", "witness.rises('video', 'framesDecoded', 10)").await;
    }

    /// Waits until someone's voice is heard.
    pub async fn expect_audio(&self) {
        self.wait_for("an audio level", "witness.hears()").await;
    }

    /// A peer's tile shows what the server says of them.
    pub async fn expect_tile(&self, user: &str, condition: &str) {
        let tile = format!("#tiles .tile[data-user-id={user:?}]");
        self.wait_for(
            &format!("{user}'s tile with {condition}"),
            &format!("((tile) => tile && {condition})(document.querySelector({tile:?}))"),
        )
        .await;
    }
}

impl Driver {
    async fn start(folder: &Path) -> Self {
        let mut command = Command::new("chromedriver");
        command.env("TMPDIR", folder);
        command.args(["--port=0", "--log-level=WARNING"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("chromedriver is installed (tests/run does it)");
        let stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut driver = Self { process, port: 0, session: None };
        let (said, port) = oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            let _ = said.send(lines.find_map(|line| port_of(&line)));
            lines.for_each(drop);
        });
        let port = timeout(DEADLINE, port).await.expect("in time").expect("stdout is read");
        driver.port = port.expect("chromedriver says its port");
        driver
    }

    /// Ends the session, and the browser with it: blocking, because it is also done while a panic goes by.
    fn take_leave(&self, session: &str) -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(FAREWELL))?;
        write!(stream, "DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        // The answer comes when the browser is gone; that it comes is all there is to know.
        stream.read(&mut [0; 512]).map(drop)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            let _ = self.take_leave(session);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// `ChromeDriver was started successfully on port 41397.`
fn port_of(line: &str) -> Option<u16> {
    line.strip_prefix("ChromeDriver was started successfully on port ")?.trim_end_matches('.').parse().ok()
}
