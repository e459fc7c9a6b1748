"""The one training loop: steps, checkpoints, summaries and evaluations in between."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import tensorflow as tf

from wss.data.input_rate import pipeline_rate, slow_input_line
from wss.data.streams import unpacked
from wss.data.training_data import Shard, TrainingData
from wss.errors import UserError
from wss.evaluation.evaluation import SplitEvaluation, report
from wss.evaluation.result import Result, read_json
from wss.files import write_errors
from wss.models.weights.checkpoint_files import non_finite
from wss.models.weights.weights_file import save_weights
from wss.progress import TrainingProgress, say
from wss.run_directory import RunDirectory
from wss.runtime.stopping import StopRequest, end
from wss.runtime.strategy import number_of_hosts, of_all_replicas
from wss.training.checkpoints import Checkpoints
from wss.training.known_scalars import known_scalars
from wss.training.resuming import resume
from wss.training.run_record import RunRecord
from wss.training.step import TrainStep
from wss.training.summaries import write_figures, write_scalars
from wss.training.validation import Validation

DIVERGED_HELP = "Lower build_optimizer.learning_rate, set train.clip_norm"
WORTH_A_LOOK = 100  # steps to come, below which the speed of the input does not matter


class TrainingDiverged(UserError):
    """A loss or a weight is NaN or infinite."""


@dataclasses.dataclass
class Intervals:
    """The steps from one event to the next.

    Attributes:
        summary: Steps between scalars; 0 is never, here and below.
        pictures: Steps between pictures.
        checkpoint: Steps between checkpoints; there is always one at the end.
        evaluation: Steps between evaluations.
    """

    summary: int
    pictures: int
    checkpoint: int
    evaluation: int

    def next_stop(self, step: int, steps_per_loop: int, num_steps: int) -> int:
        """Returns the step up to which to run without looking: `steps_per_loop` on, or a multiple of an interval."""
        stops = [step + steps_per_loop, num_steps]
        stops += [(step // every + 1) * every for every in dataclasses.astuple(self) if every]
        return min(stops)


class Trainer:
    """The loop that runs a `TrainStep` to its end, with checkpoints, summaries and evaluations in between.

    Args:
        step: The compiled step.
        data: The training streams.
        run: The folder of everything that is written.
        num_steps: Optimizer steps of the whole run.
        steps_per_loop: Steps without looking from the host.
        intervals: Steps from one event to the next.
        keep_checkpoints: Number of the last checkpoints that are kept.
        evaluation: Evaluates the network; None for no evaluation.
        validation: What is remembered of the evaluations; None for nothing.
    """

    def __init__(
        self,
        step: TrainStep,
        data: TrainingData,
        run: RunDirectory,
        *,
        num_steps: int,
        steps_per_loop: int,
        intervals: Intervals,
        keep_checkpoints: int,
        evaluation: SplitEvaluation | None,
        validation: Validation | None = None,
    ):
        self.step, self.data, self.run_directory = step, data, run
        self.num_steps, self.steps_per_loop, self.intervals = num_steps, steps_per_loop, intervals
        self.evaluation, self.validation = evaluation, validation
        self.strategy = step.strategy
        parts = {"model": step.model, "optimizer": step.optimizer}
        if step.average is not None:
            parts["average"] = step.average
        self.checkpoints = Checkpoints(parts, run, keep_checkpoints)

    @property
    def finished_steps(self) -> int:
        """The number of steps that are taken."""
        return int(self.step.optimizer.iterations.numpy())

    def run(self) -> Result | None:
        """Trains from the last checkpoint, if there is one, to `num_steps`."""
        self._begin()
        iterator = self.iterator(self.finished_steps)
        writer = self._writer()
        progress = TrainingProgress(self.finished_steps, self.num_steps, self.images_per_step)
        with StopRequest() as request, contextlib.closing(progress):
            stopped = 0
            loops = 0
            while (now := self.finished_steps) < self.num_steps and not stopped and not self._exhausted():
                stop = self.intervals.next_stop(now, self.steps_per_loop, self.num_steps)
                start = time.monotonic()
                self.run_steps(iterator, stop - now)
                loops += 1
                if loops == 2 and self.num_steps - stop > WORTH_A_LOOK:  # the first loop compiled
                    self._compare_with_input((stop - now) / (time.monotonic() - start))
                self.raise_if_diverged()
                scalars = known_scalars(self.step.results(stop - now), self.step.method.known_when)
                progress.update(stop, {name: scalars[name] for name in self.step.names[: self.step.losses]})
                self._after(stop, scalars, writer, progress)
                # One host alone must not stop: the others would wait for it.
                stopped = max(of_all_replicas(self.strategy, request.number))
            progress.close()
            if stopped:
                self._save(self.finished_steps)
                end(stopped, f"after {self.finished_steps} steps, saved; run the same command to go on")
                return None
        return self._finish()

    def run_steps(self, iterator: Iterator, number: int) -> None:
        """Takes steps on batches of an iterator, see `iterator`; damaged records are told with their file."""
        with self._damage_told():
            self.step.run(iterator, number)

    def _damage_told(self) -> contextlib.AbstractContextManager:
        return self.data.damage_told(self.step.method.streams)

    def _begin(self) -> None:
        """Goes on from the last checkpoint; without one the run begins, from the initial weights if there are any."""
        found = RunRecord.of(self.data.info, self.data.checksums(self.step.method.streams))
        resumed = resume(self.run_directory, self.checkpoints, found, num_steps=self.num_steps)
        if len(steps := set(of_all_replicas(self.strategy, self.finished_steps))) > 1:
            raise UserError(
                f"{self.run_directory.path}: the hosts found checkpoints of different steps there ({sorted(steps)}); "
                "--run_dir must be a folder that all of them share"
            )
        self.run_directory.save_config()
        preset = self.step.model.spec.preset
        if preset is not None and self.run_directory.writes:
            preset.write(self.run_directory.encoder)
        (resumed or found).write(self.run_directory)
        if not resumed:
            self.step.method.prepare(self.step.model, self.data)
        elif self.validation is not None:
            self.validation.go_on(self.finished_steps)
            if self._evaluates_after(self.finished_steps) and self.finished_steps not in self.validation.mean_iou:
                self._evaluate(self.finished_steps)  # the run was killed between checkpoint and evaluation

    def _writer(self) -> tf.summary.SummaryWriter:
        if self.run_directory.writes:
            return tf.summary.create_file_writer(str(self.run_directory.summaries))
        return tf.summary.create_noop_writer()

    def iterator(self, start_step: int) -> Iterator:
        """Returns an endless iterator over the batches of all replicas, from the first of a step on."""

        def per_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            shard = Shard(context.input_pipeline_id, context.num_input_pipelines)
            replicas = self.strategy.num_replicas_in_sync // context.num_input_pipelines
            batches = start_step * self.step.accumulated_batches
            return self.data.batches(self.step.method.streams, replicas, start_step=batches, shard=shard)

        return iter(self.strategy.distribute_datasets_from_function(per_host))

    def _compare_with_input(self, steps_per_second: float) -> None:
        replicas = self.strategy.num_replicas_in_sync // number_of_hosts(self.strategy)
        with self._damage_told():
            rate = pipeline_rate(self.data.batches(self.step.method.streams, replicas), seconds=2.0)
        if line := slow_input_line(rate, steps_per_second * self.step.accumulated_batches, replicas):
            say(line)

    def _after(self, step: int, scalars: dict[str, float], writer, progress: TrainingProgress) -> None:
        due = lambda every: every and step % every == 0
        writing = lambda: write_errors(self.run_directory.summaries, "make room, then the same command goes on")
        if due(self.intervals.summary):
            rates = {"learning_rate": float(self.step.optimizer.learning_rate)}
            rates["steps_per_second"] = progress.steps_per_second
            with writing():
                write_scalars(writer, {**scalars, **rates}, step)
        if due(self.intervals.pictures):  # on all hosts: the networks' statistics are read together
            with self._damage_told():
                batch = self.strategy.experimental_local_results(next(self.iterator(step)))[0]
            figures = self.step.method.training_figures(self.step.model, unpacked(batch))
            with writing():
                write_figures(writer, figures, self.data.info, step=step)
        if due(self.intervals.checkpoint):
            self._save(step)
            with writing():
                writer.flush()
        if self._evaluates_after(step):
            self._evaluate(step)

    def _evaluates_after(self, step: int) -> bool:
        """Returns whether a step on the way is followed by an evaluation; the last one's is due in any case."""
        return bool(self.intervals.evaluation) and step % self.intervals.evaluation == 0 and step < self.num_steps

    def _evaluate(self, step: int) -> Result:
        """Evaluates the weights after a step, and keeps them if they are the best; their result is the run's then."""
        assert self.evaluation is not None
        self._raise_if_not_finite()
        validation, run = self.validation, self.run_directory
        with self._evaluated_weights():
            result = self.evaluation()
            counts = not (validation and validation.keeps_best) or validation.is_better(result.mean_iou)
            if validation and validation.keeps_best and counts:
                says = {"step": step, "mean_iou": result.mean_iou}
                save_weights(self.step.model, run, run.best_weights, says)
        if run.writes:
            report(result, run, step, write=counts)
        if validation:
            validation.add(step, result.mean_iou)
        return result

    def _exhausted(self) -> bool:
        """Returns whether the run ends early, since the evaluations get no better."""
        if self.validation is None or self.validation.patience is None:
            return False
        exhausted = bool(max(of_all_replicas(self.strategy, int(self.validation.exhausted))))
        if exhausted and self.run_directory.writes:
            print(
                f"ends after {self.finished_steps} of {self.num_steps} steps: {self.validation.patience} evaluations on "
                f"{self.validation.split!r} were no better (train.early_stopping)"
            )
        return exhausted

    def _save(self, step: int) -> None:
        self._raise_if_not_finite()
        self.checkpoints.save(step)

    def _finish(self) -> Result | None:
        self._save(self.finished_steps)
        with self._evaluated_weights():
            save_weights(self.step.model, self.run_directory)
        if self.evaluation is None:
            return None
        result = self._evaluate(self.finished_steps)
        if self.validation is None or not self.run_directory.writes:
            return result
        print(self.validation.table(self.finished_steps))
        print(self.validation.last_words(self.finished_steps))
        return read_json(self.run_directory.evaluation(result.split)) if self.validation.keeps_best else result

    def raise_if_diverged(self) -> None:
        """Raises an error if the loss of a step was not finite."""
        failure = self.step.failure()
        if failure is None:
            return
        step, losses = failure
        # The batches of a step follow each other, as those of its replicas do.
        batches = self.strategy.num_replicas_in_sync * self.step.accumulated_batches
        names = self.data.names(self.step.method.streams, batches, step)
        images = "; ".join(f"{stream}: {', '.join(values)}" for stream, values in names.items())
        values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        raise TrainingDiverged(
            f"the loss of step {step + 1} is not finite ({values}); images {images}. {self._last_good()}. "
            f"{DIVERGED_HELP}, or look at these images"
        )

    def _raise_if_not_finite(self) -> None:
        """Raises an error if what a checkpoint would keep has NaN or infinity; collective, as it reads statistics."""
        if name := non_finite(self.step.saved_variables()):
            raise TrainingDiverged(
                f"{name} is not finite after step {self.finished_steps}. {self._last_good()}. {DIVERGED_HELP}"
            )

    def _last_good(self) -> str:
        return f"Last good checkpoint: {self.checkpoints.last or 'none yet'}"

    @property
    def images_per_step(self) -> int:
        """Images of a step, of all streams, replicas and batches."""
        per_replica = sum(self.data.batch_sizes[stream] for stream in self.step.method.streams)
        return per_replica * self.strategy.num_replicas_in_sync * self.step.accumulated_batches

    def _evaluated_weights(self) -> contextlib.AbstractContextManager:
        """Returns a context in which the network carries the weights that are evaluated and exported."""
        average = self.step.average or self.step.method.evaluated(self.step.model)
        return contextlib.nullcontext() if average is None else average.swapped()
