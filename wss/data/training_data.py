"""Training batches from TFRecords by tf.data: labelled, unlabelled and pseudo-labelled streams.

Order (`record_order`) and augmentation are a function of (seed, example number): a pipeline built at step n goes on exactly
as one that ran there.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping

import gin
import numpy as np
import tensorflow as tf

from wss.data.augment import Augmentation, image_label_of
from wss.data.companions import parse_companions
from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import read_example
from wss.data.given_image_labels import GIVEN, GivenImageLabels
from wss.data.record_damage import damage_told, validate_records
from wss.data.record_files import RecordFiles
from wss.data.record_order import shuffled_records
from wss.data.resize import ResizeToRange
from wss.data.stream_checks import check_views
from wss.data.streams import Views
from wss.errors import UserError
from wss.parameter_ranges import Relation, in_ranges
from wss.ranges import LARGEST_BATCH, LARGEST_STEP, Integer, OneOf, OrNone, SetByCode, Size, Text

LABELS_OF_A_BYTE = 256
AGAIN = 1 << 20  # past the numbers that a view draws from
STREAM_KEYS = {"labeled": 1, "unlabeled": 2, "pseudo": 3}
# Of one stream and replica: 3 GiB as float32, before any network.
LARGEST_BATCH_PIXELS = 2**28


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of each step that one host takes.

    Attributes:
        index: Number of the part, from 0.
        count: Number of parts.
    """

    index: int = 0
    count: int = 1


@gin.configurable
@in_ranges(
    "TrainingData",
    *(
        Relation(
            (f"{stream}_batch_size", "crop_size"),
            lambda batch_size, crop_size: batch_size * math.prod(crop_size) <= LARGEST_BATCH_PIXELS,
            f"at most {LARGEST_BATCH_PIXELS} pixels in a batch",
        )
        for stream in STREAM_KEYS
    ),
    Relation(
        ("image_labels", "image_label_scope"),
        lambda file, scope: file is None or scope == "image",
        "no image_labels with the scope 'crop', for a file does not know what a crop shows",
    ),
    info=SetByCode("load_dataset.directory"),
    mean_pixel=SetByCode(),
    seed=SetByCode("train.seed"),
    labeled_split=Text("the name of a split"),
    unlabeled_split=OrNone(Text("the name of a split")),
    labeled_batch_size=Integer(1, LARGEST_BATCH),
    unlabeled_batch_size=Integer(1, LARGEST_BATCH),
    crop_size=Size(),
    image_label_scope=OneOf(("image", "crop")),
    image_labels=OrNone(Text("a CSV file of image-level labels", paths=True)),
    shuffle_buffer=Integer(1, LARGEST_STEP),
    pseudo_directory=OrNone(Text("the folder of a data set", paths=True)),
    pseudo_split=Text("the name of a split"),
    pseudo_batch_size=Integer(1, LARGEST_BATCH),
)
@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The training streams of one experiment.

    Attributes:
        info: The data set of the labelled and the unlabelled stream.
        mean_pixel: RGB of padding, the backbone's.
        seed: Seed of order and augmentation.
        labeled_split: Split with masks.
        unlabeled_split: Split whose masks, if any, are for monitoring only; None where the method needs no such stream.
        pseudo_directory: Folder of the pseudo-labelled data set, whose masks are a model's predictions; of the same
            classes. None where the method needs no such stream.
        pseudo_split: Split of the pseudo-labelled data set.
        labeled_batch_size: Images of the labelled stream per replica.
        unlabeled_batch_size: Images of the unlabelled stream per replica.
        pseudo_batch_size: Images of the pseudo-labelled stream per replica.
        crop_size: (height, width) of the views, best k * output_stride + 1.
        image_label_scope: Scope of the image-level labels of the unlabelled stream. "image" is stored ones, or classes of
            its mask. "crop" is classes of its mask after cropping, as in the original code.
        image_labels: CSV file of the image-level labels of the unlabelled stream, instead of all that its records know;
            see `read_image_labels`. Of an image without a line they are unknown. None takes those of the records.
        shuffle_buffer: Undecoded records to shuffle at a time; all files are interleaved in random order besides.

    Raises:
        UserError: A value outside its range, or no data set in `pseudo_directory`.
    """

    info: DatasetInfo
    mean_pixel: tuple[float, float, float]
    _: dataclasses.KW_ONLY
    seed: int
    labeled_split: str = gin.REQUIRED
    unlabeled_split: str | None = None
    labeled_batch_size: int = 4
    unlabeled_batch_size: int = 4
    crop_size: tuple[int, int] = (513, 513)
    image_label_scope: str = "image"
    image_labels: str | None = None
    shuffle_buffer: int = 2000
    pseudo_directory: str | None = None
    pseudo_split: str = "pseudo"
    pseudo_batch_size: int = 4

    def __post_init__(self):
        # Read and checked now, so that a mistake shows before the network is built.
        self.infos, self.resize, self.augmentation, self.given_image_labels  # noqa: B018

    @functools.cached_property
    def infos(self) -> dict[str, DatasetInfo]:
        """The data set of each stream that has one."""
        infos = {"labeled": self.info, "unlabeled": self.info}
        return {**infos, "pseudo": DatasetInfo.load(self.pseudo_directory)} if self.pseudo_directory else infos

    @property
    def splits(self) -> dict[str, str]:
        """The split of each stream; empty without one."""
        return {"labeled": self.labeled_split, "unlabeled": self.unlabeled_split or "", "pseudo": self.pseudo_split}

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The number of images of each stream per replica."""
        return {
            "labeled": self.labeled_batch_size,
            "unlabeled": self.unlabeled_batch_size,
            "pseudo": self.pseudo_batch_size,
        }

    @functools.cached_property
    def given_image_labels(self) -> GivenImageLabels | None:
        """What the file `image_labels` says."""
        return None if self.image_labels is None else GivenImageLabels.read(self.image_labels, self.info)

    @functools.cached_property
    def resize(self) -> ResizeToRange:
        """The resizing before augmentation."""
        return ResizeToRange()

    @functools.cached_property
    def augmentation(self) -> Augmentation:
        """The random views."""
        height, width = self.crop_size
        fits = self.info.num_classes <= LABELS_OF_A_BYTE and 0 <= self.info.ignore_label < LABELS_OF_A_BYTE
        return Augmentation((height, width), self.mean_pixel, self.info.ignore_label, eight_bits=fits)

    def check(self, streams: Mapping[str, Views]) -> None:
        """Checks that the streams have what a method asks of them.

        Raises:
            UserError: A stream has no split, no folder, other classes, too few masks or boxes, or no image-level labels.
        """
        for stream, views in streams.items():
            if not self.splits[stream]:
                raise UserError(f"TrainingData.{stream}_split is not set, but the method reads the {stream} stream")
            if stream not in self.infos:
                raise UserError(
                    f"TrainingData.{stream}_directory is not set, but the method reads the {stream} stream; label images "
                    "with wss-label and give the folder that it wrote"
                )
            self._check_classes(stream)
            validate_records(self.infos[stream], self.splits[stream])
            given = self.given_image_labels if stream == "unlabeled" else None
            check_views(self.infos[stream], stream, self.splits[stream], views=views, given=given)
        if self.given_image_labels and not any(views.image_labels for views in streams.values()):
            raise UserError(
                f"TrainingData.image_labels = {self.image_labels!r}: the method reads no image-level labels; set "
                "PseudoSeg.use_image_labels = True, or remove it"
            )

    def checksums(self, streams: Iterable[str]) -> dict[str, str]:
        """Returns the checksum of the images of each stream's split, by "stream: split", and of `image_labels`."""
        given = {GIVEN: self.given_image_labels.checksum} if self.given_image_labels else {}
        return given | {
            f"{stream}: {self.splits[stream]}": self.infos[stream].split(self.splits[stream]).checksum
            for stream in streams
        }

    def _check_classes(self, stream: str) -> None:
        info = self.infos[stream]
        for number, names in enumerate(itertools.zip_longest(info.class_names, self.info.class_names)):
            if names[0] != names[1]:
                raise UserError(
                    f"TrainingData.{stream}_directory = {info.directory!r}: class {number} is {names[0]!r}, expected "
                    f"{names[1]!r} as in {self.info.directory}; label images with a model of these classes"
                )

    def batches(
        self, streams: Mapping[str, Views], replicas: int = 1, *, start_step: int = 0, shard: Shard = Shard()
    ) -> tf.data.Dataset:
        """Returns an endless tf.data of {stream: batch of one replica}, `replicas` of them for each step; see `unpacked`.

        Batches are always full and no image is dropped: an epoch runs into the next.

        Args:
            streams: The streams, some of `wss.data.streams.STREAMS`, and what is asked of each.
            replicas: Number of replicas of this host.
            start_step: Number of steps that were taken before.
            shard: This host's part of each step. All hosts read the same order, undecoded, so that together they see
                what one host with all replicas would.
        """
        parts = {}
        for stream, views in streams.items():
            batch_size = self.batch_sizes[stream]
            share = replicas * batch_size
            records = self._records(stream, start_step * share * shard.count)
            if shard.count > 1:
                records = records.batch(share).shard(shard.count, shard.index).unbatch()
            examples = records.map(self._view_of(stream, views), num_parallel_calls=tf.data.AUTOTUNE)
            parts[stream] = examples.batch(batch_size, drop_remainder=True)
        batches = tf.data.Dataset.zip(parts).prefetch(tf.data.AUTOTUNE)
        # Of unknown length several hosts would ask each other before each step whether all have a batch.
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY))

    def damage_told(self, streams: Iterable[str]) -> contextlib.AbstractContextManager:
        """Returns a context in which a pass over the streams that fails tells which record is damaged."""
        return damage_told(*((self.infos[stream], self.splits[stream]) for stream in streams))

    def names(self, streams: Iterable[str], replicas: int, step: int) -> dict[str, list[str]]:
        """Returns the names of the images that step number `step` (from 0) consumes; `replicas` of all hosts."""
        names = {}
        for stream in streams:
            number = self.batch_sizes[stream] * replicas
            records = self._records(stream, step * number).take(number)
            names[stream] = [ascii(_name_of(record).numpy().decode(errors="replace"))[1:-1] for _, record in records]
        return names

    def _records(self, stream: str, start: int) -> tf.data.Dataset:
        """Returns endless (example number, serialized example) from example number `start` on."""
        info = self.infos[stream]
        files = RecordFiles(info, self.splits[stream])
        if not sum(files.sizes):
            raise UserError(f"{info.directory}: split {self.splits[stream]!r} has no images")
        return shuffled_records(files, self._key(stream, 0), start=start, block_size=self.shuffle_buffer)

    def _key(self, stream: str, *numbers: int) -> tf.Tensor:
        """Returns a stateless seed from the data seed, a stream and further numbers."""
        state = np.random.SeedSequence([self.seed, STREAM_KEYS[stream], *numbers]).generate_state(2, np.uint32)
        return tf.constant(state.astype(np.int64))

    def _view_of(self, stream: str, views: Views) -> Callable:
        """Returns the function from (example number, serialized example) to the tensors of a stream."""
        key, info, split = self._key(stream, 1), self.infos[stream], self.splits[stream]
        hide_mask = info.split(split).hide_masks
        given = self.given_image_labels.lookup() if self.given_image_labels and stream == "unlabeled" else None

        def labeled(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            example, image, label = read_example(serialized, info, split, self.resize)
            companions = parse_companions(serialized, views, tf.shape(image)[:2], info)
            seed = tf.random.fold_in(key, number)
            if views.strong:
                view = self.augmentation.weak_and_strong(image, label, seed, companions=companions, strong=views.strong)
                view["image"] = view.pop("weak")
            else:
                view = self.augmentation.weak(image, label, seed, companions=companions)
            if not views.masks:
                return {**view, **self._image_label(example, view["label"], info)}
            return {**view, "image_label": image_label_of(view["label"], info.num_classes, info.has_background)}

        def unlabeled(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            example, image, label = read_example(serialized, info, split, self.resize, hide_mask=hide_mask)
            companions = parse_companions(serialized, views, tf.shape(image)[:2], info)
            seed = tf.random.fold_in(key, number)
            views_of = functools.partial(self.augmentation.weak_and_strong, image, label, strong=views.strong)
            view = views_of(seed, companions=companions)
            view |= given(example["name"]) if given else self._image_label(example, view["label"], info)
            if views.again:
                view |= {f"again/{name}": value for name, value in views_of(tf.random.fold_in(seed, AGAIN)).items()}
            return view

        return unlabeled if stream == "unlabeled" else labeled

    def _image_label(self, example: dict[str, tf.Tensor], crop: tf.Tensor, info: DatasetInfo) -> dict[str, tf.Tensor]:
        """Returns the image-level label of an example, and whether it is known; `crop` is its view's label."""
        of_crop = self.image_label_scope == "crop"
        stored = example["has_image_label"]
        if of_crop:
            stored &= ~example["has_mask"]
        mask = crop if of_crop else example["label"]
        counted = lambda: image_label_of(mask, info.num_classes, info.has_background)
        return {
            "image_label": tf.cond(stored, lambda: example["image_label"], counted),
            "image_label_known": tf.cast(example["has_mask"] | example["has_image_label"], tf.float32),
        }


def _name_of(serialized: tf.Tensor) -> tf.Tensor:
    feature = {"image/filename": tf.io.FixedLenFeature([], tf.string, "")}
    return tf.io.parse_single_example(serialized, feature)["image/filename"]
