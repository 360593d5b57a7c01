"""The InferenceService as a whole: the object that users apply and Torpor answers in.

`spec` and `status` have their own modules; this one joins them with the metadata that Torpor reads, and is
the one import for everybody else. `InferenceService.model_validate(raw)` parses what an API server
returned; problems for people come from `validation.check`.
"""

from typing import ClassVar, Final, Literal

from torpor.api import constants, names
from torpor.api.base import ApiModel, Rule
from torpor.api.engine import Engine, EnvVar, Resources
from torpor.api.model import Model, ModelCache
from torpor.api.names import FleetKey
from torpor.api.spec import ColdStart, InferenceServiceSpec, Rollout, Scaling, Traffic
from torpor.api.status import (
    Clamp,
    ColdStartPhase,
    ColdStartRecord,
    Condition,
    Decision,
    InferenceServiceStatus,
    SignalReading,
)

NAME_RULE: Final = Rule(
    cel=(
        f"self.metadata.name.size() <= {constants.MAX_NAME_LENGTH}"
        f" && self.metadata.name.matches('^{names.FLEET_NAME.pattern}$')"
    ),
    message=(
        f"metadata.name must be a DNS-1035 label of at most {constants.MAX_NAME_LENGTH} characters "
        "(a-z, 0-9 and '-', a letter first), because Services are named after it; choose another name"
    ),
    holds=lambda it: (
        len(it.metadata.name) <= constants.MAX_NAME_LENGTH
        and bool(names.FLEET_NAME.fullmatch(it.metadata.name))
    ),
)


class ObjectMeta(ApiModel):
    """The part of the metadata that Torpor reads; the API server fills most of it in."""

    name: str
    """Name of the object, unique in its namespace."""
    namespace: str = "default"
    """Namespace of the object."""
    uid: str = ""
    """Identity of this very object; a successor of the same name has another."""
    generation: int = 0
    """Counts changes of the spec."""
    resource_version: str = ""
    """Counts changes of anything; opaque."""
    creation_timestamp: str = ""
    """When it was created, RFC 3339, UTC."""
    deletion_timestamp: str | None = None
    """When its deletion was asked for. Absent: it lives."""
    labels: dict[str, str] | None = None
    """Labels."""
    annotations: dict[str, str] | None = None
    """Annotations."""


class InferenceService(ApiModel):
    """A model that is served by as many engine pods as its traffic needs, down to none."""

    api_version: Literal["serving.torpor.dev/v1alpha1"] = "serving.torpor.dev/v1alpha1"
    """Version of the schema of this object."""
    kind: Literal["InferenceService"] = "InferenceService"
    """The kind of this object."""
    metadata: ObjectMeta
    """Name, namespace and labels."""
    spec: InferenceServiceSpec
    """The wished-for fleet."""
    status: InferenceServiceStatus = InferenceServiceStatus()
    """What Torpor observed and decided. Written by Torpor alone."""

    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE,)

    @property
    def key(self) -> FleetKey:
        """Which fleet this is."""
        return FleetKey(self.metadata.namespace, self.metadata.name)

    @property
    def model_name(self) -> str:
        """What clients put in `model`."""
        return names.model_name(self.metadata.name, self.spec.model.name)


__all__ = [
    "Clamp",
    "ColdStart",
    "ColdStartPhase",
    "ColdStartRecord",
    "Condition",
    "Decision",
    "Engine",
    "EnvVar",
    "InferenceService",
    "InferenceServiceSpec",
    "InferenceServiceStatus",
    "Model",
    "ModelCache",
    "ObjectMeta",
    "Resources",
    "Rollout",
    "Scaling",
    "SignalReading",
    "Traffic",
]
