"""Commands: split as a shell would, each word that names something held against what has that name.

Upper-case words stand for what the reader puts in. A command of a program that nobody here knows is an error.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

import typer
from torpor.cli.app import app
from torpor_gateway import __main__ as gateway
from torpor_sim import settings as simulated

from tests.docs.blocks import objects, programs
from tests.docs.blocks.reading import HERE_DOCUMENT, ROOT

Options = Mapping[str, set[str]]
CURL = {"-s", "-S", "-f", "-i", "-N", "-k", "-H", "-d", "-o", "-w", "-X", "--cacert", "--data", "--max-time"}
SKOPEO = {"copy": {"--all"}, "inspect": {"--format"}}  # what pages need of it, by its manual pages


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of a console block with what it prints; it goes on while its line is not whole."""
    found: list[tuple[str, str]] = []
    command: str | None = None
    for line in text.splitlines():
        if command is not None:
            command += "\n" + line
        elif line.startswith("$ "):
            command = line[2:]
        else:
            assert found, f"output before any command: {line}"
            found[-1] = (found[-1][0], found[-1][1] + line + "\n")
            continue
        if whole(command):
            found.append((command, ""))
            command = None
    assert command is None, f"a command without an end: {command}"
    return found


def whole(command: str) -> bool:
    """Say whether a shell would run the command, and not wait for more of it."""
    if command.endswith("\\") or ("<<" in command and not HERE_DOCUMENT.search(command)):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def check(text: str, options: Options) -> None:
    """Check all commands of a text; `options` are those of kubectl and helm, by command."""
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, capture_output=True)
    for _, document in HERE_DOCUMENT.findall(text):
        objects.check_yaml(document)
    plain = HERE_DOCUMENT.sub("", text).replace("\\\n", " ")
    for words in split(plain):
        check_command(words, options)


def split(text: str) -> list[list[str]]:
    """Return the words of each command; `&&`, `|`, `&`, `;` and a line's end part commands."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, "#"
    found: list[list[str]] = [[]]
    for word in lexer:
        if word and set(word) <= set(";|&\n"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in map(_without_redirections, found) if words]


def _without_redirections(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif re.fullmatch(r"[12]?>>?|<", word):
            skip = True
        elif not re.match(r"[12]?>", word):
            kept.append(word)
    while kept and re.fullmatch(r"[A-Z_]+=\S*", kept[0]):  # a variable for the command
        del kept[0]
    return kept


def check_command(words: list[str], options: Options) -> None:
    """Check one command; an AssertionError or the program's own error says what it does not have."""
    name = words[0]
    match name:
        case "torpor":
            check_torpor(words)
        case "kubectl" | "helm":
            check_cluster(words, options)
        case "torpor-gateway":
            own = ROOT / "runtime/src/torpor_gateway/hashkey.py"
            hashing = words[1:2] == ["hash-key"]
            parser = programs.options(own) if hashing else gateway.arguments()._option_string_actions
            _within(words, set(parser))
        case "torpor-sim":
            _within(words, set(simulated._parser()._option_string_actions))
        case "python" | ".venv/bin/python":
            programs.check_python(words)
        case ".venv/bin/pytest":
            programs.check_pytest(words)
        case "make":
            programs.check_make(words)
        case "pip":
            programs.check_pip(words)
        case "vllm":  # the load of the conformance run says what it has
            _within(words, set(re.findall(r"--[a-z-]+", (ROOT / "e2e/conformance/load.py").read_text())))
        case "curl":
            check_curl(words)
        case "skopeo":
            _within(words, SKOPEO[words[1]])
        case _:
            assert name in options, f"nobody checks the command {name}"


def _within(words: list[str], known: set[str]) -> None:
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    assert given <= known, f"{' '.join(words[:2])} has no {given - known}"


def check_torpor(words: list[str]) -> None:
    """Let the command line read its words, as far as that asks nobody."""
    command = typer.main.get_command(app)
    with command.make_context("torpor", list(words[1:])) as context:
        _, chosen, rest = command.resolve_command(context, list(words[1:]))  # type: ignore[attr-defined]
        chosen.make_context(chosen.name, rest, parent=context).close()


def check_cluster(words: list[str], options: Options) -> None:
    """Check a command of kubectl or helm by its options, what it sets, and what it reads of a fleet."""
    known = max((key for key in options if key and " ".join(words).startswith(key)), key=len, default=None)
    assert known, f"{' '.join(words[:3])} is not among the commands that pages may show"
    own = words[: words.index("--")] if "--" in words else words
    given = {word.partition("=")[0] for word in own if word.startswith("-") and word != "-"}
    unknown = given - options[known] - options[""]
    assert not unknown, f"{known} has no {unknown}"
    for place, word in enumerate(own[:-1]):
        after = own[place + 1]
        if word == "--set" and words[0] == "helm":
            objects.check_set(after)
        if word == "-p":
            objects.check_part(json.loads(after)["spec"])
        if word == "-o" and after.startswith("jsonpath=") and {"isvc", "inferenceservices"} & set(own):
            objects.check_paths(after)


def check_curl(words: list[str]) -> None:
    """Check the options, that a body is JSON, and that the path is one that a process of ours serves."""
    _within(words, CURL)
    for place, word in enumerate(words[:-1]):
        if word in ("-d", "--data"):
            body: Any = json.loads(words[place + 1])
            assert isinstance(body, dict)
            assert "model" in body, f"a request without a model: {body}"
    for word in words[1:]:
        if path := re.fullmatch(r"https?://[^/]+(/\S*)", word):
            objects.check_served(path[1])
