"""The port that speaks TLS: the same gateway behind it, and what only such a port can meet.

That a stream flows, is held back and ends as it does in the clear is shown for each once; the tables of
README.md are about the protocol behind, which is the same code.
"""

import asyncio
import gc
import re
import shutil
import socket
import ssl
from datetime import timedelta

import httpx
import openai
import pytest
from cryptography import x509
from torpor_gateway.settings import Settings
from torpor_gateway.tls import TlsConnection

from tests.authority import NAME, Authority
from tests.integration.gateway.harness import CHAT, PATIENCE_SECONDS, Client, chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, TOKEN, chunk, json_answer
from tests.integration.gateway.veiled import TlsGateway, shown
from tests.ports import free_port
from tests.unit.gateway.test_keys import Secret


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
async def begin(authority, tmp_path):
    started = []

    async def start(**settings):
        gateway = TlsGateway(Settings(**settings), authority, tmp_path / f"tls-{len(started)}")
        await gateway.open()
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        await gateway.close()


@pytest.fixture
async def gateway(begin):
    return await begin()


def failed(gateway):
    return gateway.server.refusals[0, "tls_failed"]


async def in_steps(call, steps: asyncio.Queue):
    """Answer with a stream that sends an event for each step, and its end for None."""
    await call.send(SSE_HEAD + chunk(TOKEN))
    while await steps.get() is not None:
        await call.send(chunk(TOKEN))
    await call.send(chunk(DONE) + b"0\r\n\r\n")


# --- the same gateway ---


async def test_the_openai_client_speaks_to_it(gateway, engines):
    gateway.static(await engines())
    url, trusts = f"https://127.0.0.1:{gateway.port}/v1", gateway.authority.client()
    async with (
        httpx.AsyncClient(verify=trusts, trust_env=False, timeout=PATIENCE_SECONDS) as http,
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as client,
    ):
        stream = await client.chat.completions.create(
            model="llm", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert [part.choices[0].delta.content async for part in stream] == ["hi", "hi"]
        models = await client.models.list()
        assert [model.id for model in models.data] == ["llm"]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed: apt-get install curl")
async def test_curl_speaks_to_it(gateway, engines, tmp_path):
    gateway.static(await engines())
    (tmp_path / "ca.crt").write_text(gateway.authority.pem)
    curl = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--http1.1"),
        *("--cacert", str(tmp_path / "ca.crt"), f"https://127.0.0.1:{gateway.port}{CHAT}"),
        *("--header", "Content-Type: application/json", "--data", '{"model": "llm", "stream": true}'),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, _ = await curl.communicate()
    assert (curl.returncode, out) == (0, TOKEN + TOKEN + DONE)


async def test_a_thousand_small_requests_are_answered_in_order(gateway, engines):
    numbers = iter(range(1000))

    async def number(call):
        await call.send(json_answer({"number": next(numbers)}))

    fleet = gateway.static(await engines(number))
    client = await gateway.client()
    for expected in range(500):
        answer = await client.ask(request(chat()))
        assert (answer.status, answer.body) == (200, b'{"number": %d}' % expected)
    await client.send(request(chat()) * 500)  # ahead, in records as they come
    for expected in range(500, 1000):
        assert (await client.answer()).body == b'{"number": %d}' % expected
    assert fleet.completed == 1000
    assert failed(gateway) == 0


async def test_many_connections_at_once_are_each_served(gateway, engines):
    gateway.static(await engines())
    clients = await asyncio.gather(*(gateway.client() for _ in range(40)))
    answers = await asyncio.gather(*(client.ask(request(chat())) for client in clients))
    assert {answer.status for answer in answers} == {200}
    assert len(gateway.server.connections) == 40


async def test_a_large_body_arrives_as_it_is_and_a_large_answer_too(gateway, engines):
    async def echo(call):
        await call.send(json_answer({"length": len(call.body), "padding": "y" * 3_000_000}))

    gateway.static(await engines(echo))
    client = await gateway.client()
    body = chat(padding="x" * 3_000_000)
    sent = request(body)
    answer = await client.ask(sent)
    assert answer.status == 200
    assert b'"length": %d,' % len(sent.partition(b"\r\n\r\n")[2]) in answer.body
    assert answer.body.count(b"y") == 3_000_000


async def test_a_byte_at_a_time_is_a_request_too(gateway):
    client = await gateway.client()
    for byte in request(b"", path="/healthz", method="GET"):
        await client.send(bytes([byte]))  # each in a record of its own
    assert (await client.answer()).status == 200


async def test_a_client_that_leaves_stops_the_engine(gateway, engines):
    async def forever(call):
        await call.send(SSE_HEAD + chunk(TOKEN))
        await call.until_left()

    fleet = gateway.static(await engines(forever))
    for leave in (lambda client: client.leave(), lambda client: client.writer.close()):
        client = await gateway.client()
        await client.send(request(chat(stream=True)))
        await client.read_until(b"hi")
        leave(client)
        await until(lambda: fleet.in_flight == 0)
    await until(lambda: not gateway.server.connections)


async def test_a_client_that_says_goodbye_and_stays_stops_the_engine(gateway, engines, authority):
    async def forever(call):
        await call.send(SSE_HEAD + chunk(TOKEN))
        await call.until_left()

    fleet = gateway.static(await engines(forever))

    def goodbye() -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_SECONDS)
        veiled = authority.client().wrap_socket(plain, server_hostname=NAME)
        veiled.sendall(request(chat(stream=True)))
        while b"hi" not in veiled.recv(65536):
            pass
        return veiled.unwrap()  # waits for the gateway's own goodbye

    bare = await asyncio.to_thread(goodbye)
    await until(lambda: fleet.in_flight == 0)
    bare.close()


async def test_a_slow_reader_holds_the_engine_back_and_is_cut_off_in_the_end(begin, engines):
    gateway = await begin(slow_reader_seconds=0.5)
    sent = [0]

    async def torrent(call):
        await call.send(SSE_HEAD)
        while not call.writer.is_closing():
            await call.send(chunk(b"data: " + b"x" * 50_000 + b"\n\n"))
            sent[0] += 1
            await asyncio.sleep(0)

    fleet = gateway.static(await engines(torrent))
    client = await gateway.client()
    client.writer.transport.pause_reading()
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    await client.send(request(chat(stream=True)))
    await until(lambda: any(connection.stalled for connection in gateway.server.connections))
    await until(lambda: fleet.in_flight == 0)
    # Buffers of the kernels and of the four ends hold some MiB; without a bound it would be a gigabyte.
    assert sent[0] * 50_000 < 64 << 20


async def test_one_connection_too_many_is_told_so_behind_its_handshake(begin):
    gateway = await begin(max_connections=1)
    kept = await gateway.client()
    extra = await gateway.client()
    refused = await extra.answer()
    assert (refused.status, refused.error["code"]) == (503, "too_many_connections")
    assert await extra.closed() == b""
    assert (await kept.ask(request(b"", path="/healthz", method="GET"))).status == 200


async def test_a_refused_upload_hears_why(begin):
    gateway = await begin(max_body_bytes=100_000, linger_seconds=PATIENCE_SECONDS)
    client = await gateway.client()
    await client.send(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
    for _ in range(40):
        await client.send(b"x" * 100_000)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert await client.closed() == b"", "the end is a proper one, in TLS's words"


async def test_what_is_closed_leaves_nothing_behind(gateway):
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            client = await gateway.client()
            assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200
            client.leave()
        await until(lambda: not gateway.server.connections)
        await asyncio.sleep(0)
        left = [item for item in gc.get_objects() if type(item) is TlsConnection]
        assert left == [], "only the collector would find them"
    finally:
        gc.enable()


# --- handshakes ---


@pytest.mark.parametrize(
    ("offered", "agreed"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None)]
)
async def test_http_1_1_is_what_is_agreed_on(gateway, offered, agreed):
    context = gateway.authority.client()
    context.set_alpn_protocols(offered)
    client = await gateway.client(context)
    assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
    assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200


async def test_old_versions_are_refused_in_tls_own_words(begin):
    gateway = await begin(tls_min_version="1.3")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        await gateway.client(gateway.authority.client(newest=ssl.TLSVersion.TLSv1_2))
    await until(lambda: failed(gateway) == 1)
    assert (await gateway.client()).writer.get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_tls_1_2_is_spoken_unless_it_is_not_wanted(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client(gateway.authority.client(newest=ssl.TLSVersion.TLSv1_2))
    assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.2"
    answer = await client.ask(request(chat(stream=True)))
    assert (answer.status, answer.ended) == (200, True)


async def test_a_client_that_does_not_trust_the_authority_leaves_nothing_behind(gateway):
    with pytest.raises(ssl.SSLCertVerificationError):
        await gateway.client(Authority().client())
    await until(lambda: not gateway.server.connections)


async def test_plain_http_is_told_what_is_spoken_here(gateway):
    client = await gateway.bare()
    answer = await client.ask(request(chat()))
    assert (answer.status, answer.error["code"]) == (400, "https_required")
    assert "https://" in answer.error["message"]
    assert await client.closed() == b""
    assert gateway.server.refusals[400, "https_required"] == 1


async def test_plain_http_beyond_the_limit_is_refused_in_the_clear(begin):
    gateway = await begin(max_connections=1)
    await gateway.client()
    answer = await (await gateway.bare()).ask(request(chat()))
    assert (answer.status, answer.error["code"]) == (503, "too_many_connections")


def hello() -> bytes:
    """Return the first message of a real handshake."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x00\x05GET /",  # a record that holds no message
        b"\x80\x2e\x01\x00\x02" + b"\x00" * 43,  # SSL 2
        b"\x16\x02\x00\x00\x02\x01\x00",
        b"\x00" * 100,
        b"\xff" * 20_000,
        b"\r\n\r\n" * 9,
    ],
)
async def test_what_is_no_handshake_is_closed(gateway, said):
    client = await gateway.bare()
    await client.send(said)
    await client.closed()
    await until(lambda: failed(gateway) == 1)
    assert (await (await gateway.client()).ask(request(b"", path="/healthz", method="GET"))).status == 200


@pytest.mark.parametrize("part", ["nothing", "one byte", "half a hello", "a hello and nothing more"])
async def test_a_handshake_that_does_not_end_is_not_waited_for(begin, part):
    gateway = await begin(header_seconds=0.3)
    said = {"nothing": b"", "one byte": hello()[:1], "half a hello": hello()[:80]}.get(part, hello())
    client = await gateway.bare()
    await client.send(said)
    await client.closed()
    await until(lambda: not gateway.server.connections)


async def test_a_hello_in_pieces_is_one(gateway):
    """A second piece that begins with a letter is none of plain HTTP."""
    client = await gateway.bare()
    message = hello()
    at = next(index for index in range(12, len(message)) if message[index : index + 1].isalpha())
    await client.send(message[:at])
    await asyncio.sleep(0.05)
    await client.send(message[at:])
    assert (await client.reader.readexactly(1)) == b"\x16"
    assert gateway.server.refusals[400, "https_required"] == 0


async def test_records_that_are_damaged_end_the_connection(gateway):
    client = await gateway.client()
    assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200
    with socket.socket(fileno=socket.dup(client.writer.get_extra_info("socket").fileno())) as sock:
        sock.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):  # as TLS says it
        await client.closed()
    await until(lambda: failed(gateway) == 1)


# --- renewal ---


async def test_a_renewed_certificate_is_shown_to_those_who_come_and_breaks_no_stream(gateway, engines):
    steps: asyncio.Queue[int | None] = asyncio.Queue()
    gateway.static(await engines(lambda call: in_steps(call, steps)))
    first = gateway.issued
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    await client.read_until(b"hi")
    for turn in range(3):
        issued = gateway.renew(gateway.authority.issue(ends=timedelta(days=100 + turn)))
        steps.put_nowait(turn)
        await client.read_until(b"hi")  # the one that runs goes on with what it has
        assert shown(await gateway.client()) == issued.der
    steps.put_nowait(None)
    await client.read_until(b"0\r\n\r\n")
    assert shown(client) == first.der
    assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200


async def test_a_broken_pair_keeps_the_old_one_until_it_is_mended(gateway):
    good = gateway.issued
    gateway.secret.write(**(good.entries | {"tls.key": gateway.authority.issue().key}))
    gateway.certificate.check()
    assert gateway.certificate.stale
    assert shown(await gateway.client()) == good.der
    mended = gateway.renew(gateway.authority.issue())
    assert not gateway.certificate.stale
    assert shown(await gateway.client()) == mended.der


async def test_an_expired_certificate_is_shown_and_clients_say_why(gateway):
    gateway.renew(gateway.authority.issue(timedelta(days=-9), timedelta(days=-1)))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await gateway.client()


# --- the process ---


async def process(run, tmp_path, authority, *more, **environment):
    secret = Secret(tmp_path / "secret")
    secret.write(**authority.issue().entries)
    (tmp_path / "fleets.yaml").write_text("fleets: [{name: llm, endpoints: []}]")
    admin = free_port()
    running = await run(
        "torpor-gateway",
        *("--static", str(tmp_path / "fleets.yaml"), "--admin", f"127.0.0.1:{admin}"),
        *("--listen", "", "--tls-listen", "127.0.0.1:0", "--tls-folder", str(secret.root), *more),
        **environment,
    )
    return running, secret, admin


def end_of(secret: Secret) -> float:
    """Return when the Secret's certificate ends, as another library says (Unix time)."""
    return x509.load_pem_x509_certificate(
        (secret.root / "tls.crt").read_bytes()
    ).not_valid_after_utc.timestamp()


async def metrics(admin: int) -> str:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as client:
        return (await client.get(f"http://127.0.0.1:{admin}/metrics")).text


async def connect(port: int, authority: Authority) -> Client:
    return Client(
        *await asyncio.open_connection(
            "127.0.0.1", port, ssl=authority.client(), server_hostname=NAME, ssl_shutdown_timeout=1
        )
    )


async def test_a_process_takes_a_renewed_secret_and_tells_of_a_broken_one(run, tmp_path, authority):
    running, secret, admin = await process(run, tmp_path, authority)
    port = int((await running.says(r"listening on 127.0.0.1:(\d+) with TLS"))[1])
    client = await connect(port, authority)
    ask = request(b"", path="/v1/models", method="GET")
    assert (await client.ask(ask)).status == 200

    renewed = authority.issue(ends=timedelta(days=200))
    secret.write(**renewed.entries)
    await running.says(f"holds until {re.escape(renewed.ends.isoformat())}")
    text = await metrics(admin)
    (expiry,) = re.findall(r"^torpor_gateway_certificate_expiry_timestamp_seconds (\S+)$", text, re.MULTILINE)
    assert float(expiry) == renewed.ends.timestamp()
    assert "torpor_gateway_certificate_stale 0.0" in text

    secret.write(**(renewed.entries | {"tls.crt": authority.issue().certificate}))
    await running.says(
        "the certificate was not taken, the last good one stays: tls.key: does not belong to tls.crt"
    )
    text = await metrics(admin)
    assert "torpor_gateway_certificate_stale 1.0" in text
    assert not re.search(r"^torpor_gateway_certificate_failed_reads_total 0.0$", text, re.MULTILINE)
    fresh = await connect(port, authority)
    assert shown(fresh) == renewed.der
    assert (await client.ask(ask)).status == 200, "who came first is still served"
    for connection in (client, fresh):
        connection.leave()
    assert "Traceback" not in running.log.read_text()


async def test_several_workers_show_one_certificate(run, tmp_path, authority):
    running, secret, admin = await process(
        run, tmp_path, authority, "--workers", "2", "--demand", "127.0.0.1:0"
    )
    ends = end_of(secret)
    port = int((await running.says(r"listening on 127.0.0.1:(\d+) with 2 workers"))[1])
    for _ in range(8):  # the kernel spreads them
        client = await connect(port, authority)
        assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200
        client.leave()
    found = re.findall(
        r"^torpor_gateway_certificate_expiry_timestamp_seconds (\S+)$", await metrics(admin), re.MULTILINE
    )
    assert [float(one) for one in found] == [ends], "each worker has one, and they are no sum"


async def test_a_drain_ends_while_an_idle_client_says_no_goodbye(run, tmp_path, authority):
    running, _, _ = await process(run, tmp_path, authority, "--drain-delay-seconds", "0")
    port = int((await running.says(r"listening on 127.0.0.1:(\d+) with TLS"))[1])
    client = await connect(port, authority)
    assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200
    client.writer.transport.pause_reading()
    running.process.terminate()
    assert await running.end() == 0
    client.leave()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_without_a_pair_it_does_not_start_and_says_what_is_missing(run, tmp_path, authority, workers):
    (tmp_path / "fleets.yaml").write_text("fleets: []")
    (tmp_path / "empty").mkdir()
    running = await run(
        "torpor-gateway",
        *("--static", str(tmp_path / "fleets.yaml"), "--listen", "", "--tls-listen", "127.0.0.1:0"),
        *("--tls-folder", str(tmp_path / "empty"), "--workers", workers),
    )
    assert await running.end() == 2
    said = running.log.read_text()
    assert f"TORPOR_TLS_FOLDER='{tmp_path / 'empty'}': tls.crt: is missing; a Secret of the type" in said
    assert "Traceback" not in said


async def test_both_ports_can_be_open(run, tmp_path, authority):
    running, _, _ = await process(run, tmp_path, authority, "--listen", "127.0.0.1:0")
    plain = int((await running.says(r"listening on 127.0.0.1:(\d+), "))[1])
    port = int((await running.says(r"listening on 127.0.0.1:(\d+) with TLS"))[1])
    for client in (await Client.connect(plain), await connect(port, authority)):
        assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200
        client.leave()
