"""Where jobs run: in processes of this machine, or on Apache Beam."""

import dataclasses
from collections.abc import Sequence

from wss.jobs.beam import make_pipeline, run_beam
from wss.jobs.processes import Job, run_jobs


@dataclasses.dataclass(frozen=True)
class Runner:
    """A place where jobs run.

    Attributes:
        workers: Number of processes, this one included; 0 for one per core if there are many images, else 1.
        beam_pipeline_options: Options of Apache Beam, see `make_pipeline`; None for processes.

    Raises:
        UserError: Beam is not installed, or knows no such option.
    """

    workers: int = 0
    beam_pipeline_options: str | None = None

    def __post_init__(self):
        if self.beam_pipeline_options is not None:
            make_pipeline(self.beam_pipeline_options)  # what is wrong shows before any work

    def __call__(self, function: Job, jobs: Sequence, what: str, *, total: int, accelerators: bool = False) -> None:
        """Calls `function(job, tick)` for all jobs; its results are dropped.

        Args:
            function: Function of a module, see `run_jobs`.
            jobs: Jobs that pickle.
            what: A few words for the progress line.
            total: Number of images.
            accelerators: Whether jobs on Beam may see the accelerators of their machine.
        """
        if self.beam_pipeline_options is None:
            run_jobs(function, jobs, workers=self.workers, what=what, total=total)
        else:
            run_beam(function, jobs, make_pipeline(self.beam_pipeline_options), accelerators=accelerators)
