"""The dashboards as Grafana gets them: what they ask exists, and what a linter of dashboards would refuse."""

import json
import re
from dataclasses import replace
from functools import cache
from itertools import takewhile
from typing import Any

import pytest

from charts.monitoring import dashboards
from charts.monitoring.contract import ContractError, check, grafana, mentioned
from charts.monitoring.exposed import exposed
from charts.monitoring.rules.model import RUNBOOKS

LARGEST = 1024 * 1024  # bytes of a ConfigMap
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


@cache
def files() -> dict[str, dict[str, Any]]:
    return {name: json.loads(text) for name, text in dashboards.files().items()}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in board["templating"]["list"] if entry["type"] == "query"]


@cache
def clusters() -> tuple[Any, ...]:
    """What is exposed, with the label that a Prometheus of several clusters adds."""
    return tuple(replace(series, target=series.target | {"cluster"}) for series in exposed().values())


NAMES = sorted(dashboards.files())


def test_there_are_the_four():
    assert NAMES == [
        "torpor-decisions.json",
        "torpor-fleet.json",
        "torpor-fleets.json",
        "torpor-gateway.json",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_query_can_be_answered_and_every_legend_filled(name):
    for panel in panels(files()[name]):
        for target in panel["targets"]:
            labels = check(grafana(target["expr"]), known=clusters())
            missing = mentioned(target["legendFormat"]) - labels - {"worker"}  # where a gateway has several
            assert not missing, f"{panel['title']}: the legend names {missing}, the query gives {labels}"


@pytest.mark.parametrize("name", NAMES)
def test_every_choice_is_of_a_label_that_exists_and_is_used(name):
    board = files()[name]
    asked = " ".join(target["expr"] for panel in panels(board) for target in panel["targets"])
    assert (
        board["templating"]["list"][0] | {"name": "datasource", "query": "prometheus"}
        == board["templating"]["list"][0]
    )
    for entry in variables(board):
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", entry["query"])
        assert found, entry["query"]
        assert found[2] in check(grafana(found[1]), known=clusters())
        assert (entry["datasource"], entry["multi"], entry["includeAll"]) == (SOURCE, True, True)
        assert (entry["allValue"], entry["refresh"]) == (".*", 2)
        assert f'=~"${entry["name"]}"' in asked, f"${entry['name']} changes nothing"


@pytest.mark.parametrize("name", NAMES)
def test_every_query_obeys_the_choices(name):
    for panel in panels(files()[name]):
        for target in panel["targets"]:
            selectors = re.findall(r"[a-zA-Z_][\w:]*\{[^}]*\}", target["expr"])
            assert selectors, f"{panel['title']}: a selector without braces is of all clusters"
            for selector in selectors:
                assert 'cluster=~"$cluster"' in selector, f"{panel['title']}: {selector}"
                one_fleets = {"namespace", "name"} <= exposed()[selector.partition("{")[0]].labels
                if one_fleets or selector.startswith(("vllm:", "torpor_engine")):
                    assert 'namespace=~"$namespace", name=~"$fleet"' in selector, (
                        f"{panel['title']}: {selector}"
                    )


@pytest.mark.parametrize("name", NAMES)
def test_rates_are_as_long_as_the_step_and_totals_as_the_time_shown(name):
    for panel in panels(files()[name]):
        for target in panel["targets"]:
            ranges = set(re.findall(r"\[([^\]]*)\]", target["expr"]))
            assert ranges <= {"$__range" if target["instant"] else "$__rate_interval"}, panel["title"]
            assert target["instant"] != target["range"]


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows(name):
    titles = [panel["title"] for panel in panels(files()[name])]
    assert len(titles) == len(set(titles)), "two panels of one name"
    for panel in panels(files()[name]):
        told = panel["description"]
        assert re.fullmatch(r"[A-Z0-9`].{19,}\.", told), f"{panel['title']}: {told}"
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == SOURCE
        assert all(target["datasource"] == SOURCE for target in panel["targets"])
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("name", NAMES)
def test_panels_lie_beside_each_other_under_a_row(name):
    board = files()[name]
    assert board["panels"][0]["type"] == "row"
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_boards_are_found_and_lead_to_each_other(name):
    board = files()[name]
    assert f"{board['uid']}.json" == name
    assert len(board["uid"]) <= 40
    assert (board.get("id"), board["editable"], board["tags"]) == (None, True, ["torpor"])
    others = {f"/d/{other['uid']}" for other in files().values()} - {f"/d/{board['uid']}"}
    *boards, runbooks = board["links"]
    assert {link["url"] for link in boards} == others
    assert all(link["includeVars"] and link["keepTime"] for link in boards)
    assert (runbooks["url"], runbooks["targetBlank"]) == (RUNBOOKS, True)


@pytest.mark.parametrize("name", NAMES)
def test_no_colour_says_anything_alone(name):
    """Who cannot tell green from red reads the number, the word, or the line of a limit."""
    for panel in panels(files()[name]):
        defaults = panel["fieldConfig"]["defaults"]
        limits = len(defaults["thresholds"]["steps"]) > 1
        if panel["type"] == "timeseries":
            drawn = (defaults["custom"].get("thresholdsStyle") or {}).get("mode", "off") != "off"
            assert drawn == limits, panel["title"]
        if panel["type"] == "state-timeline":
            words = [option for part in defaults["mappings"] for option in part["options"].values()]
            assert words, panel["title"]
            assert all(word["text"] and word["color"] for word in words), panel["title"]
        if panel["type"] == "stat":
            assert panel["options"]["textMode"] in ("auto", "name"), panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_row_says_what_is_wrong_and_since_when(name):
    below = list(takewhile(lambda panel: panel["type"] != "row", files()[name]["panels"][1:]))
    assert {"stat", "state-timeline"} & {panel["type"] for panel in below}


@pytest.mark.parametrize("name", NAMES)
def test_a_click_on_a_fleet_leads_to_it_with_all_that_was_chosen(name):
    for panel in panels(files()[name]):
        for link in panel["fieldConfig"]["defaults"].get("links", ()):
            uid, _, query = link["url"].removeprefix("/d/").partition("?")
            assert f"{uid}.json" in NAMES
            assert query.startswith("${__url_time_range}&${datasource:queryparam}")
            chosen = dict(re.findall(r"&var-(\w+)=\$\{__field\.labels\.(\w+)\}", query))
            assert chosen == {"namespace": "namespace", "fleet": "name"}
            for target in panel["targets"]:
                assert set(chosen.values()) <= check(grafana(target["expr"]), known=clusters()), panel[
                    "title"
                ]


def test_what_needs_an_engine_or_requests_says_so_where_a_fleet_sleeps():
    for name in NAMES:
        for panel in panels(files()[name]):
            asked = " ".join(target["expr"] for target in panel["targets"])
            of_engines = re.search(r"\b(vllm:|torpor_engine_)", asked)
            if of_engines and "torpor_gateway" not in asked:
                quiet = panel["fieldConfig"]["defaults"].get("noValue")
                assert quiet, f"{panel['title']}: a fleet that sleeps looks broken"


def test_no_two_panels_ask_the_same():
    """But for what stands in the first row of several boards."""
    asked: dict[tuple[str, ...], str] = {}
    for name in NAMES:
        for panel in panels(files()[name]):
            queries = tuple(target["expr"] for target in panel["targets"])
            where = f"{name}: {panel['title']}"
            assert queries not in asked or panel["title"] in ("Replicas", "Held"), (where, asked.get(queries))
            asked[queries] = where


def test_the_files_fit_into_configmaps_with_room_to_spare():
    for name, text in dashboards.files().items():
        assert len(text.encode()) < LARGEST / 4, name


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("rate(torpor_fleet_ready_replicas[$__rate_interval])", "gauge"),
        ("torpor_fleet_reddy_replicas", "nobody serves"),
        ('torpor_fleet_condition{kind="Ready"}', "no label"),
        ("histogram_quantile(0.9, sum by (name) (rate(torpor_gateway_hold_seconds_bucket[5m])))", "le"),
    ],
)
def test_the_contract_refuses_what_would_be_an_empty_panel(query, why):
    with pytest.raises(ContractError, match=why):
        check(grafana(query), known=clusters())
