"""The documents say what the code does: names and examples are checked against it."""

import asyncio
import re
from pathlib import Path

import pytest
from prometheus_client import Metric
from torpor import metrics
from torpor.api import constants
from torpor.decide import CLAMPS
from torpor_gateway import keys, otel, workers
from torpor_gateway.keys import read_document
from torpor_gateway.metrics import GatewayCollector
from torpor_gateway.registry import Registry
from torpor_gateway.server import Server
from torpor_gateway.settings import Settings

from charts.monitoring.exposed import of_launcher
from docs.generate import conditions

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED_YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")

NOT_REASONS = {
    *constants.CONDITION_TYPES,
    *(
        value
        for name, value in vars(constants).items()
        if name.startswith(("STATE_", "RESPONSE_", "ENGINE_TYPE", "ROUTING_"))
    ),
    constants.KIND,
    constants.LIST_KIND,
}


def reasons() -> set[str]:
    """Every reason constant: the camel-case words of the vocabulary that are not something else."""
    return {
        value
        for name, value in vars(constants).items()
        if name.isupper() and isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z]+", value)
    } - NOT_REASONS


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_every_reason_is_explained(reason: str) -> None:
    page = (ROOT / "docs/reference/conditions.md").read_text()
    assert f"`{reason}`" in page


def test_every_word_of_the_page_exists() -> None:
    page = (ROOT / "docs/reference/conditions.md").read_text()
    known = reasons() | set(NOT_REASONS) | {"True", "False", "Unknown"}
    assert {word for word in re.findall(r"`([A-Z][a-z]+[A-Za-z]*)`", page) if word not in known} == set()


def test_what_is_said_of_readiness_is_what_the_code_says() -> None:
    page = (ROOT / "docs/reference/conditions.md").read_text()
    section = page.partition("## Ready\n")[2].partition("\n## ")[0]
    told = {
        (status, reason)
        for names, status in re.findall(r"^\| (`.+?) \| (True|False) \|", section, re.MULTILINE)
        for reason in re.findall(r"`(\w+)`", names)
    }
    assert told == {(status, reason) for kind, status, reason in conditions.said() if kind == "Ready"}
    sorted_from_these = {
        constants.RECONCILING,
        constants.STALLED,
    }  # `control.health`, with a section of their own
    assert {kind for kind, _, _ in conditions.said()} == set(constants.CONDITION_TYPES) - sorted_from_these


def test_every_exit_code_is_listed_with_its_reason() -> None:
    page = (ROOT / "docs/reference/conditions.md").read_text()
    for code, reason in constants.EXIT_CODE_REASONS.items():
        assert f"| `{reason}` | {code} |" in page


def test_every_code_of_a_refusal_is_listed() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    gateway = ROOT / "runtime/src/torpor_gateway"
    source = "".join(path.read_text() for path in sorted(gateway.glob("*.py")))
    codes = set(re.findall(r'(?:Refusal|_refuse)\(\s*\d{3},\s*"(\w+)"', source))
    assert len(codes) > 15  # the pattern still finds them
    assert {code for code in codes if f"`{code}`" not in page} == {"unauthorized"}  # of the demand stream


def metrics_pages() -> tuple[str, str, str]:
    """Return what the page says of the operator, of the gateway and of the launcher, without its examples."""
    page = re.sub(r"```.*?```", "", (ROOT / "docs/reference/metrics.md").read_text(), flags=re.DOTALL)
    operator, gateway = page.split("# Metrics of the gateway\n")
    gateway, launcher = gateway.split("# Metrics of the launcher\n")
    return operator, gateway, launcher


def shown(metric: Metric) -> str:
    """Return the name under which a family is written about."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def test_every_metric_of_the_operator_is_listed() -> None:
    listed = set(re.findall(r"`(torpor_\w+)`", metrics_pages()[0]))
    assert listed == {shown(metric) for metric in metrics.REGISTRY.collect()}


def test_every_metric_of_the_gateway_is_listed_with_its_labels() -> None:
    loop = asyncio.new_event_loop()
    try:
        settings = Settings()
        server = Server(settings, Registry(settings, loop), loop)
        families = [*GatewayCollector(server, None).collect(), *workers._Own(1, 0).collect()]
    finally:
        loop.close()
    made: dict[str, tuple[bool, set[str]]] = {}
    for family in families:
        labels = set(getattr(family, "_labelnames", ()))
        made[shown(family)] = ({"namespace", "name"} <= labels, labels - {"namespace", "name"})
    listed: dict[str, tuple[bool, set[str]]] = {}
    for section in metrics_pages()[1].split("\n## ")[1:]:
        of_fleets = "Labels: `namespace`, `name`" in section
        for name, labels in re.findall(r"^\| `(\w+)` \| (.*?) ?\| .+ \|$", section, re.MULTILINE):
            assert name not in listed, f"{name} is listed twice"
            listed[name] = (of_fleets, set(re.findall(r"`(\w+)`", labels)))
    assert listed == made


def test_every_metric_of_the_launcher_is_listed_with_its_labels() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (.*?) ?\| .+ \|$", metrics_pages()[2], re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in listed} == {
        series.name: series.labels for series in of_launcher()
    }


def test_every_metric_of_keys_is_listed_and_the_example_of_a_file_is_understood() -> None:
    page = (ROOT / "docs/reference/keys.md").read_text()
    source = (ROOT / "runtime/src/torpor_gateway/metrics.py").read_text()
    section = source.partition("def _keys")[2].partition("\n    def ")[0]
    made = re.findall(r'(Gauge|Counter)MetricFamily\(\s*PREFIX \+ "(\w+)"', section)
    assert len(made) > 5  # the pattern still finds them
    names = {f"torpor_gateway_{name}{'_total' if kind == 'Counter' else ''}" for kind, name in made}
    listed = set(re.findall(r"^\| `(torpor_gateway_\w+)`", page, re.MULTILINE))
    assert listed == names
    (example,) = (block for block in FENCED_YAML.findall(page) if block.startswith("keys:"))
    assert [key.name for key in read_document(example)] == ["team-a", "night"]
    fields = set(re.findall(r"^\| `(\w+)` \|", page.partition("## The Secret")[2], re.MULTILINE))
    assert fields >= keys._FIELDS


def test_every_variable_of_tracing_is_listed() -> None:
    asked: set[str] = set()

    class Asked(dict[str, str]):
        def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
            asked.add(key)
            return super().get(key, default)

    for signal in ("", "TRACES_"):  # a variable of traces hides that of all signals
        prefix = f"OTEL_EXPORTER_OTLP_{signal}"
        given = {f"{prefix}ENDPOINT": "http://a", "OTEL_TRACES_SAMPLER": "traceidratio"}
        assert otel.read(Asked(given)) is not None
    page = (ROOT / "docs/reference/tracing.md").read_text()
    assert set(re.findall(r"`(OTEL_\w+)`", page)) == asked


def test_every_clamp_is_explained_in_its_order() -> None:
    page = (ROOT / "docs/reference/decisions.md").read_text()
    section = page.partition("## The clamps, in order")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert re.findall(r"`(\w+)`", " ".join(rows)) == [clamp.name for clamp in CLAMPS]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    missing = [
        link for link in LINK.findall(document.read_text()) if not (document.parent / link).resolve().exists()
    ]
    assert not missing


def test_the_example_of_a_caller_ends_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/reference/decisions.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "decisions.md", "exec"), {})
    assert "an hour later two replicas serve them" in " ".join(page.split())
    assert capsys.readouterr().out.startswith("2 ")
