//! A person at a browser, on the try-a-call page.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::DEADLINE;
use crate::chromium::Chromium;
use crate::firefox::Firefox;
use crate::rpc::label;

/// What every script of these tests may use: the page's peer connections, seen without the page's help; waiting for a condition.
const WITNESS: &str = include_str!("witness.js");

/// Two browsers with video fill two cores; more tests of them at once would only test the machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// One browser with one page; it ends with its value.
pub struct Browser {
    engine: Engine,
    name: String,
    /// Its profile and whatever else it leaves behind.
    _folder: TempDir,
}

enum Engine {
    Chromium(Chromium),
    Firefox(Box<Firefox>),
}

/// Which browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Chromium,
    Firefox,
}

/// Waits for the right to use browsers, and has it as long as the value lives.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// alice and bob, who has just accepted her video call.
pub async fn video_call(page: &str) -> (Browser, Browser) {
    let (alice, bob) = tokio::join!(Browser::open(page, "alice"), Browser::open(page, "bob"));
    alice.call("bob", "#call-video").await;
    bob.click("#accept").await;
    (alice, bob)
}

impl Browser {
    /// Opens the page of the server as this user, who is logged in when it returns.
    pub async fn open(page: &str, name: &str) -> Self {
        Self::open_in(Make::Chromium, page, name).await
    }

    /// As [`Browser::open`], in a browser of this make.
    pub async fn open_in(make: Make, page: &str, name: &str) -> Self {
        let browser = Self::visit(make, &format!("{page}?name={name}"), name).await;
        browser.wait_for("the call buttons", "witness.usable('#call-video')").await;
        browser
    }

    /// Opens any page; `name` is for messages.
    pub async fn visit(make: Make, address: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let engine = match make {
            Make::Chromium => Engine::Chromium(Chromium::start(folder.path(), origin(address)).await),
            Make::Firefox => Engine::Firefox(Box::new(Firefox::start(folder.path()).await)),
        };
        let browser = Self { engine, name: name.to_owned(), _folder: folder };
        browser.go(address).await;
        browser
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens another page in place of this one.
    pub async fn go(&self, address: &str) {
        match &self.engine {
            Engine::Chromium(chromium) => chromium.open(address).await,
            Engine::Firefox(firefox) => firefox.open(address).await,
        }
        self.run(&format!("(() => {{ {WITNESS} }})()")).await;
    }

    /// As large a window as a laptop has; Chromium's only.
    pub async fn widen(&self) {
        if let Engine::Chromium(chromium) = &self.engine {
            chromium.widen().await;
        }
    }

    /// Keeps a picture of what Chromium shows in the folder that SHOTS names, if it names one: for people to look at.
    pub async fn picture(&self, name: &str) {
        if let (Engine::Chromium(chromium), Some(folder)) = (&self.engine, std::env::var_os("SHOTS")) {
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), chromium.picture().await)
                .expect("SHOTS is a folder");
        }
    }

    /// A tab for several people, whom [`Browser::admit`] lets in.
    pub async fn crowd(page: &str) -> Self {
        let browser = Self::visit(Make::Chromium, page, "the crowd").await;
        let source = include_str!("crowd.js");
        browser.run(&format!("(async () => {{ {source} }})()")).await;
        browser
    }

    /// Makes `stage.js` known to the page.
    pub async fn set_stage(&self) {
        self.run(&format!("(() => {{ {} }})()", include_str!("stage.js"))).await;
    }

    /// One more person in the crowd's tab, in a colour given by its hue.
    pub async fn admit(&self, account: &Value, hue: u16) {
        self.run(&format!("crowd.add({account}, {hue}).then(() => null)")).await;
    }

    /// A person's call: the callees' names, and one of the two buttons.
    pub async fn call(&self, callees: &str, button: &str) {
        self.type_into("#callee", callees).await;
        self.click(button).await;
    }

    pub async fn type_into(&self, selector: &str, text: &str) {
        match &self.engine {
            Engine::Chromium(chromium) => chromium.type_into(selector, text).await,
            Engine::Firefox(firefox) => firefox.type_into(selector, text).await,
        }
    }

    /// Clicks a button as soon as a person could.
    pub async fn click(&self, selector: &str) {
        self.wait_for(selector, &format!("witness.usable({selector:?})")).await;
        let clicked = match &self.engine {
            Engine::Chromium(chromium) => chromium.click(selector).await,
            Engine::Firefox(firefox) => firefox.click(selector).await,
        };
        clicked.unwrap_or_else(|error| panic!("{}: {selector} cannot be clicked: {error}", self.name));
    }

    /// The tab dies without a word.
    pub async fn crash(self) {
        match &self.engine {
            Engine::Chromium(chromium) => chromium.crash().await,
            // The process is killed.
            Engine::Firefox(_) => drop(self),
        }
    }

    /// The value of an expression in the page, which may be a promise.
    pub async fn run(&self, expression: &str) -> Value {
        self.evaluate(expression).await.unwrap_or_else(|error| panic!("{}: {expression}: {error}", self.name))
    }

    async fn evaluate(&self, expression: &str) -> Result<Value, String> {
        match &self.engine {
            Engine::Chromium(chromium) => chromium.evaluate(expression).await,
            Engine::Firefox(firefox) => firefox.evaluate(expression).await,
        }
    }

    /// Waits until the expression (which may be a promise) is true in the page; gives its value.
    pub async fn wait_for(&self, what: &str, expression: &str) -> Value {
        // The page gives up shortly before the driver would, and says why.
        let within = (DEADLINE - Duration::from_secs(2)).as_millis();
        let error = match self.evaluate(&format!("witness.until(async () => ({expression}), {within})")).await {
            Ok(value) => return value,
            Err(error) => error,
        };
        let seen = self.evaluate("witness.describe()").await.unwrap_or_default();
        panic!("{} waited in vain for {what}: {error}; the page: {seen:#}", self.name);
    }

    /// Waits for the promise; its value is the page's variable of this name from here on.
    pub async fn begin(&self, name: &str, promise: &str) {
        self.run(&format!("({promise}).then((value) => {{ window[{name:?}] = value; return true; }})")).await;
    }

    /// The events that the page lists, as `rpc::label` has them, the oldest first; without those that come on their own time.
    pub async fn events(&self) -> Vec<String> {
        let events = self.run("witness.events()").await;
        events.as_array().expect("a list").iter().map(|event| label(text(&event["name"]), &event["payload"])).collect()
    }

    /// Waits for the event of this name, and gives all up to then. Others that follow belong to nobody: they are among them.
    pub async fn events_to(&self, last: &str) -> Vec<String> {
        self.wait_for(last, &format!("witness.events().some(({{ name }}) => name === {last:?})")).await;
        self.events().await
    }

    pub async fn decoded_frames(&self) -> u64 {
        self.run("witness.total('video', 'framesDecoded')").await.as_u64().expect("a count")
    }

    /// Waits until frames of someone's video are decoded, and ever more of them.
    pub async fn expect_video(&self) {
        self.wait_for("decoded frames", "witness.rises('video', 'framesDecoded', 10)").await;
    }

    /// Waits until someone's voice is heard.
    pub async fn expect_audio(&self) {
        self.wait_for("an audio level", "witness.hears()").await;
    }

    /// The page shows this user no longer.
    pub async fn expect_no_tile(&self, user: &str) {
        let gone = format!("!document.querySelector('#tiles .tile[data-user-id={user:?}]')");
        self.wait_for(&format!("{user}'s tile to go"), &gone).await;
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

/// `http://host:port` of an address.
fn origin(address: &str) -> &str {
    let host = address.find("://").map_or(0, |at| at + 3);
    address[host..].find('/').map_or(address, |end| &address[..host + end])
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
