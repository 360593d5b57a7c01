"""List and watch against scripted responses: what is kept, what is asked again, what freshness says."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from torpor.api.names import FleetKey
from torpor_gateway.cluster import read_slice
from torpor_gateway.kube import Access, KubeError, Watch, find_access


class Kept:
    def __init__(self) -> None:
        self.items: dict[str, Any] = {}
        self.replaced = 0

    def replace(self, items: list[dict[str, Any]]) -> None:
        self.items = {item["metadata"]["name"]: item for item in items}
        self.replaced += 1

    def put(self, item: dict[str, Any]) -> None:
        if item.get("poison"):
            raise AttributeError("a shape that nobody foresaw")
        self.items[item["metadata"]["name"]] = item

    def remove(self, item: dict[str, Any]) -> None:
        self.items.pop(item["metadata"]["name"], None)


class Lines(httpx.AsyncByteStream):
    """A watch's body: events, cut at odd places; then it stays open or ends."""

    def __init__(self, *events: dict[str, Any], stays: bool = True) -> None:
        self.data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        self.stays = stays

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.data), 17):
            yield self.data[at : at + 17]
        if self.stays:
            await asyncio.Event().wait()


def thing(name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version)}, **more}


def listed(*items: dict[str, Any], version: int, more: str = "") -> httpx.Response:
    return httpx.Response(
        200, json={"items": items, "metadata": {"resourceVersion": str(version), "continue": more}}
    )


class World:
    """Answers requests from a script, in order; records what was asked."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.asked: list[dict[str, str]] = []
        self.kept = Kept()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(dict(request.url.params))
        step = self.script.pop(0) if self.script else httpx.Response(200, stream=Lines())
        if isinstance(step, Exception):
            raise step
        return step

    async def run(self, done: Any) -> Watch:
        access = Access("http://api", tls=None)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=httpx.MockTransport(self), base_url="http://api") as http:
            watch = Watch(http, access, "/things", self.kept, "a=b")
            task = asyncio.create_task(watch.run())
            try:
                async with asyncio.timeout(30):
                    while not done(watch):
                        assert not task.done(), task.exception()
                        await asyncio.sleep(0.005)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return watch


async def test_pages_then_events_then_on_from_the_last_version():
    world = World(
        listed(thing("a", 1), version=9, more="next"),
        listed(thing("b", 2), version=10),
        httpx.Response(
            200,
            stream=Lines(
                {"type": "ADDED", "object": thing("c", 11)},
                {"type": "MODIFIED", "object": thing("a", 12, new=True)},
                {"type": "DELETED", "object": thing("b", 13)},
                {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}},
                stays=False,
            ),
        ),
    )
    watch = await world.run(lambda _: len(world.asked) == 4)
    assert set(world.kept.items) == {"a", "c"}
    assert world.kept.items["a"]["new"]
    assert [ask.get("continue") for ask in world.asked[:2]] == [None, "next"]
    assert [ask.get("resourceVersion") for ask in world.asked[2:]] == ["10", "20"]
    assert all(ask["labelSelector"] == "a=b" for ask in world.asked)
    assert world.asked[2]["allowWatchBookmarks"] == "1" or world.asked[2]["allowWatchBookmarks"] == "true"
    assert watch.listed
    assert watch.synced
    assert world.kept.replaced == 1


@pytest.mark.parametrize(
    "gone",
    [
        httpx.Response(410, json={}),
        httpx.Response(
            200, stream=Lines({"type": "ERROR", "object": {"code": 410, "message": "too old"}}, stays=False)
        ),
    ],
)
async def test_too_old_is_listed_again(gone):
    world = World(listed(thing("old", 1), version=1), gone, listed(thing("new", 5), version=5))
    await world.run(lambda _: world.kept.replaced == 2)
    assert set(world.kept.items) == {"new"}


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.Response(500),
        httpx.Response(403),
        httpx.Response(200, stream=Lines({"no": "type"}, stays=False)),
        httpx.Response(200, stream=Lines({"type": "ERROR", "object": {"code": 500}}, stays=False)),
    ],
)
async def test_trouble_keeps_the_world_and_says_that_it_is_old(trouble):
    world = World(listed(thing("a", 1), version=1), httpx.Response(200, stream=Lines(stays=False)), trouble)
    states: list[bool] = []

    def recovered(watch: Watch) -> bool:
        watch.on_change = lambda: states.append(watch.synced)
        return states[-2:] == [False, True]

    await world.run(recovered)
    assert set(world.kept.items) == {"a"}
    assert world.kept.replaced == 1


async def test_an_object_that_breaks_the_reader_does_not_end_the_watch():
    poison = {"type": "ADDED", "object": thing("bad", 2, poison=True)}
    world = World(
        listed(version=1), httpx.Response(200, stream=Lines(poison)), listed(thing("good", 3), version=3)
    )
    await world.run(lambda _: "good" in world.kept.items)


@pytest.mark.parametrize("error", [KeyError("namespace"), AttributeError("x")])
async def test_a_list_that_could_not_be_taken_is_asked_for_again(error):
    world = World(listed(thing("a", 1), version=1), listed(thing("a", 2), version=2))
    replace = world.kept.replace

    def fails_once(items: list[dict[str, Any]]) -> None:
        world.kept.replace = replace  # type: ignore[method-assign]
        raise error

    world.kept.replace = fails_once  # type: ignore[method-assign]
    watch = await world.run(lambda watch: watch.synced)
    assert watch.listed
    assert set(world.kept.items) == {"a"}


@pytest.mark.parametrize(
    "script",
    [
        [httpx.Response(410, json={})] * 1000,
        [listed(version=1), *(httpx.Response(200, stream=Lines(stays=False)) for _ in range(1000))],
        [answer for _ in range(500) for answer in (listed(version=1), httpx.Response(410, json={}))],
    ],
    ids=["list is gone", "watch ends at once", "watch is gone"],
)
async def test_a_server_that_answers_nonsense_is_not_asked_without_pause(script):
    world = World(*script)
    began = asyncio.get_running_loop().time()
    await world.run(lambda _: asyncio.get_running_loop().time() - began > 0.5)
    assert len(world.asked) < 20


async def test_pages_that_expired_are_asked_for_from_the_first():
    world = World(
        listed(thing("a", 1), version=9, more="next"),
        httpx.Response(410, json={}),
        listed(thing("b", 2), version=10),
    )
    await world.run(lambda watch: watch.synced)
    assert set(world.kept.items) == {"b"}


async def test_nothing_is_synced_before_the_first_list():
    world = World(httpx.ConnectError("refused"), httpx.ConnectError("refused"))
    watch = await world.run(lambda _: len(world.asked) >= 2)
    assert not watch.listed or watch.synced


def test_a_slice_is_read_ready_or_not_with_its_ports():
    addresses = read_slice(
        {
            "addressType": "IPv4",
            "ports": [{"name": "launcher", "port": 7001}, {"name": "engine", "port": 7000}],
            "endpoints": [
                {
                    "addresses": ["10.0.0.1"],
                    "conditions": {"ready": False},
                    "targetRef": {"name": "p-1", "uid": "u-1"},
                },
                {
                    "addresses": ["10.0.0.2"],
                    "conditions": {"ready": True, "terminating": True},
                    "targetRef": {"name": "p-2", "uid": "u-2"},
                },
                {"addresses": ["10.0.0.3"]},
            ],
        }
    )
    assert [(a.host, a.engine_port, a.launcher_port, a.pod, a.pod_uid, a.terminating) for a in addresses] == [
        ("10.0.0.1", 7000, 7001, "p-1", "u-1", False),
        ("10.0.0.2", 7000, 7001, "p-2", "u-2", True),
        ("10.0.0.3", 7000, 7001, "10.0.0.3", "10.0.0.3", False),
    ]
    assert read_slice({"addressType": "FQDN", "endpoints": [{"addresses": ["x"]}]}) == ()
    assert FleetKey("a", "b") == ("a", "b")


def test_a_kubeconfig_with_a_plug_in_is_refused(tmp_path):
    file = tmp_path / "config"
    file.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "https://h:1/"}}],
                "users": [{"name": "u", "user": {"exec": {"command": "x"}}}],
            }
        )
    )
    with pytest.raises(KubeError, match="exec is not supported"):
        find_access({"KUBECONFIG": str(file)})
    file.write_text(file.read_text().replace('"exec": {"command": "x"}', '"token": "t"'))
    access = find_access({"KUBECONFIG": str(file)})
    assert (access.server, access.headers()) == ("https://h:1", {"Authorization": "Bearer t"})
    with pytest.raises(KubeError, match="--static"):
        find_access({})


def test_the_token_file_is_read_each_time(tmp_path):
    file = tmp_path / "token"
    access = Access("https://h", tls=None, token_file=file)  # type: ignore[arg-type]
    with pytest.raises(KubeError, match="cannot be read"):
        access.headers()
    for token in ("one", "two"):
        file.write_text(token + "\n")
        assert access.headers() == {"Authorization": f"Bearer {token}"}
