"""From the world to the meter of GPU seconds (`api.saved`), and from the meter to the status.

What is used is read off the pods: each has its own number of GPUs, so a rollout from one size to another, or
a pod that an older spec made, counts as what it is. It counts from the moment at which it has a node until it
is gone, because in between nobody else can have its GPUs, whether it loads, serves or drains. A pod that
waits for a node uses none, and a fleet that waits so is not asleep either.

The account in memory is always the one in the object: it changes when the status that holds it was written.
A number that was not written down yet is not counted yet, and so a successor, a scrape and the command line
never see one that another saw higher.
"""

from datetime import UTC, datetime

from torpor.api import accelerators
from torpor.api.conditions import timestamp
from torpor.api.saved import Account, Rates
from torpor.api.status import GpuSecondsSaved, SavedGpus, SavedRecord
from torpor.api.types import InferenceService
from torpor.control.findings import Facts
from torpor.control.hardware import GPU_LABEL, SLICES, Engines
from torpor.decide.prices import Prices


def reckoned(account: Account | None, facts: Facts, now: float) -> Account | None:
    """Return the account after a look at `now` (Unix seconds): itself where no rate changed. None where there
    is none and nothing that could be used or saved.
    """
    world, service = facts.world, facts.world.service
    used = sum(pod.gpus for pod in world.pods if pod.holds_room)
    each = gpus_of(service) if service else None
    if account is None:
        if not used and not each:
            return None
        account = Account.opened(now)
    recommended = facts.decision.recommended if facts.decision else None
    peak = max(account.peak_replicas, recommended or 0)
    most, needed = account.rates.max, account.rates.peak  # of the last spec that could be read
    if service is not None and each is not None:
        most, needed = service.spec.scaling.max_replicas * each, peak * each
    there = any(pod.holds_room or not pod.terminating for pod in world.pods)  # an evicted one stays listed
    asleep = facts.desired == 0 and not there
    return account.changed(Rates(used, most if asleep else 0, most, needed), peak, now)


def gpus_of(service: InferenceService) -> int:
    """Return how many accelerators a replica books."""
    return accelerators.count(service.spec.engine.resources.limits)


def price_of(service: InferenceService | None, engines: Engines, prices: Prices) -> str | None:
    """Return the price of an hour of the fleet's GPUs. Their product is what the node selector says, else the
    launchers; of a slice it is not the card's.
    """
    if service is None or not prices.by_name:
        return None
    resource = next(iter(accelerators.only(service.spec.engine.resources.limits)), "")
    product = (service.spec.engine.pod_template.node_selector or {}).get(GPU_LABEL) or engines.gpu
    return prices.of(None if resource.startswith(SLICES) else product, resource)


def record(account: Account | None, price: str | None) -> SavedRecord | None:
    """Return the account as the status holds it."""
    if account is None:
        return None
    totals, rates = account.totals, account.rates
    return SavedRecord(
        since=_time(account.since),
        as_of=_time(account.as_of),
        gpu_seconds_used=totals.used,
        gpu_seconds_asleep=totals.asleep,
        gpu_seconds_saved=GpuSecondsSaved(max=totals.saved_max, peak=totals.saved_peak),
        peak_replicas=account.peak_replicas,
        gpus=SavedGpus(used=rates.used, asleep=rates.asleep, max=rates.max, peak=rates.peak),
        price_per_gpu_hour=price,
    )


def _time(unix: int) -> str:
    return timestamp(datetime.fromtimestamp(unix, UTC))
