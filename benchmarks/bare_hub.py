"""The peer of the fleet benchmark: a hub in memory on bare asyncio that parks polls and answers them, and no more."""

import asyncio
import json
import subprocess
import sys

ANSWER = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Hub:
    """Every event so far, and who waits for the next."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        seen = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
                body = await reader.readexactly(length)
                if head.startswith(b"POST"):
                    self.events.append({"data": json.loads(body)["data"]})
                    self.changed.set()
                    self.changed = asyncio.Event()
                    writer.write(ANSWER % (202, 2, b"{}"))
                    continue
                while seen == len(self.events):
                    await self.changed.wait()
                text = json.dumps({"events": self.events[seen:]}).encode()
                seen = len(self.events)
                writer.write(ANSWER % (200, len(text), text))
        except asyncio.IncompleteReadError:
            writer.close()


async def main() -> None:
    """Serve on any free port, and say which."""
    server = await asyncio.start_server(Hub().serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def start() -> tuple["subprocess.Popen[bytes]", int]:
    """Start it in a process of its own; gives that and its port."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_hub"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


if __name__ == "__main__":
    asyncio.run(main())
