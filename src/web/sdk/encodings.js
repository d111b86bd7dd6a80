// In how many layers a source is sent, and at which rates.

/** Small, medium and full picture: what a thumbnail, a tile in a grid and a speaker in the middle need. */
const LAYERS = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];
/** Shorter side, in pixels, from which a camera is worth three layers, and two. A smaller picture halved shows nobody. */
const THREE_LAYERS_FROM = 720;
const TWO_LAYERS_FROM = 360;
const SINGLE = { camera: [{ maxBitrate: 2_000_000 }], screen: [{ maxBitrate: 2_500_000 }], microphone: [{}] };

/**
 * The encodings to offer for a source.
 * @param {Source} source
 * @param {MediaStreamTrack | null} track What is known of the picture.
 * @param {boolean} layered Whether several people watch, each at another size.
 */
export function encodingsFor(source, track, layered) {
  const layers = source === "camera" && layered ? layersOf(track) : 1;
  const chosen = layers > 1 ? LAYERS.slice(-layers) : SINGLE[source];
  return chosen.map((encoding) => ({ ...encoding }));
}

function layersOf(track) {
  const { width, height } = track?.getSettings() ?? {};
  // Unknown: 720p is what was asked of the camera. A phone held upright has the sides swapped.
  const side = height ? Math.min(width ?? height, height) : THREE_LAYERS_FROM;
  if (side >= THREE_LAYERS_FROM) return 3;
  return side >= TWO_LAYERS_FROM ? 2 : 1;
}

/**
 * Sets what the server wants of a sender; a ceiling that the server lifts returns to the one that was offered.
 * @param {RTCRtpSender} sender
 * @param {Encoding[]} wanted
 * @param {{ rid?: string, maxBitrate?: number }[]} offered
 */
export async function obey(sender, wanted, offered) {
  const parameters = sender.getParameters();
  const nameOf = (/** @type {{ rid?: string | null }} */ { rid }) => rid ?? null;
  for (const ours of parameters.encodings) {
    const wish = wanted.find((encoding) => nameOf(encoding) === nameOf(ours));
    if (!wish) continue;
    const ceiling = offered.find((encoding) => nameOf(encoding) === nameOf(ours))?.maxBitrate ?? Infinity;
    const limit = Math.min(wish.maxBitrate ?? Infinity, ceiling);
    ours.active = wish.active;
    if (Number.isFinite(limit)) ours.maxBitrate = limit;
    else delete ours.maxBitrate;
  }
  await sender.setParameters(parameters);
}
