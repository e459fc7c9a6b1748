"""wss-vis on a tiny model: which files appear, their sizes, and that the batch does not matter."""

import dataclasses

import keras
import numpy as np
import pytest
from networks import pseudoseg_network
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.padding import Padding
from wss.errors import UserError
from wss.inference.photos import FolderExamples, SplitExamples
from wss.methods.classification import Classification
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.methods.supervised import Supervised
from wss.training.train import build_network
from wss.visualization import panels
from wss.visualization.layout import MARGIN
from wss.visualization.panels import predictions_of, visualize

GREY = (127.5, 127.5, 127.5)


@pytest.fixture(scope="module")
def info(tiny_shapes):
    return DatasetInfo.load(tiny_shapes)


@pytest.fixture(scope="module")
def model(info):
    keras.utils.set_random_seed(0)
    model = pseudoseg_network(info, backbone="mobilenet_v2", depth_multiplier=0.25)
    last = model.segmentation_head.layers[-1].kernel
    last.assign(1e7 * last)  # untrained, all classes are equally probable but for rounding
    return model


def read(path):
    return np.asarray(Image.open(path))


def test_pictures_of_a_split(info, model, tmp_path):
    examples = SplitExamples(info, "val", Padding(GREY), number=3, batch_size=2)
    predicted = predictions_of(model, examples)
    visualize(model, PseudoSeg(), info, examples=examples, output=tmp_path, before={"other": predicted})
    for kind in ("masks", "overlays", "panels"):
        assert sorted(path.stem for path in (tmp_path / kind).iterdir()) == sorted(predicted)
    name, prediction = next(iter(predicted.items()))
    mask = read(tmp_path / "masks" / f"{name}.png")
    assert mask.shape == (48, 48)  # without padding
    assert len(np.unique(prediction)) > 1 and mask.max() < info.num_classes
    assert np.mean(mask == prediction) > 0.999


def test_the_batch_size_does_not_matter(info, model, tmp_path):
    """Nor does which images share a batch, though PseudoSeg's fusion normalises over batches."""
    for batch_size in (1, 4):
        examples = SplitExamples(info, "val", Padding(GREY), number=5, batch_size=batch_size)
        visualize(model, PseudoSeg(), info, examples=examples, output=tmp_path / str(batch_size))
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.png"))
    assert len(files) == 3 * 5 + 1
    for file in files:
        one, four = read(tmp_path / "1" / file), read(tmp_path / "4" / file)
        # Some processors round differently in batches of another size.
        assert one.shape == four.shape and np.mean(one != four) < 1e-3, file


@pytest.mark.parametrize(("method", "titles"), [(Supervised(), 3), (Classification(), 4)])
def test_every_method_shows_its_maps(info, tmp_path, method, titles):
    network = build_network(info, method, backbone="mobilenet_v2", depth_multiplier=0.25)
    visualize(network, method, info, examples=SplitExamples(info, "val", Padding(GREY), number=1), output=tmp_path)
    (path,) = (tmp_path / "panels").iterdir()
    assert Image.open(path).width == titles * 240 + (titles + 1) * MARGIN  # 48 pixels five times as large


def test_pictures_of_a_folder_of_photos(info, model, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.zeros([30, 80, 3], np.uint8)).save(photos / "wide.jpg")
    Image.fromarray(np.zeros([400, 100], np.uint8)).save(photos / "tall_grey.png")
    visualize(
        model, PseudoSeg(), info, examples=FolderExamples(str(photos), 100, Padding(GREY)), output=tmp_path / "out"
    )
    assert Image.open(tmp_path / "out/overlays/wide.png").size == (80, 30)
    assert Image.open(tmp_path / "out/overlays/tall_grey.png").size == (25, 100)
    assert "of 2 images in " in capsys.readouterr().out


def test_masks_are_class_ids_in_the_colours_of_the_data_set(info, model, tmp_path):
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, [60, 90, 3], np.uint8)
    for name in ("a.jpg", "a.png", "sub/a.png"):
        Image.fromarray(noise).save(photos / name)
    visualize(
        model, Supervised(), info, examples=FolderExamples(str(photos), 45, Padding(GREY)), output=tmp_path / "out"
    )
    files = sorted(
        path.relative_to(tmp_path / "out/masks").as_posix() for path in (tmp_path / "out/masks").rglob("*.png")
    )
    assert files == ["a.jpg.png", "a.png.png", "sub/a.png"]
    for file in files:
        with Image.open(tmp_path / "out/masks" / file) as mask:
            assert (mask.mode, mask.size, mask.format) == ("P", (90, 60), "PNG")
            values = np.asarray(mask)
            colors = np.asarray(mask.convert("RGB"))
        assert values.max() < info.num_classes
        np.testing.assert_array_equal(colors, np.array(info.colors, np.uint8)[values])


def test_more_classes_than_a_mask_has_values_are_refused(info, model, tmp_path):
    many = dataclasses.replace(info, class_names=tuple(map(str, range(256))), colors=((0, 0, 0),) * 256)
    with pytest.raises(UserError, match="256 classes; a mask has 255 values"):
        visualize(
            model, Supervised(), many, examples=SplitExamples(info, "val", Padding(GREY), number=1), output=tmp_path
        )


def test_a_full_disk_is_one_line(info, model, tmp_path, monkeypatch):
    def full(path, picture):
        raise UserError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(panels, "save_png", full)
    with pytest.raises(UserError, match="No space left on device"):
        visualize(
            model, Supervised(), info, examples=SplitExamples(info, "val", Padding(GREY), number=4), output=tmp_path
        )
