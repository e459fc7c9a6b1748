"""What can be said of a run before it takes a step: epochs, what a crop sees, initial weights, room on the disk."""

import math
import shutil
from collections import Counter
from collections.abc import Iterator

import keras
import tensorflow as tf

from wss.data.augment import HOLE_SHARE
from wss.data.crop_share import crop_share, possible_scales, sizes_in
from wss.data.training_data import TrainingData
from wss.models.weights.weights_file import weights_bytes
from wss.run_directory import RunDirectory
from wss.runtime.precision import slow_precision
from wss.tables import format_bytes
from wss.training.checkpoints import saved_checkpoints
from wss.training.loop import Trainer
from wss.training.step import TrainStep

LARGE_HOLE = 0.12  # of a crop; three times as much as the original's
MANY_IMAGES = 10_000  # labelled ones, from which a network learns without initial weights


def run_facts(trainer: Trainer, *, keep_checkpoints: int, initial_weights: str | None) -> list[str]:
    """Returns a line for each fact; a line that begins with "warning" asks to be mended first.

    Args:
        trainer: The training, which has taken no step.
        keep_checkpoints: Number of the last checkpoints that are kept.
        initial_weights: What the network starts from; None for random weights.
    """
    step, data = trainer.step, trainer.data
    batches = step.strategy.num_replicas_in_sync * step.accumulated_batches
    streams = [_stream(data, stream, trainer.num_steps, batches) for stream in step.method.streams]
    return [*streams, *_settings(trainer, keep_checkpoints, initial_weights)]


def run_warnings(trainer: Trainer, *, keep_checkpoints: int, initial_weights: str | None) -> list[str]:
    """Returns the warnings among `run_facts`, which need no look at the images.

    Args:
        trainer: See `run_facts`.
        keep_checkpoints: See `run_facts`.
        initial_weights: See `run_facts`.
    """
    return [line for line in _settings(trainer, keep_checkpoints, initial_weights) if line.startswith("warning")]


def _settings(trainer: Trainer, keep_checkpoints: int, initial_weights: str | None) -> list[str]:
    """Returns the facts that follow from the settings alone."""
    step, data, every = trainer.step, trainer.data, trainer.intervals.checkpoint
    streams = step.method.streams
    written = -(-trainer.num_steps // every) if every else 1
    return [
        *_precision(),
        *_hole(data, any(views.strong for views in streams.values())),
        _initial_weights(trainer, initial_weights, [stream for stream in streams if stream != "unlabeled"]),
        *_disk(
            trainer.run_directory,
            checkpoint=checkpoint_bytes(step),
            kept=min(keep_checkpoints, written),
            weights=weights_bytes(step.model) * (2 if trainer.validation and trainer.validation.keeps_best else 1),
        ),
    ]


def checkpoint_bytes(step: TrainStep) -> int:
    """Returns the bytes of the values that a checkpoint keeps: network, optimizer, method and average."""
    return sum(
        int(tf.TensorShape(variable.shape).num_elements()) * tf.as_dtype(variable.dtype).size
        for _, variable in step.saved_variables()
    )


def _stream(data: TrainingData, stream: str, num_steps: int, batches: int) -> str:
    """Says how often the run sees the images of a stream, and what a crop sees of one."""
    info, split = data.infos[stream], data.splits[stream]
    images = info.split(split).num_examples
    epochs = num_steps * data.batch_sizes[stream] * batches / images
    sizes: Counter[tuple[int, int]] = Counter()
    for size, number in sizes_in(info, split).items():
        sizes[data.resize.size_of(size)] += number
    views = data.augmentation
    share = crop_share(sizes, data.crop_size, possible_scales(views.min_scale, views.max_scale, views.scale_step))
    height, width = data.crop_size
    return (
        f"{stream} stream: {images} images of split {split!r}, {num_steps} steps are {epochs:.3g} epochs; a crop of "
        f"{height}x{width} sees {share}"
    )


def _precision() -> Iterator[str]:
    """Warns of a policy that this processor has no instructions for."""
    if slow := slow_precision(keras.config.dtype_policy().name):
        yield f"warning: {slow}. Leave it out"


def _hole(data: TrainingData, has_strong_views: bool) -> Iterator[str]:
    """Warns of a CutOut hole that was made for larger crops."""
    half, size = data.augmentation.cutout_half_side, data.crop_size
    share = math.prod(min(2 * half / side, 1.0) for side in size)
    if has_strong_views and share > LARGE_HOLE:
        fitting = round(HOLE_SHARE * min(size))
        yield (
            f"warning: the hole of the strong view is {2 * half} pixels wide, {100 * share:.0f} % of a crop of "
            f"{size[0]}x{size[1]}; the original's is 4 %. Set Augmentation.cutout_half_side to about {fitting}"
        )


def _initial_weights(trainer: Trainer, initial_weights: str | None, with_masks: list[str]) -> str:
    data, backbone, preset = trainer.data, trainer.step.model.backbone, trainer.step.model.spec.preset
    if saved := saved_checkpoints(trainer.run_directory):
        return f"initial weights: it goes on from {saved[0].prefix}"
    if initial_weights:
        return f"initial weights: {initial_weights}"
    if preset is not None and preset.has_weights:
        return f"initial weights: the encoder's are those of {preset.source}"
    images = sum(data.infos[stream].split(data.splits[stream]).num_examples for stream in with_masks)
    if images >= MANY_IMAGES:
        return "initial weights: none, it starts from random ones"
    missing, helps = "train.initial_weights is not set", "Set it to 'imagenet' or a file, see docs/weights.md"
    if preset is not None:
        frozen = "" if backbone.trainable else ", and build_model.freeze_encoder keeps the encoder as it is"
        missing, helps = f"build_model.encoder_weights = False{frozen}", "Give the preset, see docs/encoders.md"
    return f"warning: {missing}, and {images} images have masks; random weights need tens of thousands. {helps}"


def _disk(run: RunDirectory, *, checkpoint: int, kept: int, weights: int) -> Iterator[str]:
    """Says how much room the run takes; a new checkpoint is written before the oldest one goes."""
    total = (kept + 1) * checkpoint + weights
    here = [*run.checkpoints.glob("ckpt-*"), run.weights]
    missing = max(total - sum(path.stat().st_size for path in here if path.is_file()), 0)
    folder = next(path for path in (run.path, *run.path.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    yield (
        f"disk: a checkpoint takes {format_bytes(checkpoint)}; {kept} kept, one being written and the exported weights "
        f"take {format_bytes(total)}, and {format_bytes(free)} are free"
    )
    if missing > free:
        yield (
            f"warning: {run.path} needs {format_bytes(missing)} more and {format_bytes(free)} are free in {folder}; make "
            "room, lower train.keep_checkpoints, or give another --run_dir"
        )
