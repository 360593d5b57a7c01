"""What can be wrong between a person and a cluster, with a real API server: one sentence with the next step,
a documented exit status, no traceback, and nothing written that was not wanted.
"""

import json

import pytest
import yaml
from torpor.api import constants as c
from torpor.cli.app import app
from torpor.cluster import resources
from torpor.cluster.resources import Resource
from typer.testing import CliRunner

from tests.unit.api.examples import fleet


@pytest.fixture
def person(kube, namespace, kubeconfig, tmp_path):
    """Makes the kubeconfig of somebody who may do some things with fleets of this namespace and no more."""

    def make(*verbs):
        kube.kubectl("create", "serviceaccount", "person", "-n", namespace)
        if verbs:
            told = f"--verb={','.join(verbs)}"
            what = f"--resource={c.PLURAL}.{c.GROUP}"
            kube.kubectl("create", "role", "person", "-n", namespace, told, what)
            who = f"--serviceaccount={namespace}:person"
            kube.kubectl("create", "rolebinding", "person", "-n", namespace, "--role=person", who)
        document = yaml.safe_load(kubeconfig.read_text())
        token = kube.kubectl("create", "token", "person", "-n", namespace).stdout.strip()
        document["users"][0]["user"] = {"token": token}
        document["contexts"][0]["context"]["namespace"] = namespace
        path = tmp_path / "person"
        path.write_text(json.dumps(document))
        return str(path)

    return make


@pytest.fixture
def one(kube, namespace):
    """A fleet."""
    manifest = fleet() | {"metadata": {"name": "one", "namespace": namespace}}
    assert kube.create(manifest).status_code == 201
    return kube.path(manifest)


def torpor(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_fleet_that_is_not_there(namespace, kubeconfig, one):
    for command in ("explain", "status", "logs", "wake", "sleep", "restart"):
        code, told = torpor(command, "two", "-n", namespace, "--kubeconfig", kubeconfig)
        expected = f"there is no InferenceService two in namespace {namespace}; there is one; name another"
        assert (code, expected in told, len(told.splitlines())) == (1, True, 1), told


@pytest.mark.parametrize(
    ("group", "version", "words"),
    [
        ("absent.torpor.dev", "v1", "knows no InferenceService of absent.torpor.dev; is Torpor installed"),
        (c.GROUP, "v9", f"serves {c.GROUP} as {c.VERSION}, and this torpor speaks v9; install the torpor of"),
    ],
)
@pytest.mark.parametrize("arguments", [["status", "-A"], ["explain", "one"], ["wake", "one", "--yes"]])
def test_a_cluster_without_torpor_or_with_another(  # noqa: PLR0917 - two are fixtures
    group, version, words, arguments, kubeconfig, monkeypatch
):
    monkeypatch.setattr(resources, "FLEETS", Resource(f"{group}/{version}", c.KIND, c.PLURAL))
    monkeypatch.setattr(c, "GROUP", group)
    monkeypatch.setattr(c, "VERSION", version)
    code, told = torpor(*arguments, "--kubeconfig", kubeconfig)
    assert (code, words in told, len(told.splitlines())) == (3, True, 1), told


def test_who_may_do_nothing_is_told_what_is_missing(person, namespace):
    config = person()
    for command in (
        ["status"],
        ["status", "-A"],
        ["explain", "one"],
        ["logs", "one"],
        ["wake", "one", "--yes"],
    ):
        code, told = torpor(*command, "--kubeconfig", config)
        assert code == 3
        assert f'User "system:serviceaccount:{namespace}:person" cannot' in told
        assert told.rstrip().endswith("; ask its administrator for that right")
        assert len(told.splitlines()) == 1


def test_who_may_only_read_sees_the_fleets_and_wakes_none(person, kube, one, namespace):
    config = person("get", "list")
    code, told = torpor("status", "--live", "--kubeconfig", config)
    assert (code, told.count("\n")) == (0, 3), told
    assert "note: no tokens per second: " in told
    assert "cannot list resource" in told
    assert "no operator has looked at it yet" in told
    before = kube.http.get(one).json()
    code, told = torpor("wake", "one", "--yes", "--kubeconfig", config)
    assert (code, "refuses to annotate" in told, "cannot patch" in told) == (3, True, True), told
    assert kube.http.get(one).json() == before


def test_nothing_is_written_without_yes(person, kube, one):
    config = person("get", "list", "patch")
    before = kube.http.get(one).json()
    for verb in ("wake", "sleep", "restart"):
        code, told = torpor(verb, "one", "--kubeconfig", config)
        assert (code, "nothing was written; say --yes" in told) == (2, True), told
    assert kube.http.get(one).json() == before
    code, told = torpor("wake", "one", "--yes", "--kubeconfig", config)
    assert code == 0, told
    assert kube.http.get(one).json()["metadata"]["annotations"][c.ANNOTATION_WAKE_AT]


def test_a_fleet_without_pods_has_no_log(one, namespace, kubeconfig):
    code, told = torpor("logs", "one", "-n", namespace, "--kubeconfig", kubeconfig)
    assert (code, "has no pod: it sleeps" in told) == (1, True), told
