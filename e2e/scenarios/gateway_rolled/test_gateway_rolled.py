"""Both gateway pods are replaced while streams run and requests are held in them."""

from e2e.support import install
from e2e.support.load import Burst, Load
from e2e.support.waiting import until


def test_a_rolled_gateway_keeps_streams_and_held_requests(own, make):
    own.install(gateways=2)
    awake = make("awake", args=["--startup-seconds=1", "--step-ms=20,0,0,0"], scaling={"minReplicas": 1})
    asleep = make("asleep", args=["--startup-seconds=10"])
    awake.wait_replicas(1)
    old = {pod["metadata"]["name"] for pod in own.pods(install.GATEWAY)}
    assert len(old) >= 2
    streams = Burst(own.gateway, awake.model, 8, {"stream": True, "max_tokens": 500})  # 10 seconds
    held = Burst(own.gateway, asleep.model, 8, {"max_tokens": 10})
    with Load(own.gateway, awake.model, clients=4, max_tokens=20, pause=0.1) as load:
        until("the sleeping fleet was woken", lambda: asleep.replicas() == 1, every=0.02)
        own.kubectl("rollout", "restart", "deployment", install.GATEWAY)
        own.kubectl("rollout", "status", "deployment", install.GATEWAY, "--timeout=240s")
        held_tally, stream_tally = held.end(), streams.end()
        until("some traffic has passed the new pods", lambda: len(load.outcomes) >= 20)
        tally = load.end()
    assert not old & {pod["metadata"]["name"] for pod in own.pods(install.GATEWAY)}
    stream_tally.must_be_whole(at_least=8)
    held_tally.must_be_whole(at_least=8)
    tally.must_be_whole(at_least=20)
