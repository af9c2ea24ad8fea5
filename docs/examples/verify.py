"""Asks Latchkey over NATS whom credentials stand for. Needs Python 3.9 and `pip install nats-py`.

Reads one credential a line and prints one JSON document a line:

    printf '%s\n' "$KEY" "$TOKEN" | NATS_URL=nats://127.0.0.1:4222 python verify.py
"""

import asyncio
import json
import os
import ssl
import sys

import nats
from nats.errors import NoRespondersError, TimeoutError

TIMEOUT_S = 3.0
MAX_BATCH = 100


class Refused(Exception):
    """The request is wrong. Sending it again changes nothing."""

    def __init__(self, code, sentence, document):
        super().__init__(f"{code} {sentence}: {document}")
        self.code, self.document = code, document


class NoOutcome(Exception):
    """Nobody could say. Accept nothing, answer 503, and try again shortly."""


async def connect():
    """Connects with NATS_URL, and NATS_USER, NATS_PASSWORD and NATS_CA_FILE where they are set."""
    options = {"servers": os.environ.get("NATS_URL", "nats://127.0.0.1:4222")}
    if "NATS_USER" in os.environ:
        options["user"] = os.environ["NATS_USER"]
        options["password"] = os.environ["NATS_PASSWORD"]
    if "NATS_CA_FILE" in os.environ:
        options["tls"] = ssl.create_default_context(cafile=os.environ["NATS_CA_FILE"])
    # The user `verifier` may receive replies under this prefix and no other.
    return await nats.connect(name="verifier", inbox_prefix="_INBOX_verifier", **options)


async def ask(bus, subject, payload):
    """Sends JSON bytes; gives the reply's document, or says why there is none."""
    headers = {"Content-Type": "application/json", "Latchkey-Timeout-Ms": str(int(TIMEOUT_S * 1000))}
    try:
        reply = await bus.request(subject, payload, timeout=TIMEOUT_S, headers=headers)
    except (NoRespondersError, TimeoutError) as error:
        raise NoOutcome(type(error).__name__) from error
    code = (reply.headers or {}).get("Nats-Service-Error-Code")
    if code is None:
        return json.loads(reply.data)
    sentence = reply.headers.get("Nats-Service-Error", "")
    if code.startswith("4") and reply.data:
        raise Refused(int(code), sentence, json.loads(reply.data))
    raise NoOutcome(f"{code} {sentence}")


async def verify(bus, credential, **required):
    """Gives {"outcome": …, "principal": …} for one access token or API key.

    What else is required of it is named as in docs/bus.md: required_scope="orders:read", kind="service", ip="203.0.113.7".
    """
    payload = json.dumps({"credential": credential, **required}).encode()
    return await ask(bus, "v1.verify", payload)


async def verify_batch(bus, credentials, **required):
    """Gives the same for each of up to 100 credentials, in their order."""
    payload = json.dumps({"credentials": credentials, **required}).encode()
    return (await ask(bus, "v1.verify.batch", payload))["results"]


async def main():
    credentials = [line.rstrip("\n") for line in sys.stdin]
    bus = await connect()
    try:
        if len(credentials) == 1:
            results = [await verify(bus, credentials[0])]
        else:
            results = []
            for start in range(0, len(credentials), MAX_BATCH):
                results += await verify_batch(bus, credentials[start : start + MAX_BATCH])
        for result in results:
            print(json.dumps(result))
    finally:
        await bus.drain()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (Refused, NoOutcome) as error:
        sys.exit(f"verify.py: {error}")
