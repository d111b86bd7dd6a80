// Who logs in where, and the server's address.
import { localError } from "./errors.js";

const DEFAULT_SLOT_PAIRS = 8;
/** An offer of more would not fit in a message. */
const LARGEST_SLOT_PAIRS = 12;

/** The parameters of `init` without the ticket, checked. @param {InitParams} params */
export function accountOf(params) {
  const { sdkAppId, userId, userSig, url, slotPairs = DEFAULT_SLOT_PAIRS } = params ?? {};
  const expect = (fits, text) => {
    if (!fits) throw localError("invalidParameter", text);
  };
  expect(Number.isInteger(sdkAppId), "sdkAppId: a whole number is expected.");
  expect(typeof userId === "string" && userId, "userId: a text is expected.");
  expect(typeof userSig === "string" && userSig, "userSig: the user's ticket is expected.");
  const fits = Number.isInteger(slotPairs) && slotPairs >= 1 && slotPairs <= LARGEST_SLOT_PAIRS;
  expect(fits, `slotPairs: 1 to ${LARGEST_SLOT_PAIRS} is expected.`);
  return { sdkAppId, userId, slotPairs, url: socketUrl(url) };
}

export function sameAccount(a, b) {
  return a.sdkAppId === b?.sdkAppId && a.userId === b.userId && a.url === b.url;
}

/** The WebSocket address of a server given as page, socket or nothing at all. */
function socketUrl(url) {
  const base = import.meta.url.startsWith("http") ? import.meta.url : undefined;
  const address = url ? new URL(url, base) : new URL("/v1/ws", base);
  address.protocol = address.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(address.protocol)) throw localError("invalidParameter", `url: no web address: ${url}`);
  if (address.pathname === "/") address.pathname = "/v1/ws";
  address.hash = "";
  return address.href;
}
