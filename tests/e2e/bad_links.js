// One who films and one who watches, each on a connection of their own in one page, the watcher's over a bad link; and what the watcher sees.
async ({ url, tickets, encodings, good, bad }) => {
  // Below this size Chromium sends no three of them.
  const SIZE = { width: 960, height: 540 };
  const FRAMES_PER_SECOND = 25;
  const EVERY_MS = 50;
  /** In seconds: what libwebrtc calls a freeze begins at about so much. */
  const SHORTEST_STILL = 0.19;

  /** Noise that no codec can foretell, so that it takes the bits that it is given; made beforehand, for the machine may be busy. */
  const pictures = Array.from({ length: 12 }, (_, picture) => {
    const pixels = new Uint8Array((SIZE.width * SIZE.height * 3) / 2).fill(128);
    let state = picture;
    for (let at = 0; at < SIZE.width * SIZE.height; at++) {
      if (at % 4 === 0) state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      pixels[at] = 100 + picture * 4 + (state >>> 27);
    }
    return pixels;
  });
  const camera = new MediaStreamTrackGenerator({ kind: "video" });
  const writer = camera.writable.getWriter();
  let frame = 0;
  setInterval(() => {
    const timestamp = performance.now() * 1000;
    const picture = pictures[frame++ % pictures.length];
    writer.write(new VideoFrame(picture, { format: "I420", codedWidth: SIZE.width, codedHeight: SIZE.height, timestamp }));
  }, 1000 / FRAMES_PER_SECOND);

  const air = new AudioContext();
  await air.resume();
  const fork = new OscillatorNode(air, { frequency: 440 });
  const microphone = new MediaStreamAudioDestinationNode(air);
  fork.connect(microphone);
  fork.start();

  const filming = await stage.member(url, "link", "pat", tickets.pat);
  const watching = await stage.member(url, "link", "vic", tickets.vic);
  const sending = new RTCPeerConnection();
  const sender = sending.addTransceiver(camera, { direction: "sendonly", sendEncodings: encodings });
  stage.prefer(sender, "VP8");
  const voice = sending.addTransceiver(microphone.stream.getAudioTracks()[0], { direction: "sendonly" });
  stage.preferRedundant(voice);
  // A machine that is busy shall not change the sizes by which layers are told apart.
  await sender.sender.setParameters({ ...sender.sender.getParameters(), degradationPreference: "maintain-resolution" });
  const told = [];
  let obeying = Promise.resolve();
  filming.listen = ({ method, params }) => {
    if (method !== "encodings") return;
    told.push({ at: performance.now(), on: params.encodings.filter(({ active }) => active).map(({ rid }) => rid) });
    obeying = obeying.then(() => {
      const parameters = sender.sender.getParameters();
      for (const ours of parameters.encodings) {
        ours.active = params.encodings.find(({ rid }) => rid === ours.rid)?.active ?? ours.active;
      }
      return sender.sender.setParameters(parameters);
    });
  };
  const receiving = new RTCPeerConnection();
  const slot = receiving.addTransceiver("video", { direction: "recvonly" });
  stage.prefer(slot, "VP8");
  const ear = receiving.addTransceiver("audio", { direction: "recvonly" });
  stage.preferRedundant(ear);
  await stage.connect(filming, sending, () => ({ [sender.mid]: "camera", [voice.mid]: "microphone" }), good);
  await stage.connect(watching, receiving, () => ({}), bad);
  // Decoded whole, shown small: drawing it is no part of the test.
  stage.play(slot.receiver.track).style.width = "96px";
  stage.play(ear.receiver.track);
  await watching.ask("view", {
    callId: watching.callId,
    slots: [{ mid: slot.mid, userId: "pat", source: "camera", maxHeight: SIZE.height }],
  });

  const begun = performance.now();
  const seconds = (at) => Math.round((at - begun) / 10) / 100;
  /** What the watcher's statistics said, the oldest first. */
  const samples = [];
  const heights = [];
  async function sample() {
    const [stats] = await stage.statistics(receiving, "inbound-rtp");
    const [heard] = await stage.statistics(receiving, "inbound-rtp", "audio");
    if (!stats || !heard) return;
    const { framesDecoded = 0, keyFramesDecoded = 0, freezeCount = 0, totalFreezesDuration = 0 } = stats;
    // The smallest size is never switched off: of it the camera sends all frames that it makes.
    const { q } = await sent();
    const { frameHeight, packetsReceived = 0, packetsLost = 0, nackCount = 0, pliCount = 0, bytesReceived = 0 } = stats;
    const now = { at: performance.now(), framesDecoded, keyFramesDecoded, freezeCount, totalFreezesDuration, frameHeight };
    const { concealedSamples = 0, totalSamplesReceived = 0, packetsReceived: soundReceived = 0, bytesReceived: soundBytes = 0 } = heard;
    Object.assign(now, { concealedSamples, totalSamplesReceived, soundReceived, soundBytes });
    samples.push({ ...now, packetsReceived, packetsLost, nackCount, pliCount, bytesReceived, paused: paused(), filmed: q.framesSent });
    if (frameHeight && heights.at(-1)?.frameHeight !== frameHeight) heights.push({ s: seconds(now.at), frameHeight });
  }
  const paused = () =>
    watching.heard.filter(({ method }) => method === "slots").at(-1)?.params.slots.some(({ paused }) => paused) ?? false;
  /** By rid, what was sent of each size. */
  async function sent() {
    const layers = await stage.statistics(sending, "outbound-rtp");
    const pick = ({ rid, framesSent, bytesSent, scalabilityMode }) => [rid, { framesSent, bytesSent, scalabilityMode }];
    return Object.fromEntries(layers.map(pick));
  }
  setInterval(sample, EVERY_MS);

  const LATELY_MS = 2_000;
  /** Whether two seconds have passed since `from`, and what was seen in the last two. */
  function lately(from) {
    const now = performance.now();
    return [now > from + LATELY_MS, samples.filter(({ at }) => at > now - LATELY_MS)];
  }

  window.link = {
    now: () => performance.now(),
    height: () => samples.at(-1)?.frameHeight,
    frames: () => samples.at(-1)?.framesDecoded ?? 0,

    /** For the last two seconds, since `from`, nothing larger was shown. */
    settled(from, height) {
      const [end, within] = lately(from);
      return end && within.every(({ frameHeight }) => frameHeight <= height) && within.length > 0;
    },

    /** For the last two seconds, since `from`, this size and nearly all frames that were filmed. */
    steady(from, height) {
      const [end, within] = lately(from);
      const grown = (counter) => within.at(-1)[counter] - within[0][counter];
      return end && within.every(({ frameHeight }) => frameHeight === height) && grown("framesDecoded") > 0.9 * grown("filmed");
    },

    /** From `from` to `to` (times of `now`): what happened, by the counters of both ends. */
    between(from, to = performance.now()) {
      // From the last one before, so that nothing falls between two of these.
      const start = samples.findLastIndex(({ at }) => at <= from);
      const within = samples.slice(Math.max(start, 0)).filter(({ at }) => at <= to);
      const [first, last] = [within.at(0), within.at(-1)];
      // Told by the frames themselves: a freeze is in the browser's own count only after it is over, and when the machine is too busy to
      // film there is nothing to miss.
      const stills = [0];
      within.slice(1).forEach((sample, index) => {
        if (sample.framesDecoded > within[index].framesDecoded) stills.push(0);
        else stills[stills.length - 1] += (sample.filmed - within[index].filmed) / FRAMES_PER_SECOND;
      });
      const grown = (counter) => last[counter] - first[counter];
      const lasted = (last.at - first.at) / 1000;
      return {
        seconds: lasted,
        framesPerSecond: grown("framesDecoded") / lasted,
        filmedPerSecond: grown("filmed") / lasted,
        longestStill: Math.max(...stills),
        still: stills.filter((seconds) => seconds > SHORTEST_STILL).reduce((sum, seconds) => sum + seconds, 0),
        keyFrames: grown("keyFramesDecoded"),
        freezes: grown("freezeCount"),
        frozen: grown("totalFreezesDuration"),
        lost: grown("packetsLost"),
        received: grown("packetsReceived"),
        nacks: grown("nackCount"),
        plis: grown("pliCount"),
        // Of the sound that was played, what the browser had to make up; and the bytes of a packet of it.
        concealed: grown("concealedSamples") / grown("totalSamplesReceived"),
        soundPacket: grown("soundBytes") / grown("soundReceived"),
        kbps: (grown("bytesReceived") * 8) / 1000 / lasted,
        heights: [...new Set(within.map(({ frameHeight }) => frameHeight))],
        paused: within.some(({ paused }) => paused),
      };
    },

    /** Everything so far, for people to read. */
    async story() {
      return { heights, told: told.map(({ at, on }) => `${seconds(at)} ${on}`), sent: await sent(), now: seconds(performance.now()) };
    },
  };
  // For the message of a failing test.
  window.said = window.link.story;
  return true;
}
