"""A gateway with a certificate of its own: requests are held over HTTPS, and a renewal breaks no stream."""

import json
import socket
from urllib.parse import urlsplit

import httpx

from e2e.support import install
from e2e.support.gateways import lives, look_again
from e2e.support.metrics import metric
from e2e.support.waiting import until
from tests.authority import Authority

SECRET = "gateway-tls"
ADMIN = 9090
# A step takes 50 ms, so a stream of this length outlives every renewal here.
ENGINE = ["--startup-seconds=2", "--step-ms=50,0,0,0", "--max-model-len=65536", "--kv-tokens=4000000"]
LONG = 20_000  # tokens
CERTIFICATE = "torpor_gateway_certificate_"


def test_requests_are_held_over_https_and_a_renewed_certificate_breaks_no_stream(world, ns, make, own):
    authority, name = Authority(), f"*.{ns}.svc.cluster.local"
    first = authority.issue(more=(name,))
    kind = {"type": "kubernetes.io/tls", "stringData": first.entries}
    world.cluster.create("secrets", {"metadata": {"name": SECRET}, **kind}, own.namespace)
    fleet = make("veiled", wait=False, args=ENGINE, scaling={"maxReplicas": 1, "idleSeconds": 600})
    own.install(gateways=2, gateway={"tls": {"enabled": True, "secretName": SECRET}})
    fleet.wait_asleep()

    url = urlsplit(until("the fleet has an address", lambda: fleet.status().get("url")))
    assert url.scheme == "https", url
    door = Door(own, authority, url.hostname)
    with door.client() as client:
        assert client.get(door.url("/v1/models"), extensions=door.name).status_code == 200
        before = lives(own)
        with door.chat(client, fleet, max_tokens=LONG) as flowing:
            lines = flowing.iter_lines()
            held = next(line for line in lines if line)
            assert held.startswith(":"), held  # a comment: it was held while the fleet woke
            assert next(line for line in lines if line.startswith("data: {"))
            assert door.shown(12) == {first.der}

            second = authority.issue(more=(name,))
            renew(own, second.entries, lambda: door.shown(12) == {second.der})
            assert say(own, "expiry_timestamp_seconds") == {second.ends.timestamp()}

            # A key that is another certificate's: the old pair stays, and the gateways say so.
            renew(own, {"tls.key": first.key}, lambda: say(own, "stale") == {1.0})
            assert door.shown(12) == {second.der}

            read = [
                json.loads(next(line for line in lines if line.startswith("data: {"))[6:]) for _ in range(20)
            ]
            assert all(piece["choices"] for piece in read), "the stream of the first certificate was cut"
        assert lives(own) == before, "a gateway was restarted for a certificate"


def say(own, what):
    """What the gateways' metrics say of their certificates."""
    return {metric(own.cluster, pod, ADMIN, CERTIFICATE + what) for pod in own.pods(install.GATEWAY)}


class Door:
    """The way of a client outside of the cluster's DNS: the Service's address, and the name that it wants."""

    def __init__(self, own, authority, host):
        self.address, self.context, self.host = own.gateway, authority.client(), host
        self.name = {"sni_hostname": host}

    def url(self, path):
        return f"https://{self.address}{path}"

    def client(self):
        return httpx.Client(verify=self.context, timeout=120)

    def chat(self, client, fleet, **more):
        said = {
            "model": fleet.name,
            "messages": [{"role": "user", "content": "Hello?"}],
            "stream": True,
            **more,
        }
        headers = {"Host": self.host}
        return client.stream(
            "POST", self.url("/v1/chat/completions"), json=said, headers=headers, extensions=self.name
        )

    def shown(self, times):
        """The certificates that so many new connections are shown: enough that no gateway is left out."""
        found = set()
        for _ in range(times):
            with (
                socket.create_connection((self.address.host, self.address.port), timeout=30) as plain,
                self.context.wrap_socket(plain, server_hostname=self.host) as veiled,
            ):
                found.add(veiled.getpeercert(binary_form=True))
        return found


def renew(own, entries, done):
    """Write the Secret and wait until the gateways have it."""
    own.cluster.patch("secrets", SECRET, {"stringData": entries}, own.namespace)

    def check():
        look_again(own)
        return done()

    until("the gateways have taken the change", check, every=0.5)
