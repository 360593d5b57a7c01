"""Queue, cache and connections of a running simulated engine."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.sim.process import DEADLINE, engine

SLOW = ("--step-ms", "20,0,0,0")


async def test_queue_depth_rises_alone() -> None:
    async with engine(*SLOW, "--max-num-seqs", "2", "--kv-tokens", "4194304") as sim:
        tasks = [sim.complete(max_tokens=5000) for _ in range(10)]
        await sim.until("vllm:num_requests_waiting", 8)
        assert await sim.gauge("vllm:num_requests_running") == 2
        assert await sim.gauge("vllm:num_requests_waiting_by_reason", reason="capacity") == 8
        assert await sim.gauge("vllm:kv_cache_usage_perc") < 0.01
        for task in tasks:
            task.cancel()


async def test_kv_utilization_rises_alone() -> None:
    async with engine("--step-ms", "200,0,0,0", "--kv-tokens", "2048", "--max-model-len", "2048") as sim:
        task = sim.complete(prompt="river " * 1700, max_tokens=200)
        await sim.until("vllm:num_requests_running", 1)
        assert await sim.gauge("vllm:kv_cache_usage_perc") > 0.8
        assert await sim.gauge("vllm:num_requests_waiting") == 0
        task.cancel()


async def test_a_full_cache_preempts_and_everybody_gets_everything() -> None:
    async with engine("--profile", "instant", "--kv-tokens", "1024", "--max-model-len", "1024") as sim:
        answers = await asyncio.gather(*(sim.complete(prompt=f"{i} a b", max_tokens=300) for i in range(6)))
        assert [answer.json()["usage"]["completion_tokens"] for answer in answers] == [300] * 6
        assert await sim.gauge("vllm:num_preemptions_total") > 0
        assert await sim.gauge("vllm:kv_cache_usage_perc") == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_slot_for_the_next(stream: bool) -> None:
    async with engine(*SLOW, "--max-num-seqs", "1") as sim:
        leaving = sim.complete(max_tokens=5000, stream=stream)
        await sim.until("vllm:num_requests_running", 1)
        waiting = sim.complete(max_tokens=2)
        await sim.until("vllm:num_requests_waiting", 1)
        leaving.cancel()
        answer = await asyncio.wait_for(waiting, DEADLINE)
        assert answer.json()["usage"]["completion_tokens"] == 2


async def test_a_burst_over_the_limit_sees_200_with_an_error_event_and_a_late_one_503() -> None:
    # The fault widens the moment between the two checks, so that all eight are in it on any machine.
    burst = ("--fault", "slow-first-token=4s,times=8")
    async with engine(*SLOW, "--max-num-seqs", "2", "--max-num-queued-reqs", "4", *burst) as sim:
        tasks = [sim.complete(max_tokens=10, stream=True) for _ in range(8)]
        answers = await asyncio.gather(*tasks)
        refused = [answer for answer in answers if '"error"' in answer.text]
        assert {answer.status_code for answer in answers} == {200}
        assert len(refused) == 4
        assert all(answer.text.endswith("data: [DONE]\n\n") for answer in refused)
        full = [sim.complete(max_tokens=5000) for _ in range(4)]
        await sim.until("vllm:num_requests_waiting", 2)
        late = await sim.complete(stream=True)
        assert late.status_code == 503
        assert "retry-after" not in late.headers
        assert await sim.gauge("vllm:admission_rejections_total", reason="max_num_queued_reqs") == 5
        for task in full:
            task.cancel()


async def test_a_shared_prefix_hits_the_cache_over_turns() -> None:
    async with engine("--profile", "instant") as sim:
        import openai  # heavy: not for every process that collects this module

        client = openai.AsyncOpenAI(base_url=f"{sim.address}/v1", api_key="x", max_retries=0)
        turns: list[dict[str, str]] = [{"role": "user", "content": "Tell me of rivers. " * 30}]
        first = await client.chat.completions.create(model="llm", messages=turns)  # type: ignore[arg-type]
        answer = first.choices[0].message.content
        assert answer
        turns += [{"role": "assistant", "content": answer}, {"role": "user", "content": "And of lakes?"}]
        second = await client.chat.completions.create(model="llm", messages=turns)  # type: ignore[arg-type]
        await client.close()
        assert first.usage is not None
        assert second.usage is not None
        hits = await sim.gauge("vllm:prefix_cache_hits_total")
        # All of the first prompt and of its answer, up to whole blocks.
        assert first.usage.total_tokens - 32 <= hits <= first.usage.total_tokens


async def test_equal_requests_get_equal_words_and_another_seed_others() -> None:
    texts = []
    for seed in ("1", "1", "2"):
        async with engine("--profile", "instant", "--seed", seed) as sim:
            texts.append((await sim.complete(max_tokens=20)).json()["choices"][0]["text"])
    assert texts[0] == texts[1] != texts[2]


async def test_a_stream_ends_by_itself_or_at_a_stop_string() -> None:
    async with engine("--profile", "instant", "--output-tokens", "30") as sim:
        whole = (await sim.complete(ignore_eos=False, max_tokens=4000)).json()
        text = whole["choices"][0]["text"]
        assert whole["choices"][0]["finish_reason"] == "stop"
        assert text.endswith(".")
        word = text.split()[5]
        cut = (await sim.complete(ignore_eos=False, max_tokens=4000, stop=[word])).json()["choices"][0]
        assert (cut["text"], cut["stop_reason"]) == (text[: text.index(word)], word)


async def test_embeddings_are_fixed_and_of_length_one() -> None:
    async with engine("--profile", "instant", "--embedding-size", "16") as sim:
        import openai  # heavy: not for every process that collects this module

        client = openai.AsyncOpenAI(base_url=f"{sim.address}/v1", api_key="x", max_retries=0)
        answer = await client.embeddings.create(model="llm", input=["a cat", "a cat", "a dog"])
        await client.close()
        one, same, other = (entry.embedding for entry in answer.data)
        assert one == same != other
        assert sum(value * value for value in one) == pytest.approx(1, abs=1e-5)


async def test_connections_close_that_idle_after_an_answer_and_none_that_was_not_used_yet() -> None:
    async with engine(env={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "3"}) as sim:
        host, port = sim.address.removeprefix("http://").split(":")
        ahead, ahead_writer = await asyncio.open_connection(host, int(port))
        reader, writer = await asyncio.open_connection(host, int(port))

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"connection: close" not in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(b'{"version":"0.32.0"}'))

        await ask(reader, writer)
        await ask(reader, writer)
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        await ask(ahead, ahead_writer)
        writer.close()
        ahead_writer.close()


async def test_upgrades_are_ignored_and_head_has_no_body() -> None:
    async with engine() as sim:
        host, port = sim.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
        writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n" + upgrade + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(len(b'{"version":"0.32.0"}'))
        writer.close()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HEAD /nothing HTTP/1.1\r\nhost: x\r\n\r\nGET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
        writer.close()


async def test_what_cannot_be_answered_is_a_500_and_not_a_silence() -> None:
    async with engine() as sim:
        body = b'{"model": "\\ud800", "prompt": "A"}'
        answer = await sim.client.post(
            "/v1/completions", content=body, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "InternalServerError")
        assert (await sim.complete()).status_code == 200


async def test_pipelined_requests_are_answered_in_order_and_nonsense_is_refused() -> None:
    async with engine() as sim:
        host, port = sim.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" * 3 + b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
        )
        heads = [await reader.readuntil(b"\r\n\r\n") for _ in range(4)]
        assert [head.split()[1] for head in heads] == [b"200", b"200", b"200", b"404"]
        writer.write(b"no http\r\n\r\n")
        assert b"400 Bad Request" in await reader.read()
        writer.close()


async def test_an_api_key_guards_v1_only() -> None:
    async with engine("--api-key", "secret") as sim:
        assert (await sim.client.get("/v1/models")).status_code == 401
        assert (
            await sim.client.get("/v1/models", headers={"authorization": "Bearer secret"})
        ).status_code == 200
        assert (await sim.client.get("/health")).status_code == 200


async def test_a_slow_reader_gets_every_token_in_fewer_events() -> None:
    async with engine("--profile", "instant", "--speed", "20", "--max-model-len", "65536") as sim:
        async with sim.client.stream(
            "POST",
            "/v1/completions",
            json={"prompt": "A", "max_tokens": 40_000, "ignore_eos": True, "stream": True,
                  "stream_options": {"include_usage": True}},
        ) as response:  # fmt: skip
            await sim.until("vllm:generation_tokens_total", 40_000)
            text = "".join([part async for part in response.aiter_text()])
        assert '"completion_tokens":40000' in text
        assert text.count('"text":') < 40_000
