"""The chapters in which the fleet plays: created asleep, woken by a question, doubled by load, put to sleep
by silence, and asked why."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from e2e.demo.narrator import Narrator
from e2e.support.chat import body
from e2e.support.fleets import Fleet
from e2e.support.http1 import Address
from e2e.support.kube import ApiError, Cluster, Object
from e2e.support.load import Load
from e2e.support.waiting import until

NAMESPACE = "demo"
MANIFEST = Path(__file__).with_name("fleet.yaml")
QUESTION = "What is the capital of France? Answer in one short sentence."


class Story:
    """Plays the chapters on a cluster on which Torpor is installed."""

    def __init__(self, tell: Narrator, cluster: Cluster, gateway: Address) -> None:
        self.tell, self.cluster, self.gateway = tell, cluster, gateway
        self.fleet = Fleet(cluster, NAMESPACE, "smollm2")

    def run(self) -> None:
        """All chapters in order."""
        self.create()
        self.wake()
        self.grow()
        self.sleep()
        self.account()

    def show(self) -> None:
        """What the user sees of the fleet now."""
        for kind in ("isvc", "pods"):
            line = f"kubectl get {kind} -n {NAMESPACE}"
            self.tell.command(line, self.cluster.kubectl(*line.split()[1:]) or "No resources found")

    def create(self) -> None:
        with self.tell.chapter(
            "One object",
            "An InferenceService with minReplicas 0. Created asleep, it makes a Deployment of no pods: "
            "nothing is booked, nothing runs, and it is Ready, because a request sent now will be answered.",
        ):
            try:
                self.cluster.create("namespaces", {"metadata": {"name": NAMESPACE}})
            except ApiError as error:
                if error.status != 409:
                    raise
            where = MANIFEST.relative_to(Path(__file__).resolve().parents[2])
            told = self.cluster.kubectl("apply", "-n", NAMESPACE, "-f", str(MANIFEST))
            self.tell.command(f"kubectl apply -n {NAMESPACE} -f {where}", told)
            self.fleet.wait("Ready", reason="Asleep", seconds=60)
            self.show()

    def wake(self) -> None:
        with self.tell.chapter(
            "A question for a fleet that sleeps",
            "The gateway holds the request and tells the operator, the operator writes replicas: 1, vLLM "
            "loads the model and proves itself with one token; then the request, still the same "
            "connection, is answered.",
        ):
            request = json.loads(body("smollm2", stream=False, max_tokens=40, prompt=QUESTION))
            request["temperature"] = 0
            url = f"http://{self.gateway}/v1/chat/completions"
            print(f"\n  $ curl {url} -d '{json.dumps(request)}'")
            begun = time.monotonic()
            watcher = Progress(self.tell, self.fleet)
            answer = json.loads(_post(url, json.dumps(request)))
            watcher.end()
            if "choices" not in answer:
                raise RuntimeError(f"no answer: {answer}")
            self.tell.note("  from the question to the answer, asleep", time.monotonic() - begun)
            self.tell.say(f"the answer: {answer['choices'][0]['message']['content'].strip()!r}")
            begun = time.monotonic()
            json.loads(_post(url, json.dumps(request)))
            self.tell.note("  the same question again, awake", time.monotonic() - begun)
            self.show()
            cold = until(
                "the cold start is recorded", lambda: self.fleet.status().get("coldStart"), seconds=20
            )
            phases = ", ".join(f"{phase['name']} {phase['seconds']} s" for phase in cold.get("phases", []))
            self.tell.say(f"the cold start took {cold.get('lastSeconds')} s: {phases}")

    def grow(self) -> None:
        with self.tell.chapter(
            "More than one replica can carry",
            "A dozen clients ask at once. The queue grows beyond what the object calls fine, so a second "
            "replica starts; nobody is turned away meanwhile.",
        ):
            begun = time.monotonic()
            with Load(
                self.gateway, "smollm2", clients=12, max_tokens=60, pause=0.1, request_seconds=240
            ) as load:
                until("the second replica is decided", lambda: self.fleet.replicas() == 2, seconds=120)
                self.tell.note(
                    "  from the load to the decision for a second replica", time.monotonic() - begun
                )
                self.tell.say(f"replicas: 2 is written; {self.why(2)}")
                tally = load.end()
            self.tell.say(str(tally))
            # The cores that answer are the cores that load the second model: a trickle keeps the fleet
            # busy, no more.
            with Load(
                self.gateway, "smollm2", clients=1, max_tokens=4, pause=3, stream=True, request_seconds=240
            ) as load:
                watcher = Progress(self.tell, self.fleet)
                self.fleet.wait_replicas(2, seconds=300)
                watcher.end()
                trickle = load.end()
            self.tell.note("  from the load to a second replica that is ready", time.monotonic() - begun)
            for told in (tally, trickle):
                told.must_be_whole()
            self.show()

    def sleep(self) -> None:
        with self.tell.chapter(
            "Silence",
            "Nobody asks any more. After idleSeconds without a request the operator writes replicas: 0, "
            "the pods finish what they run (nothing) and go, and what they had booked is free.",
        ):
            begun = time.monotonic()
            until("replicas: 0 is written", lambda: self.fleet.replicas() == 0, seconds=180)
            self.tell.say(f"replicas: 0 is written; {self.why(0)}")
            self.tell.note("  from the last answer to the decision for zero", time.monotonic() - begun)
            self.fleet.wait_asleep(seconds=120)
            self.show()

    def account(self) -> None:
        with self.tell.chapter(
            "Why",
            "The command line reads the object: what the fleets are doing, and the reasons of the number.",
        ):
            for line in (f"torpor status -n {NAMESPACE}", f"torpor explain {self.fleet.name} -n {NAMESPACE}"):
                self.tell.command(line, self._torpor(*line.split()[1:]))

    def _torpor(self, *arguments: str) -> str:
        """The command line beside this interpreter; raises RuntimeError with its words."""
        done = subprocess.run(
            [Path(sys.executable).with_name("torpor"), *arguments],
            env=os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"torpor {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def why(self, count: int) -> str:
        """Why the fleet has `count` replicas, in the object's own words and numbers."""

        def check() -> Object | None:
            decision = self.fleet.status().get("decision") or {}
            return decision if decision.get("desiredReplicas") == count else None

        found = until("the decision is on the object", check, seconds=20)
        read = [f"{s['name']} {s['value']} (target {s['target']})" for s in found["signals"] if "value" in s]
        return f"{', '.join(read)}: {found['message']}"


class Progress:
    """Says what happens to the fleet's pods while something else waits."""

    def __init__(self, tell: Narrator, fleet: Fleet) -> None:
        self._tell, self._fleet, self._over = tell, fleet, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        told: dict[str, str] = {}
        while not self._over.wait(0.3):
            try:
                pods = self._fleet.pods()
            except (ApiError, OSError):
                continue
            for pod in pods:
                name, state = pod["metadata"]["name"], _state(pod)
                if told.get(name) != state:
                    told[name] = state
                    self._tell.say(f"pod {name}: {state}")

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def _state(pod: Object) -> str:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    if conditions.get("Ready") == "True":
        return "ready"
    for status in pod["status"].get("containerStatuses", []):
        if status["state"].get("running"):
            return "vLLM is starting and loading the model"
        waiting = status["state"].get("waiting", {})
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return str(waiting["reason"])
    return "scheduled" if conditions.get("PodScheduled") == "True" else "created"


def _post(url: str, payload: str) -> str:
    """The request by curl, as printed; raises RuntimeError with curl's words."""
    curl = shutil.which("curl")
    if not curl:
        raise RuntimeError(
            "curl is not installed; the demonstration sends its question with it (apt install curl)"
        )
    command = [curl, "-sS", "--max-time", "300", url, "-H", "Content-Type: application/json", "-d", payload]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"curl: {done.stderr.strip()}")
    return done.stdout
