"""Telling a story with times: what happens, how long it took, and a table at the end.

Everything that the demonstration prints goes through here, so that a reader finds the same shape
everywhere: a numbered heading, the command a user would type after a `$`, what it answered, and indented
remarks with the seconds since the chapter began.
"""

import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 100


class Narrator:
    """Prints the story and remembers the times."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []
        self.begun = time.monotonic()
        self._chapter_begun = self.begun
        self._chapters = 0

    @contextmanager
    def chapter(self, title: str, why: str) -> Iterator[None]:
        """A step of the story; its duration goes into the table under its title."""
        self._chapters += 1
        self._chapter_begun = time.monotonic()
        print(f"\n{self._chapters}. {title}\n{'-' * (len(title) + 3)}")
        print(textwrap.fill(why, WIDTH))
        yield
        self.note(title, time.monotonic() - self._chapter_begun)

    def note(self, what: str, seconds: float) -> None:
        """Remember a time for the table."""
        self.times.append((what, seconds))

    def say(self, text: str) -> None:
        """A remark, with the seconds since the chapter began."""
        print(f"  [{time.monotonic() - self._chapter_begun:6.1f} s] {text}", flush=True)

    def command(self, line: str, answer: str) -> None:
        """What a user would type, and what came back."""
        print(f"\n  $ {line}")
        print(textwrap.indent(answer.rstrip() or "(nothing)", "  "), flush=True)

    def table(self) -> None:
        """The times, in order."""
        print(f"\n{'what':<60} {'seconds':>8}\n{'-' * 69}")
        for what, seconds in self.times:
            print(f"{what:<60} {seconds:>8.1f}")
        print(f"{'-' * 69}\n{'all of it':<60} {time.monotonic() - self.begun:>8.1f}")
