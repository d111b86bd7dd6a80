// What the SDK uses of a browser, and a server at the other end, all on a virtual clock.

import { CallKit } from "../../src/web/sdk/callkit.js";

export const ALICE = { sdkAppId: 1, userId: "alice", userSig: "ticket", url: "http://calls.test" };
export const CALL = "call_1";
const ROOM = { intRoomId: 7, strRoomId: "" };

/** Lets everything that waits for nothing but promises happen. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

/** One browser tab with a CallKit in it. */
export class World {
  kit;
  /** Every socket opened, oldest first. */
  sockets = [];
  peers = [];
  /** Every event told to the app, as [name, payload]. */
  told = [];
  /** What a log-in is answered with; a function of its params may refuse by throwing { code, message, data }. */
  login = () => ({ sessionId: "sess_1", resumeToken: "token_0", iceServers: [], calls: [] });
  /** Answers by method; left out: `{}`; "silent": none. */
  answers = { call: { callId: CALL, roomId: ROOM }, join: { callId: CALL, roomId: ROOM, members: [] } };
  /** The server's end of media: its certificate and its session's number. */
  fingerprint = "AA";
  session = 1;
  /** Of the camera's picture. */
  cameraHeight = 720;
  /** Every track that a device gave. */
  opened = [];
  /** What each opening of devices asked for. */
  constraints = [];
  /** getUserMedia's refusal by kind. */
  refused = {};
  /** What enumerateDevices finds. */
  devices = [];
  /** What the browser listens to, as [target, event, listener]. */
  #listening = [];
  #now = 0;
  #timers = [];

  constructor() {
    const world = this;
    const target = (name) => ({
      addEventListener: (event, listener) => this.#listening.push([name, event, listener]),
      removeEventListener: (event, listener) => (this.#listening = this.#listening.filter((entry) => entry[2] !== listener)),
    });
    this.connection = { type: "wifi", ...target("connection") };
    this.kit = new CallKit({
      window: target("window"),
      connection: this.connection,
      document: undefined,
      ResizeObserver: undefined,
      RTCRtpReceiver: undefined,
      WebSocket: function (url) {
        const socket = new Socket(world, url);
        world.sockets.push(socket);
        return socket;
      },
      RTCPeerConnection: function (configuration) {
        const peer = new Peer(configuration);
        world.peers.push(peer);
        return peer;
      },
      MediaStream: Stream,
      mediaDevices: {
        ...target("mediaDevices"),
        enumerateDevices: async () => this.devices,
        getUserMedia: async ({ audio, video }) => this.#devices(audio, video),
        getDisplayMedia: async () => this.#devices(false, true),
      },
      setTimeout: (work, ms) => {
        const timer = { work, at: this.#now + ms };
        this.#timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => (this.#timers = this.#timers.filter((other) => other !== timer)),
      now: () => this.#now,
      random: () => 1,
    });
    this.kit.on((name, payload) => this.told.push([name, payload]));
  }

  get socket() {
    return this.sockets.at(-1);
  }

  get peer() {
    return this.peers.at(-1);
  }

  /** The requests of one method on all connections, oldest first. */
  asked(method) {
    return this.sockets.flatMap(({ requests }) => requests).filter((request) => request.method === method).map(({ params }) => params);
  }

  names() {
    return this.told.map(([name]) => name);
  }

  async init(account = ALICE) {
    const opened = this.kit.init(account);
    opened.catch(() => {});
    await settle();
    this.socket.open();
    await settle();
    return opened;
  }

  /** In a begun call with bob, as caller. */
  async inCall(callMediaType = 1) {
    await this.init();
    await this.kit.call({ userIdList: ["bob"], callMediaType });
    this.tell("onUserJoin", { callId: CALL, userId: "bob" });
    this.tell("onCallBegin", { callId: CALL, roomId: ROOM, callMediaType, callRole: 1 });
    await settle();
    this.peer.become("connected");
  }

  ring(callId = CALL) {
    this.tell("onCallReceived", { callId, callerId: "bob", calleeIdList: ["alice"], groupId: "", callMediaType: 1, userData: "" });
  }

  tell(method, params) {
    this.socket.receive({ method, params });
  }

  /** The connection breaks. */
  async drop(code = 1006) {
    this.socket.onclose?.({ code });
    await settle();
  }

  /** Something happens to the window, the network connection or the devices. */
  async happen(target, event) {
    for (const [name, wanted, listener] of this.#listening) if (name === target && wanted === event) listener();
    await settle();
  }

  /** The connection breaks and is back at once, the log-in answered with this. */
  async comeBack(login) {
    await this.drop();
    this.login = () => ({ resumeToken: "t", calls: [], ...login });
    await this.pass(100);
    this.socket.open();
    await settle();
  }

  /** Lets time pass, timer by timer. */
  async pass(ms) {
    const until = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now = Math.max(this.#now, due.at);
      due.work();
      await settle();
    }
    this.#now = until;
  }

  #devices(audio, video) {
    this.constraints.push({ audio, video });
    for (const [kind, wanted] of [["audio", audio], ["video", video]]) {
      if (wanted && this.refused[kind]) throw Object.assign(new Error("no"), { name: this.refused[kind] });
    }
    const tracks = [audio && new Track("audio"), video && new Track("video", this.cameraHeight)].filter(Boolean);
    this.opened.push(...tracks);
    return new Stream(tracks);
  }
}

class Socket {
  requests = [];
  closed = false;
  #world;

  constructor(world, url) {
    this.#world = world;
    this.url = url;
  }

  open() {
    this.onopen();
  }

  send(text) {
    const request = JSON.parse(text);
    this.requests.push(request);
    queueMicrotask(() => this.#answer(request));
  }

  receive(message) {
    this.onmessage?.({ data: JSON.stringify({ jsonrpc: "2.0", ...message }) });
  }

  close() {
    this.closed = true;
  }

  #answer({ id, method, params }) {
    const world = this.#world;
    const answer = method === "login" ? world.login : (world.answers[method] ?? this.#usual(method));
    if (answer === "silent") return;
    try {
      this.receive({ id, result: typeof answer === "function" ? answer(params) : answer });
    } catch (error) {
      this.receive({ id, error });
    }
  }

  #usual(method) {
    return method === "offer" ? { sdp: `v=0\r\no=x ${this.#world.session} 1 IN IP4 0.0.0.0\r\na=fingerprint:${this.#world.fingerprint}\r\n` } : {};
  }
}

class Track {
  enabled = true;
  readyState = "live";

  constructor(kind, height = 720) {
    this.kind = kind;
    this.height = height;
  }

  getSettings() {
    return { width: (this.height * 16) / 9, height: this.height };
  }

  stop() {
    this.readyState = "ended";
  }
}

class Stream {
  constructor(tracks = []) {
    this.tracks = tracks;
  }

  getAudioTracks() {
    return this.tracks.filter(({ kind }) => kind === "audio");
  }

  getVideoTracks() {
    return this.tracks.filter(({ kind }) => kind === "video");
  }
}

class Peer {
  connectionState = "new";
  transceivers = [];
  remoteDescription = null;
  restarts = 0;
  configuration;

  constructor(configuration) {
    this.configuration = configuration;
  }

  setConfiguration(configuration) {
    this.configuration = configuration;
  }

  addTransceiver(trackOrKind, { direction, sendEncodings = [{}] }) {
    const track = typeof trackOrKind === "string" ? null : trackOrKind;
    const parameters = { encodings: sendEncodings.map((encoding) => ({ active: true, ...encoding })) };
    const transceiver = {
      mid: null,
      direction,
      receiver: { track: new Track(track?.kind ?? trackOrKind) },
      sender: {
        track,
        replaceTrack: async (next) => (transceiver.sender.track = next),
        getParameters: () => structuredClone(parameters),
        setParameters: async ({ encodings }) => (parameters.encodings = encodings),
      },
    };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers() {
    return this.transceivers;
  }

  restartIce() {
    this.restarts += 1;
  }

  async setLocalDescription() {
    this.transceivers.forEach((transceiver, index) => (transceiver.mid = String(index)));
    this.localDescription = { type: "offer", sdp: "offer" };
  }

  async setRemoteDescription(description) {
    this.remoteDescription = description;
  }

  become(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }

  close() {
    this.connectionState = "closed";
  }
}

/** An element that can show a video. */
export function videoElement(clientWidth = 320, clientHeight = 180) {
  return { tagName: "VIDEO", clientWidth, clientHeight, dataset: {}, srcObject: null };
}
