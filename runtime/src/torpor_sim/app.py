"""The routes of vLLM's API server, and the application around them.

Paths, statuses and bodies are those of vLLM 0.32 in a default installation serving one model. Differences:
embeddings are answered beside generation (real vLLM serves one or the other), and everything else that vLLM
offers (responses, messages, audio, scoring, LoRA, sleep) is 404 here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from torpor_sim import bodies, embeddings, errors
from torpor_sim.answers import Writer
from torpor_sim.engine import Engine
from torpor_sim.errors import ApiError
from torpor_sim.faults import FaultPlan
from torpor_sim.generation import Generation, RequestFaults
from torpor_sim.http import Exchange, Request
from torpor_sim.metrics import CACHE_CONFIG, EngineMetrics
from torpor_sim.requests import chat_prompt, parse_body, read_ask
from torpor_sim.scrape import Scrape
from torpor_sim.text import Prose, detokenize, token_id, tokenize
from torpor_sim.wire import Origin

if TYPE_CHECKING:
    from torpor_sim.settings import Settings

Route = Callable[[Request, Exchange], None]


class App:
    """One simulated API server with its engine."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self.faults = FaultPlan(settings.faults)
        self.writer = Writer(
            Prose(settings.seed), settings.output_tokens, settings.max_model_len, settings.seed
        )
        self.created = int(time.time())
        self.fingerprint = f"vllm-{settings.version}-sim{settings.seed & 0xFFFFF:05x}"
        blocks = settings.limits.kv_tokens // settings.limits.block_size
        cache_config = {
            **CACHE_CONFIG,
            "block_size": str(settings.limits.block_size),
            "effective_attention_block_size": str(settings.limits.block_size),
            "num_gpu_blocks": str(blocks),
            "kv_cache_size_tokens": str(settings.limits.kv_tokens),
            "kv_cache_max_concurrency": str(settings.limits.kv_tokens / settings.max_model_len),
            "enable_prefix_caching": str(settings.limits.prefix_caching),
            "gpu_memory_utilization": settings.gpu_memory_utilization,
        }
        metrics = EngineMetrics(
            settings.served_names[0],
            settings.max_model_len,
            cache_config,
            time.time(),
            settings.metrics_generation,
        )
        self.engine = Engine(settings.limits, settings.cost, metrics, loop)
        self.scrape = Scrape(self.engine, self.faults, settings.hidden_metrics)
        self.generations: set[Generation] = set()
        self.others = 0  # embeddings under way
        self.draining = False
        self.opened = loop.time()
        self._ordinal = 0
        self._quiet = asyncio.Event()
        self._routes: dict[str, dict[str, Route]] = {
            "/v1/chat/completions": {"POST": lambda r, e: self._generate(r, e, chat=True)},
            "/v1/completions": {"POST": lambda r, e: self._generate(r, e, chat=False)},
            "/v1/embeddings": {"POST": lambda r, e: embeddings.embed(self, r, e)},
            "/v1/models": {"GET": self._models},
            "/tokenize": {"POST": self._tokenize},
            "/detokenize": {"POST": self._detokenize},
            "/health": {"GET": self._health},
            "/ping": {"GET": self._health, "POST": self._health},
            "/version": {"GET": lambda r, e: e.respond(200, orjson.dumps({"version": settings.version}))},
            "/load": {"GET": self._load},
            "/metrics": {"GET": lambda r, e: self.scrape.answer(e, self.uptime)},
        }

    @property
    def uptime(self) -> float:
        """Seconds since the port opened."""
        return self.loop.time() - self.opened

    async def idle(self) -> None:
        """Wait until no request is under way."""
        self._quiet.clear()
        self._settle()
        await self._quiet.wait()

    def _settle(self) -> None:
        if not self.generations and not self.others:
            self._quiet.set()

    def opened_now(self) -> None:
        """The port opens: scripted times count from here."""
        self.opened = self.loop.time()
        crash, stall = self.faults.get("crash-after"), self.faults.get("stall-after")
        if crash is not None:
            self.loop.call_later(crash.value, os._exit, crash.code)
        if stall is not None:
            self.loop.call_later(stall.value, self.engine.stall)

    def handle(self, request: Request, exchange: Exchange) -> None:
        """Answer one request."""
        methods = self._routes.get(request.path)
        started, handler = self.loop.time(), request.path if methods else "none"
        exchange.on_head = lambda status: self.scrape.count(
            handler, request.method, status, self.loop.time() - started
        )
        try:
            try:
                self._answer(request, exchange, methods)
            except ApiError as error:
                exchange.respond(error.status, error.body)
        except Exception:
            traceback.print_exc()
            exchange.respond(500, errors.broken().body)

    def _answer(self, request: Request, exchange: Exchange, methods: dict[str, Route] | None) -> None:
        if methods is None:
            exchange.respond(404, b'{"detail":"Not Found"}')
            return
        route = methods.get(request.method)
        if route is None:
            allow = (b"allow", ", ".join(methods).encode())
            exchange.respond(405, b'{"detail":"Method Not Allowed"}', extra=(allow,))
            return
        if self.settings.api_key is not None and request.path.startswith("/v1"):
            self._authorize(request)
        route(request, exchange)

    def admit(self, count: int) -> None:
        """Refuse when the queue limits are reached."""
        limit, backlog = self.settings.max_num_queued_reqs, self.settings.max_num_queued_tokens
        metrics = self.engine.metrics
        if limit is not None and self.engine.unfinished + count > limit:
            metrics.rejections["max_num_queued_reqs"].inc()
            raise errors.busy()
        if backlog is not None and self.engine.model.queued_prompt_tokens >= backlog:
            metrics.rejections["max_num_queued_tokens"].inc()
            raise errors.backlog_full()

    def ended(self, generation: Generation) -> None:
        """Forget a generation."""
        self.generations.discard(generation)
        self._settle()

    def embedded(self) -> None:
        """Forget an embedding request."""
        self.others -= 1
        self._settle()

    def check_model(self, name: str) -> str:
        """The name to answer with; 404 when it is not served. No name means the model."""
        names = self.settings.served_names
        if name and name not in names:
            raise errors.unknown_model(name, list(names))
        return name or names[0]

    def check_length(self, prompt_tokens: int) -> None:
        """400 when a prompt leaves no room for one token."""
        if prompt_tokens >= self.settings.max_model_len:
            raise errors.too_long(self.settings.max_model_len)

    def strike(self, exchange: Exchange) -> RequestFaults | None:
        """Count a generation request and apply its faults; None when one of them has answered it."""
        self._ordinal += 1
        ordinal, uptime = self._ordinal, self.uptime
        crash = self.faults.get("crash-at-request")
        if crash is not None and ordinal >= crash.value:
            os._exit(crash.code)
        if self.faults.striking("reset-before-head", ordinal, uptime):
            exchange.reset()
            return None
        status = self.faults.striking("status", ordinal, uptime)
        if status is not None:
            raise ApiError(int(status.value), "scripted fault", "InternalServerError")
        cut = self.faults.striking("cut-stream-after-tokens", ordinal, uptime)
        slow = self.faults.striking("slow-first-token", ordinal, uptime)
        return RequestFaults(int(cut.value) if cut else None, slow.value if slow else 0.0)

    def refuse_if_draining(self, exchange: Exchange) -> bool:
        """While draining: 500, and the connection closes without saying so, as the real server's does."""
        if self.draining:
            refusal = errors.shut_down()
            exchange.respond(refusal.status, refusal.body)
            exchange.shut()
        return self.draining

    def _generate(self, request: Request, exchange: Exchange, *, chat: bool) -> None:
        body = parse_body(request.body, request.headers.get("content-type", ""))
        ask = read_ask(body, chat=chat)
        model = self.check_model(ask.model)
        if ask.max_tokens is not None and ask.max_tokens > self.settings.max_model_len:
            raise errors.answer_too_long(ask.max_tokens, self.settings.max_model_len)
        for prompt in ask.prompts:
            self.check_length(len(prompt))
        faults = self.strike(exchange)
        if faults is None or self.refuse_if_draining(exchange):
            return
        identifier = request.headers.get("x-request-id") or secrets.token_hex(16)
        identifier = f"{'chatcmpl' if chat else 'cmpl'}-{identifier}"
        origin = Origin(identifier, model, int(time.time()), self.fingerprint)
        generation = Generation(self, exchange, ask, origin, faults)
        generation.start()
        self.generations.add(generation)

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self.settings.api_key}".encode()):
            raise ApiError(401, "Unauthorized")

    def _models(self, request: Request, exchange: Exchange) -> None:
        del request
        settings = self.settings
        names = list(settings.served_names)
        exchange.respond(200, bodies.model_list(names, settings.model, self.created, settings.max_model_len))

    def _health(self, request: Request, exchange: Exchange) -> None:
        del request
        exchange.respond(503 if self.faults.due("unhealthy-after", self.uptime) else 200, b"", b"")

    def _load(self, request: Request, exchange: Exchange) -> None:
        del request
        load = len(self.generations) + self.others if self.settings.track_load else 0
        exchange.respond(200, orjson.dumps({"server_load": load}))

    def _tokenize(self, request: Request, exchange: Exchange) -> None:
        body = parse_body(request.body, request.headers.get("content-type", ""))
        self.check_model(str(body.get("model") or ""))
        text = chat_prompt(body) if "messages" in body else body.get("prompt")
        if not isinstance(text, str):
            raise errors.missing_field("prompt", body)
        pieces = tokenize(text)
        strings = (
            [piece.decode("utf-8", "replace") for piece in pieces] if body.get("return_token_strs") else None
        )
        answer = {
            "count": len(pieces),
            "max_model_len": self.settings.max_model_len,
            "tokens": [token_id(piece) for piece in pieces],
            "token_strs": strings,
        }
        exchange.respond(200, orjson.dumps(answer))

    def _detokenize(self, request: Request, exchange: Exchange) -> None:
        body = parse_body(request.body, request.headers.get("content-type", ""))
        self.check_model(str(body.get("model") or ""))
        tokens = body.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise errors.missing_field("tokens", body)
        exchange.respond(200, orjson.dumps({"prompt": detokenize(tokens)}))
