"""`make demo`: the product's story on this machine, told while it happens, with a real model.

A Kubernetes comes up, Torpor is installed, one object is applied. A question that arrives while the fleet
sleeps is held, vLLM starts, a language model answers in English, load makes a second replica, silence
takes both away. Nothing is staged: each line that begins with `$` is a command that can be typed, and each
number was measured a moment ago.

It refuses to touch any cluster but the one it makes; `--keep` (or KEEP=1) leaves that one up.
"""

import argparse
import os
import sys
import time

from e2e.demo.narrator import Narrator
from e2e.demo.story import NAMESPACE, Story
from e2e.support import install, machine


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.demo", description="Torpor's story, on this machine."
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster up at the end (also KEEP=1)")
    keep = parser.parse_args().keep or os.environ.get("KEEP", "") not in ("", "0")
    tell = Narrator()
    print(
        "Torpor: inference fleets that sleep until somebody asks. This takes some minutes and ends by itself."
    )
    prepared = None
    try:
        with tell.chapter(
            "A Kubernetes, and the images",
            "etcd, API server, scheduler, kubelet and containerd on this machine, from parts that are "
            "built once and then kept; beside them the images of the operator, the gateway, the launcher, "
            "and vLLM with its model.",
        ):
            prepared = machine.prepare()
        with tell.chapter(
            "helm install", "One chart: the operator, the gateway in front of the fleets, the API."
        ):
            install.install(prepared)
        Story(tell, prepared.cluster, install.gateway_address(prepared.cluster)).run()
        tell.table()
        print("\nThe fleet sleeps; nothing of it runs until the next request.")
    except (KeyboardInterrupt, Exception) as error:
        print(f"\nThe story ended early: {type(error).__name__}: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", []):
            print(note, file=sys.stderr)
        if prepared:
            print(prepared.cluster.kubectl("get", "isvc,pods,events", "-n", NAMESPACE), file=sys.stderr)
        return 1
    finally:
        if prepared and not keep:
            print("\nTaking the cluster down (KEEP=1 leaves it up) ...", flush=True)
            begun = time.monotonic()
            machine.down()
            machine.release()
            print(f"gone after {time.monotonic() - begun:.0f} s; what was built stays in the cache")
        elif prepared:
            print(f"\nThe cluster stays up:\n  export KUBECONFIG={prepared.cluster.kubeconfig}")
            print(f"  {prepared.cluster.kubectl_path} get isvc -n {NAMESPACE}")
            print("Take it down with: make cluster-down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
