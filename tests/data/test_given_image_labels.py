"""Image-level labels from a file: what reaches a batch, what is refused, and what a resumed run says of another file."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.given_image_labels import GIVEN, GivenImageLabels
from wss.data.image_label_files import read_image_labels, write_image_labels
from wss.data.splits import entries_of
from wss.data.streams import MASKS, Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.training.run_record import RunRecord

STREAMS = {"labeled": MASKS, "unlabeled": Views(strong=1, masks=False, image_labels=True)}


@pytest.fixture(scope="module")
def info(tiny_shapes):
    return DatasetInfo.load(tiny_shapes)


@pytest.fixture(scope="module")
def ids(info):
    return [entry.id for entry in entries_of(info, "train")]


def data(info, **kwargs):
    kwargs = {"labeled_split": "train_1_4", "unlabeled_split": "train", "crop_size": (33, 33), **kwargs}
    return TrainingData(info, (127.5,) * 3, seed=3, labeled_batch_size=2, unlabeled_batch_size=4, **kwargs)


def test_a_batch_has_the_classes_of_the_file_and_not_those_of_the_masks(info, ids, tmp_path):
    """Half of the photos have a line; the fourth of them none of the classes."""
    rng = np.random.default_rng(0)
    labels = {id: tuple(np.flatnonzero(rng.random(6) < 0.4) + 1) for id in ids[::2]} | {ids[6]: ()}
    write_image_labels(tmp_path / "tags.csv", labels, info.class_names)
    given = data(info, image_labels=str(tmp_path / "tags.csv"))
    given.check(STREAMS)
    for step, batch in enumerate(given.batches(STREAMS).take(16).as_numpy_iterator()):
        names = given.names(["unlabeled"], 1, step)["unlabeled"]
        for name, found, known in zip(
            names, batch["unlabeled"]["image_label"], batch["unlabeled"]["image_label_known"], strict=True
        ):
            assert known == (name in labels)
            assert (np.flatnonzero(found) + 1).tolist() == list(labels.get(name, ()))
        # The labelled stream keeps the classes of its masks.
        for label, found in zip(batch["labeled"]["label"], batch["labeled"]["image_label"], strict=True):
            assert (np.flatnonzero(found) + 1).tolist() == [c for c in range(1, 7) if (label == c).any()]


def test_a_pipeline_can_be_built_again(info, ids, tmp_path):
    """A training does, after its first pictures and when it goes on."""
    write_image_labels(tmp_path / "tags.csv", {ids[0]: (1,)}, info.class_names)
    given = data(info, image_labels=str(tmp_path / "tags.csv"))
    first, again = (next(iter(given.batches(STREAMS)))["unlabeled"] for _ in range(2))
    np.testing.assert_array_equal(first["image_label_known"], again["image_label_known"])


def test_views_and_order_are_those_without_a_file(info, ids, tmp_path):
    write_image_labels(tmp_path / "tags.csv", {ids[0]: (1,)}, info.class_names)
    batches = [
        next(iter(data(info, image_labels=file).batches(STREAMS))) for file in (None, str(tmp_path / "tags.csv"))
    ]
    for name in ("weak", "strong", "label"):
        np.testing.assert_array_equal(*(batch["unlabeled"][name] for batch in batches))


def test_what_is_written_is_read_again(tmp_path):
    names = ["background", "a, b", 'quoted "c"', "é", "last"]
    labels = {"sub/one": (1, 3), "two, three": (2,), "none": (), "é": (4,)}
    write_image_labels(tmp_path / "tags.csv", labels, names)
    assert read_image_labels(str(tmp_path / "tags.csv"), names, names[1:]) == (labels, [])
    with pytest.raises(UserError, match="the name 'x;y' has a ';'"):
        write_image_labels(tmp_path / "tags.csv", labels, ["background", "x;y"])


def test_data_without_background_has_a_label_for_every_class(info, tmp_path):
    streets = dataclasses.replace(info, has_background=False)
    write_image_labels(tmp_path / "tags.csv", {"a": (0, 6)}, info.class_names)
    given = GivenImageLabels.read(str(tmp_path / "tags.csv"), streets)
    labels_of = given.lookup()
    np.testing.assert_array_equal(labels_of(tf.constant("a"))["image_label"], [1, 0, 0, 0, 0, 0, 1])
    assert not labels_of(tf.constant("b"))["image_label"].numpy().any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,disc\n", "tags.csv:1: 'disc' is no foreground class.*Did you mean 'disk'"),
        ("a.jpg,disc\nb.jpg,sqare\n", "tags.csv:1: 'disc' .*; 1 more lines are wrong"),
        ("a.jpg,disk,square\n", "3 columns, expected 2"),
        ("filename,labels\n", "has 0 images, none of the 32 of split 'train'; name them as there, such as"),
        ("a.jpg,disk\nb.jpg,\n", "has 2 images, none of the 32 of split 'train'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(text, message, info, tmp_path):
    (tmp_path / "tags.csv").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        data(info, image_labels=str(tmp_path / "tags.csv")).check(STREAMS)
    assert str(error.value).count("\n") == str(error.value).count("In call to configurable")  # which gin appends


def test_a_file_that_is_missing_that_nobody_reads_or_that_says_nothing_of_crops_is_refused(info, ids, tmp_path):
    with pytest.raises(UserError, match="image_labels = .*absent.csv': no such file; tools/guess_image_labels.py"):
        data(info, image_labels=str(tmp_path / "absent.csv"))
    write_image_labels(tmp_path / "tags.csv", {ids[0]: (1,)}, info.class_names)
    with pytest.raises(
        UserError, match="the method reads no image-level labels; set PseudoSeg.use_image_labels = True"
    ):
        data(info, image_labels=str(tmp_path / "tags.csv")).check({"labeled": MASKS, "unlabeled": Views(strong=1)})
    with pytest.raises(UserError, match="does not know what a crop shows"):
        data(info, image_labels=str(tmp_path / "tags.csv"), image_label_scope="crop")


def test_another_file_is_told_when_a_run_goes_on_but_not_the_same_in_another_order(info, ids, tmp_path):
    def record(labels) -> RunRecord:
        write_image_labels(tmp_path / "tags.csv", labels, info.class_names)
        given = data(info, image_labels=str(tmp_path / "tags.csv"))
        return RunRecord.of(info, given.checksums(STREAMS))

    first, turned, other = (
        record(labels)
        for labels in ({ids[0]: (1,), ids[1]: (2,)}, {ids[1]: (2,), ids[0]: (1,)}, {ids[0]: (1,), ids[1]: (3,)})
    )
    assert not first.images_changed(turned)
    assert set(first.images_changed(other)) == {GIVEN}
