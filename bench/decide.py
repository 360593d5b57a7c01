"""How long one decision takes: the processor time of `torpor.decide.decide`, per fleet and for a thousand.

Fleets of 1, 8 and 64 replicas that serve, and one that sleeps, are looked at every two seconds for two
simulated hours on a second day, so that everything that deciding may do happens at its own pace: averages at
each look, samples, the model every few seconds, the forecast every minute, the periods of economics. The
engines are the closed form with some noise; what they report is made outside of the measured time. Measured
is the time of the thread on its processor, so that other work on the machine does not count.

`share_of_a_core_percent` is a thousand such fleets, each looked at every two seconds.

Usage:

    python bench/decide.py [--looks 3600] [--json]
"""

import argparse
import dataclasses
import gc
import json
import math
import random
import sys
import time
from typing import Any

from torpor.decide import Demand, Engine, Memory, Observation, Policy, Tally, decide
from torpor.decide.hardware import TABLE
from torpor.decide.samples import Counters
from torpor.decide.work import Mix, Objectives, operating, work_ms

HARDWARE = TABLE["llama-3-70b-fp8", "h100", 4]
MIX = Mix(1000.0, 200.0)
LOOK = 2.0  # seconds
FLEETS = (("asleep", 0), ("awake", 1), ("awake", 8), ("awake", 64))
MONDAY = 1_767_571_200.0
DAY = 86_400.0
THOUSAND = 1000


class Fleet:
    """Reports of a fleet under a load that swings around 60 % of what its replicas carry."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas
        self.chance = random.Random(replicas)
        self.tokens = [0.0] * replicas
        self.prompts = [0.0] * replicas
        self.seconds = [0.0] * replicas
        self.arrivals = 0.0

    def look(self, now: float) -> Observation:
        """What is seen at `now`, a look after the last."""
        rho = 0.45 * (1 + 0.2 * math.sin(now / 900)) if self.replicas else 0.0
        each = 1000 * rho / work_ms(HARDWARE, MIX) * LOOK
        engines = []
        for number in range(self.replicas):
            came = max(0.0, self.chance.gauss(each, math.sqrt(each)))
            at = operating(HARDWARE, MIX, min(0.9, came / LOOK * work_ms(HARDWARE, MIX) / 1000))
            step = at.step_ms * self.chance.gauss(1.0, 0.03)
            self.arrivals += came
            self.tokens[number] += came * MIX.output
            self.prompts[number] += came * MIX.prompt
            self.seconds[number] += came * MIX.output * step / 1000
            engines.append(self._engine(number, now, at.running, at.kv_tokens))
        whole = self.arrivals
        demand = Demand(
            held=0.0,
            queued=0.0,
            in_flight=each * self.replicas,
            arrivals=int(whole),
            complete=True,
            gap="",
            tally=Tally(whole, whole * MIX.prompt, whole, whole * MIX.output, *(whole * x for x in _SQUARES)),
        )
        return Observation(self.replicas, tuple(engines), demand, wall=MONDAY + DAY + now)

    def _engine(self, number: int, now: float, running: float, kv: float) -> Engine:
        report = Counters(
            str(number),
            "boot",
            now,
            running,
            0.0,
            kv,
            self.tokens[number],
            self.prompts[number],
            0.0,
            self.tokens[number],
            self.seconds[number],
        )
        share = kv / HARDWARE.kv_tokens
        return Engine(str(number), True, 900.0, False, running, 0.0, share, HARDWARE.max_num_seqs, report)


_SQUARES = (2 * MIX.prompt**2, 2 * MIX.output**2, MIX.prompt * MIX.output)


def policy(replicas: int) -> Policy:
    """An owner's policy with everything in it; the bounds keep the number where the bench wants it."""
    return Policy(
        min_replicas=replicas,
        max_replicas=replicas or 8,
        queue_target=4.0,
        kv_target=0.8,
        idle_seconds=None,
        window_seconds=120.0,
        credit_seconds=240.0,
        max_num_seqs=HARDWARE.max_num_seqs,
        objectives=Objectives(2000, 50),
        hardware=HARDWARE,
        cold_start=120.0,
        revision="a",
    )


def remembered(replicas: int) -> Memory:
    """The memory after a day, looked at every ten seconds."""
    fleet, rules, memory = Fleet(replicas), policy(replicas), Memory()
    for number in range(8640):
        now = -DAY + 10.0 * number
        _, memory = decide(fleet.look(now), rules, memory, now)
    return dataclasses.replace(memory, known=dataclasses.replace(memory.known, tally=None, counters=()))


def timed(state: str, replicas: int, looks: int) -> dict[str, Any]:
    """The times of one fleet in microseconds."""
    memory, fleet, rules = remembered(min(replicas, 8)), Fleet(replicas), policy(replicas)
    took = []
    gc.collect()
    for number in range(looks):
        now = LOOK * number
        seen = fleet.look(now)
        begin = time.thread_time_ns()
        _, memory = decide(seen, rules, memory, now)
        took.append((time.thread_time_ns() - begin) / 1000)
    took.sort()
    mean = sum(took) / len(took)
    return {
        "fleet": state,
        "replicas": replicas,
        "p50_us": round(took[len(took) // 2], 1),
        "p99_us": round(took[int(len(took) * 0.99)], 1),
        "max_us": round(took[-1], 1),
        "share_of_a_core_percent": round(100 * THOUSAND * mean / 1e6 / LOOK, 1),
    }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--looks", type=int, default=3600, help="at each fleet, two seconds apart")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not 100 <= options.looks <= 1_000_000:
        parser.error(f"--looks must be from 100 to 1000000, got {options.looks}")
    rows = [timed(state, replicas, options.looks) for state, replicas in FLEETS]
    if options.json:
        print(json.dumps({"looks": options.looks, "fleets": rows}, indent=2))
        return 0
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
