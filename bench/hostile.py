"""Does a healthy client notice 500 hostile ones? Its latency with and without them, interleaved in one run.

    python bench/hostile.py [--json] [--clients 500] [--blocks 5] [--requests 400]

A gateway process, an engine, the hostile clients and the healthy one are four processes on loopback. Blocks
without and with hostile clients follow each other, so that whatever else the machine does meets both. Two
kinds are measured: `loris` sends a request's head byte by byte, one a second; `deaf` asks for a stream of a
megabyte and reads none of it. Whoever is cut off comes back at once.

`arriving` is the healthy client's p99 while the crowd has just come: 500 streams begin at once, and what the
kernel and the gateway buffer of them (some hundred megabytes) flows first. That is load, which as many honest
clients would make too. `among` is taken once the gateway has come to rest, and has the goal.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from statistics import median, quantiles

GOAL = 2.0
BODY = b'{"model":"llm","prompt":"hi"}'
ASK = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
UNARY = ASK % (len(BODY), BODY)
STREAM_BODY = b'{"model":"llm","prompt":"hi","stream":true}'
STREAM = ASK % (len(STREAM_BODY), STREAM_BODY)
EVENT = b'data: {"choices":[{"text":"' + b"x" * 4000 + b'"}]}\n\n'


async def engine(port: int) -> None:
    """Answer at once; a stream is a megabyte, then its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                if b'"stream":true' in await reader.readexactly(length):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
                    writer.write(b"transfer-encoding: chunked\r\n\r\n")
                    for _ in range(256):
                        writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
                        await writer.drain()
                    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
                else:
                    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"ok":true}')
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


async def hostile(kind: str, port: int, clients: int) -> None:
    """Be that many hostile clients until killed; says `ready`, then nothing."""
    loop = asyncio.get_running_loop()
    begun = 0

    async def one() -> None:
        nonlocal begun
        first = True
        while True:
            with contextlib.suppress(OSError), socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", port))
                begun, first = begun + first, False
                if kind == "deaf":
                    await loop.sock_sendall(sock, STREAM)
                    await asyncio.sleep(3600)
                for byte in UNARY[:-1]:
                    await loop.sock_sendall(sock, bytes((byte,)))
                    await asyncio.sleep(1.0)
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(one()) for _ in range(clients)]
    while begun < clients:  # noqa: ASYNC110 - once, at the start
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    print("ready", flush=True)
    await asyncio.gather(*tasks)


def healthy(port: int, requests: int) -> list[float]:
    """Send requests one after the other on one connection; return the seconds that each took."""
    took = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            begin = time.perf_counter()
            sock.sendall(UNARY)
            answer = b""
            while not answer.endswith(b'{"ok":true}'):
                data = sock.recv(65536)
                if not data:
                    raise RuntimeError(f"the healthy client was cut off after {answer!r}")
                answer += data
            took.append(time.perf_counter() - begin)
            time.sleep(0.001)
    return took


def p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]


def settle(pid: int, seconds: float = 30.0) -> None:
    """Wait until the process takes less than a tenth of a core. Raises RuntimeError if it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        begin, before = time.monotonic(), processor_seconds(pid)
        time.sleep(0.5)
        if processor_seconds(pid) - before < 0.1 * (time.monotonic() - begin):
            return
    raise RuntimeError("the gateway does not come to rest")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def measure(clients: int, blocks: int, requests: int) -> dict[str, dict[str, float]]:
    """Return, for each kind of hostile client, the healthy one's figures without and with them."""
    port, behind = free_port(), free_port()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:

        def begin(*command: str, **more: int) -> "subprocess.Popen[str]":
            process = subprocess.Popen(command, text=True, **more)  # type: ignore[call-overload]
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        file = Path(folder, "fleets.yaml")
        file.write_text(f'fleets: [{{name: llm, endpoints: ["127.0.0.1:{behind}"]}}]')
        begin(sys.executable, __file__, "--engine", str(behind))
        gateway = begin(
            sys.executable, "-m", "torpor_gateway", "--static", str(file),
            "--listen", f"127.0.0.1:{port}", "--log-level", "ERROR",
        )  # fmt: skip
        for each in (behind, port):
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", each)).close()
                    break
                if time.monotonic() > deadline:
                    raise RuntimeError(f"nobody listens on port {each}")
                time.sleep(0.05)
        healthy(port, 50)
        for kind in ("loris", "deaf"):
            alone, arriving, among = [], [], []
            for _ in range(blocks):
                alone.append(healthy(port, requests))
                crowd = begin(
                    sys.executable, __file__, "--hostile", kind, "--port", str(port),
                    "--clients", str(clients), stdout=subprocess.PIPE,
                )  # fmt: skip
                assert crowd.stdout is not None
                if crowd.stdout.readline() != "ready\n":
                    raise RuntimeError("the hostile clients did not begin")
                arriving.append(healthy(port, requests))
                settle(gateway.pid)
                among.append(healthy(port, requests))
                crowd.kill()
                crowd.wait()
                time.sleep(1.5)  # the gateway notices
            before, after = median(map(p99, alone)), median(map(p99, among))
            found[kind] = {
                "p50_ms_alone": 1000 * median(chain(*alone)),
                "p50_ms_among": 1000 * median(chain(*among)),
                "p99_ms_alone": 1000 * before,
                "p99_ms_arriving": 1000 * median(map(p99, arriving)),
                "p99_ms_among": 1000 * after,
                "p99_ratio": after / before,
                "goal": GOAL,
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400, help="of the healthy client in each block")
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--hostile", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        asyncio.run(engine(arguments.engine))
    elif arguments.hostile:
        asyncio.run(hostile(arguments.hostile, arguments.port, arguments.clients))
    else:
        found = measure(arguments.clients, arguments.blocks, arguments.requests)
        if arguments.json:
            print(json.dumps(found, indent=2))
        else:
            for kind, row in found.items():
                print(
                    f"{arguments.clients} {kind}: "
                    f"p50 {row['p50_ms_alone']:.2f} -> {row['p50_ms_among']:.2f} ms, "
                    f"p99 {row['p99_ms_alone']:.2f} -> {row['p99_ms_among']:.2f} ms, "
                    f"{row['p99_ratio']:.2f} times (goal: at most {GOAL:g})"
                )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
