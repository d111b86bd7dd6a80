// The first page: is everything well, how much is going on, how fast is the record and delivery.
import { Chart } from "./chart.js";
import { h, icon, tags } from "./dom.js";
import { bits, plural, short, span as spanText } from "./format.js";

const { a, div, h1, h2, p, section, span, strong, ul, li, dl, dt, dd } = tags;

const seconds = (value) => spanText(value);
const count = (value) => short(value);

export function Overview({ history, webhooks, ready }) {
  if (history.isEmpty) return section({ class: "page" }, h1("Overview"), p({ class: "faint" }, "The first figures are on their way."));
  const worries = worriesOf(history, webhooks, ready);
  return section({ class: "page" },
    h1("Overview"),
    worries.length === 0
      ? div({ class: "well", role: "status" }, icon("check"), span("All is well."))
      : ul({ class: "worries", role: "status" }, worries.map((worry) => li({ key: worry.text, class: worry.level }, icon("warn"), span(worry.text), worry.link && a({ href: worry.link }, "Look")))),
    dl({ class: "tiles" },
      tile("Calls", history.value("callisto_calls"), "calls", `${count(history.value("callisto_calls", { state: "begun" }))} begun, ${count(history.value("callisto_calls", { state: "ringing" }))} ringing`),
      tile("Sessions", history.value("callisto_sessions"), "sessions", `${count(history.value("callisto_websocket_connections"))} connected`),
      tile("Media clients", history.value("callisto_media_peers"), "peers", `in ${plural(history.value("callisto_media_rooms"), "room")}`),
      tile("Events waiting", history.value("callisto_webhook_pending_events"), "pending", `oldest ${seconds(oldest(history))}`),
      tile("Record", null, "ledger", `${short(history.value("callisto_ledger_facts_total"))} facts since the start`, short(history.value("callisto_ledger_size_bytes"), "B"))),
    h2("Calls and media"),
    div({ class: "charts" },
      h(Chart, { title: "Calls", show: count, series: [{ name: "begun", points: history.gauge("callisto_calls", { state: "begun" }) }, { name: "ringing", points: history.gauge("callisto_calls", { state: "ringing" }) }] }),
      h(Chart, { title: "Media traffic", show: bits, series: [{ name: "out", points: times8(history.rate("callisto_media_sent_bytes_total")) }, { name: "in", points: times8(history.rate("callisto_media_received_bytes_total")) }] }),
      h(Chart, { title: "Packets forwarded", show: (value) => short(value, "/s"), series: [{ name: "forwarded", points: history.rate("callisto_media_rtp_forwarded_packets_total") }, { name: "sent again", points: history.rate("callisto_media_retransmitted_packets_total") }] }),
      h(Chart, { title: "Turn of a media shard", hint: "How long a shard's loop takes for one batch of packets: what everyone's media waits for.", show: seconds, series: quantiles(history, "callisto_media_turn_duration_seconds") })),
    h2("Record and webhooks"),
    div({ class: "charts" },
      h(Chart, { title: "Storing a fact", hint: "One transaction of the record, to the end of its fsync: what every answer to a client waits for.", show: seconds, series: quantiles(history, "callisto_ledger_commit_duration_seconds") }),
      h(Chart, { title: "From the fact to the backend's 2xx", show: seconds, series: quantiles(history, "callisto_webhook_delivery_latency_seconds") }),
      h(Chart, { title: "Webhook requests", show: (value) => short(value, "/s"), series: [{ name: "delivered", points: history.rate("callisto_webhook_deliveries_total", { result: "delivered" }) }, { name: "failed", points: history.rate("callisto_webhook_deliveries_total", { result: "failed" }) }] }),
      h(Chart, { title: "Process", show: (value) => short(value, " cores"), series: [{ name: "CPU", points: history.rate("process_cpu_seconds_total") }] })));
}

function tile(name, value, id, more, text = count(value)) {
  return div({ class: "tile", key: id, "data-testid": `tile-${id}` }, dt(name), dd(strong(text), span({ class: "faint" }, more)));
}

const times8 = (points) => points.map(([time, value]) => [time, value * 8]);

const quantiles = (history, name) => [
  { name: "p99", points: history.quantile(0.99, name) },
  { name: "median", points: history.quantile(0.5, name) },
];

function oldest(history) {
  return Math.max(0, ...history.by("endpoint", "callisto_webhook_oldest_pending_age_seconds").values());
}

/** What an operator should look at, the worst first. */
function worriesOf(history, webhooks, ready) {
  const worries = [];
  const worry = (level, text, link) => worries.push({ level, text, link });
  if (history.value("callisto_ledger_healthy") === 0) worry("bad", "The record cannot be written: no new calls are taken until it can. Look at the disk.");
  else if (ready === false) worry("warn", "New calls are refused: the server is about to stop.");
  for (const hook of webhooks ?? []) {
    const link = `#/webhooks/${encodeURIComponent(hook.id)}`;
    if (hook.state === "circuitOpen") worry("bad", `${hook.id} fails: only single probes are sent.`, link);
    if (hook.disabled?.by === "gone") worry("bad", `${hook.id} answered 410 Gone and is disabled.`, link);
    if (hook.counts?.dead > 0) worry("warn", `${hook.id}: ${plural(hook.counts.dead, "event")} given up since the start.`, link);
  }
  const age = oldest(history);
  if (age > 60) worry("warn", `An event has been waiting for ${spanText(age)}.`, "#/webhooks");
  const sendErrors = history.rate("callisto_media_send_errors_total").at(-1)?.[1] ?? 0;
  if (sendErrors > 1) worry("warn", `Media cannot be sent: ${short(sendErrors, "/s")} failing system calls.`);
  return worries;
}
