// The server's metrics, read from Prometheus' text format, and what can be said of how they change.

/** Samples kept: ten minutes at one every two seconds. */
const KEPT = 300;

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/** @returns {Map<string, {labels: Object<string, string>, value: number}[]>} */
export function parse(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const [, name, labelled = "", value] = match;
    const labels = {};
    for (const [, label, raw] of labelled.matchAll(LABEL)) labels[label] = raw.replace(/\\./g, (c) => ESCAPES[c] ?? c);
    if (!families.has(name)) families.set(name, []);
    families.get(name).push({ labels, value: value === "+Inf" ? Infinity : Number(value) });
  }
  return families;
}

/** What was seen over the last minutes. */
export class History {
  #samples = [];

  add(text, time = Date.now()) {
    this.#samples.push({ time, families: parse(text) });
    if (this.#samples.length > KEPT) this.#samples.shift();
  }

  get isEmpty() {
    return this.#samples.length === 0;
  }

  /** The newest sum over all series whose labels match. */
  value(name, labels = {}) {
    const newest = this.#samples.at(-1);
    return newest ? total(newest, name, labels) : NaN;
  }

  /** The values of one label, each with its newest sum. */
  by(label, name, labels = {}) {
    const sums = new Map();
    for (const series of this.#samples.at(-1)?.families.get(name) ?? []) {
      if (!matches(series, labels)) continue;
      const key = series.labels[label] ?? "";
      sums.set(key, (sums.get(key) ?? 0) + series.value);
    }
    return sums;
  }

  /** Over time: [[time, value]] of a gauge. */
  gauge(name, labels = {}) {
    return this.#samples.map((sample) => [sample.time, total(sample, name, labels)]);
  }

  /** Over time: what a counter grows by a second. A counter that fell began anew, with its server. */
  rate(name, labels = {}) {
    return this.#pairs((before, after) => {
      const grown = total(after, name, labels) - total(before, name, labels);
      return grown < 0 ? NaN : grown / ((after.time - before.time) / 1000);
    });
  }

  /** Over time: a quantile of what a histogram took in between two samples; nothing where it took in nothing. */
  quantile(q, name, labels = {}) {
    return this.#pairs((before, after) => quantileOf(q, buckets(after, name, labels), buckets(before, name, labels)));
  }

  #pairs(measure) {
    return this.#samples.slice(1).map((after, i) => [after.time, measure(this.#samples[i], after)]);
  }
}

function matches(series, labels) {
  return Object.entries(labels).every(([label, value]) => series.labels[label] === value);
}

function total(sample, name, labels) {
  const series = (sample.families.get(name) ?? []).filter((one) => matches(one, labels));
  return series.reduce((sum, one) => sum + one.value, 0);
}

/** Cumulative counts by upper bound, over all series that match. */
function buckets(sample, name, labels) {
  const counts = new Map();
  for (const series of sample.families.get(`${name}_bucket`) ?? []) {
    if (!matches(series, labels)) continue;
    const bound = series.labels.le === "+Inf" ? Infinity : Number(series.labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + series.value);
  }
  return counts;
}

/** As Prometheus' histogram_quantile: linear within the bucket, the last finite bound above all of them. */
function quantileOf(q, after, before) {
  const grown = [...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]).sort(([a], [b]) => a - b);
  const all = grown.at(-1)?.[1] ?? 0;
  if (!(all > 0)) return NaN;
  let [lower, below] = [0, 0];
  for (const [bound, count] of grown) {
    if (count >= q * all) {
      if (bound === Infinity) return lower;
      return lower + (bound - lower) * ((q * all - below) / (count - below));
    }
    [lower, below] = [bound, count];
  }
  return NaN;
}
