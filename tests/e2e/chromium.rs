//! Chromium with a fake camera, microphone and screen, driven through chromedriver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::wd::TimeoutConfiguration;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::DEADLINE;
use crate::link;

/// Fake devices, loopback allowed in ICE, and nothing that talks to anyone else.
const FLAGS: [&str; 18] = [
    "--headless=new",
    "--allow-loopback-in-peer-connection",
    "--auto-select-desktop-capture-source=Entire screen",
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

/// One browser with one tab.
pub struct Chromium {
    client: Client,
    _driver: Driver,
}

/// A driver's process and its session, which owns the browser's processes.
struct Driver {
    process: Child,
    port: u16,
    session: Option<String>,
}

impl Chromium {
    /// Leaves its profile and whatever else in `folder`; opens cameras for pages of `origin` even where they are not encrypted.
    pub async fn start(folder: &Path, origin: &str) -> Self {
        let mut driver = Driver::start(folder).await;
        let user_data = format!("--user-data-dir={}", folder.join("profile").display());
        let trusted = format!("--unsafely-treat-insecure-origin-as-secure={origin}");
        let flags: Vec<&str> = FLAGS.into_iter().chain([user_data.as_str(), trusted.as_str()]).collect();
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
        Self { client, _driver: driver }
    }

    pub async fn open(&self, address: &str) {
        self.client.goto(address).await.expect("the page loads");
    }

    /// The expression's value in the page, when it is kept if it is a promise.
    pub async fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async () => ({expression}))().then((value) => done({{ value: value ?? null }}), (error) => done({{ failed: String(error) }}));"
        );
        let outcome = self.client.execute_async(&script, Vec::new()).await.map_err(|error| error.to_string())?;
        match outcome.get("failed") {
            Some(reason) => Err(reason.to_string()),
            None => Ok(outcome["value"].clone()),
        }
    }

    /// A press of the mouse on the first element that fits.
    pub async fn click(&self, selector: &str) -> Result<(), String> {
        let element = self.client.find(Locator::Css(selector)).await.map_err(|error| error.to_string())?;
        element.click().await.map_err(|error| error.to_string())
    }

    pub async fn widen(&self) {
        self.client.set_window_size(1280, 900).await.expect("a window has a size");
    }

    /// What is shown, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a picture")
    }

    pub async fn type_into(&self, selector: &str, text: &str) {
        let field = self.client.find(Locator::Css(selector)).await.expect("the field is there");
        field.clear().await.expect("it can be emptied");
        field.send_keys(text).await.expect("it can be written to");
    }

    /// The tab's process dies; nothing of the page runs any more, nobody is told.
    pub async fn crash(&self) {
        // Loading this never ends well; that is what it is for.
        let _ = self.client.goto("chrome://crash").await;
    }
}

impl Driver {
    async fn start(folder: &Path) -> Self {
        let mut command = Command::new("chromedriver");
        command.env("TMPDIR", folder);
        command.args(["--port=0", "--log-level=WARNING"]).stdout(Stdio::piped()).stderr(Stdio::null());
        link::hurry(&mut command);
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

/// `ChromeDriver was started successfully on port 41397.`
fn port_of(line: &str) -> Option<u16> {
    line.strip_prefix("ChromeDriver was started successfully on port ")?.trim_end_matches('.').parse().ok()
}
