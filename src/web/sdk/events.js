// The events of a call, and who listens to them.

/** The seventeen events; each constant's value is its name. */
export const TUICallEvent = Object.freeze({
  onError: "onError",
  onCallReceived: "onCallReceived",
  onCallCancelled: "onCallCancelled",
  onCallBegin: "onCallBegin",
  onCallEnd: "onCallEnd",
  onUserReject: "onUserReject",
  onUserNoResponse: "onUserNoResponse",
  onUserLineBusy: "onUserLineBusy",
  onUserJoin: "onUserJoin",
  onUserLeave: "onUserLeave",
  onCallMediaTypeChanged: "onCallMediaTypeChanged",
  onKickedOffline: "onKickedOffline",
  onUserSigExpired: "onUserSigExpired",
  onUserVideoAvailable: "onUserVideoAvailable",
  onUserAudioAvailable: "onUserAudioAvailable",
  onUserVoiceVolumeChanged: "onUserVoiceVolumeChanged",
  onUserNetworkQualityChanged: "onUserNetworkQualityChanged",
});

/** Functions of the app, called in the order in which they were added. */
export class Listeners {
  /** By event name. @type {Map<string, Set<Function>>} */
  #byName = new Map();
  /** Those of every one of the seventeen. */
  #all = new Set();

  add(event, listener) {
    if (typeof event === "function") this.#all.add(event);
    else this.#byName.set(event, (this.#byName.get(event) ?? new Set()).add(listener));
  }

  /** Without a listener: all of this event. */
  remove(event, listener) {
    if (typeof event === "function") this.#all.delete(event);
    else if (listener) this.#byName.get(event)?.delete(listener);
    else this.#byName.delete(event);
  }

  clear() {
    this.#byName.clear();
    this.#all.clear();
  }

  emit(name, payload) {
    const argument = name === TUICallEvent.onUserNetworkQualityChanged ? new QualityTable(payload) : payload;
    for (const listener of [...(this.#byName.get(name) ?? [])]) safely(() => listener(argument));
    if (name in TUICallEvent) for (const listener of [...this.#all]) safely(() => listener(name, argument));
  }
}

/** Iterates as `[userId, quality]`, as Tencent's snippet does, and has the contract's `networkQuality`. */
class QualityTable extends Map {
  constructor({ networkQuality, ...rest }) {
    super(Object.entries(networkQuality ?? {}));
    Object.assign(this, { ...rest, networkQuality });
  }
}

/** One listener's failure is not the next one's. */
function safely(work) {
  try {
    work();
  } catch (error) {
    console.error("A call event's listener failed.", error);
  }
}
