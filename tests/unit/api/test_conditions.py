"""A condition's transition time moves with its status and with nothing else."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from torpor.api import conditions, constants
from torpor.api.conditions import Finding
from torpor.api.status import Condition

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def at_noon(*findings: Finding) -> list[Condition]:
    return conditions.update([], findings, generation=1, now=NOON)


def test_the_time_stays_while_the_status_stays() -> None:
    before = at_noon(Finding(constants.READY, "True", constants.ASLEEP))
    (after,) = conditions.update(
        before, [Finding(constants.READY, "True", constants.SERVING, "awake")], generation=2, now=LATER
    )
    assert after.last_transition_time == "2026-11-21T12:00:00Z"
    assert (after.reason, after.message, after.observed_generation) == ("Serving", "awake", 2)


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_the_time_moves_with_the_status(status: conditions.Truth) -> None:
    before = at_noon(Finding(constants.READY, "True", constants.SERVING))
    (after,) = conditions.update(
        before, [Finding(constants.READY, status, constants.WAKE_FAILED)], generation=1, now=LATER
    )
    assert after.last_transition_time == "2026-11-21T13:00:00Z"


def test_the_same_findings_change_nothing() -> None:
    findings = [
        Finding(constants.AWAKE, "False", constants.NO_REPLICAS),
        Finding(constants.READY, "True", constants.ASLEEP),
    ]
    before = at_noon(*findings)
    assert conditions.update(before, reversed(findings), generation=1, now=LATER) == before


def test_types_come_in_one_order_and_others_stay() -> None:
    foreign = at_noon(Finding("Zebra", "True", "Striped"))
    after = conditions.update(
        foreign,
        [
            Finding(constants.SPEC_VALID, "True", constants.VALID),
            Finding(constants.READY, "True", constants.ASLEEP),
        ],
        generation=1,
        now=LATER,
    )
    assert [condition.type for condition in after] == [constants.READY, constants.SPEC_VALID, "Zebra"]


def test_times_are_utc_whole_seconds_and_naive_ones_are_refused() -> None:
    berlin = datetime(2026, 11, 21, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert conditions.timestamp(berlin) == "2026-11-21T12:00:00Z"
    with pytest.raises(ValueError, match="no zone"):
        conditions.timestamp(datetime(2026, 11, 21))


def test_long_messages_are_cut_to_the_schemas_bound() -> None:
    (condition,) = at_noon(Finding(constants.READY, "False", constants.WAKE_FAILED, "x" * 10_000))
    assert len(condition.message) == conditions.MAX_MESSAGE
    assert condition.message.endswith("…")
