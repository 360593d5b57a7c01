"""The lease: one holder, a fence that closes before anybody else may write, no trust in wall clocks."""

import copy

import pytest
from torpor.cluster.client import ApiError
from torpor.cluster.lease import LEASE_SECONDS, RENEW_DEADLINE, RETRY_SECONDS, Election


class Server:
    """One Lease with optimistic concurrency, as the API server keeps it. `down` refuses every request."""

    def __init__(self):
        self.lease, self.version, self.down, self.patience = None, 0, False, []

    async def get(self, resource, namespace, name, *, seconds):
        self.patience.append(seconds)
        if self.down:
            raise ApiError(0, "down", "no answer")
        return copy.deepcopy(self.lease)

    async def request(self, method, path, *, body, seconds):
        self.patience.append(seconds)
        if self.down:
            raise ApiError(0, "down", "no answer")
        known = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if (method == "POST" and self.lease) or (
            method == "PUT" and body["metadata"]["resourceVersion"] != known
        ):
            raise ApiError(409, "Conflict", "changed")
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def candidate(server, name, clock):
    return Election(server, "ns", "lease", name, clock=clock)


async def test_the_first_candidate_leads_and_the_second_waits(clock):
    server = Server()
    a, b = candidate(server, "a", clock), candidate(server, "b", clock)
    assert await a._try()
    assert not await b._try()
    assert a.leading
    assert not b.leading


async def test_a_holder_that_stops_renewing_is_replaced_after_its_full_duration(clock):
    server = Server()
    a, b = candidate(server, "a", clock), candidate(server, "b", clock)
    await a._try()
    await b._try()
    clock.now += LEASE_SECONDS - 0.1
    assert not await b._try()
    clock.now += 0.2
    assert await b._try()
    assert b.transitions == 1


async def test_the_fence_closes_before_anybody_can_take_over(clock):
    server = Server()
    a, b = candidate(server, "a", clock), candidate(server, "b", clock)
    await a._try()
    await b._try()
    clock.now += RENEW_DEADLINE
    assert not a.leading
    assert not await b._try()
    assert RENEW_DEADLINE < LEASE_SECONDS


async def test_a_frozen_leader_finds_itself_replaced(clock):
    server = Server()
    a, b = candidate(server, "a", clock), candidate(server, "b", clock)
    await a._try()
    await b._try()
    clock.now += 60
    assert await b._try()
    assert not a.leading
    assert not await a._try()


async def test_renewals_keep_the_lease_and_an_unreachable_server_loses_it(clock):
    server = Server()
    a = candidate(server, "a", clock)
    for _ in range(10):
        assert await a._try()
        clock.now += 2
    assert a.leading
    server.down = True
    with pytest.raises(ApiError):
        await a._try()
    clock.now += RENEW_DEADLINE
    assert not a.leading


async def test_a_request_that_hangs_leaves_time_for_a_whole_renewal(clock):
    server = Server()
    a = candidate(server, "a", clock)
    await a._try()
    server.patience.clear()
    await a._try()
    hangs, renewal = max(server.patience), sum(server.patience)
    assert RETRY_SECONDS + hangs + RETRY_SECONDS < RENEW_DEADLINE
    assert RETRY_SECONDS + renewal < RENEW_DEADLINE


async def test_a_lease_given_back_is_free_at_once(clock):
    server = Server()
    a, b = candidate(server, "a", clock), candidate(server, "b", clock)
    await a._try()
    await a.release()
    assert not a.leading
    assert await b._try()


async def test_a_lost_race_is_no_leadership(clock):
    server = Server()
    a, b = candidate(server, "a", clock), candidate(server, "b", clock)
    original = server.get

    async def get_and_lose(*place, **limits):
        found = await original(*place, **limits)
        server.get = original
        await b._try()
        return found

    server.get = get_and_lose
    assert not await a._try()
    assert b.leading
    assert not a.leading
