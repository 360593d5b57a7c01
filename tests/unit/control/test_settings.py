"""Settings: what the chart sets is read, what cannot be used is named."""

import pytest
from torpor.settings import SettingsError, from_environment

LEAST = {"TORPOR_LAUNCHER_IMAGE": "engine:1"}


def test_names_follow_from_the_release():
    settings = from_environment(LEAST | {"TORPOR_RELEASE": "night"})
    assert settings.gateway_service == "night-gateway"
    assert settings.gateway_demand_service == "night-gateway-demand"
    assert settings.lease_name == "night-operator"
    assert settings.engine_image == "engine:1"


def test_the_gateways_scheme_is_http_unless_it_is_said():
    assert not from_environment(LEAST).gateway_tls
    assert not from_environment(LEAST | {"TORPOR_GATEWAY_TLS": "false"}).gateway_tls
    assert from_environment(LEAST | {"TORPOR_GATEWAY_TLS": "true"}).gateway_tls


def test_an_empty_variable_is_an_absent_one():
    settings = from_environment(LEAST | {"TORPOR_WATCH_NAMESPACES": " ", "TORPOR_ADMIN_LISTEN": ""})
    assert settings.watch_namespaces == ()
    assert settings.admin_port == 9090


def test_the_clock_of_schedules_is_the_true_one_unless_a_test_shifts_it():
    assert from_environment(LEAST).clock_offset_seconds == 0
    assert from_environment(LEAST | {"TORPOR_CLOCK_OFFSET_SECONDS": "-3600"}).clock_offset_seconds == -3600


def test_lists_are_comma_separated():
    settings = from_environment(LEAST | {"TORPOR_WATCH_NAMESPACES": "a, b,a,", "TORPOR_BARE_NAMES": "a"})
    assert settings.watch_namespaces == ("a", "b")
    assert settings.bare_names.allows("a")
    assert not settings.bare_names.allows("b")


def test_an_empty_list_of_those_that_may_is_nobody_and_an_absent_one_the_default():
    assert from_environment(LEAST).bare_names.everywhere
    assert from_environment(LEAST).metrics_namespaces == ("monitoring",)
    settings = from_environment(LEAST | {"TORPOR_BARE_NAMES": "", "TORPOR_METRICS_NAMESPACES": ""})
    assert not settings.bare_names.allows("a")
    assert settings.metrics_namespaces == ()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("TORPOR_ADMIN_LISTEN", "9090", "HOST:PORT"),
        ("TORPOR_ADMIN_LISTEN", "0.0.0.0:70000", "HOST:PORT"),
        ("TORPOR_CLOCK_OFFSET_SECONDS", "1h", "whole number"),
        ("TORPOR_CLOCK_OFFSET_SECONDS", "999999999999", "whole number"),
        ("TORPOR_LOG_FORMAT", "xml", "plain, json"),
        ("TORPOR_GATEWAY_TLS", "1", "true, false"),
        ("TORPOR_IMAGE_PULL_POLICY", "Sometimes", "Always, IfNotPresent, Never"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(name, value, rule):
    with pytest.raises(SettingsError, match=name) as caught:
        from_environment(LEAST | {name: value})
    assert value in str(caught.value)
    assert rule in str(caught.value)


def test_an_operator_without_a_launcher_does_not_start():
    with pytest.raises(SettingsError, match="TORPOR_LAUNCHER_IMAGE is not set"):
        from_environment({})
