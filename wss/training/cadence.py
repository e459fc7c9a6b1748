"""How often a run writes where nobody says it: often enough for a short run, no more often than a long one needs."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Cadence:
    """The default distance of events, in steps.

    Attributes:
        times: Number of events in a short run.
        at_most: Largest distance, which a long run has.
    """

    times: int
    at_most: int

    def every(self, chosen: int | None, num_steps: int) -> int:
        """Returns the steps between two events: those that were chosen, 0 included, or else the default of a run."""
        return min(max(num_steps // self.times, 1), self.at_most) if chosen is None else chosen


SUMMARIES = Cadence(times=10, at_most=100)
PICTURES = Cadence(times=4, at_most=1000)
# A killed run loses a tenth of its steps at most.
CHECKPOINTS = Cadence(times=10, at_most=1000)
