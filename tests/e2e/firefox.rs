//! Firefox with a fake camera and microphone, driven over WebDriver BiDi, which it speaks by itself: no driver beside it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::DEADLINE;

/// Fake devices, also for pages that are not encrypted, and whatever is not a test's out of reach. Media from and to a loopback address it
/// does not do, whatever it is told: its tests need a [`Network`](crate::network::Network).
const PREFERENCES: &str = r#"
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.devices.insecure.enabled", true);
user_pref("media.getusermedia.insecure.enabled", true);
user_pref("media.autoplay.default", 0);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.no_proxies_on", "localhost, 127.0.0.1, 10.99.0.0/16");
user_pref("network.proxy.allow_hijacking_localhost", false);
user_pref("app.normandy.enabled", false);
user_pref("services.settings.server", "data:,");
"#;

/// One browser with one tab. It is killed with its value.
pub struct Firefox {
    process: Child,
    /// One command at a time: the tests ask nothing else of it.
    link: Mutex<Link>,
    tab: String,
}

struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
}

impl Firefox {
    /// Leaves its profile in `folder`.
    pub async fn start(folder: &Path) -> Self {
        let profile = folder.join("profile");
        fs::create_dir(&profile).expect("a folder for the profile");
        fs::write(profile.join("user.js"), PREFERENCES).expect("preferences can be written");
        let mut command = Command::new("firefox-esr");
        command.env("HOME", folder).args(["--headless", "--no-remote", "--remote-debugging-port", "0", "--profile"]);
        command.arg(&profile).arg("about:blank").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("firefox-esr is installed (tests/run does it)");
        let stderr = BufReader::new(process.stderr.take().expect("stderr is piped"));
        let (said, address) = oneshot::channel();
        // Reads to the end, so that the browser never meets a full pipe.
        std::thread::spawn(move || {
            let mut lines = stderr.lines().map_while(Result::ok);
            let _ =
                said.send(lines.find_map(|line| Some(line.strip_prefix("WebDriver BiDi listening on ")?.to_owned())));
            lines.for_each(drop);
        });
        let mut process = Killed(Some(process));
        let address = timeout(DEADLINE, address).await.expect("in time").expect("stderr is read");
        let address = address.expect("Firefox says where it listens");
        let (socket, _) = connect_async(format!("{address}/session")).await.expect("Firefox takes connections");
        let mut link = Link { socket, last_id: 0 };
        link.ask("session.new", json!({"capabilities": {}})).await.expect("a session");
        let tree = link.ask("browsingContext.getTree", json!({})).await.expect("there are tabs");
        let tab = tree["contexts"][0]["context"].as_str().expect("there is a tab").to_owned();
        let process = process.0.take().expect("nobody took it");
        Self { process, link: Mutex::new(link), tab }
    }

    pub async fn open(&self, address: &str) {
        let params = json!({"context": self.tab, "url": address, "wait": "complete"});
        self.ask("browsingContext.navigate", params).await.expect("the page loads");
    }

    /// The expression's value in the page, when it is kept if it is a promise.
    pub async fn evaluate(&self, expression: &str) -> Result<Value, String> {
        // As JSON text: BiDi's own form of values says more than is wanted here.
        let expression = format!("(async () => JSON.stringify((await ({expression})) ?? null))()");
        let text = self.script(&expression).await?;
        serde_json::from_str(text["value"].as_str().expect("JSON is text")).map_err(|error| error.to_string())
    }

    /// A press of the mouse on the first element that fits.
    pub async fn click(&self, selector: &str) -> Result<(), String> {
        let find = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e?.scrollIntoView({{ block: 'center' }}); return e; }})()"
        );
        let element = self.script(&find).await?;
        let id = element["sharedId"].as_str().ok_or("there is no such element")?;
        let origin = json!({"type": "element", "element": {"sharedId": id}});
        let press = json!([
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]);
        let mouse = json!({"type": "pointer", "id": "mouse", "actions": press});
        self.ask("input.performActions", json!({"context": self.tab, "actions": [mouse]})).await.map(drop)
    }

    pub async fn type_into(&self, selector: &str, text: &str) {
        let write = format!(
            "((field) => {{ field.focus(); field.value = {text:?}; field.dispatchEvent(new Event('input', {{ bubbles: true }})); }})(document.querySelector({selector:?}))"
        );
        self.script(&write).await.expect("the field can be written to");
    }

    async fn script(&self, expression: &str) -> Result<Value, String> {
        let params = json!({
            "expression": expression,
            "target": {"context": self.tab},
            "awaitPromise": true,
            "userActivation": true,
        });
        let outcome = self.ask("script.evaluate", params).await?;
        match outcome["type"].as_str() {
            Some("success") => Ok(outcome["result"].clone()),
            _ => Err(outcome["exceptionDetails"]["text"].to_string()),
        }
    }

    async fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        self.link.lock().await.ask(method, params).await
    }
}

impl Link {
    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let id = self.last_id;
        let command = json!({"id": id, "method": method, "params": params});
        self.socket.send(Message::text(command.to_string())).await.map_err(|error| error.to_string())?;
        let answered = async {
            while let Some(Ok(message)) = self.socket.next().await {
                let Message::Text(text) = message else { continue };
                let message: Value = serde_json::from_str(&text).expect("BiDi is JSON");
                if message["id"] == id {
                    return message;
                }
            }
            json!({"type": "error", "message": "the connection was closed"})
        };
        let answer = timeout(DEADLINE, answered).await.map_err(|_| format!("{method} was not answered in time"))?;
        match answer["type"].as_str() {
            Some("success") => Ok(answer["result"].clone()),
            _ => Err(format!("{method}: {}", answer["message"])),
        }
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser that does not come up is not left behind.
struct Killed(Option<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
