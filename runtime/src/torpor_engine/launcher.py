"""One launch from the first check to the last exit code.

The states follow each other in one place, `Launch`: Starting (preflight), Loading (download, engine), Warming
(one token), Ready, then Draining after SIGTERM or Failed. The server runs from the first moment, so that
gateways see a pod before it is ready. Whatever ends the launch, the last things are always the same: the
stream says why, the termination message says why, no process is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from torpor_engine.children import Children
from torpor_engine.download import download
from torpor_engine.engine import EngineProcess
from torpor_engine.environ import engine_environ
from torpor_engine.flags import flag_value
from torpor_engine.localhost import Localhost
from torpor_engine.outcomes import LaunchError, Outcome, one_line, shell_status, write_termination_message
from torpor_engine.preflight import Plan, preflight
from torpor_engine.server import StatsServer
from torpor_engine.settings import Settings, read_settings
from torpor_engine.stats import Board
from torpor_engine.tuning import came_up
from torpor_engine.voice import Voice
from torpor_engine.waiting import ended
from torpor_engine.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

LAST_WORDS_SECONDS = 1.0
SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VLLM_API_KEY")


def count_restarts(folder: str) -> int:
    """How often this container was started in its pod before, as its temporary volume remembers; else 0."""
    path = Path(folder) / "torpor-engine-starts"
    try:
        before = int(path.read_text()) if path.exists() else 0
        path.write_text(f"{before + 1}\n")
    except (OSError, ValueError):
        return 0
    return before


class Launch:
    """The state machine. One object lives as long as the process."""

    def __init__(
        self,
        settings: Settings,
        args: Sequence[str],
        say: Callable[[str], None],
        stop: asyncio.Event,
        hurry: asyncio.Event,
    ) -> None:
        self.settings, self.args, self.stop, self.hurry = settings, list(args), stop, hurry
        self.say = say
        self.started = time.monotonic()
        self.board = Board(settings, started_at=time.time(), started_clock=self.started)
        self.server = StatsServer(self.board)
        self.children = Children()
        self.environ = engine_environ(os.environ, settings.cache_dir)
        self.board.restarts = count_restarts(self.environ["TMPDIR"])
        self.secrets = [os.environ.get(key, "") for key in SECRET_VARIABLES]
        api_key = flag_value(self.args, "--api-key") or os.environ.get("VLLM_API_KEY", "")
        self.secrets.append(api_key)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        host = "::1" if ":" in settings.listen_host else "127.0.0.1"
        self.http = Localhost(settings.engine_port, headers, host)
        self.plan: Optional[Plan] = None
        self.engine: Optional[EngineProcess] = None
        self.tasks: list[asyncio.Future[Any]] = []
        self.phase = "preflight"

    async def run(self) -> int:
        """Launch, serve, end; return the exit code."""
        try:
            await self._listen()
            self.tasks.append(asyncio.create_task(self.server.publish()))
            code = await self._live()
        except LaunchError as error:
            code = int(error.outcome)
            message = one_line(str(error), self.secrets)
            self.board.enter("Failed", error.outcome.name, message)
            self.say(f"{error.outcome.name} (exit code {code}): {message}")
            write_termination_message(self.settings.termination_log, f"{error.outcome.name}: {message}")
        finally:
            self.children.kill_all()
            for task in self.tasks:
                await ended(task)
        if self.engine is not None:
            await self.engine.flush()
        await self.server.close()
        return code

    async def _listen(self) -> None:
        try:
            await self.server.start(self.settings.listen_host, self.settings.launcher_port)
        except OSError as error:
            raise LaunchError(
                Outcome.ConfigError,
                f"TORPOR_LAUNCHER_PORT={self.settings.launcher_port}: cannot listen: "
                f"{error.strerror or error}; free the port",
            ) from None

    async def _live(self) -> int:
        coming = asyncio.ensure_future(self._come_up())
        leaving = asyncio.ensure_future(self.stop.wait())
        self.tasks.append(leaving)
        ends: set[asyncio.Future[Any]] = {coming, leaving}
        await asyncio.wait(ends, timeout=self.settings.startup_seconds, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done() or not coming.done():
            await ended(coming)
        if leaving.done():
            return await self._leave()
        if coming.cancelled():
            raise self._too_late()
        coming.result()
        assert self.engine is not None
        sick = asyncio.create_task(self.engine.sick())
        self.tasks.append(sick)
        ends = {self.engine.exited, leaving, sick}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            return await self._leave()
        if self.engine.exited.done():
            raise await self._crashed("while it was ready")
        raise LaunchError(
            Outcome.EngineCrashed, f"the engine is dead but did not end: {sick.result()}; see its log"
        )

    async def _come_up(self) -> None:
        with self._timed("preflight"):
            self.plan = plan = await preflight(
                self.children, self.settings, self.args, self.environ, self.say
            )
            self.board.max_num_seqs, self.board.engine_version = plan.max_num_seqs, plan.engine.version
            self.board.tuning = plan.tuning
            self.board.accelerators = plan.accelerators
        self.board.enter("Loading")
        if plan.source.hub is not None:
            with self._timed("download") as timing:
                timing["count"] = await download(self.children, plan, self.args, self.environ, self.say)
        self.say(f"starting: {one_line(' '.join(plan.argv), self.secrets)}")
        with self._timed("engine_start"):
            try:
                self.engine = engine = EngineProcess(self.children, plan.argv, self.environ, self.http)
            except OSError as error:
                raise LaunchError(
                    Outcome.EngineNotFound,
                    f"spec.engine.image: {plan.argv[0]} cannot be executed: "
                    f"{error.strerror}; use another image",
                ) from None
            await self._unless_exited(engine.healthy())
        for name, seconds in engine.log.seconds.items():
            self.board.finished(name, seconds)
        self.board.enter("Warming")
        self.tasks.append(asyncio.create_task(engine.measure(self.board)))
        with self._timed("warmup"):
            await self._unless_exited(warm_up(self.http, self.settings.model_names, self.say))
        self.board.finished("total", time.monotonic() - self.started)
        if plan.tuning.used:
            came_up(self.environ["TMPDIR"])
        self.board.ready_at = time.time()
        self.board.enter("Ready")
        self.say("ready: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.board.phases))

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[dict[str, bool]]:
        self.phase, begin = phase, time.monotonic()
        timing = {"count": True}
        yield timing
        if timing["count"]:
            self.board.finished(phase, time.monotonic() - begin)

    async def _unless_exited(self, work: Awaitable[object]) -> None:
        """Wait for `work`, but no longer than the engine lives."""
        assert self.engine is not None
        task = asyncio.ensure_future(work)
        ends: set[asyncio.Future[Any]] = {task, self.engine.exited}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not task.cancelled() and task.exception() is not None:
                # A dying engine first breaks its connections; what it ends with says more.
                await asyncio.wait({self.engine.exited}, timeout=LAST_WORDS_SECONDS)
            if self.engine.exited.done():
                raise await self._crashed("before it was ready")
            task.result()
        finally:
            await ended(task)

    async def _crashed(self, when: str) -> LaunchError:
        """The error for an engine that ended by itself, in its own words where it said any."""
        assert self.engine is not None
        self.engine.child.kill_group()
        await self.engine.flush()
        returncode = self.engine.exited.result()
        outcome, line = self.engine.log.diagnose(returncode)
        if when.startswith("while"):
            outcome = Outcome.EngineCrashed  # it had started well: whatever it says, the spec is not at fault
        code = shell_status(returncode)
        return LaunchError(
            outcome, f"the engine ended {when} with exit code {code}: {line or 'its log is empty'}"
        )

    def _too_late(self) -> LaunchError:
        last = self.engine.log.essence() if self.engine is not None else ""
        seen = f"; its log says: {last}" if last else ""
        return LaunchError(
            Outcome.StartupTimedOut,
            f"spec.engine.startupSeconds={self.settings.startup_seconds}: not ready in time, still in phase "
            f"{self.phase}{seen}; raise it if the start is only slow",
        )

    async def _leave(self) -> int:
        """Drain after SIGTERM: nothing new, finish what runs, end."""
        was_ready = self.board.state == "Ready"
        self.board.enter("Draining")
        self.say("draining" if was_ready else f"asked to stop in phase {self.phase}")
        if self.engine is None:
            return 0
        assert self.plan is not None
        seconds = float(self.settings.drain_seconds) if was_ready else 0.0
        by_itself = self.plan.engine.has_shutdown_timeout or not was_ready
        begin = time.monotonic()
        returncode = await self.engine.stop(self.board, by_itself, seconds, self.hurry)
        took = time.monotonic() - begin
        if was_ready and took >= seconds:
            # The engine ends with 0 all the same, and only the clock shows that requests were cut.
            self.say(
                f"spec.drainSeconds={seconds:g}: limit passed, what still ran was cut; raise it if needed"
            )
        if returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM) or (not was_ready and returncode < 0):
            self.say(f"ended after {took:.1f} s of draining")
            return 0
        code = shell_status(returncode)
        said = self.engine.log.essence()
        message = f"EngineCrashed: the engine ended with exit code {code} while draining: {said}"
        write_termination_message(self.settings.termination_log, one_line(message, self.secrets))
        self.say(message)
        return code


async def _main(settings: Settings, args: Sequence[str], say: Callable[[str], None]) -> int:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    # Blocked since the first line of the program; children inherit the mask, so before the first of them.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    return await Launch(settings, args, say, stop, hurry).run()


def launch(args: Sequence[str]) -> int:
    """Launch the engine with the user's arguments; return the exit code of the process."""
    voice = Voice()
    try:
        return _launch(args, voice.say)
    finally:
        voice.finish()


def _launch(args: Sequence[str], say: Callable[[str], None]) -> int:
    try:
        settings = read_settings(os.environ)
    except LaunchError as error:
        message = one_line(str(error))
        say(f"{error.outcome.name} (exit code {int(error.outcome)}): {message}")
        path = os.environ.get("TORPOR_TERMINATION_LOG", "/dev/termination-log")
        write_termination_message(path, f"{error.outcome.name}: {message}")
        return int(error.outcome)
    return asyncio.run(_main(settings, args, say))
