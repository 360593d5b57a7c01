"""Servers that are down, silent, slow, cut short, or no Prometheus: one sentence each, and never a hang."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from torpor.history.prometheus import Prometheus
from torpor.history.source import HistoryError

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = {
    "status": "success",
    "data": {"resultType": "vector", "result": [{"metric": {"pod": "a"}, "value": [5, "7"]}]},
}


@contextlib.contextmanager
def server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that does to each connection what `serve` does, until it is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(30)
                        serve(connection, over)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def answer(
    body: bytes, status: str = "200 OK", more: int = 0
) -> Callable[[socket.socket, threading.Event], None]:
    def serve(connection: socket.socket, over: threading.Event) -> None:
        del over
        connection.recv(65536)
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body) + more}\r\n"
        )
        connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)

    return serve


def refused(address: str, seconds: float = 30.0) -> str:
    with pytest.raises(HistoryError) as raised:
        Prometheus(address, seconds=seconds).instant('up{a="b"}', 5.0)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_an_answer_becomes_series_and_its_warnings_are_kept() -> None:
    body = json.dumps(GOOD | {"warnings": ["store x: timeout, partial response"]}).encode()
    with server(answer(body)) as address:
        source = Prometheus(address)
        (found,) = source.instant("up", 5.0)
        source.instant("up", 5.0)
    assert (found.labels, found.times.tolist(), found.values.tolist()) == ({"pod": "a"}, [5.0], [7.0])
    assert source.notes == ["store x: timeout, partial response"]


def test_one_that_is_down() -> None:
    assert "cannot be reached" in refused(f"http://127.0.0.1:{free_port()}")


def test_one_that_accepts_and_never_answers() -> None:
    def silent(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        over.wait(60)

    with server(silent) as address:
        text = refused(address, 0.3)  # whichever of the two clocks is first
    assert "did not answer within 0.3 s" in text or "no whole answer within 0.3 s" in text


def test_one_that_sends_a_byte_now_and_then_for_ever() -> None:
    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not over.wait(0.05):  # each byte is well within any timeout between two
            connection.sendall(b" ")

    with server(drip) as address:
        assert "no whole answer within 0.6 s" in refused(address, 0.6)


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (answer(json.dumps(GOOD).encode()[:40], more=500), "broke off|half of it"),
        (answer(json.dumps(GOOD).encode()[:40]), "half of it"),
        (answer(b"<html>Grafana</html>"), "no Prometheus' JSON"),
        (answer(b'{"status":"success"}'), "no Prometheus' JSON"),
        (answer(b'{"data":{"result":[{"metric":{}}]}}'), "no list of series"),
        (answer(b"", "401 Unauthorized"), "--token-file"),
        (answer(b"404 page not found", "404 Not Found"), "address of a Prometheus"),
        (answer(b'{"error":"query processing would load too many samples"}', "422 Unprocessable"), "--since"),
        (
            answer(b'{"error":"parse error: oh"}', "400 Bad Request"),
            'answered 400: parse error: oh.*up{a="b"}',
        ),
        (answer(b"busy", "503 Service Unavailable"), "answered 503: busy"),
    ],
)
def test_what_is_no_answer_is_a_sentence(
    serve: Callable[[socket.socket, threading.Event], None], said: str
) -> None:
    with server(serve) as address:
        text = refused(address)
    import re

    assert re.search(said, text), text


def test_nothing_is_asked_twice() -> None:
    asked = []

    def count(connection: socket.socket, over: threading.Event) -> None:
        asked.append(1)
        answer(b"", "503 Service Unavailable")(connection, over)

    with server(count) as address:
        refused(address)
    assert len(asked) == 1


def test_a_password_in_the_address_is_not_repeated() -> None:
    text = refused(f"http://me:secret@127.0.0.1:{free_port()}")
    assert "secret" not in text


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(HistoryError, match="must be an address"):
        Prometheus("prometheus:9090")
