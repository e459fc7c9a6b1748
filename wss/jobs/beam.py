"""Runs jobs as an Apache Beam pipeline."""

import contextlib
import io
import logging
import re
from collections.abc import Sequence
from typing import Any

from wss.errors import UserError
from wss.jobs.processes import ConversionStoppedError, Job, hide_accelerators


def make_pipeline(options: str) -> Any:
    """Returns a pipeline of Apache Beam.

    Args:
        options: Options such as "name=value" or "name", separated by commas.

    Raises:
        UserError: Beam is not installed, or knows no such option, value or runner.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError("--beam_pipeline_options: Apache Beam is not installed; pip install 'wss[beam]'") from error
    logging.getLogger("apache_beam").setLevel(logging.WARNING)  # it tells of each message between its processes
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            parsed = PipelineOptions([f"--{option.strip()}" for option in options.split(",") if option.strip()])
            known = parsed.get_all_options().keys()
            unknown = sorted(parsed.get_all_options(retain_unknown_options=True).keys() - known)
            pipeline = beam.Pipeline(options=parsed)
    except (SystemExit, ValueError) as error:
        reason = str(error) if isinstance(error, ValueError) else usage.getvalue().strip().splitlines()[-1]
        raise UserError(f"--beam_pipeline_options={options}: {reason.splitlines()[0]}") from error
    if unknown:
        raise UserError(f"--beam_pipeline_options={options}: Apache Beam knows no option {', '.join(unknown)}")
    return pipeline


def run_beam(function: Job, jobs: Sequence, pipeline: Any, *, accelerators: bool = False) -> None:
    """Calls `function(job, tick)` for all jobs; its results are dropped.

    Args:
        function: Function of a module that is installed on the workers.
        jobs: Jobs that pickle.
        pipeline: Pipeline of `make_pipeline`, which runs once.
        accelerators: Whether the jobs may see the accelerators of their machine.

    Raises:
        ConversionStoppedError: A job, or the pipeline, failed.
    """
    import apache_beam as beam

    try:
        (
            pipeline
            | "jobs" >> beam.Create(jobs)
            | "spread" >> beam.Reshuffle()
            | "run" >> beam.Map(_call, function, accelerators)
        )
        pipeline.run().wait_until_finish()
    except Exception as error:  # whatever the runner wraps the error of a job in
        found = re.search(r"Error: (.+?) \[while running 'run", str(error), re.DOTALL)
        reason = (found[1] if found else f"Apache Beam failed ({error})").splitlines()[0]
        raise ConversionStoppedError(reason) from error


def _call(job, function: Job, accelerators: bool) -> None:
    if not accelerators:
        hide_accelerators()
    function(job, lambda count: None)
