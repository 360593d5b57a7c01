"""A real Prometheus reads what the chart's monitors select, and every panel and rule finds its data there."""

import asyncio
import json
import time

import yaml

from e2e.monitoring import scrape
from e2e.monitoring.asking import ask, report, unanswered
from e2e.monitoring.discovery import Discovery
from e2e.monitoring.prometheus import Prometheus
from e2e.monitoring.questions import of_dashboards, of_rules, rule_files
from e2e.monitoring.yesterday import COLD_STARTS, remembered
from e2e.support import install
from e2e.support.chat import chat
from e2e.support.waiting import until
from tests.authority import Authority

SECRET, PAIR = "api-keys", "gateway-tls"
TEAM, HASTY = "sk-of-a-team-0123456789abcdef", "sk-of-the-hasty-0123456789abcdef"
EVERY = 4.0  # seconds between two scrapes
ROUNDS = 6  # at most; two are usual
SLEEPER = {
    "args": ["--startup-seconds=2"],
    "scaling": {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 3},
}
# Refuses while it sleeps, and its engine lacks a metric that is expected of it.
ODD = {
    "args": ["--startup-seconds=1", "--hide-metric=num_preemptions"],
    "gpus": 0,
    "scaling": {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 30},
    "traffic": {"coldStart": {"response": "Reject"}},
}
# Nobody asks it for anything, but it was watched for a day on which three replicas were busy at each minute:
# as soon as a minute of today is over, work for more than one is foreseen, and they are ordered for it.
EARLY = {
    "args": ["--startup-seconds=1", "--profile=llama-3.1-8b-h100"],
    "gpus": 0,
    "scaling": {
        "minReplicas": 1,
        "maxReplicas": 2,
        "objectives": {"timeToFirstTokenMilliseconds": 500, "interTokenLatencyMilliseconds": 50},
    },
}
YESTERDAY = 3.0
# Two replicas, so that what one of them fails at goes to the other; each runs two requests at once, so that
# some wait; objectives, so that they are judged and a prefill budget is chosen; office hours without an end.
STEADY = {
    "args": [
        "--startup-seconds=1",
        "--profile=llama-3.1-8b-h100",
        "--max-num-seqs=2",
        "--fault=reset-before-head,every=11",
        "--fault=cut-stream-after-tokens=3,every=7",
        "--fault=status=500,every=9",
    ],
    "scaling": {
        "minReplicas": 2,
        "maxReplicas": 3,
        "objectives": {"timeToFirstTokenMilliseconds": 50, "interTokenLatencyMilliseconds": 50},
        "signals": {"queueDepth": {"target": 1}},
        "schedule": {
            "timeZone": "UTC",
            "windows": [
                {
                    "name": "even",
                    "days": ["Mon", "Wed", "Fri", "Sun"],
                    "start": "00:00",
                    "end": "24:00",
                    "minReplicas": 2,
                    "maxReplicas": 3,
                },
            ],
            "outside": {"minReplicas": 1, "maxReplicas": 3},
        },
    },
}


def test_every_panel_and_every_rule_finds_data(world, make, own, tmp_path, record_property):
    keys = {"team": json.dumps({"key": TEAM}), "hasty": json.dumps({"key": HASTY, "requestsPerMinute": 1})}
    world.cluster.create("secrets", {"metadata": {"name": SECRET}, "stringData": keys}, own.namespace)
    pair = {"type": "kubernetes.io/tls", "stringData": Authority().issue().entries}
    world.cluster.create("secrets", {"metadata": {"name": PAIR}, **pair}, own.namespace)
    sleeper, steady, odd, early = (
        make(name, wait=False, **spec)
        for name, spec in (("sleeper", SLEEPER), ("steady", STEADY), ("odd", ODD), ("early", EARLY))
    )
    was_watched_for_a_day(world.cluster, early)
    gateway = {
        "apiKeys": {"secretName": SECRET},
        "tls": {"enabled": True, "secretName": PAIR, "plainHTTP": True},
        "accessLog": True,
        "tracing": {"endpoint": "http://127.0.0.1:9"},  # nobody listens there: spans are lost
    }
    prices = {"*": "2.00"}
    own.install(gateways=2, dashboards={"enabled": True}, gateway=gateway, gpuHourPrices=prices)
    the_dashboards_are_where_the_sidecar_looks(own)
    steady.wait_replicas(2)
    early.wait("Ready", "True", "Serving")
    monitors = scrape.monitors(rendered(world.machine, own))
    jobs = [scrape.job(monitor) for monitor in monitors]
    scrapes = [scrape.of_monitor(monitor, world.cluster, tmp_path / "scrapes") for monitor in monitors]
    wanted = [scrape.wanted(monitor, tmp_path / "scrapes") for monitor in monitors]
    begun = time.time()
    with (
        Discovery(world.cluster, wanted),
        Prometheus(tmp_path / "prometheus", scrapes, rules=rule_files(), every=EVERY) as prometheus,
    ):
        prometheus.wait_for(jobs)
        reads_what_it_should(prometheus, own, steady, early)
        answers = []
        for _ in range(ROUNDS):
            live(own, sleeper, steady, odd)
            answers = ask_everything(prometheus, begun, (sleeper, steady, odd, early))
            if not unanswered(answers):
                break
        told = f"{report(answers)}\n  after {time.time() - begun:.0f} s of scraping"
        print(f"\n{told}")
        record_property("monitoring", told)
        assert not unanswered(answers), told
        rules_are_evaluated(prometheus)


def was_watched_for_a_day(cluster, fleet):
    """What an operator would have left behind that no process of this run can: before there is one."""
    cluster.create("configmaps", remembered(fleet.object(), YESTERDAY), fleet.namespace)
    cluster.patch("inferenceservices", fleet.name, {"status": COLD_STARTS}, fleet.namespace, sub="status")


def the_dashboards_are_where_the_sidecar_looks(own):
    """With its label, in its folder, byte for byte."""
    found = own.cluster.list("configmaps", own.namespace, labelSelector="grafana_dashboard=1")
    held = {name: text for item in found for name, text in item["data"].items()}
    files = sorted((install.CHART / "files" / "dashboards").glob("*.json"))
    assert files
    assert held == {path.name: path.read_text() for path in files}
    assert {item["metadata"]["annotations"]["grafana_folder"] for item in found} == {"Torpor"}


# --- what Prometheus reads ---------------------------------------------------------------------------


def rendered(machine, own):
    """The objects of the chart as it is installed here, with its monitors, whose kinds no cluster needs to
    know for that.
    """
    values = {
        "watchNamespaces": [own.serves],
        "serviceMonitor": {"enabled": True},
        "podMonitor": {"enabled": True},
    }
    where = ("--namespace", own.namespace, "--values", "-")
    text = install.helm(
        machine, "template", install.RELEASE, str(install.CHART), *where, stdin=json.dumps(values)
    )
    return [item for item in yaml.safe_load_all(text) if item]


def reads_what_it_should(prometheus, own, *awake):
    """Each job reads all pods of one part of this release, and no others."""
    parts = {
        "servicemonitor/torpor-operator": lambda: own.pods(install.OPERATOR),
        "servicemonitor/torpor-gateway": lambda: own.pods(install.GATEWAY),
        "podmonitor/torpor-engines": lambda: [pod for fleet in awake for pod in fleet.pods()],
    }

    def check():
        wanted = {job: {pod["metadata"]["name"] for pod in pods()} for job, pods in parts.items()}
        read = {job: set() for job in parts}
        for target in prometheus.targets():
            if target["health"] == "up":
                read[target["labels"]["job"]].add(target["labels"]["pod"])
        assert read == wanted
        return True

    until("every pod is read, each by its own job", check)


# --- an hour of a fleet's life in half a minute ------------------------------------------------------


def live(own, sleeper, steady, odd):
    """Requests of all kinds for the fleet that is awake, a wake and a sleep for the second, and one for the
    third, which refuses it where it has to wake first.
    """
    refused = asyncio.run(chat(own.gateway, odd.model, headers=bearer(TEAM), max_tokens=5))
    assert refused.kind in ("refused", "answered"), refused
    asyncio.run(ask_for_all(own.gateway, steady))
    sleeper.wait_asleep()
    outcome = asyncio.run(chat(own.gateway, sleeper.model, headers=bearer(TEAM), max_tokens=5))
    assert outcome.kind == "answered", outcome
    sleeper.wait_asleep()


async def ask_for_all(gateway, steady):
    """Some of these are answered, some fail, some are refused: that is what they are for."""

    async def several(count, **more):
        more = {"max_tokens": 12, "seconds": 60, "headers": bearer(TEAM)} | more
        kinds = (index % 3 != 0 for index in range(count))  # two of three stream
        return await asyncio.gather(*(chat(gateway, steady.model, stream=it, **more) for it in kinds))

    begun = time.monotonic()
    answered = 0
    while (
        answered < 60 or time.monotonic() - begun < 5 * EVERY
    ):  # rates need some scrapes with traffic in each
        answered += sum(outcome.kind == "answered" for outcome in await several(12))
        assert time.monotonic() - begun < 180, f"{answered} requests were answered"
    await several(2, headers=bearer(TEAM) | {"x-stainless-retry-count": "1"})
    await several(2, headers=bearer(HASTY))
    await several(1, headers=bearer("sk-nobody-has-this-key"))
    await chat(gateway, "no-such-model", headers=bearer(TEAM), seconds=60)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


# --- what dashboards and rules ask -------------------------------------------------------------------


def ask_everything(prometheus, begun, fleets):
    """Every query of every panel, variable and rule, for the time since Prometheus began. The dashboards are
    narrowed to the fleets here, as a person narrows them: so the labels have to be the fleets' own.
    """
    now = time.time()
    names = "|".join(fleet.name for fleet in fleets)
    questions = [
        *of_dashboards(5 * EVERY, now - begun, namespace=fleets[0].namespace, fleet=names),
        *of_rules(),
    ]
    return ask(prometheus, questions, begun, now)


def rules_are_evaluated(prometheus):
    """Prometheus evaluates every rule without an error."""

    def check():
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        ill = [
            (rule["name"], rule["health"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"
        ]
        assert not ill, ill
        return True

    until("every rule was evaluated", check)
