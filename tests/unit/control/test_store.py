"""The store believes the newest news, and lists about what is gone."""

from torpor.api import names
from torpor.cluster.resources import FLEETS, PODS
from torpor.control.store import GRAVES, Store

from tests.unit.control.worlds import KEY, fleet


def a_pod(name, version, uid="u", **more):
    metadata = {
        "name": name,
        "namespace": KEY.namespace,
        "uid": uid,
        "resourceVersion": str(version),
        "labels": names.pod_selector(KEY.name),
        "managedFields": [{"manager": "kubelet"}],
    }
    return {"metadata": metadata, "spec": {"containers": [{"name": "engine"}], "nodeName": "n1"}} | more


def test_older_news_is_ignored():
    store = Store()
    assert store.put(PODS, a_pod("a", 5, status={"phase": "Running"}))
    assert not store.put(PODS, a_pod("a", 4, status={"phase": "Pending"}))
    assert store.pods(KEY)[0]["status"] == {"phase": "Running"}


def test_a_successor_of_the_same_name_is_news_whatever_its_version():
    store = Store()
    store.put(PODS, a_pod("a", 5, uid="old"))
    assert store.put(PODS, a_pod("a", 3, uid="new"))
    assert not store.remove(PODS, a_pod("a", 6, uid="old"))
    assert store.pods(KEY)[0]["metadata"]["uid"] == "new"


def test_an_answer_that_comes_after_the_deletion_brings_nobody_back():
    store = Store()
    store.put(PODS, a_pod("a", 5))
    assert store.remove(PODS, a_pod("a", 7))
    assert not store.put(PODS, a_pod("a", 6))
    store.put(PODS, a_pod("b", 5, uid="b"))
    store.replace(PODS, [], "9", None)
    assert not store.put(PODS, a_pod("b", 6, uid="b"))
    assert store.pods(KEY) == []


def test_the_dead_are_remembered_in_bounds():
    store = Store()
    for number in range(GRAVES + 1):
        store.remove(PODS, a_pod("a", 5, uid=str(number)))
    assert store.put(PODS, a_pod("a", 6, uid="0"))
    assert not store.put(PODS, a_pod("a", 6, uid="1"))


def test_what_nobody_reads_is_not_kept():
    store = Store()
    store.put(PODS, a_pod("a", 5))
    kept = store.pods(KEY)[0]
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == {"nodeName": "n1"}


def test_a_list_drops_ghosts_and_names_their_fleets():
    store = Store()
    store.put(PODS, a_pod("ghost", 5))
    store.put(PODS, a_pod("kept", 5))
    store.put(PODS, a_pod("younger-than-the-list", 50))
    assert store.replace(PODS, [a_pod("kept", 5)], "40", None) == {KEY}
    assert [item["metadata"]["name"] for item in store.pods(KEY)] == ["kept", "younger-than-the-list"]


def test_a_list_of_one_namespace_says_nothing_about_others():
    store = Store()
    store.put(FLEETS, fleet())
    assert store.replace(FLEETS, [], "100", "elsewhere") == set()
    assert store.get(FLEETS, *KEY) is not None


def test_a_list_that_brings_nothing_new_names_nobody():
    store = Store()
    store.put(PODS, a_pod("a", 5))
    assert store.replace(PODS, [a_pod("a", 5)], "40", None) == set()
