// The server's REST API, with the pass that the browser holds. Only this file knows how the pass is kept and sent.

const KEEP = "callisto-console-pass";
/** Longer than any answer takes; a test of a webhook waits for its receiver. */
const ANSWER_WITHIN_MS = 30_000;

/** A refusal: `code` is stable, the message is for people. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Api {
  #pass = localStorage.getItem(KEEP);
  /** Called when the server does not take the pass (any more). */
  onSignedOut = () => {};

  get signedIn() {
    return this.#pass !== null;
  }

  /** @param {{ link: string } | { apiKey: string }} proof */
  async signIn(proof) {
    const { pass } = await this.#ask("POST", "/console/login", proof);
    this.#pass = pass;
    localStorage.setItem(KEEP, pass);
  }

  signOut() {
    this.#pass = null;
    localStorage.removeItem(KEEP);
    this.onSignedOut();
  }

  get(path) {
    return this.#ask("GET", path);
  }

  post(path, body = {}) {
    return this.#ask("POST", path, body);
  }

  patch(path, body) {
    return this.#ask("PATCH", path, body);
  }

  delete(path) {
    return this.#ask("DELETE", path);
  }

  /** Text that needs no pass, such as the metrics. */
  async text(path) {
    const response = await this.#fetch(path, { headers: {} });
    if (!response.ok) throw new Refused(response.status, "", `${path}: ${response.status}`);
    return response.text();
  }

  /** Whether new calls are taken. */
  async ready() {
    return (await this.#fetch("/readyz", {})).ok;
  }

  async #ask(method, path, body) {
    const headers = {};
    if (this.#pass) headers.Authorization = `Bearer ${this.#pass}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await this.#fetch(path, { method, headers, body: body && JSON.stringify(body) });
    if (response.ok) return response.status === 204 ? null : response.json();
    const problem = await response.json().catch(() => ({}));
    if (response.status === 401 && path !== "/console/login") this.signOut();
    throw new Refused(response.status, problem.code ?? "", problem.detail ?? problem.title ?? `The server answered ${response.status}.`);
  }

  async #fetch(path, options) {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
    try {
      return await fetch(path, { ...options, signal, cache: "no-store", credentials: "omit", redirect: "error" });
    } catch (error) {
      throw new Refused(0, "unreachable", `The server does not answer (${error.message}).`);
    }
  }
}

/** A path with each of its variable parts escaped: path`/v1/calls/${id}` */
export function path(strings, ...parts) {
  return strings.reduce((whole, text, i) => whole + encodeURIComponent(parts[i - 1]) + text);
}
