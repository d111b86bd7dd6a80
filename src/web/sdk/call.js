// One call as this side knows it.

export const VOICE = 0;
export const VIDEO = 1;
export const CALLER = 1;
export const CALLED = 2;

/** One call as this side knows it: its facts, how far it has come, who is in it and what they send. */
export class Call {
  /** @type {string | null} */
  callId = null;
  /** @type {RoomId | null} */
  roomId = null;
  /** @type {CallMediaType} */
  callMediaType = VOICE;
  /** @type {CallRole} */
  callRole = CALLED;
  /** @type {string | null} */
  callerId = null;
  group = false;
  /** @type {"placing" | CurrentCall["phase"]} "placing": the server has not named it yet · "calling": others ring · "ringing": this user is called · "begun" */
  phase = "placing";
  beganAt = null;
  /** A promise, kept when the server has answered the placing. */
  placed = null;
  answering = false;
  /** The connection was lost before the server answered the accepting: it may have taken it. */
  answerLost = false;
  /** Its devices were opened, or refused: nobody is asked twice. */
  devices = false;
  /** The person wants out; the promise of the server's knowing it. */
  left = false;
  leaving = null;
  /** @type {Media | null} */
  media = null;
  /** The others in the call. @type {Set<string>} */
  others = new Set();
  /** By user: what others can hear and see. @type {Map<string, { audio: boolean, video: boolean }>} */
  #sent = new Map();

  constructor(facts) {
    Object.assign(this, facts);
  }

  /** @returns {CurrentCall} */
  brief() {
    const { callId, roomId, callMediaType, callRole, phase } = this;
    return { callId, roomId, callMediaType, callRole, phase: phase === "placing" ? "calling" : phase };
  }

  /**
   * Follows one event.
   * @returns {boolean} false when it says nothing new: after a lost connection the server may say a thing twice.
   */
  follow(name, payload) {
    const { userId } = payload;
    switch (name) {
      case "onCallBegin":
        return this.#begin(payload);
      case "onUserJoin":
        return !this.others.has(userId) && Boolean(this.others.add(userId));
      case "onUserLeave":
        this.#sent.delete(userId);
        return this.others.delete(userId);
      case "onUserVideoAvailable":
        return this.#send(userId, "video", payload.isVideoAvailable);
      case "onUserAudioAvailable":
        return this.#send(userId, "audio", payload.isAudioAvailable);
      case "onCallMediaTypeChanged":
        if (payload.newCallMediaType === this.callMediaType) return false;
        this.callMediaType = payload.newCallMediaType;
        return true;
      default:
        return true;
    }
  }

  /**
   * What must have happened meanwhile, for the server to list the call as it does.
   * @param {object} listed As the log-in's `calls` has it.
   * @param {string} me
   * @returns {[string, object][]} Events, in order.
   */
  missed(listed, me) {
    const { callId, roomId, callMediaType, callRole, members = [] } = listed;
    const others = members.filter(({ userId }) => userId !== me);
    const news = [];
    const add = (name, payload) => news.push([name, { callId, ...payload }]);
    const amIn = others.length < members.length;
    if (amIn && this.phase !== "begun") add("onCallBegin", { roomId, callMediaType, callRole });
    else if (this.phase === "begun" && callMediaType !== this.callMediaType) {
      add("onCallMediaTypeChanged", { oldCallMediaType: this.callMediaType, newCallMediaType: callMediaType });
    }
    for (const userId of [...this.others].filter((known) => !others.some((other) => other.userId === known))) {
      const { video, audio } = this.#sentBy(userId);
      if (video) add("onUserVideoAvailable", { userId, isVideoAvailable: false });
      if (audio) add("onUserAudioAvailable", { userId, isAudioAvailable: false });
      add("onUserLeave", { userId });
    }
    for (const { userId, isVideoAvailable, isAudioAvailable } of others) {
      const { video, audio } = this.#sentBy(userId);
      if (!this.others.has(userId)) add("onUserJoin", { userId });
      if (video !== Boolean(isVideoAvailable)) add("onUserVideoAvailable", { userId, isVideoAvailable: !video });
      if (audio !== Boolean(isAudioAvailable)) add("onUserAudioAvailable", { userId, isAudioAvailable: !audio });
    }
    return news;
  }

  #begin({ roomId, callMediaType, callRole }) {
    const isNew = this.phase !== "begun";
    Object.assign(this, { roomId, callMediaType, callRole, phase: "begun" });
    return isNew;
  }

  #sentBy(userId) {
    return this.#sent.get(userId) ?? { audio: false, video: false };
  }

  #send(userId, kind, available) {
    const before = this.#sentBy(userId);
    this.#sent.set(userId, { ...before, [kind]: available });
    return before[kind] !== available;
  }
}
