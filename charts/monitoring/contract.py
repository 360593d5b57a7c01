"""Is what a query asks for there? Names, labels, their words, and whether the parts of it fit together.

A query about a metric that was renamed gives no error: the panel is empty, the alert is silent, and both
look like peace. So each query of a rule or a panel is read here and held against `exposed`. Beyond names and
labels it is followed as Prometheus would evaluate it, with the set of labels that each part has, because the
errors that a name does not show are of this kind: a rate over a gauge, a quantile of buckets without `le`,
and above all a division that works while there is one pod and fails with "many-to-many matching" at the
second one.

For dashboards (`charts/monitoring/dashboards`):

    from charts.monitoring.contract import check, grafana, mentioned
    labels = check(grafana(panel_query), known=RECORDED_BY_RULES)   # ContractError names query, part and rule
    mentioned(legend) <= labels                                     # {{name}} of a legend exists

`known` are the series that recording rules make (`charts.monitoring.rules.recorded()`). What is refused
though Prometheus allows it: a selector without a name, and a match of single series that holds only while the
labels that are left out have one value; aggregate first, and say `max by (namespace, name)`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import promql_parser as promql

from charts.monitoring.engines import said_of
from charts.monitoring.exposed import Series, exposed

_RATES = {"rate", "irate", "increase", "resets"}
_OF_GAUGES = {"delta", "idelta", "deriv", "predict_linear", "holt_winters"}
_KEEPERS = {"topk", "bottomk", "limitk", "limit_ratio"}
_SETS = {"and", "unless"}
_TEMPLATE = re.compile(r"\{\{-?\s*(?:\$labels\.)?([a-zA-Z_]\w*)\s*-?\}\}")
_LABEL_OF_ALERT = re.compile(r"\$labels\.([a-zA-Z_]\w*)")
_PLAIN = re.compile(r"[\w ./:-]*")


class ContractError(Exception):
    """A query that asks for what is not there, or cannot be evaluated. The message names query and rule."""


@dataclass(frozen=True)
class Vector:
    """What an expression gives: its labels, and those of them that have one value (`{state="up"}`)."""

    labels: frozenset[str]
    fixed: frozenset[str] = frozenset()
    scalar: bool = False

    @property
    def varying(self) -> frozenset[str]:
        """The labels in which two series of it may differ."""
        return self.labels - self.fixed


_SCALAR = Vector(frozenset(), scalar=True)


def check(query: str, known: Iterable[Series] = ()) -> frozenset[str]:
    """Return the labels that the query's result has. Raises ContractError."""
    there = {**exposed(), **{series.name: series for series in known}}
    try:
        tree = promql.parse(query)
    except ValueError as error:
        raise ContractError(f"{query}: no PromQL: {error}") from None
    try:
        return _Reader(there).read(tree).labels
    except ContractError as error:
        raise ContractError(f"{' '.join(query.split())}: {error}") from None


def grafana(query: str) -> str:
    """Return a panel's query as PromQL: intervals of Grafana become 5m, its variables match anything."""
    query = re.sub(r"\$\{?__(?:rate_interval|interval|range)\}?", "5m", query)
    return re.sub(r"\$\{\w+(?::\w+)?\}|\[\[\w+\]\]|\$\w+", ".*", query)


def mentioned(text: str) -> frozenset[str]:
    """Return the labels that a legend (`{{name}}`) or an alert's text (`{{ $labels.name }}`) inserts."""
    return frozenset({*_TEMPLATE.findall(text), *_LABEL_OF_ALERT.findall(text)})


class _Reader:
    def __init__(self, there: Mapping[str, Series]) -> None:
        self._there = there

    def read(self, node: promql.Expr) -> Vector:
        """Return what the expression gives. Raises ContractError without the query."""
        match node:
            case promql.VectorSelector():
                return self._selector(node)
            case promql.MatrixSelector():
                return self._selector(node.vector_selector)
            case promql.AggregateExpr():
                return self._aggregation(node)
            case promql.BinaryExpr():
                return self._binary(node)
            case promql.Call():
                return self._call(node)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self.read(node.expr)
        return _SCALAR

    def _selector(self, node: promql.VectorSelector) -> Vector:
        series = self._series(node)
        labels = series.labels | series.target
        fixed = set()
        for matcher in node.matchers.matchers:
            if matcher.name not in labels:
                raise ContractError(
                    f"{series.name} has no label {matcher.name!r}; it has {', '.join(sorted(labels))}"
                )
            self._words(series, matcher)
            if matcher.op == promql.MatchOp.Equal:
                fixed.add(matcher.name)
        return Vector(labels, frozenset(fixed))

    def _series(self, node: promql.VectorSelector) -> Series:
        if node.name is None:
            raise ContractError("a selector without a metric's name cannot be checked")
        if node.name not in self._there:
            told = said_of(node.name) or self._nearest(node.name)
            raise ContractError(f"nobody serves {node.name!r}{told}")
        return self._there[node.name]

    def _nearest(self, name: str) -> str:
        parts = [other for other in self._there if other.startswith(name) or name.startswith(other)]
        return f"; there is {', '.join(sorted(parts))}" if parts else ""

    @staticmethod
    def _words(series: Series, matcher: promql.Matcher) -> None:
        """Each alternative of a match has to be a word; `.*` and a variable's pattern match all of them."""
        words = series.words.get(matcher.name)
        if words is None:
            return
        regex = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
        for part in matcher.value.split("|") if regex else [matcher.value]:
            found = part in words if _PLAIN.fullmatch(part) else any(re.fullmatch(part, w) for w in words)
            if not found:
                raise ContractError(
                    f"{series.name}: {matcher.name} is never {part!r}; "
                    f"it is one of {', '.join(sorted(words))}"
                )

    def _aggregation(self, node: promql.AggregateExpr) -> Vector:
        inner = self.read(node.expr)
        if str(node.op) in _KEEPERS:
            return inner
        named = frozenset(node.modifier.labels) if node.modifier else frozenset()
        self._have(named, inner, f"{node.op} by or without")
        kept = named
        if node.modifier and node.modifier.type != promql.AggModifierType.By:
            kept = inner.labels - named
        if str(node.op) == "count_values" and node.param is not None:
            kept |= {node.param.val}
        return Vector(kept, inner.fixed & kept)

    @staticmethod
    def _have(named: Iterable[str], inner: Vector, where: str) -> None:
        if gone := sorted(set(named) - inner.labels):
            raise ContractError(
                f"{where}: no label {gone[0]!r} here; there is {', '.join(sorted(inner.labels)) or 'none'}"
            )

    def _call(self, node: promql.Call) -> Vector:
        name, arguments = node.func.name, list(node.args)
        if name in _RATES | _OF_GAUGES:
            self._kind(
                name,
                next(
                    arg for arg in arguments if isinstance(arg, promql.MatrixSelector | promql.SubqueryExpr)
                ),
            )
        given = [self.read(argument) for argument in arguments]
        vectors = [vector for vector in given if not vector.scalar]
        if name in ("scalar", "vector", "time"):
            return Vector(frozenset(), scalar=name != "vector")
        if name.startswith("absent"):
            return Vector(vectors[0].fixed, vectors[0].fixed)
        if not vectors:
            return _SCALAR
        if name == "histogram_quantile":
            self._have(["le"], vectors[0], name)
            return Vector(vectors[0].labels - {"le"}, vectors[0].fixed)
        if name in ("label_replace", "label_join"):
            made = arguments[1].val
            return Vector(vectors[0].labels | {made}, vectors[0].fixed - {made})
        return vectors[0]

    def _kind(self, name: str, node: promql.Expr) -> None:
        if not isinstance(node, promql.MatrixSelector):
            return
        series = self._series(node.vector_selector)
        grows = series.kind in ("counter", "histogram", "summary")
        if grows != (name in _RATES):
            raise ContractError(f"{name}() of {series.name}, which is a {series.kind}")

    def _binary(self, node: promql.BinaryExpr) -> Vector:
        left, right = self.read(node.lhs), self.read(node.rhs)
        if left.scalar or right.scalar:
            return right if left.scalar else left
        if str(node.op) == "or":
            both = Vector(left.labels & right.labels, left.fixed & right.fixed)
            return both if left.labels and right.labels else left if left.labels else right
        matching = node.modifier.matching if node.modifier else None
        on = self._matched(matching, left, right)
        if str(node.op) in _SETS:
            return left
        grouped = node.modifier.group_labels if node.modifier else None
        if node.modifier is None or grouped is None:
            for side, vector in (("left", left), ("right", right)):
                self._single(vector, on, side)
            return Vector(on if matching else left.labels, left.fixed & on)
        one, many = (
            (right, left) if node.modifier.card == promql.VectorMatchCardinality.ManyToOne else (left, right)
        )
        self._single(one, on, "single")
        self._have(grouped, one, "group")
        return Vector(many.labels | set(grouped), many.fixed)

    def _matched(self, matching: promql.LabelModifier | None, left: Vector, right: Vector) -> frozenset[str]:
        """Return the labels by which the sides are matched; each has to be on both."""
        if matching is None or matching.type == promql.LabelModifierType.Exclude:
            out = frozenset(matching.labels) if matching else frozenset()
            if left.labels - out != right.labels - out:
                differ = ", ".join(sorted((left.labels ^ right.labels) - out))
                raise ContractError(f"the sides differ in {differ}: they never match; say on(...)")
            return left.labels - out
        on = frozenset(matching.labels)
        self._have(on, left, "on, left side")
        self._have(on, right, "on, right side")
        return on

    @staticmethod
    def _single(vector: Vector, on: frozenset[str], side: str) -> None:
        if several := sorted(vector.varying - on):
            raise ContractError(
                f"the {side} side may have several series of the same {', '.join(sorted(on)) or 'nothing'} "
                f"(they differ in {', '.join(several)}); aggregate it first, or group"
            )
