"""Streams: order is a function of the seed and the step, hosts share the records, evaluation loses nothing."""

import collections
import dataclasses
import shutil

import gin
import numpy as np
import pytest
import tensorflow as tf

from wss.conversion.shapes import build_shapes
from wss.data.augment import image_label_of
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.evaluation_data import evaluation_batches
from wss.data.padding import Padding, pad
from wss.data.streams import MASKS, Views
from wss.data.training_data import Shard, TrainingData
from wss.errors import UserError
from wss.models.backbones.registry import BACKBONES

GREY = (127.5, 127.5, 127.5)
LABELED, UNLABELED, PSEUDO = {"labeled": MASKS}, {"unlabeled": Views(strong=1, masks=False)}, {"pseudo": MASKS}
BOTH = {**LABELED, **UNLABELED}


@pytest.fixture(scope="module")
def info(tiny_shapes):
    return DatasetInfo.load(tiny_shapes)


def data(info, **kwargs):
    kwargs = {"seed": 3, "labeled_split": "train_1_4", "unlabeled_split": "train", "crop_size": (33, 33), **kwargs}
    return TrainingData(info, GREY, labeled_batch_size=2, unlabeled_batch_size=3, **kwargs)


@pytest.fixture(scope="module")
def pseudo(tmp_path_factory):
    """Another data set in place of pseudo-labelled images: 20 of them, which TrainingData reads as its third stream."""
    directory = tmp_path_factory.mktemp("pseudo") / "shapes"
    build_shapes(directory, num_train=20, num_val=2, size=48, seed=1, num_shards=2)
    return {"pseudo_directory": str(directory), "pseudo_split": "train", "pseudo_batch_size": 2}


def take(dataset, number):
    return list(dataset.take(number).as_numpy_iterator())


def assert_equal(a, b):
    tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def test_batches_have_the_promised_shapes(info):
    (batch,) = take(data(info).batches(BOTH), 1)
    shapes = {stream: {name: value.shape for name, value in part.items()} for stream, part in batch.items()}
    image, mask = (33, 33, 3), (33, 33, 1)
    assert shapes["labeled"] == {"image": (2, *image), "label": (2, *mask), "valid": (2, *mask), "image_label": (2, 6)}
    assert shapes["unlabeled"] == {
        "weak": (3, *image), "strong": (3, *image), "label": (3, *mask), "valid": (3, *mask), "not_padding": (3, *mask),
        "image_label": (3, 6), "image_label_known": (3,),
    }  # fmt: skip


@pytest.mark.parametrize("start", [1, 7, 12])
def test_a_stream_goes_on_as_if_never_stopped(info, start):
    """12 steps of 3 pass the end of the epoch of 32 images."""
    whole = take(data(info).batches(BOTH), start + 2)
    assert_equal(take(data(info).batches(BOTH, start_step=start), 2), whole[start:])


def test_two_replicas_start_where_they_stopped(info):
    whole = take(data(info).batches(BOTH, replicas=2), 8)
    assert_equal(take(data(info).batches(BOTH, replicas=2, start_step=3), 2), whole[6:])


def test_seed_changes_order_and_views(info):
    (one,), (other,) = take(data(info).batches(BOTH), 1), take(data(info, seed=4).batches(BOTH), 1)
    assert np.any(one["labeled"]["image"] != other["labeled"]["image"])


def test_an_epoch_has_each_image_once_and_the_next_another_order(info):
    streams = data(info)
    names = [name for step in range(16) for name in streams.names(("labeled",), 1, step)["labeled"]]
    epochs = [names[i : i + 8] for i in range(0, 32, 8)]
    assert all(sorted(epoch) == sorted(epochs[0]) and len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize(("hosts", "replicas"), [(2, 1), (2, 2), (3, 1)])
def test_hosts_see_together_what_one_host_sees(info, hosts, replicas):
    """Six steps pass the end of both epochs, of 8 and 32 images; the views are the same too."""
    whole = take(data(info).batches(BOTH, replicas=hosts * replicas, start_step=1), 6 * hosts * replicas)
    for index in range(hosts):
        part = take(data(info).batches(BOTH, replicas, start_step=1, shard=Shard(index, hosts)), 6 * replicas)
        for step in range(6):
            first = (step * hosts + index) * replicas
            assert_equal(part[step * replicas : (step + 1) * replicas], whole[first : first + replicas])


def test_pseudo_labels_are_a_stream_of_their_own(info, pseudo):
    streams = {**LABELED, **PSEUDO}
    whole = take(data(info, **pseudo).batches(streams), 12)
    alone = take(data(info).batches(LABELED), 12)
    for batch, labeled in zip(whole, alone, strict=True):
        assert_equal(batch["labeled"], labeled["labeled"])
        assert {name: value.shape for name, value in batch["pseudo"].items()} == {
            name: value.shape for name, value in batch["labeled"].items()
        }
    assert_equal(take(data(info, **pseudo).batches(streams, start_step=7), 2), whole[7:9])
    for index in range(2):
        part = take(data(info, **pseudo).batches(streams, shard=Shard(index, 2)), 6)
        assert_equal(part, whole[index::2])


def test_pseudo_labels_are_those_of_their_records(info, pseudo):
    """Views of whole images, as they are: each is an image of the other data set with its mask."""
    for name in ("min_scale", "max_scale"):
        gin.bind_parameter(f"Augmentation.{name}", 1.0)
    gin.bind_parameter("Augmentation.flip_probability", 0.0)
    views = [part["pseudo"] for part in take(data(info, crop_size=(48, 48), **pseudo).batches(PSEUDO), 10)]
    records = take(
        evaluation_batches(
            DatasetInfo.load(pseudo["pseudo_directory"]), "train", 20, padding=Padding(GREY), size=(48, 48)
        ),
        1,
    )[0]
    whole = lambda parts: sorted(
        np.concatenate([p["image"], p["label"]], -1).astype(np.float32).tobytes() for p in parts
    )
    rows = lambda batch: [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    assert whole([row for batch in views for row in rows(batch)]) == whole(rows(records))


@pytest.mark.parametrize(("labeled", "counts"), [("train_1_4", {2, 3}), ("train", {0, 1})])
def test_labelled_images_are_repeated_to_the_length_of_a_pass_over_the_pseudo_split(info, pseudo, labeled, counts):
    """Batches of 2 and 2, 20 pseudo-labelled images: each of 8 labelled ones comes 2 or 3 times, of 32 at most once."""
    streams = data(info, labeled_split=labeled, **pseudo)
    steps = [streams.names(("labeled", "pseudo"), 1, step) for step in range(10)]
    seen = {stream: collections.Counter(name for step in steps for name in step[stream]) for stream in steps[0]}
    assert len(seen["pseudo"]) == 20 and set(seen["pseudo"].values()) == {1}
    images = info.split(labeled).num_examples
    assert set(seen["labeled"].values()) | ({0} if len(seen["labeled"]) < images else set()) == counts


def test_hidden_masks_are_not_seen(info):
    """Neither the label of the stream nor, without stored ones, image-level labels."""
    hidden = dataclasses.replace(info.split("train"), hide_masks=True)
    hiding = dataclasses.replace(info, splits={**info.splits, "train": hidden})
    (seen,), (unseen,) = (take(data(i).batches(UNLABELED), 1) for i in (info, hiding))
    assert (seen["unlabeled"]["label"] < 255).any() and seen["unlabeled"]["image_label_known"].all()
    assert (unseen["unlabeled"]["label"] == 255).all() and not unseen["unlabeled"]["image_label_known"].any()
    assert not unseen["unlabeled"]["image_label"].any()
    np.testing.assert_array_equal(seen["unlabeled"]["weak"], unseen["unlabeled"]["weak"])


def test_image_labels_are_of_the_image_or_of_the_crop(info):
    unlabeled = lambda scope: take(data(info, image_label_scope=scope).batches(UNLABELED), 4)
    for whole, crop in zip(unlabeled("image"), unlabeled("crop"), strict=True):
        whole, crop = whole["unlabeled"], crop["unlabeled"]
        present = np.stack([[np.any(label == c) for c in range(1, 7)] for label in crop["label"]])
        np.testing.assert_array_equal(crop["image_label"], present)
        assert np.all(whole["image_label"] >= crop["image_label"])


def test_evaluation_has_every_pixel_of_every_image_once(info):
    batches = take(evaluation_batches(info, "val", 4, padding=Padding(GREY)), 10)
    assert len(batches) == 2  # six images and two empty ones
    names = [name for batch in batches for name in batch["name"]]
    assert len(set(names[:6])) == 6 and names[6:] == [b"", b""]
    assert batches[0]["image"].shape == (4, 49, 49, 3)
    for batch in batches:
        padding = batch["valid"][..., 0] == 0
        assert np.all(batch["label"][padding] == 255) and np.all(batch["image"][padding] == 127.5)
    assert sum(batch["valid"].sum() for batch in batches) == 6 * 48 * 48
    np.testing.assert_array_equal(batches[1]["size"], [[48, 48], [48, 48], [0, 0], [0, 0]])


def test_padded_sizes_by_hand():
    assert Padding(GREY).size((500, 375)) == (513, 385)
    assert Padding(GREY).size((513, 17)) == (513, 17)
    patches = Padding(GREY, 14, 0)
    assert patches.size((500, 375)) == (504, 378) and patches.size((518, 1)) == (518, 14)
    # UniMatch V2: int(side / 14 + .5) * 14, at least one patch.
    assert patches.nearest((375, 500)) == (378, 504) and patches.nearest((3, 357)) == (14, 364)


def test_evaluation_refuses_a_size_that_cuts_images(info):
    with pytest.raises(UserError, match="33x33 is smaller than the largest image of split 'val', 48x48"):
        evaluation_batches(info, "val", 2, padding=Padding(GREY), size=(33, 33))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unlabeled_split": None}, "unlabeled_split is not set"),
        ({"labeled_split": "trian"}, "no split 'trian'.*Did you mean 'train'"),
        ({"image_label_scope": "photo"}, "image_label_scope = 'photo', expected"),
    ],
)
def test_wrong_streams_are_refused(info, change, message):
    with pytest.raises(UserError, match=message):
        data(info, **change).check(BOTH)


def test_wrong_pseudo_labels_are_refused(info, pseudo, tmp_path):
    def refused(message, **changes):
        with pytest.raises(UserError, match=message) as caught:
            data(info, **{**pseudo, **changes}).check({**LABELED, **PSEUDO})
        assert str(caught.value).count("\n") == str(caught.value).count("In call to configurable")  # which gin appends

    refused("pseudo_directory is not set, but .* label images with wss-label", pseudo_directory=None)
    refused("no split 'pseudo'; it has train", pseudo_split="pseudo")
    refused(r"absent/dataset\.json: not found", pseudo_directory=str(tmp_path / "absent"))
    shapes = DatasetInfo.load(pseudo["pseudo_directory"])
    names = (*shapes.class_names[:2], "dog", *shapes.class_names[3:])
    dataclasses.replace(shapes, class_names=names).save(tmp_path)
    refused(f"class 2 is 'dog', expected '{shapes.class_names[2]}' as in", pseudo_directory=str(tmp_path))
    bare = dataclasses.replace(shapes.split("train"), num_masks=3)
    for file in bare.shards:
        shutil.copy(f"{pseudo['pseudo_directory']}/{file}", tmp_path)
    dataclasses.replace(shapes, splits={"train": bare}).save(tmp_path)
    refused("pseudo_split = 'train': 3 of its 20 images have masks", pseudo_directory=str(tmp_path))


def test_original_records_load(goldens, parity):
    """The reference's TFRecord, through the evaluation stream, equals what the reference parsed."""
    golden = np.load(goldens / "preprocess_eval.npz")
    splits = {"val": SplitInfo({"val-00000-of-00001.tfrecord": 3}, 3, 0, (40, 56))}
    info = DatasetInfo("original", ("",) * 21, ((0, 0, 0),) * 21, splits, directory=str(goldens / "tfrecord"))
    for index, batch in enumerate(take(evaluation_batches(info, "val", 1, padding=Padding(GREY), size=(65, 65)), 4)):
        expected = lambda key, index=index: golden[f"tfrecord/{index}/{key}"]
        # JPEG decoders differ by one of 255.
        parity.check("preprocess_eval", "TFRecord, images", batch["image"], expected("image"), 1 / 255)
        actual = {"label": batch["label"], "valid": batch["valid"]}
        actual["cls_label"] = image_label_of(batch["label"][0], 21)[None]
        for key, value in actual.items():
            parity.check("preprocess_eval", "TFRecord, labels, masks", value, expected(key), 0, "different")
    assert index == 2


@pytest.mark.parametrize("backbone", ["xception_65", "resnet_v1_50"])
def test_evaluation_padding_equals_original(goldens, golden_rule, parity, backbone):
    """The original pads with the backbone's mean colour and normalises in the network, as we do."""
    golden = np.load(goldens / "preprocess_eval.npz")
    image = tf.constant(golden_rule.make_image(*golden["eval/input_image_seed_hw"]), tf.float32)
    label = tf.constant(golden_rule.make_label(*golden["eval/input_label_seed_hw"]), tf.int32)
    padded = pad(image, (513, 513), BACKBONES[backbone].mean_pixel)
    check = lambda *rule: parity.check("preprocess_eval", *rule)
    check("evaluation input", padded[::16, ::16], golden[f"eval/{backbone}/image@[::16,::16]"], 1e-4)
    check("evaluation input", np.sum(padded, dtype=np.float64), golden[f"eval/{backbone}/image_checks"][0], 1e-4)
    check("labels and valid masks", pad(label, (513, 513), [255]), golden["eval/label"], 0, "different")
    check("labels and valid masks", pad(tf.ones_like(label), (513, 513), [0]), golden["eval/valid"], 0, "different")


@pytest.mark.parametrize(
    ("classes", "ignore_label", "fits"), [(4, 255, True), (256, 255, True), (257, 255, False), (4, 300, False)]
)
def test_batches_have_eight_bits_where_labels_fit(info, classes, ignore_label, fits):
    names = tuple(f"class {number}" for number in range(classes))
    other = dataclasses.replace(info, class_names=names, colors=((0, 0, 0),) * classes, ignore_label=ignore_label)
    dtypes = tf.nest.map_structure(lambda spec: spec.dtype, data(other).batches(BOTH).element_spec)
    assert (dtypes["labeled"]["image"], dtypes["labeled"]["label"]) == (
        (tf.uint8, tf.uint8) if fits else (tf.float32, tf.int32)
    )
    assert (dtypes["unlabeled"]["strong"] == tf.uint8) == fits
