//! A web app on its own origin whose code is that of Tencent's TUICallEvent page: every one of the seventeen callbacks is called.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::browser::{Browser, Make, turn};
use crate::rpc::APP;
use crate::server::Site;

#[tokio::test]
async fn the_snippets_of_tencents_page_run_unchanged() {
    let _turn = turn().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
    let site = Site::new(&[]).set(&format!("http.allowed_origins=[\"{origin}\"]"));
    let server = site.serve().await;
    let account =
        |user: &str, ticket: String| json!({"sdkAppId": APP, "userId": user, "userSig": ticket, "url": server.page()});
    let usual = |user: &str| account(user, site.ticket(user));
    let page = include_str!("snippets.html").replace("{server}", &server.page());
    let app = tokio::spawn(axum::serve(listener, Router::new().route("/", get(|| async { Html(page) }))).into_future());
    let tab = Browser::visit(Make::Chromium, &origin, "tess").await;
    tab.wait_for("the SDK", "window.me").await;

    tab.run(&format!("me.init({})", usual("tess"))).await;
    for user in ["bob", "carol"] {
        tab.run(&format!("another({}).then((kit) => {{ window.{user} = kit; }})", usual(user))).await;
    }
    // Rung, and cancelled; a call to oneself is an error.
    tab.run("bob.call({ userIdList: ['tess'], callMediaType: 0 })").await;
    said(&tab, "onCallReceived", "callerId=bob").await;
    tab.run("bob.hangup()").await;
    said(&tab, "onCallCancelled", "userId=bob").await;
    tab.run("me.call({ userIdList: ['tess'], callMediaType: 0 }).catch(() => {})").await;
    said(&tab, "onError", "code=-1202,message=nobody calls themself").await;

    // Callees who decline, are busy, do not answer.
    tab.run("bob.on('onCallReceived', (call) => bob.reject(call.callId))").await;
    tab.run("me.call({ userIdList: ['bob'], callMediaType: 0 })").await;
    said(&tab, "onUserReject", "userId=bob").await;
    tab.wait_for("the end", "me.currentCall === null").await;
    tab.run("bob.off('onCallReceived')").await;
    tab.run("carol.call({ userIdList: ['bob'], callMediaType: 0 })").await;
    tab.run("me.call({ userIdList: ['bob'], callMediaType: 0 })").await;
    said(&tab, "onUserLineBusy", "userId=bob").await;
    tab.run("carol.hangup()").await;
    tab.wait_for("the end", "me.currentCall === null && bob.currentCall === null").await;
    tab.run("me.call({ userIdList: ['bob'], callMediaType: 0, timeout: 1 })").await;
    said(&tab, "onUserNoResponse", "userId=bob").await;
    tab.wait_for("the end", "me.currentCall === null && bob.currentCall === null").await;

    // A call, with its media, its change to voice and its end.
    tab.run("bob.on('onCallReceived', (call) => bob.accept(call.callId))").await;
    tab.run("me.call({ userIdList: ['bob'], callMediaType: 1, roomId: { strRoomId: 'parlour' } })").await;
    said(&tab, "onUserJoin", "userId=bob").await;
    said(&tab, "onCallBegin", "strRoomId=parlour, callMediaType=1,callRole=1").await;
    said(&tab, "onUserVideoAvailable", "userId=bobisVideoAvailable=true").await;
    said(&tab, "onUserAudioAvailable", "userId=bobisAudioAvailable=true").await;
    said(&tab, "onUserVoiceVolumeChanged", "\"volumeMap\":{\"bob\":").await;
    said(&tab, "onUserNetworkQualityChanged", "userId: bob, network quality: ").await;
    tab.run("me.switchCallMediaType(0)").await;
    said(&tab, "onCallMediaTypeChanged", "oldCallMediaType=1,newCallMediaType=0").await;
    tab.run("bob.hangup()").await;
    said(&tab, "onUserLeave", "userId=bob").await;
    said(&tab, "onCallEnd", "strRoomId=parlour,callMediaType=0,callRole=1,totalTime=").await;

    // A ticket that runs out, and another log-in. Times are whole seconds: one of a second might have run out before it is there.
    tab.run(&format!("me.init({})", account("tess", site.ticket_for("tess", 5)))).await;
    said(&tab, "onUserSigExpired", "").await;
    tab.run(&format!("me.init({})", usual("tess"))).await;
    tab.run(&format!("another({}).then(() => null)", usual("tess"))).await;
    said(&tab, "onKickedOffline", "").await;

    let said = tab.run("said()").await;
    let events = tab.run("events").await;
    let events: Vec<&str> = events.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(events.len(), 17);
    for event in events {
        assert!(said[event].is_array(), "{event} was never told: {said}");
    }
    app.abort();
}

/// Waits until the event's snippet wrote this.
async fn said(tab: &Browser, event: &str, words: &str) {
    let condition = format!("(said()[{event:?}] ?? []).some((line) => line.includes({words:?}))");
    tab.wait_for(&format!("{event} {words}"), &condition).await;
}
