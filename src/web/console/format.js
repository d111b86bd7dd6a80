// Figures and times as a person reads them.

const SI = ["", "k", "M", "G", "T"];

/** 1234567 → "1.23 M" */
export function short(value, unit = "") {
  if (!Number.isFinite(value)) return "–";
  let power = 0;
  let rest = Math.abs(value);
  while (rest >= 1000 && power < SI.length - 1) {
    rest /= 1000;
    power += 1;
  }
  const digits = rest === 0 || rest >= 100 || (power === 0 && Number.isInteger(rest)) ? 0 : rest >= 10 ? 1 : 2;
  const text = `${value < 0 ? "−" : ""}${rest.toFixed(digits)}`;
  return `${text} ${SI[power]}${unit}`.trim();
}

export const bits = (perSecond) => short(perSecond, "bit/s");

/** Seconds → "1.2 ms", "3.4 s", "2 h 5 min" */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 0.001) return seconds === 0 ? "0 s" : `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

/** How long ago a time was, from the server's text. */
export function ago(time, now = Date.now()) {
  return time ? span(Math.max(0, Math.round((now - Date.parse(time)) / 1000))) : "–";
}

/** "4:07", "1:02:33": since a time. */
export function clock(time, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  const pad = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/** A time of day, with the date when it is not today's. */
export function moment(time) {
  if (!time) return "–";
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
}

export const percent = (share) => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export function roomName({ intRoomId, strRoomId } = {}) {
  return strRoomId || String(intRoomId ?? "");
}
