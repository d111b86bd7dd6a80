// The interface: one user's calls.
import { Capture } from "./capture.js";
import { CallError, KICKED, REFUSED, USER_SIG_EXPIRED, localError } from "./errors.js";
import { Media } from "./media.js";
import { Signal, socketUrl } from "./signal.js";
import { Views } from "./views.js";

/** The seventeen events; each constant's value is its name. */
export const TUICallEvent = Object.freeze({
  onError: "onError",
  onCallReceived: "onCallReceived",
  onCallCancelled: "onCallCancelled",
  onCallBegin: "onCallBegin",
  onCallEnd: "onCallEnd",
  onUserReject: "onUserReject",
  onUserNoResponse: "onUserNoResponse",
  onUserLineBusy: "onUserLineBusy",
  onUserJoin: "onUserJoin",
  onUserLeave: "onUserLeave",
  onCallMediaTypeChanged: "onCallMediaTypeChanged",
  onKickedOffline: "onKickedOffline",
  onUserSigExpired: "onUserSigExpired",
  onUserVideoAvailable: "onUserVideoAvailable",
  onUserAudioAvailable: "onUserAudioAvailable",
  onUserVoiceVolumeChanged: "onUserVoiceVolumeChanged",
  onUserNetworkQualityChanged: "onUserNetworkQualityChanged",
});

const VOICE = 0;
const VIDEO = 1;
const CALLER = 1;
const CALLED = 2;

/** After a log-in that does not know our call any more: how long its ending may still be on its way. */
const GONE_CALL_GRACE_MS = 2_000;
/** An error that the server tells as reply and as event is one error. */
const SAME_ERROR_MS = 1_000;
const DEFAULT_SLOT_PAIRS = 8;
/** An offer of more would not fit in a message. */
const LARGEST_SLOT_PAIRS = 12;

/**
 * Calls of one user. Every method returns a promise; what goes wrong rejects it with an `Error` that has `code`, `name` and `message`,
 * and is told to the listeners of `onError` as well.
 */
export class CallKit {
  #env;
  /** By event name. @type {Map<string, Set<Function>>} */
  #listeners = new Map();
  /** Those of every one of the seventeen events. */
  #allListeners = new Set();
  #account = null;
  #signal = null;
  #loggingIn = false;
  #iceServers = [];
  #capture;
  #views;
  /** What the person closed; it stays closed until they open it, or the call is over. @type {Set<Source>} */
  #closed = new Set();
  /** The current call, as #newCall makes it. */
  #call = null;
  /** Notifications that came while the server had not yet said which call was placed. */
  #held = [];
  /** A call was placed on a connection that broke before the server answered. */
  #placingLost = false;
  #lastError = { text: "", at: 0 };

  /** @param env What of the browser is used; tests hand in their own. */
  constructor(env = browser()) {
    this.#env = env;
    this.#views = new Views(env, () => this.#call?.media.refresh());
    this.#capture = new Capture(
      env,
      (source, track) => this.#captured(source, track),
      (source) => this.#deviceLost(source),
    );
  }

  /** The user who is logged in, or null. @returns {string | null} */
  get userId() {
    return this.#account?.userId ?? null;
  }

  /** The call this user is in, rings for or is rung for. @returns {CurrentCall | null} */
  get currentCall() {
    if (!this.#call) return null;
    const { callId, roomId, callMediaType, callRole, phase } = this.#call;
    return { callId, roomId, callMediaType, callRole, phase: phase === "placing" ? "calling" : phase };
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
   * @returns {Promise<{ roomId: RoomId, members: object[] }>}
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
   * @param {{ callId: string } | { roomId: { intRoomId: number } | { strRoomId: string } }} params
   * @returns {Promise<{ callId: string, roomId: RoomId, members: object[] }>}
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
      this.#views.remove(userId, source);
      this.#call?.media.refresh();
    });
  }

  /**
   * Listens to an event: one of TUICallEvent, or `onUserInviting`, `onCallPlaced`, `onConnectionChanged`, `onLocalMediaChanged`, `slots` (see SDK.md).
   * With a function alone, to all seventeen: it is called with (name, payload).
   * @param {string | ((name: string, payload: object) => void)} event
   * @param {(payload: any) => void} [listener]
   */
  on(event, listener) {
    if (typeof event === "function") this.#allListeners.add(event);
    else this.#listeners.set(event, (this.#listeners.get(event) ?? new Set()).add(listener));
    return Promise.resolve();
  }

  /** Stops listening; without a listener, all of this event. */
  off(event, listener) {
    if (typeof event === "function") this.#allListeners.delete(event);
    else if (listener) this.#listeners.get(event)?.delete(listener);
    else this.#listeners.delete(event);
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
    this.#allListeners.clear();
  }

  // ---- session

  async #logIn(account, userSig) {
    const { sdkAppId, userId, url } = account;
    const signal = new Signal(this.#env, url, { sdkAppId, userId, userSig }, {
      session: (result, resumed) => this.#session(result, resumed),
      notify: (method, params) => this.#notify(method, params),
      state: (state) => this.#emit("onConnectionChanged", { state }),
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
  #session({ iceServers, calls = [] }, resumed) {
    this.#iceServers = iceServers ?? [];
    const ours = this.#call;
    if (ours?.callId) {
      if (!calls.some(({ callId }) => callId === ours.callId)) {
        this.#env.setTimeout(() => this.#call === ours && this.#endHere(ours), GONE_CALL_GRACE_MS);
      } else if (ours.left) {
        this.#leave(ours, "hangup").catch(() => {});
      } else {
        ours.media.resumed();
      }
    }
    for (const listed of calls) {
      if (listed.callId === ours?.callId) continue;
      if (listed.ringing && !resumed) this.#notify("onCallReceived", this.#receivedFrom(listed));
      else if (!listed.ringing && this.#placingLost) {
        // The person was told that this call failed; nobody should hear it ring.
        this.#signal.request("hangup", { callId: listed.callId }).catch(() => {});
      }
    }
    this.#placingLost = false;
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
      return result;
    } catch (error) {
      this.#finish(call);
      throw error;
    } finally {
      for (const [name, payload] of this.#held.splice(0)) this.#notify(name, payload);
    }
  }

  #newCall(facts) {
    const call = {
      callId: null,
      roomId: null,
      others: new Set(),
      beganAt: null,
      placed: null,
      answering: false,
      /** Its devices were opened, or refused: nobody is asked twice. */
      devices: false,
      /** The person wants out; the promise of the server's knowing it. */
      left: false,
      leaving: null,
      ...facts,
    };
    const ask = (method, params) => this.#signal.request(method, { callId: call.callId, ...params });
    call.media = new Media(this.#env, {
      iceServers: this.#iceServers,
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
    } else if (about) {
      this.#apply(about, name, payload);
    }
    if (name !== "encodings") this.#emit(name, payload);
  }

  /** @returns {boolean} false when it was known already */
  #ring({ callId, callerId, calleeIdList = [], groupId, callMediaType }) {
    if (this.#call) return this.#call.callId !== callId;
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
        return this.#begin(call, payload);
      case "onCallEnd":
      case "onCallCancelled":
        return this.#finish(call);
      case "onUserJoin":
        call.others.add(userId);
        return this.#background(this.#growSlots(call));
      case "onUserLeave":
        call.others.delete(userId);
        return this.#views.setAvailable(userId, false);
      case "onUserVideoAvailable":
        this.#views.setAvailable(userId, payload.isVideoAvailable);
        if (payload.isVideoAvailable) this.#background(call.media.ensure({ video: true }));
        return call.media.refresh();
      case "onCallMediaTypeChanged":
        call.callMediaType = payload.newCallMediaType;
        if (call.callMediaType === VIDEO) return this.#background(call.media.ensure({ video: true }));
        return this.#background(this.#closeSource("camera"));
      case "slots":
        return call.media.assign(payload.slots ?? []);
      case "encodings":
        return call.media.encode(payload.mid, payload.encodings ?? []);
    }
  }

  #begin(call, { roomId, callMediaType, callRole }) {
    Object.assign(call, { roomId, callMediaType, callRole, phase: "begun" });
    call.beganAt ??= this.#env.now();
    if (call.left) return;
    this.#openDevices(call);
    const wish = { video: callMediaType === VIDEO, pairs: this.#pairs(call), simulcast: call.group };
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
    const argument = name === TUICallEvent.onUserNetworkQualityChanged ? new QualityTable(payload) : payload;
    for (const listener of [...(this.#listeners.get(name) ?? [])]) safely(() => listener(argument));
    if (name in TUICallEvent) for (const listener of [...this.#allListeners]) safely(() => listener(name, argument));
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

/** Iterates as `[userId, quality]`, as Tencent's snippet does, and has the contract's `networkQuality`. */
class QualityTable extends Map {
  constructor({ networkQuality, ...rest }) {
    super(Object.entries(networkQuality ?? {}));
    Object.assign(this, { ...rest, networkQuality });
  }
}

/** One listener's failure is not the next one's. */
function safely(work) {
  try {
    work();
  } catch (error) {
    console.error("A call event's listener failed.", error);
  }
}

function errorText({ code, message }) {
  return `${code} ${message}`;
}

function accountOf(params) {
  const { sdkAppId, userId, userSig, url, slotPairs = DEFAULT_SLOT_PAIRS } = params ?? {};
  const expect = (fits, text) => {
    if (!fits) throw localError("invalidParameter", text);
  };
  expect(Number.isInteger(sdkAppId), "sdkAppId: a whole number is expected.");
  expect(typeof userId === "string" && userId, "userId: a text is expected.");
  expect(typeof userSig === "string" && userSig, "userSig: the user's ticket is expected.");
  const fits = Number.isInteger(slotPairs) && slotPairs >= 1 && slotPairs <= LARGEST_SLOT_PAIRS;
  expect(fits, `slotPairs: 1 to ${LARGEST_SLOT_PAIRS} is expected.`);
  return { sdkAppId, userId, slotPairs, url: socketUrl(url) };
}

function sameAccount(a, b) {
  return a.sdkAppId === b?.sdkAppId && a.userId === b.userId && a.url === b.url;
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
    setTimeout: (work, ms) => globalThis.setTimeout(work, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    now: () => Date.now(),
    random: () => Math.random(),
  };
}

/** The instance that most apps need. */
export const TUICallKit = new CallKit();

export default TUICallKit;
