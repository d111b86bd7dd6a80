// The live list of what the server tells this tab.

const LARGEST = 500;
const TELEMETRY = new Set(["onUserVoiceVolumeChanged", "onUserNetworkQualityChanged"]);
const MEDIA = ["voice", "video"];
const ROLES = ["", "caller", "called"];

/** What an event says, in a few words. */
const GIST = {
  onError: ({ code, message }) => `${code} ${message}`,
  onCallReceived: ({ callerId, callMediaType }) => `${MEDIA[callMediaType]} from ${callerId}`,
  onCallCancelled: ({ callerId }) => callerId,
  onCallBegin: ({ callMediaType, callRole }) => `${MEDIA[callMediaType]}, ${ROLES[callRole]}`,
  onCallEnd: ({ totalTime }) => `after ${totalTime} s`,
  onCallMediaTypeChanged: ({ oldCallMediaType, newCallMediaType }) => `${MEDIA[oldCallMediaType]} to ${MEDIA[newCallMediaType]}`,
  onUserVideoAvailable: ({ userId, isVideoAvailable }) => `${userId}: ${isVideoAvailable ? "on" : "off"}`,
  onUserAudioAvailable: ({ userId, isAudioAvailable }) => `${userId}: ${isAudioAvailable ? "on" : "off"}`,
  onUserVoiceVolumeChanged: ({ volumeMap }) => pairs(volumeMap),
  onUserNetworkQualityChanged: ({ networkQuality }) => pairs(networkQuality),
};

function pairs(map) {
  return Object.entries(map ?? {})
    .map(([userId, value]) => `${userId} ${value}`)
    .join(", ");
}

/** Rows in the order of happening; each has data-event, a time, a gist and, unfolded, the payload as JSON. */
export class EventList {
  #list;
  #count;
  #empty;
  #total = 0;
  /** The rows of telemetry since the last other event, by name: those are brought up to date instead of repeated. */
  #running = new Map();

  constructor({ list, count, empty }) {
    this.#list = list;
    this.#count = count;
    this.#empty = empty;
  }

  /** The person's choice whether the frequent two are listed. */
  showTelemetry(shown) {
    this.#list.dataset.telemetry = shown ? "shown" : "hidden";
  }

  add(name, payload) {
    const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 40;
    const telemetry = TELEMETRY.has(name);
    const running = telemetry && this.#running.get(name);
    const row = running || this.#row(name, telemetry);
    this.#fill(row, name, payload);
    if (telemetry) this.#running.set(name, row);
    else this.#running.clear();
    if (!running) this.#append(row, telemetry);
    if (atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  clear() {
    this.#list.replaceChildren();
    this.#running.clear();
    this.#total = 0;
    this.#count.textContent = "0";
    this.#empty.hidden = false;
  }

  #append(row, telemetry) {
    this.#list.append(row);
    if (this.#list.childElementCount > LARGEST) this.#list.firstElementChild.remove();
    if (!telemetry) this.#total += 1;
    this.#count.textContent = String(this.#total);
    this.#empty.hidden = this.#total > 0;
  }

  #row(name, telemetry) {
    const row = document.createElement("li");
    row.dataset.event = name;
    row.dataset.kind = telemetry ? "telemetry" : kindOf(name);
    const details = row.appendChild(document.createElement("details"));
    const summary = details.appendChild(document.createElement("summary"));
    for (const part of ["time", "code", "span"]) summary.append(document.createElement(part));
    summary.children[1].textContent = name;
    details.append(document.createElement("pre"));
    return row;
  }

  #fill(row, name, payload) {
    const [time, , gist] = row.querySelector("summary").children;
    const now = new Date();
    time.dateTime = now.toISOString();
    time.textContent = `${now.toTimeString().slice(0, 8)}.${String(now.getMilliseconds()).padStart(3, "0")}`;
    gist.textContent = (GIST[name] ?? (({ userId }) => userId ?? ""))(payload);
    row.querySelector("pre").textContent = JSON.stringify(payload, null, 2);
  }
}

function kindOf(name) {
  if (name === "onError") return "error";
  if (name === "onCallBegin" || name === "onUserJoin") return "begin";
  if (name === "onCallEnd" || name === "onCallCancelled" || name === "onUserLeave" || name === "onKickedOffline") return "end";
  return "other";
}
