"""What the rules ask of a data set, counted by hand on eight photos."""

import json

import numpy as np
import pytest
from commands import run_command
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.planning.fingerprint import fingerprint
from wss.planning.plan_splits import choose_splits


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six photos of 60 x 80 with a square of 30 and a splinter of 4; two show a second class. Two have no mask."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("images", "masks", "more"):
        (folder / name).mkdir()
    noise = np.random.default_rng(0)
    for number in range(6):
        mask = np.zeros([60, 80], np.uint8)
        mask[:30, :30] = 1
        mask[50:54, 50:54] = 1
        if number < 2:
            mask[40:55, 10:25] = 2
        mask[:, 79] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
        Image.fromarray(noise.integers(0, 255, [60, 80, 3], np.uint8)).save(folder / "images" / f"{number}.png")
    for number in (6, 7):
        Image.fromarray(noise.integers(0, 255, [40, 90, 3], np.uint8)).save(folder / "more" / f"{number}.png")
    (folder / "tags.csv").write_text("filename,labels\n6.png,b\n")
    done = run_command(
        [
            "datasets/build_folder.py",
            f"--images={folder / 'images'}",
            f"--masks={folder / 'masks'}",
            f"--unlabeled={folder / 'more'}",
            f"--image_labels={folder / 'tags.csv'}",
            "--class_names=background,a,b,c",
            "--val_fraction=0.0",
            f"--output_dir={folder / 'data'}",
        ]
    )
    assert done.returncode == 0, done.stderr
    return folder / "data"


def test_what_the_rules_ask(photos):
    info = DatasetInfo.load(str(photos))
    info, splits = choose_splits(info, validation="train")
    found = fingerprint(info, splits)
    assert (found.num_masks, found.num_unlabeled, found.num_tagged, found.num_validation) == (6, 2, 1, 6)
    assert found.size == (60, 80) and found.longest_side == 90
    assert found.masks_with == (6, 6, 2, 0)
    of_a, of_b, all_ = 6 * (900 + 16), 2 * 225, 6 * 60 * 79
    np.testing.assert_allclose(found.pixel_share, [(all_ - of_a - of_b) / all_, of_a / all_, of_b / all_, 0])
    # Pixels of a lie in the square of half the shorter side, not in the splinter.
    assert found.object_side[1:3] == (0.5, 0.25) and np.isnan([found.object_side[0], found.object_side[3]]).all()
    assert found.median_object_side() == 0.375
    assert found.classes_per_photo == pytest.approx((4 * 1 + 2 * 2) / 6 / 3)


def test_masks_that_training_must_not_see_are_no_tags(photos):
    info, splits = choose_splits(DatasetInfo.load(str(photos)), validation="train", unlabeled="train")
    assert fingerprint(info, splits).num_tagged == 6
    path = photos / "dataset.json"
    content = json.loads(path.read_text())
    content["splits"]["hidden"] = {**content["splits"]["train"], "hide_masks": True}
    path.write_text(json.dumps(content))
    info, splits = choose_splits(DatasetInfo.load(str(photos)), validation="train", unlabeled="hidden")
    found = fingerprint(info, splits)
    assert (found.num_unlabeled, found.num_tagged) == (6, 0)
