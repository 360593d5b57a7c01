"""The checker of queries refuses what Prometheus would answer with nothing or with an error, and passes the
rest; and the list that it checks against is what our processes serve.
"""

import pytest

from charts.monitoring.contract import ContractError, check, grafana, mentioned
from charts.monitoring.exposed import Series

FLEET = "by (namespace, name)"
GOOD = [
    f"sum {FLEET} (rate(torpor_gateway_requests_total{{code=~'5..'}}[5m]))",
    f"max {FLEET} (torpor_fleet_desired_replicas) > max {FLEET} (torpor_fleet_ready_replicas)",
    "torpor_fleet_desired_replicas - torpor_fleet_ready_replicas",
    "histogram_quantile(0.95, sum by (name, le) (rate(torpor_gateway_hold_seconds_bucket[5m])))",
    "sum by (pod, reason) (vllm:num_requests_waiting_by_reason{reason='capacity'})",
    f"sum {FLEET} (vllm:num_requests_running)",
    "(time() - max(torpor_fleet_schedule_next_transition_timestamp_seconds)) / 60",
    "sum(torpor_operator_leader) == 0 or absent(torpor_operator_leader{job='torpor'})",
    f"max {FLEET} (torpor_fleet_ready_replicas) * on (namespace, name) group_right "
    "max by (namespace, name, mode) (torpor_fleet_mode)",
    f"max {FLEET} (torpor_fleet_desired_replicas) and on (namespace, name) torpor_fleet_mode{{mode='Auto'}}",
    "max_over_time(sum(torpor_gateway_held_requests)[1h:1m])",
    "topk(3, sum by (key) (rate(torpor_gateway_key_requests_total[5m])))",
    "label_replace(torpor_gateway_fleets, 'zone', '$1', 'pod', '(.*)')",
    "torpor_fleet_condition{type=~'Ready|Awake'} == 0",
    "torpor_fleet_condition{type=~'.*Active'} == 0",
]
BAD = {
    "torpor_gateway_nonsense": "nobody serves",
    "torpor_gateway_requests": "torpor_gateway_requests_total",  # what there is instead is named
    "vllm:gpu_cache_usage_perc": "nobody serves",
    "sum(rate(torpor_gateway_arrivals_total{model='x'}[5m]))": "no label 'model'",
    "sum by (model) (vllm:num_requests_running)": "no label 'model'",
    "sum without (model) (vllm:num_requests_running)": "no label 'model'",
    "torpor_fleet_condition{type='Redy'}": "never 'Redy'",
    "torpor_fleet_condition{type=~'Ready|Awoke'}": "never 'Awoke'",
    "torpor_fleet_condition{type=~'Re.*x'}": "never 'Re.*x'",
    "torpor_gateway_requests_total{reason!='QueueFul'}": "never 'QueueFul'",
    "vllm:request_success_total{finished_reason='stopped'}": "never 'stopped'",
    "rate(torpor_fleet_desired_replicas[5m])": "which is a gauge",
    "delta(torpor_fleet_wakes_total[5m])": "which is a counter",
    "histogram_quantile(0.9, sum by (name) (rate(torpor_gateway_hold_seconds_bucket[5m])))": "no label 'le'",
    "torpor_fleet_desired_replicas - on (namespace, name) torpor_fleet_ready_replicas": "several series",
    "torpor_fleet_desired_replicas / torpor_gateway_held_requests{kind='x'}": "no label 'kind'",
    f"sum {FLEET} (torpor_fleet_ready_replicas) / torpor_fleet_desired_replicas": "they never match",
    f"sum {FLEET} (torpor_fleet_ready_replicas) > on (namespace, pod) torpor_fleet_mode": "no label 'pod'",
    "vllm:num_requests_running * on (pod) group_left (version) torpor_engine_info": "the single side",
    "{job='torpor'}": "without a metric's name",
    "sum(": "no PromQL",
    "rate(torpor_fleet_wakes_total)": "no PromQL",
}


@pytest.mark.parametrize("query", GOOD)
def test_a_query_that_prometheus_can_answer_passes(query: str) -> None:
    check(query)


@pytest.mark.parametrize("query", BAD)
def test_a_query_without_an_answer_is_refused_with_the_reason(query: str) -> None:
    with pytest.raises(ContractError) as refused:
        check(query)
    assert BAD[query] in str(refused.value)
    assert str(refused.value).startswith(query), "which of many queries it was"


def test_the_labels_of_the_result_are_those_that_prometheus_keeps() -> None:
    pairs = {
        f"sum {FLEET} (torpor_gateway_held_requests)": {"namespace", "name"},
        "sum(torpor_gateway_held_requests)": set(),
        "count_values('n', torpor_fleet_ready_replicas)": {"n"},
        "histogram_quantile(0.5, sum by (le, name) (rate(torpor_gateway_hold_seconds_bucket[5m])))": {"name"},
        "absent(torpor_operator_leader{job='x'})": {"job"},
        f"sum {FLEET} (vllm:num_requests_running) > on (namespace) group_left sum by (namespace) (up)": {
            "namespace",
            "name",
        },
    }
    for query, wanted in pairs.items():
        assert check(query) == wanted, query


def test_what_a_recording_rule_makes_can_be_asked_for_too() -> None:
    made = Series("torpor:held", "gauge", frozenset({"namespace"}))
    assert check("torpor:held > 0", known=[made]) == {"namespace"}
    with pytest.raises(ContractError):
        check("torpor:held > 0")


def test_a_panels_query_is_read_with_its_variables() -> None:
    selector = "torpor_gateway_requests_total{namespace=~'$namespace', name=~'${fleet:regex}'}"
    query = f"sum by (name) (rate({selector}[$__rate_interval]))"
    assert check(grafana(query)) == {"name"}
    assert mentioned("{{namespace}}/{{ name }} of {{ $labels.pod }}") == {"namespace", "name", "pod"}
    assert mentioned('{{ printf "%s" $labels.reason }}') == {"reason"}
