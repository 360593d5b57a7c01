"""The latency objectives as a budget that burns: who is paged when, and why not sooner.

A fleet promises that most streams keep its objectives (`spec.scaling.objectives`); the rest is a budget for
30 days. One slow minute is no reason to wake anybody and a slow week is, so the share of missed requests is
looked at over two windows at once: the long one says that it matters, the short one that it still goes on.
The pairs and factors are those of the SRE workbook, chapter 5: 14.4 times the budget for an hour burns 2 % of
a month's budget, 6 times for six hours 5 %, 3 times for a day 10 %, once for three days 10 %.

How many may miss is `torpor:objective_misses:allowed`, a series of its own, so that an installation changes
one number (`prometheusRule.objectivePercent`). It is 5 in 100: a fleet that sleeps pays for it with late
first tokens, and a budget of 1 in 100 would page for each wake of a fleet with little traffic. For the same
reason fewer than 20 requests in the long window are no evidence.
"""

from charts.monitoring.rules.model import Alert, Group, Record

FLEET = "{{ $labels.namespace }}/{{ $labels.name }}"
ALLOWED = "torpor:objective_misses:allowed"
DEFAULT_PERCENT = 95  # of the requests keep the objectives
FEWEST = 20  # requests in the long window of which something can be said

_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
_FAST = ((14.4, "1h", "5m"), (6, "6h", "30m"))
_SLOW = ((3, "1d", "2h"), (1, "3d", "6h"))


def ratio(window: str) -> str:
    """Return the name of the series with the share of requests that missed an objective in the window."""
    return f"torpor:fleet_objective_misses:ratio_rate{window}"


def _record(window: str) -> Record:
    expression = f"""
        sum by (namespace, name) (rate(torpor_gateway_objectives_total{{result="missed"}}[{window}]))
          / sum by (namespace, name) (rate(torpor_gateway_objectives_total[{window}]))
    """
    return Record(ratio(window), expression, f"share of requests that missed an objective, over {window}")


def _burns(factor: float, long: str, short: str) -> str:
    limit = f"on () group_left () {factor} * {ALLOWED}"
    return f"""
        (
          {ratio(long)} > {limit}
            and {ratio(short)} > {limit}
            and sum by (namespace, name) (increase(torpor_gateway_objectives_total[{long}])) >= {FEWEST}
        )"""


def _either(pairs: tuple[tuple[float, str, str], ...]) -> str:
    return "\n        or".join(_burns(*pair) for pair in pairs)


GROUP = Group(
    "torpor-objectives",
    (
        Record(
            ALLOWED,
            f"vector({(100 - DEFAULT_PERCENT) / 100:g})",
            "share of requests that may miss an objective: the chart's `prometheusRule.objectivePercent`",
        ),
        *(_record(window) for window in _WINDOWS),
        Alert(
            "TorporObjectiveBurnFast",
            "critical",
            "2m",
            _either(_FAST),
            FLEET + ": {{ $value | humanizePercentage }} of requests miss the latency objectives",
            """At this rate the budget of 30 days is gone within days. See which objective it is (time to
            first token or between tokens) and whether the fleet stands at its ceiling: `torpor explain
            {{ $labels.name }} -n {{ $labels.namespace }}`.""",
        ),
        Alert(
            "TorporObjectiveBurnSlow",
            "warning",
            "15m",
            _either(_SLOW),
            FLEET
            + ": {{ $value | humanizePercentage }} of requests miss the latency objectives, for long now",
            """The fleet lives beyond its budget of late requests, slowly. Compare maxReplicas, the
            schedule and the objectives with the traffic: `torpor explain {{ $labels.name }} -n
            {{ $labels.namespace }}`.""",
        ),
    ),
)
