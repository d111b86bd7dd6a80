"""Verifies a captured delivery with the Standard Webhooks library of PyPI: verify.py SECRET HEADERS.json BODY."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

secret, headers, body = sys.argv[1:]
with open(headers) as file:
    headers = json.load(file)
with open(body, "rb") as file:
    body = file.read()
event = Webhook(secret).verify(body, headers)
try:
    Webhook(secret).verify(body + b" ", headers)
    sys.exit("another body was taken for it")
except WebhookVerificationError:
    pass
print(event["type"], event["id"])
