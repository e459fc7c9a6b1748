"""Tells how good pretrained weights are on one's photos, in minutes: a linear classifier on the frozen backbone.

python tools/linear_probe.py --dataset=data/voc_animals --train_split=train_aug --test_split=val \
  --classes=cat,cow,dog,horse,sheep --backbone=mobilenet_v2 --initial_weights=mobilenet_v2_1.0_imagenet.npz

It takes the images that show exactly one of the classes, pools the backbone's last features over each image, fits ridge
regression to the classes, and counts what it gets right on other images, next to the same with random weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from wss.command import run_main
from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError, did_you_mean
from wss.tables import format_columns

if TYPE_CHECKING:
    import tensorflow as tf

    from wss.models.deeplab import DeepLab

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "Folder of the records, with dataset.json in it.", required=True)
flags.DEFINE_string("train_split", "train", "Split with masks to fit on.")
flags.DEFINE_string("test_split", "val", "Split with masks to count on.")
flags.DEFINE_list("classes", [], "Names of the classes to tell apart; by default all but the background.")
flags.DEFINE_float(
    "min_fraction", 0.01, "A class is in an image from this share of its pixels on.", lower_bound=0.0, upper_bound=1.0
)
flags.DEFINE_string("backbone", "mobilenet_v2", "What the weights are of, short for build_model.backbone.")
flags.DEFINE_multi_string("gin_param", [], 'Gin binding of the network, such as "build_model.use_decoder = False".')
flags.DEFINE_string("initial_weights", None, "Whatever train.initial_weights takes.", required=True)
flags.DEFINE_integer("image_size", 161, "Side in pixels to which whole images are resized.", lower_bound=33)
flags.DEFINE_integer("batch_size", 32, "Images at a time.", lower_bound=1)
flags.DEFINE_integer("random_seeds", 1, "How many random initialisations to average.", lower_bound=1)

RIDGES = 10.0 ** np.arange(-4, 4)


def main(argv: list[str]) -> None:
    """Prints a table: weights, numbers of images, accuracy on the test split."""
    from wss.data.record_damage import damage_told
    from wss.experiment import configure
    from wss.inference.pooled_features import pooled_features

    configure([], [f"build_model.backbone = {FLAGS.backbone!r}", *FLAGS.gin_param])
    info = DatasetInfo.load(FLAGS.dataset)
    classes = class_ids(info, FLAGS.classes)
    if FLAGS.train_split == FLAGS.test_split:
        raise UserError(f"--test_split={FLAGS.test_split}: that is the training split too; take other images")
    train, test = (
        single_class_images(info, split, classes, min_fraction=FLAGS.min_fraction, size=FLAGS.image_size)
        for split in (FLAGS.train_split, FLAGS.test_split)
    )
    with damage_told((info, FLAGS.train_split), (info, FLAGS.test_split)):
        train_labels = labels_of(info, FLAGS.train_split, train, classes=classes)
        test_labels = labels_of(info, FLAGS.test_split, test, classes=classes)

        def accuracy(seed: int, weights: str | None = None) -> float:
            model = build(info, seed, weights)
            photos = [images.map(lambda image, _: image) for images in (train, test)]
            features = [pooled_features(model, images, FLAGS.batch_size) for images in photos]
            return np.mean(ridge_predictions(features[0], train_labels, features[1]) == test_labels)

        rows = {
            Path(FLAGS.initial_weights).name: accuracy(0, FLAGS.initial_weights),
            f"random, mean of {FLAGS.random_seeds}": np.mean([accuracy(seed) for seed in range(FLAGS.random_seeds)]),
            "chance: the largest class": np.bincount(test_labels).max() / len(test_labels),
        }
    headers = ("weights", "train images", "test images", "accuracy")
    counts = str(len(train_labels)), str(len(test_labels))
    print(f"\n{format_columns([headers, *[(title, *counts, f'{value:.3f}') for title, value in rows.items()]])}")


def class_ids(info: DatasetInfo, names: list[str]) -> list[int]:
    """Returns the class ids of names, or all foreground classes if there are no names."""
    foreground = info.class_names[int(info.has_background) :]
    for name in names:
        if name not in foreground:
            raise UserError(
                f"--classes={name}: no class to tell apart in {info.directory}; it has {', '.join(foreground)}."
                f"{did_you_mean(name, foreground)}"
            )
    if len(set(names or foreground)) < 2:
        raise UserError(f"--classes={','.join(names)}: expected two classes or more")
    return sorted({info.class_names.index(name) for name in names or foreground})


def single_class_images(
    info: DatasetInfo, split: str, classes: list[int], *, min_fraction: float, size: int
) -> "tf.data.Dataset":
    """Returns the images of a split that show exactly one of `classes`.

    Args:
        info: The data set.
        split: Name of a split with masks.
        classes: Ids of the classes; others may be in an image too.
        min_fraction: Least share of an image's pixels, ignored ones included, that a class in it has.
        size: Side in pixels to which images are resized, whatever their shape.

    Returns:
        Image float32 [size, size, 3], and index into `classes`, of each of them.

    Raises:
        UserError: The split has no masks, or its records are broken.
    """
    if not info.split(split).num_masks:
        raise UserError(f"{info.directory}: split {split!r} has no masks, which say what its images show")
    import tensorflow as tf

    from wss.data.example import parse_example
    from wss.data.record_damage import validate_records
    from wss.data.record_files import split_records

    validate_records(info, split)

    def example_of(serialized):
        example = parse_example(
            serialized,
            info.num_classes,
            info.has_background,
            ignore_label=info.ignore_label,
            max_size=info.split(split).max_size,
        )
        here = tf.cast(tf.reshape(example["label"], [-1, 1]) == tf.constant(classes), tf.float32)
        share = tf.reduce_mean(here, axis=0)
        present = (share > 0) & (share >= min_fraction)
        image = tf.image.resize(example["image"], [size, size], antialias=True)
        return image, tf.argmax(present), tf.math.count_nonzero(present)

    examples = split_records(info, split).map(example_of, num_parallel_calls=tf.data.AUTOTUNE)
    alone = examples.filter(lambda _image, _label, number: number == 1)
    return alone.map(lambda image, label, _: (image, label))


def labels_of(info: DatasetInfo, split: str, images: "tf.data.Dataset", *, classes: list[int]) -> np.ndarray:
    """Returns the labels [N] of `single_class_images` and prints how many there are of each.

    Raises:
        UserError: A class has no image.
    """
    labels = np.array([label for _, label in images.as_numpy_iterator()], np.int64)
    names = [info.class_names[c] for c in classes]
    counts = np.bincount(labels, minlength=len(classes))
    left_out = info.split(split).num_examples - len(labels)
    shown = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    print(f"{split}: {shown}; {left_out} images left out, with none or several of these classes")
    if not counts.all():
        raise UserError(
            f"--classes={','.join(names)}: no image of split {split!r} shows {names[counts.argmin()]!r} and no other of "
            "them; leave it out or change --min_fraction"
        )
    return labels


def build(info: DatasetInfo, seed: int, initial_weights: str | None = None) -> "DeepLab":
    """Returns the configured model with random or with pretrained weights."""
    import keras

    from wss.models.deeplab import build_model
    from wss.models.weights.initial_weights import load_initial_weights

    keras.utils.set_random_seed(seed)
    model = build_model(info)
    if initial_weights:
        print(load_initial_weights(model, initial_weights))
    return model


def ridge_predictions(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Returns the classes of `test` [M, D] by ridge regression of one-hot `labels` [N] on standardised `train` [N, D].

    The penalty, of `RIDGES` per image, is what does best on every fifth training image when the others are fitted, the
    middle one of several that do.
    """
    held_out = np.arange(len(train)) % 5 == 4
    tried = _ridge(train[~held_out], labels[~held_out], train[held_out], RIDGES)
    correct = (tried == labels[held_out]).sum(axis=1)
    best = RIDGES[correct == correct.max()]
    return _ridge(train, labels, test, best[[len(best) // 2]])[0]


def _ridge(train, labels, test, ridges) -> np.ndarray:
    """Returns the classes [R, M] for each of R penalties; one decomposition serves them all."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation < 1e-12] = 1.0
    train, test = (train - mean) / deviation, (test - mean) / deviation
    targets = np.eye(labels.max() + 1)[labels]
    u, s, vt = np.linalg.svd(train, full_matrices=False)
    shrunk = s / (s**2 + len(train) * ridges[:, None])
    scores = (test @ vt.T) @ (shrunk[..., None] * (u.T @ (targets - targets.mean(axis=0)))) + targets.mean(axis=0)
    return scores.argmax(axis=-1)


if __name__ == "__main__":
    run_main(main)
