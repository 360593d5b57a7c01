"""Names are derived, fit Kubernetes' bounds, and hosts lead back to the fleet they were made from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api import constants, names
from torpor.api.names import FleetKey

FLEET_NAMES = st.from_regex(r"\A[a-z]([-a-z0-9]{0,43}[a-z0-9])?\Z")
NAMESPACES = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


@given(name=FLEET_NAMES, namespace=NAMESPACES, port=st.none() | st.integers(1, 65535), dot=st.booleans())
def test_every_spelling_of_a_host_leads_to_its_fleet(
    name: str, namespace: str, port: int | None, dot: bool
) -> None:
    key = FleetKey(namespace, name)
    full = names.host(key)
    spellings = [full, full.removesuffix(".cluster.local"), f"{name}.{namespace}", full.upper()]
    for spelling in spellings:
        text = spelling + ("." if dot else "") + (f":{port}" if port else "")
        assert names.fleet_of_host(text) == key


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:80",
        "127.0.0.1",
        "10.0.0.1:8080",
        "[::1]:80",
        "a.b.c",
        "llm.example.com",
        "a.b.svc.other.domain",
        "a.b:",
        "a.b:http",
        "a..svc",
        ".b",
        "-a.b",
        "1a.b",
        "a_b.c",
        "a" * 46 + ".b",
        "a.b.svc.cluster.local.x",
        "a.b.pod",
    ],
)
def test_other_hosts_name_no_fleet(host: str) -> None:
    assert names.fleet_of_host(host) is None


def test_the_cluster_domain_is_a_setting() -> None:
    key = FleetKey("team", "smol")
    assert names.fleet_of_host("smol.team.svc.corp.internal", "corp.internal") == key
    assert names.fleet_of_host("smol.team.svc.cluster.local", "corp.internal") is None
    assert names.host(key, "corp.internal") == "smol.team.svc.corp.internal"


@given(text=st.text(max_size=80))
def test_no_text_breaks_host_parsing(text: str) -> None:
    key = names.fleet_of_host(text)
    assert key is None or (key.name.isascii() and len(key.name) <= constants.MAX_NAME_LENGTH)


@given(name=FLEET_NAMES)
def test_children_have_distinct_names_that_leave_room_for_pod_suffixes(name: str) -> None:
    derived = [names.engines(name), names.front(name), names.cache_claim(name)]
    assert len(set(derived)) == len(derived)
    assert all(len(child) + len("-1234567890") <= 63 for child in derived)


def test_the_engine_serves_both_names() -> None:
    assert names.served_names("team", "smollm2") == ("smollm2", "team/smollm2")
    assert names.model_name("smol", None) == "smol"
    assert names.model_name("smol", "smollm2") == "smollm2"


def test_the_selector_text_is_the_pods_selector() -> None:
    pairs = dict(pair.split("=") for pair in names.selector_text("smol").split(","))
    assert pairs == names.pod_selector("smol")
