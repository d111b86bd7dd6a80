// Two people of one codec, each in a browser of their own or both in one: one films, the others watch.
({ url, codec, room, sender }) => {
  const SIZE = { width: 320, height: 240, rate: 20 };

  async function film(ticket) {
    const track = stage.film(SIZE, stage.bird);
    const filming = await stage.member(url, room, sender, ticket);
    const pc = new RTCPeerConnection();
    const camera = pc.addTransceiver(track, { direction: "sendonly" });
    stage.prefer(camera, codec);
    await stage.connect(filming, pc, () => ({ [camera.mid]: "camera" }));
    return { pc, end: () => (track.stop(), pc.close()) };
  }

  async function watch(user, ticket) {
    const watching = await stage.member(url, room, user, ticket);
    const pc = new RTCPeerConnection();
    const slot = pc.addTransceiver("video", { direction: "recvonly" });
    stage.prefer(slot, codec);
    await stage.connect(watching, pc, () => ({}));
    const video = stage.play(slot.receiver.track);
    await watching.ask("view", {
      callId: watching.callId,
      slots: [{ mid: slot.mid, userId: sender, source: "camera", maxHeight: SIZE.height }],
    });
    return { pc, video, end: () => (video.remove(), pc.close()) };
  }

  /** What is received of it; null while that is not enough to be called seen. */
  async function seen({ pc }) {
    const report = await pc.getStats();
    const [stats] = await stage.statistics(pc, "inbound-rtp");
    if (!stats || !(stats.framesDecoded >= 20)) return null;
    const { framesDecoded, keyFramesDecoded, frameWidth, frameHeight, codecId } = stats;
    return { framesDecoded, keyFramesDecoded, frameWidth, frameHeight, codec: report.get(codecId)?.mimeType };
  }

  return { film, watch, seen };
}
