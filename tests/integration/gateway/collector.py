"""A little OTLP receiver on a socket: reads export requests as the specification has them, and remembers."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.gateway.scripted import Server, json_answer


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return attributes as a mapping; their values must have exactly one type."""
    found: dict[str, Any] = {}
    for attribute in attributes:
        ((kind, value),) = attribute["value"].items()
        assert attribute["key"] not in found
        found[attribute["key"]] = int(value) if kind == "intValue" else value
        assert {"stringValue": str, "intValue": str, "boolValue": bool, "doubleValue": float}[kind] is type(
            value
        )
    return found


class Span:
    """One span, checked as far as its format goes."""

    def __init__(self, value: dict[str, Any], resource: dict[str, Any]) -> None:
        self.resource = resource
        self.trace, self.span = value["traceId"], value["spanId"]
        assert (len(bytes.fromhex(self.trace)), len(bytes.fromhex(self.span))) == (16, 8)
        self.parent = value.get("parentSpanId", "")
        assert len(bytes.fromhex(self.parent)) in (0, 8)
        self.name, self.kind, self.state = value["name"], value["kind"], value.get("traceState", "")
        self.begin, self.end = int(value["startTimeUnixNano"]), int(value["endTimeUnixNano"])
        assert self.begin <= self.end
        self.attributes = plain(value["attributes"])
        self.error = value.get("status", {}).get("code") == 2
        assert self.error is ("error.type" in self.attributes)


class Collector(Server):
    """Takes spans. `answers` are given first, in their order: a status, or a JSON object for a 200."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Span] = []
        self.heads: list[str] = []
        self.answers: list[int | dict[str, Any]] = []

    async def serve(self, reader: Any, writer: Any) -> None:
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            content = await reader.readexactly(int(fields["content-length"]))
            self.heads.append(head)
            answer = self.answers.pop(0) if self.answers else {}
            if isinstance(answer, int):
                writer.write(json_answer({}, status=answer))
                continue
            assert head.startswith("post /v1/traces http/1.1")
            assert fields["content-type"] == "application/json"
            if fields.get("content-encoding") == "gzip":
                content = gzip.decompress(content)
            for resource in json.loads(content)["resourceSpans"]:
                attributes = plain(resource["resource"]["attributes"])
                for scope in resource["scopeSpans"]:
                    assert scope["scope"]["name"] == "torpor_gateway"
                    self.spans += [Span(span, attributes) for span in scope["spans"]]
            writer.write(json_answer(answer))

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        (span,) = self.named(name)
        return span


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Open one; it is closed in the end."""
    collector = Collector()
    await collector.open()
    yield collector
    await collector.close()
