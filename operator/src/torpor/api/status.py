"""The status: what Torpor answers, written once per reconcile and by nobody else.

Three readers: people (`kubectl get`, `describe`), controllers (conditions, the scale subresource) and the
gateway (reasons and cold-start figures). `decision` is the trace of the last decision in full, so the
object itself says why it has the replicas it has. Numbers with decimals are strings, as Kubernetes' API
conventions ask. There is no `phase`: a word cannot say that a fleet serves, rolls and lacks a signal at the
same time; conditions can.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from torpor.api.base import LIST_ATOMIC, ApiModel, Count, list_map

Time = Annotated[str, StringConstraints(max_length=40), Field(json_schema_extra={"format": "date-time"})]
Word = Annotated[str, StringConstraints(max_length=128)]
Sentence = Annotated[str, StringConstraints(max_length=4096)]
Decimal = Annotated[str, StringConstraints(max_length=32)]
GpuSeconds = Annotated[int, Field(ge=0, le=2**53)]
Price = Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?$")]
ConditionType = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9]*$")
]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]


class Condition(ApiModel):
    """One thing that is or is not so, since when and why."""

    type: ConditionType
    """
    Ready, Awake, Progressing, PodsScheduled, SignalsAvailable, SpecValid, RouteAccepted, ExternallyScaled,
    ScheduleApplied, ScalingActive, Reconciling or Stalled.
    """
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Reason
    """Why, in one word; the same word as in events and metrics."""
    message: Sentence = ""
    """Why, for people."""
    last_transition_time: Time
    """Since when the status has this value."""
    observed_generation: Count | None = None
    """The generation of the object that this speaks of."""


class SignalReading(ApiModel):
    """What one signal said at the last decision."""

    name: Word
    """The signal."""
    value: Decimal | None = None
    """What was read, per replica or in percent as the target is. Absent: unknown."""
    target: Decimal | None = None
    """What it was compared with."""
    age_seconds: Count | None = None
    """How old the reading was."""
    raw_replicas: Count | None = None
    """The replicas that this signal alone asked for. Absent: it had no say."""
    unknown: Sentence | None = None
    """Why there was no reading. Absent: there was one."""
    lower_bound: Sentence | None = None
    """What did not report, so that the reading may be too low. Absent: it is complete."""


class Clamp(ApiModel):
    """A rule that changed the number."""

    name: Word
    """The rule."""
    from_: Annotated[Count, Field(alias="from")]
    """The number before."""
    to: Count
    """The number after."""
    message: Sentence = ""
    """What the rule says, for people."""


class Decision(ApiModel):
    """Why the fleet has the replicas it has: signals, then rules in order, then the number."""

    mode: Word | None = None
    """The mode in which it was made: Auto, Recommend or Paused."""
    desired_replicas: Count
    """The number that holds: the decided one, or what is kept or set where Torpor does not decide."""
    recommended_replicas: Count | None = None
    """
    The number that Torpor alone would ask for in the mode Auto, were scaling.replicas absent. Absent: it was
    not worked out.
    """
    reason: Reason
    """What made it so, in one word."""
    message: Sentence = ""
    """What made it so, for people."""
    time: Time
    """When this decision was first made."""
    signals: Annotated[list[SignalReading], Field(max_length=16), list_map("name")] = Field(
        default_factory=list
    )
    """What the signals said."""
    clamps: Annotated[list[Clamp], Field(max_length=32), LIST_ATOMIC] = Field(default_factory=list)
    """The rules that changed the number, in order."""
    would_change: Annotated[list[Sentence], Field(max_length=16), LIST_ATOMIC] = Field(default_factory=list)
    """What would make it another number."""


class ColdStartPhase(ApiModel):
    """A part of a cold start."""

    name: Word
    """The part."""
    seconds: Decimal
    """How long it took."""


class ColdStartRecord(ApiModel):
    """What cold starts of this fleet took."""

    last_seconds: Decimal | None = None
    """The last one, from the decision to the first Ready."""
    p95_seconds: Annotated[Decimal | None, Field(alias="p95Seconds")] = None
    """95 of 100 were faster."""
    next_attempt_time: Time | None = None
    """
    When the kubelet starts an engine that crashed again. Absent where Kubernetes names no time: for an image,
    a node or a quota that is missing it tries again by itself.
    """
    phases: Annotated[list[ColdStartPhase], Field(max_length=16), list_map("name")] = Field(
        default_factory=list
    )
    """The parts of the last one."""


class ScheduleActive(ApiModel):
    """What the schedule allows now."""

    name: Sentence
    """The windows or exceptions that hold, or outside."""
    min_replicas: Count | None = None
    """The fewest replicas that they ask for."""
    max_replicas: Count | None = None
    """The most replicas that they allow."""
    ready_by_time: Time | None = None
    """While replicas start early: until when. Absent: none do."""


class ScheduleNext(ApiModel):
    """What the schedule allows next."""

    time: Time
    """From when on."""
    name: Sentence
    """The windows or exceptions that hold then, or outside."""
    min_replicas: Count | None = None
    """The fewest replicas that they ask for."""
    max_replicas: Count | None = None
    """The most replicas that they allow."""


class ScheduleStatus(ApiModel):
    """Where the fleet stands in its schedule."""

    active: ScheduleActive
    """What the schedule allows now."""
    next: ScheduleNext | None = None
    """What it allows next. Absent: nothing changes any more."""
    opens_time: Time | None = None
    """While the ceiling is 0: when it rises by itself. Absent: it is not 0, or it never rises."""


class EngineStatus(ApiModel):
    """What a replica is taken to be, and what Torpor starts its engine with."""

    hardware: Word | None = None
    """
    What a step costs is taken from: a row of Torpor's table of models and GPUs, a guess, or the simulated
    engine's profile. Absent: on what the engines run is not known yet.
    """
    hardware_source: Sentence = ""
    """Where that comes from, and whether the fleet's own steps have taken its place."""
    max_num_batched_tokens: Count | None = None
    """The prefill budget: the most tokens of one step. Absent: the engine's default or the user's flag."""
    max_num_seqs: Count | None = None
    """The sequences that an engine runs at once, lowered to the budget. Absent: not set."""
    step_milliseconds: Decimal | None = None
    """The longest step that the budget allows on a busy replica."""
    message: Sentence = ""
    """Why the budget is what it is, or why there is none."""
    tuned_replicas: Count | None = None
    """
    Ready replicas that run with exactly this budget. The others started before it: no replica is restarted
    for a budget. Absent: there is none.
    """


class GpuSecondsSaved(ApiModel):
    """GPU seconds that were not used."""

    max: GpuSeconds
    """Against a fleet that always runs maxReplicas."""
    peak: GpuSeconds
    """Against a fleet that always runs the most replicas that were needed until then."""


class SavedGpus(ApiModel):
    """GPUs that count with every second since asOf."""

    used: Count
    """Held by pods that have a node: starting, serving, draining."""
    asleep: Count
    """Those of maxReplicas while there is no replica, else 0."""
    max: Count
    """Those of maxReplicas."""
    peak: Count
    """Those of peakReplicas."""


class SavedRecord(ApiModel):
    """
    What was used and saved, in GPU seconds up to asOf. Now it is more: add gpus times the seconds since asOf.
    """

    since: Time
    """When counting began."""
    as_of: Time
    """Up to when the totals count; the last change of the replicas that count."""
    gpu_seconds_used: GpuSeconds
    """GPUs of pods that had a node, from there until they were gone."""
    gpu_seconds_asleep: GpuSeconds
    """Those of maxReplicas while there was no replica."""
    gpu_seconds_saved: GpuSecondsSaved
    """What an always-on fleet would have used beyond that."""
    peak_replicas: Count
    """The most replicas that were needed since then: the highest recommendedReplicas."""
    gpus: SavedGpus
    """GPUs that count with every second since asOf."""
    price_per_gpu_hour: Price | None = None
    """What a GPU of this fleet costs per hour, by the installation's prices. Absent: it gives none."""


class RequestStatus(ApiModel):
    """What became of one annotation wake-at, sleep-at or restart-at."""

    name: Literal["wake", "sleep", "restart"]
    """What was asked for."""
    value: Word
    """The annotation's value; the beginning of a long one."""
    state: Literal["Pending", "Done", "Refused", "Missed", "Invalid"]
    """Pending, or how it ended. A value that has ended is not acted on again."""
    message: Sentence = ""
    """Why, for people."""
    time: Time
    """Since when the state holds."""


class InferenceServiceStatus(ApiModel):
    """What Torpor observed and decided."""

    observed_generation: Count | None = None
    """The generation of the object that this status answers to."""
    replicas: Count | None = None
    """Pods of the fleet, ready or not; the scale subresource's number."""
    ready_replicas: Count | None = None
    """Replicas that answer requests."""
    desired_replicas: Count | None = None
    """Replicas that Torpor, or the writer of scaling.replicas, wants."""
    selector: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Label selector of the pods, for the scale subresource."""
    url: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Base URL for OpenAI clients inside the cluster."""
    conditions: Annotated[list[Condition], Field(max_length=16), list_map("type")] = Field(
        default_factory=list
    )
    """What is and is not so."""
    decision: Decision | None = None
    """Why the fleet has the replicas it has."""
    schedule: ScheduleStatus | None = None
    """Where the fleet stands in its schedule. Absent: it has none."""
    cold_start: ColdStartRecord | None = None
    """What cold starts took."""
    engine: EngineStatus | None = None
    """What a replica is taken to be, and what Torpor starts its engine with."""
    saved: SavedRecord | None = None
    """What was used and saved. Absent: neither the spec nor a pod ever booked an accelerator."""
    requests: Annotated[list[RequestStatus], Field(max_length=3), list_map("name")] = Field(
        default_factory=list
    )
    """What became of the annotations wake-at, sleep-at and restart-at; each value is acted on once."""
