"""The standard variables: what they turn on and mean, and what is said of those that cannot be obeyed."""

import pytest
from torpor_gateway.otel import Sampler, read
from torpor_gateway.settings import SettingsError

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "True"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
        # Nothing is recorded, so nothing is judged.
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_nothing_is_recorded(environ) -> None:
    assert read(environ) is None


def test_the_defaults_are_the_specifications() -> None:
    otel = read(ENDPOINT)
    assert otel is not None
    assert otel.url == "http://collector:4318/v1/traces"
    assert (otel.headers, otel.timeout, otel.gzip, otel.certificate) == ((), 10.0, False, "")
    assert (otel.delay, otel.max_queue, otel.max_batch) == (5.0, 2048, 512)
    assert otel.sampler == Sampler(by_parent=True, bound=2**64)
    assert (otel.service, otel.resource) == ("torpor-gateway", ())


def test_each_variable_is_read_and_that_of_traces_wins() -> None:
    otel = read(
        ENDPOINT
        | {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://other/as/it/is",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
            "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key=a%2Cb, y=2",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1500",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=from-here,deployment.environment=a%20b",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BSP_MAX_QUEUE_SIZE": "7",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "9",
        }
    )
    assert otel is not None
    assert otel.url == "https://other/as/it/is"
    assert otel.headers == (("x-key", "a,b"), ("y", "2"))
    assert (otel.timeout, otel.gzip) == (1.5, True)
    assert otel.sampler == Sampler(by_parent=False, bound=2**62)
    assert (otel.service, otel.resource) == ("from-here", (("deployment.environment", "a b"),))
    assert (otel.delay, otel.max_queue, otel.max_batch) == (0.1, 9, 9)
    named = read(ENDPOINT | {"OTEL_SERVICE_NAME": "n", "OTEL_RESOURCE_ATTRIBUTES": "service.name=m"})
    assert named is not None
    assert (named.service, named.resource) == ("n", ())


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "must be a URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:99999", "must be a URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "must be http/json; the collector's port for HTTP"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp or none"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "must be one of always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "must be a number from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "must be a number from 0 to 1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "must be a whole number"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "must be a whole number from 1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "must be none or gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem", "must be a file of PEM certificates"),
    ],
)
def test_what_cannot_be_obeyed_is_said_with_its_name_and_value(variable, value, said) -> None:
    environ = ENDPOINT | {"OTEL_TRACES_SAMPLER": "traceidratio"} | {variable: value}
    with pytest.raises(SettingsError) as caught:
        read(environ)
    assert str(caught.value).startswith(f"{variable}={value!r}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("value", ["secret", "=secret", "a b=secret", "a=secret%0A"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(value) -> None:
    with pytest.raises(SettingsError) as caught:
        read(ENDPOINT | {"OTEL_EXPORTER_OTLP_HEADERS": value})
    assert "OTEL_EXPORTER_OTLP_HEADERS" in str(caught.value)
    assert "secret" not in str(caught.value)
