"""Every word that two parts of Torpor have to spell the same way.

Reasons and condition types appear verbatim in events, metrics, status and documentation, label keys select
pods and endpoints, ports are dialled by one part and opened by another. A word that lives in one place
cannot drift. Standard library only: the gateway imports this module.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# --- the resource ---------------------------------------------------------------------------------
GROUP: Final = "serving.torpor.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "InferenceService"
LIST_KIND: Final = "InferenceServiceList"
PLURAL: Final = "inferenceservices"
SINGULAR: Final = "inferenceservice"
SHORT_NAMES: Final = ("isvc", "tisvc")
CATEGORIES: Final = ("torpor",)
CRD_NAME: Final = f"{PLURAL}.{GROUP}"
FIELD_MANAGER: Final = "torpor"

# --- labels and annotations -----------------------------------------------------------------------
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_COMPONENT_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_FLEET: Final = f"{GROUP}/inferenceservice"
LABEL_REVISION: Final = f"{GROUP}/revision"
ANNOTATION_REVISION: Final = f"{GROUP}/revision"
ANNOTATION_APPLIED: Final = f"{GROUP}/applied"  # hash of what Torpor last applied to a child
ANNOTATION_FLEET_UID: Final = f"{GROUP}/fleet-uid"
ANNOTATION_WAKE_AT: Final = f"{GROUP}/wake-at"
ANNOTATION_SLEEP_AT: Final = f"{GROUP}/sleep-at"
ANNOTATION_RESTART_AT: Final = f"{GROUP}/restart-at"
ANNOTATION_RESTARTED: Final = f"{GROUP}/restarted-at"  # of a pod template: the restart that it came with
ANNOTATION_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
LABEL_ENDPOINT_SERVICE: Final = "kubernetes.io/service-name"
LABEL_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
MANAGED_BY: Final = "torpor"
PART_OF: Final = "torpor"
ENGINE_COMPONENT: Final = "engine"
GATEWAY_COMPONENT: Final = "gateway"
# Prefixes of label and annotation keys that a podTemplate may not set.
RESERVED_KEY_PREFIXES: Final = (f"{GROUP}/", "app.kubernetes.io/")

# --- ports ----------------------------------------------------------------------------------------
ENGINE_PORT: Final = 8000
ENGINE_PORT_NAME: Final = "engine"
LAUNCHER_PORT: Final = 8001
LAUNCHER_PORT_NAME: Final = "launcher"
GATEWAY_PORT: Final = 8080
GATEWAY_TLS_PORT: Final = 8443
GATEWAY_SERVICE_PORT: Final = 80
GATEWAY_TLS_SERVICE_PORT: Final = 443
GATEWAY_DEMAND_PORT: Final = 8081
ADMIN_PORT: Final = 9090

# --- engine pods ----------------------------------------------------------------------------------
ENGINE_CONTAINER: Final = "engine"
LAUNCHER_CONTAINER: Final = "launcher"
ENGINE_TYPE_VLLM: Final = "vLLM"
ENGINE_TYPE_SIMULATED: Final = "Simulated"
DEFAULT_VLLM_IMAGE: Final = "vllm/vllm-openai:v0.33.0"
LAUNCHER_SOURCE: Final = "/opt/torpor/torpor-engine.pyz"  # in the launcher's image
LAUNCHER_DIR: Final = "/torpor"
LAUNCHER_PATH: Final = f"{LAUNCHER_DIR}/torpor-engine.pyz"  # in the engine's pod
CACHE_DIR: Final = "/cache"
TUNING_DIR: Final = "/etc/torpor"  # holds what the launcher may tune at start
TUNING_VOLUME: Final = "torpor-tuning"
MODELS_DIR: Final = "/models"  # a claim of pvc:// is mounted below, under its own name
ENGINE_UID: Final = 65532
PRESTOP_SECONDS: Final = 5  # endpoints propagate
GRACE_MARGIN_SECONDS: Final = 15  # between the end of the drain and SIGKILL

# --- keys of a fleet's ConfigMap, and files where they are mounted ---------------------------------
KEY_TUNING: Final = "tuning.json"  # for the launcher: the only key that pods see
KEY_ENGINES: Final = "engines.json"  # what the engines last said of themselves
KEY_MEMORY: Final = "memory.json"  # what the fleet's decisions remember

# --- behaviour that is not a field of the object --------------------------------------------------
DEFAULT_QUEUE_TARGET: Final = 4  # where scaling.signals.queueDepth.target is absent
DEFAULT_IDLE_SECONDS: Final = 600  # where scaling.idleSeconds is absent
STATS_FRESH_SECONDS: Final = 15  # an older launcher report is no report
MAX_NAME_LENGTH: Final = 45
DEFAULT_CLUSTER_DOMAIN: Final = "cluster.local"
DEFAULT_METRICS_NAMESPACE: Final = "monitoring"  # whose pods may scrape launchers

# --- condition types ------------------------------------------------------------------------------
READY: Final = "Ready"
AWAKE: Final = "Awake"
PROGRESSING: Final = "Progressing"
PODS_SCHEDULED: Final = "PodsScheduled"
SIGNALS_AVAILABLE: Final = "SignalsAvailable"
SPEC_VALID: Final = "SpecValid"
ROUTE_ACCEPTED: Final = "RouteAccepted"
EXTERNALLY_SCALED: Final = "ExternallyScaled"
SCHEDULE_APPLIED: Final = "ScheduleApplied"
SCALING_ACTIVE: Final = "ScalingActive"
RECONCILING: Final = "Reconciling"  # this and the next are words of kstatus
STALLED: Final = "Stalled"
CONDITION_TYPES: Final = (
    READY,
    AWAKE,
    PROGRESSING,
    PODS_SCHEDULED,
    SIGNALS_AVAILABLE,
    SPEC_VALID,
    ROUTE_ACCEPTED,
    EXTERNALLY_SCALED,
    SCHEDULE_APPLIED,
    SCALING_ACTIVE,
    RECONCILING,
    STALLED,
)

# --- reasons of Ready -----------------------------------------------------------------------------
SERVING: Final = "Serving"
ASLEEP: Final = "Asleep"
WAKING: Final = "Waking"
CLOSED: Final = "Closed"  # by the schedule; requests are refused until the opening. Of ScheduleApplied too
SPEC_INVALID: Final = "SpecInvalid"
WAKE_FAILED: Final = "WakeFailed"
ROUTE_CONFLICT: Final = "RouteConflict"
SCALED_TO_ZERO_EXTERNALLY: Final = "ScaledToZeroExternally"
NAME_TAKEN: Final = "NameTaken"  # an object that is not ours has the name of one of our children

# --- reasons of Awake -----------------------------------------------------------------------------
REPLICAS_READY: Final = "ReplicasReady"
STARTING: Final = "Starting"
STOPPING: Final = "Stopping"
NO_REPLICAS: Final = "NoReplicas"

# --- reasons of Progressing -----------------------------------------------------------------------
STABLE: Final = "Stable"
SCALING_OUT: Final = "ScalingOut"
SCALING_IN: Final = "ScalingIn"
SURGE_ROLLOUT: Final = "SurgeRollout"
IN_PLACE_ROLLOUT: Final = "InPlaceRollout"
ROLLOUT_FAILED: Final = "RolloutFailed"  # the new revision never became ready; the old one serves

# --- reasons of PodsScheduled, SignalsAvailable, SpecValid, RouteAccepted, ExternallyScaled -------
SCHEDULED: Final = "Scheduled"
NO_PODS: Final = "NoPods"
AVAILABLE: Final = "Available"
PARTLY_UNKNOWN: Final = "PartlyUnknown"
UNKNOWN: Final = "Unknown"
VALID: Final = "Valid"
ACCEPTED: Final = "Accepted"
QUALIFIED_NAME_ONLY: Final = "QualifiedNameOnly"  # the installation gives this namespace no bare names
DECIDED_BY_TORPOR: Final = "DecidedByTorpor"
REPLICAS_SET: Final = "ReplicasSet"  # scaling.replicas has a writer that is not Torpor

# --- reasons of Reconciling and Stalled where they are False; else they are those of what is told ---
SETTLED: Final = "Settled"
NO_FAULT: Final = "NoFault"

# --- modes (scaling.mode), and the reasons where one keeps Torpor from changing replicas ----------
AUTO: Final = "Auto"
RECOMMEND: Final = "Recommend"
PAUSED: Final = "Paused"

# --- reasons of ScheduleApplied -------------------------------------------------------------------
NO_SCHEDULE: Final = "NoSchedule"
OPEN: Final = "Open"
FLOOR_ABOVE_CEILING: Final = "FloorAboveCeiling"
TIME_ZONE_DATA_MISSING: Final = "TimeZoneDataMissing"  # the installation's fault, not the spec's
SCHEDULE_CHANGED: Final = "ScheduleChanged"  # of events: another window holds

# --- reasons of events alone ----------------------------------------------------------------------
NOT_KEPT: Final = "NotKept"  # the fleet's ConfigMap cannot be written

# --- requests by annotation: reasons of events, the first two of decisions too, and states -----------
WAKE_REQUESTED: Final = "WakeRequested"
SLEEP_REQUESTED: Final = "SleepRequested"
RESTART_REQUESTED: Final = "RestartRequested"
REQUEST_REFUSED: Final = "RequestRefused"  # bounds, hours, mode or spec.scaling.replicas have another number
REQUEST_MISSED: Final = "RequestMissed"  # could not be done in time, or another one came after it
REQUEST_INVALID: Final = "RequestInvalid"  # the value is no time
STATE_PENDING: Final = "Pending"
STATE_DONE: Final = "Done"
STATE_REFUSED: Final = "Refused"
STATE_MISSED: Final = "Missed"
STATE_INVALID: Final = "Invalid"

# --- reasons why a pod does not become ready ------------------------------------------------------
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
UNSCHEDULABLE: Final = "Unschedulable"
PODS_REFUSED: Final = "PodsRefused"  # a quota or an admission rule forbids to make the pod
ENGINE_CRASHED: Final = "EngineCrashed"
STARTUP_TIMED_OUT: Final = "StartupTimedOut"
MODEL_NOT_FOUND: Final = "ModelNotFound"
MODEL_ACCESS_DENIED: Final = "ModelAccessDenied"
INVALID_ENGINE_ARGS: Final = "InvalidEngineArgs"
OUT_OF_MEMORY: Final = "OutOfMemory"
CACHE_NOT_WRITABLE: Final = "CacheNotWritable"
ENGINE_NOT_FOUND: Final = "EngineNotFound"
CONFIG_ERROR: Final = "ConfigError"
WARMUP_FAILED: Final = "WarmupFailed"
POD_FAILURE_REASONS: Final = (
    IMAGE_PULL_FAILED,
    UNSCHEDULABLE,
    PODS_REFUSED,
    ENGINE_CRASHED,
    STARTUP_TIMED_OUT,
    MODEL_NOT_FOUND,
    MODEL_ACCESS_DENIED,
    INVALID_ENGINE_ARGS,
    OUT_OF_MEMORY,
    CACHE_NOT_WRITABLE,
    ENGINE_NOT_FOUND,
    CONFIG_ERROR,
    WARMUP_FAILED,
)

# The launcher's exit codes. Codes below 64 and from 128 on belong to shells, signals and the engine itself.
EXIT_CODE_REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        64: INVALID_ENGINE_ARGS,
        65: CONFIG_ERROR,
        66: MODEL_NOT_FOUND,
        67: MODEL_ACCESS_DENIED,
        68: ENGINE_NOT_FOUND,
        69: CACHE_NOT_WRITABLE,
        70: ENGINE_CRASHED,
        71: STARTUP_TIMED_OUT,
        72: OUT_OF_MEMORY,
        73: WARMUP_FAILED,
    }
)

# --- states of a launcher's stats line ------------------------------------------------------------
STATE_STARTING: Final = "Starting"
STATE_LOADING: Final = "Loading"
STATE_WARMING: Final = "Warming"
STATE_READY: Final = "Ready"
STATE_DRAINING: Final = "Draining"
STATE_FAILED: Final = "Failed"

# --- answers while asleep (traffic.coldStart.response) --------------------------------------------
RESPONSE_HOLD: Final = "Hold"
RESPONSE_KEEP_ALIVE: Final = "KeepAlive"
RESPONSE_REJECT: Final = "Reject"

ROUTING_PREFIX_AWARE: Final = "PrefixAware"
ROUTING_LEAST_LOADED: Final = "LeastLoaded"
ROUTINGS: Final = (ROUTING_PREFIX_AWARE, ROUTING_LEAST_LOADED)
# An engine that runs and counts nothing for so long gets no more requests. Not Final, which is compiled in.
WEDGED_SECONDS = 60.0
