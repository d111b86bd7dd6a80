// The session: logging in, losing the connection, coming back.

import assert from "node:assert/strict";
import test from "node:test";

import { ALICE, CALL, World, settle } from "./world.mjs";

const refuse = (code, name) => () => {
  throw { code, message: name, data: { name } };
};

test("log-in is the first message and names the user", async () => {
  const world = new World();
  const { sessionId } = await world.init();
  assert.equal(sessionId, "sess_1");
  assert.equal(world.socket.url, "ws://calls.test/v1/ws");
  assert.deepEqual(world.socket.requests[0], {
    jsonrpc: "2.0",
    id: 0,
    method: "login",
    params: { sdkAppId: 1, userId: "alice", userSig: "ticket" },
  });
});

test("a refused log-in rejects with the contract's number and name", async () => {
  const world = new World();
  world.login = refuse(70003, "userSigInvalid");
  await assert.rejects(world.init(), { code: 70003, name: "userSigInvalid", message: "userSigInvalid" });
  assert.deepEqual(world.told, [["onError", { code: 70003, message: "userSigInvalid" }]]);
  assert.equal(world.kit.userId, null);
});

test("a server that cannot be reached rejects, and is not tried again behind the app's back", async () => {
  const world = new World();
  const opened = world.kit.init(ALICE);
  opened.catch(() => {});
  await settle();
  await world.drop();
  await assert.rejects(opened, { name: "connectionLost" });
  await world.pass(60_000);
  assert.equal(world.sockets.length, 1);
});

test("init's parameters are checked before anything is sent", async () => {
  for (const wrong of [{ sdkAppId: "1" }, { userId: "" }, { userSig: undefined }, { url: "ftp://x" }, { slotPairs: 0 }]) {
    const world = new World();
    await assert.rejects(world.kit.init({ ...ALICE, ...wrong }), { code: -1202 }, JSON.stringify(wrong));
    assert.equal(world.sockets.length, 0);
  }
});

test("it comes back with the newest token, slower each time", async () => {
  const world = new World();
  await world.init();
  world.tell("resumeToken", { resumeToken: "token_1" });
  world.tell("resumeToken", { resumeToken: "token_2" });
  const states = [];
  world.kit.on("onConnectionChanged", ({ state }) => states.push(state));
  await world.drop();
  for (const [attempt, delay] of [100, 200, 400, 800].entries()) {
    await world.pass(delay - 1);
    assert.equal(world.sockets.length, attempt + 1, "not before its time");
    await world.pass(1);
    assert.equal(world.sockets.length, attempt + 2);
    if (attempt < 3) await world.drop();
  }
  world.socket.open();
  await settle();
  assert.equal(world.asked("login").at(-1).resumeToken, "token_2");
  assert.deepEqual(states, ["reconnecting", "online"]);
});

test("a connection that no longer answers is replaced", async () => {
  const world = new World();
  await world.init();
  world.answers.ping = "silent";
  await world.pass(10_000);
  assert.ok(world.sockets[0].closed);
  await world.pass(100);
  assert.equal(world.sockets.length, 2);
});

test("pings go on while they are answered", async () => {
  const world = new World();
  await world.init();
  await world.pass(60_000);
  assert.equal(world.sockets.length, 1);
  assert.equal(world.asked("ping").length, 12);
});

test("another log-in of the user ends the session for good", async (t) => {
  for (const end of ["event", "close code", "both"]) {
    await t.test(end, async () => {
      const world = new World();
      await world.init();
      if (end !== "close code") world.tell("onKickedOffline", {});
      if (end !== "event") await world.drop(4001);
      await world.pass(60_000);
      assert.equal(world.names().filter((name) => name === "onKickedOffline").length, 1);
      assert.equal(world.sockets.length, 1);
      assert.equal(world.kit.userId, null);
    });
  }
});

test("a ticket that ran out while away is told, and trying ends", async () => {
  const world = new World();
  await world.init();
  world.login = refuse(70001, "userSigExpired");
  await world.drop();
  await world.pass(100);
  world.socket.open();
  await settle();
  await world.pass(60_000);
  assert.deepEqual(world.names(), ["onUserSigExpired", "onError"]);
  assert.equal(world.sockets.length, 2);
});

test("init with a new ticket renews it on the same connection", async () => {
  const world = new World();
  await world.init();
  await world.kit.init({ ...ALICE, userSig: "fresh" });
  assert.deepEqual(world.asked("renewUserSig"), [{ userSig: "fresh" }]);
  assert.equal(world.sockets.length, 1);
  await world.drop();
  await world.pass(100);
  world.socket.open();
  await settle();
  assert.equal(world.asked("login").at(-1).userSig, "fresh");
});

test("requests made while away are sent after coming back", async () => {
  const world = new World();
  await world.inCall();
  await world.drop();
  const muted = world.kit.closeMicrophone();
  world.login = () => ({ sessionId: "sess_1", resumeToken: "t", calls: [{ callId: CALL, ringing: false }] });
  await world.pass(100);
  world.socket.open();
  await muted;
  assert.deepEqual(world.asked("mute"), [{ callId: CALL, source: "microphone", muted: true }]);
});

test("a call placed on a connection that broke fails, and nobody hears it ring", async () => {
  const world = new World();
  await world.init();
  world.answers.call = "silent";
  const placed = world.kit.call({ userIdList: ["bob"], callMediaType: 0 });
  placed.catch(() => {});
  await settle();
  await world.drop();
  await assert.rejects(placed, { name: "connectionLost" });
  world.login = () => ({ sessionId: "sess_1", resumeToken: "t", calls: [{ callId: CALL, ringing: false }] });
  await world.pass(100);
  world.socket.open();
  await settle();
  assert.deepEqual(world.asked("hangup"), [{ callId: CALL }]);
});

test("a hang-up that was answered into a broken connection is done", async () => {
  const world = new World();
  await world.inCall();
  world.answers.hangup = "silent";
  const left = world.kit.hangup();
  await settle();
  await world.drop();
  world.answers.hangup = refuse(-1203, "refusedInThisState");
  world.login = () => ({ sessionId: "sess_1", resumeToken: "t", calls: [] });
  await world.pass(100);
  world.socket.open();
  await left;
  assert.equal(world.asked("hangup").length, 2);
});

test("a call that the server forgot ends for the app too, once", async () => {
  const world = new World();
  await world.inCall();
  await world.pass(4_000);
  world.login = () => ({ sessionId: "sess_2", resumeToken: "t", calls: [] });
  await world.drop();
  await world.pass(100);
  world.socket.open();
  await settle();
  assert.ok(!world.names().includes("onCallEnd"), "its ending may still be on its way");
  await world.pass(10_000);
  const ends = world.told.filter(([name]) => name === "onCallEnd");
  assert.equal(ends.length, 1);
  assert.deepEqual(ends[0][1], { callId: CALL, roomId: { intRoomId: 7, strRoomId: "" }, callMediaType: 1, callRole: 1, totalTime: 6 });
  assert.equal(world.kit.currentCall, null);
});

test("a call that rings at log-in is received, once", async () => {
  const world = new World();
  const listed = { callId: CALL, callerId: "bob", groupId: "", callMediaType: 1, userData: "", ringing: true };
  world.login = () => ({ sessionId: "sess_1", resumeToken: "t", calls: [listed] });
  await world.init();
  world.ring();
  assert.deepEqual(world.names(), ["onCallReceived"]);
  assert.equal(world.kit.currentCall.phase, "ringing");
});

test("after a restart of the server the call goes on with new media, and what was missed is told", async () => {
  const world = new World();
  await world.inCall();
  world.tell("onUserVideoAvailable", { callId: CALL, userId: "bob", isVideoAvailable: true });
  world.tell("onUserJoin", { callId: CALL, userId: "carol" });
  world.told.length = 0;
  const members = [
    { userId: "alice", isAudioAvailable: true, isVideoAvailable: true },
    { userId: "carol", isAudioAvailable: true, isVideoAvailable: false },
    { userId: "dave", isAudioAvailable: false, isVideoAvailable: true },
  ];
  const listed = { callId: CALL, callMediaType: 1, callRole: 1, roomId: {}, ringing: false, members };
  await world.comeBack({ sessionId: "sess_1", resumed: false, calls: [listed] });
  const told = world.told.map(([name, { callId, ...payload }]) => [name, ...Object.values(payload)]);
  assert.deepEqual(told, [
    ["onUserVideoAvailable", "bob", false],
    ["onUserLeave", "bob"],
    ["onUserAudioAvailable", "carol", true],
    ["onUserJoin", "dave"],
    ["onUserVideoAvailable", "dave", true],
  ]);
  assert.ok(world.told.every(([, { callId }]) => callId === CALL));
  assert.deepEqual([world.peers.length, world.peers[0].connectionState], [2, "closed"]);
  assert.deepEqual(world.asked("offer").at(-1).sources, { 0: "microphone", 1: "camera" });
});

test("an answer that was lost with the server is told by the log-in", async () => {
  const world = new World();
  await world.init();
  await world.kit.call({ userIdList: ["bob"], callMediaType: 0 });
  const members = [{ userId: "alice" }, { userId: "bob" }];
  const listed = { callId: CALL, callMediaType: 0, callRole: 1, roomId: {}, ringing: false, begun: true, members };
  await world.comeBack({ sessionId: "sess_1", resumed: false, calls: [listed] });
  assert.deepEqual(world.names(), ["onCallBegin", "onUserJoin"]);
  assert.equal(world.kit.currentCall.phase, "begun");
  assert.equal(world.asked("offer").length, 1);
});

test("a device that rang stops when the log-in after a crash says that another one answered", async () => {
  const world = new World();
  await world.init();
  world.ring();
  const listed = { callId: CALL, callMediaType: 1, callRole: 2, roomId: {}, ringing: false, begun: true, members: [{ userId: "bob" }, { userId: "alice" }] };
  await world.comeBack({ sessionId: "sess_1", resumed: false, calls: [listed] });
  assert.deepEqual(world.told.slice(1), [["onCallCancelled", { callId: CALL, callerId: "bob" }]]);
  assert.equal(world.kit.currentCall, null);
  assert.deepEqual([world.asked("offer"), world.asked("hangup")], [[], []], "the call is the other device's");
});

test("a device whose answer the server took before it crashed is in the call", async () => {
  const world = new World();
  await world.init();
  world.ring();
  world.answers.accept = "silent";
  const accepted = world.kit.accept();
  accepted.catch(() => {});
  await settle();
  const listed = { callId: CALL, callMediaType: 1, callRole: 2, roomId: {}, ringing: false, begun: true, members: [{ userId: "bob" }, { userId: "alice" }] };
  await world.comeBack({ sessionId: "sess_1", resumed: false, calls: [listed] });
  await assert.rejects(accepted, { name: "connectionLost" });
  assert.equal(world.kit.currentCall.phase, "begun");
  assert.equal(world.asked("offer").length, 1);
});

test("what a new log-in is told again of the same call the app does not hear again", async () => {
  const world = new World();
  await world.inCall();
  await world.comeBack({ sessionId: "sess_2", calls: [{ callId: CALL, callMediaType: 1, callRole: 1, roomId: {}, members: [{ userId: "alice" }, { userId: "bob" }] }] });
  world.told.length = 0;
  world.tell("onCallBegin", { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1 });
  world.tell("onUserJoin", { callId: CALL, userId: "bob" });
  for (const isVideoAvailable of [true, true, false, false]) world.tell("onUserVideoAvailable", { callId: CALL, userId: "bob", isVideoAvailable });
  const end = { callId: CALL, roomId: {}, callMediaType: 1, callRole: 1, totalTime: 1 };
  for (let i = 0; i < 2; i++) world.tell("onCallEnd", end);
  world.tell("onUserLeave", { callId: CALL, userId: "bob" });
  assert.deepEqual(world.names(), ["onUserVideoAvailable", "onUserVideoAvailable", "onCallEnd"]);
  world.ring();
  assert.equal(world.names().at(-1), "onCallReceived", "the same call may ring again");
});
