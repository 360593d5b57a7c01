"""How every command behaves: one sentence for what went wrong, exit codes, formats, asking before a write.

A user's mistake is never a traceback: commands raise `TroubleError` with a sentence that ends in the next
step, and `command` turns it into a line on standard error and an exit status. What is printed for people may
hold texts that anybody wrote into an object; control characters are taken out of it.

Standard library and typer alone at the top: `torpor --help` and the shell's completion load this module, and
must not wait for what a command needs.
"""

import contextlib
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer

from torpor.cli import complete

T = TypeVar("T")

DONE: Final = 0
NO: Final = 1  # asked and answered: it is not so, not there, or not possible
USAGE: Final = 2  # the command line or a file cannot be understood
NO_CLUSTER: Final = 3  # the cluster cannot be asked
INTERRUPTED: Final = 130

EXIT_CODES: Final = {
    DONE: "done; what was asked for is so",
    NO: "no: there is no such fleet, a file is not valid, a request was refused, no answer came whole",
    USAGE: "the command line, or a file that is read, cannot be understood; or a confirmation was needed",
    NO_CLUSTER: "the cluster cannot be asked: no kubeconfig, no answer, no permission, no Torpor there",
    INTERRUPTED: "interrupted (Ctrl-C)",
}
FORMATS: Final = ("table", "json", "yaml")
LONGEST_LINE: Final = 600  # characters; what is longer is cut, visibly

Namespace = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--namespace",
        help="The namespace; default: the context's.",
        autocompletion=complete.namespaces,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(help="Of the kubeconfig; default: its current one.", autocompletion=complete.contexts),
]
Kubeconfig = Annotated[
    str | None, typer.Option(help="A kubeconfig file; default: $KUBECONFIG, else ~/.kube/config.")
]
Output = Annotated[
    str, typer.Option("-o", "--output", help="table, json or yaml.", autocompletion=complete.formats)
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Write without asking.")]


class TroubleError(Exception):
    """The command ends here; the message is for people, `code` the exit status. passing: it may be otherwise
    in a moment.
    """

    def __init__(self, message: str, code: int = NO, *, passing: bool = False) -> None:
        super().__init__(message)
        self.code, self.passing = code, passing


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: what it raises for people becomes a line and an exit status."""
    name = function.__name__.replace("_", "-")

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except TroubleError as trouble:
            fail(name, str(trouble), trouble.code)
        except ModuleNotFoundError as error:
            if (error.name or "torpor").partition(".")[0] == "torpor":
                raise  # a fault of ours
            fail(name, f"{error.name} is not installed; pip install 'torpor[cli]' brings it", NO)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # `torpor … | head`: whoever read has enough
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(NO) from None

    return run


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; asyncio is loaded here, because `--help` needs none of it."""
    import asyncio  # noqa: PLC0415

    return asyncio.run(work)


async def pause(seconds: float) -> None:
    """Sleep inside `finish`."""
    import asyncio  # noqa: PLC0415

    await asyncio.sleep(seconds)


def fail(name: str, message: str, code: int) -> NoReturn:
    """Say what is wrong with the run of a command, and end it."""
    typer.echo(f"torpor {name}: {shown(message)}", err=True)
    raise typer.Exit(code)


def check_format(output: str, allowed: Sequence[str] = FORMATS) -> None:
    """Raise TroubleError for a format that is none."""
    if output not in allowed:
        told = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise TroubleError(f'-o "{output}": must be {told}; choose one of them', USAGE)


def emit(document: Any, output: str, table: Callable[[], str]) -> None:
    """Print a document in a format; `table` makes the text for people."""
    if output == "json":
        typer.echo(json.dumps(document, indent=2))
    elif output == "yaml":
        import yaml  # noqa: PLC0415 - only who asks for it waits for it

        typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), nl=False)
    else:
        typer.echo(table())


def confirmed(question: str, *, yes: bool) -> None:
    """Return where a write is wanted: by `--yes`, or by a person at a terminal. Else raises TroubleError."""
    if yes:
        return
    if not _at_terminal():
        raise TroubleError(f"{question}: nothing was written; say --yes, or run it at a terminal", USAGE)
    if not typer.confirm(question, err=True):
        raise TroubleError("nothing was written", NO)


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that notes so many more of `total`; a bar where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only who sees it waits for it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return a table as kubectl prints them: no lines, two blanks between. The last column is cut where the
    line would be longer than `width`.
    """
    sizes = [max(len(line[index]) for line in (head, *rows)) for index in range(len(head) - 1)]
    text = []
    for line in (head, *rows):
        cells = [cell.ljust(size) for cell, size in zip(line, sizes, strict=False)]
        told = "  ".join([*cells, line[-1]]).rstrip()
        text.append(told if width is None or len(told) <= width else f"{told[: max(1, width - 2)]} …")
    return "\n".join(text)


def terminal_width() -> int | None:
    """Return the width of the terminal that standard output is, None where it is none."""
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size((0, 0)).columns or None  # a terminal may not know its size


def shown(text: object) -> str:
    """One line without control characters, cut where it is too long."""
    plain = str(text)
    if not plain.isprintable():
        plain = "".join(char if char.isprintable() else " " for char in plain)
    return plain if len(plain) <= LONGEST_LINE else f"{plain[: LONGEST_LINE - 2]} …"


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """Return the mapping at a path of an object that anybody may have written, empty where there is none."""
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings in a list that anybody may have written."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
