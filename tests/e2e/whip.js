// A WHIP and WHEP client in a page. `path` keeps only those of the server's candidates that have it in them.
async function begin(connection, url, token, path) {
  await connection.setLocalDescription(await connection.createOffer());
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/sdp" };
  const response = await fetch(url, { method: "POST", headers, body: connection.localDescription.sdp });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`${response.status} ${text}`);
  const answer = keep(text, path);
  await connection.setRemoteDescription({ type: "answer", sdp: answer });
  return { connection, token, answer, path, location: response.headers.get("location") };
}

const keep = (sdp, path) =>
  sdp
    .split("\r\n")
    .filter((line) => !line.startsWith("a=candidate:") || line.includes(path))
    .join("\r\n");

const attribute = (sdp, name) => sdp.split("\r\n").find((line) => line.startsWith(`a=${name}:`)).split(":")[1];

window.whip = {
  async publish(room, token, path) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240, frameRate: 15 } });
    const connection = new RTCPeerConnection();
    for (const track of stream.getTracks()) connection.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    return begin(connection, `/v1/whip/${room}`, token, path);
  },

  async view(room, token, path) {
    const connection = new RTCPeerConnection();
    for (const kind of ["audio", "video"]) {
      const { receiver } = connection.addTransceiver(kind, { direction: "recvonly" });
      // What is not played is not decoded.
      const player = document.createElement(kind);
      player.srcObject = new MediaStream([receiver.track]);
      document.body.append(player);
      player.play();
    }
    return begin(connection, `/v1/whep/${room}`, token, path);
  },

  /** ICE anew, as RFC 9725, 4.3.3, has it; the server's new name. */
  async restart(session) {
    const { connection, token, path } = session;
    connection.restartIce();
    await connection.setLocalDescription(await connection.createOffer());
    const { sdp } = connection.localDescription;
    const body = ["ice-ufrag", "ice-pwd"].map((name) => `a=${name}:${attribute(sdp, name)}\r\n`).join("");
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/trickle-ice-sdpfrag", "if-match": "*" };
    const response = await fetch(session.location, { method: "PATCH", headers, body });
    const fragment = await response.text();
    if (response.status !== 200) throw new Error(`${response.status} ${fragment}`);
    let answer = session.answer;
    for (const name of ["ice-ufrag", "ice-pwd"]) answer = answer.replaceAll(attribute(answer, name), attribute(fragment, name));
    await connection.setRemoteDescription({ type: "answer", sdp: keep(answer, path) });
    session.answer = answer;
    return attribute(fragment, "ice-ufrag");
  },

  async end(session) {
    const response = await fetch(session.location, { method: "DELETE", headers: { authorization: `Bearer ${session.token}` } });
    session.connection.close();
    return response.status;
  },

  /** The server's side of the path in use, once there is one: "protocol address port ufrag". */
  async route({ connection }) {
    const stats = await connection.getStats();
    const transport = [...stats.values()].find(({ type }) => type === "transport");
    const pair = stats.get(transport?.selectedCandidatePairId);
    const remote = pair?.state === "succeeded" && stats.get(pair.remoteCandidateId);
    return remote && `${remote.protocol} ${remote.address ?? remote.ip} ${remote.port} ${remote.usernameFragment}`;
  },

  /** What is received: the codecs, in alphabetical order. */
  async codecs({ connection }) {
    const stats = await connection.getStats();
    const received = [...stats.values()].filter(({ type, codecId }) => type === "inbound-rtp" && codecId);
    return received.map(({ codecId }) => stats.get(codecId).mimeType).sort().join(" ");
  },
};
