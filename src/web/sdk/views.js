// The page's side of a call: elements that show users, and hidden ones that play their voices.
import { localError } from "./errors.js";

/** Heights that a viewer asks for: a window being dragged must not send a request for each pixel. */
const HEIGHT_STEPS = [180, 360, 720, 1080, 2160];

/** The page's side of a call: elements that show users, and hidden ones that play their voices. */
export class Views {
  #env;
  #onResize;
  /** By user and source: { userId, source, video }. */
  #shown = new Map();
  /** What the app stopped showing, by user and source: { userId, source }. */
  #hidden = new Map();
  /** Users who send video. @type {Set<string>} */
  #available = new Set();
  /** Voices a browser would not play before the person touched the page. @type {Set<HTMLAudioElement>} */
  #blocked = new Set();
  /** Everything that plays a voice. @type {Set<HTMLAudioElement>} */
  #voices = new Set();
  #speaker = "";
  #observer;
  #unlock = () => this.#playBlocked();

  constructor(env, onResize) {
    this.#env = env;
    this.#onResize = onResize;
    this.#observer = env.ResizeObserver ? new env.ResizeObserver(() => this.#onResize()) : null;
  }

  add(userId, source, element) {
    this.remove(userId, source);
    const video = videoIn(element, this.#env);
    this.#shown.set(keyOf(userId, source), { userId, source, video });
    for (const [key, hidden] of this.#hidden) if (covers({ userId, source }, hidden)) this.#hidden.delete(key);
    this.#observer?.observe(video);
  }

  /** The app looks at it no longer. */
  hide(userId, source) {
    this.remove(userId, source);
    this.#hidden.set(keyOf(userId, source), { userId, source });
  }

  remove(userId, source) {
    const view = this.#shown.get(keyOf(userId, source));
    if (!view) return;
    this.#shown.delete(keyOf(userId, source));
    this.#observer?.unobserve(view.video);
    view.video.srcObject = null;
  }

  setAvailable(userId, available) {
    if (available) this.#available.add(userId);
    else this.#available.delete(userId);
  }

  /** The user is gone; an element that shows them waits, should they come back. */
  forget(userId) {
    this.#available.delete(userId);
    for (const [key, hidden] of this.#hidden) if (hidden.userId === userId) this.#hidden.delete(key);
  }

  clear() {
    for (const { userId, source } of [...this.#shown.values()]) this.remove(userId, source);
    this.#available.clear();
    this.#hidden.clear();
  }

  /** Puts into each element the stream that `streamOf(userId, source)` names. */
  show(streamOf) {
    for (const { userId, source, video } of this.#shown.values()) {
      const stream = streamOf(userId, source);
      if (video.srcObject !== stream) video.srcObject = stream;
    }
  }

  /** What is looked at, and how large. */
  wishes() {
    return [...this.#shown.values()]
      .filter(({ userId }) => this.#available.has(userId))
      .map(({ userId, source, video }) => ({ userId, source, maxHeight: this.#heightOf(video) }));
  }

  /** Whether the app said that it does not look at this. */
  isHidden(userId, source) {
    return [...this.#hidden.values()].some((hidden) => covers(hidden, { userId, source }));
  }

  #heightOf({ clientWidth, clientHeight }) {
    // A wide, low tile shows a cut of a picture that is as wide as the tile.
    const pixels = Math.max(clientHeight, (clientWidth * 9) / 16) * (this.#env.window?.devicePixelRatio ?? 1);
    return HEIGHT_STEPS.find((step) => step >= pixels) ?? HEIGHT_STEPS.at(-1);
  }

  /** Plays a slot's voice for as long as the slot is there. */
  play(stream) {
    const audio = this.#env.document?.createElement("audio");
    if (!audio) return null;
    audio.autoplay = true;
    audio.hidden = true;
    audio.dataset.callkit = "voice";
    audio.srcObject = stream;
    this.#voices.add(audio);
    if (this.#speaker) audio.setSinkId?.(this.#speaker)?.catch(() => {});
    this.#env.document.body.append(audio);
    audio.play()?.catch((error) => {
      if (error.name !== "NotAllowedError") return;
      if (this.#blocked.size === 0) for (const type of ["pointerdown", "keydown"]) this.#env.document.addEventListener(type, this.#unlock);
      this.#blocked.add(audio);
    });
    return audio;
  }

  /** Voices come out of this device; "": the system's choice. */
  async speakThrough(deviceId) {
    const Audio = this.#env.window?.HTMLMediaElement;
    if (Audio && !("setSinkId" in Audio.prototype)) throw localError("deviceFailed", "This browser plays sound where the system does.");
    this.#speaker = deviceId;
    await Promise.all([...this.#voices].map((audio) => audio.setSinkId?.(deviceId)));
  }

  hush(audio) {
    if (!audio) return;
    this.#voices.delete(audio);
    this.#blocked.delete(audio);
    audio.srcObject = null;
    audio.remove();
  }

  #playBlocked() {
    for (const type of ["pointerdown", "keydown"]) this.#env.document.removeEventListener(type, this.#unlock);
    for (const audio of this.#blocked) audio.play()?.catch(() => {});
    this.#blocked.clear();
  }
}

/** No source named means camera and screen. */
function covers(wide, narrow) {
  return wide.userId === narrow.userId && (!wide.source || wide.source === narrow.source);
}

function keyOf(userId, source) {
  return `${userId} ${source ?? ""}`;
}

/** `element` (or the element with that id) as a video: itself, or one made inside it. */
export function videoIn(element, env) {
  const target = typeof element === "string" ? env.document?.getElementById(element) : element;
  if (!target) throw localError("invalidParameter", "element: an element of the page or the id of one is expected.");
  if (target.tagName === "VIDEO") return prepared(target);
  const inside = target.querySelector("video[data-callkit]");
  if (inside) return inside;
  const video = prepared(env.document.createElement("video"));
  video.dataset.callkit = "view";
  Object.assign(video.style, { width: "100%", height: "100%", objectFit: "cover" });
  target.append(video);
  return video;
}

/** Sound is played apart (see Media), so a video is muted and may start by itself everywhere. */
function prepared(video) {
  video.autoplay = true;
  video.playsInline = true;
  video.muted = true;
  return video;
}
