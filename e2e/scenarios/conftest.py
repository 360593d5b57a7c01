"""The session that all scenarios share, their order, and what is kept of one that fails.

Run them with `pytest e2e/scenarios`; without options they bring up the local cluster, build and load the
images and install the chart. `--kubeconfig FILE --context NAME` uses a cluster that is up already, if it
is one of ours.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.support import artifacts, install, machine
from e2e.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from e2e.support.fleets import Fleet

# Scenarios that leave Torpor's own pods alone come first, while the stories that began early are waiting in
# the background; then those that kill and roll; the uninstall ends the session.
ORDER = (
    "hold_and_wake",
    "scale_out",
    "wakes_under_traffic",
    "failing_wake",
    "engine_deleted",
    "bad_specs",
    "two_fleets",
    "rollout",
    "first_token",
    "asleep_from_birth",
    "eviction",
    "gateway_rolled",
    "operator_killed",
    "install_and_uninstall",
)
FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torpor e2e")
    group.addoption(
        "--kubeconfig", help="a cluster that is up; default: the local cluster, brought up if needed"
    )
    group.addoption("--context", help="its context: torpor-local or kind-torpor")
    group.addoption("--keep-install", action="store_true", help="leave the release installed at the end")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    unknown = {folder(item) for item in items} - set(ORDER)
    if unknown:
        raise pytest.UsageError(
            f"folders without a place in ORDER of e2e/scenarios/conftest.py: {sorted(unknown)}"
        )
    items.sort(key=lambda item: ORDER.index(folder(item)))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240))


def folder(item: pytest.Item) -> str:
    return item.path.parent.name


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


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Cluster, images, install; then every early story of the selected scenarios begins."""
    options = request.config.option
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(flush=True)  # progress belongs on the screen: the first time this takes a quarter of an hour
        prepared = machine.prepare(options.kubeconfig, options.context)
    install.install(prepared)
    machine.advertise_gpus(prepared.cluster)
    gateway = install.gateway_address(prepared.cluster)
    made = World(prepared, gateway, artifacts.folder())
    for item in request.session.items:
        module: Any = getattr(item, "module", None)
        if hasattr(module, "head_start"):
            made.begin(module.__name__, module.head_start)
    yield made
    made.close()
    if not options.keep_install:
        install.uninstall(prepared)
    machine.release()


@pytest.fixture
def early(request: pytest.FixtureRequest, world: World) -> Any:
    """The result of this module's `head_start`."""
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
