// node whip.js URL TICKET: publishes a moving picture (VP8) and a tone by WHIP for ten seconds.
import wrtc from "@roamhq/wrtc";
import { begin, end, pause } from "./client.js";

const [url, token] = process.argv.slice(2);
const { RTCPeerConnection, nonstandard } = wrtc;
const picture = new nonstandard.RTCVideoSource();
const sound = new nonstandard.RTCAudioSource();
const connection = new RTCPeerConnection();
connection.addTransceiver(picture.createTrack(), { direction: "sendonly" });
connection.addTransceiver(sound.createTrack(), { direction: "sendonly" });
const resource = await begin(connection, url, token);

const [width, height, rate] = [320, 240, 48000];
const started = Date.now();
let ticks = 0;
while (Date.now() - started < 10_000) {
  const samples = Int16Array.from({ length: rate / 100 }, (_, n) => 8000 * Math.sin((2 * Math.PI * 440 * (ticks * 480 + n)) / rate));
  sound.onData({ samples, sampleRate: rate, bitsPerSample: 16, channelCount: 1, numberOfFrames: samples.length });
  if (ticks % 7 === 0) picture.onFrame({ width, height, data: new Uint8ClampedArray((width * height * 3) / 2).fill(ticks % 255) });
  ticks += 1;
  await pause(Math.max(0, started + ticks * 10 - Date.now()));
}
const state = connection.iceConnectionState;
await end(connection, resource, token);
console.log(`published over ${state} ICE`);
process.exit(["connected", "completed"].includes(state) ? 0 : 1);
