// One call's peer connection.
import { localError } from "./errors.js";

/** A call of two needs one pair; the second video slot is for a shared screen. */
const EXTRA_VIDEO_SLOTS = 1;
/** A connection that stumbles mostly finds its feet within this time; a network that changed never does. */
const STUMBLE_MS = 1_500;
/** An ICE and DTLS exchange over a slow mobile network fits. */
const CONNECT_MEDIA_MS = 8_000;
/** So many repairs in a row and the person is told; trying goes on. */
const REPAIRS_BEFORE_ERROR = 4;
/** How long a group call waits for the camera before it decides on encodings without having seen it. */
const CAMERA_WAIT_MS = 2_000;
const VIEW_DELAY_MS = 150;

/** Small, medium and full picture: what a thumbnail, a tile in a grid and a speaker in the middle need. */
const SIMULCAST = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];
const SIMULCAST_MIN_HEIGHT = 720;
const SINGLE = { camera: [{ maxBitrate: 2_000_000 }], screen: [{ maxBitrate: 2_500_000 }], microphone: [{}] };

/**
 * One call's peer connection. The client offers: its sending m-lines, and receiving ones that are slots for the server to fill. The
 * server says who is in which slot; people coming and going need no new offer.
 */
export class Media {
  #env;
  #capture;
  #remote;
  #views;
  #onFailed;
  #iceServers;
  #wish = { video: false, pairs: 1, simulcast: false, screen: false };
  #pc = null;
  /** By source: its sending transceiver. @type {Map<Source, RTCRtpTransceiver>} */
  #senders = new Map();
  /** By sending transceiver and rid: the bitrate ceilings this side chose, to return to when the server lifts its own. */
  #ceilings = new Map();
  #audioSlots = [];
  #videoSlots = [];
  /** By mid: who is there. @type {Map<string, Slot>} */
  #assigned = new Map();
  /** Sources the server must know to be muted. @type {Set<Source>} */
  #muted = new Set();
  #negotiation = Promise.resolve();
  #encoding = Promise.resolve();
  #queued = null;
  #answered = false;
  #repairs = 0;
  #timer = null;
  #viewTimer = null;
  #lastView = "[]";
  #closed = false;

  /**
   * @param {object} remote offer(sdp, sources) · mute(source, muted) · view(slots), each a request to the server
   * @param {Views} views
   * @param onFailed called with an error when media cannot be had
   */
  constructor(env, { iceServers, capture, remote, views, onFailed }) {
    this.#env = env;
    this.#iceServers = iceServers;
    this.#capture = capture;
    this.#remote = remote;
    this.#views = views;
    this.#onFailed = onFailed;
  }

  get started() {
    return this.#pc !== null;
  }

  /** Connects; `wish` is { video, pairs, simulcast }. */
  async start(wish) {
    Object.assign(this.#wish, wish);
    if (this.#wish.video && this.#wish.simulcast) await this.#cameraSeen();
    if (this.#closed || this.started) return;
    this.#build();
    await this.#negotiate();
  }

  /** Grows to what is wished for; offers again only when something is missing. */
  async ensure(wish) {
    const pairs = Math.max(this.#wish.pairs, wish.pairs ?? 0);
    Object.assign(this.#wish, wish, { pairs });
    if (this.started && this.#grow()) await this.#negotiate();
  }

  /** Sends another track, or none, from this source. */
  async publish(source, track) {
    if (source === "screen" && track && !this.#wish.screen) {
      return this.ensure({ screen: true });
    }
    if (source === "camera" && track && this.started && !this.#senders.has(source)) {
      return this.ensure({ video: true });
    }
    await this.#senders.get(source)?.sender.replaceTrack(track);
  }

  /** Tells the others, through the server, whether the source is silent on purpose. */
  async mute(source, muted) {
    if (muted) this.#muted.add(source);
    else this.#muted.delete(source);
    if (this.#answered && this.#senders.has(source)) await this.#remote.mute(source, muted);
  }

  /** Who is in which slot. @param {Slot[]} slots */
  assign(slots) {
    for (const slot of slots) this.#assigned.set(slot.mid, slot);
    this.refresh();
  }

  /** What the server wants of a sending m-line, in the order of asking. @param {Encoding[]} encodings */
  encode(mid, encodings) {
    this.#encoding = this.#encoding.then(() => this.#encode(mid, encodings)).catch(() => {
      // Parameters changed under way (a new negotiation, a stopped sender): the server says it again after that.
    });
  }

  async #encode(mid, encodings) {
    const transceiver = [...this.#senders.values()].find((candidate) => candidate.mid === mid);
    if (!transceiver) return;
    const { sender } = transceiver;
    const parameters = sender.getParameters();
    for (const wanted of encodings) {
      const ours = parameters.encodings.find((encoding) => (encoding.rid ?? null) === (wanted.rid ?? null));
      if (!ours) continue;
      const ceiling = this.#ceilings.get(transceiver)?.get(ours.rid ?? null) ?? Infinity;
      const limit = Math.min(wanted.maxBitrate ?? Infinity, ceiling);
      ours.active = wanted.active;
      if (Number.isFinite(limit)) ours.maxBitrate = limit;
      else delete ours.maxBitrate;
    }
    await sender.setParameters(parameters);
  }

  /** Shows each user in the elements that are theirs, and tells the server what is looked at. */
  refresh() {
    this.#views.show((userId, source) => this.#streamOf(userId, source));
    if (this.#viewTimer === null) {
      this.#viewTimer = this.#env.setTimeout(() => {
        this.#viewTimer = null;
        this.#tellView();
      }, VIEW_DELAY_MS);
    }
  }

  /** The session is back: a connection that broke meanwhile is repaired. */
  resumed() {
    this.#lastView = "[]";
    this.refresh();
    // Without an answer the offer is still under way: it was sent again with the session.
    if (this.#answered && this.#pc.connectionState !== "connected") this.#repair();
  }

  stats() {
    return this.#pc ? this.#pc.getStats() : Promise.resolve(new Map());
  }

  close() {
    this.#closed = true;
    this.#env.clearTimeout(this.#viewTimer);
    this.#teardown();
    this.#views.show(() => null);
  }

  async #cameraSeen() {
    const opening = this.#capture.pending("camera");
    if (!opening) return;
    const enough = new Promise((resolve) => this.#env.setTimeout(resolve, CAMERA_WAIT_MS));
    await Promise.race([Promise.allSettled([opening]), enough]);
  }

  #build() {
    this.#pc = new this.#env.RTCPeerConnection({ iceServers: this.#iceServers, bundlePolicy: "max-bundle" });
    const pc = this.#pc;
    pc.onconnectionstatechange = () => pc === this.#pc && this.#watch();
    this.#grow();
    this.#arm(CONNECT_MEDIA_MS);
  }

  /** Adds the m-lines that are wished for and not there. */
  #grow() {
    const before = this.#pc.getTransceivers().length;
    this.#send("microphone");
    if (this.#wish.video) this.#send("camera");
    if (this.#wish.screen) this.#send("screen");
    while (this.#audioSlots.length < this.#wish.pairs) this.#audioSlots.push(this.#receive("audio"));
    const videos = this.#wish.video ? this.#wish.pairs + EXTRA_VIDEO_SLOTS : 0;
    while (this.#videoSlots.length < videos) this.#videoSlots.push(this.#receive("video"));
    return this.#pc.getTransceivers().length > before;
  }

  #send(source) {
    if (this.#senders.has(source)) return;
    const track = this.#capture.track(source);
    const sendEncodings = (this.#layered(source, track) ? SIMULCAST : SINGLE[source]).map((encoding) => ({ ...encoding }));
    const transceiver = this.#pc.addTransceiver(track ?? (source === "microphone" ? "audio" : "video"), {
      direction: "sendonly",
      streams: [new this.#env.MediaStream()],
      sendEncodings,
    });
    this.#ceilings.set(transceiver, new Map(sendEncodings.map(({ rid, maxBitrate }) => [rid ?? null, maxBitrate])));
    this.#senders.set(source, transceiver);
    preferCodecs(transceiver, this.#env);
  }

  #layered(source, track) {
    if (source !== "camera" || !this.#wish.simulcast) return false;
    const { width, height } = track?.getSettings() ?? {};
    // Unknown: 720p is what was asked of the camera. A phone held upright has the sides swapped.
    return !height || Math.min(width ?? height, height) >= SIMULCAST_MIN_HEIGHT;
  }

  #receive(kind) {
    const transceiver = this.#pc.addTransceiver(kind, { direction: "recvonly" });
    preferCodecs(transceiver, this.#env);
    const stream = new this.#env.MediaStream([transceiver.receiver.track]);
    return { transceiver, stream, sound: kind === "audio" ? this.#views.play(stream) : null };
  }

  /** One offer after the other; asking while one waits joins it. */
  #negotiate(restart = false) {
    if (this.#queued && !restart) return this.#queued;
    const turn = this.#negotiation.then(() => {
      if (this.#queued === turn) this.#queued = null;
      return this.#offer(restart);
    });
    this.#queued = turn;
    this.#negotiation = turn.catch(() => {});
    return turn;
  }

  async #offer(restart) {
    const pc = this.#pc;
    if (!pc || this.#closed) return;
    if (restart) pc.restartIce();
    await pc.setLocalDescription();
    const sources = {};
    // One without a mid was added just then; its own offer follows.
    for (const [source, { mid }] of this.#senders) if (mid !== null) sources[mid] = source;
    const { sdp } = await this.#remote.offer(pc.localDescription.sdp, sources);
    if (pc !== this.#pc || this.#closed) return;
    if (pc.remoteDescription && fingerprint(pc.remoteDescription.sdp) !== fingerprint(sdp)) {
      // Another server process: its keys cannot continue this connection.
      this.#teardown();
      this.#build();
      return this.#offer(false);
    }
    await pc.setRemoteDescription({ type: "answer", sdp });
    // A track that opened while the offer was under way is put in place here.
    for (const [source, { sender }] of this.#senders) {
      const track = this.#capture.track(source);
      if (sender.track !== track) await sender.replaceTrack(track);
    }
    this.#answered = true;
    const muted = [...this.#muted].filter((source) => this.#senders.has(source));
    await Promise.allSettled(muted.map((source) => this.#remote.mute(source, true)));
    this.refresh();
  }

  #watch() {
    switch (this.#pc.connectionState) {
      case "connected":
        this.#repairs = 0;
        this.#env.clearTimeout(this.#timer);
        break;
      case "disconnected":
        this.#arm(STUMBLE_MS);
        break;
      case "failed":
        this.#repair();
        break;
    }
  }

  /** Looks again after `delay`, and repairs unless the connection is up by then. */
  #arm(delay) {
    this.#env.clearTimeout(this.#timer);
    this.#timer = this.#env.setTimeout(() => {
      if (this.#pc && this.#pc.connectionState !== "connected") this.#repair();
    }, delay);
  }

  /** First an ICE restart, which keeps everything; when that does not help, a new connection. */
  #repair() {
    if (this.#closed) return;
    this.#arm(CONNECT_MEDIA_MS);
    // Without signalling there is nobody to offer to; `resumed` comes back here.
    if (!this.#remote.online()) return;
    this.#repairs += 1;
    if (this.#repairs === REPAIRS_BEFORE_ERROR) {
      this.#onFailed(localError("mediaFailed", "No connection for audio and video can be made. A firewall may be in the way."));
    }
    const repaired = this.#repairs === 1 && this.#answered ? this.#negotiate(true) : this.#rebuild();
    repaired.catch(() => {
      // The timer that was armed above tries again.
    });
  }

  #rebuild() {
    this.#teardown();
    if (this.#closed) return Promise.resolve();
    this.#build();
    return this.#negotiate();
  }

  #teardown() {
    this.#env.clearTimeout(this.#timer);
    for (const { sound } of this.#audioSlots) this.#views.hush(sound);
    this.#pc?.close();
    this.#pc = null;
    this.#queued = null;
    this.#answered = false;
    this.#lastView = "[]";
    this.#senders.clear();
    this.#ceilings.clear();
    this.#audioSlots = [];
    this.#videoSlots = [];
    this.#assigned.clear();
  }

  #streamOf(userId, source) {
    const slot = this.#slotOf(userId, source);
    return slot ? (this.#videoSlots.find(({ transceiver }) => transceiver.mid === slot.mid)?.stream ?? null) : null;
  }

  /** No source named: the screen while it is shared, otherwise the camera. */
  #slotOf(userId, source) {
    const theirs = [...this.#assigned.values()].filter((slot) => slot.userId === userId && slot.source !== "microphone");
    const wanted = source ?? (theirs.some((slot) => slot.source === "screen") ? "screen" : "camera");
    return theirs.find((slot) => slot.source === wanted);
  }

  #tellView() {
    if (!this.#answered || this.#closed) return;
    const mids = this.#videoSlots.map(({ transceiver }) => transceiver.mid);
    const wishes = this.#views
      .wishes()
      .map(({ userId, source, maxHeight }) => ({ userId, source: source ?? this.#slotOf(userId)?.source ?? "camera", maxHeight }));
    const slots = planView(mids, this.#assigned, wishes);
    const text = JSON.stringify(slots);
    if (text === this.#lastView) return;
    this.#lastView = text;
    // A wish, not a need: someone who just left makes it fail, and the next assignment makes a new one.
    this.#remote.view(slots).catch(() => {});
  }
}

/**
 * Which user to ask for in which slot: who is in one stays there. More wishes than slots: an empty list, and the server chooses,
 * speakers first.
 * @param {string[]} mids
 * @param {Map<string, Slot>} assigned
 * @param {{ userId: string, source: Source, maxHeight: number }[]} wishes
 */
function planView(mids, assigned, wishes) {
  if (wishes.length > mids.length) return [];
  const isIn = (mid, wish) => assigned.get(mid)?.userId === wish.userId && assigned.get(mid)?.source === wish.source;
  const planned = new Map();
  const unplaced = [];
  for (const wish of wishes) {
    const mid = mids.find((candidate) => !planned.has(candidate) && isIn(candidate, wish));
    if (mid === undefined) unplaced.push(wish);
    else planned.set(mid, wish);
  }
  const free = mids.filter((mid) => !planned.has(mid));
  free.sort((a, b) => Number(Boolean(assigned.get(a)?.userId)) - Number(Boolean(assigned.get(b)?.userId)));
  unplaced.forEach((wish, index) => planned.set(free[index], wish));
  return mids.filter((mid) => planned.has(mid)).map((mid) => ({ mid, ...planned.get(mid) }));
}

/** The certificate behind a description (RFC 8122). */
function fingerprint(sdp) {
  return /^a=fingerprint:(.*)$/m.exec(sdp)?.[1]?.trim().toLowerCase();
}

/**
 * Offers of many m-lines must fit in a message of 64 KiB, and browsers name some twenty video formats in each: keep one of each codec
 * that servers forward, and its repair format.
 */
function preferCodecs(transceiver, env) {
  const { kind } = transceiver.receiver.track;
  const codecs = env.RTCRtpReceiver?.getCapabilities?.(kind)?.codecs;
  if (kind !== "video" || !codecs || !transceiver.setCodecPreferences) return;
  const kept = codecs.filter(({ mimeType, sdpFmtpLine = "" }) => {
    switch (mimeType.toLowerCase()) {
      case "video/vp8":
      case "video/rtx":
        return true;
      case "video/vp9":
        return !/profile-id=[1-9]/.test(sdpFmtpLine);
      case "video/av1":
        return !/profile=[1-9]/.test(sdpFmtpLine);
      case "video/h264":
        return /packetization-mode=1/.test(sdpFmtpLine) && /profile-level-id=42[ce]0/i.test(sdpFmtpLine);
      default:
        return false;
    }
  });
  try {
    transceiver.setCodecPreferences(kept);
  } catch {
    // Whatever the browser does not accept, its own choice works too.
  }
}
