"""Values under which every object of the chart must stay valid, restricted and consistent.

Each entry switches one family of options, the first and the last ones everything; the tests that hold for all
installations run over the whole list.
"""

from typing import Any

NO_ACCOUNTS = {
    f"{part}.serviceAccount": {"create": False, "name": f"{part}-account"} for part in ("operator", "gateway")
}
SCHEDULING = {
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [
        {"key": "system", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": None}
    ],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
            ]
        }
    },
    "topologySpreadConstraints": [
        {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"},
        {
            "maxSkew": 1,
            "topologyKey": "rack",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"own": "selector"}},
        },
    ],
    "priorityClassName": "system-cluster-critical",
}
PEERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]

COMBINATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one replica each": {"operator.replicaCount": 1, "gateway.replicaCount": 1},
    "one watched namespace": {"watchNamespaces": ["models"]},
    "several watched namespaces, the release's among them": {"watchNamespaces": ["a", "torpor-system", "b"]},
    "without resource definition": {"crds": {"install": False, "keep": False}},
    "definition goes with the release": {"crds": {"keep": False, "annotations": {"note": "x"}}},
    "without roles": {"rbac": {"create": False, "aggregateRoles": False}},
    "accounts of others": NO_ACCOUNTS,
    "names": {"fullnameOverride": "sleep", "nameOverride": "unused", "commonLabels": {"team": "ml"}},
    "labels that would break selectors": {
        "commonLabels": {"app.kubernetes.io/name": "wrong", "app.kubernetes.io/instance": "wrong"},
        "gateway.podLabels": {"app.kubernetes.io/name": "wrong", "extra": "label"},
        "operator.podLabels": {"app.kubernetes.io/instance": "wrong"},
    },
    "registry and pull secrets": {
        "global": {"imageRegistry": "registry.example/team/", "imagePullSecrets": [{"name": "shared"}]},
        "imagePullSecrets": [{"name": "shared"}, {"name": "own"}],
        "engine.imagePullSecrets": ["engine-pull"],
        "gateway.image": {"registry": "other.example", "tag": "9", "digest": "sha256:" + "a" * 64},
        "engine.image": {"digest": "sha256:" + "b" * 64, "pullPolicy": "Always"},
    },
    "access log and traces": {
        "gateway": {
            "accessLog": True,
            "tracing": {
                "endpoint": "http://collector:4318",
                "sampler": "parentbased_traceidratio",
                "samplerArg": "0.1",
            },
        }
    },
    "token of others": {"demandToken": {"existingSecret": "mine", "key": "demand.token"}},
    "API keys": {"gateway.apiKeys.secretName": "keys", "test.apiKey": {"secretName": "test-key", "key": "k"}},
    "IPv6": {"listenAddress": "::"},
    "OpenShift": {
        f"{part}.podSecurityContext.{field}": None
        for part in ("operator", "gateway")
        for field in ("runAsUser", "runAsGroup", "fsGroup")
    },
    "load balancer": {
        "gateway.service": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example.com/fast",
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
            "annotations": {"a": "b"},
            "labels": {"exposed": "yes"},
        }
    },
    "ingress": {
        "gateway.ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": ["llm.example.com", "*.models.example.com"],
            "tls": [{"secretName": "llm-tls", "hosts": ["llm.example.com"]}],
        }
    },
    "route": {
        "gateway.httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["llm.example.com"],
        }
    },
    "TLS": {
        "gateway.tls": {"enabled": True, "secretName": "gateway-tls", "minVersion": "1.3"},
        "gateway.workers": 2,
    },
    "TLS beside plain HTTP": {"gateway.tls": {"enabled": True, "secretName": "tls", "plainHTTP": True}},
    "autoscaling": {
        "gateway.autoscaling": {
            "enabled": True,
            "minReplicas": 3,
            "maxReplicas": 30,
            "targetCPUUtilizationPercentage": 80,
            "behavior": {"scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}},
        }
    },
    "monitoring": {
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "alertLabels": {"team": "ml"},
            "disabledAlerts": ["TorporDesiredUnmet"],
            "objectivePercent": 99,
            "runbookUrl": "https://wiki.example.com/torpor/",
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Models"}},
        "operator.networkPolicy.metricsFrom": PEERS,
        "gateway.networkPolicy.metricsFrom": PEERS,
        "engine.metricsNamespaces": ["prometheus"],
        "gateway.networkPolicy.clientsFrom": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
    },
    "without policies and budgets": {
        f"{part}.{what}.enabled": False
        for part in ("operator", "gateway")
        for what in ("networkPolicy", "podDisruptionBudget")
    },
    "scheduling": {
        f"{part}.{field}": value for part in ("operator", "gateway") for field, value in SCHEDULING.items()
    },
    "sizes": {
        "operator.podDisruptionBudget.maxUnavailable": "50%",
        "gateway.drain": {"holdSeconds": 0, "streamSeconds": 1},
        "gateway.resources": {"limits": {"memory": "256Mi", "cpu": 2}, "requests": {"cpu": "10m"}},
    },
    "environment and annotations": {
        "operator.extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "gateway.extraEnv": [{"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "operator.podAnnotations": {"sidecar.istio.io/inject": "false"},
        "gateway.podAnnotations": {"a": "b"},
    },
    "objects of others": {
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "mapping"},
                "data": {"a": "{{ kept }}"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
        ]
    },
    "without helm test": {"test.enabled": False},
}

EVERYTHING: dict[str, Any] = {}
for _values in COMBINATIONS.values():
    EVERYTHING |= {
        key: value
        for key, value in _values.items()
        if key not in ("crds", "rbac", "test.enabled") and not key.endswith(("serviceAccount", ".enabled"))
    }
COMBINATIONS["everything at once"] = EVERYTHING
