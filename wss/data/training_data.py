"""tf.data streams from TFRecords: labelled, unlabelled and pseudo-labelled training batches, evaluation batches.

Order and augmentation are a function of (seed, example number): a pipeline built at step n goes on exactly as one that ran
there. Each epoch is a shuffled pass over the files (interleaved) and over blocks of undecoded records.
"""

import dataclasses
import itertools
from collections.abc import Callable

import gin
import numpy as np
import tensorflow as tf

from wss.data.augment import Augmentation, image_label_of, pad, split_seed
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example, validate_records
from wss.data.record_files import RecordFiles, split_records
from wss.data.resize import ResizeToRange
from wss.errors import UserError

STREAM_KEYS = {"labeled": 1, "unlabeled": 2, "pseudo": 3}
MASKS_FROM = {
    "labeled": "make a split of those with datasets/make_split.py",
    "pseudo": "label the images with wss-label",
}


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which part of each step one host takes: the `index`-th of `count`."""

    index: int = 0
    count: int = 1


@gin.configurable
class TrainingData:
    """The training streams of one experiment.

    Args:
        info: the data set of the labelled and the unlabelled stream.
        mean_pixel: RGB of padding, the backbone's.
        seed: of order and augmentation.
        labeled_split: with masks.
        unlabeled_split: its masks, if any, are used for monitoring only; None where the method needs no such stream.
        pseudo_directory: the data set of the pseudo-labelled stream, whose masks are a model's predictions; of the same
            classes. None where the method needs no such stream.
        pseudo_split: its split.
        labeled_batch_size, unlabeled_batch_size, pseudo_batch_size: per replica.
        crop_size: (height, width) of the views, best k * output_stride + 1.
        image_label_scope: image-level labels of the unlabelled stream are of the whole "image" (stored, or classes of
            its mask) or of the "crop" (classes of its mask after cropping, as in the original code).
        shuffle_buffer: undecoded records to shuffle at a time; all files are interleaved in random order besides.
    """

    def __init__(
        self,
        info: DatasetInfo,
        mean_pixel: tuple[float, float, float],
        seed: int,
        labeled_split: str = gin.REQUIRED,
        unlabeled_split: str | None = None,
        labeled_batch_size: int = 4,
        unlabeled_batch_size: int = 4,
        crop_size: tuple[int, int] = (513, 513),
        image_label_scope: str = "image",
        shuffle_buffer: int = 2000,
        pseudo_directory: str | None = None,
        pseudo_split: str = "pseudo",
        pseudo_batch_size: int = 4,
    ):
        if image_label_scope not in ("image", "crop"):
            raise UserError(f"TrainingData.image_label_scope = {image_label_scope!r}, expected 'image' or 'crop'")
        self.info = info
        self.seed = seed
        self.infos = {"labeled": info, "unlabeled": info}
        if pseudo_directory:
            self.infos["pseudo"] = DatasetInfo.load(pseudo_directory)
        self.splits = {"labeled": labeled_split, "unlabeled": unlabeled_split or "", "pseudo": pseudo_split}
        self.batch_sizes = {
            "labeled": labeled_batch_size,
            "unlabeled": unlabeled_batch_size,
            "pseudo": pseudo_batch_size,
        }
        height, width = crop_size
        self.crop_size = height, width
        self.image_label_scope = image_label_scope
        self.shuffle_buffer = shuffle_buffer
        self.resize = ResizeToRange()
        self.augmentation = Augmentation(self.crop_size, mean_pixel, info.ignore_label)

    def check(self, streams: tuple[str, ...], use_image_labels: bool = False) -> None:
        """Raises a `UserError` if a stream has no split, no masks or no image-level labels though the method needs them."""
        for stream in streams:
            if not self.splits[stream]:
                raise UserError(f"TrainingData.{stream}_split is not set, but the method reads the {stream} stream")
            if stream not in self.infos:
                raise UserError(
                    f"TrainingData.{stream}_directory is not set, but the method reads the {stream} stream; label images "
                    "with wss-label and give the folder that it wrote"
                )
            info, split = self.infos[stream], self.splits[stream]
            for number, names in enumerate(itertools.zip_longest(info.class_names, self.info.class_names)):
                if names[0] != names[1]:
                    raise UserError(
                        f"TrainingData.{stream}_directory = {info.directory!r}: class {number} is {names[0]!r}, expected "
                        f"{names[1]!r} as in {self.info.directory}; label images with a model of these classes"
                    )
            validate_records(info, split)
            found = info.split(split)
            if stream != "unlabeled" and found.num_masks < found.num_examples:
                raise UserError(
                    f"TrainingData.{stream}_split = {split!r}: {found.num_masks} of its {found.num_examples} images have "
                    f"masks; {MASKS_FROM[stream]}"
                )
        if use_image_labels:
            unlabeled = self.info.split(self.splits["unlabeled"])
            if not unlabeled.num_masks and not unlabeled.num_image_labels:
                raise UserError(
                    f"TrainingData.unlabeled_split = {self.splits['unlabeled']!r} has neither image-level labels nor masks; "
                    "set PseudoSeg.use_image_labels = False or build the records with image labels"
                )

    def batches(self, streams: tuple[str, ...], replicas: int = 1, start_step: int = 0, shard: Shard = Shard()):
        """Returns an endless tf.data of {stream: batch of one replica}, `replicas` of them for each step.

        Batches are always full and no image is dropped: an epoch runs into the next.

        Args:
            streams: some of "labeled", "unlabeled", "pseudo".
            replicas: of this host.
            start_step: number of steps that were taken before.
            shard: this host's part of each step. All hosts read the same order, undecoded, so that together they see
                what one host with all replicas would.
        """
        parts = {}
        for stream in streams:
            batch_size = self.batch_sizes[stream]
            share = replicas * batch_size
            records = self._records(stream, start_step * share * shard.count)
            if shard.count > 1:
                records = records.batch(share).shard(shard.count, shard.index).unbatch()
            examples = records.map(self._view_of(stream), num_parallel_calls=tf.data.AUTOTUNE)
            parts[stream] = examples.batch(batch_size, drop_remainder=True)
        batches = tf.data.Dataset.zip(parts).prefetch(tf.data.AUTOTUNE)
        # Of unknown length several hosts would ask each other before each step whether all have a batch.
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY))

    def names(self, streams: tuple[str, ...], replicas: int, step: int) -> dict[str, list[str]]:
        """Names of the images that step number `step` (from 0) consumes; `replicas` of all hosts."""
        names = {}
        for stream in streams:
            number = self.batch_sizes[stream] * replicas
            records = self._records(stream, step * number).take(number)
            names[stream] = [_name_of(record).numpy().decode() for _, record in records]
        return names

    def _records(self, stream: str, start: int) -> tf.data.Dataset:
        """Endless (example number, serialized example) from example number `start` on."""
        info = self.infos[stream]
        files = RecordFiles(info, self.splits[stream])
        total = sum(files.sizes)
        if not total:
            raise UserError(f"{info.directory}: split {self.splits[stream]!r} has no images")
        key = self._key(stream, 0)

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            order_seed, block_seed = split_seed(tf.random.fold_in(key, number), 2)
            order = tf.random.experimental.stateless_shuffle(tf.range(len(files), dtype=tf.int64), order_seed)
            records = tf.data.Dataset.from_tensor_slices(order).interleave(
                files.read,
                cycle_length=min(len(files), 8),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            # Dataset.shuffle takes no seed from the epoch's number; shuffled blocks do.
            blocks = records.batch(min(self.shuffle_buffer, total)).enumerate()
            shuffle = lambda index, block: tf.random.experimental.stateless_shuffle(
                block, tf.random.fold_in(block_seed, index)
            )
            return blocks.map(shuffle).unbatch()

        first_epoch, skipped = divmod(start, total)
        return tf.data.Dataset.counter(first_epoch).flat_map(epoch).skip(skipped).enumerate(start)

    def _key(self, stream: str, *numbers: int) -> tf.Tensor:
        """A stateless seed from the data seed, a stream and further numbers."""
        state = np.random.SeedSequence([self.seed, STREAM_KEYS[stream], *numbers]).generate_state(2, np.uint32)
        return tf.constant(state.astype(np.int64))

    def _view_of(self, stream: str) -> Callable:
        key, info = self._key(stream, 1), self.infos[stream]
        hide_mask = info.split(self.splits[stream]).hide_masks

        def labeled(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            _, image, label = _read(serialized, info, self.resize)
            view = self.augmentation.weak(image, label, tf.random.fold_in(key, number))
            return {**view, "image_label": image_label_of(view["label"], info.num_classes, info.has_background)}

        def unlabeled(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            example, image, label = _read(serialized, info, self.resize, hide_mask)
            views = self.augmentation.weak_and_strong(image, label, tf.random.fold_in(key, number))
            of_mask = views["label"] if self.image_label_scope == "crop" else example["label"]
            stored = example["has_image_label"]
            if self.image_label_scope == "crop":
                stored &= ~example["has_mask"]
            counted = lambda: image_label_of(of_mask, info.num_classes, info.has_background)
            known = example["has_mask"] | example["has_image_label"]
            return {
                **views,
                "image_label": tf.cond(stored, lambda: example["image_label"], counted),
                "image_label_known": tf.cast(known, tf.float32),
            }

        return unlabeled if stream == "unlabeled" else labeled


def _read(serialized: tf.Tensor, info: DatasetInfo, resize: ResizeToRange, hide_mask: bool = False):
    """Returns the parsed example, its image (uint8, or float32 if it is resized) and its label, both resized."""
    example = parse_example(
        serialized, info.num_classes, info.has_background, ignore_label=info.ignore_label, use_mask=not hide_mask
    )
    return example, *resize(example["image"], example["label"])


def _name_of(serialized: tf.Tensor) -> tf.Tensor:
    feature = {"image/filename": tf.io.FixedLenFeature([], tf.string, "")}
    return tf.io.parse_single_example(serialized, feature)["image/filename"]


def evaluation_batches(
    info: DatasetInfo,
    split: str,
    batch_size: int,
    mean_pixel: tuple[float, float, float],
    size: tuple[int, int] | None = None,
    multiple: int = 16,
) -> tf.data.Dataset:
    """Returns the whole images of a split in order, in batches of one shape; nothing is lost or counted twice.

    Under `ResizeToRange`, "image" means the resized one everywhere here, and labels are resized too.

    Args:
        info: the data set.
        split: its split.
        batch_size: over all replicas; the last batch is filled up with empty examples.
        mean_pixel: RGB of the padding at the bottom and the right.
        size: (height, width) of all batches; by default the smallest k * multiple + 1 that holds the largest image.
        multiple: output stride of the network.

    Returns:
        Batches of image float32 [B, h, w, 3] in 0 .. 255, label int32 [B, h, w, 1] (ignored on padding), valid float32
        [B, h, w, 1], size int32 [B, 2] (0 for an empty example), name string [B].

    Raises:
        UserError: an image of the split is larger than `size`.
    """
    resize = ResizeToRange()
    largest = resize.largest_size(info, split)
    size = size or padded_size(largest, multiple)
    if any(side > limit for side, limit in zip(largest, size, strict=True)):
        raise UserError(
            f"evaluation size {size[0]}x{size[1]} is smaller than the largest image of split {split!r}, "
            f"{largest[0]}x{largest[1]}{' after ResizeToRange' if resize.min_size else ''}; leave it out or use sliding "
            "windows"
        )

    def example_of(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example, image, label = _read(serialized, info, resize)
        return _padded(tf.cast(image, tf.float32), label, example["name"], size, mean_pixel, info.ignore_label)

    examples = split_records(info, split).map(example_of, num_parallel_calls=tf.data.AUTOTUNE)
    missing = -info.split(split).num_examples % batch_size
    if missing:
        nothing = tf.zeros([0, 0, 3]), tf.zeros([0, 0, 1], tf.int32), ""
        empty = tf.data.Dataset.from_tensors(_padded(*nothing, size, mean_pixel, info.ignore_label))
        examples = examples.concatenate(empty.repeat(missing))
    return examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def padded_size(size: tuple[int, int], multiple: int = 16) -> tuple[int, int]:
    """Smallest (k * multiple + 1) that holds `size`, for each side."""
    height, width = (-(-(side - 1) // multiple) * multiple + 1 for side in size)
    return height, width


def _padded(image, label, name, size, mean_pixel, ignore_label) -> dict[str, tf.Tensor]:
    return {
        "image": pad(image, size, mean_pixel),
        "label": pad(label, size, [ignore_label]),
        "valid": pad(tf.ones_like(label, tf.float32), size, [0.0]),
        "size": tf.shape(image)[:2],
        "name": name,
    }
