"""With the real launcher and the simulated engine under it: the word of the pod's own process is enough."""

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE


async def test_held_requests_go_out_on_the_launchers_word_and_its_drain_is_heard(gateway, pod):
    process, ports = await pod("--max-num-seqs=2")
    fleet = gateway.managed(queue_depth_target=1)
    gateway.pods(fleet, (ports.port, ports.launcher))
    clients = [await gateway.client() for _ in range(6)]
    for client in clients:
        await client.send(request(chat(stream=True, max_tokens=8)))
    await until(lambda: len(fleet.line) == 6)
    await until(lambda: fleet.ready, seconds=60)
    for client in clients:
        assert (await client.answer()).body.endswith(DONE)
    endpoint = fleet.ready[0]
    assert endpoint.matched
    assert endpoint.pod == "llm-0"
    assert endpoint.load_state.max_num_seqs == 2
    assert fleet.output_tokens >= 6 * 7
    last = await gateway.client()
    await last.send(request(chat(stream=True, max_tokens=200)))
    await last.read_until(b"data:")
    process.process.terminate()
    await until(lambda: not fleet.ready)
    assert (await last.read_until(DONE)).endswith(DONE), "the drain cut a stream"
    assert fleet.failed == 0
