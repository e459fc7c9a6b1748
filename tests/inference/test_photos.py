"""Batches of a split and of a folder of photos: sizes, padding, names, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.padding import Padding
from wss.data.photos import SUFFIXES
from wss.errors import UserError
from wss.inference import photos as examples
from wss.inference.photos import Batch, FolderExamples, SplitExamples, reduced_size, run_examples

GREY = (127.0, 128.0, 129.0)
SIDEWAYS = 6  # EXIF orientation: turn by 90 degrees


def save(path, width, height, color=0, orientation=1):
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (width, height), (color,) * 3).save(path, exif=exif)


@pytest.mark.parametrize(("number", "batch_size", "expected"), [(None, 4, [4, 2]), (3, 2, [2, 1]), (2, 8, [2])])
def test_a_split_in_batches_of_one_shape(tiny_shapes, number, batch_size, expected):
    split = SplitExamples(DatasetInfo.load(tiny_shapes), "val", Padding(GREY), number=number, batch_size=batch_size)
    batches = list(split)
    assert [len(batch.names) for batch in batches] == expected and len(split) == sum(expected)
    assert {batch.images.shape for batch in batches} == {(min(batch_size, len(split)), 49, 49, 3)}
    (first, *_), (again, *_) = batches[0], next(iter(split))
    assert first.name == again.name and first.image.shape == (48, 48, 3) and first.label.shape == (48, 48)


def test_photos_are_upright_reduced_and_padded_by_the_mean_pixel(tmp_path):
    save(tmp_path / "b.jpg", 80, 30, color=200, orientation=SIDEWAYS)
    save(tmp_path / "a.png", 100, 400)
    save(tmp_path / "c.JPEG", 20, 10)
    (tmp_path / "notes.txt").write_text("no photo")
    photos = FolderExamples(str(tmp_path), 100, Padding(GREY), batch_size=2)
    first, second = photos
    assert len(photos) == 3 and (first.names, second.names) == (["a", "b"], ["c"])
    assert first.images.shape == second.images.shape == (2, 113, 33, 3)
    np.testing.assert_array_equal(first.sizes, [(100, 25), (80, 30)])
    np.testing.assert_array_equal(second.sizes, [(10, 20), (0, 0)])
    _, example = first
    assert example.image.shape == (80, 30, 3) and example.label is None
    np.testing.assert_allclose(example.image, 200, atol=2)
    np.testing.assert_array_equal(first.images[1, 80:], np.broadcast_to(GREY, [33, 33, 3]))
    np.testing.assert_array_equal(second.images[1], np.broadcast_to(GREY, [113, 33, 3]))


def test_photos_are_read_while_one_goes_through_them(tmp_path, monkeypatch):
    for i in range(40):
        save(tmp_path / f"{i:02d}.png", 8, 8)
    monkeypatch.setattr(examples, "THREADS", 2)
    read = []
    picture = (np.zeros([8, 8, 3]), (8, 8))
    monkeypatch.setattr(FolderExamples, "_read", lambda self, path: read.append(path) or picture)
    next(iter(FolderExamples(str(tmp_path), 100, Padding(GREY), batch_size=4)))
    assert 4 <= len(read) <= 10


def test_sizes_from_headers_are_those_of_the_reduced_photo():
    rng = np.random.default_rng(0)
    for width, height in rng.integers(1, 300, [300, 2]).tolist():
        side = int(rng.integers(20, 310))
        photo = Image.new("1", (width, height))
        photo.thumbnail((side, side))
        assert reduced_size(width, height, side) == photo.size, (width, height, side)


def test_a_folder_that_converts_can_be_shown_too(tmp_path):
    for suffix in SUFFIXES:
        save(tmp_path / f"{suffix[1:]}{suffix}", 20, 10, color=200)
    (batch,) = FolderExamples(str(tmp_path), 100, Padding(GREY), batch_size=len(SUFFIXES))
    assert batch.names == sorted(suffix[1:] for suffix in SUFFIXES)
    np.testing.assert_allclose(batch.images[:, :10, :20], 200, atol=3)


@pytest.mark.parametrize("name", ["broken.jpg", "broken.png"])
def test_a_broken_photo_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(UserError, match=f"{name}: not an image; expected JPEG, PNG"):
        FolderExamples(str(tmp_path), 100, Padding(GREY))


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_a_photo_with_a_whole_header_only_is_named_when_it_is_read(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, [64, 64, 3], np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UserError, match=f"{name}: broken image .*truncated"):
        list(FolderExamples(str(tmp_path), 100, Padding(GREY)))


def test_photos_of_one_name_and_in_folders_have_names_of_their_own(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg", "sub/a.jpg", "out/masks/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / name, 8, 8)
    (batch,) = FolderExamples(str(tmp_path), 100, Padding(GREY), without=str(tmp_path / "out"))
    assert batch.names == ["a.jpg", "a.png", "b", "sub/a"]
    (two,) = FolderExamples(str(tmp_path), 100, Padding(GREY), number=2, without=str(tmp_path / "not there"))
    assert two.names == ["a.jpg", "a.png"]  # as they are called among all


def test_no_folder_and_no_photos(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        FolderExamples(str(tmp_path / "none"), 100, Padding(GREY))
    with pytest.raises(UserError, match="no photos in it, expected .jpg"):
        FolderExamples(str(tmp_path), 100, Padding(GREY))


def test_each_example_gets_its_part_of_the_outputs():
    images = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1) * np.ones([1, 3, 3, 3], np.float32)
    sizes = np.array([[1, 2], [3, 3], [2, 1], [0, 0]], np.int32)
    batches = [Batch(["a", "b"], images[:2], sizes[:2]), Batch(["c"], images[2:], sizes[2:])]
    step = tf.function(lambda images, sizes: {"first": images[:, 0, 0, 0], "height": sizes[:, 0]})
    rows = [(e.name, e.image.shape[:2], o["first"], o["height"]) for e, o in run_examples(step, batches)]
    assert rows == [("a", (1, 2), 0, 1), ("b", (3, 3), 1, 3), ("c", (2, 1), 2, 2)]
