// The try-a-call page: names instead of accounts, everything else is the SDK.
//
// What end-to-end tests hold on to:
//   body[data-state]                 offline · connecting · ready · calling · ringing · in-call
//   #name #login #logout             signing in; ?name=alice signs in at once, &call=bob fills in #callee
//   #denied                          why this server makes no ticket for this page
//   #room #join-room                 entering a room; ?room=standup fills in #room
//   #callee #call-video #call-voice  placing a call; several names with commas
//   #tab-link #copy-link #open-tab   the other side's address
//   #incoming #incoming-who #accept #reject
//   #running #rejoin                 a call of this user's that another tab was in
//   #tiles .tile[data-user-id]       with data-volume (0–100), data-quality (the contract's names), data-video and data-audio ("on",
//                                    "off"), data-self on one's own, data-pending while it rings; its <video> shows the camera
//   #tiles .tile[data-screen-of]     a shared screen
//   #devices #devices-dialog select[data-kind]
//   #toggle-mic #toggle-camera #share-screen     aria-pressed: "true" while it sends
//   #switch-media #invite #invitee #invite-send #hangup
//   #timer #call-title #status[data-connection]  online · reconnecting · offline
//   #events li[data-event]           in the order of happening; <time>, and the payload as JSON in <pre>
//   #show-telemetry #clear-events #toasts .toast
//   window.callKit                   the SDK's instance; `callKit.getStats()` has WebRTC's figures

import { TUICallKit, TUICallEvent } from "/sdk.js";
import { DevicePicker } from "./devices.js";
import { EventList } from "./events.js";
import { Ring } from "./ring.js";
import { Tiles, avatar } from "./tiles.js";

const VOICE = 0;
const VIDEO = 1;
const TOAST_MS = 5_000;
const SUGGESTED_NAMES = ["alice", "bob", "carol", "dave"];
const STATUS_TEXT = { online: "Connected", reconnecting: "Reconnecting…", offline: "Not signed in" };

const $ = (id) => document.getElementById(id);
const tiles = new Tiles($("tiles"));
const ring = new Ring();
const events = new EventList({ list: $("events"), count: $("event-count"), empty: $("no-events") });
const devices = new DevicePicker($("devices-dialog"), TUICallKit);
const query = new URLSearchParams(location.search);

/** The page's view of the call: { callMediaType, group, room, began } or null. */
let call = null;
/** What this tab sends. */
const sending = { microphone: false, camera: false, screen: false };

// ---- signing in

async function signIn(name) {
  showState("connecting");
  $("denied").hidden = true;
  try {
    const ticket = await fetchTicket(name);
    const { calls } = await TUICallKit.init(ticket);
    offerRejoin(calls.find(({ ringing }) => !ringing));
  } catch (error) {
    showState("offline");
    $("denied").textContent = error.message;
    $("denied").hidden = false;
    return;
  }
  $("me").textContent = name;
  rememberName(name);
  if (document.body.dataset.state === "connecting") showState("ready");
  $("callee").focus();
}

async function fetchTicket(userId) {
  const response = await fetch("/v1/try/ticket", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ userId }),
  }).catch(() => {
    throw new Error("The server does not answer.");
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail ?? `The server answered ${response.status}.`);
  return body;
}

function rememberName(name) {
  query.set("name", name);
  history.replaceState(null, "", `?${query}`);
  document.title = `${name} · Callisto`;
  showLink();
}

/** The address for the other side: the name typed as callee, or one that is not ours. */
function showLink() {
  const me = TUICallKit.userId;
  const other = names($("callee").value)[0] ?? SUGGESTED_NAMES.find((name) => name !== me);
  const link = new URL(location.pathname, location.href);
  const room = $("room").value.trim();
  link.search = new URLSearchParams({ name: other, ...(room ? { room } : me && { call: me }) });
  $("tab-link").value = link.href;
  $("open-tab").href = link.href;
}

/** A call that this user is in, through a tab that is gone. */
function offerRejoin(running) {
  $("running").hidden = !running;
  if (!running) return;
  const others = running.members.map(({ userId }) => userId).filter((userId) => userId !== TUICallKit.userId);
  $("running-what").textContent = `The call with ${others.join(", ") || running.callerId}`;
  $("rejoin").onclick = () => enterRoom({ callId: running.callId }, running.callMediaType);
}

async function signOut() {
  // The instance forgets its listeners; a fresh page is the simplest way to have them again.
  await TUICallKit.destroy();
  location.href = location.pathname;
}

// ---- the call's life

function place(callMediaType) {
  const userIdList = names($("callee").value);
  if (userIdList.length === 0) {
    $("callee").focus();
    return toast("Whom do you want to call?");
  }
  call = { group: userIdList.length > 1 };
  ringing(userIdList, callMediaType);
  TUICallKit.call({ userIdList, callMediaType }).catch(leaveStage);
  if (callMediaType === VIDEO) showOwnCamera();
}

function ringing(userIdList, callMediaType) {
  enterStage({ callMediaType, title: `Calling ${userIdList.join(", ")}…` });
  for (const userId of userIdList) tiles.person(userId, { pending: "Ringing…" });
  showState("calling");
}

function accept() {
  ring.stop();
  $("incoming").hidden = true;
  TUICallKit.accept().catch(leaveStage);
  enterStage({ callMediaType: call.callMediaType, title: "Connecting…" });
  if (call.callMediaType === VIDEO) showOwnCamera();
}

/** Enters a call by its id or its room; the rest follows onCallBegin. */
function enterRoom(target, callMediaType) {
  call = { group: true, room: target.roomId?.strRoomId };
  enterStage({ callMediaType, title: "Joining…" });
  showState("calling");
  TUICallKit.join(target.roomId ? { ...target, callMediaType } : target).catch(leaveStage);
  if (callMediaType === VIDEO) showOwnCamera();
}

/** The SDK opens the camera of a video call by itself; this names the element to show it in. */
function showOwnCamera() {
  quietly(TUICallKit.openCamera(tiles.video(TUICallKit.userId)));
}

function enterStage({ callMediaType, title }) {
  call = { callMediaType, group: call?.group ?? false, room: call?.room, began: null };
  tiles.clear();
  tiles.person(TUICallKit.userId, { self: true });
  $("call-title").textContent = title;
  $("timer").textContent = "";
  showControls();
}

function leaveStage() {
  ring.stop();
  call = null;
  tiles.clear();
  document.title = `${TUICallKit.userId ?? "Callisto"} · Callisto`;
  showState(TUICallKit.userId ? "ready" : "offline");
}

const follow = {
  onCallReceived({ callerId, calleeIdList, groupId, callMediaType }) {
    call = { callMediaType, group: calleeIdList.length > 1 || Boolean(groupId), began: null };
    const others = calleeIdList.filter((userId) => userId !== TUICallKit.userId);
    $("incoming-avatar").replaceWith(ringingAvatar(callerId));
    $("incoming-who").textContent = callerId;
    $("incoming-what").textContent = `${callMediaType === VIDEO ? "Video" : "Voice"} call${others.length ? ` with ${others.join(", ")}` : ""}`;
    document.title = `${callerId} calls · Callisto`;
    showState("ringing");
    $("accept").focus();
    ring.start();
  },

  onCallBegin({ callMediaType }) {
    ring.stop();
    if (!tiles.has(TUICallKit.userId)) enterStage({ callMediaType, title: "" });
    Object.assign(call, { callMediaType, began: Date.now() });
    showState("in-call");
    showTitle();
    showControls();
  },

  onCallPlaced({ calleeIdList, groupId, callMediaType }) {
    call = { group: calleeIdList.length > 1 || Boolean(groupId) };
    ringing(calleeIdList, callMediaType);
  },

  onCallEnd({ totalTime }) {
    toast(`Call ended after ${clock(totalTime)}.`);
    leaveStage();
  },

  onCallCancelled({ callerId }) {
    if (document.body.dataset.state === "ringing") toast(`Missed a call from ${callerId}.`);
    leaveStage();
  },

  onUserReject: ({ userId }) => unreached(userId, "declined"),
  onUserNoResponse: ({ userId }) => unreached(userId, "did not answer"),
  onUserLineBusy: ({ userId }) => unreached(userId, "is in another call"),

  onUserInviting({ userId }) {
    call.group = true;
    tiles.person(userId, { pending: "Ringing…" });
    showControls();
  },

  onUserJoin({ userId }) {
    tiles.person(userId);
    quietly(TUICallKit.startRemoteView(userId, tiles.video(userId), "camera"));
    showTitle();
  },

  onUserLeave({ userId }) {
    quietly(TUICallKit.stopRemoteView(userId, "camera"));
    tiles.remove(userId);
    showTitle();
  },

  onUserVideoAvailable: ({ userId, isVideoAvailable }) => tiles.setVideo(userId, isVideoAvailable),
  onUserAudioAvailable: ({ userId, isAudioAvailable }) => tiles.setAudio(userId, isAudioAvailable),

  onUserVoiceVolumeChanged({ volumeMap }) {
    for (const userId of tiles.users()) tiles.setVolume(userId, volumeMap[userId] ?? 0);
  },

  onUserNetworkQualityChanged(networkQuality) {
    for (const [userId, quality] of networkQuality) tiles.setQuality(userId, quality);
  },

  onCallMediaTypeChanged({ newCallMediaType }) {
    call.callMediaType = newCallMediaType;
    showTitle();
    toast(newCallMediaType === VIDEO ? "Now a video call." : "Now a voice call.");
    showControls();
  },

  onKickedOffline() {
    leaveStage();
    $("denied").textContent = "This name signed in somewhere else, so this tab was signed out.";
    $("denied").hidden = false;
  },

  // The page's own tickets can be had again at any time.
  onUserSigExpired: () => quietly(fetchTicket(TUICallKit.userId).then((ticket) => TUICallKit.init(ticket))),

  onError: ({ message }) => toast(message),

  slots({ slots }) {
    const cameras = slots.filter(({ source, userId }) => source === "camera" && userId);
    tiles.setReceived(new Map(cameras.map(({ userId, paused }) => [userId, paused ? "paused" : "shown"])));
    const screens = new Map(slots.filter(({ source }) => source === "screen").map(({ mid, userId }) => [mid, userId]));
    for (const { mid } of slots) shared.delete(mid);
    for (const [mid, userId] of screens) if (userId) shared.set(mid, userId);
    showScreens();
  },

  onConnectionChanged({ state }) {
    $("status").dataset.connection = state;
    $("status").textContent = STATUS_TEXT[state];
    if (state === "offline") leaveStage();
  },

  onLocalMediaChanged({ source, active }) {
    sending[source] = active;
    const me = TUICallKit.userId;
    if (source === "camera" && tiles.has(me)) tiles.setVideo(me, active);
    if (source === "microphone" && tiles.has(me)) tiles.setAudio(me, active);
    showControls();
  },
};

function unreached(userId, what) {
  toast(`${userId} ${what}.`);
  tiles.remove(userId);
}

/** By mid: whose screen comes there. */
const shared = new Map();

function showScreens() {
  const userIds = [...shared.values()];
  for (const userId of tiles.keepScreens(userIds)) quietly(TUICallKit.stopRemoteView(userId, "screen"));
  for (const userId of userIds) quietly(TUICallKit.startRemoteView(userId, tiles.screen(userId), "screen"));
}

function ringingAvatar(userId) {
  const disc = avatar(userId);
  disc.id = "incoming-avatar";
  disc.classList.add("ringing");
  return disc;
}

// ---- what is shown

function showState(state) {
  document.body.dataset.state = state;
  const signedIn = !["offline", "connecting"].includes(state);
  const inStage = state === "calling" || state === "in-call";
  $("welcome").hidden = signedIn;
  $("lobby").hidden = !(state === "ready" || state === "ringing");
  if (state !== "ready") $("running").hidden = true;
  $("stage").hidden = !inStage;
  $("incoming").hidden = state !== "ringing";
  $("me").hidden = $("logout").hidden = !signedIn;
  $("login").disabled = state === "connecting";
  if (state === "ready") shared.clear();
}

function showTitle() {
  if (!call?.began) return;
  const kind = call.room ? `Room ${call.room}` : call.callMediaType === VIDEO ? "Video call" : "Voice call";
  const people = tiles.users({ pending: false }).length;
  $("call-title").textContent = call.group ? `${kind} · ${people} ${people === 1 ? "person" : "people"}` : kind;
}

function showControls() {
  const video = call?.callMediaType === VIDEO;
  const begun = Boolean(call?.began);
  pressed("toggle-mic", sending.microphone, "mic", sending.microphone ? "Mute" : "Unmute");
  pressed("toggle-camera", sending.camera, "camera", sending.camera ? "Turn the camera off" : "Turn the camera on");
  pressed("share-screen", sending.screen, "screen", sending.screen ? "Stop sharing" : "Share your screen");
  $("toggle-camera").disabled = !video;
  $("share-screen").disabled = !begun || !navigator.mediaDevices?.getDisplayMedia;
  $("switch-media").hidden = !begun || call.group;
  label("switch-media", video ? "Switch to a voice call" : "Switch to a video call");
  // A call of two stays one.
  $("invite").hidden = !begun || !call.group;
}

function pressed(id, on, name, text) {
  $(id).setAttribute("aria-pressed", String(on));
  const shown = on || name === "screen" ? name : `${name}-off`;
  $(id).querySelector("use").setAttribute("href", `#i-${shown}`);
  label(id, text);
}

function label(id, text) {
  $(id).title = text;
  $(id).querySelector(".hidden").textContent = text;
}

function toast(text) {
  const note = document.createElement("p");
  note.className = "toast";
  note.textContent = text;
  $("toasts").append(note);
  setTimeout(() => note.remove(), TOAST_MS);
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function names(text) {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}

/** What fails is told by onError. */
function quietly(promise) {
  promise.catch(() => {});
}

// ---- wiring

for (const [name, listener] of Object.entries(follow)) TUICallKit.on(name, listener);
TUICallKit.on((name, payload) => events.add(name, payload));
for (const name of ["onUserInviting", "onCallPlaced"]) TUICallKit.on(name, (payload) => events.add(name, payload));
window.callKit = TUICallKit;
console.assert(Object.values(TUICallEvent).every((name) => name in follow), "an event is not followed");

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn($("name").value.trim());
});
$("call-form").addEventListener("submit", (event) => {
  event.preventDefault();
  place(Number(event.submitter?.value ?? VIDEO));
});
$("callee").addEventListener("input", showLink);
$("room").addEventListener("input", showLink);
$("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  enterRoom({ roomId: { strRoomId: $("room").value.trim() } }, VIDEO);
});
$("logout").addEventListener("click", signOut);
$("accept").addEventListener("click", accept);
$("reject").addEventListener("click", () => quietly(TUICallKit.reject()));
$("hangup").addEventListener("click", () => {
  quietly(TUICallKit.hangup());
  $("call-title").textContent = "Hanging up…";
});
$("toggle-mic").addEventListener("click", () => {
  quietly(sending.microphone ? TUICallKit.closeMicrophone() : TUICallKit.openMicrophone());
});
$("toggle-camera").addEventListener("click", () => {
  if (sending.camera) quietly(TUICallKit.closeCamera());
  else showOwnCamera();
});
$("share-screen").addEventListener("click", () => {
  quietly(sending.screen ? TUICallKit.stopShare() : TUICallKit.shareScreen());
});
$("switch-media").addEventListener("click", () => {
  const wanted = call.callMediaType === VIDEO ? VOICE : VIDEO;
  quietly(TUICallKit.switchCallMediaType(wanted).then(() => wanted === VIDEO && showOwnCamera()));
});
$("devices").addEventListener("click", () => quietly(devices.open()));
$("invite").addEventListener("click", () => $("invite-dialog").showModal());
$("invite-cancel").addEventListener("click", () => $("invite-dialog").close());
$("invite-form").addEventListener("submit", () => {
  quietly(TUICallKit.inviteUser(names($("invitee").value)));
  $("invitee").value = "";
});
$("copy-link").addEventListener("click", async () => {
  $("tab-link").select();
  await navigator.clipboard?.writeText($("tab-link").value).then(() => toast("Link copied."), () => {});
});
$("clear-events").addEventListener("click", () => events.clear());
$("show-telemetry").addEventListener("change", ({ target }) => events.showTelemetry(target.checked));
events.showTelemetry(false);

$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;

setInterval(() => {
  if (call?.began) $("timer").textContent = clock(Math.floor((Date.now() - call.began) / 1000));
}, 500);

showState("offline");
$("callee").value = query.get("call") ?? "";
$("room").value = query.get("room") ?? "";
showLink();
const name = query.get("name");
$("name").value = name ?? "";
if (name) signIn(name);
else $("name").focus();
