"""A training before it is run: a few steps that are thrown away tell what a whole one would take."""

import time

from wss.models.deeplab import DeepLab
from wss.progress import format_seconds
from wss.runtime.memory import peak_memory
from wss.training.loop import Trainer


def dry_run(trainer: Trainer) -> None:
    """Takes two steps and evaluates one batch; prints what a whole run would take."""
    step, seconds = trainer.step, _seconds_per_step(trainer, 1)
    losses = step.results(1)
    print("losses of step 2: " + ", ".join(f"{name} {losses[name]:.4g}" for name in step.names[: step.losses]))
    if trainer.evaluation is not None:
        result = trainer.evaluation(number_of_batches=1)
        print(f"evaluation of one batch of {trainer.evaluation.split!r}: {result.num_images} images")
    print(dry_run_report(step.model, seconds=seconds, num_steps=trainer.num_steps, images=trainer.images_per_step))


def measure(trainer: Trainer, number: int = 3) -> tuple[float, float, int, str]:
    """Takes some steps and evaluates some batches, after one of each that compiles.

    Args:
        trainer: The training, which has taken no step.
        number: Number of the steps, and of the batches.

    Returns:
        Seconds a step, seconds an image of an evaluation (0 without one), the peak of the memory in bytes, and in words
        what it is of.
    """
    per_step, per_image = _seconds_per_step(trainer, number), 0.0
    if trainer.evaluation is not None:
        trainer.evaluation(number_of_batches=1)
        result = trainer.evaluation(number_of_batches=number)
        per_image = result.seconds / max(result.num_images, 1)
    return per_step, per_image, *peak_memory()


def _seconds_per_step(trainer: Trainer, number: int) -> float:
    """Prepares the method and takes steps, after one that compiles; returns the mean time of the others."""
    trainer.step.method.prepare(trainer.step.model, trainer.data)
    iterator = trainer.iterator(0)
    trainer.run_steps(iterator, 1)
    start = time.monotonic()
    trainer.run_steps(iterator, number)
    seconds = time.monotonic() - start
    trainer.raise_if_diverged()
    return seconds / number


def dry_run_report(model: DeepLab, *, seconds: float, num_steps: int, images: int) -> str:
    """Says how long a run of `num_steps` takes at `seconds` a step of `images` images, and the memory seen so far."""
    peak, where = peak_memory()
    return (
        f"{model.count_params():,} parameters; {seconds:.2f} s a step of {images} images, so {num_steps} steps take about "
        f"{format_seconds(seconds * num_steps)}; peak {where}: {peak / 2**30:.2f} GiB"
    )
