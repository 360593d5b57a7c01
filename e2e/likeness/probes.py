"""The questions put to an engine, real or simulated, and what is kept of the answers.

One list of probes serves three uses: recording the real vLLM, comparing a running one (`comparison`), and
checking the simulated engine against the recording. An answer is reduced to its shape: field names in their
order, types, the constants that clients depend on (object names, null or not, finish reasons), the framing of
the stream. Words, ids, times and counts that depend on the model are reduced to their type. An answer that
never comes, or cannot be read, is kept as an answer too: the other probes still tell something.

Run as a program, it writes a recording: `python -m e2e.likeness.probes http://127.0.0.1:8000 MODEL DIR`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

# Values that are compared as they are, wherever they stand; everything else by its type.
CONSTANT_KEYS = {
    "object",
    "role",
    "finish_reason",
    "stop_reason",
    "index",
    "owned_by",
    "type",
    "code",
    "param",
    "parent",
}
# Greedy, so that one engine says the same each time. Eight tokens, so that an engine that merges what a busy
# client has not read yet still sends one of them alone.
FIXED = {"temperature": 0, "ignore_eos": True}
STREAM = {**FIXED, "stream": True, "max_tokens": 8}
SECONDS = 120.0


@dataclass(frozen=True)
class Probe:
    """One request. `model` is filled in; body None means GET unless a method is given."""

    name: str
    path: str
    body: dict[str, Any] | str | None = None
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def _chat(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Say something about rivers."}], **more}


def _text(**more: Any) -> dict[str, Any]:
    return {"prompt": "A river is", **more}


PROBES = [
    Probe("chat-stream", "/v1/chat/completions", _chat(**STREAM)),
    Probe(
        "chat-stream-usage", "/v1/chat/completions", _chat(**STREAM, stream_options={"include_usage": True})
    ),
    Probe(
        "chat-stream-continuous",
        "/v1/chat/completions",
        _chat(**STREAM, stream_options={"include_usage": True, "continuous_usage_stats": True}),
    ),
    Probe("chat", "/v1/chat/completions", _chat(**FIXED, max_tokens=4)),
    Probe("completion-stream", "/v1/completions", _text(**STREAM)),
    Probe(
        "completion-stream-usage", "/v1/completions", _text(**STREAM, stream_options={"include_usage": True})
    ),
    Probe("completion", "/v1/completions", _text(**FIXED, max_tokens=4)),
    Probe(
        "completion-two-prompts",
        "/v1/completions",
        {**FIXED, "prompt": ["A", "B"], "max_tokens": 2},
    ),
    Probe("models", "/v1/models", method="GET"),
    Probe("health", "/health", method="GET"),
    Probe("ping", "/ping", method="GET"),
    Probe("version", "/version", method="GET"),
    Probe("load", "/load", method="GET"),
    Probe("tokenize", "/tokenize", {"prompt": "A river is"}),
    Probe("tokenize-strings", "/tokenize", {"prompt": "A river is", "return_token_strs": True}),
    Probe("not-found", "/v1/nothing", method="GET"),
    Probe("wrong-method", "/v1/chat/completions", method="GET"),
    Probe("unknown-model", "/v1/chat/completions", _chat(model="nobody")),
    Probe("unknown-model-text", "/v1/completions", _text(model="nobody")),
    Probe("broken-json", "/v1/chat/completions", '{"model": '),
    Probe("not-an-object", "/v1/chat/completions", "[1]"),
    Probe("no-messages", "/v1/chat/completions", {}),
    Probe("no-prompt", "/v1/completions", {}),
    Probe("empty-messages", "/v1/chat/completions", {"messages": []}),
    Probe("wrong-content-type", "/v1/completions", _text(), headers={"content-type": "text/plain"}),
    Probe("zero-max-tokens", "/v1/chat/completions", _chat(max_tokens=0)),
    Probe("negative-max-tokens", "/v1/completions", _text(max_tokens=-1)),
    Probe("text-max-tokens", "/v1/completions", _text(max_tokens="many")),
    Probe("huge-max-tokens", "/v1/completions", _text(max_tokens=10**6, stop=["e", "a", "i"])),
    Probe("prompt-too-long", "/v1/completions", {"prompt": "river " * 5000, "max_tokens": 1}),
    Probe("stream-options-without-stream", "/v1/completions", _text(stream_options={"include_usage": True})),
    Probe(
        "stop-string",
        "/v1/completions",
        # One string only: of several, the words decide which is met first.
        {"prompt": "A river is", "max_tokens": 200, "temperature": 0, "stop": ["e"]},
    ),
]


def kind(value: Any) -> Any:
    """The type of a JSON value, with the shape of what it holds. Lists are reduced to their first entry."""
    if isinstance(value, dict):
        return {key: shape(key, entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [kind(value[0])] if value else []
    if value is None or isinstance(value, bool):
        return value
    return {int: "int", float: "float", str: "str"}[type(value)]


def shape(key: str, value: Any) -> Any:
    """As `kind`, but constants are kept."""
    return value if key in CONSTANT_KEYS and not isinstance(value, dict | list) else kind(value)


def reduce_events(text: str) -> list[Any]:
    """The events of a stream in order; equal neighbours count once. ValueError: bad framing."""
    events: list[Any] = []
    blocks = text.split("\n\n")
    if blocks.pop() != "":
        raise ValueError("the stream does not end with an empty line")
    for block in blocks:
        if not block.startswith("data: ") or "\n" in block:
            raise ValueError(f"not a one-line data event: {block[:80]!r}")
        payload = block.removeprefix("data: ")
        event = payload if payload == "[DONE]" else kind(json.loads(payload))
        if isinstance(event, dict):
            # Spaces show which encoder wrote it: vLLM's models have none, its error events do.
            event = {"spaces": ": " in payload, **event}
        if not events or events[-1] != event:
            events.append(event)
    return events


def reduce_answer(response: httpx.Response) -> dict[str, Any]:
    """What is kept of one answer."""
    kept: dict[str, Any] = {
        "status": response.status_code,
        "headers": {
            name: value
            for name, value in sorted(response.headers.items())
            if name not in {"date", "content-length"}
        },
    }
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        kept["events"] = reduce_events(response.text)
    elif response.content:
        kept["body"] = kind(response.json())
        if "error" in response.json():
            kept["message"] = response.json()["error"]["message"]
    return kept


def ask(client: httpx.Client, probe: Probe, model: str) -> dict[str, Any]:
    """Put one probe; {"failed": why} when no readable answer comes."""
    headers = {"content-type": "application/json", **probe.headers} if probe.body is not None else {}
    content = probe.body
    if isinstance(content, dict):
        content = json.dumps({"model": model, **content})
    try:
        return reduce_answer(client.request(probe.method, probe.path, content=content, headers=headers))
    except (httpx.HTTPError, ValueError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}


_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{.*\})? ")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_OF_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


def reduce_metrics(text: str, model: str) -> dict[str, Any]:
    """Per sample name: its type, its labels and their values (bucket bounds among them)."""
    types: dict[str, str] = {}
    samples: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, of = line.split(" ")
            types[name] = of
        match = _SAMPLE.match(line)
        if line.startswith("#") or not match:
            continue
        name = match[1]
        family = name if name in types else _OF_HISTOGRAM.sub("", name)
        labels = samples.setdefault(name, {"type": types.get(family), "labels": {}})["labels"]
        for label, value in _LABEL.findall(match[2] or ""):
            shown = "MODEL" if value == model else value
            if shown not in labels.setdefault(label, []):
                labels[label].append(shown)
    return samples


def record(address: str, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Answers to all probes by their names, then the metrics by their names.

    `address` is the engine's base URL, `model` the first of its served names. Raises httpx.HTTPError when the
    metrics cannot be had.
    """
    with httpx.Client(base_url=address, timeout=SECONDS, trust_env=False) as client:
        answers = {probe.name: ask(client, probe, model) for probe in PROBES}
        scraped = client.get("/metrics")
    answers["metrics"] = {"status": scraped.status_code, "content-type": scraped.headers["content-type"]}
    return answers, reduce_metrics(scraped.text, model)


def main() -> None:
    """Write a recording."""
    address, model, folder = sys.argv[1:]
    for name, value in zip(("answers", "metrics"), record(address, model), strict=True):
        Path(folder, f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
