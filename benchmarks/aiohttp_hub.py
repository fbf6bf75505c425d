"""The peer of the publish benchmark: a hub in memory on aiohttp that takes events from anybody.

Runs under the Python of aiohttp's own environment. Parsing and encoding are orjson's, the fastest.
"""

import asyncio
import sys
import time
from collections import deque
from typing import Any

import orjson
from aiohttp import web

events: deque[dict[str, Any]] = deque(maxlen=10_000)


async def publish(request: web.Request) -> web.Response:
    """Take an event, and answer what the sidecar answers."""
    body = orjson.loads(await request.read())
    sequence = events[-1]["sequence"] + 1 if events else 1
    event = {
        "event_id": f"0123456789abcdef-{sequence}",
        "sequence": sequence,
        "event_type": request.match_info["event_type"],
        "topic": body["topic"],
        "data": body["data"],
        "timestamp": time.time(),
    }
    events.append(event)
    answer = {
        "event_id": event["event_id"],
        "sequence": sequence,
        "cursor": f"0123456789abcdef-{sequence}",
        "published": True,
        "subscribers_notified": [],
        "subscriber_count": 0,
        "topic": body["topic"],
        "ttl_seconds": 86400,
        "timestamp": event["timestamp"],
    }
    return web.Response(body=orjson.dumps(answer), status=202, content_type="application/json")


async def main() -> None:
    """Serve on the port that was named."""
    app = web.Application()
    app.router.add_post("/api/events/{event_type}", publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
