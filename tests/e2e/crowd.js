// Several people in one tab, each with a small picture in a colour of their own and a voice that a test turns on and off.
const { CallKit } = await import("/sdk.js");
const SIZE = { width: 320, height: 180 };
const FRAMES_PER_SECOND = 12;

const sound = new AudioContext();
const people = {};

/** A camera that films a coloured wall on which something moves, and a microphone before a tuning fork. */
function devices(hue, pitch) {
  const canvas = Object.assign(document.createElement("canvas"), SIZE);
  const brush = canvas.getContext("2d");
  let frame = 0;
  setInterval(() => {
    brush.fillStyle = `hsl(${hue} 90% 45%)`;
    brush.fillRect(0, 0, SIZE.width, SIZE.height);
    brush.fillStyle = "white";
    brush.fillRect((frame++ * 8) % SIZE.width, 0, 12, 40);
  }, 1000 / FRAMES_PER_SECOND);
  const fork = new OscillatorNode(sound, { frequency: pitch });
  const loudness = new GainNode(sound, { gain: 0 });
  const air = new MediaStreamAudioDestinationNode(sound);
  fork.connect(loudness).connect(air);
  fork.start();
  const getUserMedia = async ({ audio, video }) => {
    const tracks = [];
    if (audio) tracks.push(air.stream.getAudioTracks()[0].clone());
    if (video) tracks.push(canvas.captureStream(FRAMES_PER_SECOND).getVideoTracks()[0]);
    return new MediaStream(tracks);
  };
  return { getUserMedia, loudness };
}

/** The hue of a video's picture, in degrees; null while there is none. */
function hueOf(video) {
  if (!video?.videoWidth || !video.srcObject) return null;
  const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const brush = canvas.getContext("2d");
  // The lower half: above, something moves.
  brush.drawImage(video, 0, video.videoHeight / 2, video.videoWidth, video.videoHeight / 2, 0, 0, 8, 8);
  const [r, g, b] = brush.getImageData(4, 4, 1, 1).data.map((value) => value);
  const most = Math.max(r, g, b);
  const span = most - Math.min(r, g, b);
  if (span < 40) return null;
  const sector = most === r ? ((g - b) / span + 6) % 6 : most === g ? (b - r) / span + 2 : (r - g) / span + 4;
  return sector * 60;
}

window.crowd = {
  people,

  async add(account, hue) {
    await sound.resume();
    const { getUserMedia, loudness } = devices(hue, 300 + hue);
    const kit = new CallKit({ mediaDevices: { getUserMedia } });
    const person = { kit, hue, loudness, slots: [], views: {}, events: [], errors: [] };
    kit.on("slots", ({ slots }) => (person.slots = slots));
    kit.on((name, payload) => person.events.push(name + (payload.userId ? ` ${payload.userId}` : "")));
    kit.on("onError", ({ message }) => person.errors.push(message));
    people[account.userId] = person;
    await kit.init(account);
  },

  speak(userId, speaks) {
    people[userId].loudness.gain.value = speaks ? 0.6 : 0;
  },

  /** Has somebody look at somebody. */
  async look(viewer, userId) {
    const video = document.createElement("video");
    Object.assign(video.style, { width: "320px", height: "180px" });
    document.body.append(video);
    people[viewer].views[userId] = video;
    await people[viewer].kit.startRemoteView(userId, video, "camera");
  },

  /** Who is received, by kind of source. */
  shown(viewer, source) {
    return people[viewer].slots.filter((slot) => slot.userId && slot.source === source).map(({ userId }) => userId).sort();
  },

  /** Whether the element for this user shows this user. */
  sees(viewer, userId) {
    const hue = hueOf(people[viewer].views[userId]);
    if (hue === null) return false;
    const apart = Math.abs(hue - people[userId].hue);
    return Math.min(apart, 360 - apart) < 20;
  },

  /** By mid, what the viewer's receivers count. */
  async counts(viewer) {
    const report = await people[viewer].kit.getStats();
    const inbound = [...report.values()].filter(({ type, kind }) => type === "inbound-rtp" && kind === "video");
    const pick = ({ ssrc, framesDecoded, keyFramesDecoded, pliCount, freezeCount, totalFreezesDuration, framesDropped }) => ({
      ssrc, framesDecoded, keyFramesDecoded, pliCount, freezeCount, totalFreezesDuration, framesDropped,
    });
    return Object.fromEntries(inbound.map((stats) => [stats.mid, pick(stats)]));
  },

  describe() {
    return Object.fromEntries(
      Object.entries(people).map(([name, { slots, events, errors, kit }]) => [name, { slots, events: events.filter((event) => !/Volume|Network/.test(event)), errors, call: kit.currentCall }]),
    );
  },
};
