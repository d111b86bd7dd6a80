// Asking again and again, at a bounded cost: one question at a time, none while nobody looks, fewer while nothing answers.

const SLOWEST_MS = 10_000;

/** Runs `ask` at once and then `every` so many milliseconds; `stop()` ends it. */
export function poll(every, ask) {
  let [timer, failures, asking, stopped] = [null, 0, false, false];
  async function turn() {
    if (asking || stopped || document.hidden) return;
    asking = true;
    try {
      await ask();
      failures = 0;
    } catch {
      // Who asks has shown what is wrong; here it only slows the asking.
      failures += 1;
    }
    asking = false;
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(turn, Math.min(Math.max(SLOWEST_MS, every), every * 2 ** failures));
  }
  const looked = () => turn();
  document.addEventListener("visibilitychange", looked);
  turn();
  return {
    now: turn,
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", looked);
    },
  };
}
