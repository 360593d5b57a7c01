"""What the dashboards are made of, and the one place that knows Grafana's form.

A dashboard here is plain data: rows of panels, panels of queries. That data is what the checks, the table in
the documentation and a real Prometheus are asked with; `board` turns it into Grafana's classic JSON, the form
that the sidecar of every common installation reads. The conventions are kept by construction and not by care:
the data source is a variable, every panel has a unit and a description, positions are computed, and a
dashboard's variables narrow each of its queries (`of`).

It refuses what a hand-made dashboard collects in time: a query without the variables, a panel that nobody
described, a colour that means one thing here and another there. And no colour says anything alone: a single
number stands beside its colour, a state has its word, and the limits of a line are drawn as lines.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

with warnings.catch_warnings():
    # It would have us use the newer form, which the sidecar does not read.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statetimeline, timeseries
    from grafana_foundation_sdk.builders import dashboard as build
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common as kinds
    from grafana_foundation_sdk.models import dashboard as model

from charts.monitoring.rules.model import RUNBOOKS

TAG = "torpor"
SOURCE = kinds.DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24  # of Grafana's grid
INTERVAL = "$__rate_interval"
WHOLE = "$__range"
BY_FLEET = "cluster, namespace, name"
FLEET_NAME = "{{namespace}}/{{name}}"

# What a click on a fleet takes along: the time, the data source, and the fleet that was clicked on.
CLICKED = (
    "${__url_time_range}&${datasource:queryparam}&${cluster:queryparam}"
    "&var-namespace=${__field.labels.namespace}&var-fleet=${__field.labels.name}"
)

# Kinds of panels, with the width and height of each in cells of the grid.
LINES, STAT, STATES, BARS = "timeseries", "stat", "state-timeline", "bargauge"
SIZES = {LINES: (8, 8), STAT: (4, 4), STATES: (12, 8), BARS: (8, 8)}

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "dark-gray"
Steps = Sequence[tuple[float, str]]  # a value, and the colour from it on; below the first it is green
# Shares of requests that fail, and of what a process or a cache may use: the same limits everywhere.
FAILED, FULL = ((0.01, YELLOW), (0.05, RED)), ((0.8, YELLOW), (0.95, RED))

# What an empty panel says. A fleet that sleeps has no engine and no traffic, and nothing is broken then.
NO_REQUESTS, NO_REPLICA = "no requests", "no replica runs"


@dataclass(frozen=True)
class Query:
    """One expression; `legend` names its series. `whole`: asked once for the time that the dashboard shows,
    and not for each moment of it.
    """

    expr: str
    legend: str
    whole: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel. `unit` is Grafana's id of a unit, `words` what single values are called, `width` cells of
    the grid (the kind's usual where None), `stacked` lines that add up, `top` the highest value there can be,
    `none` what it says where there is nothing, `named` a single value that is a series' name and no number,
    `leads_to` the dashboard (uid) of the fleet that one clicks on.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = LINES
    steps: Steps = ()
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    width: int | None = None
    stacked: bool = False
    bottom: float | None = 0
    top: float | None = None
    decimals: int | None = None
    none: str | None = None
    named: bool = False
    leads_to: str | None = None


@dataclass(frozen=True)
class Row:
    """Panels under one heading, which is a question."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Choice:
    """A variable of a dashboard: the values of `label` in `series`."""

    name: str
    title: str
    label: str
    series: str


@dataclass(frozen=True)
class Board:
    """One dashboard. `uid` is what links to it stand on and never changes."""

    uid: str
    title: str
    description: str
    choices: tuple[Choice, ...]
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """Yield every panel in order."""
        for row in self.rows:
            yield from row.panels


CLUSTER = Choice("cluster", "Cluster", "cluster", "torpor_operator_leader")
NAMESPACE = Choice("namespace", "Namespace", "namespace", 'torpor_fleet_ready_replicas{cluster=~"$cluster"}')
FLEET = Choice(
    "fleet",
    "Fleet",
    "name",
    'torpor_fleet_ready_replicas{cluster=~"$cluster", namespace=~"$namespace"}',
)
FLEETS = (CLUSTER, NAMESPACE, FLEET)


def of(metric: str, **more: str) -> str:
    """Return a metric of the chosen fleets; `more` are further labels, see `_matchers`."""
    return _selector(metric, 'cluster=~"$cluster", namespace=~"$namespace", name=~"$fleet"', more)


def here(metric: str, **more: str) -> str:
    """Return a metric of the chosen clusters that belongs to no fleet."""
    return _selector(metric, 'cluster=~"$cluster"', more)


def _selector(metric: str, chosen: str, more: Mapping[str, str]) -> str:
    """Return a selector; a value that begins with "~" is a pattern, with "!" what is not wanted."""
    matchers = [chosen]
    for label, value in more.items():
        sign = "=~" if value[:1] == "~" else "!=" if value[:1] == "!" else "="
        matchers.append(f'{label}{sign}"{value.lstrip("~!")}"')
    return f"{metric}{{{', '.join(matchers)}}}"


def rate(series: str) -> str:
    """Return how fast a counter grows, per second."""
    return f"rate({series}[{INTERVAL}])"


def total(series: str, by: str = BY_FLEET) -> str:
    """Return a sum."""
    return f"sum by ({by}) ({series})"


def latest(series: str, by: str = BY_FLEET) -> str:
    """Return a gauge of the operator: the leader's alone carries fleets, and for a moment two may."""
    return f"max by ({by}) ({series})"


def grown(series: str) -> str:
    """Return by how much a counter grew in the time that the dashboard shows."""
    return f"increase({series}[{WHOLE}])"


def share(part: str, whole: str) -> str:
    """Return a quotient, nothing where the whole is nothing."""
    return f"{part} / ({whole} > 0)"


def quantile(place: float, histogram: str, by: str = BY_FLEET) -> str:
    """Return the value below which `place` (0..1) of what a fleet's histogram saw lies."""
    return f"histogram_quantile({place:g}, sum by (le, {by}) ({rate(of(histogram + '_bucket'))}))"


def mean(histogram: str, by: str = BY_FLEET) -> str:
    """Return the mean of what a fleet's histogram saw."""
    sums, counts = (total(rate(of(f"{histogram}_{part}")), by) for part in ("sum", "count"))
    return share(sums, counts)


def quantiles(histogram: str, places: Sequence[float] = (0.5, 0.95, 0.99)) -> tuple[Query, ...]:
    """Return the usual quantiles of a fleet's histogram."""
    return tuple(Query(quantile(place, histogram), f"{FLEET_NAME} p{place * 100:g}") for place in places)


# --- Grafana's form ----------------------------------------------------------------------------------


def text(board: Board, others: Sequence[Board]) -> str:
    """Return the JSON of a dashboard with links to the `others`."""
    made = (
        build.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            build.DatasourceVariable("datasource")
            .label("Data source")
            .type("prometheus")
            .allow_custom_value(False)
        )
    )
    for choice in board.choices:
        made = made.with_variable(_variable(choice))
    for other in others:
        link = build.DashboardLink(other.title.removeprefix("Torpor / ")).type(model.DashboardLinkType.LINK)
        made = made.link(
            link.url(f"/d/{other.uid}").include_vars(True).keep_time(True).tooltip(other.description)
        )
    runbooks = build.DashboardLink("Runbooks").type(model.DashboardLinkType.LINK)
    made = made.link(
        runbooks.url(RUNBOOKS).target_blank(True).tooltip("What each alert means and what to do.")
    )
    for part in _placed(board):
        made = made.with_row(part) if isinstance(part, build.Row) else made.with_panel(part)
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _variable(choice: Choice) -> build.QueryVariable:
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        build.QueryVariable(choice.name)
        .label(choice.title)
        .datasource(SOURCE)
        .query(f"label_values({choice.series}, {choice.label})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _placed(board: Board) -> Iterator[Any]:
    """Yield rows and panels with their places: from left to right, a new line where one is full."""
    number, y = 0, 0
    for row in board.rows:
        number += 1
        yield build.Row(row.title).id(number).grid_pos(model.GridPos(h=1, w=COLUMNS, x=0, y=y))
        x, y, high = 0, y + 1, 0
        for panel in row.panels:
            usual, height = SIZES[panel.kind]
            width = panel.width or usual
            if x + width > COLUMNS:
                x, y, high = 0, y + high, 0
            number += 1
            yield _panel(panel, number).grid_pos(model.GridPos(h=height, w=width, x=x, y=y))
            x, high = x + width, max(high, height)
        y += high


def _panel(panel: Panel, number: int) -> Any:
    made = _KINDS[panel.kind](panel)
    made = (
        made.id(number).title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    )
    for index, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id("ABCDEFGH"[index])
        made = made.with_target((target.instant() if query.whole else target.range()).datasource(SOURCE))
    if panel.bottom is not None and panel.kind != STATES:
        made = made.min(panel.bottom)
    if panel.top is not None:
        made = made.max(panel.top)
    if panel.decimals is not None:
        made = made.decimals(panel.decimals)
    if panel.none is not None:
        made = made.no_value(panel.none)
    if panel.leads_to is not None:
        link = build.DashboardLink("This fleet").url(f"/d/{panel.leads_to}?{CLICKED}")
        made = made.data_links([link])
    if panel.words:
        made = made.mappings([model.ValueMap(options=_words(panel.words))])
    steps = [model.Threshold(value=None, color=GREEN if panel.steps else BLUE)]
    steps += [model.Threshold(value=value, color=colour) for value, colour in panel.steps]
    scale = build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
    return made.thresholds(scale)


def _words(words: Mapping[str, tuple[str, str]]) -> dict[str, model.ValueMappingResult]:
    return {
        value: model.ValueMappingResult(text=told, color=colour, index=index)
        for index, (value, (told, colour)) in enumerate(words.items())
    }


def _lines(panel: Panel) -> Any:
    legend = common.VizLegendOptions().show_legend(True)
    legend = legend.display_mode(kinds.LegendDisplayMode.LIST).placement(kinds.LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    made = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(tooltip)
        .line_width(1)
        .show_points(kinds.VisibilityMode.NEVER)
    )
    if panel.steps:
        dashed = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds_style(dashed)
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL)).fill_opacity(30)
    return made


def _stat(panel: Panel) -> Any:
    options = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    made = stat.Panel().reduce_options(options).graph_mode(kinds.BigValueGraphMode.NONE)
    shown = kinds.BigValueTextMode.NAME if panel.named else kinds.BigValueTextMode.AUTO
    return made.color_mode(kinds.BigValueColorMode.VALUE).text_mode(shown)


def _states(panel: Panel) -> Any:
    made = statetimeline.Panel().show_value(kinds.VisibilityMode.AUTO).merge_values(True)
    colours = build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)
    return made.row_height(0.8).color_scheme(colours)


def _bars(panel: Panel) -> Any:
    options = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    return bargauge.Panel().reduce_options(options).orientation(kinds.VizOrientation.HORIZONTAL)


_KINDS = {LINES: _lines, STAT: _stat, STATES: _states, BARS: _bars}
