// The interface: one user's calls.
import { accountOf, sameAccount } from "./account.js";
import { CALLED, CALLER, Call, VIDEO, VOICE } from "./call.js";
import { Capture } from "./capture.js";
import { CallError, KICKED, REFUSED, USER_SIG_EXPIRED, localError } from "./errors.js";
import { Listeners, TUICallEvent } from "./events.js";
import { Media } from "./media.js";
import { Signal } from "./signal.js";
import { Views } from "./views.js";

/** After a log-in that does not know our call any more: how long its ending may still be on its way. */
const GONE_CALL_GRACE_MS = 2_000;
/** An error that the server tells as reply and as event is one error. */
const SAME_ERROR_MS = 1_000;
/** Calls that are over and whose last events may still be repeated. */
const REMEMBERED_CALLS = 16;

/**
 * Calls of one user. Every method returns a promise; what goes wrong rejects it with an `Error` that has `code`, `name` and `message`,
 * and is told to the listeners of `onError` as well.
 */
export class CallKit {
  #env;
  #listeners = new Listeners();
  #account = null;
  #signal = null;
  #loggingIn = false;
  #iceServers = [];
  #capture;
  #views;
  /** What the person closed; it stays closed until they open it, or the call is over. @type {Set<Source>} */
  #closed = new Set();
  /** The current one. @type {Call | null} */
  #call = null;
  /** The ids of calls that are over, the oldest first. @type {Set<string>} */
  #over = new Set();
  /** Notifications that came while the server had not yet said which call was placed. */
  #held = [];
  /** A call was placed on a connection that broke before the server answered. */
  #placingLost = false;
  #lastError = { text: "", at: 0 };

  /** @param {object} [parts] What is used in place of the browser's own, such as `mediaDevices`. */
  constructor(parts = {}) {
    const env = { ...browser(), ...parts };
    this.#env = env;
    this.#views = new Views(env, () => this.#call?.media.refresh());
    this.#capture = new Capture(env, {
      change: (source, track) => this.#captured(source, track),
      lost: (source) => this.#deviceLost(source),
      devices: () => this.#emit("onDevicesChanged", {}),
    });
  }

  /** The user who is logged in, or null. @returns {string | null} */
  get userId() {
    return this.#account?.userId ?? null;
  }

  /** The call this user is in, rings for or is rung for. @returns {CurrentCall | null} */
  get currentCall() {
    return this.#call?.brief() ?? null;
  }

  /**
   * Logs in. Called again with the same user and a new ticket it renews the ticket on the same session.
   * @param {InitParams} params
   * @returns {Promise<{ sessionId: string, calls: object[] }>} The calls this user is in or is being rung for.
   */
  init(params) {
    return this.#guard(async () => {
      const account = accountOf(params);
      if (this.#loggingIn) throw localError("repeatedRequest", "init is under way.");
      if (this.#signal && sameAccount(account, this.#account)) return this.#renew(params.userSig);
      if (this.#call) throw localError("refusedInThisState", "Hang up before another user logs in.");
      this.#signal?.close();
      return this.#logIn(account, params.userSig);
    });
  }

  /**
   * Calls one user or several. Microphone and, in a video call, camera open by themselves.
   * @param {CallParams} params
   * @returns {Promise<{ callId: string, roomId: RoomId }>}
   */
  call(params) {
    return this.#guard(() => {
      const { userIdList, callMediaType, groupId } = params ?? {};
      if (!Array.isArray(userIdList)) throw localError("invalidParameter", "userIdList: a list of user ids is expected.");
      if (callMediaType !== VOICE && callMediaType !== VIDEO) {
        throw localError("invalidParameter", "callMediaType: 0 (voice) or 1 (video) is expected.");
      }
      const group = userIdList.length > 1 || Boolean(groupId);
      return this.#place("call", params, { callMediaType, callRole: CALLER, callerId: this.userId, group });
    });
  }

  /** The same as `call`. @param {CallParams} params */
  calls(params) {
    return this.call(params);
  }

  /**
   * Answers the call that rings.
   * @param {string} [callId]
   * @returns {Promise<Entered>}
   */
  accept(callId) {
    return this.#guard(async () => {
      const call = this.#current(callId, "ringing");
      if (call.answering) throw localError("repeatedRequest", "The call is being accepted.");
      call.answering = true;
      this.#openDevices(call);
      try {
        return await this.#signal.request("accept", { callId: call.callId });
      } catch (error) {
        call.answering = call.devices = false;
        call.answerLost = error.name === "connectionLost";
        this.#capture.closeAll();
        if (error.code === REFUSED) this.#finish(call);
        throw error;
      }
    });
  }

  /** Declines the call that rings. @param {string} [callId] */
  reject(callId) {
    return this.#guard(async () => {
      const call = this.#current(callId, "ringing");
      await this.#leave(call, "reject");
    });
  }

  /** Leaves the call; before anyone answered, cancels it. @param {string} [callId] */
  hangup(callId) {
    return this.#guard(async () => {
      const call = this.#current(callId);
      await this.#leave(call, call.phase === "ringing" && !call.answering ? "reject" : "hangup");
    });
  }

  /**
   * Rings more users during the call.
   * @param {string[] | { userIdList: string[], timeout?: number, callId?: string }} params
   */
  inviteUser(params) {
    return this.#guard(async () => {
      const { callId, ...rest } = Array.isArray(params) ? { userIdList: params } : (params ?? {});
      const call = this.#current(callId);
      const result = await this.#signal.request("inviteUser", { callId: call.callId, ...rest });
      call.group = true;
      await this.#growSlots(call);
      return result;
    });
  }

  /**
   * Enters a call by its id, or a room; a room that does not exist begins a call without ringing.
   * @param {JoinParams} params
   * @returns {Promise<Entered>}
   */
  join(params) {
    if (params?.callId && this.#call?.callId === params.callId && this.#call.phase === "ringing") return this.accept(params.callId);
    return this.#guard(() => this.#place("join", params, { callMediaType: VOICE, callRole: CALLED, callerId: null, group: true }));
  }

  /**
   * Makes a voice call of two a video call or the other way; the camera of this side follows.
   * @param {CallMediaType | { callMediaType: CallMediaType, callId?: string }} params
   */
  switchCallMediaType(params) {
    return this.#guard(async () => {
      const { callId, callMediaType } = typeof params === "object" && params ? params : { callMediaType: params };
      const call = this.#current(callId, "begun");
      const result = await this.#signal.request("switchCallMediaType", { callId: call.callId, callMediaType });
      if (callMediaType === VIDEO && this.#call === call) await this.#openSource("camera");
      return result;
    });
  }

  /** Opens the camera, and shows it in `element` when one is given. @param {HTMLElement | string} [element] */
  openCamera(element) {
    return this.#guard(async () => {
      if (element) this.#capture.preview(element);
      await this.#openSource("camera");
    });
  }

  closeCamera() {
    return this.#guard(() => this.#closeSource("camera"));
  }

  openMicrophone() {
    return this.#guard(() => this.#openSource("microphone"));
  }

  /** Mutes: the microphone stays in this page's hand, nothing of it is sent. */
  closeMicrophone() {
    return this.#guard(() => this.#closeSource("microphone"));
  }

  /** Asks the person for a screen or window and sends it beside the camera. */
  shareScreen() {
    return this.#guard(async () => {
      this.#current(undefined, "begun");
      await this.#openSource("screen");
    });
  }

  stopShare() {
    return this.#guard(() => this.#closeSource("screen"));
  }

  /**
   * Shows a user's video in an element whenever there is one: a `<video>`, an element to put one into, or the id of either.
   * @param {string} userId
   * @param {HTMLElement | string} element
   * @param {"camera" | "screen"} [source] Left out: the screen while it is shared, otherwise the camera.
   */
  startRemoteView(userId, element, source) {
    return this.#guard(async () => {
      const call = this.#current();
      this.#views.add(userId, source, element);
      call.media.refresh();
    });
  }

  /**
   * @param {string} userId
   * @param {"camera" | "screen"} [source]
   */
  stopRemoteView(userId, source) {
    return this.#guard(async () => {
      this.#views.hide(userId, source);
      this.#call?.media.refresh();
    });
  }

  /** The devices of this machine; browsers tell their names once one was opened. @returns {Promise<Devices>} */
  getDevices() {
    return this.#guard(() => this.#capture.list());
  }

  /**
   * Takes this device from here on, also in the current call.
   * @param {"microphone" | "camera" | "speaker"} kind
   * @param {string} deviceId One of `getDevices`.
   */
  useDevice(kind, deviceId) {
    return this.#guard(async () => {
      if (!["microphone", "camera", "speaker"].includes(kind)) {
        throw localError("invalidParameter", "kind: microphone, camera or speaker is expected.");
      }
      if (kind === "speaker") await this.#views.speakThrough(deviceId);
      else await this.#capture.prefer(kind, deviceId);
    });
  }

  /**
   * Listens to an event: one of TUICallEvent, or `onUserInviting`, `onCallPlaced`, `onConnectionChanged`, `onLocalMediaChanged`,
   * `onDevicesChanged`, `slots` (see SDK.md).
   * With a function alone, to all seventeen: it is called with (name, payload).
   * @param {string | ((name: string, payload: object) => void)} event
   * @param {(payload: any) => void} [listener]
   */
  on(event, listener) {
    this.#listeners.add(event, listener);
    return Promise.resolve();
  }

  /** Stops listening; without a listener, all of this event. */
  off(event, listener) {
    this.#listeners.remove(event, listener);
    return Promise.resolve();
  }

  /** WebRTC's statistics of the current call; empty when there is none. @returns {Promise<RTCStatsReport>} */
  getStats() {
    return this.#call?.media.stats() ?? Promise.resolve(new Map());
  }

  /** Ends the call, logs out and forgets all listeners. */
  async destroy() {
    const call = this.#call;
    const signal = this.#signal;
    if (call?.callId && signal?.online) {
      await this.#leave(call, call.phase === "ringing" ? "reject" : "hangup").catch(() => {});
    }
    if (this.#call) this.#endHere(this.#call);
    signal?.close();
    this.#forgetSession();
    this.#capture.closeAll();
    this.#listeners.clear();
  }

  // ---- session

  async #logIn(account, userSig) {
    const { sdkAppId, userId, url } = account;
    const signal = new Signal(this.#env, url, { sdkAppId, userId, userSig }, {
      session: (result, how) => this.#session(result, how),
      notify: (method, params) => this.#notify(method, params),
      state: (state) => this.#emit("onConnectionChanged", { state }),
      networkChanged: () => this.#call?.media.networkChanged(),
      lost: (method) => (this.#placingLost ||= method === "call" || method === "join"),
      fatal: (error) => this.#loggedOut(error),
    });
    this.#account = account;
    this.#signal = signal;
    this.#loggingIn = true;
    try {
      const { sessionId, calls } = await signal.open();
      return { sessionId, calls: calls ?? [] };
    } catch (error) {
      if (this.#signal === signal) this.#forgetSession();
      throw error;
    } finally {
      this.#loggingIn = false;
    }
  }

  async #renew(userSig) {
    this.#signal.setUserSig(userSig);
    await this.#signal.request("renewUserSig", { userSig });
    return { sessionId: this.#signal.sessionId, calls: [] };
  }

  /** Logged in, the first time or again: what the server knows of our calls against what we know. */
  #session({ iceServers, calls = [] }, { again, resumed }) {
    this.#iceServers = iceServers ?? [];
    const ours = this.#call;
    const listed = calls.find(({ callId }) => callId === ours?.callId);
    if (ours?.callId) {
      if (!listed) this.#env.setTimeout(() => this.#call === ours && this.#endHere(ours), GONE_CALL_GRACE_MS);
      else if (ours.left) this.#leave(ours, "hangup").catch(() => {});
      else if (resumed) ours.media.resumed();
      // Another device answered, or the person did there what ends the ringing; the word of it was lost with the server.
      else if (ours.phase === "ringing" && listed.ringing === false && !ours.answerLost) this.#endHere(ours);
      else this.#catchUp(ours, listed);
    }
    for (const other of calls.filter((call) => call !== listed)) {
      if (other.ringing && !resumed) this.#notify("onCallReceived", this.#receivedFrom(other));
      else if (!other.ringing && again && this.#placingLost) {
        // The person was told that this call failed; nobody should hear it ring.
        this.#signal.request("hangup", { callId: other.callId }).catch(() => {});
      }
    }
    this.#placingLost = false;
  }

  /** The server started anew, or took this for another device: the call goes on with new media, and what was missed is told. */
  #catchUp(call, listed) {
    call.media.renew();
    for (const [name, payload] of call.missed(listed, this.userId)) this.#notify(name, payload);
  }

  /** A call that the log-in lists as ringing, as the event that this user missed. */
  #receivedFrom({ callId, callerId, groupId, callMediaType, userData }) {
    return { callId, callerId, calleeIdList: [this.userId], groupId, callMediaType, userData };
  }

  #loggedOut(error) {
    if (this.#call) this.#endHere(this.#call);
    this.#forgetSession();
    if (error.code === KICKED) this.#emit(TUICallEvent.onKickedOffline, {});
    if (error.code === USER_SIG_EXPIRED) this.#emit(TUICallEvent.onUserSigExpired, {});
    this.#report(error);
    this.#emit("onConnectionChanged", { state: "offline" });
  }

  #forgetSession() {
    this.#signal = null;
    this.#account = null;
    this.#held = [];
  }

  // ---- calls

  /** Begins a call from this side: `call` or `join`. */
  async #place(method, params, role) {
    if (!this.#signal) throw localError("notLoggedIn", "Not logged in: call init first.");
    if (this.#call) {
      const placing = this.#call.phase === "placing";
      throw localError(placing ? "repeatedRequest" : "refusedInThisState", "There is a call already.");
    }
    const call = this.#newCall({ ...role, phase: "placing" });
    if (method === "call") this.#openDevices(call);
    const answer = this.#signal.request(method, params);
    call.placed = answer.catch(() => {});
    try {
      const result = await answer;
      Object.assign(call, { callId: result.callId, roomId: result.roomId ?? null, phase: "calling" });
      this.#over.delete(call.callId);
      return result;
    } catch (error) {
      this.#finish(call);
      throw error;
    } finally {
      for (const [name, payload] of this.#held.splice(0)) this.#notify(name, payload);
    }
  }

  #newCall(facts) {
    const call = new Call(facts);
    const ask = (method, params) => this.#signal.request(method, { callId: call.callId, ...params });
    call.media = new Media(this.#env, {
      iceServers: () => this.#iceServers,
      capture: this.#capture,
      views: this.#views,
      remote: {
        online: () => Boolean(this.#signal?.online),
        offer: (sdp, sources) => ask("offer", { sdp, sources }),
        mute: (source, muted) => ask("mute", { source, muted }),
        view: (slots) => ask("view", { slots }),
      },
      onFailed: (error) => this.#report(error),
    });
    this.#call = call;
    return call;
  }

  /** The call that a method without a callId means. */
  #current(callId, phase) {
    if (!this.#signal) throw localError("notLoggedIn", "Not logged in: call init first.");
    const call = this.#call;
    if (!call || (callId && callId !== call.callId)) throw localError("refusedInThisState", "There is no such call.");
    if (phase && call.phase !== phase) throw localError("refusedInThisState", `This needs a call that is ${phase}; it is ${call.phase}.`);
    return call;
  }

  #leave(call, method) {
    call.leaving ??= this.#sendLeave(call, method).finally(() => (call.leaving = null));
    return call.leaving;
  }

  async #sendLeave(call, method) {
    call.left = true;
    // What the person hears and shows ends now, whatever the network does.
    this.#capture.closeAll();
    call.media.close();
    if (call.phase === "placing") await call.placed;
    if (this.#call !== call) return;
    try {
      await this.#signal.request(method, { callId: call.callId });
    } catch (error) {
      if (error.code !== REFUSED) throw error;
      // It ended meanwhile, or the first answer was lost with the connection.
      this.#finish(call);
    }
  }

  /** The call is over: devices are let go, elements are emptied. */
  #finish(call) {
    if (this.#call !== call) return;
    this.#call = null;
    this.#over.add(call.callId);
    if (this.#over.size > REMEMBERED_CALLS) this.#over.delete(this.#over.values().next().value);
    call.media.close();
    this.#views.clear();
    this.#capture.closeAll();
    this.#closed.clear();
  }

  /** The call is over and no event of the server will say so. */
  #endHere(call) {
    const { callId, roomId, callMediaType, callRole, callerId, beganAt } = call;
    this.#finish(call);
    if (beganAt === null) {
      if (callId) this.#emit(TUICallEvent.onCallCancelled, { callId, callerId });
      return;
    }
    const totalTime = Math.floor((this.#env.now() - beganAt) / 1000);
    this.#emit(TUICallEvent.onCallEnd, { callId, roomId, callMediaType, callRole, totalTime });
  }

  // ---- what the server says

  #notify(name, payload) {
    if (this.#call?.phase === "placing") {
      this.#held.push([name, payload]);
      return;
    }
    const about = !payload.callId || payload.callId === this.#call?.callId ? this.#call : null;
    if (name === "onCallReceived") {
      if (!this.#ring(payload)) return;
    } else if (name === "onCallPlaced") {
      this.#placedForUs(payload);
    } else if (name === "onKickedOffline") {
      this.#signal.close();
      if (this.#call) this.#finish(this.#call);
      this.#forgetSession();
    } else if (name === "onError") {
      this.#lastError = { text: errorText(payload), at: this.#env.now() };
      // Said of a running call: its media broke.
      about?.media.resumed();
    } else if (about) {
      if (!about.follow(name, payload)) return;
      this.#apply(about, name, payload);
    } else if (this.#over.has(payload.callId)) {
      return;
    }
    if (name !== "encodings") this.#emit(name, payload);
  }

  /** @returns {boolean} false when it was known already */
  #ring({ callId, callerId, calleeIdList = [], groupId, callMediaType }) {
    if (this.#call) return this.#call.callId !== callId;
    this.#over.delete(callId);
    const group = calleeIdList.length > 1 || Boolean(groupId);
    this.#newCall({ callId, callMediaType, callRole: CALLED, callerId, group, phase: "ringing" });
    return true;
  }

  /** The backend called for this user: the call is as one that we placed; its devices open when it begins. */
  #placedForUs({ callId, roomId, calleeIdList = [], groupId, callMediaType }) {
    if (this.#call) return;
    const group = calleeIdList.length > 1 || Boolean(groupId);
    this.#newCall({ callId, roomId, callMediaType, callRole: CALLER, callerId: this.userId, group, phase: "calling" });
  }

  /** Follows one event of the current call, before the app hears of it. */
  #apply(call, name, payload) {
    const { userId } = payload;
    switch (name) {
      case "onCallBegin":
        return this.#begin(call);
      case "onCallEnd":
      case "onCallCancelled":
        return this.#finish(call);
      case "onUserJoin":
        return this.#background(this.#growSlots(call));
      case "onUserLeave":
        return this.#views.forget(userId);
      case "onUserVideoAvailable":
        this.#views.setAvailable(userId, payload.isVideoAvailable);
        if (payload.isVideoAvailable) this.#background(call.media.ensure({ video: true }));
        return call.media.refresh();
      case "onCallMediaTypeChanged":
        if (call.callMediaType === VIDEO) return this.#background(call.media.ensure({ video: true }));
        return this.#background(this.#closeSource("camera"));
      case "slots":
        return call.media.assign(payload.slots ?? []);
      case "encodings":
        return call.media.encode(payload.mid, payload.encodings ?? []);
    }
  }

  #begin(call) {
    call.beganAt ??= this.#env.now();
    if (call.left) return;
    this.#openDevices(call);
    const wish = { video: call.callMediaType === VIDEO, pairs: this.#pairs(call), simulcast: call.group };
    this.#background(call.media.start(wish));
  }

  #pairs(call) {
    return call.group || call.others.size > 1 ? this.#account.slotPairs : 1;
  }

  async #growSlots(call) {
    await call.media.ensure({ pairs: this.#pairs(call) });
  }

  // ---- devices

  /** Opens what the kind of call needs; who has no camera, or refuses, is in the call all the same. */
  #openDevices(call) {
    if (call.devices) return;
    call.devices = true;
    const sources = call.callMediaType === VIDEO ? ["microphone", "camera"] : ["microphone"];
    const wanted = sources.filter((source) => !this.#closed.has(source));
    for (const opening of this.#capture.open(...wanted)) this.#background(opening);
  }

  async #openSource(source) {
    this.#closed.delete(source);
    const [opening] = this.#capture.open(source);
    const track = await opening;
    // Null: it was closed again meanwhile.
    if (!track) return;
    if (!track.enabled) {
      track.enabled = true;
      this.#emit("onLocalMediaChanged", { source, active: true });
    }
    await this.#call?.media.mute(source, false);
  }

  async #closeSource(source) {
    this.#closed.add(source);
    const track = source === "microphone" ? this.#capture.track(source) : null;
    if (track?.enabled) {
      track.enabled = false;
      this.#emit("onLocalMediaChanged", { source, active: false });
    }
    if (!track) this.#capture.close(source);
    await this.#call?.media.mute(source, true);
  }

  #captured(source, track) {
    if (this.#call) this.#background(this.#call.media.publish(source, track));
    this.#emit("onLocalMediaChanged", { source, active: Boolean(track?.enabled) });
  }

  #deviceLost(source) {
    if (this.#call) this.#background(this.#call.media.mute(source, true));
    // Ending a shared screen from the browser's own bar is no error.
    if (source !== "screen") this.#report(localError("deviceFailed", `The ${source} was taken away.`));
  }

  // ---- listeners

  #emit(name, payload) {
    this.#listeners.emit(name, payload);
  }

  /** Runs a method's work; its error is rejected and told to onError. */
  async #guard(work) {
    try {
      return await work();
    } catch (cause) {
      const error = CallError.from(cause);
      this.#report(error);
      throw error;
    }
  }

  /** Work that nobody waits for. */
  #background(promise) {
    promise.catch((cause) => this.#report(CallError.from(cause)));
  }

  #report(error) {
    const text = errorText(error);
    const now = this.#env.now();
    if (text === this.#lastError.text && now - this.#lastError.at < SAME_ERROR_MS) return;
    this.#lastError = { text, at: now };
    this.#emit(TUICallEvent.onError, { code: error.code, message: error.message });
  }
}

function errorText({ code, message }) {
  return `${code} ${message}`;
}

function browser() {
  const { window, document, WebSocket, RTCPeerConnection, RTCRtpReceiver, MediaStream, ResizeObserver, navigator } = globalThis;
  return {
    window,
    document,
    WebSocket,
    RTCPeerConnection,
    RTCRtpReceiver,
    MediaStream,
    ResizeObserver,
    mediaDevices: navigator?.mediaDevices,
    connection: navigator?.connection,
    setTimeout: (work, ms) => globalThis.setTimeout(work, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    now: () => Date.now(),
    random: () => Math.random(),
  };
}

/** The instance that most apps need. */
export const TUICallKit = new CallKit();

export { TUICallEvent };

export default TUICallKit;
