/**
 * Callisto's SDK for browsers: calls with audio and video, and the seventeen call events.
 *
 *     import { TUICallKit, TUICallEvent } from "https://calls.example.com/sdk.js";
 *
 *     TUICallKit.on(TUICallEvent.onCallReceived, (event) => console.log(event.callerId, "calls"));
 *     await TUICallKit.init({ sdkAppId, userId, userSig });
 *     await TUICallKit.call({ userIdList: ["bob"], callMediaType: 1 });
 *
 * One ES module, no build step, no dependency. Its parts, from the bottom up: errors, events, Signal (one JSON-RPC session over WebSocket
 * that survives lost connections), Views (which element shows whom), Capture (this machine's microphone, camera and screen), Media (one
 * call's peer connection), Call (what this side knows of a call), and CallKit, the interface. SDK.md in the project's sources is its guide.
 */

/**
 * @typedef {0 | 1} CallMediaType 0 voice, 1 video.
 * @typedef {0 | 1 | 2} CallRole 0 unknown, 1 caller, 2 called.
 * @typedef {"Unknown" | "Excellent" | "Good" | "Poor" | "Bad" | "Vbad" | "Down"} NetworkQuality
 * @typedef {"microphone" | "camera" | "screen"} Source What a user sends.
 * @typedef {{ intRoomId: number, strRoomId: string }} RoomId Exactly one of the two is set, the other is 0 or "".
 *
 * @typedef {object} InitParams
 * @property {number} sdkAppId
 * @property {string} userId
 * @property {string} userSig The ticket that the app's backend made for this user.
 * @property {string} [url] The server: `https://host[:port]` or the full `wss://…/v1/ws`. Left out: where this module came from.
 * @property {number} [slotPairs] How many others are heard and seen at once in a group call (1 to 12, default 8).
 *
 * @typedef {object} CallParams
 * @property {string[]} userIdList
 * @property {CallMediaType} callMediaType
 * @property {{ intRoomId: number } | { strRoomId: string }} [roomId] Left out: the server chooses one.
 * @property {string} [groupId]
 * @property {number} [timeout] Seconds to ring.
 * @property {string} [userData] Handed to the callees.
 * @property {{ url: string, secret: string }} [webhook] An endpoint for this call alone.
 *
 * @typedef {{ userId: string, callRole: CallRole, isAudioAvailable: boolean, isVideoAvailable: boolean }} Member
 *
 * @typedef {object} JoinParams One of `callId` and `roomId`.
 * @property {string} [callId]
 * @property {{ intRoomId: number } | { strRoomId: string }} [roomId]
 * @property {CallMediaType} [callMediaType] Of a room that this begins; 1 when left out.
 *
 * @typedef {{ callId: string, roomId: RoomId, members: Member[] }} Entered
 *
 * @typedef {object} CurrentCall
 * @property {string | null} callId Null until the server has named it.
 * @property {RoomId | null} roomId
 * @property {CallMediaType} callMediaType
 * @property {CallRole} callRole
 * @property {"calling" | "ringing" | "begun"} phase Calling: others ring. Ringing: this user is being called.
 *
 * @typedef {{ deviceId: string, label: string }} Device The label is "" until a device was opened.
 * @typedef {{ microphone: Device[], camera: Device[], speaker: Device[] }} Devices
 * @typedef {{ mid: string, userId: string | null, source: Source, paused: boolean }} Slot
 * @typedef {{ rid?: string | null, active: boolean, maxBitrate?: number }} Encoding
 */
