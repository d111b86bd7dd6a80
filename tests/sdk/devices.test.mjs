// Microphones, cameras, screens: chosen, lost, taken away.

import assert from "node:assert/strict";
import test from "node:test";

import { CALL, World, settle, videoElement } from "./world.mjs";

const sending = (world, index) => world.peer.transceivers[index].sender.track;

test("devices are listed by what they are for", async () => {
  const world = new World();
  world.devices = [
    { kind: "audioinput", deviceId: "m", label: "Headset" },
    { kind: "videoinput", deviceId: "", label: "" },
    { kind: "audiooutput", deviceId: "s", label: "Speaker" },
  ];
  assert.deepEqual(await world.kit.getDevices(), {
    microphone: [{ deviceId: "m", label: "Headset" }],
    camera: [],
    speaker: [{ deviceId: "s", label: "Speaker" }],
  });
});

test("the app hears when devices come and go", async () => {
  const world = new World();
  let changes = 0;
  world.kit.on("onDevicesChanged", () => (changes += 1));
  await world.happen("mediaDevices", "devicechange");
  assert.equal(changes, 1);
});

test("another microphone takes the place of the open one, muted as that was, without an offer", async () => {
  const world = new World();
  await world.inCall();
  await world.kit.closeMicrophone();
  const before = sending(world, 0);
  await world.kit.useDevice("microphone", "other");
  const after = sending(world, 0);
  assert.notEqual(after, before);
  assert.deepEqual([before.readyState, after.readyState, after.enabled], ["ended", "live", false]);
  assert.deepEqual(world.constraints.at(-1).audio.deviceId, { ideal: "other" });
  assert.equal(world.asked("offer").length, 1);
  await assert.rejects(world.kit.useDevice("printer", "x"), { code: -1202 });
});

test("a camera chosen before the call is the one that opens, and the preview follows a change", async () => {
  const world = new World();
  await world.kit.useDevice("camera", "back");
  await world.inCall();
  assert.deepEqual(world.constraints[0].video.deviceId, { ideal: "back" });
  const preview = videoElement();
  await world.kit.openCamera(preview);
  await world.kit.useDevice("camera", "front");
  assert.equal(preview.srcObject.tracks[0], sending(world, 1));
});

test("a microphone unplugged is replaced by whatever there is", async () => {
  const world = new World();
  await world.kit.useDevice("microphone", "headset");
  await world.inCall();
  sending(world, 0).onended();
  await settle();
  assert.equal(sending(world, 0).readyState, "live");
  assert.equal(world.constraints.at(-1).audio.deviceId, undefined);
  assert.deepEqual([world.asked("mute"), world.names().includes("onError")], [[], false]);
});

test("the last camera unplugged is told to the app and the server", async () => {
  const world = new World();
  await world.inCall();
  world.refused.video = "NotFoundError";
  sending(world, 1).onended();
  await settle();
  assert.equal(world.told.at(-1)[1].code, -1313);
  assert.equal(sending(world, 1), null);
  assert.deepEqual(world.asked("mute"), [{ callId: CALL, source: "camera", muted: true }]);
});

test("a screen whose sharing is ended in the browser's own bar is no error", async () => {
  const world = new World();
  await world.inCall();
  const local = [];
  world.kit.on("onLocalMediaChanged", ({ source, active }) => local.push([source, active]));
  await world.kit.shareScreen();
  sending(world, 5).onended();
  await settle();
  assert.deepEqual(local, [["screen", true], ["screen", false]]);
  assert.equal(sending(world, 5), null);
  assert.deepEqual(world.asked("mute").at(-1), { callId: CALL, source: "screen", muted: true });
  assert.ok(!world.names().includes("onError"));
});

test("a device that is closed while another one opens stays closed", async () => {
  const world = new World();
  await world.inCall();
  const changing = world.kit.useDevice("camera", "other");
  await world.kit.closeCamera();
  await changing;
  assert.equal(sending(world, 1), null);
  assert.equal(world.opened.at(-1).readyState, "ended");
});
