// The console: what is looked at, what is known of it, and what an operator asks for.
import { Api, path } from "./api.js";
import { Calls } from "./calls.js";
import { Question, Sheet, Toasts } from "./dialogs.js";
import { Component, h, icon, render, tags } from "./dom.js";
import { History } from "./metrics.js";
import { Overview } from "./overview.js";
import { poll } from "./poll.js";
import { SignIn } from "./signin.js";
import { Delivery, Webhooks } from "./webhooks.js";

const { a, button, div, header, img, main, nav, span } = tags;

const METRICS_EVERY_MS = 2000;
const LIST_EVERY_MS = 1000;
/** Often enough for a voice to be seen. */
const CALL_EVERY_MS = 500;
const WEBHOOKS_EVERY_MS = 2000;
const SHOWN = 100;
const EVENTS_KEPT = 500;
const TOAST_MS = 6000;
const THEME = "callisto-console-theme";

const VIEWS = [["overview", "chart", "Overview"], ["calls", "phone", "Calls"], ["webhooks", "hook", "Webhooks"]];

class App extends Component {
  api = new Api();
  history = new History();
  polls = [];
  toasts = 0;
  state = { signedIn: this.api.signedIn, route: route(), connected: true, toasts: [], question: null, sheet: null };

  componentDidMount() {
    this.api.onSignedOut = () => this.#stop({ signedIn: false });
    addEventListener("hashchange", () => this.#go());
    addEventListener("keydown", (event) => this.#key(event));
    const link = linkOf(location.hash);
    if (!link) return this.#go();
    // The link is spent by what follows: it has no business in the history.
    history.replaceState(null, "", "#/overview");
    this.#signIn({ link }).catch((failure) => (this.api.signedIn ? this.#go() : this.setState({ failure: failure.message })));
  }

  async #signIn(proof) {
    await this.api.signIn(proof);
    this.setState({ signedIn: true, failure: null });
    this.#go();
  }

  /** Begins to ask for what the address shows. */
  #go() {
    if (!this.api.signedIn) return;
    const link = linkOf(location.hash);
    if (link) history.replaceState(null, "", "#/overview");
    const { view, id } = route();
    for (const one of this.polls) one.stop();
    this.setState({ route: { view, id }, call: null, hook: null });
    this.polls = [poll(METRICS_EVERY_MS, () => this.#ask(() => this.#readMetrics())), poll(WEBHOOKS_EVERY_MS, () => this.#ask(() => this.#readWebhooks(view === "webhooks" ? id : null)))];
    if (view === "calls") this.polls.push(poll(LIST_EVERY_MS, () => this.#ask(() => this.#readCalls())));
    if (view === "calls" && id) this.polls.push(poll(CALL_EVERY_MS, () => this.#ask(() => this.#readCall(id))));
    document.title = `${VIEWS.find(([name]) => name === view)[2]} · Callisto`;
  }

  #stop(state) {
    for (const one of this.polls) one.stop();
    this.polls = [];
    this.setState(state);
  }

  /** A question of a poll: whether the server answers is shown at the top. */
  async #ask(question) {
    try {
      await question();
      this.setState({ connected: true });
    } catch (failure) {
      if (failure.status === 0) this.setState({ connected: false });
      throw failure;
    }
  }

  async #readMetrics() {
    const [text, ready] = await Promise.all([this.api.text("/metrics"), this.api.ready()]);
    this.history.add(text);
    this.setState({ ready });
  }

  async #readCalls() {
    this.setState({ calls: await this.api.get(`/v1/calls?limit=${SHOWN}`) });
  }

  async #readCall(id) {
    const answer = await this.api.get(path`/v1/calls/${id}`).catch((failure) => {
      if (failure.status === 404) return null;
      throw failure;
    });
    const known = this.state.call?.events ?? [];
    const last = known.at(-1)?.seq ?? 0;
    const news = answer && answer.seq <= last ? [] : await this.#readEvents(id, last);
    // Of a call that has ended the record knows the events.
    const call = answer?.state === "ended" ? null : answer;
    if (this.state.route.id === id) this.setState({ call: { call, gone: call === null, events: [...known, ...news].slice(-EVENTS_KEPT) } });
  }

  async #readEvents(id, after) {
    const page = await this.api.get(path`/v1/calls/${id}/events?after=${after}&limit=${SHOWN}`).catch(() => ({ items: [] }));
    return page.items;
  }

  async #readWebhooks(id) {
    const { items } = await this.api.get("/v1/webhooks");
    this.setState({ webhooks: items });
    if (!id || !items.some((hook) => hook.id === id)) return;
    const list = (state) => this.api.get(`${path`/v1/webhooks/${id}/deliveries?state=${state}`}&limit=${SHOWN}`);
    const [dead, pending, replays] = await Promise.all([list("dead"), list("pending"), this.api.get(path`/v1/webhooks/${id}/replay`)]);
    if (this.state.route.id === id) this.setState({ hook: { dead, pending, replays: replays.items } });
  }

  #say(text, bad = false) {
    this.toasts += 1;
    const id = this.toasts;
    this.setState(({ toasts }) => ({ toasts: [...toasts, { id, text, bad }] }));
    setTimeout(() => this.setState(({ toasts }) => ({ toasts: toasts.filter((toast) => toast.id !== id) })), TOAST_MS);
  }

  /** Does what an operator asked for, and says what came of it. */
  async #do(done, deed) {
    try {
      const result = await deed();
      this.#say(typeof done === "function" ? done(result) : done);
    } catch (failure) {
      this.#say(failure.message, true);
    }
    for (const one of this.polls) one.now();
  }

  #question(question) {
    this.setState({ question });
  }

  calls = {
    dismiss: (id) => this.#question({
      title: "End the call for everyone?", text: "Its members hear that it ended, the backend that it was dismissed.", verb: "End the call", danger: true,
      act: async () => {
        await this.api.delete(path`/v1/calls/${id}`);
        this.#say("The call has ended.");
      },
    }),
    kick: (id, user) => this.#question({
      title: `Put ${user} out of the call?`, verb: "Put out", danger: true,
      fields: [{ name: "ban", label: "Keep out for seconds", type: "number", min: 0, value: "0", hint: "0: may come back at once." }],
      act: async ({ ban }) => {
        await this.api.delete(path`/v1/calls/${id}/users/${user}` + (Number(ban) > 0 ? `?ban=${Number(ban)}` : ""));
        this.#say(`${user} is out.`);
      },
    }),
    mute: (id, user, source, muted) => this.#do(`${user}'s ${source} is ${muted ? "muted" : "no longer muted by the server"}.`, () => this.api.post(path`/v1/calls/${id}/users/${user}/mute`, { source, muted })),
  };

  hooks = {
    test: (id) => this.#do((said) => (said.success ? `${id} took the test in ${said.tookMs} ms.` : `${id} did not take the test: ${said.error ?? said.status}.`), () => this.api.post(path`/v1/webhooks/${id}/test`)),
    enable: (id, enabled) => this.#do(enabled ? `${id} is enabled.` : `${id} is disabled.`, () => this.api.patch(path`/v1/webhooks/${id}`, { enabled })),
    open: async (id, call, seq) => {
      try {
        const item = await this.api.get(path`/v1/webhooks/${id}/deliveries/${call}/${seq}`);
        this.setState({ sheet: { id, item } });
      } catch (failure) {
        this.#say(failure.message, true);
      }
    },
    replayOne: (id, item) => this.#do("It is sent again, with what follows it in its call.", () => this.api.post(path`/v1/webhooks/${id}/replay`, { callId: item.callId, afterSeq: item.seq - 1 })),
    replayCall: (id, callId) => this.#do("The call's events are sent again.", () => this.api.post(path`/v1/webhooks/${id}/replay`, { callId })),
    cancelReplay: (id, replay) => this.#do("Nothing more of it is sent.", () => this.api.delete(path`/v1/webhooks/${id}/replay/${replay}`)),
    replay: (id) => this.#question({
      title: "Send events again", text: "With the same ids and bytes, in order for each call: a receiver knows what it has.", verb: "Send again",
      fields: [
        { name: "callId", label: "Of one call only (its id)" },
        { name: "from", label: "From", type: "datetime-local" },
        { name: "to", label: "To", type: "datetime-local" },
      ],
      act: async ({ callId, from, to }) => {
        const body = {};
        if (callId.trim()) body.callId = callId.trim();
        if (from) body.from = new Date(from).toISOString();
        if (to) body.to = new Date(to).toISOString();
        await this.api.post(path`/v1/webhooks/${id}/replay`, body);
        this.#say("They are sent again, beside what is new.");
      },
    }),
  };

  /** 1, 2, 3: the views. */
  #key(event) {
    const writes = event.target.closest?.("input, textarea, select, dialog");
    const view = VIEWS[Number(event.key) - 1];
    if (!view || writes || event.ctrlKey || event.metaKey || event.altKey || !this.state.signedIn) return;
    location.hash = `#/${view[0]}`;
  }

  render(_, state) {
    const { route, toasts, question, sheet } = state;
    if (!state.signedIn) return h(SignIn, { key: state.failure, failure: state.failure, signIn: (proof) => this.#signIn(proof) });
    const shut = () => this.setState({ question: null, sheet: null });
    return div({ class: "frame" },
      a({ class: "skip", href: "#main", onClick: (event) => { event.preventDefault(); document.querySelector("main").focus(); } }, "Skip to the content"),
      header({ class: "bar" },
        a({ class: "brand", href: "#/overview" }, img({ src: "/console/favicon.svg", alt: "", width: 26, height: 26 }), span("Callisto")),
        nav({ "aria-label": "Views" }, VIEWS.map(([view, sign, name], i) => a({ key: view, href: `#/${view}`, "aria-current": route.view === view ? "page" : undefined, title: `${name} (${i + 1})` }, icon(sign), span(name)))),
        span({ class: "grow" }),
        span({ id: "status", role: "status", "data-state": state.connected ? "live" : "lost" }, state.connected ? "Live" : "No answer"),
        button({ class: "quiet", title: "Light or dark", "aria-label": "Light or dark", onClick: turnTheme }, icon("theme")),
        button({ class: "quiet", onClick: () => this.api.signOut() }, "Sign out")),
      main({ id: "main", tabindex: -1 },
        route.view === "overview" && Overview({ history: this.history, webhooks: state.webhooks, ready: state.ready }),
        route.view === "calls" && Calls({ calls: state.calls, selected: route.id, detail: state.call, act: this.calls }),
        route.view === "webhooks" && Webhooks({ webhooks: state.webhooks, selected: route.id, detail: state.hook, act: this.hooks })),
      question && h(Question, { ask: question, close: shut }),
      sheet && h(Sheet, { close: shut }, Delivery({ ...sheet, close: shut, replay: () => { shut(); this.hooks.replayCall(sheet.id, sheet.item.callId); } })),
      Toasts({ toasts }));
  }
}

/** `#/calls/call_…` → { view: "calls", id: "call_…" } */
function route() {
  const [view, id] = location.hash.replace(/^#\//, "").split("/");
  const known = VIEWS.some(([name]) => name === view);
  return { view: known ? view : "overview", id: known && id ? decodeURIComponent(id) : null };
}

/** A one-time link comes behind `#`, which browsers keep to themselves: no log and no proxy sees it. */
function linkOf(hash) {
  return /^#link=([\w.-]+)$/.exec(hash)?.[1] ?? null;
}

function turnTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem(THEME, root.dataset.theme);
}

const theme = localStorage.getItem(THEME);
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
render(h(App), document.querySelector("#app"));
