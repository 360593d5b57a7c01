"""All checks, and `vllm bench serve`, through the gateway to a real vLLM on this machine's CPU.

    python -m e2e.conformance [--engine HOST:PORT] [--only WORD] [--record]
                              [--pairs 3] [--prompts 20] [--rate 0.5]

Prints tables in Markdown, and on the other stream what it is at; ends with 1 where something failed. vLLM is
installed into the user's cache at the first time, takes a minute to start, and is stopped in the end; with
--engine the one that serves there is used, under the names llm, replayed, bounded and waking, with the
options `--enable-auto-tool-choice --tool-call-parser hermes`. `--pairs 0` leaves the load out. `--record`
puts the engine's answers on the tape of the integration tests instead: it runs the checks that are on it, and
writes the file when all of them held.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path

from e2e.conformance import anthropic_checks, anthropic_errors, load, openai_checks, openai_errors, vllm  # noqa: F401
from e2e.conformance.checks import CHECKS, Check
from e2e.conformance.site import Site, Work, engine_work, running
from e2e.conformance.tape import RECORDING, Tape


def outcome(check: Check, site: Site) -> str:
    """Run one check; "passed", or what was wrong in a line."""
    try:
        check.run(site)
    except Exception as error:
        traceback.print_exc()
        return " ".join(f"FAILED: {type(error).__name__}: {error}".split())[:300]
    return "passed"


def main() -> int:
    """Run, print, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.conformance", description=__doc__)
    parser.add_argument("--engine", metavar="HOST:PORT", help="a vLLM that runs; default: start one")
    parser.add_argument("--only", default="", metavar="WORD", help="the checks whose name contains it")
    parser.add_argument(
        "--pairs", type=int, default=3, help="loads through the gateway and straight (0: none)"
    )
    parser.add_argument("--prompts", type=int, default=20, help="requests of each load")
    parser.add_argument("--rate", type=float, default=0.5, help="requests a second")
    parser.add_argument("--record", action="store_true", help="write the tape of the integration tests")
    options = parser.parse_args()
    wanted = [
        check
        for check in CHECKS
        if options.only in check.name and not check.simulated and (check.recorded or not options.record)
    ]
    if not wanted:
        parser.error(f"--only: no check's name contains {options.only!r}; see e2e/conformance/*_checks.py")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torpor-conformance-")))
        engine = options.engine or stack.enter_context(vllm.serving(folder))
        if not vllm.healthy(engine):
            raise SystemExit(f"--engine: {engine}: nothing answers 200 at /health there")
        recorder = Tape({}, upstream=engine)
        tape = Tape(json.loads(RECORDING.read_text()) if RECORDING.exists() else {})
        replayed = stack.enter_context(recorder.serving()) if options.record else engine
        dying = stack.enter_context(tape.serving())

        def work() -> Work:
            return engine_work(f"http://{engine}")

        endpoints = {"llm": engine, "replayed": replayed, "dying": dying}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            admin = int(probe.getsockname()[1])
        site = stack.enter_context(running(folder, endpoints, work, work, admin))
        results = {}
        for check in wanted:
            print(f"{check.name} …", file=sys.stderr, flush=True)
            results[check.name] = outcome(check, site)
        good = all(result == "passed" for result in results.values())
        if options.record and good:
            kept = tape.answers if options.only else {}
            text = json.dumps(kept | recorder.answers, indent=1, ensure_ascii=False)
            RECORDING.write_text(text + "\n")
            print(f"wrote {RECORDING}", file=sys.stderr)
        print(report(results, vllm.version(engine)), flush=True)
        plan = load.Plan(options.pairs, options.prompts, options.rate)
        for backend in () if options.record or plan.pairs < 1 else load.ENDPOINTS:
            loads = []
            for one in load.pairs(site, backend, plan, folder):
                print(f"{backend}, {one.side}: {'sound' if one.sound else 'UNSOUND'}", file=sys.stderr)
                print(one.told, file=sys.stderr, flush=True)
                loads.append(one)
            good = good and all(one.sound for one in loads)
            print(f"\n{load.report(backend, plan, loads)}", flush=True)
    return 0 if good else 1


def report(results: dict[str, str], engine: str) -> str:
    """The results as a table in Markdown, with what they were got with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("openai", "anthropic"))
    lines = [
        f"vLLM {engine}, {libraries}: {len(results)} checks, {list(results.values()).count('passed')} passed",
        "",
    ]
    lines += ["| client | feature | check | result |", "| --- | --- | --- | --- |"]
    for check in CHECKS:
        if check.name in results:
            lines.append(f"| `{check.client}` | {check.feature} | `{check.name}` | {results[check.name]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
