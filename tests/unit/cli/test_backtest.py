"""`torpor backtest` from the outside, as far as no server is needed: wrong arguments are one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

RUN = CliRunner()


def backtest(*more: str) -> tuple[int, str, str]:
    address = f"http://127.0.0.1:{free_port()}"
    result = RUN.invoke(app, ["backtest", "--prometheus", address, "--fleet", "team/chat", *more])
    return result.exit_code, result.stdout, result.stderr


def test_a_server_that_is_down_is_one_sentence() -> None:
    code, out, err = backtest()
    assert (code, out) == (1, "")
    assert err.startswith("torpor backtest: http://127.0.0.1:")
    assert "cannot be reached; is it up" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--fleet", "chat"), "--fleet 'chat': must be NAMESPACE/NAME"),
        (("--since", "1y"), "--since '1y': must be from 10m to 400d"),
        (("--since", "5m"), "--since '5m': must be from 10m"),
        (("--selector", "job"), "--selector: 'job' cannot be read"),
        (("--end", "yesterday"), "--end 'yesterday': must be a time with its zone"),
        (("--end", "2026-01-05T00:00:00"), "must be a time with its zone"),
        (("--cold-start", "nan"), "--cold-start nan: must be from 0 to 86400 seconds"),
        (("--timeout", "0"), "--timeout 0: must be from 0.1"),
        (("--hardware", "abacus"), "hardware 'abacus': unknown"),
        (("--token-file", "/nowhere/token"), "--token-file /nowhere/token: cannot be read"),
        (("-o", "xml"), '-o "xml": must be table, json or yaml'),
        (("--prometheus", "prometheus"), "must be an address like http://"),
    ],
)
def test_a_wrong_argument_is_one_sentence(more: tuple[str, ...], said: str) -> None:
    code, out, err = backtest(*more)
    assert code == (1 if "address" in said else 2)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("1\n---\n2\n", "holds 2 documents"),
        ("kind: Pod\n", "is a Pod"),
        ("minReplica: 1\n", "minReplica"),
        ("scaling: {minReplicas: 3, maxReplicas: 2}\n", "must not exceed maxReplicas"),
    ],
)
def test_a_policy_file_is_held_to_the_rules_of_the_object(text: str, said: str, tmp_path: Path) -> None:
    from torpor.history.driver import service_of

    with pytest.raises(ValueError, match=r"p\.yaml: ") as raised:
        service_of(text, "p.yaml", "team", "chat")
    assert said in str(raised.value)


def test_a_policy_is_a_fleet_or_its_scaling_section_or_what_is_in_it() -> None:
    from torpor.history.driver import service_of

    for text in (
        "maxReplicas: 7\n",
        "scaling:\n  maxReplicas: 7\n",
        "spec:\n  scaling:\n    maxReplicas: 7\n",
    ):
        assert service_of(text, "p", "team", "chat").spec.scaling.max_replicas == 7
