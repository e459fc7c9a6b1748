"""Photos and boxes without masks: tables as tools write them, XML files, COCO's JSON, and the splits that they make."""

import json
import time

import pytest
from boxed_photos import HEADER, BoxedPhotos, boxes_of
from mask_files import MASK
from PIL import Image

from wss.conversion.layouts.box_tables import read_box_table
from wss.data.example import parse_example
from wss.data.record_files import split_records
from wss.errors import UserError

TRUTH = {"a": [(1, 1, 2, 30, 40), (2, 0, 0, 60, 40)], "sub/b": [(2, 5, 5.5, 20, 30)]}
# The boxes of TRUTH in every form that is read.
TABLES = {
    "no header": "a.jpg,cat,1,2,30,40\na.jpg,dog,0,0,60,40\nsub/b.jpg,dog,5,5.5,20,30\n",
    "header": HEADER + "a.jpg,cat,1,2,30,40\na.jpg,dog,0,0,60,40\nsub/b.jpg,dog,5,5.5,20,30\n",
    "Object Detection API, Roboflow": (
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,60,40,cat,1,2,30,40\na.jpg,60,40,dog,0,0,60,40\n"
        "sub/b.jpg,60,40,dog,5,5.5,20,30\n"
    ),
    "other order and columns": (
        "Y Max,id,label,x_max,y_min,Image Name,x_min,\n40,1,cat,30,2,a.jpg,1,\n40,2,dog,60,0,a.jpg,0,\n"
        "30,3,dog,20,5.5,sub/b.jpg,5,\n"
    ),
    "keras-retinanet": "a.jpg,1,2,30,40,cat\na.jpg,0,0,60,40,dog\nsub/b.jpg,5,5.5,20,30,dog\n",
    "make-sense": (
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\ncat,1,2,29,38,a.jpg,60,40\n"
        "dog,0,0,60,40,a.jpg,60,40\ndog,5,5.5,15,24.5,sub/b.jpg,60,40\n"
    ),
    "LabelFlow": (
        "imageId,imageName,width,height,class,xmin,ymin,xmax,ymax,imageURL\n7,a.jpg,60,40,cat,1,2,30,40,https://x\n"
        "7,a.jpg,60,40,dog,0,0,60,40,https://x\n8,sub/b.jpg,60,40,dog,5,5.5,20,30,https://x\n"
    ),
    "semicolons, BOM, CRLF": (
        "\ufefffile;class;xmin;ymin;xmax;ymax\r\na.jpg;cat;1;2;30;40\r\na.jpg;dog;0;0;60;40\r\n\r\n"
        "sub/b.jpg;dog;5;5.5;20;30\r\n"
    ),
    "tabs": "a.jpg\tcat\t1\t2\t30\t40\na.jpg\tdog\t0\t0\t60\t40\nsub/b.jpg\tdog\t5\t5.5\t20\t30",
    "quotes and spaces": '"a.jpg", "cat", 1, 2, 30, 40\n"a.jpg", "dog", 0, 0, "60", 40\n"sub/b.jpg",dog , 5,5.5,20, 30\n',
    "names without folders or suffixes": "a,cat,1,2,30,40\na,dog,0,0,60,40\nb.png,dog,5,5.5,20,30\n",
    "Windows' slashes": "a.jpg,cat,1,2,30,40\na.jpg,dog,0,0,60,40\nsub\\b.jpg,dog,5,5.5,20,30\n",
}


@pytest.fixture
def photos(tmp_path, run_script) -> BoxedPhotos:
    folder = BoxedPhotos(tmp_path, run_script)
    folder.add("a.jpg", "sub/b.jpg", "c.jpg")
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_read(name, photos):
    info = photos.build(TABLES[name])
    assert boxes_of(info, "boxes") == TRUTH and set(info.splits) == {"boxes", "unlabeled"}
    assert (info.split("boxes").num_with_boxes, info.split("boxes").num_masks) == (2, 0)
    assert info.split("unlabeled").num_with_boxes == 0


@pytest.mark.parametrize("empty", ["c.jpg\n", "c.jpg,,,,,\n", "c.jpg,,60,40,,\n"])
def test_a_file_alone_is_known_to_have_no_object(empty, photos):
    header = HEADER
    if "60" in empty:
        header, empty = "file,class,width,height,xmin,ymin,xmax,ymax\n", "c.jpg,,60,40,,,,\n"
    row = "a.jpg,cat,60,40,1,2,30,40\n" if "width" in header else "a.jpg,cat,1,2,30,40\n"
    info = photos.build(header + row + empty)
    assert boxes_of(info, "boxes") == {"a": [(1, 1, 2, 30, 40)], "c": []}
    assert boxes_of(photos.build("c.jpg\na.jpg,cat,1,2,30,40\n"), "boxes").keys() == {"a", "c"}


def test_image_labels_follow_from_the_boxes(photos):
    info = photos.build(TABLES["header"] + "c.jpg\n")
    labels = {}
    for record in split_records(info, "boxes"):
        example = parse_example(record, 3)
        assert example["has_image_label"] and not example["has_mask"]
        labels[example["name"].numpy().decode()] = example["image_label"].numpy().tolist()
    assert labels == {"a": [1, 1], "sub/b": [0, 1], "c": [0, 0]}


def test_images_with_masks_keep_their_splits_and_have_boxes_too(photos):
    (photos.root / "masks").mkdir()
    Image.fromarray(MASK).save(photos.root / "masks/a.png")
    info = photos.build(TABLES["header"], f"--masks={photos.root / 'masks'}", "--val_fraction=0")
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 1, "boxes": 1, "unlabeled": 1}
    assert boxes_of(info, "train") == {"a": TRUTH["a"]} and boxes_of(info, "boxes") == {"sub/b": TRUTH["sub/b"]}
    # The mask tells the classes, and may have some that have no boxes.
    assert info.split("train").num_image_labels == 0


def test_image_labels_may_be_given_if_they_agree(photos):
    labels = photos.root / "labels.csv"
    labels.write_text("a.jpg,cat;dog\nsub/b.jpg,dog\nc.jpg,cat\n")
    info = photos.build(TABLES["header"], f"--image_labels={labels}")
    assert info.split("boxes").num_image_labels == 2 and info.split("unlabeled").num_image_labels == 1
    labels.write_text("a.jpg,cat\nsub/b.jpg,dog;cat\n")
    with pytest.raises(UserError) as error:
        photos.build(TABLES["header"], f"--image_labels={labels}")
    assert "boxes.csv:2: 'a' has boxes of classes [1, 2], but --image_labels gives [1]; expected" in str(error.value)
    assert "boxes.csv:4: 'sub/b' has boxes of classes [2], but --image_labels gives [1, 2]" in str(error.value)
    # No box of a cat anywhere: it may be a class that has no boxes.
    labels.write_text("sub/b.jpg,dog;cat\n")
    assert photos.build("sub/b.jpg,dog,5,5.5,20,30\n", f"--image_labels={labels}").split("boxes").num_examples == 1


def test_rows_that_are_there_twice_count_once(photos, capsys):
    info = photos.build(TABLES["header"] + "a.jpg,cat,1,2,30,40\n")
    assert boxes_of(info, "boxes") == TRUTH
    assert "boxes.csv: left out: rows that are there twice (1), such as one of 'a.jpg'" in capsys.readouterr().out


def test_classes_that_are_not_kept_have_no_boxes(photos):
    info = photos.build(TABLES["header"], "--classes=0,2")
    assert boxes_of(info, "boxes") == {"a": [(1, 0, 0, 60, 40)], "sub/b": [(1, 5, 5.5, 20, 30)]}


OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def test_xml_files_of_voc_are_read(photos):
    """Their pixels count from 1, and their edges are inclusive."""
    folder = photos.root / "xml"
    folder.mkdir()
    size = "<size><width>60</width><height>40</height></size>"
    cat, dog = OBJECT.format("cat", 2, 3, 30, 40), OBJECT.format("dog", 1, 1, 60, 40)
    (folder / "a.xml").write_text(f"<annotation>{size}{cat}{dog}</annotation>")
    (folder / "b.xml").write_text(f"<annotation>{OBJECT.format('dog', 6, 6.5, 20, 30)}</annotation>")
    (folder / "c.xml").write_text("<annotation></annotation>")
    assert boxes_of(photos.build(None, boxes=folder), "boxes") == {**TRUTH, "c": []}


def test_json_of_coco_without_segmentations_is_read(photos):
    names = {1: "a.jpg", 2: "b.jpg", 3: "c.jpg"}
    boxes = [(1, 5, [1, 2, 29, 38]), (1, 9, [0, 0, 60.2, 40]), (2, 9, [5, 5.5, 15, 24.5])]
    content = {
        "images": [{"id": id, "file_name": name, "height": 40, "width": 60} for id, name in names.items()],
        "categories": [{"id": 0, "name": "animals"}, {"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"id": n, "image_id": i, "category_id": c, "bbox": box} for n, (i, c, box) in enumerate(boxes)],
    }
    info = photos.build(json.dumps(content), boxes=photos.root / "instances.json")
    assert boxes_of(info, "boxes") == {**TRUTH, "c": []}


def test_a_table_of_many_rows_is_read_fast(tmp_path):
    path = tmp_path / "boxes.csv"
    with path.open("w") as file:
        file.write("filename,width,height,class,xmin,ymin,xmax,ymax\n")
        file.writelines(
            f"{number // 10}.jpg,640,480,cat,{number % 600},1,{number % 600 + 9},{2 + number % 99}\n"
            for number in range(100_000)
        )
    begin = time.monotonic()
    table = read_box_table(str(path), ["background", "cat"], ["cat"])
    assert len(table.images) == 10_000 and not table.problems
    assert time.monotonic() - begin < 15  # takes about 1; a search in all names for each row would take minutes
    begin = time.monotonic()
    table = read_box_table(str(path), ["background", "cats"], ["cats"])
    assert len(table.problems) == 100_000 and "Did you mean 'cats'?" in table.problems[0]
    assert time.monotonic() - begin < 15
