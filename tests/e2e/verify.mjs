// Verifies a captured delivery with the Standard Webhooks library of npm: verify.mjs SECRET HEADERS.json BODY.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// From where tests/run has installed it.
const require = createRequire(`${process.env.VERIFIERS}/`);
const { Webhook } = require("standardwebhooks");

const [secret, headersFile, bodyFile] = process.argv.slice(2);
const headers = JSON.parse(readFileSync(headersFile, "utf8"));
const body = readFileSync(bodyFile, "utf8");
const event = new Webhook(secret).verify(body, headers);
let taken = true;
try {
    new Webhook(secret).verify(body + " ", headers);
} catch {
    taken = false;
}
if (taken) {
    throw new Error("another body was taken for it");
}
console.log(event.type, event.id);
