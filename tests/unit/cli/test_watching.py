"""`torpor status --watch` on a terminal: a page drawn over itself, ended by Ctrl-C."""

import os
import pty
import select
import signal
import sys
import time

from tests.unit.cli.answers import PATH
from tests.unit.control.test_status import status
from tests.unit.control.worlds import fleet, world

COMMAND = [sys.executable, "-c", "from torpor.cli import main; main()", "status", "-n", "team", "--watch"]


def test_a_person_watches_and_ends_it(cluster):
    config = cluster({PATH: (200, {"items": [fleet(status=status(world()))]})})
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's job in the background is deaf to it
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
        os.execvpe(sys.executable, [*COMMAND, "--interval", "1", "--kubeconfig", config], environment)
    seen, asked, closed = b"", False, False
    deadline = time.monotonic() + 150
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # the child has closed it
                closed = True
                break
            seen += piece
            if not asked and seen.count(b"Ctrl-C ends it") >= 3:
                asked = True
                os.write(terminal, b"\x03")
    finally:
        if not closed:
            os.kill(child, 9)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(terminal)
    assert (asked, ended) == (True, 130), seen.decode(errors="replace")
    assert b"Asleep" in seen
    assert b"no tokens per second" in seen
    assert b"Traceback" not in seen
