"""How commands end and what they print: the one place that all of them go through."""

import json

import pytest
import typer
import yaml
from torpor.cli import manners
from torpor.cli.manners import TroubleError, columns, command, emit, progress
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TroubleError("no\x1b[31m such thing; do this", 3), 3, "torpor do-it: no [31m such thing; do this\n"),
        (TroubleError("x"), 1, "torpor do-it: x\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_command_raises_for_people_is_a_line_and_a_status(error, code, said):
    def do_it() -> None:
        raise error

    app = typer.Typer()
    app.command()(command(do_it))
    result = CliRunner().invoke(app, [])
    assert (result.exit_code, result.stderr, result.stdout) == (code, said, "")


def test_a_fault_of_ours_is_not_hidden():
    def do_it() -> None:
        raise ZeroDivisionError

    app = typer.Typer()
    app.command()(command(do_it))
    assert isinstance(CliRunner().invoke(app, []).exception, ZeroDivisionError)


def test_every_exit_status_is_explained():
    named = {manners.DONE, manners.NO, manners.USAGE, manners.NO_CLUSTER, manners.INTERRUPTED}
    assert named == set(manners.EXIT_CODES)


def test_the_same_facts_in_each_format(capsys):
    facts = {"name": "llm", "numbers": [1, 2.5, None], "word": "grün"}
    emit(facts, "json", str)
    assert json.loads(capsys.readouterr().out) == facts
    emit(facts, "yaml", str)
    assert yaml.safe_load(capsys.readouterr().out) == facts
    emit(facts, "table", lambda: "llm  1")
    assert capsys.readouterr().out == "llm  1\n"


def test_columns_are_as_wide_as_their_widest_cell():
    assert columns(("A", "B"), [["xxx", "y"], ["z", "a long end"]], 10).splitlines() == [
        "A    B",
        "xxx  y",
        "z    a l …",
    ]


def test_no_bar_where_nobody_sees_it(capsys):
    with progress("requests", 3) as done:
        done(1)
    assert capsys.readouterr().err == ""
