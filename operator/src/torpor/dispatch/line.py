"""The dispatch line: how many requests a pod may have before the next one waits at the gateway instead.

An engine that is handed everything queues it where nobody can move it: a request stuck behind forty others in
pod A stays there while pod B becomes ready. So a pod gets what it can run (`maxNumSeqs`) plus a short queue
that keeps its batch full (the fleet's queueDepth target), and the rest waits where it can still go anywhere.

That is the long line. At vLLM's sizes (hundreds of sequences) a pod is over its prefill long before it is
over its sequences, and with an objective for the first token the order of those who wait is what counts. So
the fleet then keeps the short line as well: as many wait inside a pod as the queueDepth target says, by the
launcher's own count, whatever room is left in the batch.

What a pod has comes from its launcher's reports, up to 50 ms old. Between two reports each gateway process
adds what it sent and takes off what came back, and never believes that a pod has less than this process
itself has there: a report that was written before our request arrived must not make room that is not there.
What other gateway processes sent since the report is unknown; the line is exceeded by at most that, for the
length of one report. The short line must not throttle an engine that takes hundreds of requests between two
reports: while the reports say that nothing waits inside, what may be sent until the next one doubles each
time that it was not enough, and is small again as soon as something waits.
"""

from dataclasses import dataclass

MOST_DOUBLINGS = 12


@dataclass(slots=True)
class PodLoad:
    """One process's view of one pod. All numbers count requests.

    `max_num_seqs` None means that the pod's capacity is not known, or not limited: it has no line. `waiting`
    None means that nobody told how many wait inside: there is no short line.
    """

    max_num_seqs: int | None = None
    reported: int = 0
    since_report: int = 0
    in_flight: int = 0
    waiting: int | None = None
    doublings: int = 0
    wanted_more: bool = False  # since the report, more than the short line allowed

    @property
    def load(self) -> int:
        """Requests at the pod, running and waiting, as far as this process can know."""
        return max(self.reported + self.since_report, self.in_flight)

    def accepts(self, queue_depth_target: int) -> bool:
        """Say whether the pod is below its line: running + waiting < maxNumSeqs + queueDepth target."""
        return self.max_num_seqs is None or self.load < self.max_num_seqs + queue_depth_target

    def accepts_shortly(self, queue_depth_target: int) -> bool:
        """Say whether the pod is below both lines, so that one more hardly waits inside."""
        if not self.accepts(queue_depth_target):
            return False
        if self.waiting is None:
            return True
        short = max(queue_depth_target, 1)
        if self.waiting:
            return self.waiting + self.since_report < short
        if self.since_report < short << self.doublings:
            return True
        self.wanted_more = True
        return False

    def dispatched(self) -> None:
        """Record that this process sends one request to the pod."""
        self.since_report += 1
        self.in_flight += 1

    def finished(self) -> None:
        """Record that one request that this process had sent is over, however it ended."""
        self.since_report -= 1
        self.in_flight -= 1

    def report(self, running: int | None, waiting: int | None, max_num_seqs: int | None) -> None:
        """Take in a launcher's report. Unknown gauges leave the count as it is: missing is not zero."""
        self.max_num_seqs = max_num_seqs
        if running is not None and waiting is not None:
            self.reported = running + waiting
            self.since_report = 0
            self.waiting = waiting
            if waiting:
                self.doublings = 0
            elif self.wanted_more:
                self.doublings = min(self.doublings + 1, MOST_DOUBLINGS)
            self.wanted_more = False
