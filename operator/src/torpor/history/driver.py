"""The production decision over a past: at its own time of day, with the schedule that its policy has.

The simulator's own policy begins each trace on one fixed Monday in UTC and knows no hours. Here the clock is
that of the history, so that a schedule opens when it would have opened and a forecast learns the week that
was. The memory is empty at the beginning, as on the first day: a forecast over a week needs to have seen one.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from torpor.api import constants, validation, zones
from torpor.control.hours import Hours
from torpor.decide import Memory, Standing, decide
from torpor.decide.owner import owner_policy
from torpor.decide.work import Objectives
from torpor.simulate import plan
from torpor.simulate.policies import REMEMBERED, observation, p95

if TYPE_CHECKING:
    from torpor.api.types import InferenceService
    from torpor.decide import Decision, Policy
    from torpor.decide.hardware import Hardware
    from torpor.simulate.view import View

SCALING = "scaling"


class Production:
    """`torpor.decide` for one service. start: UTC seconds at which the trace begins."""

    def __init__(
        self,
        name: str,
        service: InferenceService,
        replica: Hardware,
        start: float,
        cold_start: float | None = None,
    ) -> None:
        self.name = name
        self.memory = Memory()
        self.decision: Decision | None = None
        self._service, self._replica, self._start = service, replica, start
        self._hours = Hours()
        self._known = cold_start  # seconds: what earlier starts took, until some were measured here
        self._measured = -1
        self._policy: Policy | None = None
        schedule = service.spec.scaling.schedule
        self._zone = zones.load(schedule.time_zone) if schedule else None

    def look(self, view: View) -> int:
        """Decide."""
        if len(view.cold_starts) != self._measured or self._policy is None:
            self._measured = len(view.cold_starts)
            self._policy = dataclasses.replace(
                owner_policy(self._service, self._p95(view), self._replica.max_num_seqs),
                objectives=Objectives(*plan.objectives(self._service)),
                hardware=self._replica,
            )
        wall = self._start + view.now
        policy, offset = self._policy, 0.0
        if self._zone is not None:
            now = datetime.fromtimestamp(wall, UTC)
            standing = self._hours.at(self._service, now, self._p95(view))
            until = standing.until if isinstance(standing, Standing) else None
            left = None if until is None else max(0.0, (until - now).total_seconds())
            policy = dataclasses.replace(policy, schedule=standing, schedule_ends_in=left)
            ahead = now.astimezone(self._zone).utcoffset()
            offset = ahead.total_seconds() if ahead else 0.0
        seen = observation(view, wall, offset)
        self.decision, self.memory = decide(seen, policy, self.memory, view.now)
        return self.decision.replicas

    def _p95(self, view: View) -> float | None:
        return p95(view.cold_starts[-REMEMBERED:]) if view.cold_starts else self._known


def service_of(text: str, where: str, namespace: str, name: str) -> InferenceService:
    """The policy in a file: an InferenceService, or its scaling section with or without that word before it.

    Raises ValueError with one sentence.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: is no YAML: {' '.join(str(error).split())[:160]}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ValueError(
            f"{where}: holds {len(documents)} documents; one InferenceService or scaling section is needed"
        )
    document: dict[str, Any] = documents[0]
    if document.get("kind") == constants.KIND:
        raw = document
    elif "kind" in document:
        raise ValueError(
            f"{where}: is a {str(document['kind'])[:40]}; an InferenceService or scaling section is needed"
        )
    else:
        scaling = document.get("spec", document)
        scaling = scaling.get(SCALING, scaling) if isinstance(scaling, dict) else scaling
        raw = made(namespace, name, scaling)
    checked = validation.check(raw)
    problems = [*validation.unknown_fields(raw), *checked.problems]
    if problems or checked.fleet is None:
        raise ValueError(f"{where}: {' '.join(str(problems[0] if problems else 'not valid').split())}")
    return checked.fleet


def made(namespace: str, name: str, scaling: Any) -> dict[str, Any]:
    """An InferenceService with that scaling section and nothing else of its own."""
    return {
        "apiVersion": constants.API_VERSION,
        "kind": constants.KIND,
        "metadata": {"name": name, "namespace": namespace, "uid": "backtest"},
        "spec": {"model": {"uri": "hf://backtest/backtest"}, SCALING: scaling},
    }
