"""The specification: what a user writes in an InferenceService.

The docstring under a field is its description in the CRD, so `kubectl explain isvc.spec` reads this file.
Units are in the names, numbers are integers, everything has a bound: the API server refuses rules whose
cost it cannot bound. A field is here only if something reads it. Fields without a default (`replicas`,
`idleSeconds`) mean something by being absent.
"""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from torpor.api import quantity
from torpor.api.base import (
    KEYS,
    LIST_ATOMIC,
    NO_NUL,
    ONE_LINE,
    ApiModel,
    DataKey,
    ObjectName,
    Quantity,
    QuantityText,
    Rule,
    list_map,
    matching,
)
from torpor.api.engine_rules import MAX_ARGS_CHARACTERS, NOT_OUR_ENV, NOT_OUR_FLAG
from torpor.api.pod import PodTemplate
from torpor.api.uri import UriText

MODEL_NAME: Final = matching(
    r"[A-Za-z0-9]([-A-Za-z0-9._:/@+]*[A-Za-z0-9])?",
    "must be letters, digits and - . _ : / @ +, first and last a letter or digit; choose another name",
)
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=128), MODEL_NAME]
REVISION: Final = matching(
    r"[A-Za-z0-9][-A-Za-z0-9._/]*",
    "must be a branch, tag or commit (letters, digits and - . _ /); correct it",
)
Revision = Annotated[str, StringConstraints(min_length=1, max_length=128), REVISION]
IMAGE_NAME: Final = matching(
    r"[A-Za-z0-9][-A-Za-z0-9._:/@]*", "must be an image name such as vllm/vllm-openai:v0.33.0; correct it"
)
ImageName = Annotated[str, StringConstraints(min_length=1, max_length=512), IMAGE_NAME]
ENV_NAME: Final = matching(
    r"[A-Za-z_][A-Za-z0-9_.-]*",
    "must be a variable name (letters, digits and _ . -, no digit first); correct it",
)
EnvName = Annotated[str, StringConstraints(min_length=1, max_length=128), ENV_NAME, NOT_OUR_ENV]
Arg = Annotated[str, StringConstraints(min_length=1, max_length=8192), ONE_LINE, NOT_OUR_FLAG]
EnvText = Annotated[str, StringConstraints(max_length=8192), NO_NUL]


class SecretKey(ApiModel):
    """One key of a Secret in the fleet's namespace."""

    name: ObjectName
    """The Secret's name."""
    key: DataKey = "token"
    """The key whose value is used."""


class ModelCache(ApiModel):
    """A volume for weights and compiled kernels, so that the next cold start skips the download."""

    claim_name: ObjectName | None = None
    """An existing PersistentVolumeClaim. Excludes size: give one of the two."""
    size: QuantityText | None = None
    """
    Size of a claim that Torpor makes for the fleet, such as 100Gi; it goes when the fleet is deleted. May
    grow.
    """
    storage_class_name: ObjectName | None = None
    """StorageClass of the claim that Torpor makes. Absent: the cluster's default. Cannot be changed."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    """
    Access mode of the claim that Torpor makes. ReadWriteOnce keeps all replicas on one node. Cannot be
    changed.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.claimName) != has(self.size)",
            message="must have either claimName or size; give exactly one of the two",
            holds=lambda it: (it.claim_name is None) != (it.size is None),
        ),
        Rule(
            cel="!has(self.storageClassName) || has(self.size)",
            message="is only for a claim that Torpor makes; give size too, or remove it",
            holds=lambda it: it.storage_class_name is None or it.size is not None,
            field="storageClassName",
        ),
        Rule(
            cel=(
                "!has(self.size) || !has(oldSelf.size) || ("
                "has(self.storageClassName) == has(oldSelf.storageClassName)"
                " && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
                " && (!has(self.accessMode) || !has(oldSelf.accessMode)"
                " || self.accessMode == oldSelf.accessMode))"
            ),
            message="cannot change storageClassName or accessMode; make a claim yourself and give claimName",
            holds=lambda _: True,
        ),
        Rule(
            cel=(
                "!has(self.size) || !has(oldSelf.size) || !isQuantity(self.size) || !isQuantity(oldSelf.size)"
                " || !quantity(self.size).isLessThan(quantity(oldSelf.size))"
            ),
            message="cannot shrink; keep the old size or give the claimName of a smaller claim",
            holds=lambda _: True,
            field="size",
        ),
    )


class Model(ApiModel):
    """The model: where it comes from and what clients call it."""

    uri: UriText
    """
    Where the engine finds the model: hf://ORG/NAME (Hugging Face Hub), pvc://CLAIM/PATH (a volume of this
    namespace, mounted read-only) or image:///PATH (a directory in the engine's image).
    """
    name: ModelName | None = None
    """What clients put in "model". Absent: the object's name. NAMESPACE/NAME always works too."""
    revision: Revision = "main"
    """Branch, tag or commit of an hf:// model."""
    token_secret_ref: SecretKey | None = None
    """Secret with the access token for a gated hf:// model."""
    cache: ModelCache | None = None
    """Volume for weights and compiled kernels. Absent: each pod downloads to its own disk."""


class SecretKeySource(ApiModel):
    """A key of a Secret."""

    name: ObjectName
    """The Secret's name."""
    key: DataKey
    """The key whose value is used."""
    optional: bool = False
    """Whether the pod starts without it."""


class ConfigMapKeySource(ApiModel):
    """A key of a ConfigMap."""

    name: ObjectName
    """The ConfigMap's name."""
    key: DataKey
    """The key whose value is used."""
    optional: bool = False
    """Whether the pod starts without it."""


class FieldSource(ApiModel):
    """A field of the pod."""

    field_path: Annotated[
        str,
        StringConstraints(
            min_length=1, max_length=512, pattern=r"^(metadata|spec|status)\.[^\x00-\x1f\x7f]+$"
        ),
    ]
    """The field's path, such as status.podIP or metadata.labels['key']."""


class EnvSource(ApiModel):
    """Where a variable's value comes from. Exactly one source."""

    secret_key_ref: SecretKeySource | None = None
    """A key of a Secret in the fleet's namespace."""
    config_map_key_ref: ConfigMapKeySource | None = None
    """A key of a ConfigMap in the fleet's namespace."""
    field_ref: FieldSource | None = None
    """A field of the pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)]"
                ".filter(x, x).size() == 1"
            ),
            message="must have exactly one source; give one of secretKeyRef, configMapKeyRef, fieldRef",
            holds=lambda it: [it.secret_key_ref, it.config_map_key_ref, it.field_ref].count(None) == 2,
        ),
    )


class EnvVar(ApiModel):
    """An environment variable of the engine."""

    name: EnvName
    """The variable's name. TORPOR_*, VLLM_PORT and VLLM_API_KEY are refused."""
    value: EnvText | None = None
    """Its value; $(NAME) refers to another variable, as in any pod. Excludes valueFrom."""
    value_from: EnvSource | None = None
    """Where its value comes from. Excludes value."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(has(self.value) && has(self.valueFrom))",
            message="cannot have both value and valueFrom; remove one",
            holds=lambda it: it.value is None or it.value_from is None,
        ),
    )


Quantities = Annotated[dict[str, Quantity], Field(max_length=16), KEYS]


def _requests_fit(it: "Resources") -> bool:
    limits = it.limits or {}
    return all(
        name not in limits or quantity.parse(amount) <= quantity.parse(limits[name])
        for name, amount in (it.requests or {}).items()
    )


def _extended_whole(it: "Resources") -> bool:
    amounts = [*(it.limits or {}).items(), *(it.requests or {}).items()]
    return all(
        quantity.is_whole(quantity.parse(amount)) for name, amount in amounts if quantity.is_extended(name)
    )


def _extended_equal(it: "Resources") -> bool:
    limits = it.limits or {}
    return all(
        name in limits and quantity.parse(limits[name]) == quantity.parse(amount)
        for name, amount in (it.requests or {}).items()
        if quantity.is_extended(name)
    )


class Resources(ApiModel):
    """What each replica books on its node, in Kubernetes' words."""

    limits: Quantities | None = None
    """The most that a replica may use; GPUs go here, such as nvidia.com/gpu: 1."""
    requests: Quantities | None = None
    """What the scheduler sets aside. Absent: the limits."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits)"
                " || !isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k]))"
                " || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)"
            ),
            message="must not exceed limits; lower the request or raise the limit",
            holds=_requests_fit,
            field="requests",
        ),
        Rule(
            cel="",
            message="must count devices in whole pieces; write an integer",
            holds=_extended_whole,
            field="limits",
        ),
        Rule(
            cel="",
            message="must equal limits for devices (nvidia.com/gpu …); remove them from requests",
            holds=_extended_equal,
            field="requests",
        ),
    )


class Engine(ApiModel):
    """The model server that runs in each replica."""

    type: Literal["vLLM", "Simulated"] = "vLLM"
    """
    vLLM runs "vllm serve". Simulated runs Torpor's own stand-in with the same HTTP surface and metrics and no
    model, for trials without a GPU.
    """
    image: ImageName | None = None
    """
    Image of the engine. Absent: vllm/vllm-openai:v0.33.0, or for Simulated the one this installation came
    with.
    """
    args: Annotated[list[Arg], Field(max_length=256), LIST_ATOMIC] = Field(default_factory=list)
    """
    More flags for the engine, such as --max-model-len=8192; together at most 32768 characters. Refused are
    those that Torpor sets itself: --host, --port, --model, --served-model-name, --api-key,
    --shutdown-timeout and the like.
    """
    env: Annotated[list[EnvVar], Field(max_length=128), list_map("name")] = Field(default_factory=list)
    """More environment variables for the engine."""
    resources: Resources = Resources()
    """What each replica books on its node."""
    startup_seconds: Annotated[int, Field(ge=10, le=86_400)] = 1800
    """
    The longest a replica may take until its first token, download included; then the kubelet restarts it.
    """
    pod_template: PodTemplate = PodTemplate()
    """Placement, access and mounts of the pods."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!has(self.args) || self.args.map(a, a.size()).sum() <= {MAX_ARGS_CHARACTERS}",
            message=(
                f"must have at most {MAX_ARGS_CHARACTERS} characters together; "
                "put long values into a ConfigMap and mount it with podTemplate.volumes"
            ),
            holds=lambda it: sum(map(len, it.args)) <= MAX_ARGS_CHARACTERS,
            field="args",
        ),
    )


class QueueDepth(ApiModel):
    """Requests that wait, at the engines and at the gateway."""

    target: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Waiting requests per replica that are fine; more of them add replicas."""


class KvCacheUtilization(ApiModel):
    """How full the engines' KV caches are."""

    target_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Mean utilization that is fine; above it replicas are added."""


class Signals(ApiModel):
    """What the number of replicas follows. Each signal gives a number, the largest wins."""

    queue_depth: QueueDepth = QueueDepth()
    """Requests that wait, at the engines and at the gateway."""
    kv_cache_utilization: KvCacheUtilization = KvCacheUtilization()
    """How full the engines' KV caches are."""


class Scaling(ApiModel):
    """How many replicas, and when none."""

    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 0
    """The fewest replicas. 0 lets the fleet sleep."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """The most replicas."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """
    The scale subresource's field. Absent: Torpor decides. Present (kubectl scale, an HPA, KEDA): this
    number holds regardless of minReplicas and maxReplicas, and the condition ExternallyScaled says so.
    Remove it to hand back.
    """
    signals: Signals = Signals()
    """What the number of replicas follows."""
    idle_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    """
    How long nothing may have happened before the fleet goes to zero, where minReplicas is 0. Absent: 600.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            message="must not exceed maxReplicas; lower minReplicas or raise maxReplicas",
            holds=lambda it: it.min_replicas <= it.max_replicas,
            field="minReplicas",
        ),
    )


class ColdStart(ApiModel):
    """What happens to requests that arrive while no replica is ready. Limits are per gateway process."""

    response: Literal["Hold", "KeepAlive", "Reject"] = "KeepAlive"
    """
    Hold: wait silently. KeepAlive: streaming requests get SSE comments while they wait, so that proxies do
    not cut them; others wait silently. Reject: 503 with Retry-After at once; the fleet wakes all the same.
    """
    hold_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    """The longest a streaming request is held."""
    unary_hold_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """The longest any other request is held; never longer than holdSeconds."""
    max_held_requests: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """The most requests held at once."""
    max_held_mebibytes: Annotated[int, Field(ge=1, le=65_536)] = 256
    """The most memory that held requests may take."""


class Traffic(ApiModel):
    """How the gateway treats the fleet's requests."""

    cold_start: ColdStart = ColdStart()
    """What happens to requests that arrive while no replica is ready."""
    max_queue_seconds: Annotated[int, Field(ge=0, le=86_400)] = 60
    """
    The longest a request waits at the gateway while all replicas are busy and none is starting; then 429 with
    Retry-After. While one starts, the limits of coldStart apply.
    """


class Rollout(ApiModel):
    """How a changed pod template reaches the replicas."""

    strategy: Literal["Auto", "Surge", "InPlace"] = "Auto"
    """
    Surge: start a new replica before an old one stops. InPlace: stop one first, for clusters without a
    spare GPU; requests are held meanwhile. Auto: Surge, and InPlace when the new replica finds no room for
    60 seconds.
    """


class InferenceServiceSpec(ApiModel):
    """The wished-for fleet."""

    model: Model
    """The model: where it comes from and what clients call it."""
    engine: Engine = Engine()
    """The model server that runs in each replica."""
    scaling: Scaling = Scaling()
    """How many replicas, and when none."""
    traffic: Traffic = Traffic()
    """How the gateway treats the fleet's requests."""
    rollout: Rollout = Rollout()
    """How a changed pod template reaches the replicas."""
    drain_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    """The longest a stopping replica may take to finish what it runs; then what is left is cut."""
