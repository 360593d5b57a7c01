"""The session that all scenarios belong to, their order, and what is kept of one that fails.

Run them with `pytest e2e/scenarios`; without options they bring up the local cluster, build and load the
images and install the chart. `--kubeconfig FILE --context NAME` uses a cluster that is up already, if it
is one of ours.

A scenario is of one of three parts. Most share a release and bear each other (`together`). Those that
hurt the node or the shared release itself are marked `alone`. Those that kill, roll or deceive Torpor's
pods ask for the fixture `own` and get a release of their own; they bear each other too, but not the shared
release, which serves every namespace, theirs included.

Scenarios spend most of their time waiting, so those of a part that bear each other may run side by side
(`--part own -n 4`): the session's controlling process prepares cluster and install, and each worker finds
them. `e2e/run.sh` runs the three parts one after the other, and so does one process without options.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from e2e.support import artifacts, install, machine
from e2e.support.own import OwnRelease
from e2e.support.world import LABEL, World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from e2e.support.fleets import Fleet
    from e2e.support.kube import Cluster

# What begins first, by test or by folder: the longest, so that no worker is left with one at the end.
FIRST = (
    "rollout::test_without_a_spare_gpu",
    "first_token",
    "failing_wake",
    "wakes_under_traffic::test_wakes_and_sleeps",
    "wakes_under_traffic",
    "schedule::test_a_day_opens",
    "operator_killed::test_a_scale_down",
    "operator_killed",
    "monitoring",
    "keys_and_limits",
    "encrypted_gateway",
    "eviction",
    "hold_and_wake::test_a_plain_request",
    "engine_deleted",
    "rollout",
    "scale_out",
    "command_line",
    "work_rate",
    "recommend",
    "asleep_from_birth",
    "gateway_rolled",
    "two_fleets",
    "schedule",
    "bad_specs::test_what",
    "bad_specs::test_a_model_name",
    "install_and_uninstall",
    "hold_and_wake",
    "bad_specs",
)
TOGETHER, ALONE, OWN = PARTS = ("together", "alone", "own")
# Folders whose tests stay with one worker: several judge one early story, or share a release of their own.
ONE_STORY = ("first_token", "failing_wake", "keys_and_limits")
FAILED = pytest.StashKey[bool]()
PREPARED = pytest.StashKey[machine.Machine]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torpor e2e")
    group.addoption(
        "--kubeconfig", help="a cluster that is up; default: the local cluster, brought up if needed"
    )
    group.addoption("--context", help="its context: torpor-local or kind-torpor")
    group.addoption("--keep-install", action="store_true", help="leave the release installed at the end")
    group.addoption("--part", choices=PARTS, help="only this part; default: all, part by part")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unknown = {folder(item) for item in items if rank(item) == len(FIRST)}
    if unknown:
        raise pytest.UsageError(f"folders without a place in e2e/scenarios/conftest.py: {sorted(unknown)}")
    items.sort(key=lambda item: (PARTS.index(part(item)), not waits_for_a_story(item), rank(item)))
    wanted = config.option.part
    if wanted:
        config.hook.pytest_deselected(items=[item for item in items if part(item) != wanted])
        items[:] = [item for item in items if part(item) == wanted]
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


def part(item: pytest.Item) -> str:
    """Which of the PARTS a test belongs to."""
    if "own" in getattr(item, "fixturenames", ()):
        return OWN
    return ALONE if item.get_closest_marker("alone") else TOGETHER


def rank(item: pytest.Item) -> int:
    """The place of the first entry of FIRST that means this test; the number of all where none does."""
    name = f"{folder(item)}::{item.name}"
    return next((place for place, entry in enumerate(FIRST) if name.startswith(entry)), len(FIRST))


def folder(item: pytest.Item) -> str:
    return item.path.parent.name


def waits_for_a_story(item: pytest.Item) -> bool:
    return "early" in getattr(item, "fixturenames", ())


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


# --- the install, made once by the process that the others work for ---------------------------------


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    options = config.option
    if options.collectonly:
        return
    if is_worker(config):
        builds = config.workerinput["builds"]  # type: ignore[attr-defined]
        config.stash[PREPARED] = machine.attach(options.kubeconfig, options.context, builds)
    elif has_workers(config):
        if options.part not in (TOGETHER, OWN):
            raise pytest.UsageError(f"side by side run only --part {TOGETHER} or --part {OWN}")
        prepare(config, shared=options.part == TOGETHER)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    if config.option.collectonly or is_worker(config) or has_workers(config) or not session.items:
        return
    prepare(config, shared=any(part(item) != OWN for item in session.items))


def has_workers(config: pytest.Config) -> bool:
    return bool(config.getoption("numprocesses", None))


def prepare(config: pytest.Config, *, shared: bool) -> None:
    """Bring the cluster up, take away what a killed session left, and install the release that is `shared`,
    or only the API where every scenario brings its own.
    """
    # Progress belongs on the screen: the first time this takes a quarter of an hour.
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        try:
            prepared = machine.prepare(config.option.kubeconfig, config.option.context)
            sweep(prepared.cluster)
            if shared:
                install.install(prepared)
            else:
                unshare(prepared)
        except subprocess.CalledProcessError as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            pytest.exit(f"no cluster with Torpor to test: {error}\n{notes}", returncode=3)
    machine.advertise_gpus(prepared.cluster)
    config.stash[PREPARED] = prepared


def sweep(cluster: Cluster) -> None:
    """Delete the namespaces of a session that was killed, and with them its releases. Only one session has
    the cluster at a time, so none of them is in use.
    """
    for namespace in cluster.list("namespaces", labelSelector=LABEL):
        cluster.delete("namespaces", namespace["metadata"]["name"])


def unshare(prepared: machine.Machine) -> None:
    """Take the shared release away, so that none serves the namespaces of those that come; the API stays."""
    install.uninstall(prepared)
    install.define(prepared)


class OneByOne(LoadScopeScheduling):
    """Gives each worker one test after the other; those of one story stay together."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.split("/")[-2]
        return name if name in ONE_STORY else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return OneByOne(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["builds"] = node.config.stash[PREPARED].builds


@pytest.hookimpl(trylast=True)  # after xdist has ended its workers
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if is_worker(config) or PREPARED not in config.stash:
        return
    if not config.option.keep_install:
        install.uninstall(config.stash[PREPARED])  # nothing where there is none
    machine.release()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    if report.when == "call" and report.failed and "ns" in getattr(item, "fixturenames", ()):
        given = item.funcargs  # type: ignore[attr-defined]
        system = given["own"].namespace if "own" in given else install.NAMESPACE
        report.sections.append(("cluster", given["world"].dump(given["ns"], item.name, system)))
    return report


# --- what tests ask for ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The prepared cluster. Where one process runs all, every early story of the selected tests begins."""
    made = World(request.config.stash[PREPARED], artifacts.folder())
    if not is_worker(request.config):
        for item in request.session.items:
            if waits_for_a_story(item):
                begin(made, item)
    yield made
    made.close()


def begin(world: World, item: Any) -> None:
    """Begin the early story of a test's module, once."""
    world.begin(item.module.__name__, item.module.head_start)


@pytest.fixture
def early(request: pytest.FixtureRequest, world: World) -> Any:
    """The result of this module's `head_start`."""
    begin(world, request.node)
    return world.early(request.module.__name__)


@pytest.fixture
def ns(request: pytest.FixtureRequest, world: World) -> Iterator[str]:
    """A fresh namespace for one test."""
    name = world.open_namespace(Path(request.path).parent.name)
    yield name
    world.close_namespace(name)


@pytest.fixture
def make(world: World, ns: str) -> Callable[..., Fleet]:
    """Create fleets in the test's namespace: `make("name", scaling={...}, args=[...], wait=True)`."""

    def create(name: str, **spec: Any) -> Fleet:
        return world.make(ns, name, **spec)

    return create


@pytest.fixture(scope="session")
def unshared(request: pytest.FixtureRequest, world: World) -> None:
    """The shared release is gone. Where a session has workers, it was never there."""
    if not is_worker(request.config):
        unshare(world.machine)


@pytest.fixture
def own(request: pytest.FixtureRequest, world: World, unshared: None, ns: str) -> Iterator[OwnRelease]:
    """A release for this test and its namespace alone, not yet installed: `own.install(operators=2)`."""
    home = world.open_namespace(f"{Path(request.path).parent.name[:19]}-home")
    yield OwnRelease(world.machine, home, ns)
    world.close_namespace(home)


@pytest.fixture(scope="session")
def rounds() -> int:
    """How often the scenarios that count wakes repeat themselves: TORPOR_E2E_WAKES, 4 unless set."""
    return int(os.environ.get("TORPOR_E2E_WAKES", "4"))
