"""The file of fleets: what it means, and what is said about a wrong one."""

import pytest
from torpor_gateway.static import StaticError, parse


def test_a_file_with_everything():
    (fleet,) = parse(
        """
        fleets:
        - name: llm
          models: [llm, llama]
          endpoints: ["127.0.0.1:9001", {address: "[::1]:9002", maxConcurrency: 2}]
          maxConcurrency: 8
          coldStart: {response: Hold, holdSeconds: 5, unaryHoldSeconds: 4,
            maxHeldRequests: 3, maxHeldMebibytes: 2}
          maxQueueSeconds: 1
        """
    )
    assert fleet.spec.models == ("llm", "llama")
    assert [(e.host, e.port, e.max_concurrency) for e in fleet.endpoints] == [
        ("127.0.0.1", 9001, 8),
        ("::1", 9002, 2),
    ]
    policy = fleet.spec.policy
    assert (policy.response, policy.hold_seconds, policy.unary_hold_seconds) == ("Hold", 5, 4)
    assert (policy.max_held_requests, policy.max_held_bytes, policy.max_queue_seconds) == (3, 2 << 20, 1)


def test_the_least_file():
    (fleet,) = parse("fleets: [{name: llm}]")
    assert (fleet.spec.models, fleet.endpoints, fleet.spec.policy.hold_seconds) == (("llm",), (), 900)
    assert parse("fleets: []") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file must be a mapping with the one field `fleets`"),
        ("{", "the file is not YAML"),
        ("fleets: {}", "fleets: {}: must be a list"),
        ("fleets: [1]", "fleets[0]: 1: must be a mapping"),
        ("fleets: [{}]", "fleets[0].name: None: must be a text that is not empty"),
        ("fleets: [{name: a}, {name: a}]", "fleets[1].name: 'a': is used twice"),
        (
            "fleets: [{name: a, models: [m]}, {name: b, models: [m]}]",
            "fleets[1].models: 'm': belongs to fleet 'a' already",
        ),
        (
            "fleets: [{name: a, model: m}]",
            "fleets[0].model: 'm': is not a field here; there are coldStart, endpoints",
        ),
        ("fleets: [{name: a, models: []}]", "fleets[0].models: []: must be a list of texts"),
        ("fleets: [{name: a, endpoints: x}]", "fleets[0].endpoints: 'x': must be a list of HOST:PORT"),
        ("fleets: [{name: a, endpoints: ['h:0']}]", "fleets[0].endpoints[0]: 'h:0': must be HOST:PORT"),
        (
            "fleets: [{name: a, endpoints: ['h:65536']}]",
            "fleets[0].endpoints[0]: 'h:65536': must be HOST:PORT",
        ),
        ("fleets: [{name: a, endpoints: [':80']}]", "fleets[0].endpoints[0]: ':80': must be HOST:PORT"),
        ("fleets: [{name: a, endpoints: [{}]}]", "fleets[0].endpoints[0]: None: must be HOST:PORT"),
        (
            "fleets: [{name: a, maxConcurrency: true}]",
            "fleets[0].maxConcurrency: True: must be a whole number",
        ),
        (
            "fleets: [{name: a, coldStart: {response: hold}}]",
            "fleets[0].coldStart.response: 'hold': must be one of Hold, KeepAlive",
        ),
        (
            "fleets: [{name: a, coldStart: {holdSeconds: -1}}]",
            "fleets[0].coldStart.holdSeconds: -1: must be a number from 0",
        ),
        (
            "fleets: [{name: a, coldStart: {holdSeconds: .nan}}]",
            "fleets[0].coldStart.holdSeconds: nan: must be a number",
        ),
        ("fleets: [{name: a, maxQueueSeconds: x}]", "fleets[0].maxQueueSeconds: 'x': must be a number"),
    ],
)
def test_a_wrong_file_is_told_field_value_and_rule(text, message):
    with pytest.raises(StaticError) as wrong:
        parse(text)
    assert str(wrong.value).startswith(message)
