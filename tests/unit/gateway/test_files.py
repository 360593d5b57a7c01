"""Counting open files: who gets one, who waits for one, and what the system's refusal teaches."""

import asyncio
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway import files
from torpor_gateway.files import OTHERS, Files, raise_limit
from torpor_gateway.upstream import Pool

ROOM = 80  # files for connections, in most tests here


def of(room: int = ROOM) -> Files:
    """Return files of which so many are for connections; the reserve is an eighth of all."""
    return Files(room + OTHERS)


def test_the_limit_is_raised_to_what_may_be_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(files.resource, "getrlimit", lambda _: (100, 5000))
    monkeypatch.setattr(files.resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert raise_limit() == 5000
    assert asked == [(5000, 5000)]


def test_a_system_that_does_not_raise_it_is_believed(monkeypatch):
    def refuse(which: int, limits: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(files.resource, "getrlimit", lambda _: (100, files.resource.RLIM_INFINITY))
    monkeypatch.setattr(files.resource, "setrlimit", refuse)
    assert raise_limit() == 100


@pytest.mark.parametrize(("limit", "wanted", "possible"), [
    (64, 10_000, 32),
    (1024, 10_000, 872),
    (20_000, 10_000, 10_000),
    (20_000, 100_000, 17_476),
    (10, 10_000, 1),
])  # fmt: skip
def test_ten_thousand_clients_need_little_more_than_ten_thousand_files(limit, wanted, possible):
    assert Files(limit).bound(wanted) == possible


def test_the_reserve_is_for_engines_alone():
    held = of()
    while not held.crowded:
        held.clients += 1
    assert held.clients == ROOM - held.reserve + 1, "one more is told so, and needs a file for that"
    assert not held.overrun
    while held.take():
        assert held.engines <= held.reserve
    assert held.clients + held.engines == ROOM
    assert held.overrun


def test_who_found_no_file_is_called_when_there_is_one_and_only_then():
    told, shrunk = [], []
    held = of()
    held.found = lambda: told.append(held.left)
    held.shrink = lambda: shrunk.append(held.left)
    held.clients = ROOM
    held.client_closed()
    assert told == [], "nobody waited"
    assert held.take()
    assert not held.take()
    assert shrunk == [0], "what nobody uses is closed first"
    held.give()
    assert told == [1]
    held.give()
    assert told == [1], "once"


def test_what_the_system_refuses_is_others_until_it_has_a_file_again(monkeypatch, caplog):
    held = of()
    held.clients = 3
    told = []
    held.found = lambda: told.append(True)
    begun = os.open

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(files.os, "open", refuse)
    held.look(0, 100.0)
    assert (held.left, held.shortages, held.take()) == (0, 1, False)
    held.look(0, 101.0)
    assert held.shortages == 2
    assert sum("open files are used up" in line for line in caplog.messages) == 1, "once a minute"
    monkeypatch.setattr(files.os, "open", begun)
    held.look(0, 102.0)
    assert (held.left, held.shortages, told) == (ROOM - 3, 2, [True])


def test_streams_of_launchers_are_others():
    held = of()
    held.look(launchers=50, now=0.0)
    assert held.left == ROOM - 50


@given(st.integers(1, 5000), st.lists(st.sampled_from(["come", "leave", "take", "give"]), max_size=300))
def test_no_file_is_given_away_twice_and_none_is_lost(limit, steps):
    held = Files(limit)
    for step in steps:
        if step == "come" and not held.crowded:
            held.clients += 1
        elif step == "leave" and held.clients:
            held.client_closed()
        elif step == "take":
            held.take()
        elif step == "give" and held.engines:
            held.give()
        assert held.clients + held.engines + held.left == max(limit - OTHERS, held.clients + held.engines)
        assert held.clients + held.engines <= max(0, limit - OTHERS)
        assert held.bound(limit) >= 1


def test_a_connection_that_never_was_gives_its_file_back():
    """Cancelled before it began, refused by the engine, and made and closed: each exactly once."""

    async def work() -> list[int]:
        loop = asyncio.get_running_loop()
        held, counts = of(), []
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = Pool(loop, "127.0.0.1", port, 4.0, 5.0, files=held)
        heard: asyncio.Queue[object] = asyncio.Queue()

        class Receiver:
            def connected(self, connection):
                heard.put_nowait(connection)

            def not_connected(self, error):
                heard.put_nowait(error)

        task = pool.connect(Receiver())
        counts.append(held.engines)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        counts.append(held.engines)
        pool.connect(Receiver())
        connection = await heard.get()
        await asyncio.sleep(0)
        counts.append(held.engines)
        connection.abort()
        while held.engines:  # noqa: ASYNC110 - the loop tells nobody but the pool
            await asyncio.sleep(0.001)
        counts.append(held.engines)
        server.close()
        await server.wait_closed()
        pool.connect(Receiver())
        assert "failed" in str(await heard.get())
        await asyncio.sleep(0)
        return [*counts, held.engines]

    assert asyncio.run(asyncio.wait_for(work(), 30)) == [1, 0, 1, 0, 0]
