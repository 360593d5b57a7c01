"""Deciding, without I/O, clock or randomness: observation × policy × memory × now -> decision and memory.

`rule.decide` is the way in. `signals` turns what is seen into numbers, `clamps` bounds them in a fixed order,
`memory` is what survives from one look to the next, `decision` is the answer with its trace. `schedule` says
what the hours allow; who asks for a decision tells it in the policy.
"""

from torpor.decide.clamps import CLAMPS
from torpor.decide.decision import ClampLine, Decision
from torpor.decide.memory import Memory
from torpor.decide.observation import Demand, Engine, Observation, Policy, Tally
from torpor.decide.rule import decide
from torpor.decide.schedule import Schedule, Standing, standing
from torpor.decide.signals import Reading
from torpor.decide.values import Unknown, Value, measured, utilization

__all__ = [
    "CLAMPS",
    "ClampLine",
    "Decision",
    "Demand",
    "Engine",
    "Memory",
    "Observation",
    "Policy",
    "Reading",
    "Schedule",
    "Standing",
    "Tally",
    "Unknown",
    "Value",
    "decide",
    "measured",
    "standing",
    "utilization",
]
