"""What an engine's log tells about its end and its start."""

import os
import threading
import time

import pytest
from torpor_engine.logs import LogReader, Tee
from torpor_engine.outcomes import Outcome
from torpor_engine.voice import Voice

GATED = """OSError: You are trying to access a gated repo.
Make sure to have access to it at the Hub.
403 Client Error. (Request ID: Root=1)
Cannot access gated repo for url https://x/resolve/main/config.json.
"""
CONFIG = """pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (999999) is greater than the derived max_model_len
"""
INVALID_REPO = """  Value error, Invalid repository ID or local directory specified: 'a/b'.
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
"""


@pytest.mark.parametrize(
    ("text", "code", "outcome"),
    [
        (GATED, 1, Outcome.ModelAccessDenied),
        (CONFIG, 1, Outcome.InvalidEngineArgs),
        (INVALID_REPO, 1, Outcome.ModelNotFound),
        ("vllm serve: error: argument --dtype: invalid choice: 'int1'\n", 2, Outcome.InvalidEngineArgs),
        ("usage: vllm serve\nsomething odd\n", 2, Outcome.InvalidEngineArgs),
        ("ModuleNotFoundError: No module named 'vllm'\n", 1, Outcome.EngineNotFound),
        ("OSError: [Errno 30] Read-only file system: '/root/.cache'\n", 1, Outcome.CacheNotWritable),
        ("RuntimeError: Failed to infer device type\n", 1, Outcome.EngineCrashed),
        ("OSError: x/y is not a valid model identifier listed on the Hub\n", 1, Outcome.ModelNotFound),
        ("ValueError: No available memory for the cache blocks. Try\n", 1, Outcome.OutOfMemory),
        ("OSError: [Errno 28] No space left on device\n", 1, Outcome.OutOfMemory),
        ("", -9, Outcome.OutOfMemory),
        ("", -11, Outcome.EngineCrashed),
    ],
)
def test_reasons(text: str, code: int, outcome: Outcome) -> None:
    log = LogReader()
    log.feed(text.encode())
    assert log.diagnose(code)[0] is outcome


def test_the_cause_and_not_its_echo() -> None:
    log = LogReader()
    log.feed(b"(EngineCore pid=9) ERROR 11-21 02:00:00 [core.py:70] ValueError: the cause\n")
    log.feed(
        b"Traceback (most recent call last):\n  File 'x'\nRuntimeError: Engine core initialization failed.\n"
    )
    assert log.essence() == "ValueError: the cause"


def test_lines_may_come_in_pieces_and_without_end() -> None:
    log = LogReader()
    for byte in b"INFO 11-21 02:00:00 [m.py:1] Model loading took 0.25 GiB memory and 1.500000 seconds\nhalf":
        log.feed(bytes([byte]))
    log.feed(b"x" * 100_000)
    assert log.seconds == {"load": 1.5}


def test_the_slowest_worker_counts() -> None:
    log = LogReader()
    for seconds in (1.5, 4.25, 2.0):
        log.feed(f"Model loading took 3.1 GiB memory and {seconds:.6f} seconds\n".encode())
    log.feed(b"init engine (profile, create kv cache, warmup model) took 12.34 s (compilation: 3.00 s)\n")
    assert log.seconds == {"load": 4.25, "init": 12.34}


def test_the_log_is_passed_on_unchanged() -> None:
    source, feeder = os.pipe()
    collector, target = os.pipe()
    log = LogReader()
    tee = Tee(source, target, log)
    tee.start()
    text = b"\x1b[31mred\x1b[0m \xff\r progress\r\nno word of it\nMemoryError: x, without a newline"
    os.write(feeder, text)
    os.close(feeder)
    tee.join(10)
    os.close(target)
    with os.fdopen(collector, "rb") as out:
        assert out.read() == text
    assert log.essence() == "MemoryError: x, without a newline"


def test_no_line_takes_long_to_read() -> None:
    """A pattern that looks back from every dot needs seconds for this one; nothing else runs meanwhile."""

    def cost(line: bytes) -> float:
        best = float("inf")
        for _ in range(5):
            log, begin = LogReader(), time.process_time()
            log.feed(line)
            best = min(best, time.process_time() - begin)
        return best

    assert cost(b"a." * 4096 + b"\n") < 20 * cost(b"a " * 4096 + b"\n")


def test_a_collector_that_is_gone_does_not_stop_the_engine() -> None:
    source, feeder = os.pipe()
    collector, target = os.pipe()
    os.close(collector)
    tee = Tee(source, target, LogReader())
    tee.start()
    writer = threading.Thread(target=lambda: [os.write(feeder, b"x" * 65536) for _ in range(8)], daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    os.close(feeder)
    tee.join(10)
    os.close(target)


def test_a_stuck_collector_does_not_stop_the_launcher() -> None:
    collector, target = os.pipe()
    voice = Voice(target)
    for number in range(3000):
        voice.say(f"{number} " + "x" * 100)
    assert not voice.finish(0.05)
    with os.fdopen(collector, "rb") as out:
        reading = threading.Thread(target=lambda: said.append(out.read()))
        said: list[bytes] = []
        reading.start()
        assert voice.finish(30)
        os.close(target)
        reading.join(30)
    lines = said[0].splitlines()
    assert [line.split()[1] for line in lines] == [str(number).encode() for number in range(3000)]
