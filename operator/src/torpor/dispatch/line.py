"""The dispatch line: how many requests a pod may have before the next one waits at the gateway instead.

An engine that is handed everything queues it where nobody can move it: a request stuck behind forty others in
pod A stays there while pod B becomes ready. So a pod gets what it can run (`maxNumSeqs`) plus a short queue
that keeps its batch full (the fleet's queueDepth target), and the rest waits where it can still go anywhere.

What a pod has comes from its launcher's reports, up to 50 ms old. Between two reports each gateway process
adds what it sent and takes off what came back, and never believes that a pod has less than this process
itself has there: a report that was written before our request arrived must not make room that is not there.
What other gateway processes sent since the report is unknown; the line is exceeded by at most that, for the
length of one report.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class PodLoad:
    """One process's view of one pod. All numbers count requests.

    `max_num_seqs` None means that the pod's capacity is not known, or not limited: it has no line.
    """

    max_num_seqs: int | None = None
    reported: int = 0
    since_report: int = 0
    in_flight: int = 0

    @property
    def load(self) -> int:
        """Requests at the pod, running and waiting, as far as this process can know."""
        return max(self.reported + self.since_report, self.in_flight)

    def accepts(self, queue_depth_target: int) -> bool:
        """Say whether the pod is below its line: running + waiting < maxNumSeqs + queueDepth target."""
        return self.max_num_seqs is None or self.load < self.max_num_seqs + queue_depth_target

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
