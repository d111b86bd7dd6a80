// One session with the server, which survives lost connections.
import { CallError, FATAL_LOGIN, KICKED, errorFromReply, localError } from "./errors.js";

/** Detects a dead connection well before the server gives up a seat; each ping is some 60 bytes. */
const PING_INTERVAL_MS = 5_000;
const PING_TIMEOUT_MS = 5_000;
/** The network changed under the connection: mostly it is dead, and waiting for the usual time would be silence in a call. */
const SUSPECT_PING_TIMEOUT_MS = 2_000;
/** Longer than any answer takes, short enough that a person still waits. */
const REQUEST_TIMEOUT_MS = 15_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** First retry almost at once (a hand-over between networks), then slower so that a restarted server is not stormed. */
const BACKOFF_FIRST_MS = 100;
const BACKOFF_LARGEST_MS = 5_000;

/** The server's close code for a session that another log-in of the user replaced: coming back would kick that one. */
const KICKED_CLOSE = 4001;

/** Methods that may be sent again after a lost connection: a second time does what the first did. */
const REPEATABLE = new Set(["offer", "mute", "view", "hangup", "reject", "renewUserSig"]);

/**
 * One session with the server: JSON-RPC 2.0 over a WebSocket. When the connection is lost it logs in again with the newest resume
 * token; requests wait meanwhile.
 */
export class Signal {
  #env;
  #handlers;
  #url;
  #credentials;
  #socket = null;
  /** "closed" | "connecting" | "online" | "waiting" */
  #state = "closed";
  #resumeToken = null;
  #sessionId = null;
  #attempts = 0;
  #nextId = 1;
  /** The promise of `open`, until it is kept. */
  #opening = null;
  /** By id: { id, method, params, resolve, reject, timer, sent }; in the order of asking. */
  #requests = new Map();
  #timers = { retry: null, ping: null, pong: null, connect: null };
  /** Wi-Fi, mobile, …, where the browser tells it. */
  #networkType;
  #onOnline = () => this.#networkChanged();
  #onConnectionChange = () => {
    // Browsers also tell of a mere change of speed.
    if (this.#env.connection.type === this.#networkType) return;
    this.#networkType = this.#env.connection.type;
    this.#networkChanged();
  };

  /**
   * @param {object} handlers notify(method, params) · session(login result, { again, resumed }): resumed when everything missed
   *   follows · state("online" | "reconnecting") · lost(method) for a request whose fate is unknown · networkChanged() while the
   *   connection stands · fatal(error) when it gives up for good
   */
  constructor(env, url, credentials, handlers) {
    this.#env = env;
    this.#url = url;
    this.#credentials = credentials;
    this.#handlers = handlers;
  }

  get online() {
    return this.#state === "online";
  }

  get sessionId() {
    return this.#sessionId;
  }

  /** Connects and logs in; rejects when the first attempt fails. */
  open() {
    this.#env.window?.addEventListener?.("online", this.#onOnline);
    this.#networkType = this.#env.connection?.type;
    this.#env.connection?.addEventListener?.("change", this.#onConnectionChange);
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      this.#connect();
    });
  }

  /** Sends a request, at once or when the connection is back. */
  request(method, params = {}) {
    if (this.#state === "closed") {
      return Promise.reject(localError("notLoggedIn", "Not logged in: call init first."));
    }
    return new Promise((resolve, reject) => {
      const request = { id: this.#nextId++, method, params, resolve, reject, timer: null, sent: false };
      request.timer = this.#env.setTimeout(
        () => this.#settle(request.id, localError("requestTimeout", `The server did not answer ${method} in time.`)),
        REQUEST_TIMEOUT_MS,
      );
      this.#requests.set(request.id, request);
      if (this.online) this.#transmit(request);
    });
  }

  /** The ticket for later log-ins; the connection stays as it is. */
  setUserSig(userSig) {
    this.#credentials = { ...this.#credentials, userSig };
  }

  /** Ends the session from this side. */
  close(error = localError("notLoggedIn", "The session was closed.")) {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#env.window?.removeEventListener?.("online", this.#onOnline);
    this.#env.connection?.removeEventListener?.("change", this.#onConnectionChange);
    this.#dropSocket();
    this.#opening?.reject(error);
    this.#opening = null;
    for (const id of [...this.#requests.keys()]) this.#settle(id, error);
  }

  #connect() {
    this.#state = "connecting";
    const socket = new this.#env.WebSocket(this.#url);
    this.#socket = socket;
    const lost = (message) => {
      if (this.#socket !== socket) return;
      this.#dropSocket();
      if (this.#opening) this.#giveUp(localError("connectionLost", message));
      else this.#waitToRetry();
    };
    this.#timers.connect = this.#env.setTimeout(() => lost("The server did not answer."), CONNECT_TIMEOUT_MS);
    socket.onopen = () => {
      const token = this.#resumeToken;
      const params = token ? { ...this.#credentials, resumeToken: token } : this.#credentials;
      socket.send(frame({ id: 0, method: "login", params }));
    };
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      const message = parse(data);
      if (message?.id === 0) this.#loggedIn(message);
      else if (message) this.#receive(message);
    };
    socket.onclose = ({ code }) => {
      if (code === KICKED_CLOSE) this.#giveUp(new CallError(KICKED, "kickedByAnotherLogin", "The same user logged in elsewhere."));
      else lost("The connection to the server was closed.");
    };
    // An error is always followed by a close; without a listener some environments throw.
    socket.onerror = () => {};
  }

  #loggedIn({ result, error }) {
    this.#clear("connect");
    if (error) return this.#refused(errorFromReply(error));
    const again = this.#sessionId !== null;
    // The same session without its messages: the server was started anew meanwhile.
    const resumed = again && result.sessionId === this.#sessionId && result.resumed !== false;
    this.#sessionId = result.sessionId;
    this.#resumeToken = result.resumeToken ?? this.#resumeToken;
    this.#attempts = 0;
    this.#state = "online";
    this.#schedulePing();
    this.#handlers.session(result, { again, resumed });
    this.#handlers.state("online");
    this.#opening?.resolve(result);
    this.#opening = null;
    for (const request of [...this.#requests.values()]) this.#transmit(request);
  }

  #refused(error) {
    this.#dropSocket();
    if (this.#opening || FATAL_LOGIN.has(error.code)) this.#giveUp(error);
    else this.#waitToRetry();
  }

  #giveUp(error) {
    const opening = this.#opening !== null;
    this.close(error);
    if (!opening) this.#handlers.fatal(error);
  }

  #receive(message) {
    if (message.method) {
      if (message.method === "resumeToken") this.#resumeToken = message.params?.resumeToken ?? this.#resumeToken;
      else this.#handlers.notify(message.method, message.params ?? {});
      return;
    }
    this.#settle(message.id, message.error ? errorFromReply(message.error) : null, message.result ?? {});
  }

  #settle(id, error, result) {
    const request = this.#requests.get(id);
    if (!request) return;
    this.#requests.delete(id);
    this.#env.clearTimeout(request.timer);
    if (error) request.reject(error);
    else request.resolve(result);
  }

  #transmit(request) {
    if (request.sent) return;
    request.sent = true;
    const { id, method, params } = request;
    this.#socket.send(frame({ id, method, params }));
  }

  #waitToRetry() {
    if (this.#state === "closed") return;
    const wasOnline = this.online;
    this.#state = "waiting";
    for (const request of [...this.#requests.values()]) this.#forget(request);
    if (wasOnline) this.#handlers.state("reconnecting");
    const delay = backoff(this.#attempts++, this.#env.random());
    this.#timers.retry = this.#env.setTimeout(() => this.#connect(), delay);
  }

  /** The connection that carried this request is gone. */
  #forget(request) {
    if (!request.sent) return;
    if (REPEATABLE.has(request.method)) {
      request.sent = false;
      return;
    }
    this.#handlers.lost(request.method);
    this.#settle(request.id, localError("connectionLost", `The connection was lost before ${request.method} was answered.`));
  }

  #networkChanged() {
    if (this.#state === "waiting") {
      this.#clear("retry");
      this.#connect();
    } else if (this.online) {
      this.#ping(SUSPECT_PING_TIMEOUT_MS);
      this.#handlers.networkChanged();
    }
  }

  #schedulePing() {
    this.#clear("ping");
    this.#timers.ping = this.#env.setTimeout(() => this.#ping(), PING_INTERVAL_MS);
  }

  #ping(timeout = PING_TIMEOUT_MS) {
    const socket = this.#socket;
    this.#clear("pong");
    this.#timers.pong = this.#env.setTimeout(() => {
      if (this.#socket !== socket || !this.online) return;
      this.#dropSocket();
      this.#waitToRetry();
    }, timeout);
    const answered = () => {
      if (this.#socket !== socket) return;
      this.#clear("pong");
      this.#schedulePing();
    };
    // An error is an answer too: the connection lives.
    this.request("ping").then(answered, answered);
  }

  #dropSocket() {
    for (const name of Object.keys(this.#timers)) this.#clear(name);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  #clear(name) {
    this.#env.clearTimeout(this.#timers[name]);
    this.#timers[name] = null;
  }
}

function frame(message) {
  return JSON.stringify({ jsonrpc: "2.0", ...message });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Milliseconds before attempt number `attempt`, spread by `random` in [0, 1) so that clients do not come back all at once. */
function backoff(attempt, random) {
  return Math.min(BACKOFF_LARGEST_MS, BACKOFF_FIRST_MS * 2 ** attempt) * (0.5 + random / 2);
}
