"""The commands: `python3 -m e2e.cluster up|down|status|kubeconfig|load|build|image|vllm-env`."""

import argparse
import json
import sys
from pathlib import Path

from e2e.cluster import paths
from e2e.cluster.locking import cluster_lock
from e2e.cluster.progress import StepFailedError, say


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m e2e.cluster", description="a real Kubernetes without Docker"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up, or repair it; does nothing if it is up")
    commands.add_parser("down", help="take it down; nothing but the cache stays")
    status = commands.add_parser("status", help="what runs; exit status 1 unless the cluster is up")
    status.add_argument("--json", action="store_true")
    commands.add_parser("kubeconfig", help="print the path of the kubeconfig")
    commands.add_parser("build", help="build the binaries only, and print where they are")
    load = commands.add_parser("load", help="import an image archive into the node")
    load.add_argument("archive", nargs="+")
    commands.add_parser("vllm-env", help="real vLLM and a model on this host; prints their paths as JSON")
    images = commands.add_parser(
        "image", help="build images (base, operator, gateway, engine, vllm, all) or print sizes"
    )
    images.add_argument(
        "names", nargs="+", choices=["base", "operator", "gateway", "engine", "vllm", "all", "sizes"]
    )
    images.add_argument("--load", action="store_true", help="also load them into the node")
    images.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        return _run(arguments)
    except StepFailedError as error:
        say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; `python3 -m e2e.cluster down` takes back what was begun")
        return 130


def _run(arguments: argparse.Namespace) -> int:
    from e2e.cluster import cluster, containerd  # noqa: PLC0415 (--help works on any machine)

    match arguments.command:
        case "up":
            with cluster_lock():
                cluster.up()
        case "down":
            cluster.check_machine()
            with cluster_lock():
                cluster.down()
        case "status":
            found = cluster.status()
            if arguments.json:
                print(json.dumps(found, indent=2))
            else:
                dead = [part for part, runs in found["parts"].items() if not runs]  # type: ignore[attr-defined]
                words = (
                    "is up"
                    if found["up"]
                    else f"is not up (not running: {', '.join(dead)})"
                    if dead
                    else "is starting"
                )
                print(f"{found['cluster']} {words}\nkubeconfig: {found['kubeconfig']}\nlogs: {found['logs']}")
            return 0 if found["up"] else 1
        case "kubeconfig":
            if not paths.KUBECONFIG.exists():
                raise StepFailedError("there is no cluster; `python3 -m e2e.cluster up` makes one")
            print(paths.KUBECONFIG)
        case "build":
            from e2e.cluster.build import build  # noqa: PLC0415

            build()
            print(paths.BIN)
        case "load":
            for archive in arguments.archive:
                for line in containerd.load(Path(archive)):
                    say(line)
        case "vllm-env":
            from e2e.cluster.vllm_env import ensure_env  # noqa: PLC0415

            print(json.dumps(ensure_env().as_json()))
        case "image":
            from e2e.cluster import images  # noqa: PLC0415

            images.command(arguments.names, load=arguments.load, as_json=arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
