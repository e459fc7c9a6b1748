"""The page that segments photos: what it gives for good, broken, many and hostile ones."""

import csv
import dataclasses
import io
import os
import socket
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import run_command
from networks import two_convolutions
from PIL import Image
from tiny import SMALL
from trained_runs import trained_with_class

from wss import experiment
from wss.data.resize import ResizeToRange
from wss.errors import UserError
from wss.exports.comparison import network_probabilities
from wss.ops.dense_crf import CRFSettings
from wss.runtime import strategy
from wss.viewer import page as page_module
from wss.viewer.page import Page, build
from wss.viewer.segmenter import Segmenter

HOSTILE = '<img src=x onerror="alert(1)">'
ONE_DEVICE = ["CPU:0"]


@pytest.fixture(scope="module", autouse=True)
def small_network():
    with two_convolutions():
        yield


@pytest.fixture(scope="module")
def run_dir(tiny_shapes, tmp_path_factory):
    """A finished run on data whose classes have hostile names."""
    parameters = {**SMALL, "train.method": "@PseudoSeg()", "train.num_steps": 2}
    return trained_with_class(HOSTILE, tiny_shapes, tmp_path_factory.mktemp("trained"), parameters)


@pytest.fixture
def segmenter(run_dir):
    run = experiment.open_run(str(run_dir), [], tf.distribute.MirroredStrategy(ONE_DEVICE))
    return Segmenter(run, max_side=100)


@pytest.fixture
def page(segmenter):
    with Page(segmenter, max_photos=3) as page:
        yield page


def photo(path, *, size=(70, 50), **options):
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return str(path)


def test_a_photo_gets_what_the_network_says(segmenter, tmp_path):
    found = segmenter(photo(tmp_path / "a.png"))
    image = np.asarray(Image.open(tmp_path / "a.png"))
    probabilities = network_probabilities(segmenter.run.model, ResizeToRange(), image)
    np.testing.assert_array_equal(found.mask, probabilities.argmax(-1))
    assert found.confidence == pytest.approx(probabilities.max(-1).mean(), abs=1e-5)
    shares = np.bincount(found.mask.ravel(), minlength=len(found.shares)) / found.mask.size
    np.testing.assert_allclose(found.shares, shares)
    titles = [title for title, _ in found.pictures]
    assert titles[:4] == ["photo", "overlay", "mask", "confidence"] and "CAM" in titles and "pseudo label" in titles
    assert all(picture.shape == (50, 70, 3) and picture.dtype == np.uint8 for _, picture in found.pictures)


def test_a_large_photo_is_reduced_and_its_mask_has_its_own_size(segmenter, tmp_path):
    found = segmenter(photo(tmp_path / "a.png", size=(400, 201)))
    assert found.mask.shape == found.size == (201, 400)
    assert found.pictures[0][1].shape == (50, 100, 3)


def test_a_turned_photo_is_upright(segmenter, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert segmenter(photo(tmp_path / "a.jpg", exif=exif)).size == (70, 50)


def test_a_crf_refines(segmenter, tmp_path):
    refined = Segmenter(segmenter.run, max_side=100, crf=CRFSettings(iterations=1))(photo(tmp_path / "a.png"))
    assert "without CRF" in [title for title, _ in refined.pictures]


def test_good_and_broken_photos_of_hostile_names(page, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    (tmp_path / "empty.png").write_bytes(b"")
    files = [photo(tmp_path / "<b>'&.png"), str(tmp_path / "broken.jpg"), str(tmp_path / "empty.png")]
    results, overlays, said, archive = page.segment(files)
    assert [name for _, name in overlays] == ["<b>'&.png"]
    assert said.count("<br>") == 1 and "broken.jpg: " in said and "empty.png: " in said
    assert str(tmp_path) not in said
    pictures, classes, mask = page.show(results, 0)
    assert "&lt;b&gt;" in classes and HOSTILE not in classes and "&lt;img" in classes
    assert all(os.path.exists(path) for path, _ in pictures) and Image.open(mask).mode == "P"
    np.testing.assert_array_equal(Image.open(mask), page._segmenter(Path(files[0])).mask)
    with zipfile.ZipFile(archive) as found:
        names = found.namelist()
        (header, row) = csv.reader(io.StringIO(found.read("areas.csv").decode()))
    assert header[3] == HOSTILE and row[0] == "<b>'&.png"
    assert sum(map(float, row[2:])) == pytest.approx(1, abs=1e-5)
    assert not any(".." in name or name.startswith("/") or "<" in name for name in names)
    assert "000__b___/mask_of_class_ids.png" in names


def test_more_photos_than_are_taken_and_none(page, tmp_path):
    files = [photo(tmp_path / f"{number}.png", size=(20, 20)) for number in range(5)]
    results, _, said, _ = page.segment(files)
    assert len(results) == 3 and said == "5 photos were given, the first 3 are shown"
    assert page.segment([])[1:] == ([], "no photo was given", None)


def test_a_folder_with_other_files(page, tmp_path):
    """They are one line, count for nothing, and photos come sorted by name."""
    others = []
    for name in ("notes.txt", ".DS_Store", "a.csv"):
        (tmp_path / name).write_text("x")
        others.append(str(tmp_path / name))
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
    files = [*others, photo(tmp_path / "1/b.png", size=(20, 20)), photo(tmp_path / "2/a.png", size=(20, 20))]
    _, overlays, said, _ = page.segment(files)
    assert [name for _, name in overlays] == ["a.png", "b.png"]
    assert said == "3 files are no photos, such as .DS_Store"
    assert page.segment([others[0]])[2].startswith("notes.txt: no photo; expected .jpg")


def test_pictures_of_an_hour_ago_go(page, tmp_path):
    files = [photo(tmp_path / "a.png", size=(20, 20))]
    page.segment(files)
    (old,) = (tmp_path.__class__(page.folder) / "results").iterdir()
    os.utime(old, (0, 0))
    page.segment(files)
    assert not old.exists()


def test_photos_of_many_bits_need_their_range(segmenter, tmp_path):
    Image.fromarray(np.full((20, 20), 300, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="--value_range"):
        segmenter(tmp_path / "a.png")
    found = Segmenter(segmenter.run, max_side=100, value_range=(0, 600))(tmp_path / "a.png")
    assert found.pictures[0][1].mean() == pytest.approx(127.5, abs=1)


def test_more_classes_than_a_mask_has_values(segmenter):
    info = dataclasses.replace(segmenter.run.info, class_names=tuple(map(str, range(256))))
    with pytest.raises(UserError, match="256 classes; a mask has 255 values"):
        Segmenter(dataclasses.replace(segmenter.run, info=info), max_side=100)


def test_gradio_keeps_what_it_is_given_in_the_pages_folder(page):
    build(page, title="a")
    assert os.environ["GRADIO_TEMP_DIR"].startswith(page.folder)
    assert os.stat(page.folder).st_mode & 0o077 == 0


def test_proxies_are_hidden_while_it_starts(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with page_module.without_proxies():
        assert "HTTP_PROXY" not in os.environ and "all_proxy" not in os.environ
    assert os.environ["HTTP_PROXY"] == "http://127.0.0.1:9"


def test_what_a_network_raises_is_a_line(page, tmp_path, monkeypatch):
    def out_of_memory(path):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nand more")

    monkeypatch.setattr(page, "_segmenter", out_of_memory)
    results, _, said, archive = page.segment([photo(tmp_path / "a.png")])
    assert not results and archive is None
    assert said == "a.png: not segmented (ResourceExhaustedError: OOM when allocating)"


def test_pictures_go_with_the_page(segmenter, tmp_path):
    with Page(segmenter, max_photos=3) as page:
        page.segment([photo(tmp_path / "a.png")])
        assert os.listdir(page.folder)
    assert not os.path.exists(page.folder)


def test_the_page_has_a_place_for_each_output(page):
    blocks = build(page, title="<a run>")
    events = list(blocks.fns.values())
    assert len(events) == 4
    assert sorted({len(one.outputs) for one in events}) == [3, 7]


def test_gradio_is_named_where_it_is_missing(tmp_path, monkeypatch):
    nothing = types.SimpleNamespace(util=types.SimpleNamespace(find_spec=lambda name: None))
    monkeypatch.setattr(page_module, "importlib", nothing)
    done = run_command(["-m", "wss.demo", f"--run_dir={tmp_path}"])
    assert done.returncode == 2
    assert done.stderr == "error: Gradio is not installed, and the page needs it: pip install 'wss[demo]'\n"


def test_a_port_in_use(run_dir, monkeypatch):
    monkeypatch.setattr(strategy, "build_strategy", lambda *_: tf.distribute.MirroredStrategy(ONE_DEVICE))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run_command(["-m", "wss.demo", f"--run_dir={run_dir}", f"--port={port}"])
    assert done.returncode == 2
    assert f"--host=127.0.0.1 --port={port}: cannot be served (Address already in use); give another" in done.stderr
