"""The embedded data set: deterministic scenes, forms that are what they are called, nested balanced subsets."""

import numpy as np
import pytest
import tensorflow as tf

from wss.conversion import shapes
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.record_files import split_records

NUM_TRAIN = 96


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> DatasetInfo:
    output = tmp_path_factory.mktemp("shapes") / "shapes"
    info, _ = shapes.build_shapes(output, num_train=NUM_TRAIN, num_val=8, size=64)
    return info


def examples(info: DatasetInfo, split: str) -> dict[str, np.ndarray]:
    records = split_records(info, split).map(lambda record: parse_example(record, info.num_classes))
    return {example["name"]: example["label"][..., 0] for example in records.as_numpy_iterator()}


def test_the_same_arguments_give_the_same_scene():
    image, mask = shapes.generate(3, 5)
    again, mask_again = shapes.generate(3, 5)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    assert (
        image.shape == (128, 128, 3) and image.dtype == np.uint8 and mask.shape == (128, 128) and mask.dtype == np.uint8
    )
    for seed, index in ((4, 5), (3, 6)):
        assert (shapes.generate(seed, index)[0] != image).mean() > 0.5


def test_scenes_have_all_classes_and_objects_have_a_void_border():
    masks = np.stack([shapes.generate(0, index)[1] for index in range(60)])
    assert set(np.unique(masks)) == {*range(7), 255}
    assert all(np.isin(mask, range(1, 7)).any() for mask in masks)
    # Two classes, the background among them, never touch.
    for left, right in ((masks[:, 1:], masks[:, :-1]), (masks[:, :, 1:], masks[:, :, :-1])):
        assert not ((left != right) & (left != 255) & (right != 255)).any()


@pytest.mark.parametrize(
    ("form", "center", "area"),
    [
        ("disk", True, np.pi * 0.9**2),
        ("square", True, 1.56**2),
        ("triangle", True, 3 * np.sqrt(3) * 0.52**2),
        ("ring", False, np.pi * (0.96**2 - 0.48**2)),
        ("cross", True, 2 * 1.9 * 0.6 - 0.6**2),
    ],
)
def test_forms_have_the_area_of_their_formula(form, center, area):
    inside = shapes.FORMS[shapes.CLASS_NAMES.index(form) - 1]
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 601), np.linspace(-1.5, 1.5, 601))
    assert inside(x, y).sum() * 0.005**2 == pytest.approx(area, rel=0.01)
    assert inside(np.zeros(1), np.zeros(1))[0] == center


def test_a_star_has_five_points():
    angle = np.linspace(0, 2 * np.pi, 3600, endpoint=False)
    inside = shapes.FORMS[5](0.8 * np.cos(angle), 0.8 * np.sin(angle))
    assert (inside & ~np.roll(inside, 1)).sum() == 5


def test_color_goes_with_the_class_but_does_not_decide_it():
    """The share of pixels whose hue is nearest to that of their class is far from chance, 1/6, and from one."""
    right = total = 0
    for index in range(80):
        image, mask = shapes.generate(1, index)
        inside = (mask > 0) & (mask < 255)
        hue = tf.image.rgb_to_hsv(image[inside] / 255.0)[:, 0].numpy()
        right += (np.round(hue * 6) % 6 == mask[inside] - 1).sum()
        total += inside.sum()
    assert 0.35 < right / total < 0.85


def test_single_shapes_have_one_large_object():
    masks = [shapes.generate(1000, index, 48, single=True)[1] for index in range(30)]
    for mask in masks:
        assert len(set(np.unique(mask)) - {0, 255}) == 1 and (mask > 0).mean() > 0.1
    several = [shapes.generate(1000, index, 48)[1] for index in range(30)]
    assert max(len(set(np.unique(mask)) - {0, 255}) for mask in several) > 1


def test_splits_are_nested_and_balanced(built):
    counts = {name: split.num_examples for name, split in built.splits.items()}
    assert counts == {"train": 96, "val": 8, "train_1_4": 24, "train_1_8": 12, "train_1_16": 6}
    names = [set(examples(built, split)) for split in ("train_1_16", "train_1_8", "train_1_4", "train")]
    assert names[0] < names[1] < names[2] < names[3]
    assert not set(examples(built, "val")) & names[3]
    for split in ("train_1_4", "train_1_8"):
        present = np.array([[(mask == c).any() for c in range(1, 7)] for mask in examples(built, split).values()])
        assert (present.sum(0) >= 1).all()


def test_records_are_the_scenes(built):
    assert built.class_names == shapes.CLASS_NAMES and built.has_background
    for name, mask in examples(built, "val").items():
        index = int(name.decode().split("_")[1])
        assert index >= NUM_TRAIN
        np.testing.assert_array_equal(mask, shapes.generate(0, index, 64)[1])


def test_building_twice_gives_the_same_bytes(built, tmp_path):
    shapes.build_shapes(tmp_path / "shapes", num_train=NUM_TRAIN, num_val=8, size=64, workers=1)
    again = DatasetInfo.load(tmp_path / "shapes")
    for split in built.splits:
        for one, other in zip(built.files(split), again.files(split), strict=True):
            with open(one, "rb") as first, open(other, "rb") as second:
                assert first.read() == second.read()
