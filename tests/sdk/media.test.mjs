// The peer connection: offers, slots, repair.

import assert from "node:assert/strict";
import test from "node:test";

import { CALL, World, settle, videoElement } from "./world.mjs";

/** The m-lines as "direction kind". */
const lines = (peer) => peer.transceivers.map(({ direction, receiver }) => `${direction} ${receiver.track.kind}`);
const tally = (list) => list.reduce((count, line) => ({ ...count, [line]: (count[line] ?? 0) + 1 }), {});

test("a video call of two offers its sources, a pair of slots and one for a screen", async () => {
  const world = new World();
  await world.inCall();
  assert.deepEqual(world.asked("offer"), [{ callId: CALL, sdp: "offer", sources: { 0: "microphone", 1: "camera" } }]);
  assert.deepEqual(tally(lines(world.peer)), { "sendonly audio": 1, "sendonly video": 1, "recvonly audio": 1, "recvonly video": 2 });
  assert.equal(world.peer.transceivers[1].sender.getParameters().encodings.length, 1);
});

test("a voice call offers voice alone, until someone shows a picture", async () => {
  const world = new World();
  await world.inCall(0);
  assert.deepEqual(tally(lines(world.peer)), { "sendonly audio": 1, "recvonly audio": 1 });
  world.tell("onUserVideoAvailable", { callId: CALL, userId: "bob", isVideoAvailable: true });
  await settle();
  assert.equal(world.asked("offer").length, 2);
  assert.equal(tally(lines(world.peer))["recvonly video"], 2);
});

test("a group call offers its slots at once and sends three layers", async () => {
  const world = new World();
  await world.init();
  await world.kit.call({ userIdList: ["bob", "carol"], callMediaType: 1 });
  world.tell("onCallBegin", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1 });
  await settle();
  for (const userId of ["bob", "carol"]) world.tell("onUserJoin", { callId: CALL, userId });
  await settle();
  assert.equal(world.asked("offer").length, 1);
  assert.deepEqual(tally(lines(world.peer)), { "sendonly audio": 1, "sendonly video": 1, "recvonly audio": 8, "recvonly video": 9 });
  assert.deepEqual(world.peer.transceivers[1].sender.getParameters().encodings.map(({ rid }) => rid), ["q", "h", "f"]);
});

test("a call of two that a third joins grows", async () => {
  const world = new World();
  await world.inCall();
  world.tell("onUserJoin", { callId: CALL, userId: "carol" });
  await settle();
  assert.equal(world.asked("offer").length, 2);
  assert.equal(tally(lines(world.peer))["recvonly audio"], 8);
});

test("a shared screen is one more source, and sharing again needs no offer", async () => {
  const world = new World();
  await world.inCall();
  await world.kit.shareScreen();
  assert.deepEqual(world.asked("offer").at(-1).sources, { 0: "microphone", 1: "camera", 5: "screen" });
  await world.kit.stopShare();
  await world.kit.shareScreen();
  assert.equal(world.asked("offer").length, 2);
  assert.deepEqual(world.asked("mute").map(({ muted }) => muted), [false, true, false]);
});

test("a slot's picture is shown in the element of whoever is in it", async () => {
  const world = new World();
  await world.inCall();
  const [bob, screen] = [videoElement(), videoElement()];
  await world.kit.startRemoteView("bob", bob, "camera");
  await world.kit.startRemoteView("bob", screen, "screen");
  const slot = (mid, userId, source) => ({ mid, userId, source, paused: false });
  world.tell("slots", { callId: CALL, slots: [slot("3", "bob", "camera"), slot("4", null, "camera")] });
  const [, , , first, second] = world.peer.transceivers;
  assert.equal(bob.srcObject.tracks[0], first.receiver.track);
  assert.equal(screen.srcObject, null);
  world.tell("slots", { callId: CALL, slots: [slot("3", "bob", "screen"), slot("4", "bob", "camera")] });
  assert.equal(bob.srcObject.tracks[0], second.receiver.track);
  assert.equal(screen.srcObject.tracks[0], first.receiver.track);
  await world.kit.stopRemoteView("bob", "camera");
  assert.equal(bob.srcObject, null);
});

test("without a source named the screen is shown while there is one", async () => {
  const world = new World();
  await world.inCall();
  const element = videoElement();
  await world.kit.startRemoteView("bob", element);
  const camera = { mid: "3", userId: "bob", source: "camera", paused: false };
  world.tell("slots", { callId: CALL, slots: [camera] });
  assert.equal(element.srcObject.tracks[0], world.peer.transceivers[3].receiver.track);
  world.tell("slots", { callId: CALL, slots: [camera, { ...camera, mid: "4", source: "screen" }] });
  assert.equal(element.srcObject.tracks[0], world.peer.transceivers[4].receiver.track);
});

test("the server learns what is looked at and how large, once", async () => {
  const world = new World();
  await world.inCall();
  await world.kit.startRemoteView("bob", videoElement(320, 180));
  world.tell("slots", { callId: CALL, slots: [{ mid: "4", userId: "bob", source: "camera", paused: false }] });
  await world.pass(1_000);
  assert.deepEqual(world.asked("view"), [], "bob sends no picture yet");
  for (let i = 0; i < 3; i++) world.tell("onUserVideoAvailable", { callId: CALL, userId: "bob", isVideoAvailable: true });
  await world.pass(1_000);
  const slots = [{ mid: "4", userId: "bob", source: "camera", maxHeight: 180 }];
  assert.deepEqual(world.asked("view"), [{ callId: CALL, slots }]);
});

test("with more to look at than slots the server chooses", async () => {
  const world = new World();
  await world.inCall();
  for (const userId of ["bob", "carol", "dave"]) {
    world.tell("onUserVideoAvailable", { callId: CALL, userId, isVideoAvailable: true });
    await world.kit.startRemoteView(userId, videoElement());
    await world.pass(1_000);
  }
  assert.deepEqual(world.asked("view").map(({ slots }) => slots.map(({ userId }) => userId)), [["bob"], ["bob", "carol"], []]);
});

test("encodings that nobody watches stop, and return to their ceiling", async () => {
  const world = new World();
  await world.init();
  await world.kit.call({ userIdList: ["bob", "carol"], callMediaType: 1 });
  world.tell("onCallBegin", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1 });
  await settle();
  const { sender } = world.peer.transceivers[1];
  const state = () => sender.getParameters().encodings.map(({ active, maxBitrate }) => [active, maxBitrate]);
  const wish = (active, maxBitrate) => ["q", "h", "f"].map((rid) => ({ rid, active, ...(maxBitrate && { maxBitrate }) }));
  world.tell("encodings", { callId: CALL, mid: "1", encodings: wish(false) });
  world.tell("encodings", { callId: CALL, mid: "1", encodings: wish(true, 300_000) });
  await settle();
  assert.deepEqual(state(), [[true, 150_000], [true, 300_000], [true, 300_000]]);
  world.tell("encodings", { callId: CALL, mid: "1", encodings: wish(true).slice(0, 2).concat({ rid: "f", active: false }) });
  await settle();
  assert.deepEqual(state(), [[true, 150_000], [true, 500_000], [false, 1_700_000]]);
});

test("a connection that stumbles and finds its feet is left alone", async () => {
  const world = new World();
  await world.inCall();
  world.peer.become("disconnected");
  await world.pass(1_000);
  world.peer.become("connected");
  await world.pass(60_000);
  assert.equal(world.asked("offer").length, 1);
});

test("a broken connection is restarted first and made anew when that does not help", async () => {
  const world = new World();
  await world.inCall();
  const first = world.peer;
  first.become("failed");
  await settle();
  assert.deepEqual([first.restarts, world.asked("offer").length, world.peers.length], [1, 2, 1]);
  await world.pass(8_000);
  assert.deepEqual([first.connectionState, world.peers.length, world.asked("offer").length], ["closed", 2, 3]);
  const tracks = world.peer.transceivers.slice(0, 2).map(({ sender }) => sender.track.readyState);
  assert.deepEqual(tracks, ["live", "live"], "the camera is not asked for again");
  world.peer.become("connected");
  await world.pass(60_000);
  assert.equal(world.peers.length, 2);
});

test("a server with another certificate gets a new connection", async () => {
  const world = new World();
  await world.inCall();
  world.fingerprint = "BB";
  world.peer.become("failed");
  await settle();
  assert.equal(world.peers.length, 2);
  assert.match(world.peer.remoteDescription.sdp, /BB/);
  assert.equal(world.asked("offer").length, 3);
});

test("while the session is away nothing is offered", async () => {
  const world = new World();
  await world.inCall();
  await world.drop();
  world.peer.become("failed");
  await settle();
  assert.equal(world.asked("offer").length, 1);
});

test("a session that comes back looks for a new path, with the newest servers for it", async () => {
  const world = new World();
  await world.inCall();
  await world.comeBack({ sessionId: "sess_1", iceServers: [{ urls: "turn:new" }], calls: [{ callId: CALL, ringing: false }] });
  assert.deepEqual([world.asked("offer").length, world.peer.restarts, world.peers.length], [2, 1, 1]);
  assert.deepEqual(world.peer.configuration.iceServers, [{ urls: "turn:new" }]);
});

test("another network is another path: at once, and the session is looked after too", async () => {
  const world = new World();
  await world.inCall();
  world.connection.type = "cellular";
  await world.happen("connection", "change");
  assert.equal(world.peer.restarts, 1);
  await world.happen("connection", "change");
  assert.equal(world.peer.restarts, 1, "a change of speed alone changes no path");
  world.answers.ping = "silent";
  await world.happen("window", "online");
  assert.equal(world.peer.restarts, 2);
  await world.pass(2_000);
  assert.ok(world.sockets[0].closed);
});

test("the server's end of a connection that is a new one gets a new connection", async () => {
  const world = new World();
  await world.inCall();
  world.session = 2;
  world.tell("onError", { callId: CALL, code: -1203, message: "offer again" });
  await settle();
  assert.deepEqual([world.peers.length, world.asked("offer").length], [2, 3]);
});

test("a small camera is sent in fewer layers", async () => {
  for (const [height, rids] of [[1080, ["q", "h", "f"]], [480, ["h", "f"]], [240, [undefined]]]) {
    const world = new World();
    world.cameraHeight = height;
    await world.init();
    await world.kit.call({ userIdList: ["bob", "carol"], callMediaType: 1 });
    world.tell("onCallBegin", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1 });
    await settle();
    assert.deepEqual(world.peer.transceivers[1].sender.getParameters().encodings.map(({ rid }) => rid), rids, String(height));
  }
});

test("what the app stops showing keeps its slot and is sent in no size", async () => {
  const world = new World();
  await world.inCall();
  world.tell("slots", { callId: CALL, slots: [{ mid: "3", userId: "bob", source: "camera", paused: false }] });
  world.tell("onUserVideoAvailable", { callId: CALL, userId: "bob", isVideoAvailable: true });
  const element = videoElement(640, 360);
  const views = async () => {
    await world.pass(1_000);
    return world.asked("view").at(-1).slots;
  };
  await world.kit.startRemoteView("bob", element);
  assert.deepEqual(await views(), [{ mid: "3", userId: "bob", source: "camera", maxHeight: 360 }]);
  await world.kit.stopRemoteView("bob");
  assert.deepEqual(await views(), [{ mid: "3", userId: "bob", source: "camera", maxHeight: 0 }]);
  await world.kit.startRemoteView("bob", element, "camera");
  assert.deepEqual(await views(), [{ mid: "3", userId: "bob", source: "camera", maxHeight: 360 }]);
});

test("media that cannot be had is told, and tried for as long as the call lasts", async () => {
  const world = new World();
  await world.inCall();
  world.peer.become("failed");
  await world.pass(60_000);
  const errors = world.told.filter(([name]) => name === "onError").map(([, { code }]) => code);
  assert.deepEqual(errors, [-1303]);
  const offers = world.asked("offer").length;
  assert.ok(offers >= 6, String(offers));
  world.tell("onCallEnd", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1, totalTime: 60 });
  await world.pass(60_000);
  assert.equal(world.asked("offer").length, offers);
});
