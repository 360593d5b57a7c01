"""Ways into a cluster, as kubectl knows them: kubeconfigs, users, plugins, and what is wrong with each.

What the real kubectl makes of the same files is compared in tests/integration/cli.
"""

import json
import re
import stat
import sys

import pytest
import yaml
from torpor.cli.app import app
from torpor.cluster import credentials
from torpor.cluster.credentials import credential, tls
from torpor.cluster.kubeconfig import LoginError, login
from typer.testing import CliRunner

from tests.unit.cli.answers import PATH, Server

HERE = "https://127.0.0.1:1"


def document(user=None, *, cluster=None, name="now", **context):
    return {
        "clusters": [{"name": "here", "cluster": cluster or {"server": HERE}}],
        "users": [{"name": "me", "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": "here", "user": "me", **context}}],
        "current-context": name,
    }


@pytest.fixture
def write(clean, tmp_path):
    def write(content, name="config"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def plugin(tmp_path):
    """Makes a program that is a credential plugin."""

    def make(body, name="plugin"):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def printed(version="client.authentication.k8s.io/v1", **status):
    told = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return f"print(json.dumps({told!r}))"


def asking(command, **more):
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(command), **more}}


def headers(user, write):
    return dict(credential(login(write(document(user)), None)).headers)


def test_several_files_are_one_and_the_first_word_counts(write, monkeypatch, tmp_path):
    first = document({"token": "first"}, namespace="team")
    first["clusters"] = []
    second = document({"token": "second"}, name="other")
    files = [write(first, "a"), str(tmp_path / "absent"), write(second, "b"), write("", "empty")]
    monkeypatch.setenv("KUBECONFIG", ":".join(files))
    found = login(None, None)
    assert (found.server, found.namespace) == (HERE, "team")
    assert dict(credential(found).headers) == {"Authorization": "Bearer first"}
    assert login(None, "other").namespace == "default"


def test_a_relative_path_counts_from_its_file(write, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = write(document({"tokenFile": "deep/token"}), "sub/config")
    (tmp_path / "sub/deep").mkdir()
    write(" secret\n", "sub/deep/token")
    found = credential(login(config, None))
    assert found.headers == (("Authorization", "Bearer secret"),)
    assert not found.lasting


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ({"token": "t"}, {"Authorization": "Bearer t"}),
        ({"username": "a", "password": "b"}, {"Authorization": "Basic YTpi"}),
        ({"auth-provider": {"name": "oidc", "config": {"id-token": "i"}}}, {"Authorization": "Bearer i"}),
        (
            {"token": "t", "as": "eve", "as-uid": "7", "as-user-extra": {"a/b": ["c"]}},
            {
                "Authorization": "Bearer t",
                "Impersonate-User": "eve",
                "Impersonate-Uid": "7",
                "Impersonate-Extra-a%2Fb": "c",
            },
        ),
        ({}, {}),
    ],
)
def test_who_asks(user, told, write):
    assert headers(user, write) == told


def test_a_plugin_is_asked_as_kubectl_asks_it(write, plugin, tmp_path):
    heard = tmp_path / "heard"
    body = f"open({str(heard)!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'] + os.environ['WHO'])\n"
    command = plugin(body + printed(token="from-plugin"))
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"a": 1}}
    user = asking(
        f"./{command.name}", provideClusterInfo=True, env=[{"name": "WHO", "value": "me"}], args=["x"]
    )
    cluster = {"server": HERE, "insecure-skip-tls-verify": True, "extensions": [extension]}
    found = login(write(document(user, cluster=cluster)), None)
    assert dict(credential(found).headers) == {"Authorization": "Bearer from-plugin"}
    assert heard.read_text().endswith("me")
    info = json.loads(heard.read_text().removesuffix("me"))
    assert info["kind"] == "ExecCredential"
    assert info["spec"]["cluster"] == {
        "server": HERE,
        "insecure-skip-tls-verify": True,
        "config": {"a": 1},
    }


@pytest.mark.parametrize(
    ("body", "more", "words"),
    [
        ("sys.exit('please\\nlog in')", {}, 'plugin, the login of user "me", failed: please log in'),
        ("print('{}')", {}, "printed no ExecCredential"),
        (printed("client.authentication.k8s.io/v1beta1", token="x"), {}, "make both the same"),
        (printed(clientCertificateData="x"), {}, "neither a token nor a certificate with its key"),
        (printed(token="x"), {"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "update the plugin"),
        (printed(token="x"), {"interactiveMode": "Always"}, "must ask at a terminal, and there is none"),
        (
            printed(token="x"),
            {"command": "./absent", "installHint": "get it at x.org"},
            "No such file or directory; get it at x.org",
        ),
        ("import time\ntime.sleep(600)", {}, "does not end within 0.5 s"),
        (printed(token="x"), {"command": ""}, "must name a command"),
    ],
)
def test_a_plugin_that_does_not_help_is_named(  # noqa: PLR0917 - three are fixtures
    body, more, words, write, plugin, monkeypatch
):
    if "sleep" in body:
        monkeypatch.setattr(credentials, "SECONDS", 0.5)
    user = asking(plugin(body))
    user["exec"] |= more
    with pytest.raises(LoginError, match=re.escape(words)) as caught:
        credential(login(write(document(user)), None))
    assert "\n" not in str(caught.value)


def test_a_token_that_ends_is_asked_for_again(clean, write, plugin, tmp_path):
    count = tmp_path / "count"
    body = f"open({str(count)!r}, 'a').write('x')\nn = os.path.getsize({str(count)!r})\n"
    answers = iter([(401, {"message": "Unauthorized"}), (200, {"items": []})])
    server = Server({PATH: lambda _: next(answers)})
    user = asking(
        plugin(
            body + "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', "
            "'kind': 'ExecCredential', 'status': {'token': f't{n}'}}))"
        )
    )
    cluster = {"server": f"http://127.0.0.1:{server.http.server_port}"}
    try:
        config = write(document(user, cluster=cluster, namespace="team"))
        result = CliRunner().invoke(app, ["status", "--kubeconfig", config])
    finally:
        server.stop()
    assert (result.exit_code, "there is no InferenceService" in result.output) == (0, True)
    assert [dict(sent)["Authorization"] for sent in server.headers] == ["Bearer t1", "Bearer t2"]


def test_a_pod_logs_in_as_its_account(clean, write, tmp_path, monkeypatch):
    monkeypatch.setattr("torpor.cluster.kubeconfig.ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    with pytest.raises(LoginError, match="the pod's service account cannot be read"):
        login(None, None)
    for name, text in (("token", "t\n"), ("namespace", "team\n"), ("ca.crt", "PEM")):
        write(text, name)
    found = login(None, None)
    assert (found.server, found.namespace, found.ca) == ("https://[fd00::1]:6443", "team", "PEM")
    assert dict(credential(found).headers) == {"Authorization": "Bearer t"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is no YAML"),
        ("- a", "is no kubeconfig: it holds no fields"),
        ("clusters: x\ncurrent-context: a", "has no context"),
        ({"contexts": [{"name": "a"}]}, "has no current-context; name one with --context: a"),
        ({"contexts": "x", "current-context": "a"}, "contexts must be a list"),
        ({"contexts": [{}], "current-context": "a"}, "each of contexts must have a name"),
        (document() | {"current-context": "b"}, 'has no context "b"; name one with --context: now'),
        (document() | {"clusters": []}, 'context "now" names cluster "here", which is nowhere'),
        (document() | {"users": []}, 'context "now" names user "me", which is nowhere'),
        (document(cluster={"server": ""}), 'cluster "here" has no server'),
        (document(cluster={"server": 7}), 'server of cluster "here": must be text'),
        (document(cluster={"server": "ftp://x"}), "must begin with https:// or http://"),
        (
            document(cluster={"server": HERE, "certificate-authority-data": "%%"}),
            'certificate-authority-data of cluster "here": must be base64 of PEM',
        ),
        (
            document(cluster={"server": HERE, "certificate-authority": "gone"}),
            'certificate-authority of cluster "here" cannot be read',
        ),
        (document(cluster={"server": HERE, "certificate-authority-data": "eA=="}), "cannot be used"),
        (document({"client-certificate-data": "eA=="}), "needs client-certificate and client-key"),
        (document({"client-certificate-data": "eA==", "client-key-data": "eA=="}), "cannot be used"),
        (document({"tokenFile": "gone"}), 'tokenFile of user "me" cannot be read'),
        (document({"token": 7}), 'token of user "me": must be text'),
        (document({"auth-provider": {"name": "gcp"}}), "use its exec plugin"),
        (document(cluster={"server": HERE, "proxy-url": "gopher://x"}), "the proxy of"),
    ],
)
def test_a_kubeconfig_that_is_wrong_is_a_sentence(content, words, write):
    config = write(content)
    result = CliRunner().invoke(app, ["status", "--kubeconfig", config])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 3
    assert words in result.output
    assert len(result.output.splitlines()) == 1


def test_a_bare_host_is_a_server_and_insecure_means_it(write):
    found = login(write(document(cluster={"server": "h:1", "insecure-skip-tls-verify": True})), None)
    assert found.server == "https://h:1"
    assert not tls(found, credential(found)).check_hostname
    assert login(write(document(cluster={"server": "h:1"})), None).server == "http://h:1"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, "<html>log in</html>", "is no API server (what it answers is no object of Kubernetes)"),
        (302, "", "is no API server"),
    ],
)
def test_a_server_that_is_none_is_told(status, body, words, cluster):
    config = cluster({PATH: (status, body)}, namespace="team")
    result = CliRunner().invoke(app, ["status", "--kubeconfig", config])
    assert (result.exit_code, words in result.output) == (3, True), result.output


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(cluster, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    config = cluster({PATH: (200, {"items": []})}, namespace="team")
    assert CliRunner().invoke(app, ["status", "--kubeconfig", config]).exit_code == 0


def test_a_proxy_of_the_kubeconfig_is_asked(clean, write):
    proxy = Server({"http://kubernetes.example/apis/serving.torpor.dev": (200, {"versions": []})})
    server = {
        "server": "http://kubernetes.example",
        "proxy-url": f"http://127.0.0.1:{proxy.http.server_port}",
    }
    try:
        result = CliRunner().invoke(
            app, ["status", "--kubeconfig", write(document({"token": "t"}, cluster=server))]
        )
    finally:
        proxy.stop()
    assert (result.exit_code, "knows no InferenceService" in result.output) == (3, True), result.output
    assert dict(proxy.headers[0])["Host"] == "kubernetes.example"
