"""Random valid specs, wide enough to reach every branch of the builders."""

from typing import Any

from hypothesis import strategies as st

Spec = dict[str, Any]
NAME = st.from_regex(r"\A[a-z]([-a-z0-9]{0,20}[a-z0-9])?\Z")
PLAIN = st.text(alphabet="abcXYZ019-_.=/ $(){}\"'é", min_size=1, max_size=20)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Spec]:
    """Return objects with any subset of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


def _with(
    required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[Spec]:
    return st.fixed_dictionaries(required, optional=optional)


URIS = st.sampled_from(["hf://org/model", "hf://gpt2", "pvc://claim/a/b", "pvc://claim", "image:///models/x"])
CACHES = _with({"claimName": NAME}) | _with(
    {"size": st.sampled_from(["1Gi", "100Gi", "1e12"])},
    storageClassName=NAME,
    accessMode=st.sampled_from(["ReadWriteOnce", "ReadWriteMany"]),
)
MODELS = _with(
    {"uri": URIS},
    name=st.sampled_from(["llm", "org/model", "a.b:c@d+e", "M"]),
    revision=st.sampled_from(["main", "v1.0", "refs/pr/1"]),
    tokenSecretRef=_with({"name": NAME}, key=st.sampled_from(["token", "hf.token"])),
    cache=CACHES,
)
ENV = st.lists(
    _with({"name": st.sampled_from(["A", "B", "HF_TOKEN", "HF_HOME", "HOME"])}, value=PLAIN)
    | _with(
        {
            "name": st.sampled_from(["C", "D"]),
            "valueFrom": st.sampled_from(
                [
                    {"secretKeyRef": {"name": "s", "key": "k"}},
                    {"configMapKeyRef": {"name": "c", "key": "k", "optional": True}},
                    {"fieldRef": {"fieldPath": "status.podIP"}},
                ]
            ),
        }
    ),
    max_size=4,
    unique_by=lambda it: it["name"],
)
RESOURCES = st.sampled_from(
    [
        {},
        {"limits": {"nvidia.com/gpu": 1}},
        {"limits": {"nvidia.com/gpu": "2", "memory": "16Gi"}, "requests": {"cpu": "500m", "memory": 1024}},
        {"limits": {"cpu": 2}, "requests": {"cpu": "1"}},
    ]
)
VOLUMES = st.lists(
    st.one_of(
        *(
            _with(
                {
                    "name": NAME.map(lambda it: f"u{it}"),
                    "mountPath": st.sampled_from(["/data", "/mnt/x"]),
                    **{kind: source},
                },
                readOnly=st.booleans(),
                subPath=st.just("sub"),
            )
            for kind, source in {
                "persistentVolumeClaim": _with({"claimName": NAME}),
                "configMap": _with({"name": NAME}),
                "secret": _with({"secretName": NAME}),
                "emptyDir": _some(medium=st.just("Memory"), sizeLimit=st.just("1Gi")),
            }.items()
        )
    ),
    max_size=2,
    unique_by=(lambda it: it["name"], lambda it: it["mountPath"]),
)
POD_TEMPLATES = _some(
    labels=st.dictionaries(st.sampled_from(["team", "example.com/x"]), st.sampled_from(["a", ""])),
    annotations=st.dictionaries(st.sampled_from(["note", "example.com/y"]), PLAIN),
    nodeSelector=st.dictionaries(st.just("zone"), st.just("a")),
    tolerations=st.lists(
        st.sampled_from([{"operator": "Exists"}, {"key": "gpu", "value": "x", "effect": "NoSchedule"}]),
        max_size=2,
    ),
    topologySpreadConstraints=st.sampled_from(
        [
            [],
            [{"topologyKey": "zone"}],
            [{"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}],
        ]
    ),
    volumes=VOLUMES,
    priorityClassName=NAME,
    runtimeClassName=NAME,
    imagePullSecrets=st.lists(_with({"name": NAME}), max_size=2, unique_by=lambda it: it["name"]),
)
ENGINES = _some(
    type=st.sampled_from(["vLLM", "Simulated"]),
    image=st.sampled_from(["vllm/vllm-openai:v0.33.0", "localhost:5000/x@sha256:" + "0" * 64]),
    args=st.lists(PLAIN.map(lambda it: f"--x={it}"), max_size=3),
    env=ENV,
    resources=RESOURCES,
    startupSeconds=st.integers(10, 86_400),
    podTemplate=POD_TEMPLATES,
)
TIMES = st.sampled_from(["00:00", "02:30", "08:00", "12:15", "20:00", "23:59"])
WINDOWS = (
    st.tuples(TIMES, TIMES | st.just("24:00"))
    .filter(lambda it: it[0] != it[1])
    .flatmap(
        lambda it: _with(
            {
                "name": NAME,
                "days": st.lists(st.sampled_from(["Mon", "Thu", "Sun"]), min_size=1, max_size=3, unique=True),
                "start": st.just(it[0]),
                "end": st.just(it[1]),
                "minReplicas": st.integers(1, 5),
            },
            maxReplicas=st.integers(5, 9),
            readyBy=st.just("Start"),
        )
    )
)
SCHEDULES = _with(
    {
        "timeZone": st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"]),
        "windows": st.lists(WINDOWS, min_size=1, max_size=3, unique_by=lambda it: it["name"]),
    },
    outside=_with({"maxReplicas": st.integers(0, 3)}),
    exceptions=st.sampled_from([[], [{"name": "off", "dates": ["2026-12-25"], "maxReplicas": 0}]]),
    whenClosed=st.sampled_from(["Wake", "Reject"]),
    whenClosedMaxReplicas=st.integers(1, 3),
)
SCALINGS = st.integers(1, 1000).flatmap(
    lambda most: _with(
        {"maxReplicas": st.just(most)},
        minReplicas=st.integers(0, most),
        mode=st.sampled_from(["Auto", "Recommend", "Paused"]),
        replicas=st.integers(0, 1000),
        objectives=_with(
            {"timeToFirstTokenMilliseconds": st.integers(10, 600_000)},
            interTokenLatencyMilliseconds=st.integers(1, 60_000),
        )
        | _with({"interTokenLatencyMilliseconds": st.integers(1, 60_000)}),
        idleSeconds=st.integers(1, 604_800),
        schedule=SCHEDULES,
    )
)
BOUNDS = st.integers(1, 86_400).flatmap(
    lambda most: _with({"maximum": st.just(most)}, default=st.integers(1, most))
) | _with({"default": st.integers(1, 86_400)})
SPECS = _with(
    {"model": MODELS},
    engine=ENGINES,
    scaling=SCALINGS,
    traffic=_with({}, maxOutputTokens=BOUNDS, timeoutSeconds=BOUNDS),
    rollout=_some(strategy=st.sampled_from(["Auto", "Surge", "InPlace"])),
    drainSeconds=st.integers(0, 86_400),
)
