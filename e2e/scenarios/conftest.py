"""The session that all scenarios share, their order, and what is kept of one that fails.

Run them with `pytest e2e/scenarios`; without options they bring up the local cluster, build and load the
images and install the chart. `--kubeconfig FILE --context NAME` uses a cluster that is up already, if it
is one of ours.

Scenarios spend most of their time waiting, so several may run side by side (`-n 3`): the session's
controlling process prepares the cluster and the install, and each worker finds them. Those that lay
hands on Torpor's own pods or on the node are marked `disruptive` and have to run alone, one after the other;
`e2e/run.sh` does both.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from e2e.support import artifacts, install, machine
from e2e.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from e2e.support.fleets import Fleet

# Modules whose story begins early come first, since they take longest; the uninstall ends the session.
ORDER = (
    "rollout",
    "first_token",
    "failing_wake",
    "wakes_under_traffic",
    "scale_out",
    "recommend",
    "work_rate",
    "hold_and_wake",
    "engine_deleted",
    "bad_specs",
    "two_fleets",
)
DISRUPTIVE = (
    "asleep_from_birth",
    "eviction",
    "gateway_rolled",
    "operator_killed",
    "schedule",
    "install_and_uninstall",
)
ONE_STORY = ("first_token", "failing_wake")  # folders in which several tests judge one early story
FAILED = pytest.StashKey[bool]()
PREPARED = pytest.StashKey[machine.Machine]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torpor e2e")
    group.addoption(
        "--kubeconfig", help="a cluster that is up; default: the local cluster, brought up if needed"
    )
    group.addoption("--context", help="its context: torpor-local or kind-torpor")
    group.addoption("--keep-install", action="store_true", help="leave the release installed at the end")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = (*ORDER, *DISRUPTIVE)
    unknown = {folder(item) for item in items} - set(order)
    if unknown:
        raise pytest.UsageError(f"folders without a place in e2e/scenarios/conftest.py: {sorted(unknown)}")
    items.sort(key=lambda item: (not waits_for_a_story(item), order.index(folder(item))))
    for item in items:
        if folder(item) in DISRUPTIVE:
            item.add_marker("disruptive")
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240))


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
        return
    # Progress belongs on the screen: the first time this takes a quarter of an hour.
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        try:
            prepared = machine.prepare(options.kubeconfig, options.context)
            install.install(prepared)
        except subprocess.CalledProcessError as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            pytest.exit(f"no cluster with Torpor to test: {error}\n{notes}", returncode=3)
    machine.advertise_gpus(prepared.cluster)
    config.stash[PREPARED] = prepared


class OneByOne(LoadScopeScheduling):
    """Gives each worker one test after the other; tests that wait for the same story stay together."""

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
        install.uninstall(config.stash[PREPARED])
    machine.release()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    if report.when == "call" and report.failed and "ns" in getattr(item, "fixturenames", ()):
        world, namespace = item.funcargs["world"], item.funcargs["ns"]  # type: ignore[attr-defined]
        report.sections.append(("cluster", world.dump(namespace, item.name)))
    return report


# --- what tests ask for ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The prepared cluster. Where one process runs all, every early story of the selected tests begins."""
    prepared = request.config.stash[PREPARED]
    made = World(prepared, install.gateway_address(prepared.cluster), artifacts.folder())
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
def rounds() -> int:
    """How often the scenarios that count wakes repeat themselves: TORPOR_E2E_WAKES, 4 unless set."""
    return int(os.environ.get("TORPOR_E2E_WAKES", "4"))
