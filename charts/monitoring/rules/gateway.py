"""Alerts about the gateway: it refuses, cannot keep more, or its wishes reach nobody.

A refusal that somebody ordered is no shedding: closed hours, a mode that keeps the replicas, a fleet that was
scaled to zero by its owner, the limit of an API key. `namespace` is the fleet's in the first alert and the
release's in the others.
"""

from charts.monitoring.rules.model import Alert, Group, Record

WANTED = "Closed|Recommend|Paused|ScaledToZeroExternally|rate_limit_exceeded"
SHED = "torpor:fleet_shed_requests:ratio_rate5m"
LOGS = "`kubectl logs -n {{ $labels.namespace }} -l app.kubernetes.io/name=gateway --tail=100`"
ENDS = "min by (namespace, job, pod) (torpor_gateway_certificate_expiry_timestamp_seconds)"
BEGINS = "min by (namespace, job, pod) (torpor_gateway_certificate_start_timestamp_seconds)"

GROUP = Group(
    "torpor-gateway",
    (
        Record(
            SHED,
            f"""
            (
              sum by (namespace, name) (
                rate(torpor_gateway_requests_total{{code=~"429|503", reason!~"{WANTED}"}}[5m])
              )
              or
              0 * sum by (namespace, name) (rate(torpor_gateway_requests_total[5m]))
            )
            / sum by (namespace, name) (rate(torpor_gateway_requests_total[5m]))
            """,
            "share of a fleet's requests that were refused for want of room or of a replica, over 5m",
        ),
        Alert(
            "TorporGatewayShedding",
            "critical",
            "5m",
            f"{SHED} > 0.05",
            "{{ $labels.namespace }}/{{ $labels.name }}: {{ $value | humanizePercentage }} of requests are "
            "refused with 429 or 503",
            """Clients are told to come back later. The reasons: `sum by (reason) (rate(
            torpor_gateway_requests_total{namespace="{{ $labels.namespace }}", name="{{ $labels.name }}",
            code=~"429|503"}[5m]))`. QueueFull means too few replicas, Waking a cold start or too little room
            to hold.""",
        ),
        Alert(
            "TorporGatewayFull",
            "critical",
            "5m",
            """
            sum by (namespace, job, reason) (
              rate(torpor_gateway_errors_total{reason=~"out_of_memory|too_many_connections|out_of_files"}[5m])
            ) > 0
            """,
            "The gateway refuses requests of all fleets: {{ $labels.reason }}",
            """Each gateway pod is at a limit of its own. Add pods (gateway.replicaCount), or raise
            gateway.maxBufferedMebibytes together with the memory limit, the limit of connections, or that of
            open files.""",
        ),
        Alert(
            "TorporGatewayNotSynced",
            "warning",
            "10m",
            "min by (namespace, job, pod) (torpor_gateway_synced) == 0",
            "The gateway {{ $labels.pod }} does not see the cluster",
            f"""Its watches are not up to date, so it may miss new fleets and send to pods that are gone; what
            it knows it serves on. See whether the API server refuses or is away: {LOGS}.""",
        ),
        Alert(
            "TorporNoGateway",
            "critical",
            "5m",
            "absent(torpor_gateway_synced)",
            "No gateway is scraped",
            """Either no gateway pod runs, and every request fails, or Prometheus does not reach them:
            `kubectl get pods -A -l app.kubernetes.io/name=gateway,app.kubernetes.io/part-of=torpor`.""",
        ),
        Alert(
            "TorporDemandUnread",
            "critical",
            "5m",
            """
            max by (namespace, job, pod) (torpor_gateway_demand_readers) == 0
              unless max by (namespace, job, pod) (torpor_gateway_draining) == 1
            """,
            "No operator listens to the gateway {{ $labels.pod }}",
            """Requests that this gateway holds wake nobody, and no fleet may go to sleep. See whether the
            operator runs, and whether a NetworkPolicy keeps it from the demand port: `kubectl get
            pods,networkpolicies -n {{ $labels.namespace }}`.""",
        ),
        Alert(
            "TorporDemandTokenRefused",
            "critical",
            "5m",
            "sum by (namespace, job) (increase(torpor_gateway_demand_refusals_total[3m])) > 0",
            "The gateways refuse the operator's token",
            """The demand stream was asked for with a wrong token, so held requests may wake nobody. Operator
            and gateway have read different versions of the Secret (a rendering without a cluster makes a new
            token each time): set demandToken.existingSecret and restart both Deployments.""",
        ),
        Alert(
            "TorporAPIKeysStale",
            "warning",
            "10m",
            "max by (namespace, job, pod) (torpor_gateway_api_keys_stale) == 1",
            "The gateway {{ $labels.pod }} cannot read the API keys again",
            f"""It goes on with those it read last: new keys are refused and removed ones still let in. The
            log names the entry of the Secret that is wrong: {LOGS}.""",
        ),
        Alert(
            "TorporCertificateExpired",
            "critical",
            "1m",
            f"{ENDS} - time() <= 0",
            "The certificate of the gateway {{ $labels.pod }} has ended",
            """Clients refuse to connect by HTTPS. Write a new pair into the Secret of
            gateway.tls.secretName; it is read without a restart: `kubectl get secrets,certificates -n
            {{ $labels.namespace }}`.""",
        ),
        Alert(
            "TorporCertificateExpiring",
            "warning",
            "10m",
            f"""
            (
              {ENDS} - time() < 14 * 86400
              and {ENDS} - time() < ({ENDS} - {BEGINS}) / 6
            ) > 0
            """,
            "The certificate of the gateway {{ $labels.pod }} ends in {{ $value | humanizeDuration }}",
            """Less than a sixth of its lifetime is left and nobody has renewed it. See what its issuer says:
            `kubectl get certificates,certificaterequests -n {{ $labels.namespace }}`.""",
        ),
        Alert(
            "TorporCertificateStale",
            "warning",
            "10m",
            "max by (namespace, job, pod) (torpor_gateway_certificate_stale) == 1",
            "The gateway {{ $labels.pod }} cannot read its renewed certificate",
            f"""It goes on with the one that it read last, until that ends; a pod that starts anew would not.
            The log names the file and what is wrong with it: {LOGS}.""",
        ),
    ),
)
