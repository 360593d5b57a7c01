"""Settings, objects, token counts and histograms: text and numbers in, values out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api.names import FleetKey
from torpor_gateway.answers import Refusal, body, error_of, event
from torpor_gateway.policy import Condition, Policy, from_object
from torpor_gateway.settings import Settings, SettingsError, address
from torpor_gateway.sketch import Sketch
from torpor_gateway.surface import OPERATIONS, Shape, allowed_method
from torpor_gateway.tokens import Calibration, Ratios, tail, usage, usage_at_end


def test_flags_beat_the_environment_and_empty_is_the_default():
    settings = Settings.load(
        {"TORPOR_MAX_HEADERS": "50", "TORPOR_IDLE_SECONDS": "", "TORPOR_POD_NAME": "gw"},
        {"max_headers": "60"},
    )
    assert (settings.max_headers, settings.idle_seconds, settings.pod_name) == (60, 75.0, "gw")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("max_headers", "x", "must be a whole number"),
        ("max_headers", "1.5", "must be a whole number"),
        ("max_headers", "1", "at least 8"),
        ("idle_seconds", "nan", "at least"),
        ("idle_seconds", "inf", "finite"),
        ("grace_seconds", "-1", "at least 1"),
    ],
)
def test_a_wrong_setting_names_itself(name, value, rule):
    with pytest.raises(SettingsError, match=rule) as wrong:
        Settings.load({}, {name: value})
    assert str(wrong.value).startswith("--" + name.replace("_", "-"))


@pytest.mark.parametrize(
    ("text", "found"), [("a:1", ("a", 1)), (":80", ("0.0.0.0", 80)), ("[::1]:2", ("::1", 2))]
)
def test_addresses(text, found):
    assert address("listen", text) == found


@pytest.mark.parametrize("text", ["", "80", "a:", "a:x", "a:65536"])
def test_wrong_addresses(text):
    with pytest.raises(SettingsError, match="HOST:PORT"):
        address("listen", text)


def test_an_object_becomes_a_spec():
    spec = from_object(
        {
            "metadata": {
                "namespace": "ns",
                "name": "llm",
                "uid": "u",
                "creationTimestamp": "2026-11-21T00:00:00Z",
            },
            "spec": {
                "model": {"name": "smol"},
                "engine": {"startupSeconds": 100},
                "scaling": {"replicas": 0, "signals": {"queueDepth": {"target": 9}}},
                "traffic": {
                    "maxQueueSeconds": 5,
                    "coldStart": {"response": "Hold", "holdSeconds": 7, "maxHeldMebibytes": 3},
                },
            },
            "status": {
                "desiredReplicas": 2,
                "coldStart": {
                    "p95Seconds": "41.50",
                    "lastSeconds": "30",
                    "nextAttemptTime": "1970-01-01T00:01:00Z",
                },
                "conditions": [{"type": "Ready", "status": "False", "reason": "WakeFailed", "message": "m"}],
            },
        }
    )
    assert (spec.key, spec.models, spec.externally_at_zero) == (
        FleetKey("ns", "llm"),
        ("smol", "ns/smol"),
        True,
    )
    assert (spec.policy.hold_seconds, spec.policy.max_held_bytes, spec.policy.queue_depth_target) == (
        7,
        3 << 20,
        9,
    )
    assert (spec.policy.unary_hold_seconds, spec.policy.startup_seconds) == (300, 100)
    assert spec.policy.ttft_objective is None
    assert (spec.status.cold_start_seconds, spec.status.next_attempt) == (41.5, 60.0)
    assert spec.status.failure() == Condition("False", "WakeFailed", "m")
    assert spec.status.closed(0.0) is None


@pytest.mark.parametrize(
    ("given", "seconds"), [(2000, 2.0), (None, None), (0, None), (-1, None), ("2000", None), (True, None)]
)
def test_the_objective_of_the_first_token_is_read_in_seconds(given, seconds):
    spec = from_object({"spec": {"scaling": {"objectives": {"timeToFirstTokenMilliseconds": given}}}})
    assert spec.policy.ttft_objective == seconds


@pytest.mark.parametrize(
    ("scaling", "desired", "kept"),
    [
        ({}, 0, False),
        ({"mode": "Auto"}, 0, False),
        ({"mode": "Off"}, 0, False),
        ({"mode": "Recommend"}, 0, True),
        ({"mode": "Paused"}, 2, False),
        ({"mode": "Paused"}, None, True),
        ({"mode": "Paused", "minReplicas": 1}, None, False),
        ({"mode": "Paused", "minReplicas": 1}, 0, True),
        ({"mode": "Paused", "replicas": 3}, 0, False),
    ],
)
def test_a_mode_counts_where_no_replica_is_wanted(scaling, desired, kept):
    status = {} if desired is None else {"desiredReplicas": desired}
    spec = from_object({"metadata": {"name": "a"}, "spec": {"scaling": scaling}, "status": status})
    assert spec.kept_at_zero is kept
    assert spec.stays_asleep(0.0) is kept


def test_closed_hours_are_read_from_the_status_and_end_at_the_opening():
    ready = {"type": "Ready", "status": "True", "reason": "Closed", "message": "closed"}
    status = {"schedule": {"opensTime": "1970-01-01T00:01:00Z"}, "conditions": [ready]}
    spec = from_object({"metadata": {"namespace": "ns", "name": "llm"}, "status": status})
    assert spec.status.closed(59.9) == Condition("True", "Closed", "closed")
    assert spec.stays_asleep(59.9)
    assert spec.status.closed(60.0) is None  # whoever should say so may be away
    assert not spec.stays_asleep(60.0)
    status["schedule"] = "mangled"
    assert from_object({"metadata": {}, "status": status}).status.closed(1e12) is not None


@pytest.mark.parametrize(
    "junk", [None, [], "x", 5, {"coldStart": "x"}, {"coldStart": {"holdSeconds": "x", "response": 5}}]
)
def test_what_cannot_be_read_is_the_default(junk):
    spec = from_object(
        {
            "metadata": {"namespace": "n", "name": "a"},
            "spec": {"traffic": junk, "scaling": junk, "model": junk},
            "status": junk,
        }
    )
    assert spec.policy == Policy()
    assert spec.models == ("a", "n/a")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}', (3, 4)),
        (b'{"usage":{"prompt_tokens":3}}', (3, 0)),
        (b'{"usage":{"input_tokens":3,"output_tokens":4}}', (3, 4)),
        (b'{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}', (3, 4)),
        (b'{"usage":null}', None),
        (b'{"usage":{"prompt_tokens":-1}}', None),
        (b"[]", None),
        (b"x", None),
        (b'{"usage":{"prompt_tokens":"3"}}', None),
    ],
)
def test_usage(content, found):
    assert usage(content) == found


def test_ratios_move_towards_what_was_seen():
    ratios = Ratios()
    for _ in range(60):
        ratios.learn_prompt(100, 1000)
        ratios.learn_output(300, 100)
    assert ratios.prompt_per_byte == pytest.approx(0.1, rel=0.01)
    assert ratios.output_per_event == pytest.approx(3.0, rel=0.01)
    ratios.learn_prompt(0, 1000)
    ratios.learn_output(10, 0)
    assert ratios.prompt_per_byte == pytest.approx(0.1, rel=0.01)


def test_a_mix_of_lengths_is_estimated_right_as_a_whole():
    """A fixed part of 200 bytes in each body: short prompts have 1 token on 8 bytes, long ones on 4.1."""
    ratios = Ratios()
    mix = [(400, 50)] * 4 + [(8000, 1950)]
    for _ in range(40):
        for size, tokens in mix:
            ratios.learn_prompt(tokens, size)
    estimated = sum(ratios.prompt(size) for size, _ in mix)
    # A mean of ratios gives 0.149 a byte and 1430 tokens.
    assert estimated == pytest.approx(sum(tokens for _, tokens in mix), rel=0.08)


def test_an_impossible_observation_is_bounded():
    ratios = Ratios()
    for _ in range(100):
        ratios.learn_prompt(10**9, 10)
        ratios.learn_output(10**9, 1)
    assert ratios.prompt_per_byte <= 2.0
    assert ratios.output_per_event <= 50.0


LONG = b'{"choices":[{"text":"' + b"x" * 99_999 + b'"}],'


def at_end(content, part=97):
    """Feed an answer in parts, as a relay does, and look at what was kept."""
    kept = b""
    for start in range(0, len(content), part):
        kept = tail(kept, content[start : start + part])
    return usage_at_end(kept)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (LONG + b'"usage":{"prompt_tokens":3,"completion_tokens":4}}', (3, 4)),
        (b'{"usage":{"prompt_tokens":3,"details":{"cached":2},"completion_tokens":4},"a":{"b":1}}', (3, 4)),
        (b'{"data":[1,2],"usage":{"prompt_tokens":9,"total_tokens":9}}', (9, 0)),
        (b'{"usage":null,"kv":{"prompt_tokens":"none"}}', None),
        (b'{"text":"he said \\"usage\\":{\\"prompt_tokens\\":1}"}', None),
        (b'{"usage":{"prompt_tokens":3', None),
        (b'{"usage":', None),
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4}' + b"x" * 9000, None),
        (b"", None),
    ],
)
def test_usage_at_the_end_of_a_long_answer(content, found):
    assert at_end(content) == found
    assert at_end(content, part=70_000) == found


def test_counters_calibrate_from_idle_to_idle():
    ratios = Ratios()
    calibration = Calibration(ratios)
    for turn in range(60):
        calibration.report(0, 0, 500 * turn, 200 * turn)
        calibration.report(1, 1, 500 * turn, 200 * turn)
        calibration.sent(1000, 100)
    assert ratios.prompt_per_byte == pytest.approx(0.5, rel=0.01)
    assert ratios.output_per_event == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("others", ["a stranger's request", "counters that went back", "no counters"])
def test_windows_that_are_not_ours_alone_teach_nothing(others):
    ratios = Ratios()
    calibration = Calibration(ratios)
    calibration.report(0, 0, 1000, 1000)
    if others == "a stranger's request":
        calibration.report(2, 1, 1000, 1000)
    calibration.sent(1000, 100)
    if others == "counters that went back":
        calibration.report(0, 0, 10, 10)
    elif others == "no counters":
        calibration.report(0, 0, None, None)
        calibration.report(0, 0, 5000, 5000)
    else:
        calibration.report(0, 0, 5000, 5000)
    assert ratios == Ratios()


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_sketch_counts_everything_once(values):
    sketch = Sketch((0.1, 1.0, 10.0))
    for value in values:
        sketch.observe(value)
    assert sketch.count == len(values) == sum(sketch.counts)
    for bound, count in sketch.cumulative():
        assert count == sum(value <= bound for value in values)


def test_errors_have_the_shape_of_their_path():
    refusal = Refusal(503, "Waking", "text")
    assert (
        body(refusal, Shape.OPENAI)
        == b'{"error":{"message":"text","type":"service_unavailable_error","param":null,"code":"Waking"}}'
    )
    assert body(refusal, Shape.ANTHROPIC).startswith(b'{"type":"error","error":{"message":"text"')
    assert event(refusal.error, Shape.OPENAI).startswith(b'data: {"error":{"message":"text"')
    for shape in Shape:
        assert event(refusal.error, shape).endswith(b"}\n\n")
        assert b"\n" not in event({"message": "two\nlines"}, shape)[:-2].split(b"data: ")[1]


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{"message":"m"}}', b'{"message":"m"}', b"\xff"],
)
def test_any_error_answer_becomes_an_error_object(content):
    assert isinstance(error_of(content, 500)["message"], str)


def test_every_path_of_the_surface_is_posted_to():
    assert {allowed_method(path) for path in OPERATIONS} == {"POST"}
    assert allowed_method("/v1/models/a/b") == "GET"
    assert allowed_method("/v1/modelsx") is None
    assert allowed_method("/metrics") is None
