// One tile for each person in the call, and one for each shared screen.

const QUALITY_TEXT = {
  Unknown: "not measured yet",
  Excellent: "excellent",
  Good: "good",
  Poor: "poor",
  Bad: "bad",
  Vbad: "very bad",
  Down: "no connection",
};

/** Space between tiles, as in the style sheet. */
const GAP_PX = 12;
/** The narrowest tile: beyond it a camera's picture would lose too much. */
const NARROWEST = 1;
/** The part of a picture that holds the person. */
const HEART = 4 / 3;

/** So many columns in this space: how high a tile is, and how large the heart of a picture is in it. */
function layout(columns, count, width, height) {
  const rows = Math.ceil(count / columns);
  const cell = { width: (width - GAP_PX * (columns - 1)) / columns, height: (height - GAP_PX * (rows - 1)) / rows };
  return { columns, height: Math.floor(Math.min(cell.height, cell.width / NARROWEST)), size: Math.min(cell.width, cell.height * HEART) };
}

/** Below this loudness it is a room, not a voice (the scale is decibels). */
const VOICE_FROM = 45;

/**
 * The grid. A person's tile has data-user-id, data-volume (0–100), data-quality, data-video and data-audio ("on" or "off"), data-received
 * ("shown", "paused" or "none"), data-self on one's own, data-pending while it rings. A shared screen's tile has data-screen-of.
 */
export class Tiles {
  #grid;
  /** By user. @type {Map<string, HTMLElement>} */
  #people = new Map();
  #screens = new Map();

  constructor(grid) {
    this.#grid = grid;
    new ResizeObserver(() => this.#arrange()).observe(grid);
  }

  /** The person's tile, made when there is none. */
  person(userId, { self = false, pending = "" } = {}) {
    let tile = this.#people.get(userId);
    if (!tile) {
      tile = this.#make(userId, self ? `${userId} (you)` : userId);
      Object.assign(tile.dataset, { userId, volume: "0", quality: "Unknown", video: "off", audio: "off" });
      if (self) tile.dataset.self = "";
      this.#people.set(userId, tile);
      this.#place(tile, self);
    }
    if (pending) tile.dataset.pending = pending;
    else delete tile.dataset.pending;
    tile.querySelector(".pending").textContent = pending;
    return tile;
  }

  has(userId) {
    return this.#people.has(userId);
  }

  /** Everyone with a tile; those who still ring are left out when `pending` is false. */
  users({ pending = true } = {}) {
    return [...this.#people].filter(([, tile]) => pending || !("pending" in tile.dataset)).map(([userId]) => userId);
  }

  /** The element that shows the person's camera. */
  video(userId) {
    return this.#people.get(userId).querySelector("video");
  }

  remove(userId) {
    this.#people.get(userId)?.remove();
    this.#people.delete(userId);
    this.#arrange();
  }

  /** The element for a user's shared screen. */
  screen(userId) {
    let tile = this.#screens.get(userId);
    if (!tile) {
      tile = this.#make(userId, `${userId}'s screen`);
      tile.classList.add("screen");
      tile.dataset.screenOf = userId;
      this.#screens.set(userId, tile);
      this.#place(tile, false);
    }
    return tile.querySelector("video");
  }

  /** Takes away the screens of all but these users, and says whose. */
  keepScreens(userIds) {
    const gone = [...this.#screens.keys()].filter((userId) => !userIds.includes(userId));
    for (const userId of gone) {
      this.#screens.get(userId).remove();
      this.#screens.delete(userId);
    }
    this.#arrange();
    return gone;
  }

  clear() {
    this.#people.clear();
    this.#screens.clear();
    this.#grid.replaceChildren();
    this.#arrange();
  }

  setVideo(userId, on) {
    const tile = this.#people.get(userId);
    if (tile) tile.dataset.video = on ? "on" : "off";
  }

  /** Which of the others' cameras come here. @param {Map<string, "shown" | "paused">} received By user. */
  setReceived(received) {
    for (const [userId, tile] of this.#people) {
      if (!("self" in tile.dataset)) tile.dataset.received = received.get(userId) ?? "none";
    }
  }

  setAudio(userId, on) {
    const tile = this.#people.get(userId);
    if (!tile) return;
    tile.dataset.audio = on ? "on" : "off";
    if (!on) this.setVolume(userId, 0);
  }

  setVolume(userId, volume) {
    const tile = this.#people.get(userId);
    if (!tile) return;
    tile.dataset.volume = String(volume);
    const voice = Math.max(0, (volume - VOICE_FROM) / (100 - VOICE_FROM));
    tile.style.setProperty("--voice", voice.toFixed(2));
  }

  setQuality(userId, quality) {
    const tile = this.#people.get(userId);
    if (!tile) return;
    tile.dataset.quality = quality;
    const text = `Network: ${QUALITY_TEXT[quality] ?? quality}`;
    const signal = tile.querySelector(".signal");
    signal.setAttribute("aria-label", text);
    signal.title = text;
  }

  #make(userId, name) {
    const tile = document.createElement("article");
    tile.className = "tile";
    tile.setAttribute("aria-label", name);
    tile.append(
      videoElement(),
      avatar(userId),
      element("span", "pending"),
      element("footer", "", element("span", "mic-off", icon("mic-off")), element("span", "who", name), meter(), signal()),
    );
    return tile;
  }

  #place(tile, first) {
    if (first) this.#grid.prepend(tile);
    else this.#grid.append(tile);
    this.#arrange();
  }

  /** As many columns as make the pictures largest; beside a shared screen the people are a strip. */
  #arrange() {
    const count = this.#grid.childElementCount;
    const { clientWidth, clientHeight } = this.#grid;
    this.#grid.classList.toggle("with-screen", this.#screens.size > 0);
    if (count === 0 || clientWidth === 0 || this.#screens.size > 0) return;
    const fits = Array.from({ length: count }, (_, index) => layout(index + 1, count, clientWidth, clientHeight));
    const { columns, height } = fits.reduce((best, fit) => (fit.size > best.size ? fit : best));
    this.#grid.style.setProperty("--columns", String(columns));
    this.#grid.style.setProperty("--row", `${height}px`);
  }
}

/** A disc with the name's first letter, in a colour of its own. */
export function avatar(userId) {
  const disc = element("span", "avatar", userId.slice(0, 1).toUpperCase());
  disc.setAttribute("aria-hidden", "true");
  const hue = [...userId].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  disc.style.setProperty("--hue", String(hue));
  return disc;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.append(document.createElementNS(space, "use"));
  svg.firstChild.setAttribute("href", `#i-${name}`);
  return svg;
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function videoElement() {
  const video = element("video", "");
  Object.assign(video, { autoplay: true, playsInline: true, muted: true });
  return video;
}

function meter() {
  const bars = element("span", "meter", element("i", ""), element("i", ""), element("i", ""));
  bars.setAttribute("aria-hidden", "true");
  return bars;
}

/** Four bars; each is an element, because how many are lit is a matter of style. */
function signal() {
  const bars = element("span", "signal", element("i", ""), element("i", ""), element("i", ""), element("i", ""));
  bars.setAttribute("role", "img");
  bars.setAttribute("aria-label", `Network: ${QUALITY_TEXT.Unknown}`);
  return bars;
}
