// The live calls, and one of them with its members: who speaks, how their network is and why, and what an operator can do.
import { path } from "./api.js";
import { icon, tags } from "./dom.js";
import { ago, bits, clock, moment, percent, plural, roomName } from "./format.js";

const { a, aside, button, code, div, h1, h2, h3, li, ol, p, section, span, strong, table, tbody, td, th, thead, time, tr, ul } = tags;

const STATES = {
  calling: "is calling", ringing: "is being rung", in: "in the call", left: "has left", rejected: "declined",
  noResponse: "did not answer", lineBusy: "was busy", offline: "was offline", cancelled: "not rung any more",
};
const SOURCES = { microphone: ["mic", "Microphone"], camera: ["camera", "Camera"], screen: ["screen", "Screen"] };
const CAUSES = { loss: "lost packets", delay: "long way", jitter: "uneven arrival", bandwidth: "too little bandwidth", silence: "nothing heard" };
/** The nearest words of an E-model level, for those who do not know the names. */
const LEVELS = { Unknown: "not known yet", Vbad: "Very bad" };
const NAMES = { oneToOne: "Call of two", group: "Group call", room: "Room" };

/** `calls`: the list of the server; `detail`: the chosen call, or why there is none. */
export function Calls({ calls, selected, detail, act }) {
  return section({ class: "page split" },
    div({ class: "column" },
      h1("Calls ", span({ class: "chip", "data-testid": "call-count" }, calls ? String(calls.items.length) + (calls.next ? "+" : "") : "…")),
      !calls ? p({ class: "faint" }, "Reading…")
        : calls.items.length === 0 ? p({ class: "faint" }, "Nobody is in a call.")
        : ul({ class: "list" }, calls.items.map((call) => row(call, call.callId === selected))),
      calls?.next && p({ class: "faint" }, "The oldest ones are shown. Use GET /v1/calls for all.")),
    selected ? Detail({ id: selected, detail, act }) : aside({ class: "column empty" }, p({ class: "faint" }, "Choose a call.")));
}

function row(call, chosen) {
  const who = call.memberIdList.length > 0 ? call.memberIdList.join(", ") : `${call.callerId} → ${call.ringingIdList.join(", ")}`;
  return li({ key: call.callId },
    a({ href: path`#/calls/${call.callId}`, class: "row", "aria-current": chosen ? "true" : undefined, "data-testid": "call-row" },
      icon(call.callMediaType === 1 ? "camera" : "phone"),
      span({ class: "grow" }, span({ class: "who" }, who), span({ class: "faint" }, `${NAMES[call.kind] ?? call.kind}, room ${roomName(call.roomId)}`)),
      call.state === "begun" ? time({ class: "num" }, clock(call.begunAt)) : span({ class: "chip warn" }, "ringing")));
}

function Detail({ id, detail, act }) {
  if (!detail) return aside({ class: "column" }, p({ class: "faint" }, "Reading…"));
  const { call, events, gone } = detail;
  return aside({ class: "column detail", "data-testid": "call-detail" },
    div({ class: "head" },
      div({ class: "grow" },
        h2(call ? `${NAMES[call.kind] ?? call.kind}, room ${roomName(call.roomId)}` : "This call is over"),
        p({ class: "faint" }, call && (call.begunAt ? `${clock(call.begunAt)} since the first accept` : `rung for ${ago(call.placedAt)}`), call && call.groupId && `, group ${call.groupId}`)),
      call && button({ class: "stop", "data-testid": "dismiss", onClick: () => act.dismiss(id) }, "End the call")),
    p({ class: "ids" }, code(id)),
    call?.userData && p({ class: "faint wrap" }, "User data: ", code(call.userData)),
    gone && !call && !events?.length && p({ class: "faint" }, "The record knows nothing of it."),
    call && div({ class: "members" }, call.members.map((member) => Member({ id, member, act }))),
    events?.length > 0 && Events({ events }));
}

function Member({ id, member, act }) {
  const { media } = member;
  const lost = member.heldUntil !== null && member.heldUntil !== undefined;
  return section({ class: `member ${member.state}`, key: member.userId, "data-testid": "member", "data-user": member.userId },
    div({ class: "head" },
      span({ class: "avatar", style: { "--hue": String(hue(member.userId)) }, "aria-hidden": "true" }, member.userId.slice(0, 1).toUpperCase()),
      div({ class: "grow" },
        h3(member.userId, member.callRole === 1 && span({ class: "faint" }, " caller")),
        p({ class: "faint" }, lost ? `connection lost; the place is held for ${ago(new Date().toISOString(), Date.parse(member.heldUntil))}`
          : member.state === "in" ? `in for ${clock(member.joinedAt)}` : STATES[member.state] ?? member.state)),
      media && Volume({ value: media.voiceVolume }),
      media && Level({ level: media.networkQuality, id: "quality" }),
      (member.state === "in" || member.state === "ringing" || member.state === "calling") &&
        button({ class: "quiet", "data-testid": "kick", onClick: () => act.kick(id, member.userId) }, "Put out…")),
    media && ul({ class: "sources" }, media.sources.map((source) => Source({ id, member, source, act }))),
    media?.network && Network({ network: media.network }));
}

function Volume({ value }) {
  return span({ class: "volume", role: "meter", "aria-valuenow": value, "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "Voice volume", "data-testid": "volume", title: `Voice volume ${value} of 100` },
    [8, 24, 40, 56, 72].map((step) => span({ key: step, class: value >= step ? "on" : "" })));
}

function Level({ level, id }) {
  return span({ class: `level ${level}`, "data-testid": id }, LEVELS[level] ?? level);
}

function Source({ id, member, source, act }) {
  const [sign, name] = SOURCES[source.source] ?? ["mic", source.source];
  const state = source.mutedByServer ? "muted by the server" : source.muted ? "muted" : source.flowing ? "on" : "off";
  return li({ key: source.source, class: state === "on" ? "on" : "", "data-testid": `source-${source.source}` },
    icon(state === "on" ? sign : `${sign}-off`), span({ class: "grow" }, span(name), span({ class: "faint" }, state)),
    button({ class: "quiet", onClick: () => act.mute(id, member.userId, source.source, !source.mutedByServer) }, source.mutedByServer ? "Unmute" : "Mute"));
}

function Network({ network }) {
  return table({ class: "network" },
    thead(tr(th({ scope: "col" }, "Network"), th({ scope: "col" }, "Level"), th({ scope: "col" }, "Because of"), th({ scope: "col", class: "num" }, "Loss"), th({ scope: "col", class: "num" }, "Round trip"), th({ scope: "col", class: "num" }, "Jitter"), th({ scope: "col", class: "num" }, "Bit rate"))),
    tbody([["up", "from the user"], ["down", "to the user"]].map(([key, name]) => {
      const way = network[key];
      return tr({ key, "data-testid": `network-${key}` }, th({ scope: "row" }, name), td(Level({ level: way.level })), td(way.cause ? CAUSES[way.cause] ?? way.cause : "–"),
        td({ class: "num" }, percent(way.loss)), td({ class: "num" }, way.rttMs === null || way.rttMs === undefined ? "–" : `${way.rttMs.toFixed(0)} ms`),
        td({ class: "num" }, `${way.jitterMs.toFixed(0)} ms`), td({ class: "num" }, bits(way.bitrate)));
    })));
}

function Events({ events }) {
  return section({ class: "events" }, h3("Events ", span({ class: "faint" }, plural(events.length, "stored and told to the backend", "stored and told to the backend"))),
    ol({ tabindex: 0, "aria-label": "Events of the call, the newest first" }, [...events].reverse().map((event) =>
      li({ key: event.seq, "data-testid": "event" }, span({ class: "num faint" }, String(event.seq)), strong(event.type), span({ class: "grow" }, about(event.data)), time({ class: "faint num", datetime: event.time }, moment(event.time))))));
}

/** What an event speaks of, in a few words. */
function about(data = {}) {
  const parts = [data.userId, data.callerId && `from ${data.callerId}`, data.calleeIdList?.length && `to ${data.calleeIdList.join(", ")}`];
  if (data.isVideoAvailable !== undefined) parts.push(data.isVideoAvailable ? "on" : "off");
  if (data.isAudioAvailable !== undefined) parts.push(data.isAudioAvailable ? "on" : "off");
  if (data.reason) parts.push(data.reason);
  if (data.inferred) parts.push("inferred after a crash");
  return parts.filter(Boolean).join(" · ");
}

function hue(text) {
  let sum = 0;
  for (const char of text) sum = (sum * 31 + char.codePointAt(0)) % 360;
  return sum;
}
