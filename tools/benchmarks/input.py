"""The input pipeline on JPEG photos of VOC's size, in examples a second; nothing trains.

A stage is timed together with those before it. The records lie in a temporary file, so in the memory of the system.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Case, Workload

if TYPE_CHECKING:
    import tensorflow as tf

    from wss.data.dataset_info import DatasetInfo

PHOTOS = 32
PHOTO_SIZE = (375, 500)
JPEG_QUALITY = 93  # files of 45 to 110 kB, like VOC's
EXAMPLES = 960  # of one repeat, whose start takes as long as twenty
READING = {"parse": ("name",), "image": ("image",), "mask": ("image", "label")}
STREAMS = {"weak": "labeled", "strong": "unlabeled"}


def cases() -> list[Case]:
    """Returns the stages on one core, and the last one on all."""
    case = lambda name, stage, cores=1, **options: Case(name, build, {"stage": stage, **options}, cores)
    return [
        case("parse, 1 core", "parse"),
        case("parse, image, 1 core", "image"),
        case("parse, image, mask, 1 core", "mask"),
        case("batches of weak views, 1 core", "weak"),
        case("batches of weak and strong views, no jitter, 1 core", "strong", jitter_strength=0.0),
        case("batches of weak and strong views, 1 core", "strong"),
        case("batches of weak and strong views, all cores", "strong", None),
    ]


def build(stage: str, crop: int = 513, batch: int = 4, jitter_strength: float = 1.0) -> Workload:
    """Reads `EXAMPLES` examples up to a stage.

    Args:
        stage: One of `READING` (records are parsed, their images and masks decoded) or of `STREAMS` (batches of
            `TrainingData`).
        crop: Side of the views.
        batch: Size of the batches.
        jitter_strength: Strength of the strong views' colour jitter.
    """
    import tensorflow as tf

    from wss.runtime.cpu import keep_freed_memory

    keep_freed_memory()
    folder = tempfile.TemporaryDirectory()
    info = write_photos(Path(folder.name))
    if stage in READING:
        dataset, number = _examples(info, READING[stage]), EXAMPLES
    else:
        dataset, number = _batches(info, STREAMS[stage], crop, batch, jitter_strength), EXAMPLES // batch
    count = tf.function(lambda: dataset.take(number).reduce(0, lambda seen, _: seen + 1))

    def run(_folder: tempfile.TemporaryDirectory = folder) -> None:  # which lives as long as its records are read
        if count() != number:
            raise RuntimeError(f"stage {stage!r} ended early")

    return Workload(run, EXAMPLES)


def write_photos(folder: Path) -> "DatasetInfo":
    """Writes a data set with one split, "train", of `PHOTOS` scenes of Shapes as JPEG photos with masks."""
    import tensorflow as tf

    from wss.conversion.shapes import generate
    from wss.data.dataset_info import DatasetInfo, SplitInfo
    from wss.data.example import encode_example
    from wss.data.masks import encode_mask

    height, width = PHOTO_SIZE
    with tf.io.TFRecordWriter(str(folder / "train.tfrecord")) as writer:
        for number in range(PHOTOS):
            image, mask = (array[:height] for array in generate(0, number, width))
            photo = tf.io.encode_jpeg(image, quality=JPEG_QUALITY).numpy()
            writer.write(encode_example(photo, "jpeg", f"{number}", size=(height, width), mask_png=encode_mask(mask)))
    split = SplitInfo({"train.tfrecord": PHOTOS}, PHOTOS, 0, PHOTO_SIZE)
    names = tuple(f"class {number}" for number in range(21))  # as many as VOC has
    return DatasetInfo("photos", names, ((0, 0, 0),) * len(names), {"train": split}, directory=str(folder))


def _examples(info: "DatasetInfo", keys: tuple[str, ...]) -> "tf.data.Dataset":
    import tensorflow as tf

    from wss.data.example import parse_example
    from wss.data.record_files import split_records

    def example_of(record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = parse_example(record, info.num_classes)
        return tuple(example[key] for key in keys)  # TensorFlow drops the ops that these do not need

    return split_records(info, "train").repeat().map(example_of, num_parallel_calls=tf.data.AUTOTUNE)


def _batches(info: "DatasetInfo", stream: str, crop: int, batch: int, jitter_strength: float) -> "tf.data.Dataset":
    import gin

    from wss.data.training_data import TrainingData
    from wss.methods.pseudoseg.pseudoseg import PseudoSeg

    gin.bind_parameter("Augmentation.jitter_strength", jitter_strength)
    grey = (127.5, 127.5, 127.5)
    data = TrainingData(
        info,
        grey,
        seed=0,
        labeled_split="train",
        unlabeled_split="train",
        labeled_batch_size=batch,
        unlabeled_batch_size=batch,
        crop_size=(crop, crop),
    )
    return data.batches({stream: PseudoSeg().streams[stream]})
