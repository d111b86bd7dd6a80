// node whep.js URL TICKET: views by WHEP for ten seconds and counts what it decodes (no H264 in this build of libwebrtc).
import wrtc from "@roamhq/wrtc";
import { begin, end, pause } from "./client.js";

const [url, token] = process.argv.slice(2);
const { RTCPeerConnection, nonstandard } = wrtc;
const connection = new RTCPeerConnection();
const seen = { frames: 0, size: "none", loud: 0 };
for (const kind of ["audio", "video"]) {
  const { receiver } = connection.addTransceiver(kind, { direction: "recvonly" });
  if (kind === "video") {
    new nonstandard.RTCVideoSink(receiver.track).onframe = ({ frame }) => {
      seen.frames += 1;
      seen.size = `${frame.width}x${frame.height}`;
    };
  } else {
    new nonstandard.RTCAudioSink(receiver.track).ondata = ({ samples }) => {
      seen.loud += samples.some((sample) => Math.abs(sample) > 500) ? 1 : 0;
    };
  }
}
const resource = await begin(connection, url, token);
await pause(10_000);
await end(connection, resource, token);
console.log(`${seen.frames} frames of ${seen.size}, ${seen.loud * 10} ms of sound`);
process.exit(seen.frames > 0 || seen.loud > 0 ? 0 : 1);
