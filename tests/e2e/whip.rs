//! Standard clients publish by WHIP and view by WHEP, over every path there is: ffmpeg, and Chromium with a page of a few lines.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::DEADLINE;
use crate::backend::{Backend, names};
use crate::browser::{Browser, Make, turn};
use crate::rpc::{APP, Client, assert_turns, is_media};
use crate::server::{Server, Site};

/// A page's WHIP and WHEP client.
const PAGE_CLIENT: &str = include_str!("whip.js");

/// An offer as browsers write it: two m-lines, no candidates.
fn offer(direction: &str) -> String {
    let mut sdp =
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n".to_owned();
    for (mid, kind, number, codec) in [(0, "audio", 111, "opus/48000/2"), (1, "video", 96, "VP8/90000")] {
        sdp += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {number}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\na={direction}\r\n\
             a=rtcp-mux\r\na=rtpmap:{number} {codec}\r\n",
            ["AB"; 32].join(":")
        );
    }
    sdp
}

/// The HTTP side of one server.
struct Http<'a> {
    server: &'a Server,
    client: reqwest::Client,
}

impl<'a> Http<'a> {
    fn of(server: &'a Server) -> Self {
        Self { server, client: reqwest::Client::builder().no_proxy().build().expect("a client needs nothing") }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.server.public()))
    }

    async fn begin(&self, path: &str, ticket: &str, sdp: String) -> Response {
        let request = self.request(Method::POST, path).bearer_auth(ticket).header("content-type", "application/sdp");
        request.body(sdp).send().await.expect("an answer")
    }

    async fn patch(&self, location: &str, ticket: &str, if_match: Option<&str>, body: &str) -> Response {
        let request = self.request(Method::PATCH, location).bearer_auth(ticket).body(body.to_owned());
        let request = request.header("content-type", "application/trickle-ice-sdpfrag");
        let request = if_match.into_iter().fold(request, |request, tag| request.header("if-match", tag));
        request.send().await.expect("an answer")
    }

    async fn delete(&self, location: &str, ticket: &str) -> Response {
        self.request(Method::DELETE, location).bearer_auth(ticket).send().await.expect("an answer")
    }
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("{name} in {:?}", response.headers()));
    value.to_str().expect("it is text").to_owned()
}

/// The status and the stable name of a refusal.
async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    let body: Value = serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");
    assert_eq!(body["status"], status, "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    (status, body["code"].as_str().expect("a code").to_owned())
}

/// ffmpeg as a publisher of H264 and Opus; it ends with its value.
struct Ffmpeg(Child);

impl Ffmpeg {
    fn publish(server: &Server, room: &str, ticket: &str) -> Self {
        let picture = ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=15"];
        let sound = ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
        let video =
            ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15"];
        let audio = ["-c:a", "libopus", "-ac", "2"];
        let mut command = Command::new(Self::program());
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]).args(picture).args(sound);
        command.args(video).args(audio).args(["-f", "whip", "-authorization", ticket]);
        command.arg(format!("http://{}/v1/whip/{room}", server.public()));
        Self(command.stdout(Stdio::null()).spawn().expect("ffmpeg is installed (tests/run does it)"))
    }

    fn program() -> PathBuf {
        let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/ffmpeg");
        std::env::var_os("CALLISTO_TEST_FFMPEG").map_or(installed, PathBuf::from)
    }

    /// As Ctrl-C does: it says goodbye.
    async fn stop(mut self) {
        let pid = libc::pid_t::try_from(self.0.id()).expect("a pid");
        // SAFETY: a system call without memory; nobody has waited for the process yet, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
        let ended = spawn_blocking(move || self.0.wait());
        timeout(DEADLINE, ended).await.expect("it ends in time").expect("no panic").expect("a child can be waited for");
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A member who only listens to what the call's clients are told.
async fn watch(server: &Server, site: &Site, room: &str) -> (Client, String) {
    let mut watcher = Client::log_in(server, site, "watcher").await;
    let entered = watcher.ask("join", json!({"roomId": {"strRoomId": room}})).await;
    let call = entered["callId"].as_str().expect("a call id").to_owned();
    watcher.expect_all(&call, &["onCallBegin"]).await;
    (watcher, call)
}

#[tokio::test]
async fn ffmpeg_publishes_a_viewer_decodes_it_and_everyone_hears_of_both() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let (mut watcher, call) = watch(&server, &site, "stage").await;
    let ffmpeg = Ffmpeg::publish(&server, "stage", &site.ticket("studio"));
    assert_eq!(watcher.expect("onUserJoin", &call).await, json!({"userId": "studio"}));
    let mut awaited = vec!["onUserAudioAvailable studio on", "onUserVideoAvailable studio on"];
    while !awaited.is_empty() {
        let told = watcher.next_label(&call).await;
        assert!(is_media(&told), "{told} before {awaited:?}");
        awaited.retain(|label| *label != told);
    }

    let page = Browser::visit(Make::Chromium, &server.page(), "onlooker").await;
    page.run(&format!("(() => {{ {PAGE_CLIENT} }})()")).await;
    page.begin("viewing", &format!("whip.view('stage', {:?}, '')", site.ticket("wall"))).await;
    page.expect_video().await;
    page.wait_for("sound", "witness.rises('audio', 'totalSamplesReceived', 48000)").await;
    page.wait_for("H264 and Opus", "whip.codecs(viewing).then((codecs) => codecs === 'audio/opus video/H264')").await;
    watcher.expect_flow(&call, &["onUserJoin wall"]).await;
    page.wait_for("goodbye", "whip.end(viewing).then((status) => status === 200)").await;
    watcher.expect_flow(&call, &["onUserLeave wall"]).await;

    ffmpeg.stop().await;
    watcher.expect_flow(&call, &["onUserLeave studio"]).await;
    watcher.ask("hangup", json!({"callId": call})).await;
    let told = names(&backend.whole_call(&call).await);
    for kind in ["onUserJoin", "onUserLeave"] {
        assert_eq!(told.iter().filter(|name| name.starts_with(kind)).count(), 3, "{kind} in {told:?}");
    }
    for kind in ["Audio", "Video"] {
        assert_turns(&told, kind, "studio", 2);
    }
    let leave = told.iter().position(|label| label == "onUserLeave studio");
    assert!(told.iter().rposition(|label| is_media(label)) < leave, "media go before who sent them: {told:?}");
}

#[tokio::test]
async fn a_viewer_of_one_user_sees_that_user_and_nobody_in_their_place() {
    let _turn = turn().await;
    let site = Site::new(&[]);
    let server = site.serve().await;
    let (mut watcher, call) = watch(&server, &site, "stage").await;
    let _ffmpeg = Ffmpeg::publish(&server, "stage", &site.ticket("studio"));
    watcher.expect_all(&call, &["onUserJoin studio"]).await;
    let page = Browser::visit(Make::Chromium, &server.page(), "onlooker").await;
    page.run(&format!("(() => {{ {PAGE_CLIENT} }})()")).await;
    page.begin("viewing", &format!("whip.view('stage?user=camera', {:?}, '')", site.ticket("wall"))).await;
    page.wait_for("a connection", "whip.route(viewing)").await;
    // Packets of padding, by which the bandwidth is probed, are none of a picture.
    for (kind, counter) in [("audio", "packetsReceived"), ("video", "framesReceived")] {
        assert_eq!(page.run(&format!("witness.total({kind:?}, {counter:?})")).await, json!(0), "{kind}");
    }
    page.begin("publishing", &format!("whip.publish('stage', {:?}, '')", site.ticket("camera"))).await;
    page.expect_video().await;
    page.wait_for("the page's own picture", "whip.codecs(viewing).then((codecs) => codecs === 'audio/opus video/VP8')")
        .await;
    page.begin("other", &format!("whip.view('stage?user=studio', {:?}, '')", site.ticket("screen"))).await;
    page.wait_for("ffmpeg's picture", "whip.codecs(other).then((codecs) => codecs === 'audio/opus video/H264')").await;
}

#[tokio::test]
async fn media_goes_by_tcp_by_ipv6_and_through_a_restart_of_ice() {
    let _turn = turn().await;
    let site = Site::new(&[]).set("media.address=[\"127.0.0.1\", \"::1\"]");
    let server = site.serve().await;
    let page = Browser::visit(Make::Chromium, &server.page(), "onlooker").await;
    page.run(&format!("(() => {{ {PAGE_CLIENT} }})()")).await;
    // UDP is blocked: the page sees none of the server's UDP candidates.
    for (room, path, route) in [("by-tcp", " tcp ", "tcp "), ("by-ipv6", " ::1 ", "udp ::1")] {
        let (studio, wall) = (site.ticket("studio"), site.ticket("wall"));
        page.begin("publishing", &format!("whip.publish({room:?}, {studio:?}, {path:?})")).await;
        page.begin("viewing", &format!("whip.view({room:?}, {wall:?}, {path:?})")).await;
        page.expect_video().await;
        for session in ["publishing", "viewing"] {
            let takes = format!(
                "whip.route({session}).then((route) => route && route.replace(/[[\\]]/g, '').startsWith({route:?}))"
            );
            page.wait_for(&format!("{session} over {route}"), &takes).await;
        }
        if room == "by-ipv6" {
            page.begin("name", "whip.restart(viewing)").await;
            page.wait_for("the new path", "whip.route(viewing).then((route) => route && route.endsWith(name))").await;
            page.expect_video().await;
        }
        for session in ["viewing", "publishing"] {
            page.wait_for("goodbye", &format!("whip.end({session}).then((status) => status === 200)")).await;
        }
    }
}

#[tokio::test]
async fn a_resource_is_its_users_alone_and_follows_the_rules_of_its_ice_session() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let http = Http::of(&server);
    let (mut watcher, call) = watch(&server, &site, "stage").await;
    let (studio, other) = (site.ticket("studio"), site.ticket("other"));
    let created = http.begin("/v1/whip/stage", &studio, offer("sendonly")).await;
    assert_eq!(created.status(), 201);
    assert_eq!(header(&created, "content-type"), "application/sdp");
    let (location, etag) = (header(&created, "location"), header(&created, "etag"));
    let answer = created.text().await.expect("an answer");
    assert!(answer.contains("a=ice-lite") && answer.contains("a=recvonly"), "{answer}");
    assert!(answer.contains(" tcptype passive"), "{answer}");
    watcher.expect_all(&call, &["onUserJoin studio"]).await;

    let fragment = |ufrag: &str| format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n");
    let patch =
        async |ticket: &str, if_match: Option<&str>, body: &str| http.patch(&location, ticket, if_match, body).await;
    assert_eq!(problem(patch(&other, Some(&etag), &fragment("abcd")).await).await.0, 404);
    assert_eq!(problem(patch(&studio, None, &fragment("abcd")).await).await.0, 428);
    assert_eq!(problem(patch(&studio, Some("\"ice-9\""), &fragment("abcd")).await).await.0, 412);
    assert_eq!(problem(patch(&studio, Some(&etag), &fragment("other")).await).await.0, 412);
    assert_eq!(problem(patch(&studio, Some(&etag), "hello").await).await.0, 400);
    assert_eq!(patch(&studio, Some(&etag), &fragment("abcd")).await.status(), 204);

    let restarted = patch(&studio, Some("*"), &fragment("fresh")).await;
    assert_eq!(restarted.status(), 200);
    let newer = header(&restarted, "etag");
    assert_ne!(newer, etag);
    let body = restarted.text().await.expect("a fragment");
    let ufrag = |sdp: &str| sdp.lines().find(|line| line.starts_with("a=ice-ufrag:")).expect("a name").to_owned();
    assert_ne!(ufrag(&body), ufrag(&answer));
    assert!(body.contains("a=candidate:"), "{body}");
    assert_eq!(problem(patch(&studio, Some(&etag), &fragment("fresh")).await).await.0, 412);
    assert_eq!(patch(&studio, Some(&newer), &fragment("fresh")).await.status(), 204);

    assert_eq!(problem(http.delete(&location, &other).await).await.0, 404);
    assert_eq!(http.delete(&location, &studio).await.status(), 200);
    watcher.expect_all(&call, &["onUserLeave studio"]).await;
    assert_eq!(problem(http.delete(&location, &studio).await).await.0, 404);

    // Another connection of the same user takes its place; what the first had is gone.
    let first = header(&http.begin("/v1/whip/stage", &studio, offer("sendonly")).await, "location");
    watcher.expect_all(&call, &["onUserJoin studio"]).await;
    let second = header(&http.begin("/v1/whip/stage", &studio, offer("sendonly")).await, "location");
    assert_eq!(problem(http.delete(&first, &studio).await).await.0, 404);
    assert_eq!(http.delete(&second, &studio).await.status(), 200);
    watcher.expect_all(&call, &["onUserLeave studio"]).await;
    watcher.expect_nothing_more().await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_its_reason() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let http = Http::of(&server);
    let studio = site.ticket("studio");
    let post =
        |path: &str| http.request(Method::POST, path).header("content-type", "application/sdp").body(offer("sendonly"));
    let refused = async |request: RequestBuilder| problem(request.send().await.expect("an answer")).await;
    let of = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused(post("/v1/whip/stage")).await, of(401, "notLoggedIn"));
    assert_eq!(refused(post("/v1/whip/stage").bearer_auth("eJw_")).await, of(401, "userSigInvalid"));
    let long = "x".repeat(65);
    assert_eq!(refused(post(&format!("/v1/whip/{long}")).bearer_auth(&studio)).await, of(422, "invalidParameter"));
    let json = http.request(Method::POST, "/v1/whip/stage").bearer_auth(&studio).body("{}");
    let json = json.header("content-type", "application/json");
    assert_eq!(refused(json).await, of(415, "unsupportedMediaType"));
    let large =
        http.request(Method::POST, "/v1/whip/stage").bearer_auth(&studio).header("content-type", "application/sdp");
    assert_eq!(refused(large.body("v".repeat(65 * 1024))).await, of(413, "bodyTooLarge"));
    for (path, sdp, expected) in [
        ("/v1/whip/stage", "v=0\r\n".to_owned(), of(422, "invalidOffer")),
        ("/v1/whip/stage", offer("recvonly"), of(422, "invalidOffer")),
        ("/v1/whip/stage", offer("sendonly").replace("a=ice-ufrag", "a=x"), of(422, "invalidOffer")),
        ("/v1/whep/stage", offer("sendonly"), of(422, "invalidOffer")),
        ("/v1/whep/stage", offer("recvonly"), of(404, "noSuchRoom")),
        ("/v1/whep/stage?who=x", offer("recvonly"), of(422, "invalidQuery")),
    ] {
        assert_eq!(problem(http.begin(path, &studio, sdp).await).await, expected, "{path}");
    }
    let wrong = http.request(Method::GET, "/v1/whip/stage").bearer_auth(&studio);
    assert_eq!(refused(wrong).await, of(405, "methodNotAllowed"));
    let foreign = post("/v1/whip/stage").bearer_auth(&studio).header("origin", "https://evil.example");
    assert_eq!(refused(foreign).await, of(403, "crossOrigin"));
    // Nothing of it has begun anything.
    let mut watcher = Client::log_in(&server, &site, "watcher").await;
    let entered = watcher.ask("join", json!({"roomId": {"strRoomId": "stage"}})).await;
    assert_eq!(entered["members"].as_array().map(Vec::len), Some(1), "{entered}");
}

/// Over this door and that of the WebSocket: an address has one account.
#[tokio::test]
async fn an_address_that_guesses_tickets_is_bounded_and_good_tickets_pass() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let http = Http::of(&server);
    let guess = json!({"sdkAppId": APP, "userId": "studio", "userSig": "guess"});
    let mut tried = 0;
    let refused = loop {
        let mut client = Client::connect(&server).await;
        let code = client.refused("login", guess.clone()).await.code;
        assert!([70003, -1206].contains(&code), "{code}");
        let response = http.begin("/v1/whip/stage", "guess", offer("sendonly")).await;
        tried += 2;
        if response.status() != 401 {
            break response;
        }
        assert!(tried < 120, "guesses are not bounded, or each door has its own bound");
    };
    assert!(tried > 60, "an office with expired tickets is no attack: {tried}");
    assert_eq!(header(&refused, "connection"), "close");
    assert_eq!(problem(refused).await, (429, "tooManyRequests".to_owned()));
    assert_eq!(http.begin("/v1/whip/stage", &site.ticket("studio"), offer("sendonly")).await.status(), 201);
}

#[tokio::test]
async fn pages_of_allowed_origins_are_answered_and_clients_are_told_of_turn_servers() {
    let turn = r#"ice.servers=[{ urls = ["turn:turn.example:3478"], secret = "north" }]"#;
    let site = Site::new(&[]).set("http.allowed_origins=[\"https://app.example\"]").set(turn);
    let server = site.serve().await;
    let http = Http::of(&server);
    let asked = http.request(Method::OPTIONS, "/v1/whip/stage").header("origin", "https://app.example");
    let asked = asked.header("access-control-request-method", "POST").send().await.expect("an answer");
    assert_eq!(asked.status(), 204);
    assert_eq!(header(&asked, "access-control-allow-origin"), "https://app.example");
    assert_eq!(header(&asked, "accept-post"), "application/sdp");
    assert!(header(&asked, "access-control-allow-methods").contains("PATCH"));
    assert!(header(&asked, "access-control-allow-headers").contains("authorization"));

    let begun = http.request(Method::POST, "/v1/whip/stage").header("origin", "https://app.example");
    let begun = begun.bearer_auth(site.ticket("studio")).header("content-type", "application/sdp");
    let begun = begun.body(offer("sendonly")).send().await.expect("an answer");
    assert_eq!(begun.status(), 201);
    assert_eq!(header(&begun, "access-control-allow-origin"), "https://app.example");
    let exposed = header(&begun, "access-control-expose-headers");
    assert!(["location", "etag", "link"].iter().all(|name| exposed.contains(name)), "{exposed}");
    let link = header(&begun, "link");
    assert!(link.starts_with("<turn:turn.example:3478>; rel=\"ice-server\"; username=\""), "{link}");
    assert!(link.contains(":studio\"; credential=\""), "{link}");

    let alice = Client::log_in(&server, &site, "alice").await;
    let told = &alice.ice_servers[0];
    assert_eq!(told["urls"], json!(["turn:turn.example:3478"]));
    assert!(told["username"].as_str().is_some_and(|name| name.ends_with(":alice")), "{told}");
    assert!(told["credential"].as_str().is_some_and(|text| text.len() == 28), "{told}");
}
