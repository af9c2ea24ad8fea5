"""Sends what a test says with the code of docs/examples/verify.py, and prints what came of each.

One JSON document a line: {"subject", "payload"} in; {"reply"}, {"refused", "document"} or {"no_outcome"} out.
"""

import asyncio
import json
import sys

from verify import NoOutcome, Refused, ask, connect


async def main():
    bus = await connect()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = {"reply": await ask(bus, request["subject"], request["payload"].encode())}
        except Refused as error:
            result = {"refused": error.code, "document": error.document}
        except NoOutcome as error:
            result = {"no_outcome": str(error)}
        print(json.dumps(result))
    await bus.drain()


asyncio.run(main())
