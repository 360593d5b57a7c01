"""The InferenceService: what users write and what Torpor answers.

Two halves share this package. `constants`, `names` and `routes` stand on the standard library alone,
because the gateway, which has no pydantic in its image, must agree with the operator on every name and on
who owns a model name. `types`, `validation`, `schema`, `crd` and `conditions` describe the object itself.

This module imports nothing, so that importing one half never costs the other.
"""
