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
  /** By source: the live track. @type {Map<Source, MediaStreamTrack>} */
  #tracks = new Map();
  /** By source: the promise of a device being opened. */
  #opening = new Map();
  /** Counts closings, so that a device that opens after it was closed again is let go. */
  #epoch = { microphone: 0, camera: 0, screen: 0 };
  /** @type {Set<HTMLVideoElement>} */
  #previews = new Set();

  /**
   * @param onChange called with (source, track or null) whenever what is sent changes
   * @param onLost called with (source) when a device went away by itself
   */
  constructor(env, onChange, onLost) {
    this.#env = env;
    this.#onChange = onChange;
    this.#onLost = onLost;
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
      audio: sources.includes("microphone") && AUDIO_CONSTRAINTS,
      video: sources.includes("camera") && VIDEO_CONSTRAINTS,
    });
  }

  #opened(source, stream, epoch) {
    const [track] = source === "microphone" ? stream.getAudioTracks() : stream.getVideoTracks();
    if (!track) throw localError("deviceNotFound", `There is no ${source} that could be used.`);
    if (epoch !== this.#epoch[source]) {
      track.stop();
      return null;
    }
    // The text of a shared window matters more than its motion.
    if (source === "screen") track.contentHint = "detail";
    track.onended = () => {
      this.close(source);
      this.#onLost(source);
    };
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
