// The interface: states, events, errors, devices.

import assert from "node:assert/strict";
import test from "node:test";

import { CallKit, TUICallEvent, TUICallKit } from "../../src/web/sdk/callkit.js";
import { CALL, World, settle } from "./world.mjs";

const BOB_VIDEO = { userIdList: ["bob"], callMediaType: 1 };

test("there are seventeen events and each is its name", () => {
  assert.equal(Object.keys(TUICallEvent).length, 17);
  for (const [key, value] of Object.entries(TUICallEvent)) assert.equal(key, value);
  assert.ok(TUICallKit instanceof CallKit);
});

test("the payload is handed over as it came", async () => {
  const world = new World();
  await world.init();
  let seen;
  world.kit.on(TUICallEvent.onUserReject, (event) => (seen = event));
  world.tell("onUserReject", { callId: "call_9", userId: "carol" });
  assert.deepEqual(seen, { callId: "call_9", userId: "carol" });
});

test("network quality iterates as pairs and has its own name", async () => {
  const world = new World();
  await world.init();
  const pairs = [];
  let named;
  world.kit.on(TUICallEvent.onUserNetworkQualityChanged, (networkQuality) => {
    for (const [key, value] of networkQuality) pairs.push([key, value]);
    named = networkQuality.networkQuality;
  });
  world.tell("onUserNetworkQualityChanged", { callId: CALL, networkQuality: { alice: "Good", bob: "Vbad" } });
  assert.deepEqual(pairs, [["alice", "Good"], ["bob", "Vbad"]]);
  assert.deepEqual(named, { alice: "Good", bob: "Vbad" });
});

test("off stops one listener; one that throws does not stop the next", async (t) => {
  t.mock.method(console, "error", () => {});
  const world = new World();
  await world.init();
  const seen = [];
  const first = () => seen.push("first");
  world.kit.on(TUICallEvent.onUserLeave, first);
  world.kit.on(TUICallEvent.onUserLeave, () => {
    throw new Error("the app's own");
  });
  world.kit.on(TUICallEvent.onUserLeave, () => seen.push("last"));
  world.tell("onUserLeave", { userId: "bob" });
  world.kit.off(TUICallEvent.onUserLeave, first);
  world.tell("onUserLeave", { userId: "bob" });
  assert.deepEqual(seen, ["first", "last", "last"]);
  assert.equal(console.error.mock.callCount(), 2);
});

test("methods in the wrong state are refused, and onError says so once each", async () => {
  const world = new World();
  await assert.rejects(world.kit.call(BOB_VIDEO), { code: -1201, name: "notLoggedIn" });
  await world.init();
  for (const method of ["accept", "reject", "hangup", "shareScreen", "inviteUser"]) {
    await assert.rejects(world.kit[method](), { code: -1203, name: "refusedInThisState" }, method);
  }
  await world.kit.call(BOB_VIDEO);
  await assert.rejects(world.kit.call(BOB_VIDEO), { code: -1203 });
  await assert.rejects(world.kit.accept(), { code: -1203 });
  await assert.rejects(world.kit.hangup("call_other"), { code: -1203 });
  assert.deepEqual(world.asked("accept"), []);
  assert.equal(world.asked("call").length, 1);
  assert.ok(world.told.every(([name, { code }]) => name === "onError" && code < 0));
});

test("a second call or accept while the first is under way is a repeated request", async () => {
  const world = new World();
  await world.init();
  const first = world.kit.call(BOB_VIDEO);
  await assert.rejects(world.kit.call(BOB_VIDEO), { code: -1204, name: "repeatedRequest" });
  await first;
  world.tell("onCallCancelled", { callId: CALL, callerId: "alice" });
  world.ring("call_2");
  const accepted = world.kit.accept();
  await assert.rejects(world.kit.accept(), { code: -1204 });
  await accepted;
  assert.equal(world.asked("accept").length, 1);
});

test("bad parameters of a call are named before anything is sent", async () => {
  const world = new World();
  await world.init();
  await assert.rejects(world.kit.call({ userIdList: "bob", callMediaType: 1 }), { code: -1202, message: /userIdList/ });
  await assert.rejects(world.kit.call({ userIdList: ["bob"], callMediaType: 2 }), { code: -1202, message: /callMediaType/ });
  assert.deepEqual(world.asked("call"), []);
});

test("events that overtake the reply to a call wait for it", async () => {
  const world = new World();
  await world.init();
  world.answers.call = "silent";
  const placed = world.kit.call({ userIdList: ["bob"], callMediaType: 0 });
  await settle();
  world.tell("onUserLineBusy", { callId: CALL, userId: "bob" });
  world.tell("onCallCancelled", { callId: CALL, callerId: "alice" });
  assert.deepEqual(world.told, []);
  const { id } = world.socket.requests.at(-1);
  world.socket.receive({ id, result: { callId: CALL, roomId: { intRoomId: 1, strRoomId: "" } } });
  assert.equal((await placed).callId, CALL);
  assert.deepEqual(world.names(), ["onUserLineBusy", "onCallCancelled"]);
  assert.equal(world.kit.currentCall, null);
});

test("a call goes through its phases", async () => {
  const world = new World();
  await world.init();
  const phases = [world.kit.currentCall];
  const placed = world.kit.call(BOB_VIDEO);
  phases.push(world.kit.currentCall.phase);
  await placed;
  phases.push(world.kit.currentCall.phase);
  world.tell("onCallBegin", { callId: CALL, roomId: { intRoomId: 7, strRoomId: "" }, callMediaType: 1, callRole: 1 });
  phases.push(world.kit.currentCall.phase);
  world.tell("onCallEnd", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1, totalTime: 3 });
  phases.push(world.kit.currentCall);
  assert.deepEqual(phases, [null, "calling", "calling", "begun", null]);
});

test("late events of an earlier call leave the current one alone", async () => {
  const world = new World();
  await world.inCall();
  world.tell("onCallEnd", { callId: "call_old", roomId: {}, callMediaType: 1, callRole: 1, totalTime: 3 });
  assert.equal(world.names().at(-1), "onCallEnd");
  assert.equal(world.kit.currentCall.callId, CALL);
});

test("hanging up before the server has named the call cancels it then", async () => {
  const world = new World();
  await world.init();
  const placed = world.kit.call(BOB_VIDEO);
  const left = world.kit.hangup();
  await placed;
  await left;
  assert.deepEqual(world.asked("hangup"), [{ callId: CALL }]);
});

test("hanging up on a call that rings declines it", async () => {
  const world = new World();
  await world.init();
  world.ring();
  await world.kit.hangup();
  assert.deepEqual(world.asked("reject"), [{ callId: CALL }]);
  assert.deepEqual(world.asked("hangup"), []);
});

test("joining the call that rings is accepting it", async () => {
  const world = new World();
  await world.init();
  world.ring();
  await world.kit.join({ callId: CALL });
  assert.equal(world.asked("accept").length, 1);
  assert.equal(world.asked("join").length, 0);
});

test("who refuses the camera is heard, who refuses both is there all the same", async () => {
  for (const [refused, sent] of [[{ video: "NotAllowedError" }, ["audio"]], [{ video: "NotAllowedError", audio: "NotFoundError" }, []]]) {
    const world = new World();
    world.refused = refused;
    await world.inCall();
    const tracks = world.peer.transceivers.map(({ sender }) => sender.track?.kind).filter(Boolean);
    assert.deepEqual(tracks, sent);
    const errors = world.told.filter(([name]) => name === "onError").map(([, { code }]) => code);
    assert.deepEqual(errors.sort(), refused.audio ? [-1311, -1312] : [-1311]);
    assert.equal(world.asked("offer").length, 1);
    assert.equal(world.kit.currentCall.phase, "begun");
  }
});

test("closing the camera lets go of it at once, opening it sends again", async () => {
  const world = new World();
  await world.inCall();
  const camera = world.peer.transceivers[1].sender;
  const track = camera.track;
  await world.kit.closeCamera();
  assert.deepEqual([camera.track, track.readyState], [null, "ended"]);
  await world.kit.openCamera();
  assert.equal(camera.track.kind, "video");
  assert.deepEqual(world.asked("mute"), [
    { callId: CALL, source: "camera", muted: true },
    { callId: CALL, source: "camera", muted: false },
  ]);
});

test("what is closed while it rings stays closed in the call, and the server knows", async () => {
  const world = new World();
  await world.init();
  await world.kit.call(BOB_VIDEO);
  await world.kit.closeMicrophone();
  await world.kit.closeCamera();
  world.tell("onCallBegin", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1 });
  await settle();
  const [microphone, camera] = world.peer.transceivers.map(({ sender }) => sender.track);
  assert.deepEqual([microphone.enabled, camera], [false, null]);
  assert.deepEqual(world.asked("mute").map(({ source, muted }) => [source, muted]), [["microphone", true], ["camera", true]]);
});

test("a camera closed before the call is answered is not opened by the answer", async () => {
  const world = new World();
  await world.init();
  world.ring();
  await world.kit.closeCamera();
  await world.kit.accept();
  world.tell("onCallBegin", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 2 });
  await settle();
  assert.deepEqual(world.peer.transceivers.map(({ sender }) => sender.track?.kind).filter(Boolean), ["audio"]);
});

test("a device that opens after it was closed again is let go", async () => {
  const world = new World();
  await world.init();
  const placed = world.kit.call(BOB_VIDEO);
  const closed = world.kit.closeCamera();
  await Promise.all([placed, closed]);
  await settle();
  world.tell("onCallBegin", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1 });
  await settle();
  assert.deepEqual(world.peer.transceivers.map(({ sender }) => sender.track?.kind).filter(Boolean), ["audio"]);
  assert.ok(world.opened.filter(({ kind }) => kind === "video").every(({ readyState }) => readyState === "ended"));
  assert.equal(world.opened.length, 2);
});

test("the end of a call stops every device", async () => {
  const world = new World();
  await world.inCall();
  await world.kit.shareScreen();
  const tracks = world.peer.transceivers.map(({ sender }) => sender.track).filter(Boolean);
  assert.equal(tracks.length, 3);
  world.tell("onCallEnd", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1, totalTime: 3 });
  assert.ok(tracks.every(({ readyState }) => readyState === "ended"));
  assert.equal(world.peer.connectionState, "closed");
});

test("an error told as reply and as event is told once", async () => {
  const world = new World();
  await world.init();
  world.answers.call = () => {
    world.tell("onError", { code: 20007, message: "blocked" });
    throw { code: 20007, message: "blocked", data: { name: "blocked" } };
  };
  await assert.rejects(world.kit.call(BOB_VIDEO), { code: 20007, name: "blocked" });
  assert.deepEqual(world.names(), ["onError"]);
});

test("destroy hangs up, ends the call for the app and logs out", async () => {
  const world = new World();
  await world.inCall();
  await world.kit.destroy();
  assert.deepEqual(world.asked("hangup"), [{ callId: CALL }]);
  assert.equal(world.names().filter((name) => name === "onCallEnd").length, 1);
  assert.ok(world.socket.closed);
  await world.pass(60_000);
  assert.equal(world.sockets.length, 1);
});

test("a call that the backend placed is the user's own: it begins, and hangs up without naming it", async () => {
  const world = new World();
  await world.init();
  const placed = { callId: CALL, roomId: { intRoomId: 7, strRoomId: "" }, calleeIdList: ["bob"], groupId: "", callMediaType: 0, userData: "x" };
  let told;
  world.kit.on("onCallPlaced", (event) => (told = event));
  world.tell("onCallPlaced", placed);
  assert.deepEqual(told, placed);
  assert.equal(world.opened.length, 0, "nothing is opened while it rings at the other end");
  await assert.rejects(world.kit.call(BOB_VIDEO), { name: "refusedInThisState" });
  world.tell("onUserJoin", { callId: CALL, userId: "bob" });
  world.tell("onCallBegin", { callId: CALL, roomId: placed.roomId, callMediaType: 0, callRole: 1 });
  await settle();
  assert.ok(world.opened.length > 0, "its microphone opens when it begins");
  await world.kit.hangup();
  assert.ok(world.asked("hangup").some(({ callId }) => callId === CALL));
});
