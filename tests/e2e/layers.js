// A publisher and a viewer in one page, speaking the protocol themselves: what the viewer is shown as it asks for other heights.
async ({ url, tickets, codec, encodings, heights }) => {
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  async function member(user) {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
    const waiting = new Map();
    const heard = [];
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.id === undefined) return heard.push(message);
      const { resolve, reject } = waiting.get(message.id);
      if (message.error) reject(new Error(JSON.stringify(message.error)));
      else resolve(message.result);
    };
    let id = 0;
    const ask = (method, params) =>
      new Promise((resolve, reject) => {
        waiting.set(++id, { resolve, reject });
        socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      });
    await ask("login", { sdkAppId: 1400000001, userId: user, userSig: tickets[user] });
    const { callId } = await ask("join", { roomId: { strRoomId: "layers" } });
    return { ask, heard, callId };
  }

  async function connect({ ask, callId }, pc, sources) {
    await pc.setLocalDescription();
    const { sdp } = await ask("offer", { callId, sdp: pc.localDescription.sdp, sources: sources() });
    await pc.setRemoteDescription({ type: "answer", sdp });
  }

  const prefer = (transceiver) => {
    const codecs = RTCRtpReceiver.getCapabilities("video").codecs;
    const wanted = codecs.filter(({ mimeType, sdpFmtpLine = "" }) =>
      mimeType === `video/${codec}` && (codec !== "H264" || /packetization-mode=1;profile-level-id=42e0/.test(sdpFmtpLine)));
    if (wanted.length === 0) throw new Error(`no ${codec}`);
    transceiver.setCodecPreferences([wanted[0], ...codecs.filter(({ mimeType }) => mimeType === "video/rtx")]);
  };
  const describe = (transceiver) => {
    const extensions = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
    for (const extension of extensions) if (/dependency-descriptor/.test(extension.uri)) extension.direction = "sendrecv";
    transceiver.setHeaderExtensionsToNegotiate?.(extensions);
  };

  const canvas = Object.assign(document.createElement("canvas"), { width: 1024, height: 576 });
  const context = canvas.getContext("2d");
  let drawn = 0;
  setInterval(() => {
    context.fillStyle = `hsl(${(drawn += 3) % 360} 80% 50%)`;
    context.fillRect((drawn * 7) % 900, (drawn * 5) % 480, 60, 60);
  }, 50);
  const track = canvas.captureStream(20).getVideoTracks()[0];

  const [publisher, viewer] = [await member("pat"), await member("vic")];
  const sending = new RTCPeerConnection();
  const camera = sending.addTransceiver(track, { direction: "sendonly", sendEncodings: encodings });
  prefer(camera);
  const receiving = new RTCPeerConnection();
  const slot = receiving.addTransceiver("video", { direction: "recvonly" });
  prefer(slot);
  describe(slot);
  await connect(publisher, sending, () => ({ [camera.mid]: "camera" }));
  await connect(viewer, receiving, () => ({}));
  const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, playsInline: true });
  video.srcObject = new MediaStream([slot.receiver.track]);
  document.body.append(video);

  const seen = async () => {
    const stats = [...(await receiving.getStats()).values()].find(({ type }) => type === "inbound-rtp") ?? {};
    const { frameHeight, framesDecoded, freezeCount, totalFreezesDuration, pliCount } = stats;
    return { frameHeight, framesDecoded, freezeCount, totalFreezesDuration, pliCount };
  };
  const shown = [];
  for (const height of heights) {
    await viewer.ask("view", { callId: viewer.callId, slots: [{ mid: slot.mid, userId: "pat", source: "camera", maxHeight: height }] });
    let now = await seen();
    for (let tries = 0; now.frameHeight !== height && tries < 160; tries++) {
      await sleep(50);
      now = await seen();
    }
    const before = now.framesDecoded ?? 0;
    const goesOn = () => now.frameHeight === height && (now.framesDecoded ?? 0) >= before + 15;
    for (let tries = 0; !goesOn() && tries < 80; tries++) {
      await sleep(50);
      now = await seen();
    }
    shown.push({ height, ...now });
    if (now.frameHeight !== height) break;
  }
  const told = publisher.heard.filter(({ method }) => method === "encodings").map(({ params }) => params.encodings);
  const outbound = [...(await sending.getStats()).values()].filter(({ type }) => type === "outbound-rtp");
  const sent = outbound.map(({ rid, frameHeight, scalabilityMode, framesEncoded }) => ({ rid, frameHeight, scalabilityMode, framesEncoded }));
  sending.close();
  receiving.close();
  return { shown, told, sent, extensions: /dependency-descriptor/.test(receiving.remoteDescription.sdp) };
}
