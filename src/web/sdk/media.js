// One call's peer connection.
import { encodingsFor, obey } from "./encodings.js";
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
  /** By sending transceiver: the encodings it was offered with, to return to when the server lifts its limits. */
  #offered = new Map();
  #audioSlots = [];
  #videoSlots = [];
  /** By mid: who is there. @type {Map<string, Slot>} */
  #assigned = new Map();
  /** Sources the server must know to be muted. @type {Set<Source>} */
  #muted = new Set();
  /** Those of which this connection's server was told. @type {Set<Source>} */
  #toldMuted = new Set();
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
   * @param {object} parts
   * @param {() => RTCIceServer[]} parts.iceServers The newest, because their passwords run out.
   * @param {object} parts.remote offer(sdp, sources) · mute(source, muted) · view(slots), each a request to the server
   * @param {Views} parts.views
   * @param parts.onFailed called with an error when media cannot be had
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
    if (this.#answered && this.#senders.has(source)) await this.#tellMuted(source);
  }

  async #tellMuted(source) {
    const muted = this.#muted.has(source);
    if (muted) this.#toldMuted.add(source);
    else this.#toldMuted.delete(source);
    await this.#remote.mute(source, muted);
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
    if (transceiver) await obey(transceiver.sender, encodings, this.#offered.get(transceiver));
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

  /** The session is back, perhaps over another network: the server's side stands, the path to it is looked for again. */
  resumed() {
    this.#lastView = "[]";
    this.refresh();
    // Without an answer the offer is still under way: it was sent again with the session.
    if (this.#answered) this.#restart();
  }

  /** The server knows nothing of this connection any more. */
  renew() {
    if (this.started && !this.#closed) this.#quietly(this.#rebuild());
  }

  /** This machine is on another network, and the session stands. */
  networkChanged() {
    if (this.#answered) this.#restart();
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
    this.#pc = new this.#env.RTCPeerConnection(this.#configuration());
    const pc = this.#pc;
    pc.onconnectionstatechange = () => pc === this.#pc && this.#watch();
    this.#grow();
    this.#arm(CONNECT_MEDIA_MS);
  }

  #configuration() {
    return { iceServers: this.#iceServers(), bundlePolicy: "max-bundle" };
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
    const sendEncodings = encodingsFor(source, track, this.#wish.simulcast);
    const transceiver = this.#pc.addTransceiver(track ?? (source === "microphone" ? "audio" : "video"), {
      direction: "sendonly",
      streams: [new this.#env.MediaStream()],
      sendEncodings,
    });
    this.#offered.set(transceiver, sendEncodings);
    this.#senders.set(source, transceiver);
    preferCodecs(transceiver, this.#env);
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
    if (restart) {
      pc.setConfiguration?.(this.#configuration());
      pc.restartIce();
    }
    await pc.setLocalDescription();
    const sources = {};
    // One without a mid was added just then; its own offer follows.
    for (const [source, { mid }] of this.#senders) if (mid !== null) sources[mid] = source;
    const { sdp } = await this.#remote.offer(pc.localDescription.sdp, sources);
    if (pc !== this.#pc || this.#closed) return;
    if (pc.remoteDescription && identity(pc.remoteDescription.sdp) !== identity(sdp)) {
      // The other end is a new one: another server, or one that had given this connection up.
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
    const untold = [...this.#muted].filter((source) => this.#senders.has(source) && !this.#toldMuted.has(source));
    await Promise.allSettled(untold.map((source) => this.#tellMuted(source)));
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
    this.#quietly(this.#repairs === 1 && this.#answered ? this.#negotiate(true) : this.#rebuild());
  }

  #restart() {
    this.#arm(CONNECT_MEDIA_MS);
    this.#quietly(this.#negotiate(true));
  }

  #quietly(negotiation) {
    negotiation.catch(() => {
      // The timer tries again for as long as there is no connection.
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
    this.#offered.clear();
    this.#toldMuted.clear();
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
    const slots = planView(mids, this.#assigned, wishes, (slot) => this.#views.isHidden(slot.userId, slot.source));
    const text = JSON.stringify(slots);
    if (text === this.#lastView) return;
    this.#lastView = text;
    // A wish, not a need: someone who just left makes it fail, and the next assignment makes a new one.
    this.#remote.view(slots).catch(() => {});
  }
}

/**
 * Which user to ask for in which slot: who is in one stays there. With more wishes than slots the server chooses, speakers first.
 * Who is in a slot and not looked at is asked for in no size at all.
 * @param {string[]} mids
 * @param {Map<string, Slot>} assigned
 * @param {{ userId: string, source: Source, maxHeight: number }[]} wishes
 * @param {(slot: Slot) => boolean} isHidden
 */
function planView(mids, assigned, wishes, isHidden) {
  const planned = wishes.length > mids.length ? new Map() : place(mids, assigned, wishes);
  for (const mid of mids) {
    const slot = assigned.get(mid);
    if (!planned.has(mid) && slot?.userId && isHidden(slot)) {
      planned.set(mid, { userId: slot.userId, source: slot.source, maxHeight: 0 });
    }
  }
  return mids.filter((mid) => planned.has(mid)).map((mid) => ({ mid, ...planned.get(mid) }));
}

/** By mid: the wish for it. */
function place(mids, assigned, wishes) {
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
  return planned;
}

/** Whose description it is: the session's number (RFC 8866, 5.2) and the certificate (RFC 8122). */
function identity(sdp) {
  const number = /^o=\S+ (\S+)/m.exec(sdp)?.[1] ?? "";
  const certificate = /^a=fingerprint:(.*)$/m.exec(sdp)?.[1]?.trim().toLowerCase() ?? "";
  return `${number} ${certificate}`;
}

/**
 * Offers of many m-lines must fit in a message of 64 KiB, and browsers name some twenty video formats in each: keep one of each codec
 * that servers forward, and its repair format. Of sound, redundant Opus (RFC 2198) before plain: a lost packet comes again with the next.
 */
function preferCodecs(transceiver, env) {
  const { kind } = transceiver.receiver.track;
  const codecs = env.RTCRtpReceiver?.getCapabilities?.(kind)?.codecs;
  if (!codecs || !transceiver.setCodecPreferences) return;
  const isRedundant = ({ mimeType }) => /\/red$/i.test(mimeType);
  const kept = codecs.filter(({ mimeType, sdpFmtpLine = "" }) => {
    switch (mimeType.toLowerCase()) {
      case "audio/red":
      case "audio/opus":
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
  kept.sort((a, b) => isRedundant(b) - isRedundant(a));
  try {
    transceiver.setCodecPreferences(kept);
  } catch {
    // Whatever the browser does not accept, its own choice works too.
  }
}
