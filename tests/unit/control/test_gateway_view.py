"""What gateways say, added up: each request once, each arrival once, each pod by its freshest report."""

from torpor.api.names import FleetKey
from torpor.cluster.gateway_view import SILENT_SECONDS, GatewayView, merge
from torpor.cluster.ledger import Ledger

KEY = FleetKey("team", "llm")


def line(boot="b1", **more):
    return {
        "type": "fleet",
        "bootId": boot,
        "gateway": "gw",
        "namespace": "team",
        "name": "llm",
        "uid": "u",
    } | more


def heartbeat(boot="b1", synced=True):
    return {"type": "heartbeat", "bootId": boot, "gateway": "gw", "state": "Serving", "synced": synced}


class Gateways:
    """Some processes and the total of what arrived."""

    def __init__(self, count=1):
        self.views = [GatewayView(f"10.0.0.{n}:8081") for n in range(count)]
        self.ledger = Ledger()

    def say(self, *lines, at=0.0, gateway=0):
        for told in lines:
            self.views[gateway].take(told, at, self.ledger)

    def merged(self, at=0.0, uid="u"):
        return merge(self.views, KEY, uid, self.ledger, at)


def test_a_silent_world_is_not_an_idle_one():
    gateways = Gateways()
    assert gateways.merged().gap == "gateway 10.0.0.0:8081 is silent; no gateway reports"
    gateways.say(heartbeat(), line(held={"count": 2}), heartbeat())
    assert gateways.merged().gap == ""
    assert gateways.merged(at=SILENT_SECONDS + 1).gap
    assert gateways.merged(at=SILENT_SECONDS + 1).held == 0


def test_what_all_hold_is_as_old_as_the_word_of_the_quietest_of_those_that_report():
    gateways = Gateways(2)
    assert gateways.merged().age is None
    gateways.say(heartbeat(), line(), at=1.0)
    gateways.say(heartbeat("b2"), at=4.0, gateway=1)
    assert gateways.merged(at=6.0).age == 5.0
    assert gateways.merged(at=1.0 + SILENT_SECONDS).age == SILENT_SECONDS - 3.0


def test_a_gateway_that_just_connected_or_has_stale_watches_cannot_vouch_for_silence():
    gateways = Gateways()
    gateways.say(line())
    assert "just connected" in gateways.merged().gap
    gateways.say(heartbeat())
    assert "just connected" in gateways.merged().gap
    gateways.say(heartbeat(synced=False))
    assert "stale watches" in gateways.merged().gap


def test_what_different_gateways_hold_is_added_up():
    gateways = Gateways(2)
    gateways.say(heartbeat(), line(held={"count": 2, "oldestSeconds": 3.5}, queued=1, inFlight=4))
    gateways.say(heartbeat("b2"), line("b2", held={"count": 3, "oldestSeconds": 9}, inFlight=1), gateway=1)
    merged = gateways.merged()
    assert (merged.held, merged.queued, merged.in_flight, merged.oldest) == (5, 1, 5, 9)


def test_arrivals_count_once_over_reconnects_and_restarts():
    gateways = Gateways()
    gateways.views[0].connected()
    gateways.say(heartbeat(), line(arrivals=100, retries=5), heartbeat())
    assert gateways.merged().arrivals == 0  # its past is not ours
    gateways.say(line(arrivals=103, retries=6))
    assert gateways.merged().arrivals == 4
    gateways.views[0].connected()
    gateways.say(heartbeat(), line(arrivals=104, retries=6), heartbeat())
    assert gateways.merged().arrivals == 5
    gateways.views[0].connected()
    gateways.say(heartbeat("b2"), line("b2", arrivals=1), heartbeat("b2"))
    assert gateways.merged().arrivals == 5  # a new process's first word is a base, not news
    gateways.say(line("b2", arrivals=2))
    assert gateways.merged().arrivals == 6


def test_a_fleet_that_appears_later_is_counted_from_its_first_request():
    gateways = Gateways()
    gateways.say(heartbeat(), heartbeat())
    gateways.say(line(arrivals=1))
    assert gateways.merged().arrivals == 1


def test_a_counter_that_goes_back_began_anew():
    """The process forgot the fleet and met it again: it counts 3 requests that it had not counted before."""
    gateways = Gateways()
    gateways.say(heartbeat(), heartbeat(), line(arrivals=10), line(arrivals=3), line(arrivals=4))
    assert gateways.merged().arrivals == 14


def test_a_fleet_that_was_not_sent_again_after_a_reconnect_is_gone():
    gateways = Gateways()
    gateways.say(heartbeat(), line(held={"count": 2}))
    gateways.views[0].connected()
    gateways.say(heartbeat())
    assert gateways.merged().held == 2
    gateways.say(heartbeat())
    assert gateways.merged().held == 0


def test_a_namesake_with_another_uid_is_somebody_else():
    gateways = Gateways()
    gateways.say(heartbeat(), line(held={"count": 2}))
    assert gateways.merged(uid="other").held == 0


def pods(age, running, matched=True):
    return {
        "p": {"address": "10.1.1.1", "ageSeconds": age, "matched": matched, "stats": {"running": running}}
    }


def test_the_freshest_report_on_a_pod_wins_and_the_streams_silence_ages_it():
    gateways = Gateways(2)
    gateways.say(heartbeat(), line(pods=pods(4.0, 1)))
    gateways.say(heartbeat("b2"), line("b2", pods=pods(0.5, 2)), gateway=1)
    assert gateways.merged().pods["p"].stats == {"running": 2}
    gateways.say(heartbeat(), at=9.0)
    merged = gateways.merged(at=9.0)
    assert merged.pods["p"].stats == {"running": 1}
    assert merged.pods["p"].age == 4.0


def test_a_pod_that_did_not_match_has_no_report():
    gateways = Gateways()
    gateways.say(heartbeat(), line(pods=pods(0.1, 2, matched=False)))
    assert gateways.merged().pods == {}


def test_garbage_is_no_number():
    gateways = Gateways()
    gateways.say(heartbeat(), line(held={"count": float("nan")}, queued=-4, inFlight="3", pods={"p": 7}))
    gateways.say({"type": "fleet", "bootId": "b1", "namespace": 1}, {"type": "what", "bootId": "b1"})
    merged = gateways.merged()
    assert (merged.held, merged.queued, merged.in_flight, merged.pods) == (0, 0, 0, {})
