"""What several workers get of one gateway's settings, and how their metrics become one gateway's."""

import socket

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry
from torpor_gateway.settings import Settings, SettingsError
from torpor_gateway.shares import check, reserve, share
from torpor_gateway.sums import Sums, snapshot

MIB = 1 << 20


def test_limits_are_divided_and_demand_ports_follow_each_other():
    whole = Settings(workers=3, max_connections=100, max_buffered_bytes=300 * MIB, pod_name="gw-0")
    shares = [share(whole, index, "0.0.0.0:8080") for index in range(3)]
    assert [one.demand_listen for one in shares] == ["0.0.0.0:8081", "0.0.0.0:8082", "0.0.0.0:8083"]
    assert {one.admin_listen for one in shares} == {""}
    assert [one.pod_name for one in shares] == ["gw-0/0", "gw-0/1", "gw-0/2"]
    assert {one.max_buffered_bytes for one in shares} == {100 * MIB}
    assert {one.max_connections for one in shares} == {34}
    assert share(Settings(workers=2, demand_listen="[::]:8081"), 1, "").demand_listen == "[::]:8082"
    assert share(Settings(workers=2, demand_listen=""), 1, "").demand_listen == ""


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (Settings(workers=64), "less than one body may have"),
        (Settings(workers=3, demand_listen="a:65534"), "beyond 65535"),
    ],
)
def test_what_several_cannot_do_is_refused(settings, rule):
    with pytest.raises(SettingsError, match=rf"TORPOR_WORKERS={settings.workers}: .*{rule}"):
        check(settings)


def test_the_port_is_ours_and_nobody_elses():
    held, listen = reserve("127.0.0.1:0")
    port = int(listen.rpartition(":")[2])
    with held, socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", port))
        worker.listen()
        with pytest.raises(OSError, match="in use"):
            reserve(listen)  # another gateway, which would get half of the connections
        with socket.create_connection(("127.0.0.1", port)):  # the one that only holds it takes none
            worker.accept()[0].close()


class Counts(Collector):
    """A worker's metrics. `requests` by fleet and status."""

    def __init__(self, requests, held=0, synced=1, seen=()):
        self.requests, self.held, self.synced, self.seen = requests, held, synced, seen

    def collect(self):
        labels = ("namespace", "name", "code")
        requests = CounterMetricFamily("torpor_gateway_requests", "x", labels=labels)
        for (name, code), count in self.requests.items():
            requests.add_metric(("ns", name, code), count)
        held = GaugeMetricFamily("torpor_gateway_held_requests", "x", labels=("namespace", "name"))
        held.add_metric(("ns", "a"), self.held)
        times = HistogramMetricFamily("torpor_gateway_hold_seconds", "x", labels=("namespace", "name"))
        rows = [("1", len([s for s in self.seen if s <= 1])), ("+Inf", len(self.seen))]
        times.add_metric(("ns", "a"), rows, sum(self.seen))
        yield from (requests, held, times)
        yield GaugeMetricFamily("torpor_gateway_synced", "x", value=self.synced)
        yield GaugeMetricFamily("torpor_gateway_routable_endpoints", "x", value=2)
        yield GaugeMetricFamily("process_open_fds", "x", value=7)


def told(*arguments, **more):
    registry = CollectorRegistry()
    registry.register(Counts(*arguments, **more))
    return snapshot(registry)


def page(sums):
    registry = CollectorRegistry()
    registry.register(sums)
    lines = generate_latest(registry).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


REQUESTS = 'torpor_gateway_requests_total{code="%s",name="a",namespace="ns"}'


def test_counts_of_workers_are_added_up_and_the_worst_speaks_for_all():
    sums = Sums()
    sums.latest["0"] = told({("a", "200"): 3}, held=1, seen=(0.5, 4.0))
    sums.latest["1"] = told({("a", "200"): 4, ("a", "503"): 1}, held=2, synced=0, seen=(0.25,))
    shown = page(sums)
    assert shown[REQUESTS % 200] == "7.0"
    assert shown[REQUESTS % 503] == "1.0"
    assert shown['torpor_gateway_held_requests{name="a",namespace="ns"}'] == "3.0"
    assert shown['torpor_gateway_hold_seconds_bucket{le="1",name="a",namespace="ns"}'] == "2.0"
    assert shown['torpor_gateway_hold_seconds_count{name="a",namespace="ns"}'] == "3.0"
    assert shown['torpor_gateway_hold_seconds_sum{name="a",namespace="ns"}'] == "4.75"
    assert shown["torpor_gateway_synced"] == "0.0"
    assert shown["torpor_gateway_routable_endpoints"] == "2.0"  # the same pods, seen by both
    assert {name for name in shown if name.startswith("process")} == {
        'process_open_fds{worker="0"}',
        'process_open_fds{worker="1"}',
    }


def test_what_a_dead_worker_counted_stays_and_what_it_held_does_not():
    sums = Sums()
    sums.latest["0"] = told({("a", "200"): 3}, held=1, seen=(0.5,))
    sums.latest["1"] = told({("a", "200"): 4, ("a", "499"): 2}, held=2, seen=(0.5,))
    sums.retire("1")
    for _ in range(2):
        shown = page(sums)
        assert (shown[REQUESTS % 200], shown[REQUESTS % 499]) == ("7.0", "2.0")
        assert shown['torpor_gateway_held_requests{name="a",namespace="ns"}'] == "1.0"
        assert shown['torpor_gateway_hold_seconds_count{name="a",namespace="ns"}'] == "2.0"
    sums.latest["1"] = told({("a", "200"): 1})
    assert page(sums)[REQUESTS % 200] == "8.0"
    sums.retire("1")
    assert page(sums)[REQUESTS % 200] == "8.0"


def test_a_fleet_that_none_knows_any_more_has_no_past():
    sums = Sums()
    sums.latest["0"] = told({("a", "200"): 3})
    sums.latest["1"] = told({("b", "200"): 4})
    sums.retire("1")
    assert not [name for name in page(sums) if 'name="b"' in name]
    sums.latest["1"] = told({("b", "200"): 1})  # one of that name is new, and counts from nothing
    assert page(sums)[(REQUESTS % 200).replace('"a"', '"b"')] == "1.0"
