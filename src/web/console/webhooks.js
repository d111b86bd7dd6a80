// The webhook endpoints: how each does, what it said last, what it has not taken, and one delivery in full.
import { path } from "./api.js";
import { icon, tags } from "./dom.js";
import { ago, moment, plural, short, span as spanText } from "./format.js";

const { a, aside, button, code, dd, div, dl, dt, h1, h2, h3, li, p, pre, section, span, table, tbody, td, th, thead, time, tr, ul } = tags;

const STATES = { active: ["Excellent", "working"], circuitOpen: ["Vbad", "failing"], disabled: ["Unknown", "disabled"] };

export function Webhooks({ webhooks, selected, detail, act }) {
  return section({ class: "page split" },
    div({ class: "column" },
      h1("Webhooks"),
      !webhooks ? p({ class: "faint" }, "Reading…")
        : webhooks.length === 0 ? p({ class: "faint" }, "No endpoint is configured. Name one in the configuration under [[webhooks.endpoints]], or make one with POST /v1/webhooks.")
        : ul({ class: "list" }, webhooks.map((hook) => row(hook, hook.id === selected)))),
    selected ? Detail({ hook: webhooks?.find((hook) => hook.id === selected), detail, act }) : aside({ class: "column empty" }, p({ class: "faint" }, "Choose an endpoint.")));
}

function State({ hook }) {
  const refusing = hook.state === "active" && hook.lastReply?.success === false;
  const [level, words] = refusing ? ["Poor", "last one failed"] : STATES[hook.state] ?? ["Unknown", hook.state];
  return span({ class: `level ${level}`, "data-testid": "state" }, words);
}

function row(hook, chosen) {
  return li({ key: hook.id },
    a({ href: path`#/webhooks/${hook.id}`, class: "row", "aria-current": chosen ? "true" : undefined, "data-testid": "webhook-row", "data-url": hook.url },
      span({ class: "grow" }, span({ class: "who" }, hook.id), span({ class: "faint" }, hook.url)),
      span({ class: "faint num" }, hook.pendingEvents > 0 ? `${short(hook.pendingEvents)} waiting` : ""),
      State({ hook })));
}

function Detail({ hook, detail, act }) {
  if (!hook) return aside({ class: "column" }, p({ class: "faint" }, "There is no such endpoint."));
  const { id } = hook;
  return aside({ class: "column detail", "data-testid": "webhook-detail" },
    div({ class: "head" },
      div({ class: "grow" }, h2(id), p({ class: "faint wrap" }, hook.url)),
      State({ hook })),
    div({ class: "actions" },
      button({ "data-testid": "test", onClick: () => act.test(id) }, icon("send"), "Send a test"),
      button({ "data-testid": "replay-some", onClick: () => act.replay(id) }, icon("replay"), "Send events again…"),
      button({ "data-testid": "enable", onClick: () => act.enable(id, !hook.enabled) }, hook.enabled ? "Disable" : "Enable")),
    why(hook),
    dl({ class: "facts" },
      fact("Waiting", plural(hook.pendingEvents, "event"), "pending"),
      fact("Oldest of them", hook.oldestPendingAt ? `${ago(hook.oldestPendingAt)} old` : "–", "lag"),
      fact("Under way", plural(hook.inFlight, "request")),
      fact("Delivered", short(hook.counts.delivered), "delivered"),
      fact("Failed attempts", short(hook.counts.failed), "failed"),
      fact("Given up", short(hook.counts.dead), "dead"),
      fact("Events", hook.events.join(", ")),
      fact("From", hook.origin === "configured" ? "the configuration" : `the API, ${moment(hook.madeAt)}`),
      fact("Secrets that sign", String(hook.signingSecrets))),
    hook.lastReply && section({ "data-testid": "last-reply" }, h3("Last answer"), Reply({ reply: hook.lastReply, at: hook.lastReply.at })),
    detail?.replays?.length > 0 && Replays({ id, replays: detail.replays, act }),
    Deliveries({ title: "Given up", none: "No event was given up.", kind: "dead", id, list: detail?.dead, act }),
    Deliveries({ title: "Waiting", none: "Nothing waits.", kind: "pending", id, list: detail?.pending, act }));
}

function why(hook) {
  if (hook.state === "circuitOpen") return p({ class: "notice bad" }, `It has been failing since ${moment(hook.circuitOpenSince)}: only single probes are sent, and everything waits in the record. When it answers again, what waits follows at once.`);
  if (hook.disabled?.by === "gone") return p({ class: "notice bad" }, `It answered 410 Gone at ${moment(hook.disabled.at)}: nothing is sent until it is enabled again.`);
  if (hook.disabled) return p({ class: "notice" }, `Disabled over the API at ${moment(hook.disabled.at)}. New calls are not told to it.`);
  if (!hook.enabled) return p({ class: "notice" }, "Disabled. New calls are not told to it.");
  return null;
}

function fact(name, value, id) {
  return div({ key: name }, dt(name), dd({ "data-testid": id && `fact-${id}` }, value));
}

function Reply({ reply, at }) {
  return div({ class: `reply ${reply.success ? "ok" : "no"}` },
    p(span({ class: "status" }, reply.status ?? "no answer"), said(reply) && span(` ${said(reply)}`), at && span({ class: "faint" }, ` · ${ago(at)} ago`)),
    reply.response && pre(reply.response));
}

function Replays({ id, replays, act }) {
  return section({ class: "replays" }, h3("Events sent again"),
    ul(replays.map((replay) => li({ key: replay.id, "data-testid": "replay" },
      span({ class: "chip" }, replay.state), span({ class: "grow" }, scope(replay)), span({ class: "num" }, `${plural(replay.delivered, "event")} delivered${replay.failed ? `, ${replay.failed} failed` : ""}`),
      (replay.state === "queued" || replay.state === "running") && button({ class: "quiet", onClick: () => act.cancelReplay(id, replay.id) }, "Stop")))));
}

function scope(replay) {
  const parts = [replay.callId && `call ${replay.callId}`, replay.from && `from ${moment(replay.from)}`, replay.to && `to ${moment(replay.to)}`, replay.afterSeq > 0 && `after number ${replay.afterSeq}`];
  return parts.filter(Boolean).join(", ") || "everything that is kept";
}

function Deliveries({ title, none, kind, id, list, act }) {
  return section({ class: "deliveries", "data-testid": `deliveries-${kind}` },
    h3(title, " ", list && span({ class: "chip" }, String(list.items.length) + (list.next ? "+" : ""))),
    !list ? p({ class: "faint" }, "Reading…") : list.items.length === 0 ? p({ class: "faint" }, none) : table(
      thead(tr(th({ scope: "col" }, "Event"), th({ scope: "col" }, "Call and number"), th({ scope: "col" }, "Happened"), th({ scope: "col" }, "Attempts"), th({ scope: "col" }, "Last answer"), th({ scope: "col" }, span({ class: "hidden" }, "Actions")))),
      tbody(list.items.map((item) => tr({ key: `${item.callId}.${item.seq}`, "data-testid": `delivery-${kind}` },
        td(button({ class: "link", "data-testid": "open-delivery", onClick: () => act.open(id, item.callId, item.seq) }, item.type ?? "not kept any more")),
        td(code({ title: item.callId }, `…${item.callId.slice(-8)}`), ` ${item.seq}${item.toSeq > item.seq ? `–${item.toSeq}` : ""}`),
        td(time({ datetime: item.time }, moment(item.time))),
        td(String(item.attempts), item.nextAttemptAt && span({ class: "faint" }, ` next ${until(item.nextAttemptAt)}`)),
        td({ class: "wrap" }, outcome(item)),
        td(kind === "dead" && button({ class: "quiet", "data-testid": "replay", onClick: () => act.replayOne(id, item) }, icon("replay"), "Again")))))));
}

function until(at) {
  const left = (Date.parse(at) - Date.now()) / 1000;
  return left <= 0 ? "now" : `in ${spanText(Math.round(left))}`;
}

function outcome({ lastReply, reason }) {
  if (!lastReply) return reason ?? "–";
  return [lastReply.status, said(lastReply)].filter(Boolean).join(" ") || "–";
}

/** What the words add to the status. */
function said({ status, error }) {
  return error === `status ${status}` ? null : error;
}

/** One delivery in full. */
export function Delivery({ id, item, close, replay }) {
  return div({ class: "delivery", "data-testid": "delivery" },
    div({ class: "head" }, div({ class: "grow" }, h2(item.type ?? "An event"), p({ class: "faint" }, `to ${id}`)), span({ class: `chip ${item.state}` }, item.state)),
    dl({ class: "facts" },
      fact("Event id", code(item.eventId ?? "–")),
      fact("Call", a({ href: path`#/calls/${item.callId}`, onClick: close }, item.callId)),
      fact("Number", String(item.seq)),
      fact("Happened", moment(item.time)),
      fact("Failed attempts", String(item.attempts)),
      fact("First attempt", moment(item.firstAttemptAt)),
      fact("Last attempt", moment(item.lastAttemptAt)),
      fact("Next attempt", item.nextAttemptAt ? until(item.nextAttemptAt) : "–")),
    item.lastReply && section(h3("Last answer"), Reply({ reply: item.lastReply })),
    h3("Body"),
    item.body ? pre({ tabindex: 0, "data-testid": "body" }, JSON.stringify(item.body, null, 2)) : p({ class: "faint" }, "The record does not keep it any longer."),
    div({ class: "actions end" },
      item.body && button({ onClick: replay }, icon("replay"), "Send this call's events again"),
      button({ class: "primary", onClick: close }, "Close")));
}
