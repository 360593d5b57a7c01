"""What is exported of a fleet: the numbers of its looks, and nothing that is no longer so."""

from datetime import UTC, datetime

from torpor import metrics
from torpor.cluster.resources import FLEETS
from torpor.decide.observation import Tally

from tests.unit.control.desk import Desk
from tests.unit.control.worlds import KEY, demand


async def test_series_that_say_nothing_any_more_go():
    window = {"name": "office", "days": ["Mon"], "start": "08:00", "end": "20:00", "minReplicas": 1}
    schedule = {"timeZone": "UTC", "windows": [window], "outside": {"maxReplicas": 0}}
    desk = Desk(scaling={"schedule": schedule, "minReplicas": 1})
    await desk.look()
    seen = metrics.exposition().decode()
    fleet_labels = 'name="llm",namespace="team"'
    for line in (
        f'torpor_fleet_mode{{mode="Auto",{fleet_labels}}} 1.0',
        f'torpor_fleet_clamp_replicas{{clamp="MinReplicas",{fleet_labels}}} 1.0',
        f'torpor_fleet_clamp_replicas{{clamp="ScheduleCeiling",{fleet_labels}}} -1.0',
        f'torpor_fleet_decision{{{fleet_labels},reason="ScheduleCeiling"}} 1.0',
        f'torpor_fleet_signal{{{fleet_labels},signal="queueDepth"}} 0.0',
        f'torpor_fleet_signal_target{{{fleet_labels},signal="queueDepth"}} 4.0',
        f'torpor_fleet_signal_replicas{{{fleet_labels},signal="queueDepth"}} 0.0',
        f"torpor_fleet_schedule_closed{{{fleet_labels}}} 1.0",
        f"torpor_fleet_schedule_max_replicas{{{fleet_labels}}} 0.0",
    ):
        assert line in seen
    opens = datetime(2026, 11, 23, 8, 0, tzinfo=UTC).timestamp()  # the Monday after NOW
    told = f"torpor_fleet_schedule_next_transition_timestamp_seconds{{{fleet_labels}}} "
    assert float(seen.partition(told)[2].partition("\n")[0]) == opens
    desk.respec(scaling={"mode": "Paused"})
    await desk.look()
    left = [line for line in metrics.exposition().decode().splitlines() if 'name="llm"' in line]
    assert f'torpor_fleet_mode{{mode="Paused",{fleet_labels}}} 1.0' in left
    for name in ("signal", "clamp", "schedule", "recommended"):
        assert not [line for line in left if line.startswith(f"torpor_fleet_{name}")]
    assert (
        len([line for line in left if line.startswith(("torpor_fleet_mode", "torpor_fleet_decision{"))]) == 2
    )


async def test_a_fleet_that_is_gone_leaves_no_series_behind():
    desk = Desk()
    await desk.look()
    assert b'torpor_fleet_desired_replicas{name="llm",namespace="team"}' in metrics.exposition()
    desk.store.remove(FLEETS, desk.raw)
    assert await desk.look() is None
    assert b'namespace="team"' not in metrics.exposition()


async def test_what_the_gateways_counted_is_in_the_metrics_once():
    desk = Desk()
    for n in (3, 3, 8):
        desk.gateways.seen = demand(tally=Tally(n, 100.0 * n, n - 1, 10.0 * n))
        await desk.look()
    desk.gateways.seen = demand(reporting=0, gap="no gateway reports")
    await desk.look()
    text = metrics.exposition().decode()
    fleet_labels = 'name="llm",namespace="team"'
    assert f"torpor_fleet_arrivals_total{{{fleet_labels}}} 8.0" in text
    assert f"torpor_fleet_completed_total{{{fleet_labels}}} 7.0" in text
    assert f'torpor_fleet_tokens_total{{kind="prompt",{fleet_labels}}} 800.0' in text
    assert f'torpor_fleet_tokens_total{{kind="output",{fleet_labels}}} 80.0' in text
    desk.reconciler.forget(KEY)
    assert b'namespace="team"' not in metrics.exposition()


async def test_the_prefill_budget_is_a_series_while_there_is_one():
    engine = {"type": "Simulated", "args": ["--profile=llama-3.1-8b-h100"]}
    desk = Desk(engine=engine, scaling={"objectives": {"interTokenLatencyMilliseconds": 50}})
    await desk.look()
    told = desk.store.get(FLEETS, *KEY)["status"]["engine"]["maxNumBatchedTokens"]
    assert 64 < told < 8192
    series = 'torpor_fleet_prefill_budget_tokens{name="llm",namespace="team"}'
    assert f"{series} {told}.0" in metrics.exposition().decode()
    desk.respec(engine=engine)
    await desk.look()
    assert series not in metrics.exposition().decode()


async def test_a_condition_has_one_reason_at_a_time():
    desk = Desk()
    await desk.look()
    kept = 'torpor_fleet_condition_reason{name="llm",namespace="team",'

    def reasons() -> dict[str, str]:
        lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith(kept)]
        assert all(line.endswith('"} 1.0') for line in lines)
        pairs = [line.removeprefix(kept).split('"')[1::2] for line in lines]
        assert len(pairs) == len({type_ for _, type_ in pairs}), "a reason that holds no more is left"
        return {type_: reason for reason, type_ in pairs}

    conditions = desk.store.get(FLEETS, *KEY)["status"]["conditions"]
    assert reasons() == {item["type"]: item["reason"] for item in conditions}
    assert reasons()["Ready"] == "Asleep"
    desk.respec(scaling={"mode": "Paused"})
    await desk.look()
    assert (reasons()["Ready"], reasons()["ScalingActive"]) == ("Paused", "Paused")


async def test_how_long_requests_are_held_is_a_series_while_they_are():
    def limit(kind: str) -> float | None:
        series = f'torpor_fleet_hold_limit_seconds{{kind="{kind}",name="llm",namespace="team"}} '
        told = metrics.exposition().decode().partition(series)[2]
        return float(told.partition("\n")[0]) if told else None

    desk = Desk(traffic={"coldStart": {"holdSeconds": 200, "unaryHoldSeconds": 300}})
    await desk.look()
    assert (limit("stream"), limit("unary")) == (200, 200)  # unary is never held longer
    desk.respec(traffic={"coldStart": {"holdSeconds": 200, "unaryHoldSeconds": 100}})
    await desk.look()
    assert (limit("stream"), limit("unary")) == (200, 100)
    desk.respec(traffic={"coldStart": {"response": "Reject"}})
    await desk.look()
    assert (limit("stream"), limit("unary")) == (None, None)
