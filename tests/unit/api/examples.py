"""Objects that tests share: good ones, and one bad one per rule.

The bad ones serve twice: Python's validation must find them here, and the API server must refuse those
marked `server` in tests/integration/crd.
"""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


def fleet(spec: Object | None = None, *, name: str = "smol", **metadata: Any) -> Object:
    """Return an InferenceService that is valid unless `spec` or `name` make it otherwise."""
    meta = {"name": name, "namespace": "team", "uid": "0d5f2c6e-1111-4222-8333-444455556666"} | metadata
    return {
        "apiVersion": "serving.torpor.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": meta,
        "spec": {"model": {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct"}} | (spec or {}),
    }


FULL: Object = {
    "model": {
        "uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct",
        "name": "smollm2",
        "revision": "main",
        "tokenSecretRef": {"name": "hf", "key": "token"},
        "cache": {"storageClassName": "fast", "size": "100Gi", "accessMode": "ReadWriteMany"},
    },
    "engine": {
        "type": "vLLM",
        "image": "vllm/vllm-openai:v0.33.0",
        "args": ["--max-model-len=8192", "--max-num-seqs", "64"],
        "env": [
            {"name": "VLLM_LOGGING_LEVEL", "value": "INFO"},
            {"name": "LICENCE", "valueFrom": {"secretKeyRef": {"name": "licence", "key": "key"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "32Gi"}, "requests": {"cpu": "4"}},
        "startupSeconds": 900,
        "podTemplate": {
            "labels": {"team": "search"},
            "annotations": {"example.com/cost-centre": "42"},
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
                        ]
                    }
                },
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 50,
                            "podAffinityTerm": {
                                "labelSelector": {"matchLabels": {"app": "batch"}},
                                "topologyKey": "kubernetes.io/hostname",
                            },
                        }
                    ]
                },
            },
            "topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone"}],
            "volumes": [
                {"name": "templates", "mountPath": "/templates", "configMap": {"name": "chat"}},
                {
                    "name": "scratch",
                    "mountPath": "/scratch",
                    "readOnly": False,
                    "emptyDir": {"sizeLimit": "1Gi"},
                },
            ],
            "priorityClassName": "inference",
            "runtimeClassName": "nvidia",
            "imagePullSecrets": [{"name": "registry"}],
        },
    },
    "scaling": {
        "mode": "Auto",
        "minReplicas": 0,
        "maxReplicas": 8,
        "signals": {"queueDepth": {"target": 4}, "kvCacheUtilization": {"targetPercent": 80}},
        "objectives": {"timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 50},
        "idleSeconds": 600,
        "schedule": {
            "timeZone": "Europe/Berlin",
            "windows": [
                {
                    "name": "office",
                    "days": ["Mon", "Tue", "Wed", "Thu", "Fri"],
                    "start": "08:00",
                    "end": "20:00",
                    "minReplicas": 1,
                    "maxReplicas": 6,
                    "readyBy": "Start",
                },
                {"name": "batch", "days": ["Sat"], "start": "22:00", "end": "06:00", "maxReplicas": 2},
            ],
            "outside": {"maxReplicas": 0},
            "exceptions": [{"name": "holidays", "dates": ["2026-12-25", "2028-02-29"], "maxReplicas": 0}],
            "whenClosed": "Wake",
            "whenClosedMaxReplicas": 1,
        },
    },
    "traffic": {
        "coldStart": {
            "response": "KeepAlive",
            "holdSeconds": 900,
            "unaryHoldSeconds": 300,
            "maxHeldRequests": 1000,
            "maxHeldMebibytes": 256,
        },
        "routing": "LeastLoaded",
        "maxQueueSeconds": 60,
        "maxOutputTokens": {"default": 1024, "maximum": 4096},
        "timeoutSeconds": {"default": 300, "maximum": 900},
    },
    "rollout": {"strategy": "Auto"},
    "drainSeconds": 600,
}


@dataclass(frozen=True)
class Bad:
    """
    An object that breaks one rule: where, a word of the message, and whether the API server refuses it too.
    """

    id: str
    object: Object
    path: str
    words: str
    server: bool = True


def _engine(**engine: Any) -> Object:
    return fleet({"engine": engine})


def _pod(**template: Any) -> Object:
    return _engine(podTemplate=template)


def _model(**model: Any) -> Object:
    return fleet({"model": {"uri": "hf://org/model"} | model})


def _volume(**volume: Any) -> Object:
    return _pod(volumes=[{"name": "data", "mountPath": "/data", "emptyDir": {}} | volume])


def _schedule(**schedule: Any) -> Object:
    return fleet({"scaling": {"schedule": {"timeZone": "UTC", "outside": {"maxReplicas": 0}} | schedule}})


def _window(**window: Any) -> Object:
    base = {"name": "day", "days": ["Mon"], "start": "08:00", "end": "20:00", "minReplicas": 1}
    return _schedule(windows=[{key: value for key, value in (base | window).items() if value is not None}])


def _objectives(**objectives: Any) -> Object:
    return fleet({"scaling": {"objectives": objectives}})


def _dates(*dates: str) -> Object:
    return _schedule(exceptions=[{"name": "off", "dates": list(dates), "maxReplicas": 0}])


OBJECTIVES = "spec.scaling.objectives"
TOKENS = "spec.traffic.maxOutputTokens"
TIMEOUT = "spec.traffic.timeoutSeconds"
SCHEDULE = "spec.scaling.schedule"
WINDOW = f"{SCHEDULE}.windows[0]"
DATE = f"{SCHEDULE}.exceptions[0].dates[0]"

NODE_TERM = (
    "spec.engine.podTemplate.affinity.nodeAffinity"
    ".requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
)


def _node_affinity(**term: Any) -> Object:
    terms = {"nodeSelectorTerms": [term]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


# Every operator of placement with values that fit it.
PLACEMENT: Object = {
    "engine": {
        "podTemplate": {
            "tolerations": [
                {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
            ],
            "affinity": _node_affinity(
                matchExpressions=[
                    {"key": "a", "operator": "In", "values": ["x", "y"]},
                    {"key": "b", "operator": "NotIn", "values": ["x"]},
                    {"key": "c", "operator": "Exists"},
                    {"key": "d", "operator": "DoesNotExist", "values": []},
                    {"key": "e", "operator": "Gt", "values": ["1"]},
                    {"key": "example.com/f", "operator": "Lt", "values": ["9"]},
                ],
                matchFields=[{"key": "metadata.name", "operator": "NotIn", "values": ["node-1.example"]}],
            )
            | {
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "labelSelector": {
                                "matchExpressions": [
                                    {"key": "a", "operator": "NotIn", "values": ["x"]},
                                    {"key": "b", "operator": "DoesNotExist"},
                                ]
                            },
                            "topologyKey": "kubernetes.io/hostname",
                        }
                    ]
                }
            },
            "volumes": [
                {"name": "a", "mountPath": "/a/..b/c.", "subPath": "x/.y/..z", "emptyDir": {}},
                {"name": "b", "mountPath": "/a", "emptyDir": {}},
            ],
        },
        "resources": {"limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "example.com/device": 1}},
    }
}

BAD = (
    Bad(
        "min-above-max",
        fleet({"scaling": {"minReplicas": 3, "maxReplicas": 2}}),
        "spec.scaling.minReplicas",
        "maxReplicas",
    ),
    Bad(
        "min-above-default-max",
        fleet({"scaling": {"minReplicas": 2}}),
        "spec.scaling.minReplicas",
        "maxReplicas",
    ),
    Bad("zero-max", fleet({"scaling": {"maxReplicas": 0}}), "spec.scaling.maxReplicas", "1"),
    Bad("negative-min", fleet({"scaling": {"minReplicas": -1}}), "spec.scaling.minReplicas", "0"),
    Bad("huge-max", fleet({"scaling": {"maxReplicas": 2**31}}), "spec.scaling.maxReplicas", "1000"),
    Bad("huge-drain", fleet({"drainSeconds": 2**31}), "spec.drainSeconds", "86400"),
    Bad("text-for-number", fleet({"scaling": {"maxReplicas": "3"}}), "spec.scaling.maxReplicas", "integer"),
    Bad("fraction", fleet({"scaling": {"maxReplicas": 1.5}}), "spec.scaling.maxReplicas", "integer"),
    Bad("no-model", fleet({"model": {}}), "spec.model.uri", "equired"),
    Bad("nul-in-name", _model(name="a\0b"), "spec.model.name", "letters"),
    Bad("newline-in-name", _model(name="a\nb"), "spec.model.name", "letters"),
    Bad("comma-in-name", _model(name="a,b"), "spec.model.name", "letters"),
    Bad("long-model-name", _model(name="m" * 253), "spec.model.name", "128"),
    Bad("nul-in-arg", _engine(args=["--x=\0"]), "spec.engine.args[0]", "control characters"),
    Bad("newline-in-arg", _engine(args=["--x=a\nb"]), "spec.engine.args[0]", "control characters"),
    Bad("nul-in-env", _engine(env=[{"name": "A", "value": "\0"}]), "spec.engine.env[0].value", "NUL"),
    Bad("our-flag", _engine(args=["--max-model-len=9", "--port=9"]), "spec.engine.args[1]", "Torpor"),
    Bad("our-flag-two-words", _engine(args=["--port", "9"]), "spec.engine.args[0]", "Torpor"),
    Bad("our-flag-underscores", _engine(args=["--served_model_name", "x"]), "spec.engine.args[0]", "Torpor"),
    Bad("our-flag-api-key", _engine(args=["--api-key=s"]), "spec.engine.args[0]", "Torpor"),
    Bad("64-kib-args", _engine(args=["x" * 8192] * 8), "spec.engine.args", "32768"),
    Bad("64-kib-arg", _engine(args=["x" * 65536]), "spec.engine.args[0]", "8192"),
    Bad(
        "our-env",
        _engine(env=[{"name": "TORPOR_MODEL_URI", "value": "x"}]),
        "spec.engine.env[0].name",
        "Torpor",
    ),
    Bad("vllm-port", _engine(env=[{"name": "VLLM_PORT", "value": "1"}]), "spec.engine.env[0].name", "Torpor"),
    Bad("env-digit", _engine(env=[{"name": "1A"}]), "spec.engine.env[0].name", "variable name"),
    Bad("env-twice", _engine(env=[{"name": "A"}, {"name": "A"}]), "spec.engine.env[1]", "A"),
    Bad(
        "env-two-sources",
        _engine(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
        "spec.engine.env[0]",
        "both value and valueFrom",
    ),
    Bad(
        "env-no-source",
        _engine(env=[{"name": "A", "valueFrom": {}}]),
        "spec.engine.env[0].valueFrom",
        "exactly one",
    ),
    Bad("unknown-scheme", _model(uri="s3://bucket/model"), "spec.model.uri", "unknown scheme"),
    Bad("no-scheme", _model(uri="org/model"), "spec.model.uri", "unknown scheme"),
    Bad("hf-three-parts", _model(uri="hf://a/b/c"), "spec.model.uri", "form"),
    Bad("pvc-upper-case", _model(uri="pvc://Claim/x"), "spec.model.uri", "form"),
    Bad("image-relative", _model(uri="image://models/x"), "spec.model.uri", "form"),
    Bad("climbing", _model(uri="pvc://claim/../x"), "spec.model.uri", "'..'"),
    Bad("unknown-engine", _engine(type="TGI"), "spec.engine.type", "vLLM"),
    Bad("cache-both", _model(cache={"claimName": "a", "size": "1Gi"}), "spec.model.cache", "exactly one"),
    Bad("cache-neither", _model(cache={}), "spec.model.cache", "exactly one"),
    Bad(
        "cache-class-alone",
        _model(cache={"claimName": "a", "storageClassName": "b"}),
        "spec.model.cache.storageClassName",
        "size",
    ),
    Bad("cache-size", _model(cache={"size": "-1Gi"}), "spec.model.cache.size", "match"),
    Bad(
        "quantity",
        _engine(resources={"limits": {"memory": "lots"}}),
        "spec.engine.resources.limits",
        "memory",
    ),
    Bad(
        "negative-quantity",
        _engine(resources={"limits": {"cpu": "-1"}}),
        "spec.engine.resources.limits",
        "cpu",
    ),
    Bad(  # a schema bounds numbers or texts, not what may be either
        "negative-number",
        _engine(resources={"limits": {"cpu": -1}}),
        "spec.engine.resources.limits",
        "not negative",
        False,
    ),
    Bad(
        "request-above-limit",
        _engine(resources={"limits": {"cpu": 1}, "requests": {"cpu": "1500m"}}),
        "spec.engine.resources.requests",
        "exceed limits",
    ),
    Bad(
        "half-a-gpu",
        _engine(resources={"limits": {"nvidia.com/gpu": "500m"}}),
        "spec.engine.resources.limits",
        "whole",
        False,
    ),
    Bad(
        "gpu-request-alone",
        _engine(resources={"requests": {"nvidia.com/gpu": 1}}),
        "spec.engine.resources.requests",
        "equal limits",
        False,
    ),
    Bad(
        "unknown-resource",
        _engine(resources={"limits": {"gpu": 1}}),
        "spec.engine.resources.limits",
        "nvidia.com/gpu",
        False,
    ),
    Bad("label-key", _pod(labels={"no good": "x"}), "spec.engine.podTemplate.labels", "key", False),
    Bad("long-label-key", _pod(labels={"a" * 64: "x"}), "spec.engine.podTemplate.labels", "key", False),
    Bad(
        "long-label-prefix",
        _pod(labels={"a" * 254 + "/b": "x"}),
        "spec.engine.podTemplate.labels",
        "key",
        False,
    ),
    Bad("label-prefix", _pod(labels={"a..b/c": "x"}), "spec.engine.podTemplate.labels", "key", False),
    Bad("empty-cache", _model(cache={"size": "0"}), "spec.model.cache.size", "at least one byte"),
    Bad("part-of-a-byte", _model(cache={"size": "999m"}), "spec.model.cache.size", "at least one byte"),
    Bad(
        "name-of-a-class",
        _pod(priorityClassName="a..b"),
        "spec.engine.podTemplate.priorityClassName",
        "match",
    ),
    Bad(
        "key-of-a-secret",
        _model(tokenSecretRef={"name": "a", "key": "..b"}),
        "spec.model.tokenSecretRef.key",
        "match",
    ),
    Bad(
        "two-at-one-path",
        _pod(volumes=[{"name": name, "mountPath": "/data", "emptyDir": {}} for name in ("a", "b")]),
        "spec.engine.podTemplate.volumes",
        "different mountPaths",
    ),
    *(
        Bad(f"path-{path}", _volume(mountPath=path), "spec.engine.podTemplate.volumes[0].mountPath", words)
        for path, words in {
            "//cache": "'//'",
            "/data/": "final '/'",
            "/": "2 characters",
            "/x/../cache": "'..'",
            "/./cache": "'.'",
            "data": "absolute",
        }.items()
    ),
    Bad("sub-path-absolute", _volume(subPath="/x"), "spec.engine.podTemplate.volumes[0].subPath", "relative"),
    Bad("sub-path-climbs", _volume(subPath="a/../.."), "spec.engine.podTemplate.volumes[0].subPath", "'..'"),
    Bad(
        "toleration-seconds",
        _pod(tolerations=[{"operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}]),
        "spec.engine.podTemplate.tolerations[0].tolerationSeconds",
        "NoExecute",
    ),
    *(
        Bad(
            f"node-{operator}-{len(values)}",
            _pod(
                affinity=_node_affinity(
                    matchExpressions=[{"key": "a", "operator": operator, "values": values}]
                )
            ),
            f"{NODE_TERM}.matchExpressions[0].values",
            "fit the operator",
        )
        for operator, values in (("In", []), ("Exists", ["x"]), ("Gt", ["1", "2"]), ("Lt", []))
    ),
    Bad(
        "node-In-absent",
        _pod(affinity=_node_affinity(matchExpressions=[{"key": "a", "operator": "NotIn"}])),
        f"{NODE_TERM}.matchExpressions[0].values",
        "fit the operator",
    ),
    Bad(
        "node-field",
        _pod(affinity=_node_affinity(matchFields=[{"key": "spec.x", "operator": "In", "values": ["a"]}])),
        f"{NODE_TERM}.matchFields[0].key",
        "metadata.name",
    ),
    Bad(
        "label-selector",
        _pod(
            affinity={
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]},
                            "topologyKey": "zone",
                        }
                    ]
                }
            }
        ),
        "spec.engine.podTemplate.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]",
        "fit the operator",
    ),
    Bad(
        "our-label", _pod(labels={"app.kubernetes.io/name": "x"}), "spec.engine.podTemplate.labels", "Torpor"
    ),
    Bad(
        "our-annotation",
        _pod(annotations={"serving.torpor.dev/revision": "x"}),
        "spec.engine.podTemplate.annotations",
        "Torpor",
    ),
    Bad("our-volume", _volume(name="cache"), "spec.engine.podTemplate.volumes[0].name", "Torpor"),
    Bad("our-path", _volume(mountPath="/cache/x"), "spec.engine.podTemplate.volumes[0].mountPath", "Torpor"),
    Bad(
        "models-path",
        _volume(mountPath="/models"),
        "spec.engine.podTemplate.volumes[0].mountPath",
        "Torpor",
    ),
    Bad("double-dash", _engine(args=["--"]), "spec.engine.args[0]", "Torpor"),
    Bad(
        "no-source",
        _pod(volumes=[{"name": "a", "mountPath": "/a"}]),
        "spec.engine.podTemplate.volumes[0]",
        "exactly one",
    ),
    Bad(
        "two-sources",
        _volume(secret={"secretName": "s"}),
        "spec.engine.podTemplate.volumes[0]",
        "exactly one",
    ),
    Bad(
        "toleration-no-key",
        _pod(tolerations=[{"effect": "NoSchedule"}]),
        "spec.engine.podTemplate.tolerations[0]",
        "key",
    ),
    Bad("no-token-bound", fleet({"traffic": {"maxOutputTokens": {}}}), TOKENS, "default or maximum"),
    Bad(
        "tokens-above-their-maximum",
        fleet({"traffic": {"maxOutputTokens": {"default": 9, "maximum": 8}}}),
        f"{TOKENS}.default",
        "must not exceed maximum",
    ),
    Bad("no-tokens", fleet({"traffic": {"maxOutputTokens": {"maximum": 0}}}), f"{TOKENS}.maximum", "1"),
    Bad(
        "tokens-without-end",
        fleet({"traffic": {"maxOutputTokens": {"default": 10_000_001}}}),
        f"{TOKENS}.default",
        "10000000",
    ),
    Bad("no-time-bound", fleet({"traffic": {"timeoutSeconds": {}}}), TIMEOUT, "default or maximum"),
    Bad(
        "time-above-its-maximum",
        fleet({"traffic": {"timeoutSeconds": {"default": 9, "maximum": 8}}}),
        f"{TIMEOUT}.default",
        "must not exceed maximum",
    ),
    Bad("no-time", fleet({"traffic": {"timeoutSeconds": {"default": 0}}}), f"{TIMEOUT}.default", "1"),
    Bad(
        "time-of-days",
        fleet({"traffic": {"timeoutSeconds": {"maximum": 86_401}}}),
        f"{TIMEOUT}.maximum",
        "86400",
    ),
    Bad("odd-mode", fleet({"scaling": {"mode": "Off"}}), "spec.scaling.mode", "Recommend"),
    Bad("no-objective", _objectives(), OBJECTIVES, "timeToFirstTokenMilliseconds or"),
    Bad(
        "ttft-in-seconds",
        _objectives(timeToFirstTokenMilliseconds=2),
        f"{OBJECTIVES}.timeToFirstTokenMilliseconds",
        "10",
    ),
    Bad(
        "ttft-of-hours",
        _objectives(timeToFirstTokenMilliseconds=600_001),
        f"{OBJECTIVES}.timeToFirstTokenMilliseconds",
        "600000",
    ),
    Bad(
        "itl-of-nothing",
        _objectives(interTokenLatencyMilliseconds=0),
        f"{OBJECTIVES}.interTokenLatencyMilliseconds",
        "1",
    ),
    Bad(
        "itl-of-minutes",
        _objectives(interTokenLatencyMilliseconds=60_001),
        f"{OBJECTIVES}.interTokenLatencyMilliseconds",
        "60000",
    ),
    Bad(
        "itl-with-a-point",
        _objectives(interTokenLatencyMilliseconds=12.5),
        f"{OBJECTIVES}.interTokenLatencyMilliseconds",
        "integer",
    ),
    Bad("unknown-zone", _schedule(timeZone="Europe/Berlim"), f"{SCHEDULE}.timeZone", "IANA", server=False),
    Bad("zone-is-a-folder", _schedule(timeZone="Europe"), f"{SCHEDULE}.timeZone", "IANA", server=False),
    Bad("zone-is-no-place", _schedule(timeZone="Factory"), f"{SCHEDULE}.timeZone", "IANA", server=False),
    Bad("zone-climbs", _schedule(timeZone="../../etc/passwd"), f"{SCHEDULE}.timeZone", "IANA"),
    Bad("zone-is-a-path", _schedule(timeZone="/etc/localtime"), f"{SCHEDULE}.timeZone", "IANA"),
    Bad("zone-is-dots", _schedule(timeZone=".."), f"{SCHEDULE}.timeZone", "IANA"),
    Bad("zone-is-empty", _schedule(timeZone=""), f"{SCHEDULE}.timeZone", "1"),
    Bad("zone-with-nul", _schedule(timeZone="UTC\0"), f"{SCHEDULE}.timeZone", "IANA"),
    Bad("zone-is-code", _schedule(timeZone="__init__.py"), f"{SCHEDULE}.timeZone", "IANA"),
    Bad("zone-is-long", _schedule(timeZone="A" * 5000), f"{SCHEDULE}.timeZone", "64"),
    Bad("schedule-of-nothing", fleet({"scaling": {"schedule": {"timeZone": "UTC"}}}), SCHEDULE, "windows"),
    Bad("schedule-no-zone", fleet({"scaling": {"schedule": {}}}), f"{SCHEDULE}.timeZone", "equired"),
    Bad("hour-25", _window(start="25:00"), f"{WINDOW}.start", "00:00 to 23:59"),
    Bad("start-at-24", _window(start="24:00"), f"{WINDOW}.start", "00:00 to 23:59"),
    Bad("end-after-24", _window(end="24:01"), f"{WINDOW}.end", "00:00 to 24:00"),
    Bad("minute-60", _window(end="19:60"), f"{WINDOW}.end", "00:00 to 24:00"),
    Bad("short-time", _window(start="8:00"), f"{WINDOW}.start", "5"),
    Bad("time-as-number", _window(end=1200), f"{WINDOW}.end", "text"),
    Bad("no-length", _window(end="08:00"), f"{WINDOW}.end", "24:00 for a whole day"),
    Bad("no-days", _window(days=[]), f"{WINDOW}.days", "1"),
    Bad("odd-day", _window(days=["Monday"]), f"{WINDOW}.days[0]", "Mon"),
    Bad("day-twice", _window(days=["Mon", "Mon"]), f"{WINDOW}.days", "twice"),
    Bad("window-of-nothing", _window(minReplicas=None), WINDOW, "minReplicas or maxReplicas"),
    Bad("window-upside-down", _window(maxReplicas=0), f"{WINDOW}.minReplicas", "maxReplicas"),
    Bad("ready-with-none", _window(minReplicas=0, readyBy="Start"), f"{WINDOW}.readyBy", "minReplicas"),
    Bad("ready-by-end", _window(readyBy="End"), f"{WINDOW}.readyBy", "Start"),
    Bad(
        "windows-alike",
        _schedule(
            windows=[{"name": "a", "days": ["Mon"], "start": "01:00", "end": "02:00", "minReplicas": 1}] * 2
        ),
        f"{SCHEDULE}.windows[1]",
        "unique",
    ),
    Bad("no-such-date", _dates("2026-02-30"), DATE, "date that exists"),
    Bad("no-leap-day", _dates("2027-02-29"), DATE, "date that exists"),
    Bad("date-and-time", _dates("2026-12-25T00:00:00Z"), DATE, "10"),
    Bad("old-date", _dates("1999-12-31"), DATE, "2000", server=False),
    Bad("date-twice", _dates("2026-12-25", "2026-12-25"), DATE.removesuffix("[0]"), "twice"),
    Bad("no-dates", _dates(), DATE.removesuffix("[0]"), "1"),
    Bad("outside-of-nothing", _schedule(outside={}), f"{SCHEDULE}.outside", "minReplicas or maxReplicas"),
    Bad("closed-to-none", _schedule(whenClosedMaxReplicas=0), f"{SCHEDULE}.whenClosedMaxReplicas", "1"),
    Bad("closed-somehow", _schedule(whenClosed="Hold"), f"{SCHEDULE}.whenClosed", "Reject"),
    Bad("long-name", fleet(name="n" * 253), "metadata.name", "45"),
    Bad("46-characters", fleet(name="n" * 46), "metadata.name", "45"),
    Bad("digit-first", fleet(name="1abc"), "metadata.name", "letter first"),
    Bad("dot-in-name", fleet(name="a.b"), "metadata.name", "DNS-1035"),
)
