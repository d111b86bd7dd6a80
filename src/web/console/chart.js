// A small line chart: a few series over the last minutes, the newest value in words beside it.
import { Component, h, tags } from "./dom.js";
import { moment } from "./format.js";

const { div, span, figure, figcaption } = tags;

const WIDTH = 300;
const HEIGHT = 64;

/** `series`: [{ name, points: [[time, value]] }]; `show` writes a value. */
export class Chart extends Component {
  render({ title, series, show, hint }, { at }) {
    const times = series[0].points.map(([time]) => time);
    const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite);
    const top = Math.max(...values, 0) || 1;
    const [from, to] = [times[0] ?? 0, times.at(-1) ?? 1];
    const x = (time) => (to > from ? ((time - from) / (to - from)) * WIDTH : WIDTH);
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
    const index = at === undefined ? times.length - 1 : nearest(times, from + at * (to - from));
    const reading = series.map(({ name, points }) => ({ name, value: points[index]?.[1] ?? newest(points) }));
    return figure({ class: "chart", title: hint },
      figcaption(null, span(title), at !== undefined && span({ class: "faint" }, moment(times[index]))),
      div({ class: "readings" }, reading.map(({ name, value }, i) =>
        span({ class: `reading s${i}`, key: name }, span({ class: "value" }, show(at === undefined ? latest(series[i].points) : value)), name && span({ class: "name" }, name)))),
      h("svg", {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
        "aria-label": `${title}: ${reading.map(({ name, value }) => `${name} ${show(value)}`).join(", ")}; highest ${show(top)}`,
        onPointerMove: (event) => this.setState({ at: share(event) }),
        onPointerLeave: () => this.setState({ at: undefined }),
      },
        series.map(({ name, points }, i) => h("g", { class: `s${i}`, key: name },
          i === 0 && h("path", { class: "area", d: area(points, x, y) }),
          h("path", { class: "line", d: line(points, x, y) }))),
        at !== undefined && h("path", { class: "cursor", d: `M${x(times[index])} 0V${HEIGHT}` })),
      div({ class: "scale" }, span(span_of(to - from)), span(`highest ${show(values.length ? Math.max(...values) : NaN)}`)));
  }
}

function share(event) {
  const box = event.currentTarget.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
}

function nearest(times, wanted) {
  let best = 0;
  times.forEach((time, i) => {
    if (Math.abs(time - wanted) < Math.abs(times[best] - wanted)) best = i;
  });
  return best;
}

function newest(points) {
  return points.at(-1)?.[1] ?? NaN;
}

/** The newest value there is, from the last half minute: a latency is known only when something happened. */
function latest(points) {
  const recent = points.filter(([time, value]) => Number.isFinite(value) && time > Date.now() - 30_000);
  return recent.at(-1)?.[1] ?? NaN;
}

/** A gap where nothing is known. */
function line(points, x, y) {
  let pen = "M";
  return points.map(([time, value]) => {
    if (!Number.isFinite(value)) {
      pen = "M";
      return "";
    }
    const step = `${pen}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
    // A lone point is a dot: the line's ends are round.
    const dot = pen === "M" ? "h0.01" : "";
    pen = "L";
    return step + dot;
  }).join("");
}

function area(points, x, y) {
  const known = points.filter(([, value]) => Number.isFinite(value));
  if (known.length < 2) return "";
  return `M${x(known[0][0]).toFixed(1)} ${HEIGHT}${known.map(([time, value]) => `L${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("")}L${x(known.at(-1)[0]).toFixed(1)} ${HEIGHT}Z`;
}

function span_of(millis) {
  return millis < 90_000 ? `last ${Math.round(millis / 1000)} s` : `last ${Math.round(millis / 60_000)} min`;
}
