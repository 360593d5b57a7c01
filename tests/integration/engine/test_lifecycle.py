"""One launch from outside: it comes up, says so, serves, drains and ends; from the files of the zipapp."""

import os
import signal
import subprocess
from pathlib import Path

from tests.integration.engine.harness import Pod, alive, poll

QUIET = """vllm:num_requests_running{engine="0"} 0.0
vllm:num_requests_waiting{engine="0"} 0.0
"""
BUSY = QUIET.replace('running{engine="0"} 0.0', 'running{engine="0"} 3.0')


def test_comes_up_with_phases_and_one_generated_token(pod: Pod, archive: Path) -> None:
    pod.program = archive  # the very file that the init container copies
    stats = pod.start("--dtype", "float32").wait_state("Ready")
    names = [phase["name"] for phase in stats["phases"]]
    assert names == ["preflight", "engine_start", "warmup", "total"]
    assert stats["models"] == ["smollm2", "default/smollm2"]
    assert (stats["fleetUid"], stats["revision"], stats["pod"]) == (
        "0b5d-uid",
        "0123456789",
        "smollm2-engines-x",
    )
    assert (stats["engineVersion"], stats["maxNumSeqs"]) == ("0.32.0", 256)
    assert stats["readyAt"] >= stats["startedAt"]
    assert stats["running"] is None
    assert "vllm:num_requests_running" in stats["missing"]
    assert "POST /v1/completions smollm2 1 None" in pod.entries()
    assert pod.get("/readyz")[0] == 200
    assert pod.get("/healthz")[0] == 200
    assert 'torpor_engine_state{state="Ready"} 1' in pod.get("/metrics")[1]
    argv = pod.engine_argv()
    assert argv[:4] == ["serve", str(pod.model), "--dtype", "float32"]
    assert argv[argv.index("--shutdown-timeout") + 1] == "20"


def test_the_engine_is_not_asked_by_probes(pod: Pod) -> None:
    pod.start().wait_state("Ready")
    before = len(pod.entries())
    for _ in range(20):
        assert pod.get("/readyz")[0] == 200
    assert len(pod.entries()) == before


def test_sigterm_drains_and_ends_with_zero(pod: Pod) -> None:
    stays = pod.folder / "stays"
    stays.touch()
    pod.start(SCRIPT_STAYS=str(stays)).wait_state("Ready")
    pod.terminate()
    stats = pod.wait_state("Draining")
    assert stats["state"] == "Draining"
    assert pod.get("/readyz")[0] == 503
    assert pod.get("/healthz")[0] == 200
    stays.unlink()
    assert pod.end() == 0
    assert pod.entries()[-2:] == [f"signal {signal.SIGTERM}", "left"]
    assert pod.message() == ""


def test_an_old_vllm_is_signalled_only_when_nothing_runs(pod_of) -> None:  # type: ignore[no-untyped-def]
    pod = pod_of("0.17.2")
    metrics = pod.folder / "metrics"
    metrics.write_text(BUSY)
    # A drain with time for as many readings as a busy machine takes: they are further apart there.
    pod.start(SCRIPT_METRICS=str(metrics), TORPOR_DRAIN_SECONDS="600").wait_state("Ready")
    assert "--shutdown-timeout" not in pod.engine_argv()
    poll(lambda: pod.stats().get("running") == 3, "three running requests")
    pod.terminate()
    pod.wait_state("Draining")
    # Several readings of the metrics pass without a signal to the engine.
    read = pod.entries().count("metrics")
    poll(lambda: pod.entries().count("metrics") > read + 3, "fresh readings")
    assert f"signal {signal.SIGTERM}" not in pod.entries()
    metrics.write_text(QUIET)
    assert pod.end() == 0
    assert f"signal {signal.SIGTERM}" in pod.entries()


def test_a_second_sigterm_does_not_wait(pod: Pod) -> None:
    pod.start(SCRIPT_STUBBORN="1", SCRIPT_ORPHAN="1").wait_state("Ready")
    pod.terminate()
    pod.wait_state("Draining")
    poll(lambda: f"signal {signal.SIGTERM}" in pod.entries(), "the engine's signal")
    pod.terminate()
    assert pod.end() == 128 + signal.SIGKILL
    assert "exit code 137 while draining" in pod.message()


def test_workers_do_not_outlive_the_engine(pod: Pod) -> None:
    pod.start(SCRIPT_ORPHAN="1").wait_state("Ready")
    worker = int(next(e for e in pod.entries() if e.startswith("worker ")).split()[1])
    assert alive(worker)
    pod.terminate()
    assert pod.end() == 0
    poll(lambda: not alive(worker), "the worker's end")


def test_orphans_that_die_are_reaped(pod: Pod) -> None:
    """A zombie keeps its entry in /proc until its parent asks for its end; the launcher adopts orphans."""
    pod.start(SCRIPT_ZOMBIE="1").wait_state("Ready")
    orphan = int(next(e for e in pod.entries() if e.startswith("orphan ")).split()[1])
    poll(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan's end")


def test_sigterm_during_a_check_ends_the_check(pod: Pod) -> None:
    seen = pod.folder / "asked"
    program = pod.bin / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho $$ > {seen}\nsleep 600\n")
    program.chmod(0o755)
    pod.start()
    pid = int(poll(lambda: seen.exists() and seen.read_text(), "the question for GPUs"))
    assert pod.stats()["state"] == "Starting"
    pod.terminate()
    assert pod.end() == 0
    poll(lambda: not alive(pid), "the end of the question")
    assert pod.entries() == []


def test_sigterm_during_the_first_token(pod: Pod) -> None:
    pod.start(SCRIPT_SLOW_TOKEN="600").wait_state("Warming")
    # The state is announced before the request leaves, and only then there is a first token to interrupt.
    poll(lambda: any(e.startswith("POST ") for e in pod.entries()), "the request for a first token")
    pod.terminate()
    assert pod.end() == 0
    assert pod.entries()[-2:] == [f"signal {signal.SIGTERM}", "left"]
    assert pod.message() == ""


def test_sigterm_before_ready_ends_at_once_or_at_the_second(pod: Pod) -> None:
    pod.start(SCRIPT_SLOW_TOKEN="600", SCRIPT_STUBBORN="1", SCRIPT_ORPHAN="1").wait_state("Warming")
    pod.terminate()
    poll(lambda: f"signal {signal.SIGTERM}" in pod.entries(), "the engine's signal")
    pod.terminate()
    assert pod.end() == 0  # nobody was served yet, so nothing was lost


def test_a_stuck_log_stops_neither_the_stream_nor_the_drain(pod: Pod) -> None:
    reader, writer = os.pipe()
    try:
        # More than the pipe takes, and nobody reads: from here on every write to the log waits.
        pod.start(output=writer, SCRIPT_SAYS="x" * 100_000 + "\n").wait_state("Ready")
        pod.terminate()
        assert pod.end() == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_sigterm_of_the_first_instant_is_not_lost(pod: Pod) -> None:
    """Process 1 must not miss a signal that comes before the event loop; here it would die of it instead."""
    blocked = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); os.kill(os.getpid(), 15)"
    )
    run = "import runpy; sys.argv = [sys.argv[1], 'run']; runpy.run_path(sys.argv[0], run_name='__main__')"
    code = subprocess.run(
        [pod.python, "-c", f"{blocked}; {run}", str(pod.program)], env=pod.environ, check=False, timeout=60
    ).returncode
    assert code == 0


def test_the_engines_death_fails_the_pod(pod: Pod) -> None:
    pod.start(SCRIPT_LEAVES_WITH="3").wait_state("Ready")
    with pod.listening() as stream:
        stream.read_until(b'"state":"Ready"')
        os.kill(pod.engine_pid(), signal.SIGTERM)
        stream.read_to_the_end()
    assert pod.end() == 70
    last = stream.lines[-1]
    assert (last["state"], last["reason"]) == ("Failed", "EngineCrashed")
    assert stream.data.endswith(b"0\r\n\r\n")
    assert pod.message().startswith("EngineCrashed: the engine ended while it was ready with exit code 3")


def test_stream_tells_every_state_in_order(pod: Pod) -> None:
    gate = pod.folder / "gate"
    pod.start(SCRIPT_GATE=str(gate))
    with pod.listening() as stream:
        stream.read_until(b'"state":"Warming"')
        gate.touch()
        stream.read_until(b'"state":"Ready"')
    lines = stream.lines
    states = list(dict.fromkeys(line["state"] for line in lines))
    assert states[-2:] == ["Warming", "Ready"]
    assert [line["seq"] for line in lines] == sorted({line["seq"] for line in lines})
    assert len({line["bootId"] for line in lines}) == 1
