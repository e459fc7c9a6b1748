"""The share of a photo that a crop sees, by hand and against crops that the augmentation takes."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from wss.data.augment import Augmentation
from wss.data.crop_share import crop_share, percent, possible_scales, sizes_in
from wss.data.dataset_info import DatasetInfo
from wss.data.record_index import index_path


def test_one_photo_by_hand():
    """A quarter of each side; half of the height and all of the width; a photo that fits is seen whole."""
    assert crop_share({(400, 400): 1}, (100, 100)).mean == pytest.approx(1 / 16)
    assert crop_share({(200, 90): 1}, (100, 100)).mean == pytest.approx(1 / 2)
    assert crop_share({(50, 90): 3}, (100, 100)).mean == 1


def test_photos_count_as_often_as_they_are_there():
    found = crop_share({(400, 400): 3, (100, 100): 1}, (100, 100))
    assert found.mean == found.least == found.most == pytest.approx((3 / 16 + 1) / 4)


def test_scales_by_hand():
    """A photo of 200 x 200 at 0.5, 1 and 2 is 100, 200 and 400 pixels wide: all of it, a quarter, a sixteenth."""
    found = crop_share({(200, 200): 1}, (100, 100), [0.5, 1.0, 2.0])
    assert (found.most, found.least) == (1, pytest.approx(1 / 16))
    assert found.mean == pytest.approx((1 + 1 / 4 + 1 / 16) / 3)
    assert str(found) == "44 % of a photo (6 % to 100 % over the scales)"
    assert str(crop_share({(200, 200): 1}, (100, 100))) == "25 % of a photo"


def test_scaled_sides_truncate():
    """75 x 7 at 0.5 are 37 x 3 pixels, of which 30 x 2 are seen."""
    assert crop_share({(75, 7): 1}, (30, 2), [0.5]).mean == pytest.approx(30 / 37 * 2 / 3)


def test_scales_are_those_of_the_augmentation():
    assert possible_scales(0.5, 2.0, 0.25) == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    scales = possible_scales(0.5, 1.5, 0)
    assert (scales[0], scales[-1]) == (0.5, 1.5) and np.mean(scales) == pytest.approx(1)


def test_crops_of_the_augmentation_see_that_share():
    """Each pixel of the photo has a value of its own, so that those in a crop can be counted; no scale but 1."""
    views = Augmentation((20, 30), (0.0, 0.0, 0.0), 255, min_scale=1.0, max_scale=1.0, flip_probability=0.0)
    numbers = np.arange(40 * 50, dtype=np.float32).reshape(40, 50)
    image = tf.constant(np.stack([numbers % 256, numbers // 256, 0 * numbers], -1))
    view = views.weak(image, tf.zeros([40, 50, 1], tf.int32), tf.constant([1, 2], tf.int64))
    seen = np.unique(view["image"].numpy().reshape(-1, 3), axis=0)
    assert len(seen) / (40 * 50) == pytest.approx(crop_share({(40, 50): 1}, (20, 30)).mean)


@pytest.mark.parametrize("has_index", [True, False])
def test_sizes_come_from_the_index_or_from_the_records(tiny_shapes, tmp_path, has_index):
    folder = tmp_path / "shapes"
    shutil.copytree(tiny_shapes, folder)
    info = DatasetInfo.load(folder)
    if not has_index:
        for file in info.split("val").shards:
            index_path(epath.Path(folder) / file).unlink()
    assert sizes_in(info, "val") == {(48, 48): 6}


def test_percent():
    assert [percent(share) for share in (1.0, 0.062, 0.0095, 0.0094, 0.0004)] == [
        "100 %",
        "6 %",
        "1 %",
        "0.9 %",
        "0.0 %",
    ]
