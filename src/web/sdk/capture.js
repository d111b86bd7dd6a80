// This machine's microphone, camera and screen.
import { deviceError, localError } from "./errors.js";
import { videoIn } from "./views.js";

const AUDIO_CONSTRAINTS = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const VIDEO_CONSTRAINTS = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 }, facingMode: "user" };

/** This machine's microphone, camera and screen: at most one track of each. */
export class Capture {
  #env;
  #onChange;
  #onLost;
  /** By source: the id of the device that the person prefers. */
  #preferred = {};
  /** By source: the live track. @type {Map<Source, MediaStreamTrack>} */
  #tracks = new Map();
  /** By source: the promise of a device being opened. */
  #opening = new Map();
  /** Counts closings, so that a device that opens after it was closed again is let go. */
  #epoch = { microphone: 0, camera: 0, screen: 0 };
  /** @type {Set<HTMLVideoElement>} */
  #previews = new Set();

  /**
   * @param {object} handlers change(source, track or null) whenever what is sent changes · lost(source) when a device went away by
   *   itself and none took its place · devices() when devices were plugged in or out
   */
  constructor(env, { change, lost, devices }) {
    this.#env = env;
    this.#onChange = change;
    this.#onLost = lost;
    env.mediaDevices?.addEventListener?.("devicechange", devices);
  }

  track(source) {
    return this.#tracks.get(source) ?? null;
  }

  /** The opening of the source that is under way, if one is. */
  pending(source) {
    return this.#opening.get(source) ?? null;
  }

  /** Opens the sources that are not open; each resolves or rejects on its own. @param {Source[]} sources */
  open(...sources) {
    const missing = sources.filter((source) => !this.#tracks.has(source) && !this.#opening.has(source));
    // One request for both: one question to the person. When it fails, each alone, so that a missing camera costs no voice.
    const together = missing.length > 1 ? this.#devices(missing) : null;
    for (const source of missing) {
      const epoch = this.#epoch[source];
      const opened = (together ? together.catch(() => this.#devices([source])) : this.#devices([source]))
        .then((stream) => this.#opened(source, stream, epoch))
        .catch((cause) => Promise.reject(deviceError(source, cause)))
        .finally(() => this.#opening.get(source) === opened && this.#opening.delete(source));
      this.#opening.set(source, opened);
    }
    return sources.map((source) => this.#opening.get(source) ?? Promise.resolve(this.track(source)));
  }

  /** Which devices there are. Browsers name them once one was opened. @returns {Promise<Devices>} */
  async list() {
    const found = (await this.#env.mediaDevices?.enumerateDevices?.()) ?? [];
    const ofKind = (wanted) =>
      found.filter(({ kind, deviceId }) => kind === wanted && deviceId).map(({ deviceId, label }) => ({ deviceId, label }));
    return { microphone: ofKind("audioinput"), camera: ofKind("videoinput"), speaker: ofKind("audiooutput") };
  }

  /** Takes this device whenever it is there; at once, when the source is open. @param {"microphone" | "camera"} source */
  async prefer(source, deviceId) {
    this.#preferred[source] = deviceId;
    if (this.#tracks.has(source)) await this.#reopen(source);
  }

  /** Stops the source and lets go of its device. */
  close(source) {
    this.#epoch[source] += 1;
    this.#opening.delete(source);
    const track = this.track(source);
    if (!track) return;
    this.#tracks.delete(source);
    track.onended = null;
    track.stop();
    this.#onChange(source, null);
    this.#refreshPreviews();
  }

  closeAll() {
    for (const source of ["microphone", "camera", "screen"]) this.close(source);
    for (const element of this.#previews) element.srcObject = null;
    this.#previews.clear();
  }

  /** Shows the camera in `element` now and whenever it is open again. */
  preview(element) {
    const video = videoIn(element, this.#env);
    video.muted = true;
    this.#previews.add(video);
    this.#refreshPreviews();
  }

  async #devices(sources) {
    const devices = this.#env.mediaDevices;
    if (!devices) {
      throw localError("insecureContext", "Browsers open camera and microphone only on https or localhost.");
    }
    if (sources[0] === "screen") return devices.getDisplayMedia({ video: { frameRate: { ideal: 15 } }, audio: false });
    return devices.getUserMedia({
      audio: sources.includes("microphone") && this.#constraints("microphone", AUDIO_CONSTRAINTS),
      video: sources.includes("camera") && this.#constraints("camera", VIDEO_CONSTRAINTS),
    });
  }

  #constraints(source, usual) {
    const preferred = this.#preferred[source];
    return preferred ? { ...usual, deviceId: { ideal: preferred } } : usual;
  }

  /** Another device takes the place of the open one, muted if that was. */
  async #reopen(source) {
    const old = this.track(source);
    const epoch = this.#epoch[source];
    old.onended = null;
    // Phones open no second camera while the first is in use.
    old.stop();
    try {
      return this.#opened(source, await this.#devices([source]), epoch, old.enabled);
    } catch (cause) {
      if (epoch === this.#epoch[source]) this.close(source);
      throw deviceError(source, cause);
    }
  }

  /** The device went away, or the person ended the sharing of a screen from the browser's own bar. */
  async #ended(source) {
    if (source !== "screen") {
      // Whatever else there is: a headset that was pulled out leaves the machine's own microphone.
      delete this.#preferred[source];
      const replaced = await this.#reopen(source).catch(() => null);
      if (replaced || this.#tracks.has(source)) return;
    }
    this.close(source);
    this.#onLost(source);
  }

  #opened(source, stream, epoch, enabled = true) {
    const [track] = source === "microphone" ? stream.getAudioTracks() : stream.getVideoTracks();
    if (!track) throw localError("deviceNotFound", `There is no ${source} that could be used.`);
    if (epoch !== this.#epoch[source]) {
      track.stop();
      return null;
    }
    // The text of a shared window matters more than its motion.
    if (source === "screen") track.contentHint = "detail";
    track.enabled = enabled;
    track.onended = () => this.#ended(source);
    this.#tracks.set(source, track);
    this.#onChange(source, track);
    this.#refreshPreviews();
    return track;
  }

  #refreshPreviews() {
    const track = this.track("camera");
    for (const element of this.#previews) {
      if (element.srcObject?.getVideoTracks()[0] === track) continue;
      element.srcObject = track && new this.#env.MediaStream([track]);
    }
  }
}
