// A publisher and a viewer in one page, speaking the protocol themselves: what the viewer is shown as it asks for other heights.
async ({ url, tickets, codec, encodings, heights }) => {
  const track = stage.film({ width: 1024, height: 576, rate: 20 }, stage.bird);
  const publisher = await stage.member(url, "layers", "pat", tickets.pat);
  const viewer = await stage.member(url, "layers", "vic", tickets.vic);
  const sending = new RTCPeerConnection();
  const camera = sending.addTransceiver(track, { direction: "sendonly", sendEncodings: encodings });
  stage.prefer(camera, codec);
  const receiving = new RTCPeerConnection();
  const slot = receiving.addTransceiver("video", { direction: "recvonly" });
  stage.prefer(slot, codec);
  stage.describe(slot);
  await stage.connect(publisher, sending, () => ({ [camera.mid]: "camera" }));
  await stage.connect(viewer, receiving, () => ({}));
  const video = stage.play(slot.receiver.track);

  const seen = async () => {
    const [stats = {}] = await stage.statistics(receiving, "inbound-rtp");
    const { frameHeight, framesDecoded, freezeCount, totalFreezesDuration, pliCount } = stats;
    return { frameHeight, framesDecoded, freezeCount, totalFreezesDuration, pliCount };
  };
  const shown = [];
  for (const height of heights) {
    await viewer.ask("view", { callId: viewer.callId, slots: [{ mid: slot.mid, userId: "pat", source: "camera", maxHeight: height }] });
    let now = await seen();
    for (let tries = 0; now.frameHeight !== height && tries < 160; tries++) {
      await stage.sleep(50);
      now = await seen();
    }
    const before = now.framesDecoded ?? 0;
    const goesOn = () => now.frameHeight === height && (now.framesDecoded ?? 0) >= before + 15;
    for (let tries = 0; !goesOn() && tries < 80; tries++) {
      await stage.sleep(50);
      now = await seen();
    }
    shown.push({ height, ...now });
    if (now.frameHeight !== height) break;
  }
  const told = publisher.heard.filter(({ method }) => method === "encodings").map(({ params }) => params.encodings);
  const outbound = await stage.statistics(sending, "outbound-rtp");
  const sent = outbound.map(({ rid, frameHeight, scalabilityMode, framesEncoded }) => ({ rid, frameHeight, scalabilityMode, framesEncoded }));
  const extensions = /dependency-descriptor/.test(receiving.remoteDescription.sdp);
  sending.close();
  receiving.close();
  track.stop();
  video.remove();
  return { shown, told, sent, extensions };
}
