// For tests that want more of a call than the page's buttons have: people who speak the protocol themselves, and a camera before a canvas.
window.stage = {
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),

  /** Somebody who has joined the room. `heard` has all notifications; `listen`, if set, is called with each. */
  async member(url, room, user, ticket) {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
    const waiting = new Map();
    const person = { heard: [], listen: null };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.id === undefined) {
        person.heard.push(message);
        return person.listen?.(message);
      }
      const { resolve, reject } = waiting.get(message.id);
      if (message.error) reject(new Error(JSON.stringify(message.error)));
      else resolve(message.result);
    };
    let id = 0;
    person.ask = (method, params) =>
      new Promise((resolve, reject) => {
        waiting.set(++id, { resolve, reject });
        socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      });
    await person.ask("login", { sdkAppId: 1400000001, userId: user, userSig: ticket });
    person.callId = (await person.ask("join", { roomId: { strRoomId: room } })).callId;
    return person;
  },

  /** Offers `pc`; `path`, if given, is a text that every candidate of the server's which may be used has in it. */
  async connect({ ask, callId }, pc, sources, path = "") {
    await pc.setLocalDescription();
    const { sdp } = await ask("offer", { callId, sdp: pc.localDescription.sdp, sources: sources() });
    const lines = sdp.split("\r\n").filter((line) => !line.startsWith("a=candidate:") || line.includes(path));
    await pc.setRemoteDescription({ type: "answer", sdp: lines.join("\r\n") });
  },

  prefer(transceiver, codec) {
    const codecs = RTCRtpReceiver.getCapabilities("video").codecs;
    const wanted = codecs.filter(({ mimeType, sdpFmtpLine = "" }) =>
      mimeType === `video/${codec}` && (codec !== "H264" || /packetization-mode=1;profile-level-id=42e0/.test(sdpFmtpLine)));
    if (wanted.length === 0) throw new Error(`no ${codec}`);
    transceiver.setCodecPreferences([wanted[0], ...codecs.filter(({ mimeType }) => mimeType === "video/rtx")]);
  },

  /** Redundant sound before any other. */
  preferRedundant(transceiver) {
    const { codecs } = RTCRtpReceiver.getCapabilities("audio");
    const isRedundant = ({ mimeType }) => mimeType === "audio/red";
    transceiver.setCodecPreferences([...codecs.filter(isRedundant), ...codecs.filter((codec) => !isRedundant(codec))]);
  },

  /** Asks for the dependency descriptor, where the browser does not by itself. */
  describe(transceiver) {
    const extensions = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
    for (const extension of extensions) if (/dependency-descriptor/.test(extension.uri)) extension.direction = "sendrecv";
    transceiver.setHeaderExtensionsToNegotiate?.(extensions);
  },

  /** A track on which `draw(context, frame)` is seen. */
  film({ width, height, rate }, draw) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const track = canvas.captureStream(rate).getVideoTracks()[0];
    let frame = 0;
    const drawing = setInterval(() => (track.readyState === "ended" ? clearInterval(drawing) : draw(context, frame++)), 1000 / rate);
    return track;
  },

  /** A small thing that moves on a wall. */
  bird(context, frame) {
    context.fillStyle = `hsl(${(frame * 3) % 360} 80% 50%)`;
    context.fillRect((frame * 21) % 900, (frame * 15) % 480, 60, 60);
  },

  /** Plays the track: what is not played is not decoded. */
  play(track) {
    const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, playsInline: true });
    video.srcObject = new MediaStream([track]);
    document.body.append(video);
    return video;
  },

  /** The statistics of this type, of one kind of media only. */
  async statistics(pc, wanted, media = "video") {
    return [...(await pc.getStats()).values()].filter(({ type, kind }) => type === wanted && kind === media);
  },
};
