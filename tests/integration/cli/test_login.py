"""The command line's own way into a cluster beside the real kubectl's: for the same kubeconfig, the real API
server must know both as the same user, or turn both away.
"""

import asyncio
import base64
import copy
import json
import stat
import sys

import pytest
import yaml
from torpor.cli.app import app
from torpor.cluster.errors import ApiError
from torpor.cluster.kubeconfig import LoginError, login
from torpor.cluster.light import Light
from typer.testing import CliRunner

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
NAMES = ("client-certificate", "client-key")
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


@pytest.fixture(scope="module")
def token(kube):
    """A token of a service account that may do nothing."""
    kube.kubectl("create", "serviceaccount", "nobody", "-n", "default")
    return kube.kubectl("create", "token", "nobody", "-n", "default").stdout.strip()


@pytest.fixture
def variants(kubeconfig, token, tmp_path):
    """The administrator's kubeconfig, and the same person or another by every other way in."""
    plain = yaml.safe_load(kubeconfig.read_text())
    inline = plain["users"][0]["user"]
    pair = [base64.b64decode(inline[f"{name}-data"]) for name in NAMES]
    status = dict(zip(("clientCertificateData", "clientKeyData"), map(bytes.decode, pair), strict=True))
    ca = base64.b64decode(plain["clusters"][0]["cluster"]["certificate-authority-data"])
    for name, content in zip(("token", "ca.crt", *NAMES), (token.encode(), ca, *pair), strict=True):
        (tmp_path / name).write_bytes(content)

    def plugin(name, told):
        version = "client.authentication.k8s.io/v1"
        answer = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": told})
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\nprint({answer!r})\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return {"exec": {"apiVersion": version, "command": f"./{name}", "interactiveMode": "Never"}}

    def made(who=None, cluster=None, without=()):
        found = copy.deepcopy(plain)
        kept = {k: v for k, v in found["clusters"][0]["cluster"].items() if k not in without}
        found["clusters"][0]["cluster"] = kept | (cluster or {})
        if who is not None:
            found["users"][0]["user"] = who
        return found

    authority = ("certificate-authority-data",)
    return {
        "inline": made(),
        "files": made({name: name for name in NAMES}, {"certificate-authority": "ca.crt"}, authority),
        "insecure": made(cluster={"insecure-skip-tls-verify": True}, without=authority),
        "server name": made(cluster={"tls-server-name": "localhost"}),
        "wrong server name": made(cluster={"tls-server-name": "example.com"}),
        "unknown authority": made(without=authority),
        "token": made({"token": token}),
        "token file": made({"tokenFile": "token", "token": "old"}),
        "wrong token": made({"token": "wrong"}),
        "plugin with a certificate": made(plugin("certificate", status)),
        "plugin with a token": made(plugin("token-plugin", {"token": token})),
        "certificate and token": made(inline | {"token": token}),
        "in another's name": made(
            inline | {"as": "eve", "as-groups": ["x", "y"], "as-user-extra": {"a/B_c d": ["1", "2"]}}
        ),
        "nobody": made({}),
    }


async def _review(path):
    client = Light(login(str(path), None))
    try:
        found = await client.request("POST", REVIEWS, body=REVIEW)
    finally:
        await client.close()
    return found["status"]["userInfo"]


def _known(path):
    """Return whom the server knows us as, or None and why not."""
    try:
        return asyncio.run(_review(path)), ""
    except (ApiError, LoginError) as error:
        return None, str(error)


def test_the_server_knows_both_as_the_same(kube, variants, tmp_path):
    known = {}
    for name, document in variants.items():
        path = tmp_path / "config"
        path.write_text(json.dumps(document))  # of YAML, Go reads y as true
        theirs = kube.kubectl("--kubeconfig", str(path), "auth", "whoami", "-o", "json", check=False)
        ours, why = _known(path)
        assert (ours is None) == (theirs.returncode != 0), f"{name}: we: {why}; kubectl: {theirs.stderr}"
        known[name] = None
        if ours is None:
            continue
        expected = json.loads(theirs.stdout)["status"]["userInfo"]
        for item in (ours, expected):  # differs from one request to the next
            item.get("extra", {}).pop("authentication.kubernetes.io/credential-id", None)
        assert ours == expected, name
        known[name] = ours["username"]
    assert {name for name, who in known.items() if who is None} == {
        "wrong server name",
        "unknown authority",
        "wrong token",
        "nobody",
    }
    assert len(set(known.values())) == 4, known  # the administrator, the account, eve, and none


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("token", 'cannot list resource "inferenceservices"'),
        ("wrong token", "does not accept the login of this context"),
        ("unknown authority", "does not answer"),
    ],
)
def test_who_is_turned_away_is_told_in_a_sentence(name, words, variants, tmp_path):
    path = tmp_path / "config"
    path.write_text(json.dumps(variants[name]))
    result = CliRunner().invoke(app, ["status", "-A", "--kubeconfig", str(path)])
    assert result.exit_code == 3
    assert words in result.output
    assert len(result.output.splitlines()) == 1
