// What whip.js and whep.js share: the exchange of offer and answer, and leaving.
export async function begin(connection, url, token) {
  await connection.setLocalDescription(await connection.createOffer());
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/sdp" };
  const response = await fetch(url, { method: "POST", headers, body: connection.localDescription.sdp });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`${response.status} ${text}`);
  await connection.setRemoteDescription({ type: "answer", sdp: text });
  return new URL(response.headers.get("location"), url);
}

export async function end(connection, resource, token) {
  const response = await fetch(resource, { method: "DELETE", headers: { authorization: `Bearer ${token}` } });
  connection.close();
  if (response.status !== 200) throw new Error(`DELETE: ${response.status}`);
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
