// What the tests see of a page: its peer connections and the person's view of it, without the page's help.
const connections = [];
const paths = new Set();
const apply = RTCPeerConnection.prototype.setLocalDescription;
RTCPeerConnection.prototype.setLocalDescription = async function (...description) {
  if (!connections.includes(this)) connections.push(this);
  await apply.apply(this, description);
  paths.add(/a=ice-ufrag:(.*)/.exec(this.localDescription.sdp)[1]);
};

const telemetry = ["onUserVoiceVolumeChanged", "onUserNetworkQualityChanged"];
const frame = () => new Promise((resolve) => setTimeout(resolve, 50));

async function received(kind) {
  const reports = await Promise.all(
    connections.filter((connection) => connection.connectionState !== "closed").map((connection) => connection.getStats()),
  );
  return reports.flatMap((report) => [...report.values()]).filter((stats) => stats.type === "inbound-rtp" && stats.kind === kind);
}

async function total(kind, counter) {
  return (await received(kind)).reduce((sum, stats) => sum + (stats[counter] ?? 0), 0);
}

window.witness = {
  async until(condition, within) {
    const end = performance.now() + within;
    for (;;) {
      const value = await condition();
      if (value) return value;
      if (performance.now() > end) throw new Error(`not within ${within} ms`);
      await frame();
    }
  },

  /** A person could press it: it is there, is shown and is not disabled. */
  usable(selector) {
    const element = document.querySelector(selector);
    return Boolean(element) && !element.disabled && element.getClientRects().length > 0;
  },

  /** The counter of what is received has reached `least` and goes on from there, as far as a short look shows: who waits for it asks again. */
  async rises(kind, counter, least) {
    const before = await total(kind, counter);
    for (let looks = 0; before >= least && looks < 20; looks++) {
      await frame();
      if ((await total(kind, counter)) > before) return true;
    }
    return false;
  },

  async hears() {
    return (await received("audio")).some((stats) => stats.audioLevel > 0 && stats.totalAudioEnergy > 0);
  },

  /** The format that each agreed m-line of sound begins with: the one that is sent. */
  soundFormats() {
    const sections = connections.flatMap(({ remoteDescription }) => remoteDescription?.sdp.split(/^(?=m=)/m) ?? []);
    return sections.flatMap((section) => {
      const first = /^m=audio \S+ \S+ (\d+)/.exec(section)?.[1];
      return first ? [new RegExp(`^a=rtpmap:${first} (\\S+)`, "m").exec(section)[1]] : [];
    });
  },

  total,

  /** What the browser does when the person ends the sharing in its own bar (Screen Capture, 5.1): the source ends. */
  endScreen() {
    const tracks = connections.flatMap((connection) => connection.getSenders()).map(({ track }) => track);
    const screen = tracks.find((track) => track?.getSettings().displaySurface);
    screen.stop();
    screen.dispatchEvent(new Event("ended"));
  },

  /** How many connections there were, and how many paths were looked for: an ICE restart is one more. */
  media: () => ({ connections: connections.length, paths: paths.size }),

  /** What the person sees listed: names and payloads, the oldest first. */
  events() {
    return [...document.querySelectorAll("#events li[data-event]")]
      .map((line) => ({ name: line.dataset.event, payload: JSON.parse(line.querySelector("pre").textContent) }))
      .filter(({ name }) => !telemetry.includes(name));
  },

  /** For the message of a failing test. */
  async describe() {
    const pick = ({ kind, framesDecoded, audioLevel, packetsReceived, totalAudioEnergy }) => ({
      kind, framesDecoded, audioLevel, packetsReceived, totalAudioEnergy,
    });
    return {
      connections: connections.map(({ connectionState, iceConnectionState }) => `${connectionState} ${iceConnectionState}`),
      audio: (await received("audio")).map(pick),
      video: (await received("video")).map(pick),
      events: this.events(),
      tiles: [...document.querySelectorAll("#tiles .tile")].map((tile) => ({ ...tile.dataset })),
      said: await window.said?.(),
      crowd: window.crowd?.describe(),
      text: document.body.innerText.slice(0, 2000),
    };
  },
};
