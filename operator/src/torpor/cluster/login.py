"""Logging in as a person does: by kubeconfig and context, as kubectl finds them.

The operator logs in as its service account first (`client.Kube.connect`); for a person at a terminal it is
the other way round, and errors are sentences for somebody who mistyped a context. Nothing is written back to
the kubeconfig.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

DEFAULT = "~/.kube/config"
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class LoginError(Exception):
    """There is no way to a cluster; the message says why."""


async def login(kubeconfig: str | None, context: str | None) -> tuple[Configuration, str]:
    """Return how to reach the cluster, and the namespace that is meant where none is named.

    kubeconfig: a file (None: $KUBECONFIG, else ~/.kube/config); context: of it (None: the current one).
    Raises LoginError.
    """
    where = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT
    found = _existing(where)
    if not found:
        if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            return _as_service_account()
        raise LoginError(f"there is no kubeconfig at {where}")
    configuration = Configuration()
    try:
        loader: Any = await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=found, context=context, client_configuration=configuration, persist_config=False
        )
        current = loader.current_context["context"]
    except (ConfigException, OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise LoginError(f"{where} gives no login: {_one_line(error)}") from None
    return configuration, str(current.get("namespace") or "default")


def _existing(where: str) -> str:
    """Those files of a list that exist, as such a list."""
    files = [Path(part).expanduser() for part in where.split(os.pathsep) if part]
    return os.pathsep.join(str(file) for file in files if file.is_file())


def _as_service_account() -> tuple[Configuration, str]:
    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return configuration, NAMESPACE_FILE.read_text(encoding="utf-8").strip() or "default"
    except (ConfigException, OSError) as error:
        raise LoginError(f"the pod's service account cannot be used: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
