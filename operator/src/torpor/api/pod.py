"""The part of a pod that a user may shape: a narrow, typed set instead of core's whole PodTemplateSpec.

Inlined, core's schema is half a megabyte, more than client-side apply can carry, and it would let a user
break what Torpor promises (security, probes, drain). What is here is what placement and access need: where
pods run, under which priority and runtime, what is mounted. Field names and meanings are Kubernetes' own,
except `volumes`, which joins a volume with its mount because an engine pod has one container to mount it
in.

What it refuses: host paths, privileges, other containers, probes.
"""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from torpor.api.base import (
    KEYS,
    LIST_ATOMIC,
    MAP_ATOMIC,
    NO_NUL,
    AbsolutePath,
    ApiModel,
    LabelKey,
    LabelName,
    LabelValue,
    ObjectName,
    QuantityText,
    RelativePath,
    Rule,
    list_map,
)
from torpor.api.constants import (
    CACHE_DIR,
    LAUNCHER_DIR,
    MODELS_DIR,
    RESERVED_KEY_PREFIXES,
    TUNING_DIR,
    TUNING_VOLUME,
)

OUR_VOLUMES: Final = ("torpor", "cache", "tmp", "shm", "model", TUNING_VOLUME)
OUR_PATHS: Final = (
    LAUNCHER_DIR,
    CACHE_DIR,
    MODELS_DIR,
    "/tmp",  # noqa: S108 - paths in the pod
    "/dev/shm",  # noqa: S108
    TUNING_DIR,
)

_KEY_GUARD: Final = " || ".join(f"k.startsWith('{prefix}')" for prefix in RESERVED_KEY_PREFIXES)
NOT_OUR_KEYS: Final = Rule(
    cel=f"self.all(k, !({_KEY_GUARD}))",
    message=f"must not use keys of Torpor's own ({'*, '.join(RESERVED_KEY_PREFIXES)}*); choose another",
    holds=lambda mapping: not any(key.startswith(RESERVED_KEY_PREFIXES) for key in mapping),
)
NOT_OUR_VOLUME: Final = Rule(
    cel=f"!(self in [{', '.join(repr(name) for name in OUR_VOLUMES)}])",
    message=f"must not be one of Torpor's own volumes ({', '.join(OUR_VOLUMES)}); choose another name",
    holds=lambda name: name not in OUR_VOLUMES,
)


def _outside_our_paths(path: str) -> bool:
    return not any(path == ours or path.startswith(f"{ours}/") for ours in OUR_PATHS)


NOT_OUR_PATH: Final = Rule(
    cel=f"![{', '.join(repr(path) for path in OUR_PATHS)}].exists(p, self == p || self.startsWith(p + '/'))",
    message=f"must not lie in a directory that Torpor mounts ({', '.join(OUR_PATHS)}); choose another path",
    holds=_outside_our_paths,
)

PodLabels = Annotated[dict[str, LabelValue], Field(max_length=32), KEYS, NOT_OUR_KEYS]
AnnotationValue = Annotated[str, StringConstraints(max_length=4096), NO_NUL]
PodAnnotations = Annotated[dict[str, AnnotationValue], Field(max_length=32), KEYS, NOT_OUR_KEYS]


class Toleration(ApiModel):
    """A taint that the pods accept."""

    key: LabelKey | None = None
    """The taint's key. Absent with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """How value is compared: Equal (where absent) or Exists, which takes no value."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The effect that is tolerated. Absent: all of them."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """How long a NoExecute taint is tolerated, only with that effect. Absent: for ever."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="needs a key unless operator is Exists; set key, or operator: Exists",
            holds=lambda it: it.key is not None or it.operator == "Exists",
        ),
        Rule(
            cel="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            message="takes no value with operator Exists; remove value",
            holds=lambda it: it.operator != "Exists" or not it.value,
            field="value",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="is for the effect NoExecute alone; set effect: NoExecute, or remove it",
            holds=lambda it: it.toleration_seconds is None or it.effect == "NoExecute",
            field="tolerationSeconds",
        ),
    )


def _values_fit(it: "NodeRequirement | LabelRequirement") -> bool:
    count = len(it.values or [])
    if it.operator in ("Exists", "DoesNotExist"):
        return count == 0
    return count > 0 if it.operator in ("In", "NotIn") else count == 1


VALUES_FIT: Final = Rule(
    cel=(
        "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || self.values.size() == 0"
        " : has(self.values) && (self.operator in ['In', 'NotIn'] ? self.values.size() > 0"
        " : self.values.size() == 1)"
    ),
    message=(
        "do not fit the operator; give several for In and NotIn, one for Gt and Lt, "
        "none for Exists and DoesNotExist"
    ),
    holds=_values_fit,
    field="values",
)


class NodeRequirement(ApiModel):
    """A comparison with a node's label."""

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label's value is compared with values."""
    values: Annotated[list[LabelValue], Field(max_length=32), LIST_ATOMIC] | None = None
    """The values: several for In and NotIn, one integer for Gt and Lt, none for Exists and DoesNotExist."""

    rules: ClassVar[tuple[Rule, ...]] = (VALUES_FIT,)


class NodeNameRequirement(ApiModel):
    """A comparison with a node's name."""

    key: Literal["metadata.name"]
    """The field: metadata.name is the only one."""
    operator: Literal["In", "NotIn"]
    """Whether the name must be the value or must not."""
    values: Annotated[list[ObjectName], Field(min_length=1, max_length=1), LIST_ATOMIC]
    """The one name."""


class NodeTerm(ApiModel):
    """Requirements that a node meets together."""

    match_expressions: Annotated[list[NodeRequirement], Field(max_length=16), LIST_ATOMIC] | None = None
    """Comparisons with the node's labels."""
    match_fields: Annotated[list[NodeNameRequirement], Field(max_length=4), LIST_ATOMIC] | None = None
    """Comparisons with the node's name."""


class RequiredNodeTerms(ApiModel):
    """Alternatives, one of which a node must meet."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=16), LIST_ATOMIC]
    """The alternatives. A node must meet one of them, with all its comparisons."""


class PreferredNodeTerm(ApiModel):
    """A node that is preferred, and how much."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Weight against other preferences."""
    preference: NodeTerm
    """What makes a node preferred."""


class NodeAffinity(ApiModel):
    """Which nodes the pods may use or prefer."""

    required_during_scheduling_ignored_during_execution: RequiredNodeTerms | None = None
    """What a node must have."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNodeTerm], Field(max_length=16), LIST_ATOMIC] | None
    ) = None
    """What a node should have."""


class LabelRequirement(ApiModel):
    """A comparison with a pod's label."""

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label's value is compared with values."""
    values: Annotated[list[LabelValue], Field(max_length=32), LIST_ATOMIC] | None = None
    """The values for In and NotIn; none for Exists and DoesNotExist."""

    rules: ClassVar[tuple[Rule, ...]] = (VALUES_FIT,)


class LabelSelector(ApiModel):
    """Which pods are meant; all conditions together."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16), KEYS] | None = None
    """Labels that a pod has with exactly these values."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16), LIST_ATOMIC] | None = None
    """Comparisons with a pod's labels."""


class PodTerm(ApiModel):
    """Pods, and the topology in which they are near."""

    label_selector: LabelSelector
    """Which pods are meant."""
    namespaces: Annotated[list[LabelName], Field(max_length=16), LIST_ATOMIC] | None = None
    """Namespaces in which they are looked for. Absent: the fleet's own."""
    topology_key: LabelKey
    """The node label whose equal value means near, such as kubernetes.io/hostname."""


class PreferredPodTerm(ApiModel):
    """A nearness that is preferred, and how much."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Weight against other preferences."""
    pod_affinity_term: PodTerm
    """The pods and the topology."""


class PodAffinity(ApiModel):
    """Pods that the engine pods go near to, or stay away from."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[list[PodTerm], Field(max_length=8), LIST_ATOMIC] | None
    ) = None
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredPodTerm], Field(max_length=8), LIST_ATOMIC] | None
    ) = None
    """What should hold."""


class Affinity(ApiModel):
    """Placement relative to nodes and other pods, as in core's pod spec."""

    node_affinity: NodeAffinity | None = None
    """Which nodes the pods may use or prefer."""
    pod_affinity: PodAffinity | None = None
    """Which pods the engines go near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Which pods the engines stay away from."""


class TopologySpread(ApiModel):
    """Spread of the fleet's pods over zones or nodes. Torpor fills in the selector: the fleet's own pods."""

    max_skew: Annotated[int, Field(ge=1, le=1000)] = 1
    """Largest allowed difference in the number of pods between two domains."""
    topology_key: LabelKey
    """The node label that tells domains apart, such as topology.kubernetes.io/zone."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """
    What happens where the spread cannot be kept: leave the pod pending, or schedule it as well as possible.
    """


class ClaimSource(ApiModel):
    """A PersistentVolumeClaim of the fleet's namespace."""

    claim_name: ObjectName
    """The claim's name."""


class ConfigMapSource(ApiModel):
    """A ConfigMap of the fleet's namespace; each key is a file."""

    name: ObjectName
    """The ConfigMap's name."""


class SecretSource(ApiModel):
    """A Secret of the fleet's namespace; each key is a file."""

    secret_name: ObjectName
    """The Secret's name."""


class EmptyDirSource(ApiModel):
    """A directory that lives as long as the pod."""

    medium: Literal["Memory"] | None = None
    """Memory keeps it in RAM, charged to the container. Absent: on the node's disk."""
    size_limit: QuantityText | None = None
    """Size at which the pod is evicted, such as 10Gi. Absent: no limit."""


_SOURCES: Final = ("persistentVolumeClaim", "configMap", "secret", "emptyDir")


class Volume(ApiModel):
    """A volume, and where the engine sees it. Exactly one source."""

    name: Annotated[LabelName, NOT_OUR_VOLUME]
    """Name of the volume, unique in the pod."""
    mount_path: Annotated[AbsolutePath, NOT_OUR_PATH]
    """Absolute path in the engine's container; no two volumes share one."""
    read_only: bool = True
    """Whether the engine may only read it."""
    sub_path: RelativePath | None = None
    """Path within the volume to mount instead of its root. Absent: the root."""
    persistent_volume_claim: ClaimSource | None = None
    """A PersistentVolumeClaim of the fleet's namespace."""
    config_map: ConfigMapSource | None = None
    """A ConfigMap of the fleet's namespace; each key is a file."""
    secret: SecretSource | None = None
    """A Secret of the fleet's namespace; each key is a file."""
    empty_dir: EmptyDirSource | None = None
    """A directory that lives as long as the pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"[{', '.join(f'has(self.{source})' for source in _SOURCES)}].filter(x, x).size() == 1",
            message=f"must have exactly one source; give one of {', '.join(_SOURCES)}",
            holds=lambda it: (
                [it.persistent_volume_claim, it.config_map, it.secret, it.empty_dir].count(None)
                == len(_SOURCES) - 1
            ),
        ),
    )


class PullSecret(ApiModel):
    """A Secret of type kubernetes.io/dockerconfigjson."""

    name: ObjectName
    """The Secret's name."""


class PodTemplate(ApiModel):
    """Placement, access and mounts of the engine pods. A change rolls the fleet."""

    labels: PodLabels | None = None
    """Labels to add to the pods. Keys of Torpor's own are refused."""
    annotations: PodAnnotations | None = None
    """Annotations to add to the pods. Keys of Torpor's own are refused."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32), KEYS, MAP_ATOMIC] | None = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32), LIST_ATOMIC] | None = None
    """Taints that the pods accept."""
    affinity: Affinity | None = None
    """Placement relative to nodes and other pods."""
    topology_spread_constraints: (
        Annotated[list[TopologySpread], Field(max_length=8), list_map("topologyKey")] | None
    ) = None
    """Spread of the fleet's pods over zones or nodes; Torpor fills in the selector."""
    volumes: Annotated[list[Volume], Field(max_length=16), list_map("name")] | None = None
    """
    Volumes for the engine: adapters, templates, certificates, a shared model store. Each has exactly one of
    persistentVolumeClaim, configMap, secret and emptyDir.
    """
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, such as nvidia."""
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=8), list_map("name")] | None = None
    """Secrets of the fleet's namespace for pulling images, beside those that the installation adds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "!has(self.volumes)"
                " || self.volumes.all(v, self.volumes.exists_one(w, w.mountPath == v.mountPath))"
            ),
            message="must have different mountPaths; two volumes cannot be in one place",
            holds=lambda it: len({volume.mount_path for volume in it.volumes or []}) == len(it.volumes or []),
            field="volumes",
        ),
    )
