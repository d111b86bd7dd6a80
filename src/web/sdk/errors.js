// What goes wrong, as values: numbers and stable names.

/** Errors that arise here and not at the server: number by stable name. The first four are the contract's. */
const LOCAL_CODES = {
  notLoggedIn: -1201,
  invalidParameter: -1202,
  refusedInThisState: -1203,
  repeatedRequest: -1204,
  connectionLost: -1301,
  requestTimeout: -1302,
  mediaFailed: -1303,
  deviceRefused: -1311,
  deviceNotFound: -1312,
  deviceFailed: -1313,
  insecureContext: -1314,
};

/** Names for JSON-RPC's own numbers. */
const RPC_NAMES = { [-32700]: "parseError", [-32600]: "invalidRequest", [-32601]: "unknownMethod", [-32602]: "invalidParams" };

/** Log-in errors that trying again does not heal. */
export const FATAL_LOGIN = new Set([70001, 70003, 70009, 70013, 70014, 6208, 20007, -32602]);
export const USER_SIG_EXPIRED = 70001;
export const KICKED = 6208;
export const REFUSED = -1203;

/** What every promise of this module rejects with: the number and the stable name of what went wrong. */
export class CallError extends Error {
  /**
   * @param {number} code
   * @param {string} name
   * @param {string} message
   */
  constructor(code, name, message) {
    super(message);
    this.name = name;
    this.code = code;
  }

  /** Anything thrown, as one of ours. */
  static from(cause) {
    return cause instanceof CallError ? cause : localError("mediaFailed", String(cause?.message ?? cause));
  }
}

/** @param {keyof typeof LOCAL_CODES} name */
export function localError(name, message) {
  return new CallError(LOCAL_CODES[name], name, message);
}

export function errorFromReply({ code, message, data }) {
  return new CallError(code, data?.name ?? RPC_NAMES[code] ?? "serverError", message);
}

/** What getUserMedia and getDisplayMedia reject with, in our words (Media Capture and Streams §10.2). */
export function deviceError(source, cause) {
  if (cause instanceof CallError) return cause;
  switch (cause?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return localError("deviceRefused", `Access to the ${source} was refused.`);
    case "NotFoundError":
    case "OverconstrainedError":
      return localError("deviceNotFound", `There is no ${source} that could be used.`);
    default:
      return localError("deviceFailed", `The ${source} could not be opened: ${cause?.message ?? cause}`);
  }
}
