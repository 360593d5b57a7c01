"""The model: where it comes from, what clients call it, and where its files are kept."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import StringConstraints

from torpor.api import quantity
from torpor.api.base import ApiModel, DataKey, ObjectName, QuantityText, Rule, matching
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


AT_LEAST_ONE: Final = Rule(
    cel="!isQuantity(self) || quantity(self).compareTo(quantity('1')) >= 0",
    message="must be at least one byte; write it like 100Gi",
    holds=lambda text: quantity.parse(text) >= 1,
)


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
    size: Annotated[QuantityText, AT_LEAST_ONE] | None = None
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
    """
    What clients put in "model". Absent: the object's name. With NAMESPACE/ before it, it always works; alone,
    where the installation lets this namespace use bare names and no older fleet has it.
    """
    revision: Revision = "main"
    """Branch, tag or commit of an hf:// model."""
    token_secret_ref: SecretKey | None = None
    """Secret with the access token for a gated hf:// model."""
    cache: ModelCache | None = None
    """Volume for weights and compiled kernels. Absent: each pod downloads to its own disk."""
