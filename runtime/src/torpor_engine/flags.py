"""Reading the user's engine arguments as far as the launcher must.

vLLM's parser takes `--flag value`, `--flag=value` and underscores for dashes, and the last occurrence wins;
it also takes unambiguous prefixes, which are not expanded here: the launcher puts its own flags last, so that
a prefix of one of them cannot win. What is read here serves three ends: refusing flags that would cut the
engine off from the gateway, knowing the number of sequences, and loading the right files ahead. Judging all
other flags is the engine's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor_engine.outcomes import LaunchError, Outcome, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

# Flags the launcher or the API's own fields own, and the field that says the same.
OWNED = {
    "--host": "the launcher sets the address",
    "--port": "the launcher sets the port",
    "--listen": "the launcher sets address and port",
    "--uds": "the gateway reaches the engine over TCP",
    "--model": "set spec.model.uri",
    "--revision": "set spec.model.revision",
    "--served-model-name": "set spec.model.name",
    "--shutdown-timeout": "set spec.drainSeconds",
    "--ssl-keyfile": "the gateway speaks plain HTTP to the engine",
    "--ssl-certfile": "the gateway speaks plain HTTP to the engine",
    "--headless": "a fleet's engine serves its own API",
}


def key_of(arg: str) -> str:
    """The flag's name as its parser spells it, without a value: `--max_num_seqs=8` gives `--max-num-seqs`."""
    return arg.split("=", 1)[0].replace("_", "-")


def flag_value(args: Sequence[str], *names: str) -> str | None:
    """The value that the parser would take for the flag with any of `names`: the last one's, or None."""
    found = None
    for index, arg in enumerate(args):
        if arg.startswith("-") and key_of(arg) in names:
            if "=" in arg:
                found = arg.split("=", 1)[1]
            elif index + 1 < len(args):
                found = args[index + 1]
    return found


def has_flag(args: Sequence[str], name: str) -> bool:
    """Whether the flag is there in any spelling that the parser takes for it."""
    return any(arg.startswith("--") and key_of(arg) == name for arg in args)


def check_args(args: Sequence[str]) -> None:
    """Refuse arguments that belong to the launcher.

    Raises LaunchError(InvalidEngineArgs) naming the argument and what to set instead.
    """
    for index, arg in enumerate(args):
        field = f"spec.engine.args[{index}]"
        if arg == "--":
            raise refuse(
                Outcome.InvalidEngineArgs,
                field,
                arg,
                "would end the flags, the launcher's own too",
                "remove it",
            )
        if arg.startswith("--") and key_of(arg) in OWNED:
            instead = OWNED[key_of(arg)]
            raise refuse(
                Outcome.InvalidEngineArgs, field, arg, f"this flag is the launcher's: {instead}", "remove it"
            )


def whole_number(args: Sequence[str], name: str) -> int | None:
    """The flag's value as a positive whole number, None when the flag is absent.

    Raises LaunchError(InvalidEngineArgs) for anything else, because the gateway's dispatch depends on it.
    """
    value = flag_value(args, name)
    if value is None:
        if has_flag(args, name):
            raise LaunchError(
                Outcome.InvalidEngineArgs, f"spec.engine.args: {name} has no value; add one or remove it"
            )
        return None
    if value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    raise refuse(
        Outcome.InvalidEngineArgs,
        f"spec.engine.args {name}",
        value,
        "must be a whole number above 0",
        "correct it",
    )
