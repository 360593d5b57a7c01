"""The engine: which server runs in each replica, with which flags, variables and resources.

Flags and variables are the user's except for those that Torpor stands on (`engine_rules`). Devices are
counted the way Kubernetes counts them: whole pieces, never overcommitted.
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
    Rule,
    list_map,
    matching,
)
from torpor.api.engine_rules import MAX_ARGS_CHARACTERS, NOT_OUR_ENV, NOT_OUR_FLAG
from torpor.api.pod import PodTemplate

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


def _resources_known(it: "Resources") -> bool:
    return all(quantity.is_known(name) for name in (*(it.limits or {}), *(it.requests or {})))


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
            message=(
                "has a resource that no container can book; use cpu, memory, ephemeral-storage, "
                "hugepages-SIZE or a device with its domain such as nvidia.com/gpu"
            ),
            holds=_resources_known,
            field="limits",
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
    """
    More environment variables for the engine. They win over those that Torpor sets for caches and the token,
    such as HF_HOME and HF_TOKEN.
    """
    resources: Resources = Resources()
    """What each replica books on its node."""
    startup_seconds: Annotated[int, Field(ge=10, le=86_400)] = 1800
    """
    The longest a replica may take from the start of its container to its first token, the model's download
    included; then the kubelet restarts it.
    """
    pod_template: PodTemplate = PodTemplate()
    """Placement, access and mounts of the pods. A change rolls the fleet."""

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
