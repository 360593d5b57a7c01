"""Completion in a real bash, and `kubectl torpor` with its completion by the real kubectl, beside a real API
server. zsh and fish have typer's own scripts, of which nothing here is ours.
"""

import os
import re
import shlex
import stat
import subprocess
import sys

import pytest

from tests.unit.api.examples import fleet

PROGRAMS = {
    "torpor": "from torpor.cli import main; main()",
    "kubectl-torpor": "from torpor.cli import main; main()",
    "kubectl_complete-torpor": "from torpor.cli.complete import plugin; plugin()",
}


@pytest.fixture
def shell(tmp_path, kubeconfig):
    """Runs a bash script with the commands on its path, as an installation puts them there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, code in PROGRAMS.items():
        script = folder / name
        said = f"import sys; sys.argv[0] = {name!r}; {code}"
        script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", said])} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    paths = [str(path) for path in sys.path if path]
    environment = os.environ | {
        "PATH": f"{folder}:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(paths),
        "KUBECONFIG": str(kubeconfig),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }

    def run(script):
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def fleets(kube, namespace):
    for name in ("chat-large", "chat-small", "code"):
        manifest = fleet() | {"metadata": {"name": name, "namespace": namespace}}
        assert kube.create(manifest).status_code == 201


def offered(shell, *words):
    """What bash offers for the last of these words."""
    line = shlex.join(["torpor", *words])
    done = shell(
        "source <(torpor --show-completion bash)\n"
        f"COMP_WORDS=({line}) COMP_CWORD={len(words)} COMP_LINE={shlex.quote(line)}\n"
        "complete -p torpor >&2\n"
        "_torpor_completion torpor '' ''\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    assert "_torpor_completion" in done.stderr, done.stderr
    return [word for word in done.stdout.splitlines() if word]


def test_bash_offers_what_the_cluster_has(shell, fleets, namespace):
    assert offered(shell, "st") == ["status"]
    assert offered(shell, "explain", "-n", namespace, "ch") == ["chat-large", "chat-small"]
    assert offered(shell, "wake", "-n", namespace, "") == ["chat-large", "chat-small", "code"]
    assert namespace in offered(shell, "status", "-n", namespace[:3])
    assert offered(shell, "status", "--context", "torpor") == ["torpor-local"]
    assert sorted(offered(shell, "status", "-o", "")) == ["json", "table", "yaml"]


@pytest.mark.parametrize("config", ["/nowhere", "/dev/null", "/etc/passwd"])
def test_what_cannot_be_asked_offers_nothing_and_says_nothing(shell, config):
    words = f"torpor status --kubeconfig {config} -n "
    done = shell(f"_TORPOR_COMPLETE=complete_bash COMP_WORDS='{words}' COMP_CWORD=5 torpor")
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_kubectl_calls_it_and_offers_what_it_offers(shell, kube, fleets, namespace):
    kubectl = shlex.join([str(kube._binary), "kubectl"])
    told = shell(f"{kubectl} torpor status --help")
    assert "Usage: kubectl torpor status [OPTIONS] [NAME]" in told.stdout
    told = shell(f"{kubectl} torpor status -n {namespace}")
    assert (told.returncode, re.findall(r"chat-\w+", told.stdout)) == (0, ["chat-large", "chat-small"])
    told = shell(f"{kubectl} torpor status nowhere -n {namespace}")
    assert (told.returncode, "there is no InferenceService nowhere" in told.stderr) == (1, True)
    told = shell(f"{kubectl} __complete torpor explain -n {namespace} ch")
    assert told.stdout.splitlines() == ["chat-large", "chat-small", ":4"], told.stderr
    told = shell(f"{kubectl} __complete torpor wa")
    assert told.stdout.startswith("wake\tWake a fleet"), told.stderr
    assert told.stdout.endswith(":4\n")
    told = shell(f"{kubectl} __complete torpor validate ''")  # files are the shell's own business
    assert told.stdout == ":0\n", told.stderr
