"""Alerts about the operator: nobody leads, or who leads does not see or cannot write.

Without a leader everything that runs keeps running and requests are held, but nothing wakes, grows or sleeps.
`namespace` is the release's.
"""

from charts.monitoring.rules.model import Alert, Group

LOGS = (
    "`kubectl logs -n {{ $labels.namespace }} -l "
    "app.kubernetes.io/name=operator,app.kubernetes.io/part-of=torpor --tail=100`"
)

GROUP = Group(
    "torpor-operator",
    (
        Alert(
            "TorporNoLeader",
            "critical",
            "2m",
            """
            sum by (namespace, job) (torpor_operator_leader) == 0
            or
            absent(torpor_operator_leader)
            """,
            "No operator leads",
            """No fleet wakes, grows, shrinks or follows its schedule. Either no operator pod runs or none
            gets the Lease (or Prometheus reaches none): `kubectl get pods,leases -A -l
            app.kubernetes.io/part-of=torpor`.""",
        ),
        Alert(
            "TorporWatchStale",
            "warning",
            "5m",
            "max by (namespace, job, pod, kind) (torpor_operator_watch_age_seconds) > 480",
            "The operator {{ $labels.pod }} last knew all {{ $labels.kind }} objects "
            "{{ $value | humanizeDuration }} ago",
            f"""It lists every two minutes and decides by what it knew last. See what the API server answers,
            most often a missing permission or an overload: {LOGS}.""",
        ),
        Alert(
            "TorporLooksFail",
            "warning",
            "15m",
            """
            sum by (namespace, job, cause) (
              rate(torpor_operator_look_failures_total{cause!="conflict"}[5m])
            ) > 0
            """,
            "Looks at fleets have failed for 15 minutes: {{ $labels.cause }}",
            f"""Each is tried again with a growing pause, so some fleet is not cared for. The log names it and
            the API server's answer (refused: quota or admission; unreachable; a status; internal: a defect of
            Torpor): {LOGS}.""",
        ),
    ),
)
