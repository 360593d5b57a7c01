"""`torpor validate FILE` beside the real API server, over every bad manifest that the tests know.

Whatever the server complains of, the command names at the same field; a rule of ours in the same words, and
what only the schema says (types, bounds, enumerations, duplicates) in words of its own, with a next step.
"""

import json
import re

import pytest
from torpor.api.engine_rules import NOT_OUR_FLAG
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.integration.kube import refusal
from tests.unit.api.examples import BAD, FULL, fleet

# What the server adds that is about no field: rules it did not come to, and a number that is no int32.
ASIDE = re.compile(r"some validation rules were not checked|Checked value must be of type")
# The words of the schema's checks. All other causes are rules of ours.
SCHEMA = re.compile(
    r" in body (should|must) |^Required value|^Duplicate value|^Unsupported value|^Too long|^Too many"
)


def sentence(cause):
    """A rule's own words in a cause: `Invalid value: "found": WORDS` or `Invalid value: WORDS`."""
    return re.sub(r'^Invalid value: ("(?:[^"\\]|\\.)*": )?', "", cause)


def validated(manifest, tmp_path):
    """Run the command on a file; return (exit status, problems)."""
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    result = CliRunner().invoke(app, ["validate", str(path), "-o", "json"])
    assert isinstance(result.exception, SystemExit | None), result.exception
    (entry,) = json.loads(result.output)["objects"]
    return result.exit_code, entry["problems"]


def place(problem):
    """Where a problem is; a key of somebody's own, in brackets, is part of the place."""
    return re.match(r"(?:[^:\[]|\[[^\]]*\])+", problem)[0]


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad.server], ids=lambda bad: bad.id)
def test_the_command_says_what_the_server_says(kube, namespace, bad, tmp_path):
    manifest = bad.object | {"metadata": {"name": bad.object["metadata"]["name"], "namespace": namespace}}
    _, causes = refusal(kube.create(manifest, dry_run=True))
    code, problems = validated(manifest, tmp_path)
    assert code == 1
    assert all(re.search(r"; \w", problem) for problem in problems), problems
    places = {place(problem) for problem in problems}
    for field, cause in causes:
        if ASIDE.search(cause):
            continue
        where = "metadata.name" if field == "<nil>" else field
        if SCHEMA.search(cause):
            near = {
                where,
                f"{where}.name",
                where.rpartition("[")[0],
            }  # the key of a twice-named entry, its list
            assert places & (near if cause.startswith("Duplicate") else {where}), (where, cause, problems)
            continue
        told = sentence(cause).removeprefix(f"{where} ")
        if told == NOT_OUR_FLAG.message:  # the command can say what the flag's own reason is
            told = told.partition("; ")[0]
        same = [problem for problem in problems if told in problem and place(problem) == where]
        # One problem of a value is enough: of a text that is too short, its form need not be said as well.
        assert same or (where in places and len(causes) > 1), (where, told, problems)


def test_what_the_server_takes_is_fine_and_a_typo_is_not(kube, namespace, tmp_path):
    manifest = fleet(FULL) | {"metadata": {"name": "fine", "namespace": namespace}}
    assert kube.create(manifest, dry_run=True).status_code == 201
    assert validated(manifest, tmp_path) == (0, [])
    manifest["spec"]["drainSecond"] = 3
    assert kube.create(manifest, dry_run=True).status_code == 201  # pruned, in silence
    code, problems = validated(manifest, tmp_path)
    assert (code, len(problems)) == (1, 1)
    assert "did you mean drainSeconds?" in problems[0]


def test_a_name_is_named_once(tmp_path):
    _, (problem,) = validated(fleet(name="1abc"), tmp_path)
    assert problem.startswith('metadata.name: "1abc" must be a DNS-1035 label')
