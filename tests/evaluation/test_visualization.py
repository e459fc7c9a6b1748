"""wss-vis on a tiny model: which files appear, their sizes, and what is refused."""

import keras
import numpy as np
import pytest
from PIL import Image

from wss.data.info import DatasetInfo
from wss.errors import UserError
from wss.evaluation.visualization import folder_examples, predictions_of, split_examples, visualize
from wss.methods.pseudoseg import PseudoSeg
from wss.models.deeplab import build_model

GREY = (127.5, 127.5, 127.5)


@pytest.fixture(scope="module")
def info(tiny_shapes):
    return DatasetInfo.load(tiny_shapes)


@pytest.fixture(scope="module")
def model(info):
    keras.utils.set_random_seed(0)
    model = build_model(info, backbone="mobilenet_v2", depth_multiplier=0.25)
    last = model.segmentation_head.layers[-1].kernel
    last.assign(1e7 * last)  # untrained, all classes are equally probable but for rounding
    return model


def test_pictures_of_a_split(info, model, tmp_path):
    examples = split_examples(info, "val", 3, GREY)
    visualize(model, PseudoSeg(), info, examples, tmp_path, before={"other": predictions_of(model, examples)})
    for kind in ("masks", "overlays", "panels"):
        assert sorted(p.stem for p in (tmp_path / kind).iterdir()) == sorted(e.name for e in examples)
    mask = np.asarray(Image.open(tmp_path / "masks" / f"{examples[0].name}.png"))
    assert mask.shape == (48, 48, 3)  # without padding
    colors = {tuple(color) for color in mask.reshape(-1, 3).tolist()}
    assert colors <= set(info.colors)
    predicted = predictions_of(model, examples)[examples[0].name]
    assert len(np.unique(predicted)) > 1
    assert np.mean(np.all(mask == np.array(info.colors)[predicted], axis=-1)) > 0.999


def test_pictures_of_a_folder_of_photos(info, model, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.zeros([30, 80, 3], np.uint8)).save(photos / "wide.jpg")
    Image.fromarray(np.zeros([400, 100], np.uint8)).save(photos / "tall_grey.png")
    examples = folder_examples(str(photos), None, 100, GREY)
    assert [(e.name, e.size, e.image.shape) for e in examples] == [
        ("tall_grey", (100, 25), (113, 81, 3)),
        ("wide", (30, 80), (113, 81, 3)),
    ]
    visualize(model, PseudoSeg(), info, examples, tmp_path / "out")
    assert Image.open(tmp_path / "out/overlays/wide.png").size == (80, 30)


def test_a_broken_photo_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match="broken.jpg: not a readable image"):
        folder_examples(str(tmp_path), None, 100, GREY)
