// The sound of a call that rings: two soft notes, made here so that no file is needed.

const PERIOD_MS = 3_000;
const NOTES = [
  { hertz: 659, start: 0 },
  { hertz: 784, start: 0.18 },
];
const LENGTH_S = 0.45;
const LOUDNESS = 0.08;

/** Rings until it is stopped; where a browser allows no sound yet, silently. */
export class Ring {
  #context = null;
  #timer = null;

  start() {
    this.stop();
    this.#strike();
    this.#timer = setInterval(() => this.#strike(), PERIOD_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #strike() {
    this.#context ??= new AudioContext();
    if (this.#context.state === "suspended") this.#context.resume().catch(() => {});
    if (this.#context.state !== "running") return;
    for (const { hertz, start } of NOTES) this.#play(hertz, this.#context.currentTime + start);
  }

  #play(hertz, at) {
    const tone = this.#context.createOscillator();
    const gain = this.#context.createGain();
    tone.frequency.value = hertz;
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(LOUDNESS, at + 0.03);
    gain.gain.exponentialRampToValueAtTime(0.0001, at + LENGTH_S);
    tone.connect(gain).connect(this.#context.destination);
    tone.start(at);
    tone.stop(at + LENGTH_S);
  }
}
