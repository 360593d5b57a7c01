"""The gateway's data path as machine code: the same Python modules, compiled by mypyc.

Every token of every fleet passes these modules, and interpreting them is most of what a request costs. They
are typed strictly anyway, and mypyc turns typed Python into C: one source, no second language, and where
nothing was compiled (a checkout, another interpreter) the modules run as they are. What is compiled keeps
Python's meaning but for two things, which the tests meet because they run both ways: a value of another type
than its annotation raises TypeError at once, and a compiled class takes no attribute that it does not
declare.

Listed are the modules that a request or a token passes. Others would be faster too and nobody would notice,
while each costs seconds of compiling. They become one shared library with a small module file for each,
because calls between them are then calls of C functions; so all of it is built or nothing.

    python runtime/native/compile.py FOLDER

puts the compiled modules into FOLDER/{torpor_gateway,torpor/dispatch}, beside the sources if they are there.
It needs what locks/native.txt names, a C compiler and the interpreter's headers.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = (REPOSITORY / "operator" / "src", REPOSITORY / "runtime" / "src")
MODULES = {
    "torpor/dispatch": ("backlog", "choice", "line", "memory", "prefix", "router"),
    "torpor_gateway": (
        "accounts", "affinity", "beginning", "body", "bounds", "chunks", "client", "comments", "endpoint",
        "exchange", "expiry", "fleet", "framing", "gate", "heads", "later", "peek", "pipe", "registry",
        "relay", "request", "response", "server", "surface", "tls", "tokens", "turns", "upstream",
        "verdict", "waits",
    ),
}  # fmt: skip
LIBRARY = "torpor_native"  # its file is LIBRARY__mypyc


def sources() -> list[Path]:
    """Return the files that are compiled, below the repository's source folders."""
    return [
        next(root / package / f"{name}.py" for root in ROOTS if (root / package).is_dir())
        for package, names in MODULES.items()
        for name in names
    ]


def compile_into(folder: Path) -> None:
    """Compile, and put the modules into `folder`. Raises SystemExit where the compiler fails."""
    from mypyc.build import mypycify  # noqa: PLC0415 - the list above is read without the compiler
    from setuptools import Distribution  # noqa: PLC0415

    # Not --strict, which `make check` is for: the types of a dependency that is not installed are unknown.
    flags = ["--namespace-packages", "--explicit-package-bases", "--ignore-missing-imports"]
    os.environ["MYPYPATH"] = os.pathsep.join(map(str, ROOTS))
    with tempfile.TemporaryDirectory() as made:
        flags.append(f"--cache-dir={made}/mypy")
        extensions = mypycify(
            [*flags, *map(str, sources())], opt_level="3", group_name=LIBRARY, target_dir=f"{made}/c"
        )
        for extension in extensions:
            extension.extra_link_args.append("-Wl,--strip-all")
        command = Distribution({"name": LIBRARY, "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = f"{made}/lib", f"{made}/objects"
        command.ensure_finalized()
        command.run()
        shutil.copytree(f"{made}/lib", folder, dirs_exist_ok=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python runtime/native/compile.py FOLDER")
    compile_into(Path(sys.argv[1]))
