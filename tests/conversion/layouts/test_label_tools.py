"""Exports of label tools as they unzip: masks by hand, classes, splits, and what is not annotated."""

import numpy as np
import pytest
from export_checks import check, line_of, masks_of, tags_of
from export_trees import (
    COCO_BOX,
    EMPTY,
    LABELME_BOX,
    TREES,
    cvat_coco,
    cvat_masks,
    drawn,
    labelme2voc,
    labelme_tree,
    photo,
    roboflow_coco,
    roboflow_masks,
    studio_coco,
)

from wss.data.example import parse_boxes
from wss.data.record_files import split_records


def test_cvat_masks(exports, capsys):
    cvat_masks(exports.folder)
    info = exports.build("--val_fraction=0")
    assert info.class_names == ("background", "cat", "Bär") and info.has_background
    assert info.colors == ((0, 0, 0), (250, 50, 83), (51, 221, 255))
    check(info, "train", {"a": [*EMPTY[:5], "..1122.."], "my photos/b": ["22......", *EMPTY[1:]]})
    check(info, "unlabeled", {"c": None})
    out = capsys.readouterr().out
    assert f"{exports.folder}: an export of CVAT, Segmentation mask\n" in out
    assert "1 image without annotations: unlabelled; --unannotated=background says otherwise" in out


def test_cvat_masks_of_splits(exports):
    cvat_masks(exports.folder)
    (exports.folder / "ImageSets/Segmentation/default.txt").write_text("")
    (exports.folder / "ImageSets/Segmentation/train.txt").write_text("my photos/b\n")
    (exports.folder / "ImageSets/Segmentation/Validation.txt").write_text("a\nc\n")
    info = exports.build("--unannotated=background")
    check(info, "train", {"my photos/b": ["22......", *EMPTY[1:]]})
    check(info, "val", {"a": [*EMPTY[:5], "..1122.."], "c": EMPTY})
    assert set(info.splits) == {"train", "val"}


def test_cvat_masks_without_photos(exports):
    cvat_masks(exports.folder)
    photos = exports.root / "photos"
    (exports.folder / "JPEGImages").rename(photos)
    photo(photos / "more.jpg")
    info = exports.build("--val_fraction=0", f"--images={photos}")
    assert len(masks_of(info, "train")) == 2
    check(info, "unlabeled", {"c": None, "more": None})


@pytest.mark.parametrize("script", ["build_folder", "build_coco"])
def test_cvat_coco(exports, script):
    cvat_coco(exports.folder)
    info = exports.build("--val_fraction=0", script=script)
    assert info.name == "out" and info.class_names == ("background", "dog", "cat")
    check(info, "train", {"a": COCO_BOX, "sub/b": ["2.......", "2.......", *EMPTY[2:]]})
    check(info, "unlabeled", {"c": None})
    objects = [parse_boxes(record) for record in split_records(info, "train")]
    assert sorted(found["label"].numpy().tolist() for found in objects) == [[1], [2]]


def test_cvat_coco_of_background(exports):
    cvat_coco(exports.folder)
    info = exports.build("--val_fraction=0", "--unannotated=background")
    check(info, "train", {"a": COCO_BOX, "sub/b": ["2.......", "2.......", *EMPTY[2:]], "c": EMPTY})


def test_cvat_coco_in_halves(exports):
    cvat_coco(exports.folder)
    (exports.root / "val.txt").write_text("sub/b.jpg\n")
    info = exports.build(f"--val_list={exports.root / 'val.txt'}")
    check(info, "train", {"a": COCO_BOX})
    check(info, "val", {"sub/b": ["2.......", "2.......", *EMPTY[2:]]})


@pytest.mark.parametrize("script", ["build_folder", "build_coco"])
def test_roboflow_coco(exports, script, capsys):
    roboflow_coco(exports.folder)
    info = exports.build(script=script)
    assert info.class_names == ("background", "cat", "dog")
    two = [row.replace("1", "2") for row in COCO_BOX]
    check(info, "train", {"a_jpg.rf.1f": COCO_BOX})
    check(info, "val", {"b_jpg.rf.2e": two, "n_jpg.rf.3d": EMPTY})
    check(info, "test", {"c_jpg.rf.4c": EMPTY})
    assert "1 image without annotations: only background; --unannotated=unlabeled says" in capsys.readouterr().out


def test_roboflow_coco_unlabelled(exports):
    roboflow_coco(exports.folder)
    info = exports.build("--unannotated=unlabeled")
    assert set(info.splits) == {"train", "val", "val_unlabeled", "test_unlabeled"}
    check(info, "val_unlabeled", {"n_jpg.rf.3d": None})


def test_roboflow_masks(exports):
    roboflow_masks(exports.folder)
    info = exports.build()
    assert info.class_names == ("background", "cat", "dog")
    check(info, "train", {"train_jpg.rf.9": ["12......", *EMPTY[1:]]})
    check(info, "val", {"valid_jpg.rf.9": ["21......", *EMPTY[1:]]})


def test_studio_coco(exports):
    studio_coco(exports.folder)
    info = exports.build("--val_fraction=0")
    assert info.class_names == ("background", "Car", "Road sign")
    check(info, "train", {"0a1b2c3d-my_photo": COCO_BOX})
    check(info, "unlabeled", {"0a1b2c3e-b": None})


def test_studio_coco_with_the_photos_as_they_were(exports):
    studio_coco(exports.folder)
    for name in ("my photo", "b"):
        photo(exports.root / f"photos/{name}.jpg")
    for path in (exports.folder / "images").iterdir():
        path.unlink()
    address = "http://localhost:8080/data/upload/1/0a1b2c3d-my%20photo.jpg"
    exports.edit("result.json", lambda content: content["images"][0].update(file_name=address))
    info = exports.build("--val_fraction=0", f"--images={exports.root / 'photos'}")
    check(info, "train", {"my photo": COCO_BOX})


def test_labelme(exports, capsys):
    labelme_tree(exports.folder)
    info = exports.build("--val_fraction=0")
    assert info.class_names == ("background", "cat", "dog")
    expected = {
        "a": [*LABELME_BOX[:5], "......##"],
        "sub/b": [EMPTY[0], ".2......", ".22.....", "..2.....", *EMPTY[4:]],
        "d": EMPTY,
    }
    check(info, "train", expected)
    check(info, "unlabeled", {"c": None})
    assert "1 image without annotations: only background; --unannotated=unlabeled" in capsys.readouterr().out


def test_labelme_with_names_in_an_order(exports):
    labelme_tree(exports.folder)
    (exports.root / "labels.txt").write_text("__ignore__\n_background_\ndog\nbird\ncat\n")
    info = exports.build("--val_fraction=0", f"--class_names={exports.root / 'labels.txt'}")
    assert info.class_names == ("background", "dog", "bird", "cat")
    assert masks_of(info, "train")["a"][1].tolist() == [0, 3, 3, 3, 0, 0, 0, 0]


@pytest.mark.parametrize("names", [None, "background,dog,bird,cat"])
def test_tags_of_photos_without_masks(exports, names):
    """Of the export and of --unlabeled; what has no line is unknown."""
    labelme_tree(exports.folder)
    for name in ("x", "sub/y", "z"):
        photo(exports.root / f"more/{name}.jpg")
    tags = exports.root / "tags.csv"
    tags.write_text("filename,labels\nc.jpg,cat;dog\nx.jpg,dog\nsub/y.jpg,\n")
    flags = ["--val_fraction=0", f"--unlabeled={exports.root / 'more'}", f"--image_labels={tags}"]
    info = exports.build(*flags, *([f"--class_names={names}"] if names else []))
    cat, dog = (info.class_names.index(name) for name in ("cat", "dog"))
    assert tags_of(info, "unlabeled") == {"c": {cat, dog}, "x": {dog}, "sub/y": set(), "z": None}


def test_tags_that_cannot_be(exports):
    labelme_tree(exports.folder)
    tags = exports.root / "tags.csv"
    tags.write_text("c.jpg,cow\n")
    assert "'cow' is no foreground class; expected one of cat, dog" in line_of(exports, f"--image_labels={tags}")
    tags.write_text("gone.jpg,cat\n")
    assert "gone: has image-level labels, but no image" in line_of(exports, f"--image_labels={tags}")


def test_labelme2voc(exports):
    labelme2voc(exports.folder)
    info = exports.build("--val_fraction=0")
    assert info.class_names == ("background", "cat", "dog")
    check(info, "train", {"a": ["12#.....", *EMPTY[1:]]})


def test_labelme2voc_of_arrays(exports):
    labelme2voc(exports.folder)
    (exports.folder / "SegmentationClass/a.png").unlink()
    array = drawn(["12......", *EMPTY[1:]]).astype(np.int32)
    array[5, 7] = -1
    np.save(exports.folder / "SegmentationClass/a.npy", array)
    (exports.folder / "SegmentationClassNpy/a.npy").unlink()
    info = exports.build("--val_fraction=0")
    check(info, "train", {"a": ["12......", *EMPTY[1:5], ".......#"]})


@pytest.mark.parametrize("kind", TREES)
def test_classes_in_the_order_that_a_person_gives(exports, kind):
    TREES[kind](exports.folder)
    names = exports.build("--val_fraction=0" if "Roboflow" not in kind else "--seed=1").class_names
    given = [names[0], "another", *names[:0:-1]]
    output = exports.build(f"--class_names={','.join(given)}", "--seed=1")
    assert output.class_names == tuple(given)


@pytest.mark.parametrize("kind", TREES)
def test_two_processes_write_what_one_writes(exports, kind, tmp_path):
    TREES[kind](exports.folder)
    read = lambda: {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.tfrecord")}
    exports.build()
    first = read()
    exports.build("--workers=2")
    assert read() == first and first


def test_photos_of_two_splits_in_one_folder(exports):
    roboflow_coco(exports.folder)
    photos = exports.root / "photos"
    photos.mkdir()
    for path in [*exports.folder.rglob("*.jpg")]:
        path.rename(photos / path.name)
    photo(photos / "more.jpg")
    info = exports.build(f"--images={photos}")
    check(info, "unlabeled", {"more": None})
    assert set(info.splits) == {"train", "val", "test", "unlabeled"}


def test_unlabelled_photos_and_some_classes(exports):
    cvat_masks(exports.folder)
    photo(exports.root / "more/m.jpg")
    flags = [f"--unlabeled={exports.root / 'more'}", "--classes=0,2", "--unlabeled_has_train", "--val_fraction=0"]
    info = exports.build(*flags)
    assert info.class_names == ("background", "Bär") and info.colors[1] == (51, 221, 255)
    assert set(masks_of(info, "unlabeled")) == {"a", "my photos/b", "c", "m"}
    check(info, "train", {"a": [*EMPTY[:5], "..##11.."], "my photos/b": ["11......", *EMPTY[1:]]})


def test_photos_of_labelme_in_a_folder_beside_its_files(exports):
    labelme_tree(exports.folder / "json")
    (exports.folder / "json/a.jpg").rename(exports.folder / "a.jpg")
    exports.edit("json/a.json", lambda content: content.update(imagePath="..\\a.jpg"))
    assert set(masks_of(exports.build("--val_fraction=0"), "train")) == {"a", "json/sub/b", "json/d"}
